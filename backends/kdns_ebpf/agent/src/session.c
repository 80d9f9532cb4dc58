#include "session.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct session *session_new(const uint8_t name[16], uint64_t now_ns)
{
	struct session *s = calloc(1, sizeof *s);

	if (s && !(s->out = malloc(SESSION_BUFFER))) {
		free(s);
		return 0;
	}
	if (s) {
		memcpy(s->name, name, 16);
		s->out_fd = -1;
		s->pinged_ns = s->allowance_ns = now_ns;
	}
	return s;
}

void session_free(struct session *s)
{
	filter_clear(&s->filter);
	free(s->out);
	free(s);
}

void session_connect(struct session *s, int out_fd)
{
	s->out_fd = out_fd;
	s->written = s->boundary;
	memset(s->announced, 0, sizeof s->announced);
}

uint32_t session_waiting(const struct session *s) { return s->filled - s->written; }

static int make_room(struct session *s, uint32_t size)
{
	if (s->filled + size > SESSION_BUFFER && s->boundary) {
		memmove(s->out, s->out + s->boundary, s->filled - s->boundary);
		s->filled -= s->boundary;
		s->written -= s->boundary;
		s->boundary = 0;
	}
	return s->filled + size <= SESSION_BUFFER;
}

static void append(struct session *s, const void *bytes, uint32_t size)
{
	if (size)
		memcpy(s->out + s->filled, bytes, size);
	s->filled += size;
}

int session_put(struct session *s, uint16_t type, const void *head, uint32_t head_size, const void *a,
	uint32_t a_size, const void *b, uint32_t b_size)
{
	struct kdns_frame frame = { .size = head_size + a_size + b_size, .type = type };

	if (!make_room(s, (uint32_t)sizeof frame + frame.size))
		return 0;
	append(s, &frame, sizeof frame);
	append(s, head, head_size);
	append(s, a, a_size);
	append(s, b, b_size);
	return 1;
}

int session_flush(struct session *s)
{
	while (s->written < s->filled && s->out_fd >= 0) {
		ssize_t n = write(s->out_fd, s->out + s->written, s->filled - s->written);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return 0;
		if (n < 0)
			break;
		s->written += (uint32_t)n;
	}
	for (;;) {
		struct kdns_frame frame;
		if (s->boundary + sizeof frame > s->written)
			break;
		memcpy(&frame, s->out + s->boundary, sizeof frame);
		if (s->boundary + sizeof frame + frame.size > s->written)
			break;
		s->boundary += (uint32_t)sizeof frame + frame.size;
	}
	if (s->boundary == s->filled)
		s->boundary = s->written = s->filled = 0;
	return 1;
}

int session_wants(struct session *s, const struct candidate *c, uint32_t messages)
{
	if (filter_wants(&s->filter, c))
		return 1;
	s->filtered += messages;
	return 0;
}

/* A token bucket of one second. */
static int within_rate(struct session *s, uint32_t messages, uint64_t now_ns)
{
	double rate = s->filter.config.max_rate;

	if (rate == 0)
		return 1;
	if (now_ns > s->allowance_ns) {
		s->allowance += rate * (double)(now_ns - s->allowance_ns) / 1e9;
		s->allowance_ns = now_ns;
	}
	if (s->allowance > rate)
		s->allowance = rate;
	if (s->allowance < messages)
		return 0;
	s->allowance -= messages;
	return 1;
}

static int announce(struct session *s, uint64_t cgroup, const char *path)
{
	uint64_t *slot = &s->announced[(cgroup * 0x9e3779b97f4a7c15ull >> 54) % SESSION_ANNOUNCED];

	if (!path[0] || *slot == cgroup)
		return 1;
	if (!session_put(s, KDNS_CGROUP, &cgroup, sizeof cgroup, path, (uint32_t)strlen(path), 0, 0))
		return 0;
	*slot = cgroup;
	return 1;
}

static uint64_t since_epoch(uint64_t ns, uint64_t offset_ns) { return ns ? ns + offset_ns : 0; }

static struct kdns_lookup on_wire(const struct session *s, const struct lookup *l, uint64_t offset_ns)
{
	struct kdns_lookup wire = {
		.sequence = s->sequence,
		.query_ns = since_epoch(l->query_ns, offset_ns),
		.last_ns = since_epoch(l->last_ns, offset_ns),
		.response_ns = since_epoch(l->response_ns, offset_ns),
		.cookie = l->cookie, .cgroup = l->cgroup, .netns = l->netns, .pid = l->pid,
		.tries = l->tries,
		.query_size = l->query_size, .response_size = l->response_size,
		.query_captured = l->query ? l->query_captured : 0,
		.response_captured = l->response ? l->response_captured : 0,
		.messages = l->messages,
		.id = l->question.id,
		.client_port = l->client_port, .server_port = l->server_port, .backend_port = l->backend_port,
		.family = l->family, .protocol = l->protocol, .side = l->side, .status = l->status, .flags = l->flags,
	};
	memcpy(wire.client_ip, l->client_ip, 16);
	memcpy(wire.server_ip, l->server_ip, 16);
	memcpy(wire.backend_ip, l->backend_ip, 16);
	memcpy(wire.process, l->process, sizeof wire.process);
	return wire;
}

void session_tell(struct session *s, const struct lookup *l, const char *path, uint64_t now_ns, uint64_t offset_ns)
{
	if (!within_rate(s, l->messages, now_ns)) {
		s->over_rate += l->messages;
		return;
	}
	struct kdns_lookup wire = on_wire(s, l, offset_ns);
	if (!announce(s, l->cgroup, path) || !session_put(s, KDNS_LOOKUP, &wire, sizeof wire, l->query,
		wire.query_captured, l->response, wire.response_captured)) {
		s->lost += l->messages;
		return;
	}
	s->sequence += l->messages;
	s->sent += l->messages;
	if (session_waiting(s) >= SESSION_BATCH)
		session_flush(s);
}

void session_tell_message(struct session *s, const struct lookup *l, const char *path, uint64_t offset_ns)
{
	struct kdns_lookup wire = on_wire(s, l, offset_ns);

	wire.messages = 0; /* the lookup that it belongs to counts it */
	if (announce(s, l->cgroup, path))
		session_put(s, KDNS_MESSAGE, &wire, sizeof wire, l->query, wire.query_captured, l->response,
			wire.response_captured);
}
