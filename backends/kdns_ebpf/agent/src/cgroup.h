/* The node's root of cgroup v2, and the path of a cgroup by its id. */
#ifndef KDNS_CGROUP_H
#define KDNS_CGROUP_H
#include <stdint.h>

/* A directory fd of the root; `given` or what is below it (hybrid hosts), else where it is mounted, else a mount
 * of our own (hosts with cgroup v1 only). -1: there is none, or not for us; errno says. */
int open_cgroup_root(const char *given);

/* The path below the root, "" when it is not known (any more). Cached: a cgroup that is gone stays known for as
 * long as its lookups may come. The text is valid until the next call. */
const char *cgroup_path(int root_fd, uint64_t id);
/* Whether paths can be found at all (CAP_DAC_READ_SEARCH). */
int can_find_paths(int root_fd);
#endif
