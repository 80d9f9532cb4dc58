#include "conntrack.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* linux/netlink.h, linux/netfilter/nfnetlink.h and nfnetlink_conntrack.h, as far as they are used. */
enum { NETLINK_NETFILTER_FAMILY = 12, CTNETLINK = 1, CT_NEW = 0, CT_GET = 1, REQUEST = 1, NESTED = 0x8000 };
enum { TUPLE_ORIG = 1, TUPLE_REPLY = 2, TUPLE_IP = 1, TUPLE_PROTO = 2 };
enum { V4_SRC = 1, V4_DST, V6_SRC, V6_DST };
enum { PROTO_NUM = 1, PROTO_SRC_PORT, PROTO_DST_PORT };
enum { FAMILY_V4 = 2, FAMILY_V6 = 10, HEADERS = 20, ANSWER_BYTES = 4096 };

static int fd = -1;

int conntrack_open(void)
{
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER_FAMILY);
	return fd >= 0;
}

static uint16_t swap(uint16_t x) { return __builtin_bswap16(x); }

struct buffer { uint8_t bytes[256]; uint16_t used; };

/* An attribute, filled up to a multiple of four bytes; where it starts. */
static uint16_t put(struct buffer *b, uint16_t type, const void *data, uint16_t size)
{
	uint16_t start = b->used, length = size + 4;

	memcpy(b->bytes + start, &length, 2);
	memcpy(b->bytes + start + 2, &type, 2);
	if (size)
		memcpy(b->bytes + start + 4, data, size);
	b->used = (uint16_t)(start + ((length + 3) & ~3));
	return start;
}

static void end_nest(struct buffer *b, uint16_t start)
{
	uint16_t length = b->used - start;
	memcpy(b->bytes + start, &length, 2);
}

static uint32_t request(struct buffer *b, const struct lookup *l)
{
	uint8_t family = l->family == 4 ? FAMILY_V4 : FAMILY_V6;
	uint16_t address = l->family == 4 ? 4 : 16, client_port = swap(l->client_port),
		server_port = swap(l->server_port);
	uint16_t type = CTNETLINK << 8 | CT_GET, flags = REQUEST;

	memset(b, 0, sizeof *b);
	memcpy(b->bytes + 4, &type, 2);
	memcpy(b->bytes + 6, &flags, 2);
	b->bytes[16] = family;
	b->used = HEADERS;
	uint16_t tuple = put(b, TUPLE_ORIG | NESTED, 0, 0);
	uint16_t ip = put(b, TUPLE_IP | NESTED, 0, 0);
	put(b, l->family == 4 ? V4_SRC : V6_SRC, l->client_ip, address);
	put(b, l->family == 4 ? V4_DST : V6_DST, l->server_ip, address);
	end_nest(b, ip);
	uint16_t proto = put(b, TUPLE_PROTO | NESTED, 0, 0);
	put(b, PROTO_NUM, &l->protocol, 1);
	put(b, PROTO_SRC_PORT, &client_port, 2);
	put(b, PROTO_DST_PORT, &server_port, 2);
	end_nest(b, proto);
	end_nest(b, tuple);
	uint32_t total = b->used;
	memcpy(b->bytes, &total, 4);
	return total;
}

/* The attribute of that type among those in [at, end); 0 when there is none. */
static const uint8_t *attribute(const uint8_t *at, const uint8_t *end, uint16_t type, const uint8_t **its_end)
{
	while (end - at >= 4) {
		uint16_t length, found;
		memcpy(&length, at, 2);
		memcpy(&found, at + 2, 2);
		if (length < 4 || length > end - at)
			return 0;
		if ((found & 0x3fff) == type) {
			*its_end = at + length;
			return at + 4;
		}
		long step = (length + 3) & ~3;
		at += step < end - at ? step : end - at;
	}
	return 0;
}

int conntrack_parse(const uint8_t *answer, uint32_t size, uint8_t family, uint8_t ip[16], uint16_t *port)
{
	uint32_t length;
	uint16_t type, address = family == 4 ? 4 : 16;
	const uint8_t *end, *tuple_end, *part_end, *value_end;

	if (size < HEADERS)
		return 0;
	memcpy(&length, answer, 4);
	memcpy(&type, answer + 4, 2);
	if (type != (CTNETLINK << 8 | CT_NEW) || length > size || length < HEADERS)
		return 0;
	end = answer + length;
	const uint8_t *tuple = attribute(answer + HEADERS, end, TUPLE_REPLY, &tuple_end);
	const uint8_t *part = tuple ? attribute(tuple, tuple_end, TUPLE_IP, &part_end) : 0;
	const uint8_t *value = part ? attribute(part, part_end, family == 4 ? V4_SRC : V6_SRC, &value_end) : 0;
	if (!value || value_end - value < address)
		return 0;
	memset(ip, 0, 16);
	memcpy(ip, value, address);
	part = attribute(tuple, tuple_end, TUPLE_PROTO, &part_end);
	value = part ? attribute(part, part_end, PROTO_SRC_PORT, &value_end) : 0;
	if (!value || value_end - value < 2)
		return 0;
	*port = (uint16_t)(value[0] << 8 | value[1]);
	return 1;
}

void conntrack_look_up(struct lookup *l)
{
	struct buffer b;
	uint8_t answer[ANSWER_BYTES], ip[16];
	uint16_t port;

	if (fd < 0)
		return;
	uint32_t size = request(&b, l);
	if (send(fd, b.bytes, size, MSG_DONTWAIT) < 0)
		return;
	/* The kernel has answered before `send` is back. */
	ssize_t got = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
	if (got > 0 && conntrack_parse(answer, (uint32_t)got, l->family, ip, &port) &&
		(port != l->server_port || memcmp(ip, l->server_ip, 16))) {
		memcpy(l->backend_ip, ip, 16);
		l->backend_port = port;
		l->flags |= KDNS_BACKEND;
	}
}
