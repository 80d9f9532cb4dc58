/* kdns-agent: shows the DNS messages of all sockets of a node, paired, to clients that say what they want.
 *
 *   kdns-agent serve --socket PATH [--deadline-s N] ...   on a node, for `kdns-agent relay`
 *   kdns-agent local ...                                  one client, on standard input and output
 *   kdns-agent relay --socket PATH                        carries frames between that socket and standard streams
 *   kdns-agent enter --pod-uid UID | --pid N              asks DNS servers from where that pod or process is
 *   kdns-agent version
 * The frames are those of wire.h. Exit status: 1 failed, 2 wrong usage, 3 not allowed, 4 no cgroup v2. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "enter.h"
#include "relay.h"
#include "serve.h"

static int usage(const char *problem, const char *what)
{
	fprintf(stderr, "kdns-agent: %s%s%s\nusage: kdns-agent serve --socket PATH | local | relay --socket PATH\n"
		"  | enter --pod-uid UID | enter --pid N | version\n"
		"  [--port N]... [--timeout-ms N] [--deadline-s N] [--cgroup DIR] [--ring-bytes N] [--fallback]\n",
		problem, what[0] ? ": " : "", what);
	return 2;
}

static int number(const char *text, unsigned long most, unsigned long *value)
{
	char *end;

	*value = strtoul(text, &end, 10);
	return text[0] >= '0' && text[0] <= '9' && !*end && *value <= most;
}

int main(int count, char **words)
{
	struct serve_options o = { .agent = { .timeout_ms = 5000, .ring_bytes = 4 << 20 } };
	const char *command = count > 1 ? words[1] : "", *pod_uid = 0;
	unsigned long pid = 0;

	for (int i = 2; i < count; i++) {
		const char *flag = words[i], *value = i + 1 < count ? words[i + 1] : "";
		unsigned long n = 0;
		int good = 1;
		if (!strcmp(flag, "--fallback")) {
			o.agent.force_fallback = 1;
			continue;
		}
		i++;
		if (!strcmp(flag, "--socket"))
			o.socket_path = value;
		else if (!strcmp(flag, "--pod-uid"))
			pod_uid = value;
		else if (!strcmp(flag, "--pid"))
			good = number(value, 1 << 22, &pid) && pid;
		else if (!strcmp(flag, "--cgroup"))
			o.agent.cgroup = value;
		else if (!strcmp(flag, "--port")) {
			good = number(value, 65535, &n) && n && o.agent.port_count < KDNS_PORTS;
			if (good)
				o.agent.ports[o.agent.port_count++] = (uint16_t)n;
		} else if (!strcmp(flag, "--timeout-ms")) {
			good = number(value, 3600000, &n) && n;
			o.agent.timeout_ms = (uint32_t)n;
		} else if (!strcmp(flag, "--deadline-s")) {
			good = number(value, 7 * 86400, &n);
			o.deadline_s = (uint32_t)n;
		} else if (!strcmp(flag, "--ring-bytes")) {
			good = number(value, 1 << 30, &n) && n >= 4096 && !(n & (n - 1));
			o.agent.ring_bytes = (uint32_t)n;
		} else
			return usage("unknown flag", flag);
		if (!good || !*value)
			return usage("bad value of", flag);
	}
	if (!o.agent.port_count)
		o.agent.ports[o.agent.port_count++] = 53;
	if (!strcmp(command, "version")) {
		printf("%d\n", KDNS_VERSION);
		return 0;
	}
	if (!strcmp(command, "relay"))
		return o.socket_path ? relay(o.socket_path) : usage("relay needs", "--socket");
	if (!strcmp(command, "enter"))
		return pod_uid || pid ? enter(pod_uid, (int)pid) : usage("enter needs", "--pod-uid or --pid");
	if (!strcmp(command, "serve"))
		return o.socket_path ? serve(&o) : usage("serve needs", "--socket");
	if (!strcmp(command, "local")) {
		o.socket_path = 0;
		return serve(&o);
	}
	return usage("which command", command);
}
