/* One DNS message as it was seen at a socket. */
#ifndef KDNS_SIGHTING_H
#define KDNS_SIGHTING_H
#include <stdint.h>
#include "../wire.h"

struct sighting {
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	uint64_t cookie, cgroup, netns;
	uint32_t pid;
	char process[KDNS_TEXT_BYTES];
	uint8_t source[16], target[16];
	uint16_t source_port, target_port;
	uint8_t family, protocol;
	uint8_t outgoing;
	uint8_t on_node; /* seen by a packet socket, not at the socket that sent or got it */
	const uint8_t *data;
	uint32_t captured; /* bytes at `data` */
	uint32_t size;     /* bytes on the wire */
};
#endif
