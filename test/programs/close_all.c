/* SPDX-License-Identifier: MIT */
/* A program that closes everything it does not know, as daemons do: its userfaultfd goes, and a new one works. */
#include "test/programs/prog.h"

static void by_loop(void)
{
	for (int fd = 3; fd < 4096; fd++)
		close(fd);
}

static void by_range(void)
{
	CHECK(close_range(3, ~0u, 0) == 0);
}

static void by_closefrom(void)
{
	closefrom(3);
}

static void by_syscall(void)
{
	CHECK(syscall(SYS_close_range, 3, ~0u, 0) == 0);
}

static void serve(int fd, char *mem)
{
	struct monitor m;

	monitor_start(&m, fd, 'c');
	for (unsigned i = 1; i < 8; i++)
		CHECK(mem[i * PAGE] == 'c');
	mem[0] = 'w';
	monitor_stop(&m);
	CHECK(m.nr_missing == 7 && m.nr_wp == 1);
}

static void round_trip(void (*close_all)(void))
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	char *mem = map_pages(8);
	struct uffdio_api api = {.api = UFFD_API};

	mem[0] = 'p';
	arm(fd, mem, 8, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	protect(fd, mem, 1, true);
	close_all();
	CHECK(ioctl(fd, UFFDIO_API, &api) == -1 && errno == EBADF);
	mem[0] = 'q'; /* plain memory again */
	CHECK(mem[PAGE] == 0 && fcntl(fd, F_GETFD) == -1 && errno == EBADF);
	CHECK(munmap(mem, 8 * PAGE) == 0);

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	CHECK(fd == 3); /* the lowest free one, as everywhere */
	mem = map_pages(8);
	mem[0] = 'p';
	arm(fd, mem, 8, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	protect(fd, mem, 1, true);
	serve(fd, mem);
	CHECK(close(fd) == 0);
}

int main(void)
{
	round_trip(by_loop);
	round_trip(by_range);
	round_trip(by_closefrom);
	round_trip(by_syscall);
	return done("close_all");
}
