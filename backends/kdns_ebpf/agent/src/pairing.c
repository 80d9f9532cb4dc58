#include "pairing.h"
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

enum { INLINE_QUERY = 96, SLAB_ENTRIES = 64, BUCKETS = 8192, TOLD = 8192 };
/* What a packet socket sees at several interfaces is one message (pairing.py has the reasons). */
static const uint64_t DUPLICATE_NS = 100000000;

struct entry {
	struct lookup lookup;
	struct entry *chain;           /* of the bucket */
	struct entry *sooner, *later;  /* in the order of deadlines */
	uint64_t key;
	uint64_t deadline_ns;
	uint8_t *copy; /* of a query that is too long for `bytes` */
	uint8_t bytes[INLINE_QUERY];
};

/* What was told of late, one a slot: enough to know a second or a late response. */
struct told {
	uint64_t key;
	uint32_t given_up;
};

struct slab {
	struct slab *next;
	struct entry entries[SLAB_ENTRIES];
};

struct pairing {
	uint64_t timeout_ns, grace_ns;
	unsigned max_waiting, entries;
	tell_lookup *tell;
	void *context;
	struct pairing_counts counts;
	struct entry *free, *soonest, *latest;
	struct slab *slabs;
	struct entry *buckets[BUCKETS];
	struct told told[TOLD];
};

struct pairing *pairing_new(uint64_t timeout_ns, uint64_t grace_ns, unsigned max_waiting, tell_lookup *tell,
	void *context)
{
	struct pairing *p = calloc(1, sizeof *p);

	if (p) {
		p->timeout_ns = timeout_ns;
		p->grace_ns = grace_ns;
		p->max_waiting = max_waiting;
		p->tell = tell;
		p->context = context;
	}
	return p;
}

