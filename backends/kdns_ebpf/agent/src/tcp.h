/* Puts the DNS messages of TCP streams together again (RFC 7766: each behind two bytes of length).
 *
 * Segments come as the socket got or sent them: again, out of order, several messages in one, one message in
 * several. Behind a hole that is not filled the stream goes on where a segment begins: DNS programs write a
 * message in one piece. */
#ifndef KDNS_TCP_H
#define KDNS_TCP_H
#include <stdint.h>
#include "sighting.h"

struct segment {
	struct sighting seen; /* data, captured, size: those of the segment */
	uint32_t sequence;
	uint8_t flags;
};

/* Gets each message as a sighting of its own; `captured` < `size` where a segment was cut. */
typedef void tell_message(void *context, const struct sighting *message);

struct tcp_counts {
	uint64_t gaps;    /* holes that were not filled, streams given up for want of room */
	uint64_t streams; /* now */
};

struct tcp;
struct tcp *tcp_new(unsigned max_streams, tell_message *tell, void *context);
void tcp_free(struct tcp *t);
void tcp_add(struct tcp *t, const struct segment *s);
const struct tcp_counts *tcp_counts(const struct tcp *t);
#endif
