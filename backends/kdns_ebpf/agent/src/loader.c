#include "loader.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "log.h"
#include <programs.h>

/* The part of <linux/bpf.h> that is used: the agent is built without kernel headers. */
enum { MAP_CREATE = 0, MAP_LOOKUP_ELEM = 1, MAP_UPDATE_ELEM = 2, PROG_LOAD = 5, LINK_CREATE = 28 };
enum { TYPE_ARRAY = 2, TYPE_PERCPU_ARRAY = 6, TYPE_LRU_HASH = 9, TYPE_RINGBUF = 27 };
enum { PROG_CGROUP_SKB = 8, PROG_CGROUP_SOCK = 9, PROG_CGROUP_SOCK_ADDR = 18 };
enum { LOAD_OF_MAP = 1 }; /* BPF_PSEUDO_MAP_FD */
enum { GET_NETNS_COOKIE = 122, MAX_INSTRUCTIONS = 8192, LOG_BYTES = 256 << 10 };

union bpf_attributes {
	struct { uint32_t type, key_size, value_size, entries, flags; } map;
	struct { uint32_t fd, pad; uint64_t key, value, flags; } element;
	struct {
		uint32_t type, size;
		uint64_t code, license;
		uint32_t log_level, log_size;
		uint64_t log;
		uint32_t kernel, flags;
		char name[16];
		uint32_t interface, attach;
	} program;
	struct { uint32_t program_fd, target_fd, attach, flags; } link;
	char size[128];
};

static const struct { uint32_t type, key_size, value_size, entries; } map_of[MAPS] = {
	[MAP_settings] = { TYPE_ARRAY, 4, sizeof(struct kdns_settings), 1 },
	[MAP_counters] = { TYPE_PERCPU_ARRAY, 4, 8, KDNS_C_MAX },
	[MAP_ring] = { TYPE_RINGBUF, 0, 0, 0 },
	[MAP_owners] = { TYPE_LRU_HASH, 8, sizeof(struct kdns_owner), 16384 },
	[MAP_processes] = { TYPE_LRU_HASH, 4, 8, 4096 },
};

static const struct hook { const char *section; uint32_t type, attach; } hooks[] = {
	{ "cgroup_skb/ingress", PROG_CGROUP_SKB, 0 },
	{ "cgroup_skb/egress", PROG_CGROUP_SKB, 1 },
	{ "cgroup/connect4", PROG_CGROUP_SOCK_ADDR, 10 },
	{ "cgroup/connect6", PROG_CGROUP_SOCK_ADDR, 11 },
	{ "cgroup/post_bind4", PROG_CGROUP_SOCK, 12 },
	{ "cgroup/post_bind6", PROG_CGROUP_SOCK, 13 },
	{ "cgroup/sendmsg4", PROG_CGROUP_SOCK_ADDR, 14 },
	{ "cgroup/sendmsg6", PROG_CGROUP_SOCK_ADDR, 15 },
};

static int bpf(int command, union bpf_attributes *a) { return (int)syscall(SYS_bpf, command, a, sizeof *a); }

static int fail(struct loaded *l, const char *what, const char *more)
{
	int error = errno;

	l->refused = error == EPERM || error == EACCES;
	snprintf(l->problem, sizeof l->problem, "%s: %s%s%s", what, strerror(error), more[0] ? ": " : "", more);
	return 0;
}

static int make_map(unsigned which, uint32_t ring_bytes)
{
	union bpf_attributes a = {0};

	a.map.type = map_of[which].type;
	a.map.key_size = map_of[which].key_size;
	a.map.value_size = map_of[which].value_size;
	a.map.entries = which == MAP_ring ? ring_bytes : map_of[which].entries;
	return bpf(MAP_CREATE, &a);
}

/* A helper that older kernels do not give to packets: "r0 = 0" in the place of its call. */
static unsigned without_netns(uint64_t *code, unsigned size)
{
	unsigned changed = 0;

	for (unsigned i = 0; i < size; i++)
		if (code[i] == (0x85ull | (uint64_t)GET_NETNS_COOKIE << 32)) {
			code[i] = 0xb7;
			changed++;
		}
	return changed;
}

static int load(struct loaded *l, const struct program *p, const struct hook *hook, const int maps[MAPS])
{
	static uint64_t code[MAX_INSTRUCTIONS];
	union bpf_attributes a = {0};

	if (p->size > MAX_INSTRUCTIONS) {
		errno = E2BIG;
		return -1;
	}
	memcpy(code, p->code, p->size * sizeof *code);
	for (unsigned i = 0; i < p->used; i++) {
		uint64_t *word = &code[p->uses[i][0]];
		*word = (*word & 0x0fffull) | LOAD_OF_MAP << 12 | (uint64_t)(uint32_t)maps[p->uses[i][1]] << 32;
	}
	a.program.type = hook->type;
	a.program.size = p->size;
	a.program.code = (uintptr_t)code;
	a.program.license = (uintptr_t) "Dual BSD/GPL";
	a.program.attach = hook->attach;
	strncpy(a.program.name, p->name, sizeof a.program.name - 1);
	int fd = bpf(PROG_LOAD, &a);
	if (fd < 0 && errno == EINVAL && hook->type == PROG_CGROUP_SKB && without_netns(code, p->size)) {
		fd = bpf(PROG_LOAD, &a);
		if (fd >= 0)
			l->has_netns = 0;
	}
	if (fd < 0) {
		/* Once more, for the verifier's reason. */
		int error = errno;
		char *text = calloc(1, LOG_BYTES);
		if (text) {
			a.program.log_level = 1;
			a.program.log_size = LOG_BYTES;
			a.program.log = (uintptr_t)text;
			fd = bpf(PROG_LOAD, &a);
			size_t length = strlen(text);
			errno = error;
			if (fd < 0)
				fail(l, p->name, length > 300 ? text + length - 300 : text);
			free(text);
		}
		errno = error;
	}
	return fd;
}

