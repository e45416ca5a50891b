/* Stands in for nginx and httpd: web NAME PORT [PID-FILE [TITLE]]
   Answers every request with 200 and one line, logs to standard output, one connection after the other.
   The title does nothing but stand in the process's command line. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

/* Listens on IPv6 and IPv4, or on IPv4 alone where the kernel has no IPv6; -1 if neither. */
static int listener(unsigned short port)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr *addresses[] = {(struct sockaddr *)&six, (struct sockaddr *)&four};
	socklen_t lengths[] = {sizeof six, sizeof four};
	for (int i = 0; i < 2; i++) {
		int yes = 1, fd = socket(addresses[i]->sa_family, SOCK_STREAM, 0);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
		if (bind(fd, addresses[i], lengths[i]) == 0 && listen(fd, 128) == 0)
			return fd;
		close(fd);
	}
	return -1;
}

static void answer(int fd, const char *name)
{
	char request[4096], body[128];
	ssize_t length = read(fd, request, sizeof request - 1);
	request[length > 0 ? length : 0] = '\0';
	request[strcspn(request, "\r\n")] = '\0';
	int size = snprintf(body, sizeof body, "It works: %s\n", name);
	dprintf(fd, "HTTP/1.1 200 OK\r\nServer: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		name, size, body);
	printf("%s: \"%s\" 200\n", name, request);
}

int main(int argc, char **argv)
{
	if (argc < 3) {
		fprintf(stderr, "usage: web NAME PORT [PID-FILE [TITLE]]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	int fd = listener((unsigned short)atoi(argv[2]));
	if (fd < 0)
		return fail("listen");
	if (argc > 3) {
		FILE *file = fopen(argv[3], "w");
		if (file == NULL)
			return fail(argv[3]);
		fprintf(file, "%ld\n", (long)getpid());
		fclose(file);
	}
	printf("%s: listening on port %s\n", argv[1], argv[2]);
	for (;;) {
		int peer = accept(fd, NULL, NULL);
		if (peer < 0)
			continue;
		answer(peer, argv[1]);
		close(peer);
	}
}
