/* What the programs in the kernel and the agent share: the events in the ring, the counters, the settings. */
#ifndef KDNS_EVENT_H
#define KDNS_EVENT_H
#include <stdint.h>

#define KDNS_PORTS 8
#define KDNS_CAPTURE_MAX 16384 /* bytes of one packet; a TCP segment may be longer, and is then cut */
#define KDNS_COMM 16

enum { KDNS_EGRESS = 1, KDNS_INGRESS = 2 };
enum { KDNS_EVENT_PACKET = 1, KDNS_EVENT_OWNER = 2 };

struct kdns_settings { /* ARRAY[1] */
	uint16_t ports[KDNS_PORTS] __attribute__((aligned(8))); /* host order; unused ones repeat the first */
	uint32_t wake_bytes; /* so full the ring is when its reader is woken before its time */
	uint32_t pad;
};

/* The process that last used a socket to send. */
struct kdns_owner { /* LRU_HASH[socket cookie] */
	uint64_t netns;
	uint32_t tgid, tid;
	char comm[KDNS_COMM];
};

enum {
	KDNS_C_PACKETS_OUT,
	KDNS_C_PACKETS_IN,
	KDNS_C_CAPTURED, /* = CONTROL + SENT + LOST */
	KDNS_C_CONTROL,
	KDNS_C_SENT,
	KDNS_C_LOST,
	KDNS_C_OWNERS_LOST,
	KDNS_C_MAX
};

/* A packet, with `captured` bytes of its payload behind it; or, with kind OWNER, a process that is new. */
struct kdns_event {
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	uint64_t cookie;  /* of the socket, 0: none */
	uint64_t cgroup;  /* id in cgroup v2: the inode of its directory */
	uint64_t netns;   /* cookie, 0: unknown */
	uint32_t tgid, tid; /* 0: unknown */
	char comm[KDNS_COMM]; /* of the thread */
	uint8_t source[16], target[16];
	uint16_t source_port, target_port;
	uint8_t family; /* 4, 6 */
	uint8_t protocol; /* 17, 6 */
	uint8_t direction;
	uint8_t kind;
	uint32_t tcp_sequence;
	uint32_t size; /* of the payload */
	uint32_t captured;
	uint8_t tcp_flags;
	uint8_t pad[3];
	uint8_t data[];
};

_Static_assert(sizeof(struct kdns_settings) == 24, "event");
_Static_assert(sizeof(struct kdns_owner) == 32, "event");
_Static_assert(sizeof(struct kdns_event) == 112, "event");
#endif
