#include "connection.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "log.h"

enum { IN_BYTES = KDNS_MAX_CONFIG + sizeof(struct kdns_frame) };

struct connection *connection_new(int in_fd, int out_fd)
{
	struct connection *c = calloc(1, sizeof *c);

	if (c && !(c->in = malloc(IN_BYTES))) {
		free(c);
		c = 0;
	}
	if (c) {
		c->in_fd = in_fd;
		c->out_fd = out_fd;
		fcntl(in_fd, F_SETFL, fcntl(in_fd, F_GETFL) | O_NONBLOCK);
		fcntl(out_fd, F_SETFL, fcntl(out_fd, F_GETFL) | O_NONBLOCK);
	}
	return c;
}

int connection_is_stale(const struct connection *c) { return c->session && c->session->out_fd != c->out_fd; }

void connection_free(struct connection *c)
{
	if (c->session && !connection_is_stale(c))
		c->session->out_fd = -1;
	close(c->in_fd);
	if (c->out_fd != c->in_fd)
		close(c->out_fd);
	free(c->in);
	free(c);
}

static struct session *find_session(struct agent *a, const uint8_t name[16])
{
	for (unsigned i = 0; i < a->session_count; i++)
		if (!memcmp(a->sessions[i]->name, name, 16))
			return a->sessions[i];
	return 0;
}

static int configure(struct connection *c, struct agent *a, const uint8_t *frame, uint32_t size)
{
	struct filter filter = {0};
	struct session *s = c->session;
	int resumed = 0, is_new = 0;

	if (!filter_set(&filter, frame, size)) {
		log_line(KDNS_LOG_WARNING, "refused a client's configuration: %s", filter.problem);
		return 0;
	}
	if (s && memcmp(s->name, filter.config.session, 16)) {
		filter_clear(&filter);
		return 0; /* one connection, one session */
	}
	if (!s && (s = find_session(a, filter.config.session)))
		resumed = 1;
	if (!s) {
		if (a->session_count == MAX_SESSIONS || !(s = session_new(filter.config.session, a->now_ns))) {
			log_line(KDNS_LOG_WARNING, "%u clients read already: one more is refused", a->session_count);
			filter_clear(&filter);
			return 0;
		}
		agent_begin_session(a, s);
		a->sessions[a->session_count++] = s;
		is_new = 1;
	}
	filter_clear(&s->filter);
	s->filter = filter;
	s->allowance = filter.config.max_rate;
	if (!c->session) {
		session_connect(s, c->out_fd);
		c->session = s;
	}
	s->pinged_ns = a->now_ns;
	if (resumed || is_new) {
		struct kdns_hello hello = agent_hello(a, resumed);
		struct kdns_stats stats = agent_stats(a, s);
		session_put(s, KDNS_HELLO, &hello, sizeof hello, 0, 0, 0, 0);
		/* What the figures that come are counted from. */
		session_put(s, KDNS_STATS, &stats, sizeof stats, 0, 0, 0, 0);
		session_flush(s);
	}
	return 1;
}

/* One whole frame. */
static int act(struct connection *c, struct agent *a, uint16_t type, const uint8_t *data, uint32_t size)
{
	if (type == KDNS_CONFIG)
		return configure(c, a, data, size) ? CONNECTION_OPEN : CONNECTION_BROKEN;
	if (!c->session || size)
		return CONNECTION_BROKEN;
	c->session->pinged_ns = a->now_ns;
	if (type == KDNS_CLOSE)
		return CONNECTION_CLOSED;
	return type == KDNS_PING ? CONNECTION_OPEN : CONNECTION_BROKEN;
}

int connection_read(struct connection *c, struct agent *a)
{
	for (;;) {
		ssize_t n = read(c->in_fd, c->in + c->filled, IN_BYTES - c->filled);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return CONNECTION_OPEN;
		if (n <= 0)
			return CONNECTION_BROKEN;
		c->filled += (uint32_t)n;
		uint32_t at = 0;
		struct kdns_frame frame;
		while (c->filled - at >= sizeof frame) {
			memcpy(&frame, c->in + at, sizeof frame);
			if (frame.size > KDNS_MAX_CONFIG)
				return CONNECTION_BROKEN;
			if (c->filled - at < sizeof frame + frame.size)
				break;
			int outcome = act(c, a, frame.type, c->in + at + sizeof frame, frame.size);
			if (outcome != CONNECTION_OPEN)
				return outcome;
			at += (uint32_t)sizeof frame + frame.size;
		}
		memmove(c->in, c->in + at, c->filled - at);
		c->filled -= at;
	}
}
