/* SPDX-License-Identifier: MIT */
/*
 * The program that `faultline bench fault` runs, alternately on the kernel's userfaultfd and under `faultline run`. It
 * knows nothing of Faultline: libc and linux/userfaultfd.h only, one binary for both sides.
 *
 *	fault_client CASE [--rounds N] [--pages N] [--faults N] [--timeout SECONDS] [--apart]
 * *
 * --apart keeps the faulting thread and the monitor on a CPU each. Left alone, the scheduler may put both on one CPU,
 * where a hand-over costs a tenth, and changes its mind between two runs.
 *
 * It prints one JSON object a line: for each round and result
 *	{"name":..,"round":..,"count":..,"ns":..,"median_ns":..,"p99_ns":..,"mean_ns":..}
 * where ns is the case's headline figure (the median, or the mean where the case says so); {"skip":NAME,"why":..} for
 * a result that this host cannot give; and at the end {"proof":{..}} with what the monitor served, so that the caller
 * can hold it against the engine's counters. A fast wrong answer must be impossible: every page's content and every
 * message are checked, outside the timing. Exit 0, 1 when anything was wrong, 77 when there is no userfaultfd.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/uffd_abi.h"

#define PAGE 4096UL
#define HUGE (2UL << 20)
#define WORDS (PAGE / sizeof(uint64_t))
#define MIB_PAGES(n) ((size_t)(n) * ((1UL << 20) / PAGE))
#define CHECK_TIMEOUT_MS 20000

struct region {
	char *base;
	size_t pages;
};

struct options {
	unsigned rounds;
	size_t pages;  /* 0: the case's own size */
	size_t faults; /* 0: the case's own number */
};

struct bench_case {
	const char *name;
	void (*run)(const struct bench_case *c, const struct options *o, unsigned round);
	size_t pages;
	size_t faults;
	bool wp, busy;
};

/* What the monitors served, summed over the run. */
static struct {
	unsigned long missing, wp, sigbus, ranges;
} served;

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

static void die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("fault_client: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	_exit(1);
}

