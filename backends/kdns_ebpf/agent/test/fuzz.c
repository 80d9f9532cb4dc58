/* Gives every parser of the agent bytes that nobody meant: fuzz ROUNDS [SEED].
 *
 * Under the sanitizers a bad access ends it. Besides, what goes in must be accounted for: the counts of the
 * pairing add up, and no TCP stream gives out more than was put in. */
#include <stdlib.h>
#include "../src/conntrack.h"
#include "../src/fallback.h"
#include "../src/filter.h"
#include "../src/log.h"
#include "../src/pairing.h"
#include "../src/tcp.h"
#include "check.h"

int checks, failures;
static uint64_t state, told_messages, tcp_out;

void log_line(int level, const char *format, ...)
{
	(void)level, (void)format;
}

static uint32_t random_below(uint32_t n)
{
	state ^= state << 13, state ^= state >> 7, state ^= state << 17;
	return n ? (uint32_t)(state >> 16) % n : 0;
}

static unsigned random_message(uint8_t *bytes)
{
	static const char *const labels[] = { "\1a", "\3www", "\7example", "\4test", "\300\14", "\77x", "" };
	unsigned size = 12;

	memset(bytes, 0, 12);
	bytes[1] = (uint8_t)random_below(3), bytes[2] = (uint8_t)(random_below(2) << 7), bytes[3] = (uint8_t)random_below(6);
	bytes[5] = random_below(8) != 0;
	for (unsigned i = random_below(4); i; i--) {
		const char *label = labels[random_below(7)];
		size_t length = strlen(label);
		memcpy(bytes + size, label, length);
		size += (unsigned)length;
	}
	bytes[size++] = 0;
	bytes[size++] = 0, bytes[size++] = (uint8_t)random_below(3), bytes[size++] = 0, bytes[size++] = 1;
	for (unsigned i = random_below(3); i; i--)
		bytes[random_below(size)] = (uint8_t)random_below(256);
	return random_below(10) ? size : random_below(size + 1);
}

/* Just as long as it is, so that a read past the end is one past the allocation. */
static uint8_t *exact(const uint8_t *bytes, unsigned size)
{
	uint8_t *copy = malloc(size ? size : 1);
	memcpy(copy, bytes, size);
	return copy;
}

static void tell(void *context, const struct lookup *l)
{
	struct filter *f = context;
	struct candidate c = { .question = l->question, .data = l->query ? l->query : l->response,
		.data_size = l->query ? l->query_captured : l->response_captured, .answered = l->response != 0,
		.rcode = l->response ? l->response[3] & 15 : 0,
		.response = l->response, .response_size = l->response_captured,
		.side = l->side, .cgroup_path = "/kubepods/pod12345678-0000-0000-0000-123456789012",
		.client_ip = l->client_ip, .family = l->family };

	told_messages += l->messages;
	filter_wants(f, &c);
}

static void tell_tcp(void *context, const struct sighting *m)
{
	(void)context;
	uint8_t *copy = exact(m->data, m->captured);
	CHECK(m->captured <= m->size && m->size <= 65535);
	tcp_out += m->captured;
	free(copy);
}

static void fuzz_filter(struct filter *f)
{
	uint8_t bytes[512];
	struct kdns_config config = { .magic = KDNS_MAGIC, .version = KDNS_VERSION, .outcomes = 0x1ffff,
		.types_mode = (uint16_t)random_below(3), .types = (uint16_t)random_below(3),
		.names = (uint16_t)random_below(3), .clients = (uint16_t)random_below(3) };
	unsigned size = (unsigned)sizeof config + random_below(64);

	memcpy(bytes, &config, sizeof config);
	for (unsigned i = sizeof config; i < size; i++)
		bytes[i] = (uint8_t)random_below(random_below(2) ? 256 : 6);
	uint8_t *copy = exact(bytes, size);
	if (!filter_set(f, copy, size))
		CHECK(f->problem[0]);
	free(copy);
}

static void fuzz_packets(void)
{
	uint8_t bytes[128], ip[16];
	uint16_t port;
	struct segment s = {0};
	unsigned size = random_below(sizeof bytes);

	for (unsigned i = 0; i < size; i++)
		bytes[i] = (uint8_t)random_below(256);
	if (size > 10)
		bytes[0] = random_below(2) ? 0x45 : 0x60, bytes[9] = bytes[6] = random_below(2) ? 17 : 6;
	uint8_t *copy = exact(bytes, size);
	if (fallback_parse(&s, copy, size))
		CHECK(s.seen.captured <= s.seen.size && s.seen.data + s.seen.captured <= copy + size);
	if (size > 8)
		copy[0] = (uint8_t)size, copy[1] = copy[2] = copy[3] = 0, copy[4] = 0, copy[5] = 1;
	conntrack_parse(copy, size, random_below(2) ? 4 : 6, ip, &port);
	free(copy);
}

int main(int count, char **words)
{
	unsigned long rounds = count > 1 ? strtoul(words[1], 0, 10) : 100000;
	struct filter filter = {0};
	struct pairing *pairing = pairing_new(50, 10, 32, tell, &filter);
	struct tcp *tcp = tcp_new(4, tell_tcp, 0);
	uint64_t time_ns = 1000, tcp_in = 0;
	uint32_t sequence[4] = {0};

	state = count > 2 ? strtoull(words[2], 0, 10) : 88172645463325252ull;
	question_seed(state);
	for (unsigned long round = 0; round < rounds; round++) {
		uint8_t bytes[512];
		unsigned size = random_message(bytes);
		uint8_t *copy = exact(bytes, size);
		struct question q;
		struct sighting s = { .time_ns = time_ns += random_below(round % 2000 < 1000 ? 20 : 2), .cookie = random_below(3), .family = 4,
			.protocol = 17, .source_port = 53, .target_port = 53, .outgoing = (uint8_t)random_below(2),
			.on_node = (uint8_t)!random_below(4), .data = copy, .captured = size, .size = size };
		s.target[3] = (uint8_t)random_below(2);
		if (question_read(&q, copy, size)) {
			char name[QUESTION_NAME_MAX];
			if (q.has_name)
				CHECK(question_name(name, copy, size) <= sizeof name);
			pairing_add(pairing, &s, &q);
		}
		unsigned stream = random_below(4);
		struct segment segment = { .seen = s, .flags = (uint8_t)(random_below(20) ? 0 : random_below(8)) };
		segment.seen.source_port = (uint16_t)stream;
		segment.sequence = sequence[stream] + (random_below(6) ? 0 : random_below(200) - 100);
		if (random_below(2) && size > 2)
			copy[0] = 0, copy[1] = (uint8_t)(size - 2);
		segment.seen.captured = random_below(9) ? size : random_below(size + 1);
		sequence[stream] += size;
		tcp_in += segment.seen.captured;
		tcp_add(tcp, &segment);
		free(copy);
		if (!random_below(50))
			fuzz_filter(&filter);
		fuzz_packets();
	}
	const struct pairing_counts *c = pairing_counts(pairing);
	CHECK_EQUAL(c->decoded, told_messages + c->duplicates + c->late + c->evicted + c->waiting);
	/* Each of its ways was gone. */
	CHECK(c->duplicates);
	CHECK(c->late);
	CHECK(c->evicted);
	CHECK(tcp_out && tcp_out <= tcp_in);
	pairing_free(pairing);
	tcp_free(tcp);
	filter_clear(&filter);
	printf("%lu rounds, %d checks, %d failed\n", rounds, checks, failures);
	return failures != 0;
}
