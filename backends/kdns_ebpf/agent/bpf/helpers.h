// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* The few helpers and idioms of BPF that are used, so that no other header than the kernel's UAPI is needed. */
#ifndef KDNS_HELPERS_H
#define KDNS_HELPERS_H
#include <linux/bpf.h>
#include <linux/types.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define __uint(name, value) int(*name)[value]
#define __type(name, value) typeof(value) *name

/* Their numbers are in enum bpf_func_id, their meaning in bpf-helpers(7). */
static void *(*const bpf_map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static __u64 (*const bpf_ktime_get_ns)(void) = (void *)BPF_FUNC_ktime_get_ns;
static __u64 (*const bpf_get_current_pid_tgid)(void) = (void *)BPF_FUNC_get_current_pid_tgid;
static long (*const bpf_get_current_comm)(void *buffer, __u32 size) = (void *)BPF_FUNC_get_current_comm;
static long (*const bpf_skb_load_bytes)(const void *skb, __u32 offset, void *to, __u32 size) =
	(void *)BPF_FUNC_skb_load_bytes;
static __u64 (*const bpf_get_socket_cookie)(void *context) = (void *)BPF_FUNC_get_socket_cookie;
static __u64 (*const bpf_skb_cgroup_id)(struct __sk_buff *skb) = (void *)BPF_FUNC_skb_cgroup_id;
static __u64 (*const bpf_get_current_cgroup_id)(void) = (void *)BPF_FUNC_get_current_cgroup_id;
static __u64 (*const bpf_get_netns_cookie)(void *context) = (void *)BPF_FUNC_get_netns_cookie;
static void *(*const bpf_ringbuf_reserve)(void *ring, __u64 size, __u64 flags) = (void *)BPF_FUNC_ringbuf_reserve;
static void (*const bpf_ringbuf_submit)(void *data, __u64 flags) = (void *)BPF_FUNC_ringbuf_submit;
static __u64 (*const bpf_ringbuf_query)(void *ring, __u64 flags) = (void *)BPF_FUNC_ringbuf_query;

#define swap16(x) __builtin_bswap16(x)
/* Keeps the compiler from knowing what the verifier must be shown. */
#define hide(variable) asm volatile("" : "+r"(variable))
#endif
