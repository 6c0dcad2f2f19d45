/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a monitor, and a monitor's waiting for a fault. A sleeping wake-up costs tens of microseconds across CPUs,
 * a spinning one a third of one: so spin first where there is another CPU to spin for, and back off when it does not pay.
 *
 * A waker needs to know whether anybody sleeps, or it would pay a system call each time: sleepers are counted in a small
 * table by the hash of their word. The count is raised before the kernel compares the word, and read after the word was
 * changed, so either the waker sees the sleeper or the kernel sees the change. The table also remembers on which CPU the
 * last waker of a word ran: whoever waits on that same CPU must let it go on.
 */
#include "base/assert.h"
#include "machine/live/internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <time.h>

#define BUCKETS 256
static struct bucket {
	uint32_t sleepers;
	uint32_t waker_cpu; /* plus one; 0: not known yet */
} buckets[BUCKETS];

static struct bucket *bucket_of(const uint32_t *word)
{
	uint64_t h = (uint64_t)(uintptr_t)word * 0x9E3779B97F4A7C15u;

	return &buckets[h >> 56];
}

/* The CPU this runs on, plus one: Linux keeps it in the limit of a segment for just this purpose. */
static uint32_t this_cpu(void)
{
	uint32_t limit;

	__asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(0x7b) : "cc");
	return (limit & 0xfff) + 1;
}

uint64_t live_now_ns(struct machine *m)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/*
 * Durations by the time-stamp counter: cheap enough for every fault. Its rate is measured against the clock as we go, from
 * the first call on; it is exact after a few milliseconds and good enough before.
 */
uint64_t live_ticks(void)
{
	return __builtin_ia32_rdtsc();
}

/* a * 2^32 / b without a 128-bit division, which would be a call into the compiler's library. */
static uint64_t ratio_2p32(uint64_t a, uint64_t b)
{
	while (a >> 31) {
		a >>= 1;
		b >>= 1;
	}
	return b ? (a << 32) / b : 0;
}

uint64_t live_ticks_to_ns(uint64_t ticks)
{
	static uint64_t start_ticks, start_ns, ns_per_2p32, nr_calls; /* threads race: any of the values serves */
	uint64_t calls = __atomic_fetch_add(&nr_calls, 1, __ATOMIC_RELAXED), elapsed;

	if (calls == 0) {
		__atomic_store_n(&start_ns, live_now_ns(NULL), __ATOMIC_RELAXED);
		__atomic_store_n(&start_ticks, live_ticks(), __ATOMIC_RELAXED);
	}
	if (calls < 64 || calls % 4096 == 0) {
		elapsed = live_ticks() - __atomic_load_n(&start_ticks, __ATOMIC_RELAXED);
		if (elapsed < 1 << 14 || elapsed >> 62)
			return ticks / 2; /* nothing measured yet */
		__atomic_store_n(&ns_per_2p32,
				 ratio_2p32(live_now_ns(NULL) - __atomic_load_n(&start_ns, __ATOMIC_RELAXED), elapsed),
				 __ATOMIC_RELAXED);
	}
	return (uint64_t)((unsigned __int128)ticks * __atomic_load_n(&ns_per_2p32, __ATOMIC_RELAXED) >> 32);
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

void live_wait_reset(void)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		buckets[i] = (struct bucket){0};
}

static bool may_spin(struct spin *s, const struct bucket *b)
{
	uint32_t skip = __atomic_load_n(&s->skip, __ATOMIC_RELAXED);

	if (__atomic_load_n(&b->waker_cpu, __ATOMIC_RELAXED) == this_cpu())
		return false;
	if (skip)
		__atomic_store_n(&s->skip, skip - 1, __ATOMIC_RELAXED);
	return !skip;
}

