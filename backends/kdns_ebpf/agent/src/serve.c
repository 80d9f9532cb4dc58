#include "serve.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "connection.h"
#include "log.h"

enum { MAX_CONNECTIONS = 2 * MAX_SESSIONS, TURN_MS = 50, END_MS = 500, PIPE_BYTES = 1 << 20, READS_A_TURN = 64 };
static const uint64_t NS_PER_S = 1000000000, PING_WAIT_NS = 30000000000ull, STATS_NS = 250000000;
/* Less than two turns, so that an idle ring's second turn is never one too early. */
static const uint64_t BATCH_NS = 95000000;

static struct agent agent;
static struct connection *connections[MAX_CONNECTIONS];
static int poller, listener = -1, is_local;
static volatile sig_atomic_t signalled;

static void on_signal(int number) { signalled = number; }

void log_line(int level, const char *format, ...)
{
	static const char *const words[] = { "", "warning: ", "error: " };
	char text[1024];
	struct kdns_log head = { .level = (uint32_t)level };
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (!is_local || level == KDNS_LOG_FATAL)
		fprintf(stderr, "kdns-agent: %s%s\n", words[level], text);
	for (unsigned i = 0; i < agent.session_count; i++)
		session_put(agent.sessions[i], KDNS_LOG, &head, sizeof head, text, (uint32_t)strlen(text), 0, 0);
}

static void watch(int fd, uint32_t events, void *what)
{
	struct epoll_event event = { .events = events, .data.ptr = what };

	/* A regular file cannot be watched; it is only ever our input in a test, and then always ready. */
	if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) && errno != EPERM)
		log_line(KDNS_LOG_WARNING, "cannot watch a descriptor: %s", strerror(errno));
}

/* 0600: whoever may read it is root on this node, or in this container. */
static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return 0;
	}
	strcpy(address.sun_path, path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unlink(path);
	mode_t mask = umask(0177);
	int bound = listener >= 0 && !bind(listener, (struct sockaddr *)&address, sizeof address);
	umask(mask);
	return bound && !listen(listener, MAX_CONNECTIONS);
}

static void add_connection(int in_fd, int out_fd)
{
	for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
		if (connections[i])
			continue;
		if ((connections[i] = connection_new(in_fd, out_fd))) {
			watch(in_fd, EPOLLIN, connections[i]);
			return;
		}
		break;
	}
	close(in_fd);
}

