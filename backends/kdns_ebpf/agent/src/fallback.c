#include "fallback.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "../bpf/event.h"

/* linux/if_packet.h, linux/filter.h and asm/socket.h, as far as they are used. */
enum { PACKET_FAMILY = 17, ALL_PROTOCOLS = 0x0300, LEVEL_PACKET = 263, PACKET_STATISTICS = 6 };
enum { ATTACH_FILTER = 26, BUFFER_FORCE = 33, BUFFER_BYTES = 8 << 20 };
enum { LOAD_WORD = 0x20, LOAD_HALF = 0x28, LOAD_BYTE = 0x30, LOAD_HALF_X = 0x48, LOAD_X_IP_HEADER = 0xb1,
	JUMP_IF_EQUAL = 0x15, JUMP_IF_SET = 0x45, RETURN = 0x06 };

struct instruction { uint16_t code; uint8_t if_true, if_false; uint32_t k; };
struct program { uint16_t size; const struct instruction *code; };
struct address { uint16_t family, protocol; int32_t interface; uint16_t hardware; uint8_t type, size, mac[8]; };
struct statistics { uint32_t packets, drops; };

static const uint64_t NS_PER_S = 1000000000;

/* IPv4 and IPv6, UDP or TCP, first fragments, one of the ports at either end. For SOCK_DGRAM the packet begins
 * with the IP header. Each jump goes to the next step, to `yes` or to `no`, which stand at the end. */
static unsigned make_filter(struct instruction *code, const uint16_t *ports, unsigned count)
{
	unsigned n = 0, yes, no, ip6, tests = 2 * (1 + count);
	unsigned ip4_length = 6 + tests, ip6_length = 3 + tests;

	/* 0: the version is in the upper half of the first byte. */
	ip6 = 3 + ip4_length;
	yes = ip6 + ip6_length;
	no = yes + 1;
	code[n++] = (struct instruction) { LOAD_BYTE, 0, 0, 0 };
	code[n++] = (struct instruction) { JUMP_IF_SET, 0, (uint8_t)(no - 2), 0x40 };
	code[n++] = (struct instruction) { JUMP_IF_SET, (uint8_t)(ip6 - 3), 0, 0x20 };
	code[n++] = (struct instruction) { LOAD_BYTE, 0, 0, 9 };
	code[n] = (struct instruction) { JUMP_IF_EQUAL, 1, 0, 17 }, n++;
	code[n] = (struct instruction) { JUMP_IF_EQUAL, 0, (uint8_t)(no - n - 1), 6 }, n++;
	code[n++] = (struct instruction) { LOAD_HALF, 0, 0, 6 };
	code[n] = (struct instruction) { JUMP_IF_SET, (uint8_t)(no - n - 1), 0, 0x1fff }, n++;
	code[n++] = (struct instruction) { LOAD_X_IP_HEADER, 0, 0, 0 };
	for (unsigned end = 0; end < 2; end++) {
		code[n++] = (struct instruction) { LOAD_HALF_X, 0, 0, 2 * end };
		for (unsigned i = 0; i < count; i++, n++)
			code[n] = (struct instruction) { JUMP_IF_EQUAL, (uint8_t)(yes - n - 1),
				(uint8_t)(end && i + 1 == count ? no - n - 1 : 0), ports[i] };
	}
	code[n++] = (struct instruction) { LOAD_BYTE, 0, 0, 6 };
	code[n] = (struct instruction) { JUMP_IF_EQUAL, 1, 0, 17 }, n++;
	code[n] = (struct instruction) { JUMP_IF_EQUAL, 0, (uint8_t)(no - n - 1), 6 }, n++;
	for (unsigned end = 0; end < 2; end++) {
		code[n++] = (struct instruction) { LOAD_HALF, 0, 0, 40 + 2 * end };
		for (unsigned i = 0; i < count; i++, n++)
			code[n] = (struct instruction) { JUMP_IF_EQUAL, (uint8_t)(yes - n - 1),
				(uint8_t)(end && i + 1 == count ? no - n - 1 : 0), ports[i] };
	}
	code[n++] = (struct instruction) { RETURN, 0, 0, 1 << 18 };
	code[n++] = (struct instruction) { RETURN, 0, 0, 0 };
	return n;
}