static void *xcalloc(size_t n, size_t size)
{
	void *p = malloc(n * size);

	if (!p)
		die("out of memory");
	return memset(p, 0, n * size); /* touched here, so that no sample pays for it */
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* --apart: the CPUs of the faulting thread and of the other; -1: wherever the scheduler likes. */
static int cpu_of[2] = {-1, -1};

static void choose_cpus(void)
{
	cpu_set_t set;
	int n = 0;

	if (sched_getaffinity(0, sizeof(set), &set))
		die("sched_getaffinity: %s", strerror(errno));
	for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpu_of[n++] = cpu;
	if (n < 2)
		die("--apart needs two CPUs");
}

static void stay_on(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity: %s", strerror(errno));
}

/* ---- results --------------------------------------------------------------------------------------------------- */

static int compare_ns(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Sorts ns. */
static void report(const char *name, unsigned round, uint64_t *ns, size_t n, bool headline_is_mean)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (double)ns[i];
	qsort(ns, n, sizeof(*ns), compare_ns);
	printf("{\"name\":\"%s\",\"round\":%u,\"count\":%zu,\"ns\":%.0f,\"median_ns\":%llu,\"p99_ns\":%llu,"
	       "\"mean_ns\":%.0f}\n",
	       name, round, n, headline_is_mean ? sum / (double)n : (double)ns[n / 2], (unsigned long long)ns[n / 2],
	       (unsigned long long)ns[n * 99 / 100], sum / (double)n);
	fflush(stdout);
}

static void report_one(const char *name, unsigned round, uint64_t ns)
{
	report(name, round, &ns, 1, false);
}

static void report_skip(const char *name, const char *why)
{
	printf("{\"skip\":\"%s\",\"why\":\"%s\"}\n", name, why);
}

/* ---- memory and its content ------------------------------------------------------------------------------------ */

static uint64_t stamp(size_t page, uint64_t key)
{
	return (page + 1) * 0x9e3779b97f4a7c15u ^ key;
}

static volatile uint64_t *page_words(const struct region *r, size_t page)
{
	return (volatile uint64_t *)(r->base + page * PAGE);
}

/* The last word of a page differs from its first, so that a page copied in halves or shifted shows. */
static void write_page(const struct region *r, size_t page, uint64_t key)
{
	page_words(r, page)[0] = stamp(page, key);
	page_words(r, page)[WORDS - 1] = ~stamp(page, key);
}

static void check_page(const struct region *r, size_t page, uint64_t key)
{
	volatile uint64_t *w = page_words(r, page);

	if (w[0] != stamp(page, key) || w[WORDS - 1] != ~stamp(page, key))
		die("page %zu holds the wrong content", page);
}

/* 2 MiB aligned, so that huge pages are possible where they are asked for, and impossible elsewhere. */
static struct region region_map(size_t pages, bool huge)
{
	size_t len = pages * PAGE;
	char *p = mmap(NULL, len + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *base;

	if (p == MAP_FAILED)
		die("mmap of %zu pages: %s", pages, strerror(errno));
	base = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	if (base > p)
		munmap(p, (size_t)(base - p));
	if (base < p + HUGE)
		munmap(base + len, (size_t)(p + HUGE - base));
	if (madvise(base, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) && huge)
		die("madvise: %s", strerror(errno));
	return (struct region){base, pages};
}

static void region_unmap(struct region *r)
{
	if (munmap(r->base, r->pages * PAGE))
		die("munmap: %s", strerror(errno));
}

static void region_write(const struct region *r, uint64_t key)
{
	for (size_t i = 0; i < r->pages; i++)
		write_page(r, i, key);
}

static void region_check(const struct region *r, uint64_t key)
{
	for (size_t i = 0; i < r->pages; i++)
		check_page(r, i, key);
}

/* As region_check, where each page may hold a key of its own. */
static void region_check_any_key(const struct region *r)
{
	for (size_t i = 0; i < r->pages; i++)
		if (page_words(r, i)[0] != ~page_words(r, i)[WORDS - 1])
			die("page %zu holds the wrong content", i);
}

/* The first n of a random permutation of the pages, always the same for the same seed. */
static uint32_t *random_pages(size_t pages, size_t n, uint64_t seed)
{
	uint32_t *p = xcalloc(pages, sizeof(*p));

	for (size_t i = 0; i < pages; i++)
		p[i] = (uint32_t)i;
	for (size_t i = 0; i < n; i++) {
		size_t j = i + next_random(&seed) % (pages - i);
		uint32_t t = p[i];

		p[i] = p[j];
		p[j] = t;
	}
	return p;
}

/* ---- userfaultfd ----------------------------------------------------------------------------------------------- */

/* An ordinary user may be allowed faults from user mode only, which is all that is asked for here. */
static int uffd_create(void)
{
	int fd = (int)syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 && errno == EPERM)
		fd = (int)syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fd < 0) {
		fprintf(stderr, "userfaultfd: %s\n", strerror(errno));
		exit(77);
	}
	return fd;
}

static int uffd_open(uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = uffd_create();

	if (ioctl(fd, UFFDIO_API, &api)) {
		fprintf(stderr, "UFFDIO_API with features %#llx: %s\n", (unsigned long long)features, strerror(errno));
		exit(77);
	}
	return fd;
}

static void uffd_register(int fd, const struct region *r, uint64_t mode)
{
	struct uffdio_register reg = {.range = {(uintptr_t)r->base, r->pages * PAGE}, .mode = mode};

	if (ioctl(fd, UFFDIO_REGISTER, &reg))
		die("UFFDIO_REGISTER: %s", strerror(errno));
	served.ranges++;
}

