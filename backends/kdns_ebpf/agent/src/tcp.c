#include "tcp.h"
#include <stdlib.h>
#include <string.h>

enum { FIN = 1, SYN = 2, RST = 4 };
enum { BUCKETS = 1024, MAX_HELD = 16, MAX_HELD_BYTES = 64 << 10, MAX_MESSAGE = 65535 };
static const uint64_t HOLE_NS = 1000000000; /* longer than a retransmission takes (RFC 6298: 1 s at first) */

/* A segment behind a hole. */
struct held {
	struct held *next;
	uint32_t sequence, captured, size;
	uint64_t time_ns;
	uint8_t data[];
};

struct stream {
	struct stream *chain, *newer, *older;
	uint64_t cgroup;
	uint8_t source[16], target[16];
	uint16_t source_port, target_port;
	uint8_t outgoing, synced;
	uint32_t next; /* sequence number of the byte that comes next */
	uint32_t skip; /* bytes of a message that was told without them */
	uint8_t *part; /* of a message, from its length on */
	uint32_t part_used, part_room;
	struct held *held;
	uint32_t held_count, held_bytes;
};

struct tcp {
	unsigned max_streams;
	tell_message *tell;
	void *context;
	struct tcp_counts counts;
	struct stream *newest, *oldest;
	struct stream *buckets[BUCKETS];
};

struct tcp *tcp_new(unsigned max_streams, tell_message *tell, void *context)
{
	struct tcp *t = calloc(1, sizeof *t);

	if (t) {
		t->max_streams = max_streams;
		t->tell = tell;
		t->context = context;
	}
	return t;
}

const struct tcp_counts *tcp_counts(const struct tcp *t) { return &t->counts; }

static unsigned bucket_of(const struct sighting *s)
{
	uint32_t hash = (uint32_t)s->source_port << 16 | s->target_port;

	for (int i = 0; i < 16; i++)
		hash = hash * 31 + (uint32_t)(s->source[i] ^ s->target[i]);
	hash ^= (uint32_t)s->cgroup;
	return (hash ^ hash >> 15) % BUCKETS;
}

/* By the cgroup and the addresses: the first data may come by the listening socket, with another cookie. */
static int is_of(const struct stream *stream, const struct sighting *s)
{
	return stream->source_port == s->source_port && stream->target_port == s->target_port &&
		stream->outgoing == s->outgoing && stream->cgroup == s->cgroup &&
		!memcmp(stream->source, s->source, 16) && !memcmp(stream->target, s->target, 16);
}

static void unlink_age(struct tcp *t, struct stream *stream)
{
	*(stream->newer ? &stream->newer->older : &t->newest) = stream->older;
	*(stream->older ? &stream->older->newer : &t->oldest) = stream->newer;
}

static void link_newest(struct tcp *t, struct stream *stream)
{
	stream->newer = 0;
	stream->older = t->newest;
	*(t->newest ? &t->newest->newer : &t->oldest) = stream;
	t->newest = stream;
}

static void drop_held(struct stream *stream)
{
	for (struct held *h = stream->held, *next; h; h = next) {
		next = h->next;
		free(h);
	}
	stream->held = 0;
	stream->held_count = stream->held_bytes = 0;
}

static void drop(struct tcp *t, struct stream *stream, unsigned bucket)
{
	struct stream **link = &t->buckets[bucket];

	while (*link != stream)
		link = &(*link)->chain;
	*link = stream->chain;
	unlink_age(t, stream);
	drop_held(stream);
	free(stream->part);
	free(stream);
	t->counts.streams--;
}

void tcp_free(struct tcp *t)
{
	for (unsigned b = 0; b < BUCKETS; b++)
		while (t->buckets[b])
			drop(t, t->buckets[b], b);
	free(t);
}

static struct stream *find(struct tcp *t, const struct sighting *s, unsigned bucket)
{
	struct stream *stream = t->buckets[bucket];

	while (stream && !is_of(stream, s))
		stream = stream->chain;
	return stream;
}

