/* Packets of the fallback, and the answers of connection tracking. */
#include "../src/conntrack.h"
#include "../src/fallback.h"
#include "check.h"

static void udp_and_tcp(void)
{
	static const uint8_t udp[] = { 0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0, 53,
		0, 12, 0, 0, 1, 2, 3, 4, 0xff, 0xff };
	struct segment s = {0};

	CHECK(fallback_parse(&s, udp, sizeof udp));
	CHECK(s.seen.family == 4 && s.seen.protocol == 17 && s.seen.source[3] == 1 && s.seen.target[3] == 2);
	CHECK(s.seen.source_port == 0x1234 && s.seen.target_port == 53);
	CHECK(s.seen.size == 4 && s.seen.captured == 4 && s.seen.data[0] == 1);
	CHECK(fallback_parse(&s, udp, 30) && s.seen.captured == 2 && s.seen.size == 4);
	for (uint32_t size = 0; size < 28; size++)
		CHECK(!fallback_parse(&s, udp, size));
	uint8_t tcp[60] = { 0x60, 0, 0, 0, 0, 20, 6, 64 };
	tcp[40 + 3] = 53, tcp[40 + 7] = 9, tcp[40 + 12] = 0x50, tcp[40 + 13] = 2;
	CHECK(fallback_parse(&s, tcp, sizeof tcp));
	CHECK(s.seen.family == 6 && s.seen.target_port == 53 && s.sequence == 9 && s.flags == 2 && !s.seen.size);
	tcp[40 + 12] = 0xf0; /* a header that is longer than the packet */
	CHECK(!fallback_parse(&s, tcp, sizeof tcp));
	tcp[6] = 44;
	CHECK(!fallback_parse(&s, tcp, sizeof tcp));
}

static void translated_servers(void)
{
	/* `conntrack -G` of a lookup of 10.96.0.10 that 10.244.1.3 answered; as ctnetlink sends it. */
	static const uint8_t answer[] = { 72, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0,
		52, 0, 2, 0x80, 20, 0, 1, 0x80, 8, 0, 1, 0, 10, 244, 1, 3, 8, 0, 2, 0, 10, 244, 1, 2,
		28, 0, 2, 0x80, 5, 0, 1, 0, 17, 0, 0, 0, 6, 0, 2, 0, 0, 53, 0, 0, 6, 0, 3, 0, 0xad, 0x9c, 0, 0 };
	uint8_t ip[16];
	uint16_t port = 0;

	CHECK(conntrack_parse(answer, sizeof answer, 4, ip, &port));
	CHECK(!memcmp(ip, "\x0a\xf4\1\3", 4) && port == 53);
	CHECK(!conntrack_parse(answer, sizeof answer, 6, ip, &port));
	for (uint32_t size = 0; size < sizeof answer; size++)
		CHECK(!conntrack_parse(answer, size, 4, ip, &port));
}

void test_packets(void)
{
	udp_and_tcp();
	translated_servers();
}
