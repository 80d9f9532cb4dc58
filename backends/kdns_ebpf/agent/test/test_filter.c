/* CONFIG frames, good and bad, and what they select. */
#include "../src/filter.h"
#include "check.h"

static uint8_t frame[4096];
static unsigned frame_size;
static struct filter filter;

static struct kdns_config *begin(void)
{
	struct kdns_config *config = (struct kdns_config *)frame;

	memset(frame, 0, sizeof frame);
	frame_size = sizeof *config;
	*config = (struct kdns_config) { .magic = KDNS_MAGIC, .version = KDNS_VERSION, .outcomes = 0x1ffff };
	return config;
}

static void add_item(uint8_t kind, const void *text, unsigned size)
{
	frame[frame_size++] = kind;
	frame[frame_size++] = (uint8_t)size;
	memcpy(frame + frame_size, text, size);
	frame_size += size;
}

static int wants(const char *name, uint16_t type, int answered, int rcode, uint64_t latency_ns)
{
	uint8_t m[512];
	struct candidate c = { .data = m, .answered = answered, .rcode = (uint8_t)rcode, .latency_ns = latency_ns,
		.side = KDNS_SIDE_CLIENT, .cgroup_path = "/kubepods/pod0f0e0d0c-0001-0002-0003-000000000004/abc",
		.client_ip = (const uint8_t *)"\x0a\0\0\1", .family = 4 };

	c.data_size = make_message(m, 1, 0, 0, name, type);
	c.response = m, c.response_size = c.data_size;
	question_read(&c.question, m, c.data_size);
	return filter_wants(&filter, &c);
}

static void outcomes_and_latency(void)
{
	begin()->outcomes = 1 << 2 | KDNS_OUTCOME_NO_ANSWER;
	CHECK(filter_set(&filter, frame, frame_size));
	CHECK(wants("a.test", 1, 1, 2, 5) && wants("a.test", 1, 0, 0, 0) && !wants("a.test", 1, 1, 0, 5));
	begin()->slower_than_ns = 1000;
	CHECK(filter_set(&filter, frame, frame_size));
	CHECK(wants("a.test", 1, 1, 0, 1000) && !wants("a.test", 1, 1, 0, 999) && !wants("a.test", 1, 0, 0, 0));
}

static void extended_codes_are_for_the_client_to_judge(void)
{
	static const uint8_t opt[] = { 0, 0, 41, 4, 0xd0, 1, 0, 0, 0, 0, 0 };
	uint8_t m[512];
	struct candidate c = { .answered = 1, .rcode = 0, .cgroup_path = "" };
	unsigned size = make_message(m, 1, 1, 0, "a.test", 1);

	begin()->outcomes = 1 << 2;
	CHECK(filter_set(&filter, frame, frame_size));
	m[11] = 1;
	memcpy(m + size, opt, sizeof opt);
	c.response = c.data = m, c.response_size = c.data_size = size + sizeof opt;
	CHECK(filter_wants(&filter, &c)); /* BADVERS, 16 */
	m[size + 5] = 0;
	CHECK(!filter_wants(&filter, &c));
	c.response_size--;
	for (; c.response_size > 12; c.response_size--)
		CHECK_EQUAL(filter_wants(&filter, &c), c.response_size < size + sizeof opt);
}

static void types(void)
{
	struct kdns_config *config = begin();

	config->types_mode = KDNS_TYPES_ONLY, config->types = 1;
	frame[frame_size] = 28, frame_size += 4;
	CHECK(filter_set(&filter, frame, frame_size));
	CHECK(wants("a.test", 28, 1, 0, 0) && !wants("a.test", 1, 1, 0, 0));
	config->types_mode = KDNS_TYPES_NOT;
	CHECK(filter_set(&filter, frame, frame_size));
	CHECK(!wants("a.test", 28, 1, 0, 0) && wants("a.test", 1, 1, 0, 0));
}

