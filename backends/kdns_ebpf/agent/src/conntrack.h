/* What the address of a Service became, from the node's connection tracking (ctnetlink). */
#ifndef KDNS_CONNTRACK_H
#define KDNS_CONNTRACK_H
#include <stdint.h>
#include "pairing.h"

/* 0 where there is none for us. */
int conntrack_open(void);
/* Sets `backend_ip`, `backend_port` and KDNS_BACKEND where the server's address was translated. */
void conntrack_look_up(struct lookup *l);
/* The answer of the kernel, for tests: 1 and the source of the reply's tuple when it holds one. */
int conntrack_parse(const uint8_t *answer, uint32_t size, uint8_t family, uint8_t ip[16], uint16_t *port);
#endif
