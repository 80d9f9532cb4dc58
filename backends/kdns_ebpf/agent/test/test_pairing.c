/* What becomes of queries and responses: every rule of pairing.h, and that the counts add up. */
#include "../src/pairing.h"
#include "check.h"

enum { MS = 1000000 };

static struct lookup told[64];
static unsigned told_count;
static uint64_t told_messages;
static struct pairing *pairing;

static void tell(void *context, const struct lookup *l)
{
	(void)context;
	if (told_count < 64)
		told[told_count] = *l;
	told_count++;
	told_messages += l->messages;
}

static void begin(unsigned max_waiting)
{
	told_count = 0;
	told_messages = 0;
	pairing = pairing_new(5000ull * MS, 1000ull * MS, max_waiting, tell, 0);
}

static void end(void)
{
	const struct pairing_counts *c = pairing_counts(pairing);
	CHECK_EQUAL(c->decoded, told_messages + c->duplicates + c->late + c->evicted + c->waiting);
	pairing_free(pairing);
}

/* A message of a client's socket (cookie 9, port 40000) to or from server `server`, at `ms`. */
static struct sighting make(uint8_t bytes[512], unsigned ms, uint16_t id, int is_response, const char *name, int server)
{
	struct sighting s = { .time_ns = (uint64_t)ms * MS + 1, .cookie = 9, .cgroup = 5, .pid = 77, .family = 4,
		.protocol = 17, .outgoing = !is_response, .data = bytes };
	uint8_t client[16] = { 10, 0, 0, 1 }, other[16] = { 10, 96, 0, (uint8_t)server };

	s.captured = s.size = make_message(bytes, id, is_response, 0, name, 1);
	memcpy(is_response ? s.target : s.source, client, 16);
	memcpy(is_response ? s.source : s.target, other, 16);
	s.source_port = is_response ? 53 : 40000;
	s.target_port = is_response ? 40000 : 53;
	return s;
}

static void add(const struct sighting *s)
{
	struct question q;
	CHECK(question_read(&q, s->data, s->captured));
	pairing_add(pairing, s, &q);
}

static void put(unsigned ms, uint16_t id, int is_response, const char *name, int server)
{
	uint8_t bytes[512];
	struct sighting s = make(bytes, ms, id, is_response, name, server);
	add(&s);
}

static void a_query_and_its_response_are_a_lookup(void)
{
	begin(100);
	put(10, 1, 0, "a.test", 10);
	put(12, 1, 1, "A.TEST", 10);
	CHECK_EQUAL(told_count, 1);
	CHECK(told[0].status == KDNS_ANSWERED && told[0].side == KDNS_SIDE_CLIENT && told[0].tries == 1);
	CHECK_EQUAL(told[0].response_ns - told[0].query_ns, 2 * MS);
	CHECK(told[0].client_port == 40000 && told[0].server_port == 53 && told[0].server_ip[3] == 10);
	CHECK(told[0].pid == 77 && told[0].messages == 2 && !told[0].flags);
	end();
}

/* Cookies are given one after the other: those of two sockets differ in as few bits as two ids. */
static void sockets_are_kept_apart_whatever_their_ids(void)
{
	begin(100);
	for (unsigned i = 0; i < 16; i++) {
		int is_response = i >= 8;
		uint16_t id = 4096 ^ (i % 8);
		uint8_t bytes[512];
		struct sighting s = make(bytes, i, id, is_response, "a.test", 10);
		s.cookie = id;
		*(is_response ? &s.target_port : &s.source_port) = (uint16_t)(40000 + i % 8);
		add(&s);
	}
	CHECK_EQUAL(told_count, 8);
	for (unsigned i = 0; i < told_count; i++)
		CHECK(told[i].tries == 1 && told[i].messages == 2 && told[i].client_port == 40000 + i);
	end();
}

static void tries_are_counted_and_time_counts_from_the_first(void)
{
	begin(100);
	put(0, 1, 0, "a.test", 10);
	put(2500, 1, 0, "a.test", 10);
	put(2600, 1, 1, "a.test", 10);
	CHECK(told_count == 1 && told[0].tries == 2 && told[0].messages == 3);
	CHECK_EQUAL(told[0].response_ns - told[0].query_ns, 2600ull * MS);
	end();
}