static void uffd_protect(int fd, const struct region *r, size_t page, size_t n, uint64_t mode)
{
	struct uffdio_writeprotect wp = {.range = {(uintptr_t)r->base + page * PAGE, n * PAGE}, .mode = mode};

	if (ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
		die("UFFDIO_WRITEPROTECT: %s", strerror(errno));
}

static void uffd_protect_all(int fd, const struct region *r)
{
	uffd_protect(fd, r, 0, r->pages, UFFDIO_WRITEPROTECT_MODE_WP);
}

/* src is a page of the caller's that is only written here. */
static void uffd_fill(int fd, const struct region *r, size_t page, uint64_t key, char *src)
{
	struct region from = {src - page * PAGE, page + 1};
	struct uffdio_copy copy = {(uintptr_t)r->base + page * PAGE, (uintptr_t)src, PAGE, 0, 0};

	write_page(&from, page, key);
	if (ioctl(fd, UFFDIO_COPY, &copy) || copy.copy != (int64_t)PAGE)
		die("UFFDIO_COPY of page %zu: %s (%lld)", page, strerror(errno), (long long)copy.copy);
}

/* The page that the message is about. Dies unless it is the kind of message that was asked for. */
static size_t message_page(const struct uffd_msg *msg, const struct region *r, bool wp)
{
	uint64_t want = wp ? UFFD_PAGEFAULT_FLAG_WP : 0;
	size_t offset = msg->arg.pagefault.address - (uintptr_t)r->base;

	if (msg->event != UFFD_EVENT_PAGEFAULT)
		die("unexpected event %#x", msg->event);
	if ((msg->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) != want)
		die("unexpected fault flags %#llx", (unsigned long long)msg->arg.pagefault.flags);
	if (offset / PAGE >= r->pages)
		die("message about an address outside the range");
	return offset / PAGE;
}

/* ---- the monitor ----------------------------------------------------------------------------------------------- */

struct monitor {
	pthread_t thread;
	int fd;
	struct region *r;
	size_t expect; /* pages to serve before it ends */
	bool wp, busy;
	uint64_t key;
	char *src;
	uint8_t *seen; /* messages for each page */
};

static void monitor_read(struct monitor *m, struct uffd_msg *msg)
{
	for (;;) {
		struct pollfd p = {m->fd, POLLIN, 0};
		ssize_t n;

		if (!m->busy && poll(&p, 1, -1) != 1)
			die("poll: %s", strerror(errno));
		n = read(m->fd, msg, sizeof(*msg));
		if (n == (ssize_t)sizeof(*msg))
			return;
		if (n >= 0 || errno != EAGAIN)
			die("read: %zd, %s", n, strerror(errno));
	}
}

static void *monitor_main(void *arg)
{
	struct monitor *m = arg;
	struct uffd_msg msg;

	stay_on(cpu_of[1]);
	for (size_t done = 0; done < m->expect; done++) {
		size_t page;

		monitor_read(m, &msg);
		page = message_page(&msg, m->r, m->wp);
		if (m->seen[page]++)
			die("page %zu was announced twice", page);
		if (m->wp)
			uffd_protect(m->fd, m->r, page, 1, 0);
		else
			uffd_fill(m->fd, m->r, page, m->key, m->src);
	}
	return NULL;
}

static void monitor_start(struct monitor *m)
{
	m->seen = xcalloc(m->r->pages, 1);
	m->src = aligned_alloc(PAGE, PAGE);
	if (!m->src)
		die("out of memory");
	memset(m->src, 0, PAGE);
	if (pthread_create(&m->thread, NULL, monitor_main, m))
		die("pthread_create");
}

static void monitor_finish(struct monitor *m)
{
	pthread_join(m->thread, NULL);
	*(m->wp ? &served.wp : &served.missing) += m->expect;
	free(m->src);
	free(m->seen);
}

struct toucher {
	volatile uint64_t *word;
	uint64_t value;
	bool write;
};

static void *toucher_main(void *arg)
{
	struct toucher *t = arg;

	stay_on(cpu_of[1]);
	if (t->write)
		*t->word = t->value;
	else
		t->value = *t->word;
	return NULL;
}

/* One access to one page from a thread of its own, which must announce itself; serves it. */
static void serve_one(int fd, struct region *r, size_t page, uint64_t key, bool wp)
{
	struct toucher t = {page_words(r, page), stamp(page, key), wp};
	struct pollfd p = {fd, POLLIN, 0};
	struct uffd_msg msg;
	pthread_t thread;
	char *src = aligned_alloc(PAGE, PAGE);

	if (!src || pthread_create(&thread, NULL, toucher_main, &t))
		die("out of memory");
	if (poll(&p, 1, CHECK_TIMEOUT_MS) != 1 || read(fd, &msg, sizeof(msg)) != (ssize_t)sizeof(msg))
		die("an access to page %zu was not announced", page);
	if (message_page(&msg, r, wp) != page)
		die("the message names the wrong page");
	if (wp)
		uffd_protect(fd, r, page, 1, 0);
	else
		uffd_fill(fd, r, page, key, src);
	pthread_join(thread, NULL);
	if (t.value != stamp(page, key))
		die("page %zu was read wrongly", page);
	*(wp ? &served.wp : &served.missing) += 1;
	free(src);
}

/* After an operation that was timed: is it in force on this page? The page's content is key's afterwards. */
static void check_announced(int fd, struct region *r, size_t page, uint64_t key, bool wp)
{
	serve_one(fd, r, page, key, wp);
	if (wp)
		page_words(r, page)[WORDS - 1] = ~stamp(page, key);
	check_page(r, page, key);
}

static void check_announced_sample(int fd, struct region *r, uint64_t key)
{
	uint64_t seed = key | 1;

	check_announced(fd, r, 0, key, true);
	check_announced(fd, r, r->pages - 1, key, true);
	for (int i = 0; i < 6; i++) {
		size_t page = 1 + next_random(&seed) % (r->pages - 2);

		uffd_protect(fd, r, page, 1, UFFDIO_WRITEPROTECT_MODE_WP); /* it may have been drawn before */
		check_announced(fd, r, page, key, true);
	}
}

/* ---- cases: one fault at a time -------------------------------------------------------------------------------- */

static uint64_t time_read(const struct region *r, size_t page, uint64_t want)
{
	uint64_t t0 = now_ns(), got = *page_words(r, page), t1 = now_ns();

	if (got != want)
		die("page %zu was read before its content was there", page);
	return t1 - t0;
}

static uint64_t time_write(const struct region *r, size_t page, uint64_t value)
{
	uint64_t t0 = now_ns();

	*page_words(r, page) = value;
	return now_ns() - t0;
}

static size_t case_pages(const struct bench_case *c, const struct options *o)
{
	return o->pages ? o->pages : c->pages;
}

static void run_missing(const struct bench_case *c, const struct options *o, unsigned round)
{
	struct region r = region_map(case_pages(c, o), false);
	uint64_t *ns = xcalloc(r.pages, sizeof(*ns));
	struct monitor m = {.fd = uffd_open(0), .r = &r, .expect = r.pages, .busy = c->busy, .key = round};

	uffd_register(m.fd, &r, UFFDIO_REGISTER_MODE_MISSING);
	monitor_start(&m);
	for (size_t i = 0; i < r.pages; i++)
		ns[i] = time_read(&r, i, stamp(i, round));
	monitor_finish(&m);
	region_check(&r, round);
	report(c->name, round, ns, r.pages, false);
	close(m.fd);
	region_unmap(&r);
	free(ns);
}

static void run_wp(const struct bench_case *c, const struct options *o, unsigned round)
{
	struct region r = region_map(case_pages(c, o), false);
	uint64_t *ns = xcalloc(r.pages, sizeof(*ns)), key = round + 1;
	struct monitor m = {.fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP), .r = &r, .expect = r.pages, .wp = true,
			    .busy = c->busy};

	region_write(&r, 0);
	uffd_register(m.fd, &r, UFFDIO_REGISTER_MODE_WP);
	uffd_protect_all(m.fd, &r);
	monitor_start(&m);
	for (size_t i = 0; i < r.pages; i++)
		ns[i] = time_write(&r, i, stamp(i, key));
	monitor_finish(&m); /* joined only if every page was announced, once */
	for (size_t i = 0; i < r.pages; i++)
		page_words(&r, i)[WORDS - 1] = ~stamp(i, key);
	region_check(&r, key);
	report(c->name, round, ns, r.pages, false);
	close(m.fd);
	region_unmap(&r);
	free(ns);
}

