/* What a session wants: the checked form of a CONFIG frame, and whether a lookup fits it. */
#ifndef KDNS_FILTER_H
#define KDNS_FILTER_H
#include <stdint.h>
#include "../wire.h"
#include "question.h"

struct filter {
	struct kdns_config config;
	uint8_t *lists; /* the lists behind it, as they came */
	uint32_t lists_size;
	uint32_t names_at, clients_at;
	char problem[96];
};

/* What is known of a lookup when it is asked for. */
struct candidate {
	struct question question; /* of the query, or of the response when there was no query */
	const uint8_t *data;      /* the message that has the question */
	uint32_t data_size;
	int answered;
	uint8_t rcode;
	const uint8_t *response; /* to see whether that is all of its code */
	uint32_t response_size;
	uint64_t latency_ns;
	uint8_t side;
	const char *cgroup_path; /* of the socket, "" unknown */
	const uint8_t *client_ip;
	uint8_t family;
};

/* Takes a CONFIG frame; 0 and `problem` when it contradicts itself. The old filter is then gone. */
int filter_set(struct filter *f, const uint8_t *frame, uint32_t size);
void filter_clear(struct filter *f);

/* Never 0 for what is wanted; what cannot be read (no name) is kept for the client to judge. */
int filter_wants(const struct filter *f, const struct candidate *c);
#endif
