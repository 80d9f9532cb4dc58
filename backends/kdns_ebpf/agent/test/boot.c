/* The first process of a machine that tools/kernels.py boots: runs the agent beside a known number of lookups, in
 * four set-ups, and prints what the agent sent as hexadecimal lines. Then the machine goes off. In one of them the
 * agent has what a pod gives it: the capabilities in /capabilities, a byte each, and the AppArmor profile in /profile.
 *
 * Per set-up: LOOKUPS over UDP and as many over TCP (ten in one segment), IPv4 and IPv6, and SILENT that get no
 * answer and are asked twice. The client is in a cgroup as a container of a pod has it, the server is not. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOKUPS = 100, SILENT = 5, AT_ONCE = 10, BYTES = 512, PATIENCE_MS = 20000 };

static const char POD[] = "kubepods.slice/kubepods-pod11111111_2222_3333_4444_555555555555.slice/"
	"cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope";

static void check(int good, const char *what)
{
	if (good)
		return;
	printf("KDNS-FAILED %s: %m\n", what);
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);
}

static socklen_t loopback(int family, struct sockaddr_storage *to)
{
	memset(to, 0, sizeof *to);
	to->ss_family = (sa_family_t)family;
	if (family == AF_INET6) {
		struct sockaddr_in6 *six = (void *)to;
		six->sin6_port = htons(53);
		six->sin6_addr = in6addr_loopback;
		return sizeof *six;
	}
	struct sockaddr_in *four = (void *)to;
	four->sin_port = htons(53);
	four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return sizeof *four;
}

static int opened(int family, int type, int listens)
{
	struct sockaddr_storage to;
	socklen_t size = loopback(family, &to);
	int fd = socket(family, type, 0), on = 1;

	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	check(!(listens ? bind : connect)(fd, (void *)&to, size), listens ? "bind" : "connect");
	if (listens && type == SOCK_STREAM)
		check(!listen(fd, 16), "listen");
	return fd;
}

static unsigned question(unsigned char *bytes, unsigned number, const char *word)
{
	char label[16];
	unsigned size = 12, length = (unsigned)snprintf(label, sizeof label, "%s%u", word, number);

	memcpy(bytes, "\0\0\1\0\0\1\0\0\0\0\0\0", 12);
	bytes[0] = (unsigned char)(number >> 8), bytes[1] = (unsigned char)number;
	bytes[size++] = (unsigned char)length;
	memcpy(bytes + size, label, length), size += length;
	memcpy(bytes + size, "\6kernel\4test\0\0\1\0\1", 17);
	return size + 17;
}

static unsigned answer(unsigned char *bytes, unsigned size)
{
	bytes[2] = 0x81, bytes[3] = 0x80, bytes[7] = 1;
	memcpy(bytes + size, "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\0\0\1", 16);
	return size + 16;
}

static int read_all(int fd, unsigned char *to, size_t size)
{
	for (size_t got = 0; got < size;) {
		ssize_t n = read(fd, to + got, size - got);
		if (n <= 0)
			return 0;
		got += (size_t)n;
	}
	return 1;
}

static void serve_connection(int fd)
{
	unsigned char bytes[BYTES + 2];

	while (read_all(fd, bytes, 2)) {
		unsigned size = (unsigned)(bytes[0] << 8 | bytes[1]);
		check(size < BYTES - 16 && read_all(fd, bytes + 2, size), "read");
		size = answer(bytes + 2, size);
		bytes[0] = (unsigned char)(size >> 8), bytes[1] = (unsigned char)size;
		check(write(fd, bytes, 1) == 1 && write(fd, bytes + 1, size + 1) == (ssize_t)size + 1, "write");
	}
	close(fd);
}

static void serve(void)
{
	unsigned char bytes[BYTES];
	struct sockaddr_storage from;
	struct pollfd sockets[] = {
		{ opened(AF_INET, SOCK_DGRAM, 1), POLLIN, 0 }, { opened(AF_INET6, SOCK_DGRAM, 1), POLLIN, 0 },
		{ opened(AF_INET, SOCK_STREAM, 1), POLLIN, 0 }, { opened(AF_INET6, SOCK_STREAM, 1), POLLIN, 0 },
	};

	for (;;) {
		poll(sockets, 4, -1);
		for (int i = 0; i < 4; i++) {
			socklen_t size = sizeof from;
			if (!(sockets[i].revents & POLLIN))
				continue;
			if (i >= 2) {
				serve_connection(accept(sockets[i].fd, 0, 0));
				continue;
			}
			ssize_t n = recvfrom(sockets[i].fd, bytes, BYTES - 16, 0, (void *)&from, &size);
			if (n > 12 && bytes[13] != 's')
				sendto(sockets[i].fd, bytes, answer(bytes, (unsigned)n), 0, (void *)&from, size);
		}
	}
}

static void ask(int family)
{
	unsigned char bytes[AT_ONCE * BYTES];
	int fd = opened(family, SOCK_DGRAM, 0);

	for (unsigned i = 0; i < LOOKUPS; i++) {
		unsigned size = question(bytes, i, "u");
		check(send(fd, bytes, size, 0) == (ssize_t)size, "send");
		check(recv(fd, bytes, BYTES, 0) == (ssize_t)size + 16, "recv");
	}
	for (unsigned i = 0; i < 2 * SILENT; i++) {
		unsigned size = question(bytes, 1000 + i % SILENT, "s");
		if (i == SILENT)
			usleep(200000); /* sooner, a packet socket takes it for the same packet on another interface */
		check(send(fd, bytes, size, 0) == (ssize_t)size, "send");
	}
	fd = opened(family, SOCK_STREAM, 0);
	for (unsigned i = 0; i < LOOKUPS; i += AT_ONCE) {
		unsigned char *end = bytes;
		for (unsigned k = i; k < i + AT_ONCE; k++) {
			unsigned size = question(end + 2, k, "t");
			end[0] = 0, end[1] = (unsigned char)size;
			end += 2 + size;
		}
		check(write(fd, bytes, (size_t)(end - bytes)) == end - bytes, "write");
		for (unsigned k = i; k < i + AT_ONCE; k++) {
			check(read_all(fd, bytes, 2) && read_all(fd, bytes + 2, bytes[1]), "read");
		}
	}
	close(fd);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	check(fd >= 0 && write(fd, text, strlen(text)) > 0, path);
	close(fd);
}

