/* Joins each query with its response, as they were seen at one socket.
 *
 * The rules are those of kubectl_kdns/pairing.py, made simpler by the place: a socket sees a message once and in
 * order, and is named by its cookie. A query again is a try; without a response it is told after the time-out
 * and a grace (a resolver that waits as long retransmits just then); a response in the grace is late; one after
 * it, and a second one, is only counted. So
 * decoded = messages of told lookups + duplicates + late + evicted + waiting. */
#ifndef KDNS_PAIRING_H
#define KDNS_PAIRING_H
#include <stdint.h>
#include "question.h"
#include "sighting.h"

struct lookup {
	uint64_t query_ns, last_ns, response_ns; /* CLOCK_MONOTONIC; 0: not seen */
	uint64_t cookie, cgroup, netns;
	uint32_t pid;
	char process[KDNS_TEXT_BYTES];
	uint32_t tries;
	uint32_t messages;
	uint8_t client_ip[16], server_ip[16], backend_ip[16];
	uint16_t client_port, server_port, backend_port;
	uint8_t family, protocol, side, status, flags;
	struct question question;
	const uint8_t *query, *response;
	uint32_t query_captured, query_size, response_captured, response_size;
};

typedef void tell_lookup(void *context, const struct lookup *lookup);

struct pairing_counts {
	uint64_t decoded, duplicates, late, evicted, waiting; /* messages */
};

struct pairing;

/* 0 without memory. `tell` gets each lookup when it is complete; what it points to is gone afterwards. */
struct pairing *pairing_new(uint64_t timeout_ns, uint64_t grace_ns, unsigned max_waiting, tell_lookup *tell,
	void *context);
void pairing_free(struct pairing *p);
void pairing_add(struct pairing *p, const struct sighting *s, const struct question *q);
/* Tells what is overdue at `now_ns`. */
void pairing_advance(struct pairing *p, uint64_t now_ns);
/* Tells all that waits, as pending or, past the time-out, unanswered; it goes on waiting. */
void pairing_pending(struct pairing *p, uint64_t now_ns, tell_lookup *tell, void *context);
/* What one message tells of its lookup: whose socket, which ends, what question. */
void lookup_set_ends(struct lookup *l, const struct sighting *s, const struct question *q);
const struct pairing_counts *pairing_counts(const struct pairing *p);
#endif
