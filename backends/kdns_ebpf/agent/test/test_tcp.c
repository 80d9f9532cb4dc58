/* Streams in every order and every cut: the messages that went in come out. */
#include <stdlib.h>
#include "../src/tcp.h"
#include "check.h"

enum { FIN = 1, SYN = 2, RST = 4, START = 1000 };

static uint8_t stream[8192];
static unsigned stream_size;
static struct { unsigned captured, size; uint8_t first; } told[64];
static unsigned told_count;
static struct tcp *tcp;

static void tell(void *context, const struct sighting *m)
{
	(void)context;
	if (told_count < 64) {
		told[told_count].captured = m->captured;
		told[told_count].size = m->size;
		told[told_count].first = m->captured ? m->data[0] : 0;
	}
	told_count++;
}

/* A stream of `count` messages of 20, 120, 220, ... bytes. */
static void begin(unsigned count)
{
	tcp = tcp_new(8, tell, 0);
	told_count = stream_size = 0;
	for (unsigned i = 0; i < count; i++) {
		unsigned size = 20 + 100 * i;
		stream[stream_size++] = (uint8_t)(size >> 8);
		stream[stream_size++] = (uint8_t)size;
		memset(stream + stream_size, (int)i + 1, size);
		stream_size += size;
	}
}

static void segment_at(unsigned ms, unsigned port, unsigned at, unsigned size, unsigned captured, uint8_t flags)
{
	struct segment s = { .seen = { .time_ns = ms * 1000000ull, .cookie = 1, .family = 4, .protocol = 6,
		.source_port = (uint16_t)port, .target_port = 53, .size = size, .captured = captured },
		.sequence = START + 1 + at - !!(flags & SYN), .flags = flags };
	/* A copy of its own, so that reading past it is found out. */
	uint8_t *copy = malloc(captured + 1);
	memcpy(copy, stream + at, captured);
	s.seen.data = copy;
	tcp_add(tcp, &s);
	free(copy);
}

static void segment(unsigned at, unsigned size, uint8_t flags) { segment_at(1, 4000, at, size, size, flags); }

static void end(unsigned messages, unsigned gaps)
{
	CHECK_EQUAL(told_count, messages);
	CHECK_EQUAL(tcp_counts(tcp)->gaps, gaps);
	tcp_free(tcp);
}

static void several_in_one_and_one_in_several(void)
{
	begin(4);
	segment(0, 0, SYN);
	segment(0, stream_size, 0);
	end(4, 0);
	for (unsigned step = 1; step < 60; step += 3) {
		begin(4);
		segment(0, 0, SYN);
		for (unsigned at = 0; at < stream_size; at += step)
			segment(at, step < stream_size - at ? step : stream_size - at, 0);
		for (unsigned i = 0; i < 4; i++)
			CHECK(told[i].size == 20 + 100 * i && told[i].captured == told[i].size && told[i].first == i + 1);
		end(4, 0);
	}
}

static void again_and_out_of_order(void)
{
	begin(3);
	segment(0, 0, SYN);
	segment(50, 100, 0);
	segment(0, 60, 0);
	segment(0, 60, 0);
	segment(200, stream_size - 200, 0);
	segment(140, 80, 0);
	end(3, 0);
	/* Every order of five pieces gives the same. */
	unsigned order[5] = { 0, 1, 2, 3, 4 };
	for (unsigned n = 0; n < 120; n++) {
		unsigned rest = n, left[5] = { 0, 1, 2, 3, 4 };
		for (unsigned i = 0; i < 5; i++) {
			unsigned pick = rest % (5 - i);
			rest /= 5 - i;
			order[i] = left[pick];
			memmove(left + pick, left + pick + 1, (4 - pick) * sizeof *left);
		}
		begin(3);
		segment(0, 0, SYN);
		unsigned step = stream_size / 5 + 1;
		for (unsigned i = 0; i < 5; i++) {
			unsigned at = order[i] * step;
			segment(at, step < stream_size - at ? step : stream_size - at, 0);
		}
		end(3, 0);
	}
}

static void without_its_beginning_it_begins_with_a_segment(void)
{
	begin(2);
	segment(0, stream_size, 0);
	end(2, 0);
}

static void a_cut_segment_gives_a_cut_message(void)
{
	begin(2);
	segment(0, 0, SYN);
	segment_at(1, 4000, 0, stream_size, 40, 0); /* 22 bytes of the first message, 18 of the second's 122 */
	CHECK(told[0].captured == 20 && told[1].captured == 16 && told[1].size == 120);
	end(2, 0);
	begin(3);
	segment(0, 0, SYN);
	segment_at(1, 4000, 0, stream_size, 40, 0); /* where the third begins is not known */
	end(2, 1);
}

static void a_hole_that_stays_is_a_gap(void)
{
	begin(3);
	segment(0, 0, SYN);
	segment(0, 22, 0);
	unsigned third = 22 + 122;
	segment_at(10, 4000, third, 100, 100, 0); /* behind a hole of 122 */
	CHECK_EQUAL(told_count, 1);
	segment_at(2000, 4000, third + 100, stream_size - third - 100, stream_size - third - 100, 0);
	end(2, 1);
}

static void ends_and_beginnings(void)
{
	begin(2);
	segment(0, 0, SYN);
	segment(0, 30, 0);
	segment(30, 0, FIN); /* inside the second message */
	CHECK_EQUAL(tcp_counts(tcp)->streams, 0);
	end(1, 1);
	begin(2);
	segment(0, 0, SYN);
	segment(0, 30, 0);
	segment(0, 0, RST);
	CHECK_EQUAL(tcp_counts(tcp)->streams, 0);
	end(1, 0);
	begin(2);
	for (unsigned port = 0; port < 20; port++) { /* more streams than there is room for */
		segment_at(port, 5000 + port, 0, 0, 0, SYN);
		segment_at(port, 5000 + port, 0, 22, 22, 0);
	}
	CHECK_EQUAL(tcp_counts(tcp)->streams, 8);
	end(20, 0);
}

void test_tcp(void)
{
	several_in_one_and_one_in_several();
	again_and_out_of_order();
	without_its_beginning_it_begins_with_a_segment();
	a_cut_segment_gives_a_cut_message();
	a_hole_that_stays_is_a_gap();
	ends_and_beginnings();
}
