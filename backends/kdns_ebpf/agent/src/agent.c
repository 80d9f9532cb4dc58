#include "agent.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "cgroup.h"
#include "conntrack.h"
#include "fallback.h"
#include "log.h"
#include "process.h"

enum { MAX_WAITING = 65536, MAX_STREAMS = 2048, EVENTS_A_TURN = 2048 };
/* A conntrack look-up costs about 5 us: what is beyond goes without, rather than slow the node down. */
enum { CONNTRACK_A_SECOND = 5000 };
static const uint64_t NS_PER_S = 1000000000, NS_PER_MS = 1000000;

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void agent_update_clock(struct agent *a)
{
	a->now_ns = clock_ns(CLOCK_MONOTONIC);
	a->offset_ns = clock_ns(CLOCK_REALTIME) - a->now_ns;
	if (a->now_ns - a->conntrack_refilled_ns >= NS_PER_S) {
		a->conntrack_refilled_ns = a->now_ns;
		a->conntrack_left = CONNTRACK_A_SECOND;
	}
}

static struct candidate candidate_of(const struct lookup *l, const char *path)
{
	int by_query = l->query != 0;

	return (struct candidate) {
		.question = l->question,
		.data = by_query ? l->query : l->response,
		.data_size = by_query ? l->query_captured : l->response_captured,
		.answered = l->response != 0,
		.rcode = l->response ? l->response[3] & 15 : 0,
		.response = l->response,
		.response_size = l->response_captured,
		.latency_ns = l->query_ns && l->response_ns > l->query_ns ? l->response_ns - l->query_ns : 0,
		.side = l->side,
		.cgroup_path = path,
		.client_ip = l->client_ip,
		.family = l->family,
	};
}

/* Once a lookup, and only when somebody wants it. */
static void add_backend(struct agent *a, struct lookup *l)
{
	if (l->side == KDNS_SIDE_SERVER || l->flags & KDNS_BACKEND || !a->can_conntrack || !a->conntrack_left)
		return;
	a->conntrack_left--;
	conntrack_look_up(l);
}

static void on_lookup(void *context, const struct lookup *told)
{
	struct agent *a = context;
	struct lookup l = *told;
	const char *path = cgroup_path(a->cgroup_fd, l.cgroup);
	struct candidate candidate = candidate_of(&l, path);
	int looked_up = 0;

	for (unsigned i = 0; i < a->session_count; i++) {
		if (!session_wants(a->sessions[i], &candidate, l.messages))
			continue;
		if (!looked_up)
			add_backend(a, &l);
		looked_up = 1;
		session_tell(a->sessions[i], &l, path, a->now_ns, a->offset_ns);
	}
}

static void tell_readers(struct agent *a, const struct sighting *s, const struct question *q)
{
	for (unsigned i = 0; i < a->session_count; i++) {
		struct session *session = a->sessions[i];
		if (!(session->filter.config.flags & KDNS_WANT_MESSAGES))
			continue;
		struct lookup l;
		lookup_set_ends(&l, s, q);
		if (q->is_response) {
			l.response = s->data, l.response_ns = s->time_ns;
			l.response_captured = s->captured, l.response_size = s->size;
			l.flags = KDNS_IS_RESPONSE;
		} else {
			l.query = s->data, l.query_ns = l.last_ns = s->time_ns;
			l.query_captured = s->captured, l.query_size = s->size;
		}
		const char *path = cgroup_path(a->cgroup_fd, l.cgroup);
		struct candidate candidate = candidate_of(&l, path);
		if (filter_wants(&session->filter, &candidate))
			session_tell_message(session, &l, path, a->offset_ns);
	}
}

static int is_multicast(const struct sighting *s)
{
	return s->family == 4 ? s->target[0] >= 224 && s->target[0] < 240 : s->target[0] == 0xff;
}

static void on_message(void *context, const struct sighting *s)
{
	struct agent *a = context;
	struct question q;

	if (is_multicast(s) || !question_read(&q, s->data, s->captured)) {
		a->unreadable++;
		return;
	}
	tell_readers(a, s, &q);
	pairing_add(a->pairing, s, &q);
}

