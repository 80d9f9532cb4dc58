#include "process.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CACHE = 1024 };
static const ino_t FIRST_PID_NAMESPACE = 0xeffffffc; /* PROC_PID_INIT_INO of include/linux/proc_ns.h */

static struct { uint32_t pid; char name[16]; } cache[CACHE];

/* The kernel's numbers are those of the first namespace. On a node that is a container itself (kind) another
 * process may have that number in our /proc. */
static int numbers_are_ours(void)
{
	static int known = -1;
	struct stat namespace;

	if (known < 0)
		known = !stat("/proc/self/ns/pid", &namespace) && namespace.st_ino == FIRST_PID_NAMESPACE;
	return known;
}

void process_learn(uint32_t pid, const char thread_name[16])
{
	char path[64], text[17] = "";

	if (!pid)
		return;
	snprintf(path, sizeof path, "/proc/%u/comm", pid);
	int fd = numbers_are_ours() ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t length = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
	if (fd >= 0)
		close(fd);
	while (length > 0 && text[length - 1] == '\n')
		text[--length] = 0;
	memset(cache[pid % CACHE].name, 0, 16);
	memcpy(cache[pid % CACHE].name, length > 0 ? text : thread_name, 16);
	cache[pid % CACHE].pid = pid;
}

void process_name(uint32_t pid, const char thread_name[16], char name[16])
{
	if (cache[pid % CACHE].pid != pid)
		process_learn(pid, thread_name);
	memcpy(name, pid ? cache[pid % CACHE].name : thread_name, 16);
}
