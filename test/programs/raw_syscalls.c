/* SPDX-License-Identifier: MIT */
/* A program that makes all its calls through syscall(2). */
#include "test/programs/prog.h"
#include <sys/select.h>

static char *mem;
static int fd;

static void *toucher(void *arg)
{
	(void)arg;
	mem[0] = 1;
	mem[PAGE] = 2;
	return NULL;
}

static void wait_readable(int how)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timespec ts = {LIMIT, 0};
	struct timeval tv = {LIMIT, 0};
	fd_set set;
	sigset_t none;
	struct {
		const sigset_t *set;
		size_t len;
	} sig = {&none, 8};

	sigemptyset(&none);
	FD_ZERO(&set);
	FD_SET(fd, &set);
	if (how == 0)
		CHECK(syscall(SYS_poll, &p, 1, -1) == 1);
	else if (how == 1)
		CHECK(syscall(SYS_ppoll, &p, 1, &ts, &none, 8) == 1);
	else if (how == 2)
		CHECK(syscall(SYS_select, fd + 1, &set, NULL, NULL, &tv) == 1 && FD_ISSET(fd, &set));
	else
		CHECK(syscall(SYS_pselect6, fd + 1, &set, NULL, NULL, &ts, &sig) == 1 && FD_ISSET(fd, &set));
}

static void serve_one(int how)
{
	static char page[PAGE];
	struct uffd_msg msg[4];
	struct uffdio_copy c = {.src = (uintptr_t)page, .len = PAGE};

	wait_readable(how);
	CHECK(syscall(SYS_read, fd, msg, sizeof(msg)) == sizeof(msg[0]));
	CHECK(msg[0].event == UFFD_EVENT_PAGEFAULT && msg[0].arg.pagefault.flags == UFFD_PAGEFAULT_FLAG_WRITE);
	c.dst = msg[0].arg.pagefault.address;
	CHECK(syscall(SYS_ioctl, fd, UFFDIO_COPY, &c) == 0);
}

static void round_trip(int how)
{
	struct uffdio_register r = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	pthread_t t;

	mem = (char *)syscall(SYS_mmap, NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);
	CHECK(mem != MAP_FAILED);
	r.range = (struct uffdio_range){(uintptr_t)mem, 2 * PAGE};
	CHECK(syscall(SYS_ioctl, fd, UFFDIO_REGISTER, &r) == 0);
	CHECK(pthread_create(&t, NULL, toucher, NULL) == 0);
	serve_one(how);
	serve_one(how);
	CHECK(pthread_join(t, NULL) == 0);
	CHECK(mem[0] == 1 && mem[PAGE] == 2);
	CHECK(syscall(SYS_madvise, mem, 2 * PAGE, MADV_DONTNEED) == 0);
	CHECK(syscall(SYS_munmap, mem, 2 * PAGE) == 0);
}

int main(void)
{
	char buf[64];
	int copy;

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);
	copy = (int)syscall(SYS_dup, fd);
	CHECK(copy >= 0 && syscall(SYS_close, fd) == 0);
	fd = (int)syscall(SYS_fcntl, copy, F_DUPFD, 20);
	CHECK(fd >= 20 && syscall(SYS_close, copy) == 0);
	for (int how = 0; how < 4; how++)
		round_trip(how);
	CHECK(syscall(SYS_read, fd, buf, 8) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_read, fd, buf, 32) == -1 && errno == EAGAIN);
	CHECK(syscall(SYS_userfaultfd, 0x40000000) == -1 && errno == EINVAL);
	CHECK(syscall(SYS_close, fd) == 0);
	CHECK(syscall(SYS_read, fd, buf, 32) == -1 && errno == EBADF);
	CHECK(syscall(SYS_getppid) == getppid() && syscall(9999) == -1 && errno == ENOSYS);
	return done("raw_syscalls");
}