/* A packet as the kernel gave it, of the ring or of the packet socket. */
static void on_segment(void *context, const struct segment *segment)
{
	struct agent *a = context;

	if (segment->seen.protocol == 6)
		tcp_add(a->tcp, segment);
	else
		on_message(a, &segment->seen);
}

static void on_event(void *context, const struct kdns_event *e)
{
	struct agent *a = context;

	if (e->kind == KDNS_EVENT_OWNER) {
		process_learn(e->tgid, e->comm);
		cgroup_path(a->cgroup_fd, e->cgroup); /* while it exists */
		return;
	}
	/* Of a lookup from before only the half that is hooked first was seen: it would be told as unanswered. */
	if (e->time_ns < a->watching_ns)
		return;
	struct segment segment = {
		.seen = {
			.time_ns = e->time_ns, .cookie = e->cookie, .cgroup = e->cgroup, .netns = e->netns,
			.pid = e->tgid,
			.source_port = e->source_port, .target_port = e->target_port,
			.family = e->family, .protocol = e->protocol, .outgoing = e->direction == KDNS_EGRESS,
			.data = e->data, .captured = e->captured, .size = e->size,
		},
		.sequence = e->tcp_sequence,
		.flags = e->tcp_flags,
	};
	memcpy(segment.seen.source, e->source, 16);
	memcpy(segment.seen.target, e->target, 16);
	if (e->tgid)
		process_name(e->tgid, e->comm, segment.seen.process);
	on_segment(a, &segment);
}

unsigned agent_read(struct agent *a)
{
	unsigned taken = a->packet_fd >= 0
		? fallback_read(a->packet_fd, EVENTS_A_TURN, on_segment, a, &a->packets, &a->packets_lost)
		: ring_read(&a->ring, EVENTS_A_TURN, on_event, a);
	/* Only with the ring empty: what is overdue may have its answer there. */
	if (taken < EVENTS_A_TURN) {
		pairing_advance(a->pairing, a->now_ns);
		a->known_ns = a->now_ns;
	}
	return taken;
}

static int start_fallback(struct agent *a, const char *why)
{
	a->packet_fd = fallback_open(a->options.ports, a->options.port_count);
	if (a->packet_fd < 0) {
		log_line(KDNS_LOG_FATAL, "%s; and no packet socket either: %s", why, strerror(errno));
		return AGENT_NO_RIGHTS;
	}
	log_line(KDNS_LOG_WARNING, "%s: reading from the node's interfaces instead; pods and processes are known by "
		"address only, and what stays inside a pod is not seen", why);
	return AGENT_OK;
}

int agent_start(struct agent *a, const struct agent_options *options)
{
	struct kdns_settings settings = {0};
	uint64_t seed = 0;

	memset(a, 0, sizeof *a);
	a->options = *options;
	a->packet_fd = -1;
	agent_update_clock(a);
	if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
		seed = a->now_ns;
	question_seed(seed);
	a->pairing = pairing_new(options->timeout_ms * NS_PER_MS, NS_PER_S, MAX_WAITING, on_lookup, a);
	a->tcp = tcp_new(MAX_STREAMS, on_message, a);
	if (!a->pairing || !a->tcp) {
		log_line(KDNS_LOG_FATAL, "no memory");
		return AGENT_FAILED;
	}
	a->can_conntrack = conntrack_open();
	for (unsigned i = 0; i < KDNS_PORTS; i++)
		settings.ports[i] = options->ports[i < options->port_count ? i : 0];
	settings.wake_bytes = options->ring_bytes / 8;
	a->cgroup_fd = open_cgroup_root(options->cgroup);
	if (options->force_fallback)
		return start_fallback(a, "as asked for");
	if (a->cgroup_fd < 0) {
		char why[128];
		snprintf(why, sizeof why, "there is no cgroup v2 here (%s)", strerror(errno));
		return start_fallback(a, why);
	}
	if (!load_programs(&a->loaded, a->cgroup_fd, &settings, options->ring_bytes))
		return start_fallback(a, a->loaded.problem);
	agent_update_clock(a);
	a->watching_ns = a->now_ns;
	if (!ring_open(&a->ring, a->loaded.ring_fd, options->ring_bytes)) {
		log_line(KDNS_LOG_FATAL, "cannot map the ring: %s", strerror(errno));
		return AGENT_FAILED;
	}
	a->can_find_paths = can_find_paths(a->cgroup_fd);
	return AGENT_OK;
}

