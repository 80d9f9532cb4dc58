/* Reads as much of a DNS message as pairing and filter need: header and question. */
#ifndef KDNS_QUESTION_H
#define KDNS_QUESTION_H
#include <stdint.h>

enum { QUESTION_NAME_MAX = 1024 }; /* 255 bytes, each as \ddd at most */

struct question {
	uint16_t id;
	uint8_t is_response;
	uint8_t rcode;    /* the low four bits */
	uint8_t has_name; /* name, type and hash are known: there is a question, whole and readable */
	uint16_t type;
	uint64_t hash; /* of name (without case), type and class */
};

/* Sets a seed for the hashes, so that nobody can make two questions alike from outside. */
void question_seed(uint64_t seed);

/* 0 when there are fewer than the 12 bytes of a header (RFC 1035 section 4.1.1). */
int question_read(struct question *q, const uint8_t *data, uint32_t size);

/* Whether a response may have a code of more than four bits (RFC 6891 section 6.1.3): its OPT record says so, or it
 * cannot be read as far as that. */
int question_has_extended_rcode(const uint8_t *data, uint32_t size);

/* The name in presentation form, lower case, without the last dot; its length. "." is the root, as in the
 * records. Only for messages with has_name. */
unsigned question_name(char text[QUESTION_NAME_MAX], const uint8_t *data, uint32_t size);
#endif
