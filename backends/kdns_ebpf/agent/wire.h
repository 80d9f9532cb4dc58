/* The frames between agent and client: what kdns_ebpf/wire.py mirrors.
 *
 * Little-endian, every field naturally aligned. A frame is a header and `size` bytes. The client writes CONFIG
 * (again whenever what it wants changes) and PING; the agent writes the rest. A session is named by its
 * client: who comes again with the same name goes on where it was, and sees by `sequence` what it missed. */
#ifndef KDNS_WIRE_H
#define KDNS_WIRE_H

#include <stdint.h>

#define KDNS_MAGIC 0x534e444bu /* "KDNS" */
#define KDNS_VERSION 1
#define KDNS_MAX_FRAME (256u << 10)
#define KDNS_MAX_CONFIG (128u << 10) /* a client's CONFIG; 2,000 pods of one namespace are 80 KiB */
#define KDNS_TEXT_BYTES 16

enum kdns_frame_type {
	KDNS_CONFIG = 1,
	KDNS_PING = 2,
	KDNS_CLOSE = 3, /* the client ends: it gets what is pending, and a BYE */
	KDNS_SEND = 4,  /* to `kdns-agent enter`, which answers with the last three */
	KDNS_HELLO = 16,
	KDNS_LOOKUP = 17,
	KDNS_MESSAGE = 18,
	KDNS_CGROUP = 19,
	KDNS_STATS = 20,
	KDNS_LOG = 21,
	KDNS_BYE = 22,
	KDNS_ENTERED = 24,
	KDNS_ANSWER = 25,
	KDNS_REFUSED = 26,
};

struct kdns_frame {
	uint32_t size;
	uint16_t type;
	uint16_t pad;
};

/* ---- client to agent ---- */

enum { KDNS_WANT_MESSAGES = 1 };
enum { KDNS_TYPES_ANY, KDNS_TYPES_ONLY, KDNS_TYPES_NOT };
enum { KDNS_OUTCOME_NO_ANSWER = 1 << 16 }; /* besides a bit for the low four bits of each rcode */
enum { KDNS_NAME_EXACT = 1, KDNS_NAME_SUFFIX, KDNS_NAME_PREFIX, KDNS_NAME_SUBSTRING };
enum { KDNS_CLIENT_POD_UID = 1, KDNS_CLIENT_IP };

/* What a session wants to see. All that is given must hold; of a list, one item. Behind it stand `types`
 * numbers of two bytes, filled up to a multiple of four bytes; then `names` and `clients` items: one byte of
 * kind, one of size, the text or address. A name is lower case in presentation form, without the last dot. */
struct kdns_config {
	uint32_t magic;
	uint16_t version;
	uint16_t flags;
	uint8_t session[16];
	uint64_t slower_than_ns;
	uint32_t outcomes;
	uint32_t max_rate; /* messages a second; 0: no limit */
	uint16_t types_mode;
	uint16_t types;
	uint16_t names;
	uint16_t clients;
};

/* ---- agent to client ---- */

enum { KDNS_CAN_OWNERS = 1, KDNS_CAN_PATHS = 2, KDNS_CAN_NETNS = 4, KDNS_CAN_CONNTRACK = 8, KDNS_IS_FALLBACK = 16,
	KDNS_RESUMED = 32 };

struct kdns_hello {
	uint32_t magic;
	uint16_t version;
	uint16_t can;
	uint64_t time_ns; /* since the epoch, as all times here */
	uint32_t cpus;
	uint32_t timeout_ms;
	char release[64]; /* of the kernel */
};

enum { KDNS_SIDE_CLIENT = 1, KDNS_SIDE_SERVER = 2, KDNS_SIDE_NODE = 3 };
enum { KDNS_ANSWERED = 0, KDNS_UNANSWERED, KDNS_PENDING, KDNS_NO_QUERY };
enum { KDNS_LATE = 1, KDNS_BACKEND = 2, KDNS_IS_RESPONSE = 4 };

/* A query and its response, or one of them; in a MESSAGE frame one message (KDNS_IS_RESPONSE says which; it
 * stands where that of a lookup would). Behind it: `query_captured`, then `response_captured` bytes. */