static struct {
	int fd;
	struct region *r;
	uint64_t key;
	char *src;
	volatile size_t handled;
} sigbus;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	size_t page = ((uintptr_t)info->si_addr - (uintptr_t)sigbus.r->base) / PAGE;
	int saved = errno;

	if (page >= sigbus.r->pages)
		die("SIGBUS at %p", info->si_addr);
	uffd_fill(sigbus.fd, sigbus.r, page, sigbus.key, sigbus.src);
	sigbus.handled++;
	errno = saved;
}

static void run_sigbus(const struct bench_case *c, const struct options *o, unsigned round)
{
	struct sigaction act = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
	struct region r = region_map(case_pages(c, o), false);
	uint64_t *ns = xcalloc(r.pages, sizeof(*ns));
	int fd = uffd_open(UFFD_FEATURE_SIGBUS);

	sigbus.fd = fd;
	sigbus.r = &r;
	sigbus.key = round;
	sigbus.handled = 0;
	sigbus.src = aligned_alloc(PAGE, PAGE);
	if (!sigbus.src || sigaction(SIGBUS, &act, NULL))
		die("sigbus: cannot prepare");
	memset(sigbus.src, 0, PAGE);
	uffd_register(fd, &r, UFFDIO_REGISTER_MODE_MISSING);
	for (size_t i = 0; i < r.pages; i++)
		ns[i] = time_read(&r, i, stamp(i, round));
	if (sigbus.handled != r.pages)
		die("%zu signals for %zu pages", sigbus.handled, r.pages);
	served.sigbus += sigbus.handled;
	region_check(&r, round);
	report(c->name, round, ns, r.pages, false);
	close(fd);
	region_unmap(&r);
	free(sigbus.src);
	free(ns);
}

