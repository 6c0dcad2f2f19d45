/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a monitor, and a monitor's waiting for a fault. A sleeping wake-up costs tens of microseconds across CPUs,
 * a spinning one a third of one: so spin first where there is another CPU to spin for, and back off when it does not pay.
 *
 * A waker needs to know whether anybody sleeps, or it would pay a system call each time: sleepers are counted in a small
 * table by the hash of their word. The count is raised before the kernel compares the word, and read after the word was
 * changed, so either the waker sees the sleeper or the kernel sees the change.
 */
#include "base/assert.h"
#include "machine/live/internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <time.h>

#define BUCKETS 256
static uint32_t sleepers[BUCKETS];

static uint32_t *sleepers_of(const uint32_t *word)
{
	uint64_t h = (uint64_t)(uintptr_t)word * 0x9E3779B97F4A7C15u;

	return &sleepers[h >> 56];
}

uint64_t live_now_ns(struct machine *m)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- spinning --------------------------------------------------------------------------------------------------------- */

#define SPIN_NS 100000u
#define MAX_SKIP 64u

/*
 * One for each kind of wait, shared by all threads; races only make the estimate coarser. After a spin that failed, as many
 * waits sleep at once as failures came in a row, doubling up to MAX_SKIP.
 */
static struct spin {
	uint32_t skip;	   /* waits left that do not spin */
	uint32_t failures; /* in a row, as a power of two */
} spin_state[3];

/* CPUs this process may run on; spinning on one only delays whom we wait for. */
static uint32_t nr_cpus;

static void count_cpus(void)
{
	unsigned long mask[16];
	long bytes = sys3(SYS_sched_getaffinity, 0, sizeof mask, (long)mask);
	unsigned n = 0;

	for (long i = 0; i < bytes / (long)sizeof mask[0]; i++)
		n += (unsigned)__builtin_popcountl(mask[i]);
	__atomic_store_n(&nr_cpus, n ? n : 1, __ATOMIC_RELAXED);
}

void live_wait_reset(void)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		sleepers[i] = 0;
	nr_cpus = 0;
}

static bool may_spin(struct spin *s)
{
	uint32_t skip = __atomic_load_n(&s->skip, __ATOMIC_RELAXED);

	if (skip) {
		__atomic_store_n(&s->skip, skip - 1, __ATOMIC_RELAXED);
		return false;
	}
	if (__atomic_load_n(&nr_cpus, __ATOMIC_RELAXED) == 0)
		count_cpus();
	return __atomic_load_n(&nr_cpus, __ATOMIC_RELAXED) > 1;
}

static void spin_failed(struct spin *s)
{
	uint32_t failures = s->failures ? min_u64(s->failures * 2, MAX_SKIP) : 1;

	count_cpus(); /* pinned since we last looked? */
	__atomic_store_n(&s->failures, failures, __ATOMIC_RELAXED);
	__atomic_store_n(&s->skip, failures, __ATOMIC_RELAXED);
}

/* True: the word changed. */
static bool spin_on(struct spin *s, const uint32_t *word, uint32_t expect, int64_t timeout_ns)
{
	uint64_t limit = timeout_ns >= 0 ? min_u64((uint64_t)timeout_ns, SPIN_NS) : SPIN_NS;
	uint64_t end = 0;

	for (;;) {
		for (int i = 0; i < 32; i++) {
			if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != expect) {
				__atomic_store_n(&s->failures, 0, __ATOMIC_RELAXED);
				return true;
			}
			__builtin_ia32_pause();
		}
		if (__atomic_load_n(&live_deferred, __ATOMIC_RELAXED))
			return false;
		if (end == 0)
			end = live_now_ns(NULL) + limit;
		else if (live_now_ns(NULL) >= end)
			break;
	}
	spin_failed(s);
	return false;
}

/* ---- sleeping ---------------------------------------------------------------------------------------------------------- */

/*
 * The only place where a thread inside the engine may be interrupted by a handler of the program: it holds no lock here.
 * The section tells the signal code so. A signal that came just before, and was deferred, must not be slept through.
 */
__attribute__((section("fl_wait_text"), noinline)) static long interruptible_futex(uint32_t *word, uint32_t expect,
										   const struct timespec *timeout)
{
	if (__atomic_load_n(&live_deferred, __ATOMIC_SEQ_CST))
		return -EINTR;
	return sys4(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, expect, (long)timeout);
}

/* A futex with a timeout is never restarted after a handler ran, one without is as SA_RESTART says: read(2)'s rule. */
static long sleep_on(uint32_t *word, uint32_t expect, enum mach_wait_kind kind, int64_t timeout_ns)
{
	struct timespec ts = {.tv_sec = 1 << 30};

	if (timeout_ns >= 0) {
		ts.tv_sec = timeout_ns / 1000000000;
		ts.tv_nsec = timeout_ns % 1000000000;
	}
	return interruptible_futex(word, expect, kind == MACH_WAIT_READ && timeout_ns < 0 ? NULL : &ts);
}

int live_wait(struct machine *m, uint32_t *word, uint32_t expect, enum mach_wait_kind kind, int64_t timeout_ns)
{
	struct spin *s = &spin_state[kind];
	long r;

	if (timeout_ns != 0 && may_spin(s) && spin_on(s, word, expect, timeout_ns))
		return 0;
	__atomic_fetch_add(sleepers_of(word), 1, __ATOMIC_SEQ_CST);
	r = sleep_on(word, expect, kind, timeout_ns);
	__atomic_fetch_sub(sleepers_of(word), 1, __ATOMIC_SEQ_CST);
	ASSERT(r == 0 || r == -EAGAIN || r == -EINTR || r == -ETIMEDOUT);
	return r == -EINTR || r == -ETIMEDOUT ? (int)r : 0;
}

void live_wake(struct machine *m, uint32_t *word, int n)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(sleepers_of(word), __ATOMIC_SEQ_CST))
		sys4(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, n, 0);
}
