/* SPDX-License-Identifier: MIT */
/*
 * stress_faults [SECONDS [SEED]]
 *
 * Eight threads fault all at once over one region, four monitor threads share one descriptor. Each round has a fresh
 * context and one of the kinds below; some rounds end with the context being taken away under the faulting threads.
 * After each round every byte of every page is checked. A round in which nothing moves for ten seconds has lost a
 * wake-up: it ends with a report of who waits where.
 */
#include "test/live/stress.h"
#include <sys/eventfd.h>

#define WORKERS 8
#define MONITORS 4
#define PAGES 512
#define WORDS (PAGE / 8)
#define BATCH 16

enum kind {
	MISSING,	     /* each page is filled on its first access */
	MISSING_THEN_WP,     /* and protected by the fill, so that the first write asks again */
	PROTECTED,	     /* populated, protected, protected again meanwhile */
	PROTECTED_UNPOPULATED, /* the same, over memory that was never touched */
	MISSING_CLOSED,	     /* closed half way */
	MISSING_UNREGISTERED, /* unregistered half way */
	PROTECTED_CLOSED,
	KINDS,
};
static const char *const kind_name[KINDS] = {
	"missing",	  "missing, then write-protect", "write-protect",     "write-protect of unpopulated memory",
	"missing, closed", "missing, unregistered",	  "write-protect, closed",
};

static struct round {
	uint64_t nr;
	enum kind kind;
	uint8_t *base;
	int fd;
	_Atomic uint64_t steps; /* accesses finished */
	_Atomic uint64_t fills, resolves, messages;
} now;

static struct worker {
	pthread_t thread;
	uint64_t seed;
	_Atomic uint32_t at, doing; /* for the report: page, 'r', 'w' or '-' */
} worker[WORKERS];

static pthread_barrier_t round_begins, monitors_begin, monitors_end;
static int workers_done, monitors_stop;
static bool finished;
static uint64_t total_faults, total_fills, total_resolves, stragglers;
static bool engine; /* run by Faultline, not by the kernel */

static bool is_missing_kind(void)
{
	return now.kind == MISSING || now.kind == MISSING_THEN_WP || now.kind == MISSING_CLOSED ||
	       now.kind == MISSING_UNREGISTERED;
}

static bool is_cut_short(void)
{
	return now.kind == MISSING_CLOSED || now.kind == MISSING_UNREGISTERED || now.kind == PROTECTED_CLOSED;
}

/* What the page holds but for the workers' words. Every fourth is zero: those are filled by ZEROPAGE. */
static uint64_t pattern(unsigned page)
{
	if (page % 4 == 3 || now.kind == PROTECTED_UNPOPULATED)
		return 0;
	return (now.nr << 32 | page) * 0x9e3779b97f4a7c15ull;
}

static uint64_t tag(unsigned page, unsigned w)
{
	return (now.nr + 1) << 32 | page << 8 | (w + 1);
}

static volatile uint64_t *word(unsigned page, unsigned i)
{
	return (volatile uint64_t *)(now.base + page * PAGE) + i;
}

static void check_word(unsigned page, unsigned i, uint64_t got)
{
	uint64_t want = pattern(page);

	if (got == want || (got == 0 && is_missing_kind() && is_cut_short()))
		return;
	fail("round %llu (%s): page %u word %u: expected %#llx, got %#llx", (unsigned long long)now.nr, kind_name[now.kind],
	     page, i, (unsigned long long)want, (unsigned long long)got);
}

/* ---- workers ------------------------------------------------------------------------------------------------------- */

static void visit(struct worker *me, unsigned w, unsigned page, unsigned i)
{
	me->at = page;
	if (next_random(&me->seed) & 1) {
		me->doing = 'r';
		check_word(page, i, *word(page, i));
	}
	me->doing = 'w';
	*word(page, w) = tag(page, w);
	me->doing = '-';
	now.steps++;
}

