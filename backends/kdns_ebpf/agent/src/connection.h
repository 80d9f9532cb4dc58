/* The bytes that a client writes, as frames; which session they are for. */
#ifndef KDNS_CONNECTION_H
#define KDNS_CONNECTION_H
#include "agent.h"

struct connection {
	int in_fd, out_fd;
	uint8_t *in; /* room for one frame */
	uint32_t filled;
	struct session *session; /* 0 until its first CONFIG */
};

enum { CONNECTION_OPEN, CONNECTION_BROKEN, CONNECTION_CLOSED };

/* Non-blocking; 0 without memory. The connection owns the descriptors. */
struct connection *connection_new(int in_fd, int out_fd);
/* Closes the descriptors; the session stays. */
void connection_free(struct connection *c);
/* Whether its session has a newer connection. */
int connection_is_stale(const struct connection *c);
/* Reads what there is and does it. CLOSED: the client said so; BROKEN: it is gone, or sent what is no frame. */
int connection_read(struct connection *c, struct agent *a);
#endif
