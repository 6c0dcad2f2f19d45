/* SPDX-License-Identifier: MIT */
/* What a userfaultfd answers to calls that it does not serve, and to poll and select in all their forms. */
#include "test/programs/prog.h"
#include <sys/select.h>
#include <sys/uio.h>

static void refuses(int fd)
{
	char buf[64] = "";
	struct iovec v = {buf, 32};

	CHECK(write(fd, buf, 8) == -1 && errno == EBADF);
	CHECK(writev(fd, &v, 1) == -1 && errno == EBADF);
	CHECK(pwrite(fd, buf, 8, 0) == -1 && errno == ESPIPE);
	CHECK(pread(fd, buf, 32, 0) == -1 && errno == ESPIPE);
	CHECK(preadv(fd, &v, 1, 0) == -1 && errno == ESPIPE);
	CHECK(lseek(fd, 5, SEEK_SET) == 0);
	CHECK(lseek(fd, 0, 99) == -1 && errno == EINVAL);
	CHECK(fcntl(fd, F_GETFL) == (O_RDONLY | O_NONBLOCK));
	CHECK(ftruncate(fd, 0) == -1 && errno == EINVAL);
	CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED && errno == ENODEV);
	CHECK(read(fd, buf, 31) == -1 && errno == EINVAL);
	CHECK(readv(fd, &v, 1) == -1 && errno == EAGAIN);
}

/* Nothing to read: no form reports it, and a pipe beside it is reported alone. */
static void idle(int fd)
{
	struct timespec now = {0, 0};
	struct timeval tv = {0, 0};
	struct pollfd p[2];
	sigset_t none;
	fd_set r;
	int pipefd[2];

	sigemptyset(&none);
	CHECK(pipe(pipefd) == 0 && write(pipefd[1], "x", 1) == 1);
	p[0] = (struct pollfd){.fd = fd, .events = POLLIN | POLLOUT};
	p[1] = (struct pollfd){.fd = pipefd[0], .events = POLLIN};
	CHECK(poll(p, 1, 0) == 0 && p[0].revents == 0);
	CHECK(poll(p, 2, -1) == 1 && p[0].revents == 0 && p[1].revents == POLLIN);
	CHECK(ppoll(p, 2, &now, &none) == 1 && p[1].revents == POLLIN);
	FD_ZERO(&r);
	FD_SET(fd, &r);
	CHECK(select(fd + 1, &r, NULL, NULL, &tv) == 0 && !FD_ISSET(fd, &r));
	FD_SET(fd, &r);
	FD_SET(pipefd[0], &r);
	CHECK(pselect(64, &r, NULL, NULL, &now, &none) == 1 && !FD_ISSET(fd, &r) && FD_ISSET(pipefd[0], &r));
	close(pipefd[0]);
	close(pipefd[1]);
	FD_SET(pipefd[0], &r);
	FD_SET(fd, &r);
	CHECK(pselect(64, &r, NULL, NULL, &now, &none) == -1 && errno == EBADF);
	p[1].fd = pipefd[0];
	CHECK(poll(p, 2, 0) == 1 && p[1].revents == POLLNVAL);
}

static char *mem;

static void *toucher(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)mem[0];
}

/* A message waits: every form says so until it is read. */
static void ready(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct uffd_msg msg;
	pthread_t t;
	fd_set r, w;

	mem = map_pages(1);
	arm(fd, mem, 1, UFFDIO_REGISTER_MODE_MISSING);
	CHECK(pthread_create(&t, NULL, toucher, NULL) == 0);
	CHECK(poll(&p, 1, -1) == 1 && p.revents == POLLIN);
	CHECK(ppoll(&p, 1, NULL, NULL) == 1 && p.revents == POLLIN);
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(fd, &r);
	FD_SET(fd, &w);
	CHECK(select(fd + 1, &r, &w, NULL, NULL) == 1 && FD_ISSET(fd, &r) && !FD_ISSET(fd, &w));
	CHECK(pselect(fd + 1, &r, NULL, NULL, NULL, NULL) == 1 && FD_ISSET(fd, &r));
	CHECK(read(fd, &msg, sizeof(msg)) == sizeof(msg));
	CHECK(poll(&p, 1, 0) == 0);
	fill(fd, msg.arg.pagefault.address, 'k');
	CHECK(pthread_join(t, NULL) == 0);
}

int main(void)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);
	int raw = (int)syscall(SYS_userfaultfd, O_NONBLOCK), blocking = uffd_open(O_CLOEXEC, 0);
	struct pollfd p = {.fd = raw, .events = POLLIN};

	CHECK(poll(&p, 1, 0) == 1 && p.revents == POLLERR); /* before the handshake */
	p.fd = blocking;
	CHECK(poll(&p, 1, 0) == 1 && p.revents == POLLERR); /* one that would block in read */
	refuses(fd);
	idle(fd);
	ready(fd);
	return done("descriptor");
}