static struct stream *add_stream(struct tcp *t, const struct sighting *s, unsigned bucket)
{
	if (t->counts.streams >= t->max_streams && t->oldest) {
		struct stream *oldest = t->oldest;
		struct sighting ends = { .cgroup = oldest->cgroup, .source_port = oldest->source_port,
			.target_port = oldest->target_port };
		memcpy(ends.source, oldest->source, 16);
		memcpy(ends.target, oldest->target, 16);
		t->counts.gaps += oldest->part_used || oldest->held;
		drop(t, oldest, bucket_of(&ends));
	}
	struct stream *stream = calloc(1, sizeof *stream);
	if (!stream)
		return 0;
	stream->cgroup = s->cgroup;
	memcpy(stream->source, s->source, 16);
	memcpy(stream->target, s->target, 16);
	stream->source_port = s->source_port;
	stream->target_port = s->target_port;
	stream->outgoing = s->outgoing;
	stream->chain = t->buckets[bucket];
	t->buckets[bucket] = stream;
	link_newest(t, stream);
	t->counts.streams++;
	return stream;
}

static uint32_t length_at(const uint8_t *data) { return (uint32_t)data[0] << 8 | data[1]; }

static void tell(struct tcp *t, const struct sighting *like, const uint8_t *data, uint32_t captured, uint32_t size)
{
	struct sighting message = *like;

	message.data = data;
	message.captured = captured;
	message.size = size;
	t->tell(t->context, &message);
}

/* Keeps the beginning of a message until the rest comes; 0 without memory. */
static int keep(struct stream *stream, const uint8_t *data, uint32_t size)
{
	uint32_t wanted = stream->part_used + size;

	if (wanted > stream->part_room) {
		uint32_t room = wanted < 1024 ? 1024 : wanted;
		uint8_t *part = realloc(stream->part, room);
		if (!part)
			return 0;
		stream->part = part;
		stream->part_room = room;
	}
	memcpy(stream->part + stream->part_used, data, size);
	stream->part_used = wanted;
	return 1;
}

static void lose(struct tcp *t, struct stream *stream)
{
	t->counts.gaps++;
	stream->part_used = stream->skip = 0;
	stream->synced = 0;
}

static void forget_part(struct stream *stream)
{
	free(stream->part);
	stream->part = 0;
	stream->part_used = stream->part_room = 0;
}

/* The next bytes of the stream, `captured` of `size` at hand. */
static void consume(struct tcp *t, struct stream *stream, const struct sighting *like, const uint8_t *data,
	uint32_t captured, uint32_t size)
{
	while (size) {
		if (stream->skip) {
			uint32_t n = stream->skip < size ? stream->skip : size;
			stream->skip -= n;
			data += n < captured ? n : captured;
			captured -= n < captured ? n : captured;
			size -= n;
			continue;
		}
		if (!captured) { /* where the next message begins is in what was cut off */
			lose(t, stream);
			return;
		}
		if (stream->part_used < 2) {
			if (!stream->part_used && captured >= 2 && length_at(data) + 2 <= captured) {
				uint32_t whole = length_at(data);
				tell(t, like, data + 2, whole, whole);
				data += whole + 2;
				captured -= whole + 2;
				size -= whole + 2;
				continue;
			}
			if (!keep(stream, data, 1)) {
				lose(t, stream);
				return;
			}
			data++, captured--, size--;
			continue;
		}
		uint32_t whole = length_at(stream->part), lacking = whole - (stream->part_used - 2);
		uint32_t n = lacking < captured ? lacking : captured;
		if (!keep(stream, data, n)) {
			lose(t, stream);
			return;
		}
		data += n, captured -= n, size -= n, lacking -= n;
		if (lacking && (captured || !size))
			continue; /* more will come */
		tell(t, like, stream->part + 2, stream->part_used - 2, whole);
		stream->skip = lacking;
		forget_part(stream);
	}
	/* A message of no bytes is whole with its length. */
	if (stream->part_used == 2 && !length_at(stream->part)) {
		tell(t, like, stream->part + 2, 0, 0);
		forget_part(stream);
	}
}

