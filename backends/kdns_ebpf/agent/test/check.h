/* What the tests share: checks that count, and messages to test with. */
#ifndef KDNS_CHECK_H
#define KDNS_CHECK_H
#include <stdint.h>
#include <stdio.h>
#include <string.h>

extern int checks, failures;

#define CHECK(condition) \
	do { \
		checks++; \
		if (!(condition)) { \
			failures++; \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
		} \
	} while (0)

#define CHECK_EQUAL(a, b) \
	do { \
		long long a_ = (long long)(a), b_ = (long long)(b); \
		checks++; \
		if (a_ != b_) { \
			failures++; \
			fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #a, a_, b_); \
		} \
	} while (0)

/* A query or response with one question; its size. `name` with dots, "" is the root. */
unsigned make_message(uint8_t bytes[512], uint16_t id, int is_response, int rcode, const char *name, uint16_t type);

void test_question(void);
void test_filter(void);
void test_pairing(void);
void test_tcp(void);
void test_session(void);
void test_packets(void);
#endif
