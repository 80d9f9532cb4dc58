/* Asks itself over loopback: so many lookups a second, for so long, and prints what it did.
 *
 *   flood PORT RATE SECONDS [PERCENT]
 * Four messages a lookup are seen: query and response, at the client's socket and at the server's. Of PERCENT of
 * the lookups the name ends in wanted.test, of the others in other.test. Prints
 * "sent N answered N cpu_us N", cpu being that of both ends together. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32, BYTES = 512, SOCKETS = 16 };

static int server, clients[SOCKETS];
static volatile unsigned long answered;
static volatile int ended;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *answer(void *unused)
{
	static unsigned char bytes[BATCH][BYTES];
	static struct sockaddr_in from[BATCH];
	struct mmsghdr m[BATCH];
	struct iovec v[BATCH];

	for (;;) {
		for (int i = 0; i < BATCH; i++) {
			v[i] = (struct iovec) { bytes[i], BYTES - 16 };
			m[i] = (struct mmsghdr) { .msg_hdr = { &from[i], sizeof from[i], &v[i], 1, 0, 0, 0 } };
		}
		int n = recvmmsg(server, m, BATCH, MSG_WAITFORONE, 0);
		if (n <= 0)
			return unused;
		for (int i = 0; i < n; i++) {
			unsigned size = m[i].msg_len;
			bytes[i][2] = 0x81, bytes[i][3] = 0x80, bytes[i][7] = 1;
			memcpy(bytes[i] + size, "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\0\0\1", 16);
			v[i].iov_len = size + 16;
		}
		for (int done = 0; done < n;) {
			int sent = sendmmsg(server, m + done, (unsigned)(n - done), 0);
			if (sent <= 0)
				break;
			done += sent;
		}
	}
}

static void *receive(void *which)
{
	static __thread unsigned char bytes[BATCH][BYTES];
	struct mmsghdr m[BATCH];
	struct iovec v[BATCH];

	while (!ended) {
		for (int i = 0; i < BATCH; i++) {
			v[i] = (struct iovec) { bytes[i], BYTES };
			m[i] = (struct mmsghdr) { .msg_hdr = { .msg_iov = &v[i], .msg_iovlen = 1 } };
		}
		int n = recvmmsg(*(int *)which, m, BATCH, MSG_WAITFORONE, 0);
		if (n > 0)
			__sync_fetch_and_add(&answered, (unsigned long)n);
	}
	return 0;
}

static unsigned question(unsigned char *bytes, unsigned long number, int wanted)
{
	char label[16];
	unsigned size = 12, length = (unsigned)snprintf(label, sizeof label, "n%lu", number % 1000);

	memcpy(bytes, "\0\0\1\0\0\1\0\0\0\0\0\0", 12);
	bytes[0] = (unsigned char)(number >> 8), bytes[1] = (unsigned char)number;
	bytes[size++] = (unsigned char)length;
	memcpy(bytes + size, label, length), size += length;
	memcpy(bytes + size, wanted ? "\6wanted" : "\5other", wanted ? 7 : 6), size += wanted ? 7 : 6;
	memcpy(bytes + size, "\4test\0\0\1\0\1", 10);
	return size + 10;
}

int main(int count, char **words)
{
	static unsigned char bytes[BATCH][BYTES];
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timeval wait = { 0, 200000 };
	int room = 4 << 20;
	pthread_t thread;

	if (count < 4)
		return 2;
	double rate = atof(words[2]), seconds = atof(words[3]);
	int percent = count > 4 ? atoi(words[4]) : 100;
	to.sin_port = htons((unsigned short)atoi(words[1]));
	server = socket(AF_INET, SOCK_DGRAM, 0);
	setsockopt(server, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
	if (bind(server, (struct sockaddr *)&to, sizeof to))
		return perror("bind"), 1;
	for (int i = 0; i < SOCKETS; i++) {
		clients[i] = socket(AF_INET, SOCK_DGRAM, 0);
		setsockopt(clients[i], SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
		setsockopt(clients[i], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
		if (connect(clients[i], (struct sockaddr *)&to, sizeof to))
			return perror("connect"), 1;
		pthread_create(&thread, 0, receive, &clients[i]);
	}
	pthread_create(&thread, 0, answer, 0);
	unsigned long sent = 0, total = (unsigned long)(rate * seconds);
	double start = now();
	while (sent < total) {
		struct mmsghdr m[BATCH];
		struct iovec v[BATCH];
		unsigned n = total - sent < BATCH ? (unsigned)(total - sent) : BATCH;
		for (unsigned i = 0; i < n; i++) {
			v[i] = (struct iovec) { bytes[i], question(bytes[i], sent + i, (int)((sent + i) % 100) < percent) };
			m[i] = (struct mmsghdr) { .msg_hdr = { .msg_iov = &v[i], .msg_iovlen = 1 } };
		}
		int done = sendmmsg(clients[sent / BATCH % SOCKETS], m, n, 0);
		sent += done > 0 ? (unsigned long)done : 0;
		double ahead = start + (double)sent / rate - now();
		if (ahead > 0.001)
			usleep((unsigned)(ahead * 1e6));
	}
	double took = now() - start;
	usleep(300000);
	ended = 1;
	struct rusage used;
	getrusage(RUSAGE_SELF, &used);
	printf("sent %lu answered %lu cpu_us %ld took_ms %.0f\n", sent, answered,
		(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000000l + used.ru_utime.tv_usec + used.ru_stime.tv_usec,
		took * 1000);
	return 0;
}