static void *worker_main(void *arg)
{
	struct worker *me = arg;
	unsigned w = me - worker;
	uint32_t order[PAGES];
	uint64_t one = 1;

	for (;;) {
		pthread_barrier_wait(&round_begins);
		if (finished)
			return NULL;
		shuffle(order, PAGES, &me->seed);
		for (unsigned k = 0; k < PAGES; k++)
			visit(me, w, order[k], WORKERS + next_random(&me->seed) % (WORDS - WORKERS));
		MUST(write(workers_done, &one, 8) == 8);
	}
}

/* ---- monitors ------------------------------------------------------------------------------------------------------ */

static void answer_missing(unsigned page, uint64_t *buffer)
{
	uint8_t *at = now.base + page * PAGE;
	uint64_t v = pattern(page);
	int err;

	if (v == 0 && now.kind != MISSING_THEN_WP) {
		struct uffdio_zeropage z = {{(uintptr_t)at, PAGE}, 0, 0};

		err = ioctl(now.fd, UFFDIO_ZEROPAGE, &z) ? errno : 0;
	} else {
		struct uffdio_copy c = {(uintptr_t)at, (uintptr_t)buffer, PAGE,
					now.kind == MISSING_THEN_WP ? UFFDIO_COPY_MODE_WP : 0, 0};

		for (unsigned i = 0; i < WORDS; i++)
			buffer[i] = v;
		err = ioctl(now.fd, UFFDIO_COPY, &c) ? errno : 0;
	}
	if (err == 0)
		now.fills++;
	else if (err == EEXIST) /* somebody else's message for the same page came first */
		MUST(uffd_range(now.fd, UFFDIO_WAKE, at, PAGE) == 0);
	else
		fail("filling page %u: %s", page, strerror(err));
}

static void answer(const struct uffd_msg *m, uint64_t *buffer)
{
	uint64_t offset = m->arg.pagefault.address - (uintptr_t)now.base;

	if (m->event != UFFD_EVENT_PAGEFAULT || offset >= PAGES * PAGE || offset % PAGE)
		fail("a message that makes no sense: event %#x address %#llx", m->event,
		     (unsigned long long)m->arg.pagefault.address);
	now.messages++;
	if (m->arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
		if (now.kind == MISSING)
			fail("a write-protect message, but nothing is protected");
		uffd_protect(now.fd, now.base + offset, PAGE, false);
		now.resolves++;
	} else if (is_missing_kind()) {
		answer_missing(offset / PAGE, buffer);
	} else {
		fail("a missing message, but nothing is registered for it");
	}
}

static void monitor_round(uint64_t *buffer)
{
	struct pollfd p[2] = {{.fd = now.fd, .events = POLLIN}, {.fd = monitors_stop, .events = POLLIN}};
	struct uffd_msg m[BATCH];

	while (poll(p, 2, -1) >= 0 && !p[1].revents) {
		ssize_t n;

		if (p[0].revents & ~POLLIN)
			fail("poll says %#x", p[0].revents);
		n = read(now.fd, m, sizeof(m));
		MUST(n >= 0 ? n % sizeof(m[0]) == 0 : errno == EAGAIN);
		for (ssize_t i = 0; i < n / (ssize_t)sizeof(m[0]); i++)
			answer(&m[i], buffer);
	}
}

static void *monitor_main(void *arg)
{
	uint64_t *buffer = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	MUST(buffer != MAP_FAILED);
	for (;;) {
		pthread_barrier_wait(&monitors_begin);
		if (finished)
			return NULL;
		monitor_round(buffer);
		pthread_barrier_wait(&monitors_end);
	}
}

static void monitors_halt(void)
{
	uint64_t one = 1;

	MUST(write(monitors_stop, &one, 8) == 8);
	pthread_barrier_wait(&monitors_end);
	MUST(read(monitors_stop, &one, 8) == 8);
}

/* ---- rounds -------------------------------------------------------------------------------------------------------- */

__attribute__((noreturn)) static void report_stall(void)
{
	struct pollfd p = {.fd = now.fd, .events = POLLIN};
	int pending = poll(&p, 1, 0);

	fprintf(stderr, "round %llu (%s): nothing moved for %d s; %llu of %d accesses done, %llu messages, descriptor %s\n",
		(unsigned long long)now.nr, kind_name[now.kind], STALL_MS / 1000, (unsigned long long)now.steps,
		PAGES * WORKERS, (unsigned long long)now.messages, pending ? "has unread messages" : "has none");
	for (unsigned w = 0; w < WORKERS; w++)
		fprintf(stderr, "  thread %u: %c of page %u (%p)\n", w, (char)worker[w].doing, (unsigned)worker[w].at,
			(void *)(now.base + worker[w].at * PAGE));
	fail("a wake-up was lost");
}

