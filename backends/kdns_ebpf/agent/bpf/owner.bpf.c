// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* Remembers which process uses a DNS socket: a packet in softirq does not know whose it is.
 *
 * Clients connect or send, servers bind. A process that is new is told at once, so that the agent can read its
 * name from /proc while it still lives; `comm` is only the name of the thread. */
#include "maps.h"

enum { AT_CONNECT, AT_SEND, AT_BIND };

/* Tells of a process once, and again when it has become another program. */
INLINE void tell(const struct kdns_owner *owner)
{
	__u64 mark = *(const __u64 *)owner->comm, *known = bpf_map_lookup_elem(&processes, &owner->tgid);

	if (known && (*known == mark || owner->tid != owner->tgid))
		return;
	struct kdns_event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e) {
		count(KDNS_C_OWNERS_LOST);
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->time_ns = bpf_ktime_get_ns();
	e->kind = KDNS_EVENT_OWNER;
	e->cgroup = bpf_get_current_cgroup_id();
	e->tgid = owner->tgid;
	e->tid = owner->tid;
	__builtin_memcpy(e->comm, owner->comm, KDNS_COMM);
	bpf_ringbuf_submit(e, BPF_RB_FORCE_WAKEUP);
	bpf_map_update_elem(&processes, &owner->tgid, &mark, BPF_ANY);
}

INLINE void own(void *context, __u64 cookie)
{
	struct kdns_owner owner = {};
	__u64 ids = bpf_get_current_pid_tgid();

	if (!cookie)
		return;
	owner.tgid = ids >> 32;
	owner.tid = (__u32)ids;
	owner.netns = bpf_get_netns_cookie(context);
	bpf_get_current_comm(owner.comm, sizeof(owner.comm));
	bpf_map_update_elem(&owners, &cookie, &owner, BPF_ANY);
	tell(&owner);
}

INLINE int at_address(struct bpf_sock_addr *context, int where)
{
	const struct kdns_settings *s = get_settings();
	__u32 local_port = 0;

	if (!s)
		return 1;
	if (where == AT_SEND && context->sk)
		local_port = context->sk->src_port; /* of a server that answers */
	if (!is_dns_port(s, swap16((__u16)context->user_port)) && !is_dns_port(s, (__u16)local_port))
		return 1;
	__u64 cookie = bpf_get_socket_cookie(context);
	const struct kdns_owner *known = bpf_map_lookup_elem(&owners, &cookie);
	/* Most sends are by the thread that sent before: keep those cheap. */
	if (known && where == AT_SEND && known->tid == (__u32)bpf_get_current_pid_tgid())
		return 1;
	own(context, cookie);
	return 1;
}

SEC("cgroup/connect4") int kdns_connect4(struct bpf_sock_addr *context) { return at_address(context, AT_CONNECT); }
SEC("cgroup/connect6") int kdns_connect6(struct bpf_sock_addr *context) { return at_address(context, AT_CONNECT); }
SEC("cgroup/sendmsg4") int kdns_sendmsg4(struct bpf_sock_addr *context) { return at_address(context, AT_SEND); }
SEC("cgroup/sendmsg6") int kdns_sendmsg6(struct bpf_sock_addr *context) { return at_address(context, AT_SEND); }

INLINE int at_bind(struct bpf_sock *context)
{
	const struct kdns_settings *s = get_settings();

	if (s && is_dns_port(s, (__u16)context->src_port))
		own(context, bpf_get_socket_cookie(context));
	return 1;
}

SEC("cgroup/post_bind4") int kdns_bind4(struct bpf_sock *context) { return at_bind(context); }
SEC("cgroup/post_bind6") int kdns_bind6(struct bpf_sock *context) { return at_bind(context); }