/* Writes to pages[0..n) in their order, each announced and resolved by a monitor thread. ns may be NULL. */
static void write_through_monitor(int fd, struct region *r, const uint32_t *pages, size_t n, uint64_t key, uint64_t *ns)
{
	struct monitor m = {.fd = fd, .r = r, .expect = n, .wp = true};

	monitor_start(&m);
	for (size_t i = 0; i < n; i++) {
		uint64_t t = time_write(r, pages[i], stamp(pages[i], key));

		if (ns)
			ns[i] = t;
	}
	monitor_finish(&m);
	for (size_t i = 0; i < n; i++)
		page_words(r, pages[i])[WORDS - 1] = ~stamp(pages[i], key);
}

static bool enough_memory(const char *name, size_t pages)
{
	struct sysinfo si;

	if (!sysinfo(&si) && (si.freeram + si.bufferram) * (uint64_t)si.mem_unit < (uint64_t)pages * PAGE * 5 / 4) {
		report_skip(name, "not enough free memory");
		return false;
	}
	return true;
}

/* Enough random pages that one host mapping for each would pass vm.max_map_count. */
static void run_wp_random(const struct bench_case *c, const struct options *o, unsigned round)
{
	size_t n = o->faults ? o->faults : c->faults;
	struct region r;
	uint32_t *order;
	uint64_t *ns, key = round + 1;
	int fd;

	if (!enough_memory(c->name, case_pages(c, o)))
		return;
	r = region_map(case_pages(c, o), false);
	if (n > r.pages)
		n = r.pages;
	order = random_pages(r.pages, n, 88172645463325252u + round);
	ns = xcalloc(n, sizeof(*ns));
	fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	region_write(&r, 0);
	uffd_register(fd, &r, UFFDIO_REGISTER_MODE_WP);
	uffd_protect_all(fd, &r);
	write_through_monitor(fd, &r, order, n, key, ns);
	for (size_t i = 0; i < r.pages; i++)
		check_page(&r, order[i], i < n ? key : 0);
	report(c->name, round, ns, n, true);
	close(fd);
	region_unmap(&r);
	free(ns);
	free(order);
}