/*
 * Linux 6.18's UNREGISTER wakes before it takes the lock of the mapping: a fault that was under way gets queued after
 * that and sleeps until somebody wakes or closes. Faultline's must not lose it.
 */
static bool is_straggler(uint64_t idle_ms)
{
	return !engine && now.kind == MISSING_UNREGISTERED && idle_ms > 500;
}

/* Wait until all workers are done, or have made `enough` accesses. Meanwhile protect again what they have written. */
static void await_workers(uint64_t enough, uint64_t *seed)
{
	uint64_t seen = now.steps, since = now_ms(), done = 0, n;
	struct pollfd p = {.fd = workers_done, .events = POLLIN};

	while (done < WORKERS && now.steps < enough) {
		unsigned page = next_random(seed) % PAGES, len = 1 + next_random(seed) % (PAGES - page);

		if (now.kind == PROTECTED || now.kind == PROTECTED_UNPOPULATED)
			uffd_protect(now.fd, now.base + page * PAGE, len * PAGE, true);
		if (poll(&p, 1, 1) == 1) {
			MUST(read(workers_done, &n, 8) == 8);
			done += n;
		}
		if (now.steps != seen || done == WORKERS) {
			seen = now.steps;
			since = now_ms();
		} else if (is_straggler(now_ms() - since)) {
			MUST(uffd_range(now.fd, UFFDIO_WAKE, now.base, PAGES * PAGE) == 0);
			since = now_ms();
			MUST(stragglers++ < 1000);
		} else if (now_ms() - since > STALL_MS) {
			report_stall();
		}
	}
	if (enough == UINT64_MAX)
		return;
	/* given back: the rest of the round waits for all of them */
	if (done)
		MUST(write(workers_done, &done, 8) == 8);
}

/* Unregistered or closed, the threads must all come through as over ordinary memory. */
static void take_away(void)
{
	monitors_halt(); /* from here on faults stay unanswered, until: */
	if (now.kind == MISSING_UNREGISTERED)
		MUST(uffd_range(now.fd, UFFDIO_UNREGISTER, now.base, PAGES * PAGE) == 0);
	else
		MUST(close(now.fd) == 0);
}

static void finish(uint64_t *seed)
{
	monitors_halt();
	if (next_random(seed) & 1)
		MUST(uffd_range(now.fd, UFFDIO_UNREGISTER, now.base, PAGES * PAGE) == 0);
	else if (next_random(seed) & 1)
		MUST(uffd_range(now.fd, UFFDIO_UNREGISTER, now.base + 5 * PAGE, 100 * PAGE) == 0);
	MUST(close(now.fd) == 0);
}

static void round_setup(uint64_t *seed)
{
	bool missing = is_missing_kind();

	now.base = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(now.base != MAP_FAILED);
	now.fd = uffd_open(now.kind == PROTECTED_UNPOPULATED ? UFFD_FEATURE_WP_UNPOPULATED : 0);
	if (!missing && now.kind != PROTECTED_UNPOPULATED)
		for (unsigned page = 0; page < PAGES; page++)
			for (unsigned i = 0; i < WORDS; i++)
				*word(page, i) = pattern(page);
	if (next_random(seed) & 1) /* over a registration that is dropped again */
		uffd_register(now.fd, now.base + PAGE, 7 * PAGE, UFFDIO_REGISTER_MODE_WP);
	if (next_random(seed) & 1)
		MUST(uffd_range(now.fd, UFFDIO_UNREGISTER, now.base, PAGES * PAGE) == 0);
	uffd_register(now.fd, now.base, PAGES * PAGE,
		      !missing ? UFFDIO_REGISTER_MODE_WP :
		      now.kind == MISSING_THEN_WP ? UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP :
						    UFFDIO_REGISTER_MODE_MISSING);
	if (!missing)
		uffd_protect(now.fd, now.base, PAGES * PAGE, true);
}

