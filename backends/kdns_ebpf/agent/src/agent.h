/* From events to what sessions get: messages, lookups, names, counts. */
#ifndef KDNS_AGENT_H
#define KDNS_AGENT_H
#include "loader.h"
#include "pairing.h"
#include "ring.h"
#include "session.h"
#include "tcp.h"

enum { MAX_SESSIONS = 8 };

struct agent_options {
	uint16_t ports[KDNS_PORTS];
	unsigned port_count;
	uint32_t timeout_ms;
	uint32_t ring_bytes;
	const char *cgroup; /* the root, 0: where it is found */
	int force_fallback;
};

struct agent {
	struct agent_options options;
	struct loaded loaded;
	struct ring ring;
	int packet_fd; /* of the fallback, -1 */
	int cgroup_fd;
	int can_find_paths, can_conntrack;
	struct pairing *pairing;
	struct tcp *tcp;
	struct session *sessions[MAX_SESSIONS];
	unsigned session_count;
	uint64_t unreadable;
	uint64_t packets, packets_lost; /* of the fallback */
	uint64_t now_ns, offset_ns; /* CLOCK_MONOTONIC, and what makes it the time since the epoch */
	uint64_t watching_ns; /* from then on both directions are seen */
	uint64_t known_ns; /* what the kernel had by then has been taken */
	uint64_t conntrack_left, conntrack_refilled_ns;
};

enum { AGENT_OK, AGENT_FAILED = 1, AGENT_NO_RIGHTS = 3, AGENT_NO_CGROUP = 4 };

/* AGENT_OK, or the exit status; the reason has been logged. */
int agent_start(struct agent *a, const struct agent_options *options);
/* Takes what the kernel has; 0 when there was nothing. */
unsigned agent_read(struct agent *a);
void agent_update_clock(struct agent *a);
/* A session that begins: it is owed what waits in the pairing. */
void agent_begin_session(struct agent *a, struct session *s);
void agent_tell_pending(struct agent *a, struct session *s);
struct kdns_hello agent_hello(const struct agent *a, int resumed);
struct kdns_stats agent_stats(const struct agent *a, const struct session *s);
#endif