/* ---- cases: one operation on a large range --------------------------------------------------------------------- */

/* One range for all rounds: made writable again and rewritten between them. */
static struct {
	struct region r;
	int fd;
} bulk;

static void bulk_prepare(size_t pages, unsigned round)
{
	if (round == 0) {
		bulk.fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
		bulk.r = region_map(pages, false);
		region_write(&bulk.r, 0);
		uffd_register(bulk.fd, &bulk.r, UFFDIO_REGISTER_MODE_WP);
		return;
	}
	uffd_protect(bulk.fd, &bulk.r, 0, pages, 0);
	region_write(&bulk.r, round);
}

static uint64_t time_protect(int fd, const struct region *r)
{
	uint64_t t0 = now_ns();

	uffd_protect_all(fd, r);
	return now_ns() - t0;
}

static void run_wp_bulk(const struct bench_case *c, const struct options *o, unsigned round)
{
	uint64_t ns;

	bulk_prepare(case_pages(c, o), round);
	ns = time_protect(bulk.fd, &bulk.r);
	region_check(&bulk.r, round);
	check_announced_sample(bulk.fd, &bulk.r, round);
	report_one(c->name, round, ns);
}

static void run_wp_bulk_1pct(const struct bench_case *c, const struct options *o, unsigned round)
{
	size_t n = case_pages(c, o) / 100;
	uint32_t *dirty = random_pages(case_pages(c, o), n, 2463534242u + round);
	uint64_t ns, key = round + 1;

	if (round == 0) {
		bulk_prepare(case_pages(c, o), 0);
		uffd_protect_all(bulk.fd, &bulk.r);
	}
	write_through_monitor(bulk.fd, &bulk.r, dirty, n, key, NULL);
	ns = time_protect(bulk.fd, &bulk.r);
	for (size_t i = 0; i < n; i++)
		check_page(&bulk.r, dirty[i], key);
	/* the pages that were dirty, and others, must be protected now */
	for (size_t i = 0; i < n && i < 4; i++)
		check_announced(bulk.fd, &bulk.r, dirty[i], key, true);
	check_announced_sample(bulk.fd, &bulk.r, key);
	region_check_any_key(&bulk.r);
	uffd_protect_all(bulk.fd, &bulk.r);
	report_one(c->name, round, ns);
	free(dirty);
}

static void run_wp_bulk_unpop(const struct bench_case *c, const struct options *o, unsigned round)
{
	int fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED);
	struct region r = region_map(case_pages(c, o), false);
	uint64_t ns;

	uffd_register(fd, &r, UFFDIO_REGISTER_MODE_WP);
	ns = time_protect(fd, &r);
	/* a read of an empty protected page sees zeroes and leaves it protected; so is one that was never touched */
	for (size_t page = 7; page + 1 < r.pages; page += r.pages / 8) {
		if (*page_words(&r, page))
			die("an empty page does not read as zeroes");
		serve_one(fd, &r, page, round, true);
		serve_one(fd, &r, page + 1, round, true);
	}
	report_one(c->name, round, ns);
	close(fd);
	region_unmap(&r);
}

/* huge: fails when the host gives no huge pages, seen by the number of faults that populating took. */
static bool populate(const struct region *r, uint64_t key, bool huge)
{
	struct rusage before, after;

	getrusage(RUSAGE_SELF, &before);
	region_write(r, key);
	getrusage(RUSAGE_SELF, &after);
	return !huge || (size_t)(after.ru_minflt - before.ru_minflt) < r->pages / 8;
}

static uint64_t time_register(int fd, const struct region *r, bool wp)
{
	uint64_t t0 = now_ns();

	uffd_register(fd, r, wp ? UFFDIO_REGISTER_MODE_WP : UFFDIO_REGISTER_MODE_MISSING);
	return now_ns() - t0;
}

