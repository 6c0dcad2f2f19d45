/* SPDX-License-Identifier: MIT */
/*
 * Locks of engine state between the threads of this process. Futexes, so that they are right on one CPU too; a short spin
 * first, since the engine's sections are short.
 */
#include "base/assert.h"
#include "machine/live/internal.h"

#include <linux/futex.h>

#define SPINS 64

static void sleep_on(uint32_t *word, uint32_t expect)
{
	sys4(SYS_futex, (long)word, FUTEX_WAIT_PRIVATE, expect, 0);
}

static void wake_up(uint32_t *word, int n)
{
	sys4(SYS_futex, (long)word, FUTEX_WAKE_PRIVATE, n, 0);
}

static bool cas(uint32_t *p, uint32_t old, uint32_t now)
{
	return __atomic_compare_exchange_n(p, &old, now, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

/* ---- mutex: 0 free, 1 held, 2 held and somebody sleeps. A woken sleeper takes it as 2: others may still sleep. -------- */

void live_lock(struct machine *m, struct mach_lock *l)
{
	if (likely(cas(&l->word, 0, 1)))
		return;
	for (int i = 0; i < SPINS; i++) {
		if (__atomic_load_n(&l->word, __ATOMIC_RELAXED) == 0 && cas(&l->word, 0, 1))
			return;
		__builtin_ia32_pause();
	}
	while (__atomic_exchange_n(&l->word, 2, __ATOMIC_ACQUIRE) != 0)
		sleep_on(&l->word, 2);
}

void live_unlock(struct machine *m, struct mach_lock *l)
{
	uint32_t was = __atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE);

	ASSERT(was != 0);
	if (unlikely(was == 2))
		wake_up(&l->word, 1);
}

bool live_lock_is_held(struct machine *m, const struct mach_lock *l)
{
	return __atomic_load_n(&l->word, __ATOMIC_RELAXED) != 0;
}

/* ---- rwlock. word: readers, or WRITER. want: writers that wait (new readers stay out). holder: sleepers of any kind. ------ */

#define WRITER ((uint32_t)1 << 31)

static bool try_read(struct mach_rwlock *l)
{
	uint32_t w = __atomic_load_n(&l->word, __ATOMIC_RELAXED);

	if ((w & WRITER) || __atomic_load_n(&l->want, __ATOMIC_RELAXED))
		return false;
	return cas(&l->word, w, w + 1);
}

/* Sleep until something was released after `seen`. */
static void rw_sleep(struct mach_rwlock *l, uint32_t seen)
{
	__atomic_fetch_add(&l->holder, 1, __ATOMIC_SEQ_CST);
	sleep_on(&l->waiters, seen);
	__atomic_fetch_sub(&l->holder, 1, __ATOMIC_SEQ_CST);
}

static void rw_release(struct mach_rwlock *l)
{
	__atomic_fetch_add(&l->waiters, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&l->holder, __ATOMIC_SEQ_CST))
		wake_up(&l->waiters, INT32_MAX);
}

void live_read_lock(struct machine *m, struct mach_rwlock *l)
{
	for (int i = 0;; i++) {
		uint32_t seen = __atomic_load_n(&l->waiters, __ATOMIC_SEQ_CST);

		if (likely(try_read(l)))
			return;
		if (i < SPINS)
			__builtin_ia32_pause();
		else if ((__atomic_load_n(&l->word, __ATOMIC_SEQ_CST) & WRITER) || __atomic_load_n(&l->want, __ATOMIC_SEQ_CST))
			rw_sleep(l, seen);
	}
}

void live_read_unlock(struct machine *m, struct mach_rwlock *l)
{
	uint32_t now = __atomic_sub_fetch(&l->word, 1, __ATOMIC_SEQ_CST);

	ASSERT(!((now + 1) & WRITER) && now != UINT32_MAX);
	if (unlikely(now == 0 && __atomic_load_n(&l->want, __ATOMIC_SEQ_CST)))
		rw_release(l);
}

void live_write_lock(struct machine *m, struct mach_rwlock *l)
{
	__atomic_fetch_add(&l->want, 1, __ATOMIC_SEQ_CST);
	for (int i = 0;; i++) {
		uint32_t seen = __atomic_load_n(&l->waiters, __ATOMIC_SEQ_CST);

		if (cas(&l->word, 0, WRITER))
			break;
		if (i < SPINS)
			__builtin_ia32_pause();
		else if (__atomic_load_n(&l->word, __ATOMIC_SEQ_CST) != 0)
			rw_sleep(l, seen);
	}
	__atomic_fetch_sub(&l->want, 1, __ATOMIC_SEQ_CST);
}

void live_write_unlock(struct machine *m, struct mach_rwlock *l)
{
	uint32_t was = __atomic_exchange_n(&l->word, 0, __ATOMIC_SEQ_CST);

	ASSERT(was == WRITER);
	rw_release(l);
}

bool live_rw_is_held(struct machine *m, const struct mach_rwlock *l, bool for_write)
{
	uint32_t w = __atomic_load_n(&l->word, __ATOMIC_RELAXED);

	return for_write ? w == WRITER : w != 0;
}

void live_rwlock_after_fork(struct mach_rwlock *l)
{
	ASSERT(l->word == WRITER);
	l->want = 0;
	l->holder = 0;
}
