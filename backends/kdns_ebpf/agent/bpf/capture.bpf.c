// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* Copies the DNS packets of all sockets of the node to the ring; attached at the root of cgroup v2.
 *
 * Only UAPI contexts, so nothing depends on how a kernel was built: no BTF, no CO-RE. Runs from 5.8 on. */
#include "maps.h"

enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17, ETHERNET_IPV4 = 0x0800, ETHERNET_IPV6 = 0x86dd };
enum { HOP_BY_HOP = 0, ROUTING = 43, DESTINATION = 60 }; /* IPv6 extension headers, RFC 8200 */
enum { MAX_EXTENSIONS = 3 };

struct packet {
	__u32 payload, payload_size;
	__u32 tcp_sequence;
	__u16 source_port, target_port;
	__u8 family, protocol, tcp_flags;
};

/* What every packet of the node takes: direct access, no helper call. 0: certainly no DNS. The kernel has the
 * headers in the linear part here; whatever is odd goes the slow way. */
INLINE int may_be_dns(struct __sk_buff *skb, const struct kdns_settings *s)
{
	const __u8 *start = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const __u16 *ports;
	__u8 protocol;

	if (skb->protocol == swap16(ETHERNET_IPV4)) {
		if (start + 28 > end || start[0] != 0x45)
			return 1;
		protocol = start[9];
		ports = (void *)(start + 20);
	} else {
		if (start + 48 > end)
			return 1;
		protocol = start[6];
		if (protocol == HOP_BY_HOP || protocol == ROUTING || protocol == DESTINATION)
			return 1;
		ports = (void *)(start + 40);
	}
	if (protocol != PROTOCOL_UDP && protocol != PROTOCOL_TCP)
		return 0;
	return is_dns_port(s, swap16(ports[0])) | is_dns_port(s, swap16(ports[1]));
}

/* Reads the headers. 0: no DNS. */
INLINE int parse(struct __sk_buff *skb, const struct kdns_settings *s, struct packet *p)
{
	__u8 header[40];
	__u32 offset, end;

	if (skb->protocol == swap16(ETHERNET_IPV4)) {
		if (bpf_skb_load_bytes(skb, 0, header, 20))
			return 0;
		if ((header[6] & 0x1f) | header[7]) /* not the first fragment */
			return 0;
		p->family = 4;
		p->protocol = header[9];
		offset = (header[0] & 15) * 4;
		end = (header[2] << 8) | header[3]; /* 0: longer than 16 bits can say (BIG TCP) */
	} else if (skb->protocol == swap16(ETHERNET_IPV6)) {
		if (bpf_skb_load_bytes(skb, 0, header, 40))
			return 0;
		p->family = 6;
		p->protocol = header[6];
		offset = 40;
		end = (header[4] << 8) | header[5];
		end = end ? end + 40 : 0;
#pragma unroll
		for (int i = 0; i < MAX_EXTENSIONS; i++) {
			if (p->protocol == HOP_BY_HOP || p->protocol == ROUTING || p->protocol == DESTINATION) {
				__u8 extension[2];
				if (bpf_skb_load_bytes(skb, offset, extension, 2))
					return 0;
				p->protocol = extension[0];
				offset += (extension[1] + 1) * 8;
			}
		}
	} else
		return 0;
	__u8 ports[14];
	if (bpf_skb_load_bytes(skb, offset, ports, 8))
		return 0;
	p->source_port = (ports[0] << 8) | ports[1];
	p->target_port = (ports[2] << 8) | ports[3];
	if (!is_dns_port(s, p->source_port) && !is_dns_port(s, p->target_port))
		return 0;
	p->tcp_sequence = 0;
	p->tcp_flags = 0;
	if (p->protocol == PROTOCOL_UDP)
		p->payload = offset + 8;
	else if (p->protocol == PROTOCOL_TCP) {
		if (bpf_skb_load_bytes(skb, offset, ports, 14))
			return 0;
		p->tcp_sequence = ((__u32)ports[4] << 24) | (ports[5] << 16) | (ports[6] << 8) | ports[7];
		p->tcp_flags = ports[13];
		p->payload = offset + (ports[12] >> 4) * 4;
	} else
		return 0;
	if (!end || end > skb->len)
		end = skb->len;
	p->payload_size = end > p->payload ? end - p->payload : 0;
	return 1;
}

struct about { /* the socket */
	__u64 cookie, cgroup, netns;
	const struct kdns_owner *owner;
};