static void check_content(void)
{
	for (unsigned page = 0; page < PAGES; page++) {
		for (unsigned i = WORKERS; i < WORDS; i++)
			check_word(page, i, *word(page, i));
		for (unsigned w = 0; w < WORKERS; w++)
			if (*word(page, w) != tag(page, w))
				fail("round %llu (%s): page %u: the write of thread %u is lost: expected %#llx, got %#llx",
				     (unsigned long long)now.nr, kind_name[now.kind], page, w,
				     (unsigned long long)tag(page, w), (unsigned long long)*word(page, w));
	}
	if ((now.kind == MISSING || now.kind == MISSING_THEN_WP) && now.fills != PAGES)
		fail("round %llu: %d pages were missing, %llu were filled", (unsigned long long)now.nr, PAGES,
		     (unsigned long long)now.fills);
	if ((now.kind == MISSING_THEN_WP || now.kind == PROTECTED || now.kind == PROTECTED_UNPOPULATED) &&
	    now.resolves < PAGES)
		fail("round %llu: %d pages were protected and written, only %llu writes asked", (unsigned long long)now.nr,
		     PAGES, (unsigned long long)now.resolves);
}

static void round_run(uint64_t *seed)
{
	now.steps = now.fills = now.resolves = now.messages = 0;
	round_setup(seed);
	pthread_barrier_wait(&monitors_begin);
	pthread_barrier_wait(&round_begins);
	if (is_cut_short()) {
		await_workers(next_random(seed) % (PAGES * WORKERS), seed);
		take_away();
	}
	await_workers(UINT64_MAX, seed);
	if (!is_cut_short())
		finish(seed);
	else if (now.kind == MISSING_UNREGISTERED)
		MUST(close(now.fd) == 0);
	check_content();
	MUST(munmap(now.base, PAGES * PAGE) == 0);
	total_faults += now.messages;
	total_fills += now.fills;
	total_resolves += now.resolves;
}

static void threads_start(pthread_t *monitor, uint64_t seed)
{
	pthread_barrier_init(&round_begins, NULL, WORKERS + 1);
	pthread_barrier_init(&monitors_begin, NULL, MONITORS + 1);
	pthread_barrier_init(&monitors_end, NULL, MONITORS + 1);
	workers_done = eventfd(0, EFD_CLOEXEC);
	monitors_stop = eventfd(0, EFD_CLOEXEC);
	MUST(workers_done >= 0 && monitors_stop >= 0);
	for (int w = 0; w < WORKERS; w++) {
		worker[w].seed = seed + 1000003ull * (w + 1);
		MUST(pthread_create(&worker[w].thread, NULL, worker_main, &worker[w]) == 0);
	}
	for (int i = 0; i < MONITORS; i++)
		MUST(pthread_create(&monitor[i], NULL, monitor_main, NULL) == 0);
}

int main(int argc, char **argv)
{
	uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 0) : 5, seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	uint64_t end = now_ms() + seconds * 1000;
	pthread_t monitor[MONITORS];

	close(uffd_open(0));
	engine = mapped_here("libfaultline");
	threads_start(monitor, seed);
	do {
		now.kind = now.nr % KINDS;
		round_run(&seed);
		now.nr++;
	} while (now_ms() < end || now.nr < KINDS);
	finished = true;
	pthread_barrier_wait(&round_begins);
	pthread_barrier_wait(&monitors_begin);
	for (int w = 0; w < WORKERS; w++)
		pthread_join(worker[w].thread, NULL);
	for (int i = 0; i < MONITORS; i++)
		pthread_join(monitor[i], NULL);
	printf("%llu rounds, %llu faults served, %llu pages filled, %llu resolved\n", (unsigned long long)now.nr,
	       (unsigned long long)total_faults, (unsigned long long)total_fills, (unsigned long long)total_resolves);
	if (stragglers)
		printf("%llu faults slept through UNREGISTER until a WAKE\n", (unsigned long long)stragglers);
	return 0;
}