int fallback_open(const uint16_t *ports, unsigned port_count)
{
	struct instruction code[16 + 4 * (1 + KDNS_PORTS)];
	struct program program = { (uint16_t)make_filter(code, ports, port_count), code };
	struct address all = { .family = PACKET_FAMILY, .protocol = ALL_PROTOCOLS };
	int room = BUFFER_BYTES, on = 1, error;
	/* Of no protocol until it is filtered: no packet may come before. */
	int fd = socket(PACKET_FAMILY, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, BUFFER_FORCE, &room, sizeof room);
	setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
	if (!setsockopt(fd, SOL_SOCKET, ATTACH_FILTER, &program, sizeof program) &&
		!bind(fd, (struct sockaddr *)&all, 20))
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

int fallback_parse(struct segment *s, const uint8_t *packet, uint32_t size)
{
	struct sighting *seen = &s->seen;
	uint32_t start, total;

	if (size < 20)
		return 0;
	if (packet[0] >> 4 == 4) {
		start = (packet[0] & 15) * 4u;
		total = (uint32_t)packet[2] << 8 | packet[3];
		seen->family = 4;
		seen->protocol = packet[9];
		memcpy(seen->source, packet + 12, 4);
		memcpy(seen->target, packet + 16, 4);
	} else if (packet[0] >> 4 == 6 && size >= 40) {
		start = 40;
		total = ((uint32_t)packet[4] << 8 | packet[5]) + 40;
		seen->family = 6;
		seen->protocol = packet[6];
		memcpy(seen->source, packet + 8, 16);
		memcpy(seen->target, packet + 24, 16);
	} else
		return 0;
	uint32_t header = seen->protocol == 17 ? 8 : 20;
	if (start < 20 || size < start + header || total < start + header)
		return 0;
	const uint8_t *part = packet + start;
	seen->source_port = (uint16_t)(part[0] << 8 | part[1]);
	seen->target_port = (uint16_t)(part[2] << 8 | part[3]);
	if (seen->protocol == 6) {
		s->sequence = (uint32_t)part[4] << 24 | (uint32_t)part[5] << 16 | (uint32_t)part[6] << 8 | part[7];
		s->flags = part[13];
		header = (part[12] >> 4) * 4u;
		if (header < 20 || size < start + header || total < start + header)
			return 0;
	} else if (seen->protocol != 17)
		return 0;
	seen->data = part + header;
	seen->size = total - start - header;
	seen->captured = size - start - header < seen->size ? size - start - header : seen->size;
	return 1;
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/* When the packet came, on the monotonic clock: it may have waited for us. The kernel's stamps are of the other. */
static uint64_t came_ns(struct msghdr *packet, uint64_t offset_ns)
{
	struct cmsghdr *only = CMSG_FIRSTHDR(packet);
	struct timespec at;

	if (!only || only->cmsg_level != SOL_SOCKET || only->cmsg_type != SCM_TIMESTAMPNS)
		return clock_ns(CLOCK_MONOTONIC);
	memcpy(&at, CMSG_DATA(only), sizeof at);
	return (uint64_t)at.tv_sec * NS_PER_S + (uint64_t)at.tv_nsec - offset_ns;
}

unsigned fallback_read(int fd, unsigned most, void (*take)(void *context, const struct segment *s), void *context,
	uint64_t *packets, uint64_t *lost)
{
	static uint8_t packet[1 << 17];
	struct statistics statistics = {0};
	socklen_t statistics_size = sizeof statistics;
	uint64_t offset_ns = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
	unsigned taken = 0;

	while (taken < most) {
		_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct timespec))];
		struct iovec part = { packet, sizeof packet };
		struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
			.msg_controllen = sizeof control };
		ssize_t size = recvmsg(fd, &message, MSG_DONTWAIT);
		if (size < 0)
			break;
		struct segment s = {0};
		s.seen.time_ns = came_ns(&message, offset_ns);
		s.seen.on_node = 1;
		taken++;
		*packets += 1;
		if (fallback_parse(&s, packet, (uint32_t)size))
			take(context, &s);
	}
	if (!getsockopt(fd, LEVEL_PACKET, PACKET_STATISTICS, &statistics, &statistics_size))
		*lost += statistics.drops;
	return taken;
}
