/* SPDX-License-Identifier: MIT */
/* What the stress programs share: the plain ABI, a failure that says where, and the clock. */
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif

#define PAGE 4096ul
#define STALL_MS 10000 /* without any progress for this long, a wake-up was lost */

__attribute__((noreturn, format(printf, 1, 2))) static inline void fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "FAILED: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	_exit(1);
}

#define MUST(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			fail("%s:%d: %s: %s", __FILE__, __LINE__, #cond, strerror(errno));                             \
	} while (0)

static inline uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/* A generator of its own for each thread, so that a run is repeatable but for the schedule. */
static inline uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static inline void shuffle(uint32_t *order, size_t n, uint64_t *seed)
{
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	for (size_t i = n; i > 1; i--) {
		size_t k = next_random(seed) % i;
		uint32_t t = order[i - 1];

		order[i - 1] = order[k];
		order[k] = t;
	}
}

/* A descriptor ready for use; 77 where there is none to be had. */
static inline int uffd_open(uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 && errno == EPERM)
		fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fd < 0) {
		printf("skipped: userfaultfd: %s\n", strerror(errno));
		exit(77);
	}
	MUST(ioctl(fd, UFFDIO_API, &api) == 0);
	return fd;
}

/* A line of /proc/self/maps mentions what: is that library loaded? */
static inline bool mapped_here(const char *what)
{
	FILE *f = fopen("/proc/self/maps", "re");
	bool found = false;
	char line[512];

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, what) != NULL;
	if (f)
		fclose(f);
	return found;
}

static inline int uffd_range(int fd, unsigned long cmd, const void *p, size_t len)
{
	struct uffdio_range r = {(uintptr_t)p, len};

	return ioctl(fd, cmd, &r);
}

static inline void uffd_register(int fd, const void *p, size_t len, uint64_t mode)
{
	struct uffdio_register r = {{(uintptr_t)p, len}, mode, 0};

	MUST(ioctl(fd, UFFDIO_REGISTER, &r) == 0);
}

static inline void uffd_protect(int fd, const void *p, size_t len, bool on)
{
	struct uffdio_writeprotect w = {{(uintptr_t)p, len}, on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};

	MUST(ioctl(fd, UFFDIO_WRITEPROTECT, &w) == 0);
}