/* Nothing may have changed for the program, and what was registered must be in force. */
static void check_registered(int fd, struct region *r, uint64_t key, bool wp)
{
	size_t page = r->pages / 2 + 3;

	region_check(r, key);
	write_page(r, 1, key); /* not announced: there is nobody to serve it */
	if (wp)
		uffd_protect(fd, r, page, 1, UFFDIO_WRITEPROTECT_MODE_WP);
	else if (madvise((void *)page_words(r, page), PAGE, MADV_DONTNEED))
		die("MADV_DONTNEED: %s", strerror(errno));
	check_announced(fd, r, page, key, wp);
	region_check(r, key);
}

static void register_one(const char *name, size_t pages, bool wp, bool huge, unsigned round)
{
	struct region r;
	int fd;

	if (!enough_memory(name, pages))
		return;
	r = region_map(pages, huge);
	if (!populate(&r, round, huge)) {
		report_skip(name, "the host gave no transparent huge pages");
		region_unmap(&r);
		return;
	}
	fd = uffd_open(wp ? UFFD_FEATURE_PAGEFAULT_FLAG_WP : 0);
	report_one(name, round, time_register(fd, &r, wp));
	check_registered(fd, &r, round, wp);
	close(fd);
	region_check(&r, round);
	region_unmap(&r);
}

static void run_register(const struct bench_case *c, const struct options *o, unsigned round)
{
	size_t pages = case_pages(c, o);

	register_one("register-populated-missing-4k", pages, false, false, round);
	register_one("register-populated-missing-thp", pages, false, true, round);
	register_one("register-populated-wp-4k", pages, true, false, round);
	register_one("register-populated-wp-thp", pages, true, true, round);
	register_one("register-populated-wp-4k-x4", pages * 4, true, false, round);
}

/* ---- fork with armed memory ------------------------------------------------------------------------------------ */

struct armed {
	int wp_fd, missing_fd;
	struct region wp, missing;
	uint32_t *filled; /* the first half of the pages are, the rest are holes */
};

static void armed_prepare(struct armed *a, size_t pages, unsigned round)
{
	char *src = aligned_alloc(PAGE, PAGE);

	if (!src)
		die("out of memory");
	a->wp = region_map(pages, false);
	a->missing = region_map(pages, false);
	a->filled = random_pages(pages, pages / 2, 123456789 + round);
	a->wp_fd = uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	a->missing_fd = uffd_open(0);
	region_write(&a->wp, round);
	uffd_register(a->wp_fd, &a->wp, UFFDIO_REGISTER_MODE_WP);
	uffd_protect_all(a->wp_fd, &a->wp);
	uffd_register(a->missing_fd, &a->missing, UFFDIO_REGISTER_MODE_MISSING);
	for (size_t i = 0; i < pages / 2; i++)
		uffd_fill(a->missing_fd, &a->missing, a->filled[i], round, src);
	free(src);
}

static pid_t must_fork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	return pid;
}

static void must_exit_cleanly(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status)
		die("a child ended with status %#x", status);
}

/* Without EVENT_FORK the child's memory is ordinary: its content is the parent's, holes are zeroes, writes are free. */
static void armed_check_child(struct armed *a, unsigned round)
{
	alarm(60);
	region_check(&a->wp, round);
	region_write(&a->wp, round + 1);
	for (size_t i = 0; i < a->missing.pages / 2; i++)
		check_page(&a->missing, a->filled[i], round);
	for (size_t i = a->missing.pages / 2; i < a->missing.pages; i++)
		if (*page_words(&a->missing, a->filled[i]))
			die("a hole is not empty in the child");
	_exit(0);
}

static void run_fork(const struct bench_case *c, const struct options *o, unsigned round)
{
	size_t pages = case_pages(c, o);
	struct armed a;
	uint64_t t0, ns;
	pid_t pid;

	armed_prepare(&a, pages, round);
	t0 = now_ns();
	pid = must_fork();
	if (!pid)
		_exit(0);
	must_exit_cleanly(pid);
	ns = now_ns() - t0;
	pid = must_fork();
	if (!pid)
		armed_check_child(&a, round);
	must_exit_cleanly(pid);
	/* and the parent's is still armed */
	region_check(&a.wp, round);
	check_announced_sample(a.wp_fd, &a.wp, round);
	check_page(&a.missing, a.filled[0], round);
	check_announced(a.missing_fd, &a.missing, a.filled[pages - 1], round, false);
	report_one(c->name, round, ns);
	close(a.wp_fd);
	close(a.missing_fd);
	region_unmap(&a.wp);
	region_unmap(&a.missing);
	free(a.filled);
}

