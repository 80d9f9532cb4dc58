/* Carries frames between standard input and output and the agent's socket. */
#ifndef KDNS_RELAY_H
#define KDNS_RELAY_H

/* The exit status: 0 when either end is done, 1 when there is no agent at `socket_path`. */
int relay(const char *socket_path);
#endif
