/* One client: what it wants, what it is owed, and the bytes on their way to it.
 *
 * A session outlives its connection for a while: who comes again with its name goes on. When its client reads too
 * slowly its buffer fills, and what has no room is counted; other sessions do not notice. */
#ifndef KDNS_SESSION_H
#define KDNS_SESSION_H
#include <stdint.h>
#include "filter.h"
#include "pairing.h"

enum { SESSION_BUFFER = 1 << 20, SESSION_BATCH = 32 << 10, SESSION_ANNOUNCED = 1024 };

struct session {
	uint8_t name[16];
	int out_fd; /* of its connection, -1 without one */
	struct filter filter;
	char *out;
	uint32_t boundary; /* in `out`: where the frame begins that is being written */
	uint32_t written, filled;
	uint64_t sequence;
	uint64_t seen_at_start, sent, filtered, lost, over_rate, late_at_start, gone_at_start;
	uint64_t pinged_ns; /* when it was last heard of */
	double allowance;   /* messages that --max-rate lets through now */
	uint64_t allowance_ns;
	uint64_t announced[SESSION_ANNOUNCED]; /* ids of cgroups whose paths it knows, one a slot */
};

struct session *session_new(const uint8_t name[16], uint64_t now_ns);
void session_free(struct session *s);
/* A connection, new or again; frames that it did not get whole are sent again. */
void session_connect(struct session *s, int out_fd);

/* 0 when there is no room: then nothing was put. */
int session_put(struct session *s, uint16_t type, const void *head, uint32_t head_size, const void *a,
	uint32_t a_size, const void *b, uint32_t b_size);
/* Writes what the connection takes; 0 when that is broken. */
int session_flush(struct session *s);
uint32_t session_waiting(const struct session *s);

/* Whether it wants the lookup; counts it when not. */
int session_wants(struct session *s, const struct candidate *c, uint32_t messages);
/* Puts the lookup, or counts why not. `offset_ns` makes the times those since the epoch. */
void session_tell(struct session *s, const struct lookup *l, const char *path, uint64_t now_ns, uint64_t offset_ns);
void session_tell_message(struct session *s, const struct lookup *l, const char *path, uint64_t offset_ns);
#endif