void pairing_free(struct pairing *p)
{
	for (struct entry *e = p->soonest; e; e = e->later)
		free(e->copy);
	for (struct slab *s = p->slabs, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	free(p);
}

const struct pairing_counts *pairing_counts(const struct pairing *p) { return &p->counts; }

static uint64_t mix(uint64_t hash, uint64_t word)
{
	__uint128_t product = (__uint128_t)(hash ^ word) * 0x9e3779b97f4a7c15ull;
	return (uint64_t)product ^ (uint64_t)(product >> 64) ^ 0x2545f4914f6cdd1dull;
}

static uint64_t mix_end(uint64_t hash, const uint8_t ip[16], uint16_t port)
{
	uint64_t words[2];
	memcpy(words, ip, 16);
	return mix(mix(mix(hash, words[0]), words[1]), port);
}

/* All that query and response share but for the question. A client's socket is named by its cookie, and its
 * addresses must not count: on the host's network the query is seen behind the translation of its addresses,
 * the response as the socket gets it. A server's socket has many clients; over TCP, the first query of one may
 * come by the listening socket, and the response by that of the connection. The cookie is mixed by itself: cookies
 * count up, and two of them differ by as few bits as two ids do. */
static uint64_t key_of(const struct lookup *l)
{
	int by_cookie = l->cookie && (l->side == KDNS_SIDE_CLIENT || l->protocol != IPPROTO_TCP);
	uint64_t who = (uint64_t)l->side << 32 | (uint64_t)l->protocol << 24 | l->question.id;
	uint64_t key = mix(mix(0, by_cookie ? l->cookie : 0), who);

	if (!l->cookie || l->side != KDNS_SIDE_CLIENT)
		key = mix_end(key, l->client_ip, l->client_port);
	if (!by_cookie)
		key = mix_end(mix(key, l->cgroup), l->server_ip, l->server_port);
	return key;
}

static int same_server(const struct lookup *a, const struct lookup *b)
{
	return a->server_port == b->server_port && !memcmp(a->server_ip, b->server_ip, 16);
}

static struct told *told_slot(struct pairing *p, uint64_t key) { return &p->told[(key >> 40) % TOLD]; }

static uint64_t told_key(uint64_t key, const struct question *q) { return mix(key, q->hash); }

static struct entry *new_entry(struct pairing *p)
{
	if (!p->free) {
		struct slab *slab = calloc(1, sizeof *slab);
		if (!slab)
			return 0;
		slab->next = p->slabs;
		p->slabs = slab;
		for (int i = 0; i < SLAB_ENTRIES; i++) {
			slab->entries[i].later = p->free;
			p->free = &slab->entries[i];
		}
	}
	struct entry *e = p->free;
	p->free = e->later;
	return e;
}

static void put_last(struct pairing *p, struct entry *e)
{
	e->later = 0;
	e->sooner = p->latest;
	*(p->latest ? &p->latest->later : &p->soonest) = e;
	p->latest = e;
}

static void take_out(struct pairing *p, struct entry *e)
{
	*(e->sooner ? &e->sooner->later : &p->soonest) = e->later;
	*(e->later ? &e->later->sooner : &p->latest) = e->sooner;
}

/* Out of the bucket and the order; its memory stays until `release`. */
static void forget(struct pairing *p, struct entry *e)
{
	struct entry **link = &p->buckets[e->key % BUCKETS];

	while (*link != e)
		link = &(*link)->chain;
	*link = e->chain;
	take_out(p, e);
	p->entries--;
	p->counts.waiting -= e->lookup.tries;
}

static void release(struct pairing *p, struct entry *e)
{
	free(e->copy);
	e->copy = 0;
	e->later = p->free;
	p->free = e;
}

void lookup_set_ends(struct lookup *l, const struct sighting *s, const struct question *q)
{
	int from_client = !q->is_response;

	memset(l, 0, sizeof *l);
	l->cookie = s->cookie;
	l->cgroup = s->cgroup;
	l->netns = s->netns;
	l->pid = s->pid;
	memcpy(l->process, s->process, sizeof l->process);
	memcpy(l->client_ip, from_client ? s->source : s->target, 16);
	memcpy(l->server_ip, from_client ? s->target : s->source, 16);
	l->client_port = from_client ? s->source_port : s->target_port;
	l->server_port = from_client ? s->target_port : s->source_port;
	l->family = s->family;
	l->protocol = s->protocol;
	l->side = s->on_node ? KDNS_SIDE_NODE : s->outgoing == from_client ? KDNS_SIDE_CLIENT : KDNS_SIDE_SERVER;
	l->question = *q;
}

static void set_response(struct lookup *l, const struct sighting *s)
{
	l->response_ns = s->time_ns;
	l->response = s->data;
	l->response_captured = s->captured;
	l->response_size = s->size;
	l->status = KDNS_ANSWERED;
}

static void give_up(struct pairing *p, struct entry *e)
{
	struct told *told = told_slot(p, e->key);

	forget(p, e);
	told->key = told_key(e->key, &e->lookup.question);
	told->given_up = 1;
	e->lookup.status = KDNS_UNANSWERED;
	p->tell(p->context, &e->lookup);
	release(p, e);
}

static void add_query(struct pairing *p, const struct sighting *s, const struct lookup *ends, uint64_t key)
{
	uint64_t deadline_ns = s->time_ns + p->timeout_ns + p->grace_ns;

	for (struct entry *e = p->buckets[key % BUCKETS]; e; e = e->chain) {
		if (e->key != key || e->lookup.question.hash != ends->question.hash || !same_server(&e->lookup, ends))
			continue;
		if (s->on_node && s->time_ns - e->lookup.last_ns < DUPLICATE_NS) {
			p->counts.duplicates++;
			return;
		}
		e->lookup.tries++;
		e->lookup.messages++;
		e->lookup.last_ns = s->time_ns;
		e->deadline_ns = deadline_ns;
		p->counts.waiting++;
		take_out(p, e);
		put_last(p, e);
		return;
	}
	if (p->entries >= p->max_waiting && p->soonest) {
		struct entry *oldest = p->soonest;
		p->counts.evicted += oldest->lookup.tries;
		forget(p, oldest);
		release(p, oldest);
	}
	struct entry *e = new_entry(p);
	uint8_t *bytes = 0;
	if (e) {
		bytes = e->bytes;
		if (s->captured > INLINE_QUERY)
			bytes = e->copy = malloc(s->captured);
		if (!bytes)
			release(p, e);
	}
	if (!bytes) {
		p->counts.evicted++;
		return;
	}
	memcpy(bytes, s->data, s->captured);
	e->lookup = *ends;
	e->lookup.query_ns = e->lookup.last_ns = s->time_ns;
	e->lookup.tries = e->lookup.messages = 1;
	e->lookup.query = bytes;
	e->lookup.query_captured = s->captured;
	e->lookup.query_size = s->size;
	e->key = key;
	e->deadline_ns = deadline_ns;
	e->chain = p->buckets[key % BUCKETS];
	p->buckets[key % BUCKETS] = e;
	put_last(p, e);
	p->entries++;
	p->counts.waiting++;
}

/* The query of a response: with its question, or the only one when the response repeats none; and of its server,
 * or, at a client's socket, the only one that may have been asked by another address (a translated one). */
static struct entry *find_query(struct pairing *p, const struct lookup *ends, uint64_t key)
{
	struct entry *found = 0;
	unsigned near = 0;
	int has_name = ends->question.has_name;

	for (struct entry *e = p->buckets[key % BUCKETS]; e; e = e->chain) {
		if (e->key != key || (has_name && e->lookup.question.hash != ends->question.hash))
			continue;
		if (has_name && same_server(&e->lookup, ends))
			return e;
		if (same_server(&e->lookup, ends) || (ends->cookie && ends->side == KDNS_SIDE_CLIENT)) {
			found = e;
			near++;
		}
	}
	return near == 1 ? found : 0;
}

static void add_response(struct pairing *p, const struct sighting *s, struct lookup *ends, uint64_t key)
{
	struct entry *e = find_query(p, ends, key);
	uint64_t known = told_key(key, &ends->question);
	struct told *told = told_slot(p, key);

	if (!e) {
		if (told->key == known) {
			*(told->given_up ? &p->counts.late : &p->counts.duplicates) += 1;
			told->given_up = 0; /* one more is a duplicate */
			return;
		}
		ends->messages = 1;
		set_response(ends, s);
		ends->status = KDNS_NO_QUERY;
		p->tell(p->context, ends);
	} else {
		struct lookup *l = &e->lookup;
		forget(p, e);
		known = told_key(key, &l->question);
		if (!same_server(l, ends)) {
			/* The response has the addresses that the socket knows, the query those behind translation. */
			memcpy(l->backend_ip, l->server_ip, 16);
			l->backend_port = l->server_port;
			memcpy(l->server_ip, ends->server_ip, 16);
			l->server_port = ends->server_port;
			l->flags |= KDNS_BACKEND;
			memcpy(l->client_ip, ends->client_ip, 16);
			l->client_port = ends->client_port;
		}
		set_response(l, s);
		l->messages++;
		if (s->time_ns - l->last_ns > p->timeout_ns)
			l->flags |= KDNS_LATE;
		p->tell(p->context, l);
		release(p, e);
	}
	told->key = known;
	told->given_up = 0;
}

void pairing_add(struct pairing *p, const struct sighting *s, const struct question *q)
{
	struct lookup ends;

	p->counts.decoded++;
	pairing_advance(p, s->time_ns);
	lookup_set_ends(&ends, s, q);
	uint64_t key = key_of(&ends);
	if (q->is_response)
		add_response(p, s, &ends, key);
	else
		add_query(p, s, &ends, key);
}

void pairing_advance(struct pairing *p, uint64_t now_ns)
{
	while (p->soonest && p->soonest->deadline_ns <= now_ns)
		give_up(p, p->soonest);
}

void pairing_pending(struct pairing *p, uint64_t now_ns, tell_lookup *tell, void *context)
{
	for (struct entry *e = p->soonest; e; e = e->later) {
		struct lookup l = e->lookup;
		l.status = now_ns + p->grace_ns >= e->deadline_ns ? KDNS_UNANSWERED : KDNS_PENDING;
		tell(context, &l);
	}
}