static void no_response_is_told_after_timeout_and_grace(void)
{
	begin(100);
	put(0, 1, 0, "a.test", 10);
	put(1000, 1, 0, "a.test", 10);
	pairing_advance(pairing, 6999ull * MS);
	CHECK_EQUAL(told_count, 0);
	pairing_advance(pairing, 7001ull * MS);
	CHECK(told_count == 1 && told[0].status == KDNS_UNANSWERED && told[0].tries == 2);
	put(8000, 1, 1, "a.test", 10); /* after it was told */
	CHECK(told_count == 1 && pairing_counts(pairing)->late == 1);
	put(8001, 1, 1, "a.test", 10);
	CHECK(told_count == 1 && pairing_counts(pairing)->duplicates == 1);
	end();
}

static void in_the_grace_it_is_late(void)
{
	begin(100);
	put(0, 1, 0, "a.test", 10);
	put(5500, 1, 1, "a.test", 10);
	CHECK(told_count == 1 && told[0].status == KDNS_ANSWERED && told[0].flags == KDNS_LATE);
	end();
}

static void a_second_response_is_a_duplicate_and_the_query_again_a_new_lookup(void)
{
	begin(100);
	put(0, 1, 0, "a.test", 10);
	put(1, 1, 1, "a.test", 10);
	put(2, 1, 1, "a.test", 10);
	CHECK(told_count == 1 && pairing_counts(pairing)->duplicates == 1);
	put(3, 1, 0, "a.test", 10);
	put(4, 1, 1, "a.test", 10);
	CHECK(told_count == 2 && told[1].tries == 1);
	end();
}

static void a_response_without_query_is_told_at_once(void)
{
	begin(100);
	put(5, 1, 1, "a.test", 10);
	CHECK(told_count == 1 && told[0].status == KDNS_NO_QUERY && told[0].response_ns && !told[0].query_ns);
	put(6, 1, 1, "a.test", 10);
	CHECK(told_count == 1 && pairing_counts(pairing)->duplicates == 1);
	end();
}

static void questions_and_servers_are_told_apart(void)
{
	begin(100);
	put(0, 1, 0, "a.test", 10); /* musl asks all servers at once, with one id */
	put(0, 1, 0, "a.test", 11);
	put(0, 1, 0, "b.test", 10);
	put(3, 1, 1, "a.test", 11);
	put(4, 1, 1, "b.test", 10);
	put(5, 1, 1, "a.test", 10);
	CHECK_EQUAL(told_count, 3);
	CHECK(told[0].server_ip[3] == 11 && told[1].server_ip[3] == 10 && told[2].server_ip[3] == 10);
	for (int i = 0; i < 3; i++)
		CHECK(told[i].tries == 1 && !told[i].flags);
	end();
}

static void a_translated_server_gives_both_addresses(void)
{
	uint8_t bytes[512];

	begin(100);
	struct sighting s = make(bytes, 0, 1, 0, "a.test", 244); /* behind DNAT and SNAT, on the host's network */
	s.source_port = 61000;
	add(&s);
	put(1, 1, 1, "a.test", 10);
	CHECK(told_count == 1 && told[0].flags == KDNS_BACKEND);
	CHECK(told[0].server_ip[3] == 10 && told[0].backend_ip[3] == 244 && told[0].client_port == 40000);
	/* Of two that may be meant, none is. */
	put(10, 2, 0, "b.test", 244);
	put(10, 2, 0, "b.test", 245);
	put(11, 2, 1, "b.test", 10);
	CHECK(told_count == 2 && told[1].status == KDNS_NO_QUERY);
	end();
}

static void a_bare_response_is_joined_if_only_one_query_can_be_meant(void)
{
	uint8_t bytes[512];

	begin(100);
	put(0, 1, 0, "a.test", 10);
	struct sighting s = make(bytes, 1, 1, 1, "", 10);
	s.captured = s.size = 12;
	bytes[3] = 1, bytes[5] = 0; /* FORMERR without a question */
	add(&s);
	CHECK(told_count == 1 && told[0].status == KDNS_ANSWERED && told[0].question.has_name);
	put(2, 2, 0, "a.test", 10);
	put(2, 2, 0, "b.test", 10);
	s = make(bytes, 3, 2, 1, "", 10);
	s.captured = s.size = 12;
	bytes[5] = 0;
	add(&s);
	CHECK(told_count == 2 && told[1].status == KDNS_NO_QUERY);
	end();
}

