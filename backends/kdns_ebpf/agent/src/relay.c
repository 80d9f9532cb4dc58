#include "relay.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_BYTES = 64 << 10, WAIT_MS = 5000, STEP_MS = 20 };

/* The agent may still be loading its programs. */
static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	for (int waited = 0;; waited += STEP_MS) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || !connect(fd, (struct sockaddr *)&address, sizeof address))
			return fd;
		int error = errno;
		close(fd);
		errno = error;
		if ((error != ENOENT && error != ECONNREFUSED) || waited >= WAIT_MS)
			return -1;
		nanosleep(&(struct timespec) { 0, STEP_MS * 1000000l }, 0);
	}
}

/* One block; 0 at the end or when it cannot go on. */
static int carry(int from, int to)
{
	static char block[BLOCK_BYTES];
	ssize_t got = read(from, block, sizeof block);

	if (got < 0 && errno == EINTR)
		return 1;
	for (ssize_t done = 0; done < got;) {
		ssize_t n = write(to, block + done, (size_t)(got - done));
		if (n < 0 && errno != EINTR)
			return 0;
		done += n > 0 ? n : 0;
	}
	return got > 0;
}

int relay(const char *socket_path)
{
	int fd = connect_to(socket_path);

	if (fd < 0) {
		fprintf(stderr, "kdns-agent: no agent at %s: %s\n", socket_path, strerror(errno));
		return 1;
	}
	/* It must read its input all the time: that it ends is the only sign that the client is gone. */
	struct pollfd ends[] = { { STDIN_FILENO, POLLIN, 0 }, { fd, POLLIN, 0 } };
	for (;;) {
		if (poll(ends, 2, -1) < 0 && errno != EINTR)
			return 1;
		if (ends[1].revents && !carry(fd, STDOUT_FILENO))
			return 0;
		if (ends[0].revents && !carry(STDIN_FILENO, fd))
			return 0;
	}
}
