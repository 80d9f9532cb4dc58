#include "cgroup.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { CGROUP2_MAGIC = 0x63677270, FILEID_KERNFS = 0xfe, CACHE = 2048, PATH_BYTES = 1024 };
enum { NEW_CGROUP_NAMESPACE = 0x02000000 };
enum { FSOPEN = 430, FSCONFIG = 431, FSMOUNT = 432, FSCONFIG_CREATE = 6 }; /* the same on all architectures */

static int open_cgroup2(const char *path)
{
	struct statfs fs;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 && (fstatfs(fd, &fs) || fs.f_type != CGROUP2_MAGIC)) {
		close(fd);
		errno = ENOENT;
		fd = -1;
	}
	return fd;
}

/* A mount that no path leads to (Linux 5.2), gone with this process. In the namespace of init, or it would show
 * only our own cgroup. */
static int mount_cgroup2(void)
{
	int namespace_fd = open("/proc/1/ns/cgroup", O_RDONLY | O_CLOEXEC);

	if (namespace_fd >= 0) {
		if (setns(namespace_fd, NEW_CGROUP_NAMESPACE)) { /* it goes on in ours, and shows what it shows */
		}
		close(namespace_fd);
	}
	int fs = (int)syscall(FSOPEN, "cgroup2", 1);
	if (fs < 0)
		return -1;
	int mounted = syscall(FSCONFIG, fs, FSCONFIG_CREATE, 0, 0, 0) ? -1 : (int)syscall(FSMOUNT, fs, 1, 0);
	int error = errno;
	close(fs);
	if (mounted < 0) {
		errno = error;
		return -1;
	}
	/* The mount's own fd is O_PATH, which open_by_handle_at refuses. */
	int fd = openat(mounted, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(mounted);
	return fd;
}

int open_cgroup_root(const char *given)
{
	char path[PATH_BYTES];
	int fd;

	if (given) {
		if ((fd = open_cgroup2(given)) >= 0)
			return fd;
		snprintf(path, sizeof path, "%s/unified", given);
		if ((fd = open_cgroup2(path)) >= 0)
			return fd;
		return mount_cgroup2();
	}
	if ((fd = open_cgroup2("/sys/fs/cgroup")) >= 0 || (fd = open_cgroup2("/sys/fs/cgroup/unified")) >= 0)
		return fd;
	return mount_cgroup2();
}

/* By file handle, in one step: the id is the inode, and that is the handle (Linux 5.5). */
static int find_path(int root_fd, uint64_t id, char path[PATH_BYTES])
{
	union { struct file_handle handle; char room[sizeof(struct file_handle) + sizeof id]; } named;
	char link[64];

	named.handle.handle_bytes = sizeof id;
	named.handle.handle_type = FILEID_KERNFS;
	memcpy(named.handle.f_handle, &id, sizeof id);
	int fd = open_by_handle_at(root_fd, &named.handle, O_RDONLY | O_PATH | O_CLOEXEC);
	if (fd < 0)
		return 0;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, PATH_BYTES - 1);
	close(fd);
	path[length > 0 ? length : 0] = 0;
	return length > 0;
}

/* Takes off what leads to the root here: a container has it somewhere else than the host. */
static const char *below_root(int root_fd, const char *path)
{
	static char root[PATH_BYTES];
	char link[64];

	if (!root[0]) {
		snprintf(link, sizeof link, "/proc/self/fd/%d", root_fd);
		if (readlink(link, root, sizeof root - 1) <= 0)
			return path;
	}
	size_t length = strlen(root);
	if (length > 1 && !strncmp(path, root, length) && (path[length] == '/' || !path[length]))
		path += length;
	return path[0] ? path : "/";
}

int can_find_paths(int root_fd)
{
	struct stat root;
	char path[PATH_BYTES];

	return !fstat(root_fd, &root) && find_path(root_fd, root.st_ino, path);
}

const char *cgroup_path(int root_fd, uint64_t id)
{
	static struct { uint64_t id; char *path; } cache[CACHE];
	unsigned slot = (unsigned)(id * 0x9e3779b97f4a7c15ull >> 53) % CACHE;
	char path[PATH_BYTES] = "";

	if (!id || root_fd < 0)
		return "";
	if (cache[slot].id != id || !cache[slot].path) {
		int found = find_path(root_fd, id, path);
		free(cache[slot].path);
		cache[slot].id = id;
		cache[slot].path = strdup(found ? below_root(root_fd, path) : "");
	}
	return cache[slot].path ? cache[slot].path : "";
}
