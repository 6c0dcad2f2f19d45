/* SPDX-License-Identifier: MIT */
/*
 * What the programs of this folder share. They know only libc and <linux/userfaultfd.h>, print one line and exit 0;
 * 1 when a check fails, 77 when this kernel gives them no userfaultfd. Run on the kernel and under `faultline run`
 * they must print the same (run.sh).
 */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
/* after sys/ioctl.h, which it does not include */
#include <linux/userfaultfd.h>

#define PAGE 4096u
#define LIMIT 60 /* seconds: a program that hangs has failed */

#define CHECK(cond)                                                                                                    \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			printf("%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #cond, errno);                            \
			fflush(stdout);                                                                                \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

/* One line on success; the programs print nothing else. */
static inline int done(const char *what)
{
	printf("%s: ok\n", what);
	return 0;
}

/* fd must be a fresh userfaultfd, or the program has nothing to test. */
static inline int uffd_or_skip(int fd)
{
	if (fd >= 0)
		return fd;
	printf("skipped: this kernel refuses userfaultfd: %s\n", strerror(errno));
	exit(77);
}

static inline void uffd_handshake(int fd, uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	CHECK(ioctl(fd, UFFDIO_API, &api) == 0);
}

/* Also arms the time limit: every program begins here. */
static inline int uffd_open(int flags, uint64_t features)
{
	int fd;

	alarm(LIMIT);
	fd = uffd_or_skip((int)syscall(SYS_userfaultfd, flags));
	uffd_handshake(fd, features);
	return fd;
}

static inline char *map_pages(size_t n)
{
	char *p = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static inline void arm(int fd, const void *p, size_t n, uint64_t mode)
{
	struct uffdio_register r = {.range = {(uintptr_t)p, n * PAGE}, .mode = mode};

	CHECK(ioctl(fd, UFFDIO_REGISTER, &r) == 0);
}

/* Give one page the byte value as content. */
static inline void fill(int fd, uint64_t addr, int value)
{
	static char page[PAGE] __attribute__((aligned(4096)));
	struct uffdio_copy c = {.dst = addr & ~(uint64_t)(PAGE - 1), .src = (uintptr_t)page, .len = PAGE};

	memset(page, value, PAGE);
	CHECK(ioctl(fd, UFFDIO_COPY, &c) == 0 && c.copy == PAGE);
}

static inline void protect(int fd, const void *p, size_t n, bool on)
{
	struct uffdio_writeprotect w = {
		.range = {(uintptr_t)p, n * PAGE},
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	CHECK(ioctl(fd, UFFDIO_WRITEPROTECT, &w) == 0);
}

/* ---- a monitor: a thread that answers every fault until it is told to stop --------------------------------------- */

struct monitor {
	int fd, stop[2];
	int value; /* content of missing pages */
	int nr_missing, nr_wp;
	pthread_t thread;
};

static inline void monitor_answer(struct monitor *m, const struct uffd_msg *msg)
{
	CHECK(msg->event == UFFD_EVENT_PAGEFAULT);
	if (msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		__atomic_add_fetch(&m->nr_wp, 1, __ATOMIC_SEQ_CST);
		protect(m->fd, (void *)(uintptr_t)(msg->arg.pagefault.address & ~(uint64_t)(PAGE - 1)), 1, false);
	} else {
		__atomic_add_fetch(&m->nr_missing, 1, __ATOMIC_SEQ_CST);
		fill(m->fd, msg->arg.pagefault.address, m->value);
	}
}

static inline void *monitor_run(void *arg)
{
	struct monitor *m = arg;
	struct pollfd p[2] = {{.fd = m->fd, .events = POLLIN}, {.fd = m->stop[0], .events = POLLIN}};
	struct uffd_msg msg;

	for (;;) {
		CHECK(poll(p, 2, -1) > 0);
		if (p[1].revents)
			return NULL;
		while (read(m->fd, &msg, sizeof(msg)) == sizeof(msg))
			monitor_answer(m, &msg);
		CHECK(errno == EAGAIN);
	}
}

static inline void monitor_start(struct monitor *m, int fd, int value)
{
	*m = (struct monitor){.fd = fd, .value = value};
	CHECK(pipe(m->stop) == 0);
	CHECK(pthread_create(&m->thread, NULL, monitor_run, m) == 0);
}

static inline void monitor_stop(struct monitor *m)
{
	CHECK(write(m->stop[1], "", 1) == 1);
	CHECK(pthread_join(m->thread, NULL) == 0);
	close(m->stop[0]);
	close(m->stop[1]);
}

/* The child must exit 0. */
static inline void reap(pid_t pid)
{
	int status = -1;

	CHECK(pid > 0);
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
