/* Packets from the node's interfaces: for kernels and rights that do not allow the programs. */
#ifndef KDNS_FALLBACK_H
#define KDNS_FALLBACK_H
#include <stdint.h>
#include "tcp.h"

/* A socket of DNS packets of all interfaces, with a classic filter in front; -1 and errno. */
int fallback_open(const uint16_t *ports, unsigned port_count);
/* Calls `take` for up to `most` packets; adds to what was got and what the kernel had no room for. */
unsigned fallback_read(int fd, unsigned most, void (*take)(void *context, const struct segment *s), void *context,
	uint64_t *packets, uint64_t *lost);
/* The UDP or TCP part of an IP packet; 0 when it has none. For tests too. */
int fallback_parse(struct segment *s, const uint8_t *packet, uint32_t size);
#endif
