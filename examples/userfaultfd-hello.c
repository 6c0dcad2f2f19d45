/* SPDX-License-Identifier: MIT */
/*
 * userfaultfd in one file: a thread of ours answers the page faults of another. Nothing here knows Faultline; it is
 * plain libc and linux/userfaultfd.h. Build it with `cc -O2 userfaultfd-hello.c -lpthread`, and run it
 *
 *	sudo ./userfaultfd-hello		on the kernel's userfaultfd
 *	faultline run ./userfaultfd-hello	as anybody, on Faultline's
 *
 * Part 1: memory that is filled when it is first read. Part 2: the same memory write-protected, to learn which pages
 * were written. It exits 0 only if every byte and every message was right.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define NR_PAGES 1024
#define EVERY 7 /* part 2 writes to every seventh page */

static int uffd;
static char *memory;		    /* NR_PAGES pages that nobody fills but the monitor */
static int stop_pipe[2];	    /* main writes here when the monitor may go home */
static int filled[NR_PAGES];	    /* how often the monitor filled a page, */
static int dirtied[NR_PAGES];	    /* and how often it saw one written to */
static uint64_t latency[NR_PAGES];  /* of each first read, in nanoseconds */

static void check(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "userfaultfd-hello: %s: %s\n", what, errno ? strerror(errno) : "wrong");
	_exit(1);
}

/* Step 1: a descriptor. An ordinary user may be allowed one that takes faults from user mode only, or none at all. */
static void open_uffd(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};

	uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (uffd < 0 && errno == EPERM)
		uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1 /* UFFD_USER_MODE_ONLY */);
	if (uffd < 0) {
		fprintf(stderr, "userfaultfd-hello: this machine refuses userfaultfd (%s). Try it as root, or\n"
			"\tfaultline run ./userfaultfd-hello\n", strerror(errno));
		exit(1);
	}
	/* The handshake: which version and which features. It comes before everything else. */
	check(!ioctl(uffd, UFFDIO_API, &api), "UFFDIO_API");
}

/* Step 2: memory, and the registration that makes its faults ours. */
static void register_memory(void)
{
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP};

	memory = mmap(NULL, NR_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(memory != MAP_FAILED, "mmap");
	reg.range.start = (uintptr_t)memory;
	reg.range.len = NR_PAGES * PAGE;
	check(!ioctl(uffd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER");
}

/* What page n contains when the monitor has filled it: 64 lines of 64 bytes. */
static void make_content(char *page, size_t n)
{
	for (int line = 0; line < PAGE / 64; line++)
		snprintf(page + line * 64, 64, "page %zu line %d was not here until you looked", n, line);
}

/* A missing page: put one there. The ioctl copies it in atomically and wakes whoever was waiting for it. */
static void fill_page(size_t n)
{
	static char page[PAGE];
	struct uffdio_copy copy = {.dst = (uintptr_t)memory + n * PAGE, .src = (uintptr_t)page, .len = PAGE};

	make_content(page, n);
	filled[n]++; /* before the ioctl: the reader runs on while it is still returning */
	check(!ioctl(uffd, UFFDIO_COPY, &copy) && copy.copy == PAGE, "UFFDIO_COPY");
}

/* mode UFFDIO_WRITEPROTECT_MODE_WP protects; mode 0 lets writers through again, and wakes them. */
static void protect_pages(size_t first, size_t count, uint64_t mode)
{
	struct uffdio_writeprotect wp = {.range = {(uintptr_t)memory + first * PAGE, count * PAGE}, .mode = mode};

	check(!ioctl(uffd, UFFDIO_WRITEPROTECT, &wp), "UFFDIO_WRITEPROTECT");
}

/* Step 3: the monitor. Each message is one thread, stopped at one access, waiting for our answer. */
static void *monitor(void *arg)
{
	struct pollfd fds[2] = {{.fd = uffd, .events = POLLIN}, {.fd = stop_pipe[0], .events = POLLIN}};
	struct uffd_msg msg;

	for (;;) {
		size_t n;

		check(poll(fds, 2, -1) > 0, "poll");
		if (fds[1].revents)
			return NULL;
		if (read(uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue; /* EAGAIN: answered before we looked */
		check(msg.event == UFFD_EVENT_PAGEFAULT, "an event that nobody asked for");
		n = (msg.arg.pagefault.address - (uintptr_t)memory) / PAGE;
		if (msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
			dirtied[n]++; /* the write has not happened yet: here one could save the old content */
			protect_pages(n, 1, 0);
		} else {
			fill_page(n);
		}
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Part 1: read every page, in a scattered order. Each first look stops here until the monitor has filled the page. */
static void read_everything(void)
{
	char expected[PAGE] = {0};

	for (size_t i = 0; i < NR_PAGES; i++) {
		size_t n = i * 389 % NR_PAGES;
		uint64_t start = now_ns();
		char first = *(volatile char *)(memory + n * PAGE);

		latency[i] = now_ns() - start;
		make_content(expected, n);
		errno = 0;
		check(first == 'p' && !memcmp(memory + n * PAGE, expected, PAGE), "content of a page");
		check(filled[n] == 1, "number of fills of a page");
	}
}

/* Part 2: protect everything in one call, write here and there, and see that exactly those pages were reported. */
static void track_writes(void)
{
	protect_pages(0, NR_PAGES, UFFDIO_WRITEPROTECT_MODE_WP);
	for (size_t n = 0; n < NR_PAGES; n += EVERY) {
		strcpy(memory + n * PAGE, "written"); /* stops at the first byte, once */
		strcpy(memory + n * PAGE + 64, "again");
	}
	errno = 0;
	for (size_t n = 0; n < NR_PAGES; n++) {
		check(dirtied[n] == (n % EVERY == 0), "set of written pages");
		check(!strcmp(memory + n * PAGE, "written") == (n % EVERY == 0), "content of a written page");
	}
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int main(void)
{
	pthread_t thread;

	open_uffd();
	register_memory();
	check(!pipe(stop_pipe), "pipe");
	check(!pthread_create(&thread, NULL, monitor, NULL), "pthread_create");
	read_everything();
	track_writes();
	check(write(stop_pipe[1], "", 1) == 1, "write");
	pthread_join(thread, NULL);

	qsort(latency, NR_PAGES, sizeof(latency[0]), compare);
	printf("%d pages filled on demand; the first one says: \"%s\"\n", NR_PAGES, memory + 128);
	printf("a first read took %.1f us (median), %.1f us (99th percentile)\n", (double)latency[NR_PAGES / 2] / 1e3,
	       (double)latency[NR_PAGES * 99 / 100] / 1e3);
	printf("%d of %d pages were written while protected: each was reported, once, and no other was\n",
	       (NR_PAGES + EVERY - 1) / EVERY, NR_PAGES);
	return 0;
}