static void accept_all(void)
{
	int fd;

	while ((fd = accept4(listener, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
		add_connection(fd, fd);
}

static void put_stats(struct session *s)
{
	struct kdns_stats stats = agent_stats(&agent, s);
	session_put(s, KDNS_STATS, &stats, sizeof stats, 0, 0, 0, 0);
}

/* The last that a session gets; it waits a little for a slow reader. */
static void end_session(struct session *s, int reason)
{
	agent_tell_pending(&agent, s);
	struct kdns_bye bye = { .reason = (uint32_t)reason, .stats = agent_stats(&agent, s) };
	bye.stats.pending = 0; /* it has just been told */
	session_put(s, KDNS_BYE, &bye, sizeof bye, 0, 0, 0, 0);
	for (int waited = 0; waited < END_MS && session_flush(s) && session_waiting(s) && s->out_fd >= 0; waited += 10)
		usleep(10000);
	for (unsigned i = 0; i < agent.session_count; i++)
		if (agent.sessions[i] == s)
			agent.sessions[i] = agent.sessions[--agent.session_count];
	for (unsigned i = 0; i < MAX_CONNECTIONS; i++)
		if (connections[i] && connections[i]->session == s) {
			connection_free(connections[i]);
			connections[i] = 0;
		}
	session_free(s);
}

/* Why to end, once the last client is gone; else 0. */
static int read_connection(unsigned i)
{
	struct connection *c = connections[i];
	int outcome = connection_read(c, &agent);

	if (outcome == CONNECTION_OPEN)
		return 0;
	if (outcome == CONNECTION_CLOSED || (is_local && c->session))
		end_session(c->session, KDNS_BYE_CLOSED);
	else {
		connection_free(c);
		connections[i] = 0;
	}
	/* When the last client has said goodbye nobody will come again. */
	return is_local || (outcome == CONNECTION_CLOSED && !agent.session_count) ? KDNS_BYE_CLOSED : 0;
}

static void flush_all(void)
{
	for (unsigned i = 0; i < MAX_CONNECTIONS; i++) {
		struct connection *c = connections[i];
		if (!c || !c->session)
			continue;
		if (connection_is_stale(c) || !session_flush(c->session)) {
			connection_free(c); /* the session waits for its client to come again */
			connections[i] = 0;
		}
	}
}

/* A busy ring wakes us often: a client that wants little of it gets that in batches all the same (to wake up and to
 * read is most of what little costs it). What fills a batch, and what comes after a silence, goes out when it does. */
static void flush_in_time(void)
{
	static uint64_t flushed_ns;

	if (agent.now_ns - flushed_ns < BATCH_NS)
		return;
	flushed_ns = agent.now_ns;
	flush_all();
}

/* Ends sessions whose client has not been heard of; whether the agent is still wanted. */
static int anybody_there(uint64_t started_ns)
{
	uint64_t heard_ns = started_ns;
	static uint64_t last_ns;

	for (unsigned i = 0; i < agent.session_count; i++) {
		struct session *s = agent.sessions[i];
		if (s->pinged_ns > last_ns)
			last_ns = s->pinged_ns;
		if (agent.now_ns - s->pinged_ns > PING_WAIT_NS) {
			end_session(s, KDNS_BYE_NO_PING);
			i--;
		}
	}
	if (last_ns > heard_ns)
		heard_ns = last_ns;
	return agent.now_ns - heard_ns <= PING_WAIT_NS;
}

/* With one client that reads too slowly the ring may fill as well, before anything is lost; with several, what is
 * owed to one must not be lost because of another. */
static int wait_for_reader(void)
{
	struct session *s = agent.session_count == 1 ? agent.sessions[0] : 0;

	if (!s || s->out_fd < 0 || session_waiting(s) < SESSION_BUFFER / 2)
		return 0;
	struct pollfd out = { s->out_fd, POLLOUT, 0 };
	poll(&out, 1, TURN_MS);
	flush_all();
	return 1;
}

static int turn(void)
{
	struct epoll_event events[16];
	int ended = 0, n = epoll_wait(poller, events, 16, TURN_MS);

	agent_update_clock(&agent);
	for (int i = 0; i < n && !ended; i++) {
		if (events[i].data.ptr == &listener)
			accept_all();
		/* By its place in the table: an earlier event may have closed it. */
		for (unsigned k = 0; k < MAX_CONNECTIONS && !ended; k++)
			if (connections[k] && connections[k] == events[i].data.ptr)
				ended = read_connection(k);
	}
	/* Not for ever: clients and signals want to be heard while the ring never becomes empty. */
	for (int i = 0; i < READS_A_TURN && !ended && !wait_for_reader() && agent_read(&agent); i++)
		;
	flush_in_time();
	return ended;
}

int serve(const struct serve_options *options)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	struct sigaction action = { .sa_handler = on_signal };
	int reason = 0, status;

	is_local = !options->socket_path;
	signal(SIGPIPE, SIG_IGN);
	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &action, 0);
	if (options->deadline_s)
		alarm(options->deadline_s + 5); /* whatever this process hangs in */
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (!is_local && !listen_at(options->socket_path)) {
		log_line(KDNS_LOG_FATAL, "cannot listen at %s: %s", options->socket_path, strerror(errno));
		return AGENT_FAILED;
	}
	if ((status = agent_start(&agent, &options->agent)))
		return status;
	watch(agent.packet_fd >= 0 ? agent.packet_fd : agent.loaded.ring_fd, EPOLLIN, &agent);
	if (is_local) {
		fcntl(STDOUT_FILENO, F_SETPIPE_SZ, PIPE_BYTES);
		add_connection(STDIN_FILENO, STDOUT_FILENO);
	} else
		watch(listener, EPOLLIN, &listener);
	agent_update_clock(&agent);
	uint64_t started_ns = agent.now_ns, stats_ns = started_ns;
	while (!reason) {
		reason = turn();
		if (agent.now_ns - stats_ns >= STATS_NS) {
			stats_ns += (agent.now_ns - stats_ns) / STATS_NS * STATS_NS;
			for (unsigned i = 0; i < agent.session_count; i++)
				put_stats(agent.sessions[i]);
			if (!is_local && !anybody_there(started_ns))
				reason = KDNS_BYE_NO_PING;
		}
		if (options->deadline_s && agent.now_ns - started_ns >= options->deadline_s * NS_PER_S)
			reason = KDNS_BYE_DEADLINE;
		if (signalled)
			reason = KDNS_BYE_SIGNAL;
	}
	while (agent.session_count)
		end_session(agent.sessions[0], reason);
	if (!is_local)
		unlink(options->socket_path);
	return 0;
}