static int attach(int program_fd, int cgroup_fd, uint32_t where)
{
	union bpf_attributes a = {0};

	a.link.program_fd = (uint32_t)program_fd;
	a.link.target_fd = (uint32_t)cgroup_fd;
	a.link.attach = where; /* flags stay 0: links are many by nature */
	return bpf(LINK_CREATE, &a);
}

static const struct program *program_of(const struct hook *hook)
{
	for (unsigned i = 0; i < sizeof programs / sizeof *programs; i++)
		if (!strcmp(programs[i].section, hook->section))
			return &programs[i];
	return 0;
}

/* All hooks of packets, or all others. */
static int attach_all(struct loaded *l, int cgroup_fd, const int maps[MAPS], int packets)
{
	int all = 1;

	for (unsigned i = 0; i < sizeof hooks / sizeof *hooks; i++) {
		const struct hook *hook = &hooks[i];
		const struct program *program = program_of(hook);
		if (!program || (hook->type == PROG_CGROUP_SKB) != packets)
			continue;
		int fd = load(l, program, hook, maps);
		if (fd < 0 || attach(fd, cgroup_fd, hook->attach) < 0) {
			if (!l->problem[0])
				fail(l, hook->section, "cannot be attached");
			all = 0;
		}
		if (fd >= 0)
			close(fd); /* the link holds it */
	}
	return all;
}

int load_programs(struct loaded *l, int cgroup_fd, const struct kdns_settings *settings, uint32_t ring_bytes)
{
	static const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	int maps[MAPS];
	uint32_t zero = 0;
	union bpf_attributes a = {0};

	memset(l, 0, sizeof *l);
	l->has_netns = 1;
	setrlimit(RLIMIT_MEMLOCK, &unlimited); /* maps count there before 5.11 */
	for (unsigned i = 0; i < MAPS; i++)
		if ((maps[i] = make_map(i, ring_bytes)) < 0)
			return fail(l, "bpf(BPF_MAP_CREATE)", "");
	a.element.fd = (uint32_t)maps[MAP_settings];
	a.element.key = (uintptr_t)&zero;
	a.element.value = (uintptr_t)settings;
	if (bpf(MAP_UPDATE_ELEM, &a))
		return fail(l, "bpf(BPF_MAP_UPDATE_ELEM)", "");
	/* First those that know the process, so that no packet comes before. They may fail: it goes without. */
	l->has_owners = attach_all(l, cgroup_fd, maps, 0);
	if (!l->has_owners && !l->refused)
		log_line(KDNS_LOG_WARNING, "processes stay unknown: %s", l->problem);
	l->problem[0] = 0;
	if (!attach_all(l, cgroup_fd, maps, 1))
		return 0;
	l->ring_fd = maps[MAP_ring];
	l->counters_fd = maps[MAP_counters];
	l->ring_bytes = ring_bytes;
	return 1;
}

/* How many CPUs there may be: by that the maps per CPU are sized. */
static unsigned possible_cpus(void)
{
	char text[256] = "";
	int fd = open("/sys/devices/system/cpu/possible", O_RDONLY | O_CLOEXEC);
	unsigned cpus = 1;

	if (fd >= 0) {
		if (read(fd, text, sizeof text - 1) < 0)
			text[0] = 0;
		close(fd);
	}
	for (const char *p = text; *p; p++)
		if (*p >= '0' && *p <= '9') {
			unsigned long number = strtoul(p, (char **)&p, 10);
			if (number + 1 > cpus)
				cpus = (unsigned)number + 1;
			if (!*p)
				break;
		}
	return cpus;
}

void read_counters(const struct loaded *l, uint64_t counters[KDNS_C_MAX])
{
	static uint64_t *values;
	static unsigned cpus;
	union bpf_attributes a = {0};

	memset(counters, 0, KDNS_C_MAX * sizeof *counters);
	if (!values && !(values = calloc(cpus = possible_cpus(), sizeof *values)))
		return;
	for (uint32_t key = 0; key < KDNS_C_MAX; key++) {
		a.element.fd = (uint32_t)l->counters_fd;
		a.element.key = (uintptr_t)&key;
		a.element.value = (uintptr_t)values;
		if (!bpf(MAP_LOOKUP_ELEM, &a))
			for (unsigned cpu = 0; cpu < cpus; cpu++)
				counters[key] += values[cpu];
	}
}