static void names(void)
{
	struct kdns_config *config = begin();

	config->names = 4;
	add_item(KDNS_NAME_SUFFIX, ".example.com", 12);
	add_item(KDNS_NAME_EXACT, "exact.test", 10);
	add_item(KDNS_NAME_PREFIX, "begin.", 6);
	add_item(KDNS_NAME_SUBSTRING, "-mid-", 5);
	CHECK(filter_set(&filter, frame, frame_size));
	CHECK(wants("a.Example.COM", 1, 1, 0, 0) && !wants("example.com", 1, 1, 0, 0));
	CHECK(wants("exact.test", 1, 1, 0, 0) && !wants("an.exact.test", 1, 1, 0, 0));
	CHECK(wants("begin.x", 1, 1, 0, 0) && !wants("x.begin.x", 1, 1, 0, 0));
	CHECK(wants("a-mid-b.c", 1, 1, 0, 0) && !wants("a-mid.b", 1, 1, 0, 0));
}

static void clients(void)
{
	struct kdns_config *config = begin();

	config->clients = 1;
	add_item(KDNS_CLIENT_POD_UID, "0f0e0d0c-0001-0002-0003-000000000004", 36);
	CHECK(filter_set(&filter, frame, frame_size) && wants("a.test", 1, 1, 0, 0));
	frame[frame_size - 1] = '5';
	CHECK(filter_set(&filter, frame, frame_size) && !wants("a.test", 1, 1, 0, 0));
	/* At the server's side, and where there is no cgroup, the address counts. */
	uint8_t m[512];
	struct candidate c = { .data = m, .response = m, .response_size = 12, .answered = 1, .side = KDNS_SIDE_SERVER, .cgroup_path = "/x",
		.client_ip = (const uint8_t *)"\x0a\0\0\1", .family = 4 };
	memset(m, 0, sizeof m);
	config = begin();
	config->clients = 1;
	add_item(KDNS_CLIENT_IP, "\x0a\0\0\1", 4);
	CHECK(filter_set(&filter, frame, frame_size) && filter_wants(&filter, &c));
	c.client_ip = (const uint8_t *)"\x0a\0\0\2";
	CHECK(!filter_wants(&filter, &c));
	/* systemd's driver writes the UID with underscores. */
	c.side = KDNS_SIDE_CLIENT;
	c.cgroup_path = "/kubepods-besteffort-pod0f0e0d0c_0001_0002_0003_000000000004.slice/cri-containerd-x.scope";
	config = begin();
	config->clients = 1;
	add_item(KDNS_CLIENT_POD_UID, "0f0e0d0c-0001-0002-0003-000000000004", 36);
	CHECK(filter_set(&filter, frame, frame_size) && filter_wants(&filter, &c));
}

static void what_contradicts_itself_is_refused(void)
{
	struct kdns_config *config = begin();

	for (unsigned size = 0; size < sizeof *config; size++)
		CHECK(!filter_set(&filter, frame, size));
	config->magic++;
	CHECK(!filter_set(&filter, frame, frame_size));
	config = begin();
	config->version++;
	CHECK(!filter_set(&filter, frame, frame_size) && strstr(filter.problem, "version"));
	config = begin();
	config->types = 3; /* none follow */
	CHECK(!filter_set(&filter, frame, frame_size));
	config = begin();
	config->names = 2;
	add_item(KDNS_NAME_EXACT, "abc", 3);
	CHECK(!filter_set(&filter, frame, frame_size));
	config->names = 1;
	CHECK(filter_set(&filter, frame, frame_size));
	CHECK(!filter_set(&filter, frame, frame_size - 1));
	config->clients = 1;
	CHECK(!filter_set(&filter, frame, frame_size));
}

void test_filter(void)
{
	outcomes_and_latency();
	extended_codes_are_for_the_client_to_judge();
	types();
	names();
	clients();
	what_contradicts_itself_is_refused();
	filter_clear(&filter);
}
