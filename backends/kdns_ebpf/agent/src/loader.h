/* Loads the BPF programs and attaches them at a cgroup, by bpf(2) itself.
 *
 * Attached by bpf_link (Linux 5.7): the kernel takes them away with this process, however it ends. */
#ifndef KDNS_LOADER_H
#define KDNS_LOADER_H
#include <stdint.h>
#include "../bpf/event.h"

struct loaded {
	int ring_fd, counters_fd;
	uint32_t ring_bytes;
	int has_netns;  /* the packet itself tells its network namespace */
	int has_owners; /* the hooks that know the process are attached */
	char problem[512]; /* what failed, for people */
	int refused;       /* it is a matter of rights */
};

/* 0 when it cannot be: `problem` says why. */
int load_programs(struct loaded *l, int cgroup_fd, const struct kdns_settings *settings, uint32_t ring_bytes);
/* The sums over all CPUs. */
void read_counters(const struct loaded *l, uint64_t counters[KDNS_C_MAX]);
#endif