/* Holds a segment behind a hole, in order; 0 when there is no more room. */
static int hold(struct stream *stream, const struct segment *s)
{
	if (stream->held_count >= MAX_HELD || stream->held_bytes + s->seen.captured > MAX_HELD_BYTES)
		return 0;
	struct held **link = &stream->held;
	while (*link && (int32_t)((*link)->sequence - s->sequence) < 0)
		link = &(*link)->next;
	if (*link && (*link)->sequence == s->sequence && (*link)->size >= s->seen.size)
		return 1;
	struct held *h = malloc(sizeof *h + s->seen.captured);
	if (!h)
		return 0;
	h->sequence = s->sequence;
	h->captured = s->seen.captured;
	h->size = s->seen.size;
	h->time_ns = s->seen.time_ns;
	memcpy(h->data, s->seen.data, s->seen.captured);
	h->next = *link;
	*link = h;
	stream->held_count++;
	stream->held_bytes += h->captured;
	return 1;
}

/* Takes bytes from `sequence` on, as far as they are new. */
static void take(struct tcp *t, struct stream *stream, const struct sighting *like, uint32_t sequence,
	const uint8_t *data, uint32_t captured, uint32_t size)
{
	uint32_t old = stream->next - sequence; /* bytes that came before */

	if (old >= size)
		return;
	uint32_t gone = old < captured ? old : captured;
	stream->next = sequence + size;
	consume(t, stream, like, data + gone, captured - gone, size - old);
}

/* Gives out what is held and no longer behind a hole; with `skip_hole`, what is behind the first one too. */
static void release(struct tcp *t, struct stream *stream, const struct sighting *like, int skip_hole)
{
	while (stream->held) {
		struct held *h = stream->held;
		if (skip_hole && (int32_t)(h->sequence - stream->next) > 0) {
			lose(t, stream);
			stream->next = h->sequence;
			stream->synced = 1;
			skip_hole = 0;
		}
		if ((int32_t)(h->sequence - stream->next) > 0)
			return;
		stream->held = h->next;
		stream->held_count--;
		stream->held_bytes -= h->captured;
		if ((int32_t)(h->sequence + h->size - stream->next) > 0)
			take(t, stream, like, h->sequence, h->data, h->captured, h->size);
		free(h);
	}
}

void tcp_add(struct tcp *t, const struct segment *s)
{
	unsigned bucket = bucket_of(&s->seen);
	struct stream *stream = find(t, &s->seen, bucket);

	if (s->flags & RST || (stream && s->flags & SYN)) {
		if (stream) {
			t->counts.gaps += stream->held != 0;
			drop(t, stream, bucket);
		}
		stream = 0;
		if (s->flags & RST)
			return;
	}
	if (!stream && !(s->flags & SYN) && !s->seen.size)
		return;
	if (!stream && !(stream = add_stream(t, &s->seen, bucket))) {
		t->counts.gaps++;
		return;
	}
	unlink_age(t, stream);
	link_newest(t, stream);
	uint32_t sequence = s->sequence;
	if (s->flags & SYN)
		sequence = stream->next = sequence + 1, stream->synced = 1;
	if (!stream->synced && s->seen.size)
		stream->next = sequence, stream->synced = 1;
	int32_t ahead = (int32_t)(sequence - stream->next);
	if (s->seen.size) {
		if (ahead > 0) {
			struct segment behind = *s;
			behind.sequence = sequence;
			int waited = stream->held && s->seen.time_ns - stream->held->time_ns > HOLE_NS;
			if (waited || !hold(stream, &behind)) {
				release(t, stream, &s->seen, 1);
				if ((int32_t)(sequence - stream->next) > 0) {
					lose(t, stream);
					stream->next = sequence;
					stream->synced = 1;
				}
				take(t, stream, &s->seen, sequence, s->seen.data, s->seen.captured, s->seen.size);
			}
		} else
			take(t, stream, &s->seen, sequence, s->seen.data, s->seen.captured, s->seen.size);
		release(t, stream, &s->seen, 0);
	}
	if (s->flags & FIN) {
		t->counts.gaps += stream->part_used || stream->held || stream->skip;
		drop(t, stream, bucket);
	}
}