static void a_server_has_many_clients(void)
{
	uint8_t bytes[512];

	begin(100);
	for (int i = 0; i < 2; i++) {
		struct sighting s = make(bytes, 0, 1, 0, "a.test", 10);
		s.outgoing = 0;
		s.source[3] = (uint8_t)(1 + i);
		add(&s);
	}
	struct sighting s = make(bytes, 1, 1, 1, "a.test", 10);
	s.outgoing = 1;
	s.target[3] = 2;
	add(&s);
	CHECK(told_count == 1 && told[0].side == KDNS_SIDE_SERVER && told[0].client_ip[3] == 2);
	end();
}

/* The first data of a connection may come by the listening socket: seen on Linux 6.1, where the client's data came
 * before the server had a socket for it. */
static void the_first_data_of_a_connection_have_another_cookie(void)
{
	uint8_t bytes[512];

	begin(100);
	for (int is_response = 0; is_response < 2; is_response++) {
		struct sighting s = make(bytes, 10 + (unsigned)is_response, 3, is_response, "a.test", 10);
		s.protocol = 6;
		s.outgoing = is_response;
		s.cookie = is_response ? 22 : 21;
		add(&s);
	}
	CHECK_EQUAL(told_count, 1);
	CHECK(told[0].status == KDNS_ANSWERED && told[0].side == KDNS_SIDE_SERVER && told[0].messages == 2);
	end();
}

static void on_interfaces_one_packet_is_seen_often(void)
{
	uint8_t bytes[512];

	begin(100);
	for (int i = 0; i < 3; i++) {
		struct sighting s = make(bytes, (unsigned)i, 1, 0, "a.test", 10);
		s.on_node = 1, s.cookie = s.cgroup = 0;
		add(&s);
	}
	struct sighting s = make(bytes, 200, 1, 0, "a.test", 10); /* a retransmission */
	s.on_node = 1, s.cookie = s.cgroup = 0;
	add(&s);
	for (int i = 0; i < 2; i++) {
		s = make(bytes, 300 + (unsigned)i, 1, 1, "a.test", 10);
		s.on_node = 1, s.cookie = s.cgroup = 0;
		add(&s);
	}
	CHECK(told_count == 1 && told[0].tries == 2 && told[0].side == KDNS_SIDE_NODE);
	CHECK_EQUAL(pairing_counts(pairing)->duplicates, 3);
	end();
}

static void too_many_waiting_give_way(void)
{
	begin(4);
	for (uint16_t i = 0; i < 10; i++)
		put(i, i, 0, "a.test", 10);
	CHECK(pairing_counts(pairing)->evicted == 6 && pairing_counts(pairing)->waiting == 4);
	put(20, 9, 1, "a.test", 10);
	CHECK(told_count == 1 && told[0].status == KDNS_ANSWERED);
	end();
}

static void what_waits_at_the_end_is_pending(void)
{
	begin(100);
	put(0, 1, 0, "old.test", 10);
	put(4000, 2, 0, "new.test", 10);
	pairing_pending(pairing, 5500ull * MS, tell, 0);
	CHECK(told_count == 2 && told[0].status == KDNS_UNANSWERED && told[1].status == KDNS_PENDING);
	told_messages = 0; /* they still wait */
	end();
}

void test_pairing(void)
{
	a_query_and_its_response_are_a_lookup();
	sockets_are_kept_apart_whatever_their_ids();
	tries_are_counted_and_time_counts_from_the_first();
	no_response_is_told_after_timeout_and_grace();
	in_the_grace_it_is_late();
	a_second_response_is_a_duplicate_and_the_query_again_a_new_lookup();
	a_response_without_query_is_told_at_once();
	questions_and_servers_are_told_apart();
	a_translated_server_gives_both_addresses();
	a_bare_response_is_joined_if_only_one_query_can_be_meant();
	a_server_has_many_clients();
	the_first_data_of_a_connection_have_another_cookie();
	on_interfaces_one_packet_is_seen_often();
	too_many_waiting_give_way();
	what_waits_at_the_end_is_pending();
}
