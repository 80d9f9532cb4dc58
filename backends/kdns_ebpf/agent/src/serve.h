/* The agent's life: serves sessions until its deadline, a signal, or until nobody asks for it any more. */
#ifndef KDNS_SERVE_H
#define KDNS_SERVE_H
#include "agent.h"

struct serve_options {
	struct agent_options agent;
	const char *socket_path; /* 0: one session on standard input and output */
	uint32_t deadline_s;     /* 0: none */
};

/* The exit status. */
int serve(const struct serve_options *options);
#endif
