// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* The maps of all programs. Their sizes are in src/loader.c, which makes them: here they only have names. */
#ifndef KDNS_MAPS_H
#define KDNS_MAPS_H
#include "event.h"
#include "helpers.h"

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, struct kdns_settings); } settings SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __type(key, __u32); __type(value, __u64); } counters SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __type(key, __u64); __type(value, struct kdns_owner); } owners SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __type(key, __u32); __type(value, __u64); } processes SEC(".maps");

INLINE void count(__u32 which)
{
	__u64 *counter = bpf_map_lookup_elem(&counters, &which);
	/* Atomic although per CPU: egress runs in process context, and ingress may interrupt it. */
	if (counter)
		__sync_fetch_and_add(counter, 1);
}

INLINE const struct kdns_settings *get_settings(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&settings, &zero);
}

/* Eight ports in two words, compared lane by lane without branches: cheap here and for the verifier. A lane is
 * zero where (x - 1) & ~x has its highest bit set; a borrow makes false hits only above a true one. */
INLINE int is_dns_port(const struct kdns_settings *s, __u16 port)
{
	const __u64 *lanes = (const __u64 *)s->ports;
	const __u64 ones = 0x0001000100010001ULL, tops = 0x8000800080008000ULL;
	__u64 wanted = port * ones, x = lanes[0] ^ wanted, y = lanes[1] ^ wanted;

	return ((((x - ones) & ~x) | ((y - ones) & ~y)) & tops) != 0;
}
#endif
