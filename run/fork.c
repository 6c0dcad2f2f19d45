/* SPDX-License-Identifier: MIT */
/*
 * New processes. The engine's part of a fork runs as an atfork handler, registered before all others: libc then runs
 * it last on the way in and first on the way out, so that the program's own handlers never meet the engine's locks,
 * and forks inside libc (daemon, forkpty) are covered too. _Fork and clone skip the handlers and are wrapped.
 *
 * vfork, posix_spawn, system and popen borrow the parent's memory until exec: nothing to do. vfork itself must not be
 * wrapped, since its child would return through the wrapper's frame. The children find the shim through LD_PRELOAD in
 * the environment that the program gives them.
 */
#include "run/run.h"
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

/* ---- the engine's part, with signals kept out: a handler must not meet the locks that its own thread holds ----------- */

static uint64_t block_signals(void)
{
	uint64_t all = ~((uint64_t)1 << (SIGSEGV - 1)), old = 0;

	run_raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&old, 8, 0, 0);
	return old;
}

static void restore_signals(uint64_t old)
{
	run_raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)&old, 0, 8, 0, 0);
}

/* Returns the signal mask, for finish. */
static uint64_t prepare(void)
{
	uint64_t mask = block_signals();

	fl_fork_prepare();
	return mask;
}

/* pid as fork returned it. */
static void finish(long pid, uint64_t mask)
{
	if (pid == 0)
		fl_fork_child();
	else
		fl_fork_parent();
	restore_signals(mask);
}

/* ---- fork -------------------------------------------------------------------------------------------------------------- */

/* Of the fork in progress; the engine's locks keep it to one. */
static uint64_t fork_mask;

static void at_prepare(void)
{
	uint64_t mask = prepare();

	fork_mask = mask;
}

static void at_parent(void)
{
	finish(1, fork_mask);
}

static void at_child(void)
{
	finish(0, fork_mask);
}

void run_fork_init(void)
{
	if (!run_is_dead)
		pthread_atfork(at_prepare, at_parent, at_child);
}

pid_t run__Fork(void)
{
	uint64_t mask = prepare();
	pid_t pid = next()->_Fork();

	finish(pid, mask);
	return pid;
}

/* ---- clone ----------------------------------------------------------------------------------------------------------- */

/* What the child of a clone without CLONE_VM runs; it sees its own copy of this on the parent's stack. */
struct clone_start {
	run_clone_fn fn;
	void *arg;
	uint64_t mask;
};

static int clone_child(void *p)
{
	struct clone_start start = *(struct clone_start *)p;

	finish(0, start.mask);
	return start.fn(start.arg);
}

int run_clone(run_clone_fn fn, void *stack, int flags, void *arg, void *ptid, void *tls, void *ctid)
{
	struct clone_start start = {fn, arg, 0};
	int pid;

	if ((flags & CLONE_VM) || !fn || !stack)
		return next()->clone(fn, stack, flags, arg, ptid, tls, ctid);
	start.mask = prepare();
	pid = next()->clone(clone_child, stack, flags, &start, ptid, tls, ctid);
	finish(1, start.mask);
	return pid;
}

long run_fork_raw(long nr, const long a[6])
{
	uint64_t mask = prepare();
	long pid = run_raw_args(nr, a);

	finish(pid, mask);
	return pid;
}

RUN_EXPORT(_Fork);
RUN_EXPORT(clone);
RUN_EXPORT_AS(__clone, clone);