static void make_cgroup(const char *root, char *path, size_t size)
{
	snprintf(path, size, "%s/%s", root, POD);
	for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); *at++ = '/') {
		*at = 0;
		mkdir(path, 0755);
	}
	mkdir(path, 0755);
}

static pid_t forked(const char *name)
{
	fflush(stdout);
	pid_t child = fork();
	check(child >= 0, "fork");
	if (!child && name) {
		int fd = open("/proc/self/comm", O_WRONLY);
		check(write(fd, name, strlen(name)) > 0, "comm");
		close(fd);
	}
	return child;
}

static int load_profile(void)
{
	static char policy[1 << 20];
	int fd = open("/profile", O_RDONLY);
	ssize_t size = fd < 0 ? 0 : read(fd, policy, sizeof policy);

	close(fd);
	if (size <= 0)
		return 0;
	check(!mount("security", "/sys/kernel/security", "securityfs", 0, 0), "securityfs");
	fd = open("/sys/kernel/security/apparmor/.replace", O_WRONLY);
	check(fd >= 0 && write(fd, policy, (size_t)size) == size, "AppArmor's policy");
	close(fd);
	return 1;
}

/* As runc does it; the program that is run next is confined. */
static void confine(const char *profile)
{
	char exec[128], kept[64];
	int fd = open("/capabilities", O_RDONLY);
	ssize_t count = read(fd, kept, sizeof kept);

	check(count > 0, "capabilities");
	close(fd);
	for (int i = 0; i < 64; i++)
		if (!memchr(kept, i, (size_t)count))
			prctl(PR_CAPBSET_DROP, (unsigned long)i);
	snprintf(exec, sizeof exec, "exec %s", profile);
	write_file("/proc/self/attr/exec", exec);
	check(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
}

/* How the kernel confines a process, and what it may. */
static void show_confinement(pid_t pid)
{
	char path[64], line[256] = "";

	snprintf(path, sizeof path, "/proc/%d/attr/current", pid);
	FILE *file = fopen(path, "r");
	check(file && fgets(line, sizeof line, file), path);
	fclose(file);
	printf("KDNS-CONFINED %s", line);
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof line, file))
		if (!strncmp(line, "CapEff:", 7))
			printf("KDNS-%s", line);
	fclose(file);
}