void agent_begin_session(struct agent *a, struct session *s)
{
	const struct pairing_counts *c = pairing_counts(a->pairing);

	s->seen_at_start = c->decoded - c->waiting;
	s->late_at_start = c->late + c->duplicates;
	s->gone_at_start = c->evicted;
}

struct pending { struct agent *agent; struct session *session; };

static void on_pending(void *context, const struct lookup *l)
{
	struct pending *p = context;
	const char *path = cgroup_path(p->agent->cgroup_fd, l->cgroup);
	struct candidate candidate = candidate_of(l, path);

	struct lookup copy = *l;

	if (!session_wants(p->session, &candidate, l->messages))
		return;
	add_backend(p->agent, &copy);
	session_tell(p->session, &copy, path, p->agent->now_ns, p->agent->offset_ns);
}

void agent_tell_pending(struct agent *a, struct session *s)
{
	struct pending p = { a, s };
	pairing_pending(a->pairing, a->now_ns, on_pending, &p);
}

struct kdns_hello agent_hello(const struct agent *a, int resumed)
{
	struct kdns_hello hello = {
		.magic = KDNS_MAGIC, .version = KDNS_VERSION, .time_ns = a->now_ns + a->offset_ns,
		.cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN), .timeout_ms = a->options.timeout_ms,
	};
	struct utsname name;

	hello.can = (uint16_t)((a->loaded.has_owners ? KDNS_CAN_OWNERS : 0) | (a->can_find_paths ? KDNS_CAN_PATHS : 0) |
		(a->loaded.has_netns ? KDNS_CAN_NETNS : 0) | (a->can_conntrack ? KDNS_CAN_CONNTRACK : 0) |
		(a->packet_fd >= 0 ? KDNS_IS_FALLBACK : 0) | (resumed ? KDNS_RESUMED : 0));
	if (!uname(&name))
		memcpy(hello.release, name.release, sizeof hello.release - 1);
	return hello;
}

static uint64_t rss_bytes(void)
{
	char text[128] = "";
	unsigned long pages = 0;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, text, sizeof text - 1) > 0 && strchr(text, ' '))
			pages = strtoul(strchr(text, ' '), 0, 10);
		close(fd);
	}
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

struct kdns_stats agent_stats(const struct agent *a, const struct session *s)
{
	const struct pairing_counts *c = pairing_counts(a->pairing);
	uint64_t kernel[KDNS_C_MAX] = {0};
	struct rusage used;

	if (a->packet_fd < 0)
		read_counters(&a->loaded, kernel);
	else
		kernel[KDNS_C_CAPTURED] = a->packets + a->packets_lost, kernel[KDNS_C_SENT] = a->packets,
		kernel[KDNS_C_LOST] = a->packets_lost;
	getrusage(RUSAGE_SELF, &used);
	uint64_t late = c->late + c->duplicates - s->late_at_start, gone = c->evicted - s->gone_at_start;
	return (struct kdns_stats) {
		.time_ns = a->now_ns + a->offset_ns,
		.packets_out = kernel[KDNS_C_PACKETS_OUT], .packets_in = kernel[KDNS_C_PACKETS_IN],
		.captured = kernel[KDNS_C_CAPTURED], .control = kernel[KDNS_C_CONTROL],
		.ring_sent = kernel[KDNS_C_SENT], .ring_lost = kernel[KDNS_C_LOST],
		.unreadable = a->unreadable, .tcp_gaps = tcp_counts(a->tcp)->gaps,
		.duplicates = c->duplicates, .evicted = c->evicted,
		.seen = c->decoded - s->seen_at_start,
		.sent = s->sent, .filtered = s->filtered + late, .lost = s->lost + gone, .over_rate = s->over_rate,
		.pending = c->waiting, .late = c->late,
		.cpu_ns = (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * NS_PER_S +
			(uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000,
		.rss_bytes = rss_bytes(),
		.known_ns = a->known_ns ? a->known_ns + a->offset_ns : 0,
	};
}