struct kdns_lookup {
	uint64_t sequence; /* messages that this session was to get before this frame */
	uint64_t query_ns; /* the first try; 0: not seen */
	uint64_t last_ns;  /* the last try */
	uint64_t response_ns;
	uint64_t cookie;
	uint64_t cgroup;
	uint64_t netns; /* its cookie, 0: unknown */
	uint32_t pid;   /* 0: unknown */
	uint32_t tries;
	uint32_t query_size; /* bytes on the wire */
	uint32_t response_size;
	uint32_t query_captured;
	uint32_t response_captured;
	uint32_t messages; /* that this frame stands for */
	uint16_t id;
	uint16_t client_port;
	uint8_t client_ip[16];
	uint8_t server_ip[16];
	uint8_t backend_ip[16]; /* what the server's address became, with KDNS_BACKEND */
	uint16_t server_port;
	uint16_t backend_port;
	uint8_t family; /* 4, 6 */
	uint8_t protocol; /* 17, 6 */
	uint8_t side;
	uint8_t status;
	uint8_t flags;
	uint8_t pad[7];
	char process[KDNS_TEXT_BYTES];
};

/* The path of a cgroup from the node's root, before the first lookup that has it; behind it the text. */
struct kdns_cgroup {
	uint64_t id;
};

/* Four times a second, and in a BYE. Messages, if not said otherwise; of the agent since it began, and of the session
 * since that began: seen = sent + filtered + lost + over_rate + pending. */
struct kdns_stats {
	uint64_t time_ns;
	uint64_t packets_out, packets_in; /* all packets of the node; approximate, as counting must cost nothing */
	uint64_t captured;                /* DNS packets that the kernel took = ring_sent + ring_lost + control */
	uint64_t control;                 /* segments of TCP without data */
	uint64_t ring_sent;
	uint64_t ring_lost;
	uint64_t unreadable;        /* captured, but no DNS messages */
	uint64_t tcp_gaps;          /* holes in TCP streams, behind which messages were lost */
	uint64_t duplicates;        /* messages seen again, which no lookup counts */
	uint64_t evicted;           /* queries given up because too many waited */
	uint64_t seen;
	uint64_t sent;
	uint64_t filtered;
	uint64_t lost; /* the session's buffer was full: its client reads too slowly */
	uint64_t over_rate;
	uint64_t pending;
	uint64_t late; /* responses that came when their lookup had been told unanswered; part of filtered */
	uint64_t cpu_ns;
	uint64_t rss_bytes;
	uint64_t known_ns; /* all lookups that ended by then are in front of this frame */
};

enum { KDNS_LOG_INFO, KDNS_LOG_WARNING, KDNS_LOG_FATAL };
struct kdns_log {
	uint32_t level;
	uint32_t pad;
};

enum { KDNS_BYE_SIGNAL = 1, KDNS_BYE_DEADLINE, KDNS_BYE_NO_PING, KDNS_BYE_CLOSED, KDNS_BYE_FATAL };
struct kdns_bye {
	uint32_t reason;
	uint32_t pad;
	struct kdns_stats stats;
};

/* ---- kdns-agent enter ---- */

/* One DNS message, which follows, from the socket of number `slot` there, opened for its first message. */
struct kdns_send {
	uint16_t slot;
	uint16_t port;
	uint8_t family; /* 4 or 6 */
	uint8_t protocol; /* 17 or 6 */
	uint8_t pad[2];
	uint8_t ip[16];
};

/* `kdns-agent enter` is where it was told to go; the resolv.conf of that process follows. */
struct kdns_entered {
	uint32_t pid;
	uint32_t pad;
};

/* What came from that socket follows; or an `error` (errno) of it and nothing. */
struct kdns_answer {
	uint16_t slot;
	uint16_t error;
	uint32_t pad;
};

_Static_assert(sizeof(struct kdns_send) == 24, "wire");
_Static_assert(sizeof(struct kdns_entered) == 8, "wire");
_Static_assert(sizeof(struct kdns_answer) == 8, "wire");
_Static_assert(sizeof(struct kdns_frame) == 8, "wire");
_Static_assert(sizeof(struct kdns_config) == 48, "wire");
_Static_assert(sizeof(struct kdns_hello) == 88, "wire");
_Static_assert(sizeof(struct kdns_lookup) == 168, "wire");
_Static_assert(sizeof(struct kdns_stats) == 168, "wire");
_Static_assert(sizeof(struct kdns_log) == 8, "wire");
_Static_assert(sizeof(struct kdns_bye) == 176, "wire");
#endif