static void show(const char *path)
{
	unsigned char bytes[48];
	int fd = open(path, O_RDONLY);
	ssize_t n;

	while ((n = read(fd, bytes, sizeof bytes)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			printf("%02x", bytes[i]);
		printf("\n");
	}
	close(fd);
}

/* The agent from its start to its end; `root` is where cgroup v2 is mounted, 0 for nowhere; 0 for no profile. */
static void run(const char *setup, const char *root, const char *flag, const char *profile)
{
	char cgroup[512], pid[16];
	int input[2], status, config;
	char bytes[BYTES];

	printf("KDNS-RUN %s\n", setup);
	if (root)
		make_cgroup(root, cgroup, sizeof cgroup);
	check(!pipe(input), "pipe");
	pid_t agent = forked(0);
	if (!agent) {
		int out = open("/out", O_CREAT | O_TRUNC | O_WRONLY, 0600);
		dup2(input[0], 0), dup2(out, 1), close(input[1]), close(input[0]), close(out);
		if (profile)
			confine(profile);
		execl("/kdns-agent", "kdns-agent", "local", "--timeout-ms", "3000", flag, (char *)0);
		_exit(127);
	}
	config = open("/config", O_RDONLY);
	ssize_t n = read(config, bytes, sizeof bytes);
	check(n > 0 && write(input[1], bytes, (size_t)n) == n, "config");
	struct stat seen = { 0 };
	for (int waited = 0; !seen.st_size && !waitpid(agent, &status, WNOHANG); waited += 10) {
		check(waited < PATIENCE_MS, "the agent said nothing in 20 s");
		usleep(10000);
		stat("/out", &seen);
	}
	if (profile)
		show_confinement(agent);
	pid_t server = forked("server");
	if (!server)
		serve();
	usleep(200000);
	pid_t client = forked("client");
	if (!client) {
		snprintf(pid, sizeof pid, "%d", getpid());
		strcat(cgroup, "/cgroup.procs");
		if (root)
			write_file(cgroup, pid);
		ask(AF_INET);
		ask(AF_INET6);
		_exit(0);
	}
	waitpid(client, &status, 0);
	usleep(5000000); /* what has no answer is given up, and the figures come each second */
	check(write(input[1], "\0\0\3\0\0\0\0\0", 8) == 8, "close"); /* a CLOSE frame */
	close(input[1]);
	waitpid(agent, &status, 0);
	kill(server, SIGKILL);
	waitpid(server, 0, 0);
	show("/out");
	unlink("/out");
	printf("KDNS-DONE %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

int main(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	klogctl(8, 0, 1); /* nothing of the kernel's between the lines */
	mkdir("/proc", 0755), mkdir("/sys", 0755), mkdir("/run", 0755);
	check(!mount("proc", "/proc", "proc", 0, 0) && !mount("sys", "/sys", "sysfs", 0, 0), "mount");
	check(!ioctl(socket(AF_INET, SOCK_DGRAM, 0), SIOCSIFFLAGS, &lo), "lo");
	usleep(300000); /* until ::1 is there */

	check(!mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, 0), "cgroup2");
	run("v2", "/sys/fs/cgroup", 0, 0);
	run("fallback", "/sys/fs/cgroup", "--fallback", 0);
	if (load_profile())
		run("confined", "/sys/fs/cgroup", 0, "kdns-runtime-default");
	check(!umount("/sys/fs/cgroup") && !mount("tmp", "/sys/fs/cgroup", "tmpfs", 0, 0), "tmpfs");
	run("v1", 0, 0, 0);
	mkdir("/sys/fs/cgroup/unified", 0755);
	check(!mount("cgroup2", "/sys/fs/cgroup/unified", "cgroup2", 0, 0), "unified");
	run("hybrid", "/sys/fs/cgroup/unified", 0, 0);
	printf("KDNS-END\n");
	fflush(stdout);
	sleep(1);
	reboot(RB_POWER_OFF);
	return 0;
}
