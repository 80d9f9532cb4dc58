/* Buffers, sequence, rate and a connection that breaks in the middle of a frame. */
#include <fcntl.h>
#include <unistd.h>
#include "../src/session.h"
#include "check.h"

static struct session *session;
static uint8_t message[512];

static struct lookup make(void)
{
	struct lookup l = { .cookie = 1, .query = message, .messages = 2, .tries = 1, .family = 4 };
	l.query_captured = l.query_size = make_message(message, 1, 0, 0, "a.test", 1);
	return l;
}

static void begin(uint32_t max_rate)
{
	session = session_new((const uint8_t *)"0123456789abcdef", 1);
	session->filter.config.max_rate = max_rate;
	session->allowance = max_rate;
}

static void a_full_buffer_is_counted(void)
{
	struct lookup l = make();

	begin(0);
	for (int i = 0; i < 20000; i++)
		session_tell(session, &l, "", 1, 0);
	CHECK(session->lost > 0 && session->sent > 0);
	CHECK_EQUAL(session->sent + session->lost, 40000);
	CHECK_EQUAL(session->sequence, session->sent);
	CHECK(session_waiting(session) <= SESSION_BUFFER);
	session_free(session);
}

static void the_rate_is_kept(void)
{
	struct lookup l = make();

	begin(100);
	for (int i = 0; i < 100; i++)
		session_tell(session, &l, "", 1, 0);
	CHECK_EQUAL(session->sent, 100);
	CHECK_EQUAL(session->over_rate, 100);
	session_tell(session, &l, "", 500000001, 0);
	CHECK_EQUAL(session->sent, 102);
	session_free(session);
}

static void paths_are_told_once(void)
{
	struct lookup l = make();
	uint32_t with, without;

	begin(0);
	l.cgroup = 7;
	session_tell(session, &l, "/kubepods/x", 1, 0);
	with = session_waiting(session);
	session_tell(session, &l, "/kubepods/x", 1, 0);
	without = session_waiting(session) - with;
	CHECK_EQUAL(with - without, sizeof(struct kdns_frame) + sizeof(struct kdns_cgroup) + strlen("/kubepods/x"));
	session_connect(session, -1); /* who comes again knows nothing of before */
	session_tell(session, &l, "/kubepods/x", 1, 0);
	CHECK_EQUAL(session_waiting(session) - with - without, with);
	session_free(session);
}

/* Reads all there is; how many whole lookups stand in it, and checks their sequence. */
static unsigned lookups_in(const uint8_t *bytes, size_t size, uint64_t first)
{
	size_t at = 0;
	unsigned lookups = 0;

	while (at + sizeof(struct kdns_frame) <= size) {
		struct kdns_frame frame;
		struct kdns_lookup head;
		memcpy(&frame, bytes + at, sizeof frame);
		if (at + sizeof frame + frame.size > size)
			break;
		memcpy(&head, bytes + at + sizeof frame, sizeof head);
		CHECK_EQUAL(head.sequence, first + 2 * lookups);
		lookups++;
		at += sizeof frame + frame.size;
	}
	return lookups;
}

static void a_broken_frame_is_sent_again(void)
{
	struct lookup l = make();
	int first[2], second[2];
	static uint8_t bytes[1 << 20];

	begin(0);
	CHECK(!pipe(first) && !pipe(second));
	fcntl(first[1], F_SETFL, O_NONBLOCK);
	fcntl(first[1], F_SETPIPE_SZ, 4096);
	session_connect(session, first[1]);
	for (int i = 0; i < 100; i++)
		session_tell(session, &l, "", 1, 0);
	CHECK(session_flush(session) && session_waiting(session));
	ssize_t got = read(first[0], bytes, sizeof bytes);
	unsigned whole = lookups_in(bytes, (size_t)got, 0);
	CHECK(whole > 0 && whole < 100);
	session_connect(session, second[1]);
	CHECK(session_flush(session) && !session_waiting(session));
	got = read(second[0], bytes, sizeof bytes);
	CHECK_EQUAL(lookups_in(bytes, (size_t)got, 2 * whole), 100 - whole);
	close(first[0]), close(first[1]), close(second[0]), close(second[1]);
	session_free(session);
}

void test_session(void)
{
	a_full_buffer_is_counted();
	the_rate_is_kept();
	paths_are_told_once();
	a_broken_frame_is_sent_again();
}
