#include "enter.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
#include "../wire.h"

enum { SLOTS = 64, TEXT_BYTES = 64 << 10, MESSAGE_BYTES = 64 << 10, CONNECT_S = 3, OPENAT2 = 437 };

static struct slot {
	int fd, is_tcp;
	unsigned have; /* bytes of a TCP stream that are no whole message yet */
	unsigned char *bytes;
} slots[SLOTS];

static int write_all(int fd, const void *from, size_t size)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = write(fd, (const char *)from + done, size - done);
		if (n < 0 && errno != EINTR)
			return 0;
		done += n > 0 ? (size_t)n : 0;
	}
	return 1;
}

static int read_all(int fd, void *to, size_t size)
{
	for (size_t got = 0; got < size;) {
		ssize_t n = read(fd, (char *)to + got, size - got);
		if (!n || (n < 0 && errno != EINTR))
			return 0;
		got += n > 0 ? (size_t)n : 0;
	}
	return 1;
}

static int put(uint16_t type, const void *head, uint32_t head_size, const void *data, uint32_t size)
{
	struct kdns_frame frame = { .size = head_size + size, .type = type };

	return write_all(STDOUT_FILENO, &frame, sizeof frame) && write_all(STDOUT_FILENO, head, head_size)
		&& write_all(STDOUT_FILENO, data, size);
}

static int answer(uint16_t slot, int error, const void *data, uint32_t size)
{
	struct kdns_answer head = { .slot = slot, .error = (uint16_t)error };

	return put(error ? KDNS_REFUSED : KDNS_ANSWER, &head, sizeof head, data, size);
}

static ssize_t read_file(const char *path, char *to, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, to, size - 1);

	if (fd >= 0)
		close(fd);
	to[n > 0 ? n : 0] = 0;
	return n;
}

/* Paths of cgroups have a UID with dashes or underscores, those of static pods one without either. */
static int names_pod(const char *path, const char *uid)
{
	for (; *path; path++) {
		const char *a = path, *b = uid;
		while (*b && (*a == *b || (*a == '_' && *b == '-')))
			a++, b++;
		if (!*b && !isalnum((unsigned char)*a))
			return 1;
	}
	return 0;
}

/* A process of the pod; one of its pause container only where there is no other. */
static int process_of(const char *uid)
{
	static char text[TEXT_BYTES];
	char path[64];
	int pause = 0;
	DIR *all = opendir("/proc");

	for (struct dirent *e; all && (e = readdir(all));) {
		int pid = atoi(e->d_name);
		snprintf(path, sizeof path, "/proc/%d/cgroup", pid);
		if (pid <= 0 || read_file(path, text, sizeof text) <= 0 || !names_pod(text, uid))
			continue;
		snprintf(path, sizeof path, "/proc/%d/comm", pid);
		if (read_file(path, text, sizeof text) > 0 && strcmp(text, "pause\n")) {
			closedir(all);
			return pid;
		}
		pause = pid;
	}
	if (all)
		closedir(all);
	return pause;
}

/* Below the root of the process, and never out of it: what its links say is not to be trusted. */
static ssize_t read_resolv_conf(int pid, char *to, size_t size)
{
	struct { uint64_t flags, mode, resolve; } how = { O_RDONLY | O_CLOEXEC, 0, 0x10 /* RESOLVE_IN_ROOT */ };
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/root", pid);
	int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -1;
	int fd = (int)syscall(OPENAT2, root, "etc/resolv.conf", &how, sizeof how);
	ssize_t n = fd < 0 ? -1 : read(fd, to, size);
	int error = errno;
	if (fd >= 0)
		close(fd);
	close(root);
	errno = error;
	return n;
}

