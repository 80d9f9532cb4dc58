/* Reads the kernel's ring of events. */
#ifndef KDNS_RING_H
#define KDNS_RING_H
#include <stdint.h>
#include "../bpf/event.h"

struct ring {
	volatile uint64_t *consumed;
	const volatile uint64_t *produced;
	const char *data;
	uint32_t bytes;
};

/* 0 and errno. `bytes` is a power of two. */
int ring_open(struct ring *r, int fd, uint32_t bytes);
/* Calls `take` for up to `most` events; how many. */
unsigned ring_read(struct ring *r, unsigned most, void (*take)(void *context, const struct kdns_event *e),
	void *context);
#endif
