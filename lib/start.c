/* SPDX-License-Identifier: MIT */
/* The engine's life in a process: start, signals, fork. */
#include "base/assert.h"
#include "lib/engine.h"
#include "machine/live/sys.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct engine engine;
struct fl_libc fl_libc = {.sigaction = sigaction, .poll = poll, .ppoll = ppoll, .fork = fork};
static struct mach_lock start_lock;
static bool is_shim;
static void watch_forks(void);

static void before_handler(uintptr_t sp)
{
	if (!uffd_is_quiet(&engine.uffds))
		uffd_cancel_frame(&engine.uffds, sp);
}

static int call_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	return fl_libc.sigaction(sig, act, old);
}

struct live_signal_hooks fl_signal_hooks = {
	.before_handler = before_handler, .fault_done = stats_fault_done, .sigaction = call_sigaction,
};

void fl_set_libc(const struct fl_libc *libc)
{
	fl_libc = *libc;
	is_shim = true;
	fl_signal_hooks.masks_are_watched = true;
	fl_signal_hooks.fault_done = NULL; /* no clock reads unless somebody asked for counters */
}

static const struct mm_uffd_ops *mm_ops(void)
{
	static struct mm_uffd_ops ops;

	ops = uffd_mm_ops;
	ops.translated = stats_translated;
	return &ops;
}

static int start_locked(void)
{
	const char *budget;
	int r;

	if (engine.started)
		return 0;
	engine.m = live_machine(NULL);
	if (!engine.m)
		return -EOPNOTSUPP;
	r = memory_init(&engine.memory, engine.m);
	if (r == 0)
		r = uffd_system_init(&engine.uffds, engine.m);
	if (r == 0)
		r = mm_init(&engine.mm, &engine.memory, mm_ops());
	if (r == 0)
		r = live_signals_start(&engine.mm.as, &fl_signal_hooks);
	if (r)
		return r;
	budget = getenv("FAULTLINE_MAPPING_BUDGET");
	if (budget)
		live_set_mapping_budget(strtoull(budget, NULL, 10));
	engine.uffds.count = stats_count;
	engine.uffds.readiness = desc_readiness;
	engine.pid = getpid();
	__atomic_store_n(&engine.started, 1, __ATOMIC_RELEASE);
	return 0;
}

int fl_start(void)
{
	struct machine *m;
	int r;

	if (__atomic_load_n(&engine.started, __ATOMIC_ACQUIRE))
		return 0;
	watch_forks();
	m = live_machine(NULL);
	if (!m)
		return -EOPNOTSUPP;
	mach_lock(m, &start_lock);
	r = start_locked();
	mach_unlock(m, &start_lock);
	return r;
}

bool fl_is_active(void)
{
	return __atomic_load_n(&engine.active, __ATOMIC_RELAXED);
}

const char *fl_probe(void)
{
	const char *why = NULL;

	watch_forks();
	live_machine(&why);
	return why;
}

const char *fl_version(void)
{
	return FL_VERSION;
}

static void complain(void *arg, const char *text, va_t va)
{
	dprintf(STDERR_FILENO, "faultline: check: %s (at %#lx)\n", text, (unsigned long)va);
}

int fl_check(void)
{
	if (!__atomic_load_n(&engine.started, __ATOMIC_ACQUIRE))
		return 0;
	return (int)fl_result(mm_check(&engine.mm, complain, NULL));
}

/* ---- signals ------------------------------------------------------------------------------------------------------------------ */

int fl_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	int r = live_sigaction(&fl_signal_hooks, sig, act, old);

	live_engine_exit();
	return r;
}

int fl_sigaction_get(int sig, struct sigaction *old)
{
	return fl_sigaction(sig, NULL, old);
}

void fl_filter_mask(sigset_t *mask)
{
	__atomic_fetch_add(&live_mask_changes, 1, __ATOMIC_RELAXED);
	sigdelset(mask, SIGSEGV);
}

/* ---- fork ----------------------------------------------------------------------------------------------------------------------- */

/* Of the fork in progress; the machine's lock keeps it to one, whether the engine runs or not. */
static bool fork_with_engine;
static uint32_t forking_tid;

static void take_engine_locks(void)
{
	mach_write_lock(engine.m, &engine.mm.mmap_lock);
	desc_locks_take();
	mach_lock(engine.m, &engine.uffds.lock);
	list_for_each(l, &engine.uffds.contexts)
		mach_lock(engine.m, &container_of(l, struct uffd_ctx, link)->lock);
	mach_lock(engine.m, &engine.mm.pt_lock);
}

/* All but mmap_lock. */
static void drop_engine_locks(void)
{
	mach_unlock(engine.m, &engine.mm.pt_lock);
	list_for_each(l, &engine.uffds.contexts)
		mach_unlock(engine.m, &container_of(l, struct uffd_ctx, link)->lock);
	mach_unlock(engine.m, &engine.uffds.lock);
	desc_locks_drop();
}

void fl_fork_prepare(void)
{
	bool started = __atomic_load_n(&engine.started, __ATOMIC_ACQUIRE);

	if (started)
		take_engine_locks();
	live_locks_take();
	fork_with_engine = started;
	forking_tid = (uint32_t)sys0(SYS_gettid);
}

void fl_fork_parent(void)
{
	bool started = fork_with_engine;

	live_locks_drop();
	if (started) {
		drop_engine_locks();
		mach_write_unlock(engine.m, &engine.mm.mmap_lock);
		stats_add_fork();
	}
	live_engine_exit();
}

/*
 * The child: one thread, a copy of the parent's state, descriptors of /proc/self that mean the parent. Its memory becomes
 * plain at once, as on Linux without EVENT_FORK.
 */
void fl_fork_child(void)
{
	bool started = fork_with_engine;

	live_signals_after_fork(forking_tid);
	live_wait_reset();
	ASSERT(live_after_fork() == 0);
	if (started) {
		engine.pid = getpid();
		live_rwlock_after_fork(&engine.mm.mmap_lock);
		uffd_after_fork(&engine.uffds);
	}
	live_locks_drop();
	if (started) {
		drop_engine_locks();
		mm_disarm_all(&engine.mm, NULL);
		mach_write_unlock(engine.m, &engine.mm.mmap_lock);
	}
	live_engine_exit();
}

/* The engine's part is done by the atfork handlers: ours, or under `run` the shim's. */
pid_t fl_fork(void)
{
	return fl_libc.fork();
}

/*
 * A program that links the library may fork by any of libc's functions. From the first time that descriptors of this
 * process are opened, the child must open its own.
 */
static void watch_forks(void)
{
	static uint32_t done;

	if (!is_shim && __atomic_exchange_n(&done, 1, __ATOMIC_RELAXED) == 0)
		pthread_atfork(fl_fork_prepare, fl_fork_parent, fl_fork_child);
}