static int opened(struct slot *s, const struct kdns_send *to)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(to->port) };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(to->port) };
	struct timeval wait = { CONNECT_S, 0 };
	int is_six = to->family == 6;

	s->is_tcp = to->protocol == IPPROTO_TCP;
	s->fd = socket(is_six ? AF_INET6 : AF_INET, (s->is_tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return errno;
	memcpy(&six.sin6_addr, to->ip, 16);
	memcpy(&four.sin_addr, to->ip, 4);
	setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
	if (connect(s->fd, is_six ? (void *)&six : (void *)&four, is_six ? sizeof six : sizeof four)) {
		int error = errno == EINPROGRESS ? ETIMEDOUT : errno;
		close(s->fd);
		s->fd = -1;
		return error;
	}
	return 0;
}

static int send_message(const struct kdns_send *to, const unsigned char *message, unsigned size)
{
	unsigned char length[2] = { (unsigned char)(size >> 8), (unsigned char)size };

	if (to->slot >= SLOTS)
		return answer(to->slot, EINVAL, 0, 0);
	struct slot *s = &slots[to->slot];
	int error = s->fd < 0 ? opened(s, to) : 0;
	if (!error && s->is_tcp && send(s->fd, length, 2, MSG_NOSIGNAL | MSG_MORE) != 2)
		error = errno;
	if (!error && send(s->fd, message, size, MSG_NOSIGNAL) != (ssize_t)size)
		error = errno;
	return !error || answer(to->slot, error, 0, 0);
}

/* What a socket has. A socket that failed is closed: its next message opens another one. */
static int receive(uint16_t number)
{
	struct slot *s = &slots[number];

	if (!s->bytes && !(s->bytes = malloc(MESSAGE_BYTES + 2)))
		return 0;
	ssize_t n = recv(s->fd, s->bytes + s->have, MESSAGE_BYTES + 2 - s->have, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	if (n < 0 || (!n && s->is_tcp)) {
		int error = n < 0 ? errno : ECONNRESET;
		close(s->fd);
		s->fd = -1, s->have = 0;
		return answer(number, error, 0, 0);
	}
	if (!s->is_tcp)
		return answer(number, 0, s->bytes, (uint32_t)n);
	s->have += (unsigned)n;
	while (s->have >= 2) {
		unsigned size = (unsigned)(s->bytes[0] << 8 | s->bytes[1]);
		if (s->have < size + 2)
			break;
		if (!answer(number, 0, s->bytes + 2, size))
			return 0;
		s->have -= size + 2;
		memmove(s->bytes, s->bytes + 2 + size, s->have);
	}
	return 1;
}

static int take_command(void)
{
	static unsigned char message[MESSAGE_BYTES];
	struct kdns_frame frame;
	struct kdns_send to;

	if (!read_all(STDIN_FILENO, &frame, sizeof frame) || frame.type != KDNS_SEND || frame.size < sizeof to
		|| frame.size - sizeof to > sizeof message || !read_all(STDIN_FILENO, &to, sizeof to))
		return 0;
	unsigned size = frame.size - (unsigned)sizeof to;
	return read_all(STDIN_FILENO, message, size) && send_message(&to, message, size);
}

static int carry(void)
{
	struct pollfd ends[SLOTS + 1] = { { STDIN_FILENO, POLLIN, 0 } };

	for (;;) {
		for (int i = 0; i < SLOTS; i++)
			ends[i + 1] = (struct pollfd) { slots[i].fd, POLLIN, 0 };
		if (poll(ends, SLOTS + 1, -1) < 0 && errno != EINTR)
			return 1;
		for (uint16_t i = 0; i < SLOTS; i++)
			if (slots[i].fd >= 0 && ends[i + 1].revents && !receive(i))
				return 0;
		if (ends[0].revents && !take_command())
			return 0;
	}
}

static int failed(const char *what, int pid)
{
	fprintf(stderr, "kdns-agent: %s of process %d: %s\n", what, pid, strerror(errno));
	return 1;
}

int enter(const char *pod_uid, int pid)
{
	static char resolv_conf[TEXT_BYTES];
	char path[64];

	if (pod_uid && !(pid = process_of(pod_uid))) {
		fprintf(stderr, "kdns-agent: pod %s has no process on this node\n", pod_uid);
		return 1;
	}
	for (int i = 0; i < SLOTS; i++)
		slots[i].fd = -1;
	ssize_t size = read_resolv_conf(pid, resolv_conf, sizeof resolv_conf);
	if (size < 0)
		return failed("cannot read /etc/resolv.conf", pid);
	snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
	int network = open(path, O_RDONLY | O_CLOEXEC);
	if (network < 0 || setns(network, CLONE_NEWNET))
		return failed("cannot enter the network", pid);
	struct kdns_entered head = { .pid = (uint32_t)pid };
	return !put(KDNS_ENTERED, &head, sizeof head, resolv_conf, (uint32_t)size) || carry();
}