/* ---- main ------------------------------------------------------------------------------------------------------ */

static void run_probe(const struct bench_case *c, const struct options *o, unsigned round)
{
	close(uffd_open(UFFD_FEATURE_PAGEFAULT_FLAG_WP));
}

static const struct bench_case cases[] = {
	{.name = "missing-monitor", .run = run_missing, .pages = 4096},
	{.name = "missing-busy", .run = run_missing, .pages = 4096, .busy = true},
	{.name = "wp-monitor", .run = run_wp, .pages = 4096, .wp = true},
	{.name = "wp-busy", .run = run_wp, .pages = 4096, .wp = true, .busy = true},
	{.name = "sigbus", .run = run_sigbus, .pages = 16384},
	{.name = "wp-bulk", .run = run_wp_bulk, .pages = MIB_PAGES(256)},
	{.name = "wp-bulk-1pct", .run = run_wp_bulk_1pct, .pages = MIB_PAGES(256)},
	{.name = "wp-bulk-unpop", .run = run_wp_bulk_unpop, .pages = MIB_PAGES(256)},
	{.name = "wp-random-1g", .run = run_wp_random, .pages = MIB_PAGES(1024), .faults = 80000},
	{.name = "register-populated", .run = run_register, .pages = MIB_PAGES(256)},
	{.name = "fork-armed", .run = run_fork, .pages = MIB_PAGES(256)},
	{.name = "probe", .run = run_probe},
};

#define NR_CASES (sizeof(cases) / sizeof(cases[0]))

static void usage(void)
{
	fputs("usage: fault_client CASE [--rounds N] [--pages N] [--faults N] [--timeout SECONDS] [--apart]\ncases:",
	      stderr);
	for (size_t i = 0; i < NR_CASES; i++)
		fprintf(stderr, " %s", cases[i].name);
	fputc('\n', stderr);
	exit(2);
}

static const struct bench_case *find_case(const char *name)
{
	for (size_t i = 0; i < NR_CASES; i++)
		if (!strcmp(cases[i].name, name))
			return &cases[i];
	usage();
	return NULL;
}

static unsigned long parse_number(const char *text)
{
	char *end = NULL;
	unsigned long n = text ? strtoul(text, &end, 10) : 0;

	if (!text || *end || !n)
		usage();
	return n;
}

static struct options parse_options(int argc, char **argv)
{
	struct options o = {.rounds = 1};

	for (int i = 2; i < argc; i++) {
		unsigned long n;

		if (!strcmp(argv[i], "--apart")) {
			choose_cpus();
			continue;
		}
		n = parse_number(argv[++i]);
		if (!strcmp(argv[i - 1], "--rounds"))
			o.rounds = (unsigned)n;
		else if (!strcmp(argv[i - 1], "--pages"))
			o.pages = n < 512 ? 512 : n;
		else if (!strcmp(argv[i - 1], "--faults"))
			o.faults = n;
		else if (!strcmp(argv[i - 1], "--timeout"))
			alarm((unsigned)n);
		else
			usage();
	}
	return o;
}

int main(int argc, char **argv)
{
	const struct bench_case *c = argc > 1 ? find_case(argv[1]) : NULL;
	struct options o;

	if (!c)
		usage();
	alarm(600); /* a lost wake-up ends as a failure, not as a hang */
	o = parse_options(argc, argv);
	stay_on(cpu_of[0]);
	for (unsigned round = 0; round < o.rounds; round++)
		c->run(c, &o, round);
	printf("{\"proof\":{\"ranges\":%lu,\"missing\":%lu,\"wp\":%lu,\"sigbus\":%lu}}\n", served.ranges,
	       served.missing, served.wp, served.sigbus);
	return 0;
}