/* Fills an event with room for `room` bytes of payload, of which `size` are wanted. */
INLINE void fill(struct __sk_buff *skb, const struct packet *p, const struct about *about, struct kdns_event *e,
	__u64 size, __u32 room, int direction)
{
	const struct kdns_owner *owner = about->owner;

	e->time_ns = bpf_ktime_get_ns();
	e->cookie = about->cookie;
	e->cgroup = about->cgroup;
	e->netns = about->netns;
	if (owner) {
		e->tgid = owner->tgid;
		e->tid = owner->tid;
		if (!about->netns)
			e->netns = owner->netns;
		__builtin_memcpy(e->comm, owner->comm, KDNS_COMM);
	} else {
		e->tgid = e->tid = 0;
		__builtin_memset(e->comm, 0, KDNS_COMM);
	}
	__builtin_memset(e->source, 0, 32);
	if (p->family == 4) {
		bpf_skb_load_bytes(skb, 12, e->source, 4);
		bpf_skb_load_bytes(skb, 16, e->target, 4);
	} else
		bpf_skb_load_bytes(skb, 8, e->source, 32);
	e->source_port = p->source_port;
	e->target_port = p->target_port;
	e->family = p->family;
	e->protocol = p->protocol;
	e->direction = direction;
	e->kind = KDNS_EVENT_PACKET;
	e->tcp_sequence = p->tcp_sequence;
	e->size = p->payload_size;
	e->captured = 0;
	e->tcp_flags = p->tcp_flags;
	e->pad[0] = e->pad[1] = e->pad[2] = 0;
	/* 1 <= size <= room is said as size - 1 < room: kernels before 6.8 learn nothing from size != 0. */
	__u64 last = size - 1;
	hide(last);
	if (last < room && !bpf_skb_load_bytes(skb, p->payload, e->data, last + 1))
		e->captured = size;
}

INLINE void submit(const struct kdns_settings *s, void *event)
{
	/* The reader comes by a timer; it is woken only for a full batch. */
	__u64 flags = BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= s->wake_bytes)
		flags = BPF_RB_FORCE_WAKEUP;
	bpf_ringbuf_submit(event, flags);
	count(KDNS_C_SENT);
}

/* The record is reserved in one of a few fixed sizes and filled in place: a buffer per CPU would be a race,
 * since egress runs in process context and ingress may interrupt it. */
#define TRY_ROOM(room) \
	if (size <= (room)) { \
		struct kdns_event *e = bpf_ringbuf_reserve(&ring, sizeof(*e) + (room), 0); \
		if (!e) { \
			count(KDNS_C_LOST); \
			return; \
		} \
		fill(skb, &p, &about, e, size, (room), direction); \
		submit(s, e); \
		return; \
	}

INLINE void capture(struct __sk_buff *skb, int direction)
{
	const struct kdns_settings *s = get_settings();
	struct packet p = {};
	struct about about = {};

	if (!s)
		return;
	__u32 all = direction == KDNS_EGRESS ? KDNS_C_PACKETS_OUT : KDNS_C_PACKETS_IN;
	__u64 *packets = bpf_map_lookup_elem(&counters, &all);
	if (packets)
		*packets += 1; /* not atomic: this is paid for every packet, and the figure may be a little off */
	if (!may_be_dns(skb, s) || !parse(skb, s, &p))
		return;
	count(KDNS_C_CAPTURED);
	/* SYN, FIN and RST tell where a stream begins and ends; other segments without data tell nothing. */
	if (p.protocol == PROTOCOL_TCP && !p.payload_size && !(p.tcp_flags & 7)) {
		count(KDNS_C_CONTROL);
		return;
	}
	about.cgroup = bpf_skb_cgroup_id(skb);
	about.netns = bpf_get_netns_cookie(skb);
	about.cookie = bpf_get_socket_cookie(skb);
	if (about.cookie)
		about.owner = bpf_map_lookup_elem(&owners, &about.cookie);
	__u64 size = p.payload_size;
	if (size > KDNS_CAPTURE_MAX)
		size = KDNS_CAPTURE_MAX;
	TRY_ROOM(80)
	TRY_ROOM(256)
	TRY_ROOM(1232)
	TRY_ROOM(4096)
	TRY_ROOM(KDNS_CAPTURE_MAX)
}

SEC("cgroup_skb/egress") int kdns_egress(struct __sk_buff *skb)
{
	capture(skb, KDNS_EGRESS);
	return 1;
}

SEC("cgroup_skb/ingress") int kdns_ingress(struct __sk_buff *skb)
{
	capture(skb, KDNS_INGRESS);
	return 1;
}