static void spin_failed(struct spin *s)
{
	uint32_t was = __atomic_load_n(&s->failures, __ATOMIC_RELAXED), failures = was ? min_u64(was * 2, MAX_SKIP) : 1;

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
 * The only places where a thread inside the engine may be interrupted by a handler of the program: it holds no lock here.
 * The section tells the signal code so. A signal that came just before, and was deferred, must not be slept through.
 * fl_futex_once is not made again after a handler ran, whatever SA_RESTART says: the trampoline moves on from it
 * (live_futex_interrupted). fl_futex_restart follows SA_RESTART, as read(2) does.
 */
long fl_futex_once(uint32_t *word, uint32_t expect, const struct timespec *timeout);
long fl_futex_restart(uint32_t *word, uint32_t expect, const struct timespec *timeout);
extern const char fl_futex_once_at[], fl_futex_restart_at[];

#define FUTEX_ROUTINE(name)                                                                                        \
	__asm__(".pushsection fl_wait_text,\"ax\",@progbits\n"                                                      \
		".hidden " #name ", " #name "_at, live_deferred\n"                                                    \
		".globl " #name ", " #name "_at\n"                                                                    \
		".type " #name ", @function\n" #name ":\n"                                                           \
		"	mov %rdx, %r10\n"                                                                                   \
		"	mov %esi, %edx\n"                                                                                   \
		"	mov $128, %esi\n" /* FUTEX_WAIT_PRIVATE */                                                          \
		"	mov $202, %eax\n" /* SYS_futex */                                                                   \
		"	cmpl $0, live_deferred(%rip)\n"                                                                     \
		"	jne 1f\n" #name "_at:\n"                                                                           \
		"	syscall\n"                                                                                        \
		"	ret\n"                                                                                            \
		"1:	mov $-4, %rax\n" /* -EINTR */                                                                      \
		"	ret\n"                                                                                            \
		".size " #name ", . - " #name "\n"                                                                  \
		".popsection\n")

FUTEX_ROUTINE(fl_futex_once);
FUTEX_ROUTINE(fl_futex_restart);
_Static_assert(FUTEX_WAIT_PRIVATE == 128 && SYS_futex == 202 && EINTR == 4, "the numbers above");

#define SYSCALL_INSN_LEN 2

bool live_futex_interrupted(uintptr_t pc, uintptr_t *next)
{
	*next = (uintptr_t)fl_futex_once_at + SYSCALL_INSN_LEN;
	return pc == (uintptr_t)fl_futex_once_at;
}

static long sleep_on(uint32_t *word, uint32_t expect, enum mach_wait_kind kind, int64_t timeout_ns)
{
	struct timespec ts = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};

	if (timeout_ns >= 0)
		return fl_futex_once(word, expect, &ts);
	return (kind == MACH_WAIT_READ ? fl_futex_restart : fl_futex_once)(word, expect, NULL);
}

int live_wait(struct machine *m, uint32_t *word, uint32_t expect, enum mach_wait_kind kind, int64_t timeout_ns)
{
	struct bucket *b = bucket_of(word);
	struct spin *s = &spin_state[kind];
	long r;

	if (may_spin(s, b) && spin_on(s, word, expect, timeout_ns ? timeout_ns : -1))
		return 0;
	if (timeout_ns == 0)
		return -ETIMEDOUT;
	__atomic_fetch_add(&b->sleepers, 1, __ATOMIC_SEQ_CST);
	r = sleep_on(word, expect, kind, timeout_ns);
	__atomic_fetch_sub(&b->sleepers, 1, __ATOMIC_SEQ_CST);
	ASSERT(r == 0 || r == -EAGAIN || r == -EINTR || r == -ETIMEDOUT);
	return r == -EINTR || r == -ETIMEDOUT ? (int)r : 0;
}

void live_wake(struct machine *m, uint32_t *word, int n)
{
	struct bucket *b = bucket_of(word);

	__atomic_store_n(&b->waker_cpu, this_cpu(), __ATOMIC_RELAXED);
	mach_full_barrier();
	if (__atomic_load_n(&b->sleepers, __ATOMIC_SEQ_CST))
		sys4(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, n, 0);
}
