/* SPDX-License-Identifier: MIT */
/* Copies of a descriptor are one context; only the last close releases its waiters and un-arms its memory. */
#include "test/programs/prog.h"

static char *mem;

static void *reader(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)mem[PAGE];
}

static void wait_for_message(int fd, uintptr_t want)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct uffd_msg msg;

	CHECK(poll(&p, 1, -1) == 1 && p.revents == POLLIN);
	CHECK(read(fd, &msg, sizeof(msg)) == sizeof(msg));
	CHECK(msg.event == UFFD_EVENT_PAGEFAULT && msg.arg.pagefault.address == want);
}

static void copies_are_one_context(void)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0), copy = dup(fd), high;

	CHECK(copy >= 0 && copy != fd);
	mem = map_pages(2);
	arm(copy, mem, 2, UFFDIO_REGISTER_MODE_MISSING);
	CHECK(close(fd) == 0);
	CHECK(close(fd) == -1 && errno == EBADF);
	fill(copy, (uintptr_t)mem, 'd');
	CHECK(mem[0] == 'd');
	high = fcntl(copy, F_DUPFD_CLOEXEC, 100);
	CHECK(high >= 100 && (fcntl(high, F_GETFD) & FD_CLOEXEC));
	CHECK(!(fcntl(copy, F_GETFD) & FD_CLOEXEC));
	CHECK(dup2(high, copy) == copy); /* over a copy of itself */
	CHECK(dup2(copy, copy) == copy);
	CHECK(dup3(copy, copy, 0) == -1 && errno == EINVAL);
	CHECK(fcntl(high, F_GETFL) == (O_RDONLY | O_NONBLOCK));
	CHECK(close(high) == 0);
	fill(copy, (uintptr_t)mem + PAGE, 'e');
	CHECK(mem[PAGE] == 'e');
	CHECK(close(copy) == 0);
	CHECK(munmap(mem, 2 * PAGE) == 0);
}

/* A thread waits; the first of two closes leaves it waiting, the second lets it see plain, empty memory. */
static void last_close_releases(void)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0), copy = dup(fd);
	struct uffdio_range range;
	pthread_t t;
	void *got = NULL;

	mem = map_pages(2);
	range = (struct uffdio_range){(uintptr_t)mem, 2 * PAGE};
	arm(fd, mem, 2, UFFDIO_REGISTER_MODE_MISSING);
	CHECK(pthread_create(&t, NULL, reader, NULL) == 0);
	wait_for_message(fd, (uintptr_t)mem + PAGE);
	CHECK(close(fd) == 0);
	CHECK(ioctl(copy, UFFDIO_WAKE, &range) == 0); /* still a waiter: it faults again */
	wait_for_message(copy, (uintptr_t)mem + PAGE);
	CHECK(close(copy) == 0);
	CHECK(pthread_join(t, &got) == 0 && got == NULL);
	mem[0] = 'z';
	CHECK(mem[0] == 'z' && mem[PAGE] == 0);
}

/* dup2 of something else over the only descriptor is a last close, too. */
static void overwritten_is_closed(void)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0), null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct uffdio_api api = {.api = UFFD_API};

	mem = map_pages(2);
	arm(fd, mem, 2, UFFDIO_REGISTER_MODE_MISSING);
	CHECK(dup2(null, fd) == fd);
	CHECK(mem[0] == 0 && mem[PAGE] == 0);
	CHECK(ioctl(fd, UFFDIO_API, &api) == -1 && errno == ENOTTY);
	CHECK(write(fd, "x", 1) == 1);
}

int main(void)
{
	copies_are_one_context();
	last_close_releases();
	overwritten_is_closed();
	return done("dup_close");
}
