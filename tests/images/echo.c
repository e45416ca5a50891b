/* Says what it hears: echo PORT
   A connection until its client has said everything, then how much that was; over UDP each datagram. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static char heard[65536];

static int bound(int kind, unsigned short port)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(port)};
	int yes = 1, fd = socket(AF_INET, kind, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof any) != 0) {
		perror("bind");
		exit(1);
	}
	return fd;
}

static void connection(int fd)
{
	ssize_t length;
	long all = 0;
	while ((length = read(fd, heard, sizeof heard)) > 0) {
		all += length;
		for (ssize_t said = 0, now; said < length; said += now)
			if ((now = write(fd, heard + said, length - said)) <= 0)
				return;
	}
	if (length == 0)
		dprintf(fd, "\n%ld bytes\n", all);
}

static void datagrams(int fd)
{
	for (;;) {
		struct sockaddr_in peer;
		socklen_t size = sizeof peer;
		ssize_t length = recvfrom(fd, heard, sizeof heard, 0, (struct sockaddr *)&peer, &size);
		if (length >= 0)
			sendto(fd, heard, length, 0, (struct sockaddr *)&peer, size);
	}
}

int main(int argc, char **argv)
{
	unsigned short port = argc > 1 ? (unsigned short)atoi(argv[1]) : 7;
	int stream = bound(SOCK_STREAM, port), datagram = bound(SOCK_DGRAM, port);
	/* Children are not waited for. */
	signal(SIGCHLD, SIG_IGN);
	if (listen(stream, 4096) != 0) {
		perror("listen");
		return 1;
	}
	if (fork() == 0)
		datagrams(datagram);
	for (;;) {
		int fd = accept(stream, NULL, NULL);
		if (fd < 0)
			continue;
		if (fork() == 0) {
			connection(fd);
			_exit(0);
		}
		close(fd);
	}
}
