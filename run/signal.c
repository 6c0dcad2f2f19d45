/* SPDX-License-Identifier: MIT */
/*
 * Signals: every handler goes in through the engine, which keeps SIGSEGV and SIGBUS to itself first, and no mask takes
 * those signals away from it. libc's older interfaces call sigaction inside libc, past any interposition, so they are
 * built again here on top of ours.
 */
#include "run/run.h"

/* Signals that siginterrupt(3) made interrupt system calls, as signal(3) must know. One bit a signal. */
static uint64_t interrupting;

/* Signals for which the program has a handler, save those that a fault may raise. One bit a signal. */
static uint64_t caught;

static uint64_t bit(int sig)
{
	return sig > 0 && sig <= 64 ? (uint64_t)1 << (sig - 1) : 0;
}

void run_note_handler(int sig, const struct sigaction *act)
{
	bool has_handler = (act->sa_flags & SA_SIGINFO) || (act->sa_handler != SIG_DFL && act->sa_handler != SIG_IGN);

	if (has_handler && sig != SIGSEGV && sig != SIGBUS && sig != SIGABRT)
		__atomic_fetch_or(&caught, bit(sig), __ATOMIC_RELAXED);
	else
		__atomic_fetch_and(&caught, ~bit(sig), __ATOMIC_RELAXED);
}

uint64_t run_hold_signals(void)
{
	uint64_t set = __atomic_load_n(&caught, __ATOMIC_RELAXED), old = ~(uint64_t)0;

	if (set)
		run_raw(SYS_rt_sigprocmask, SIG_BLOCK, (long)&set, (long)&old, 8, 0, 0);
	return old;
}

void run_release_signals(uint64_t old)
{
	if (old != ~(uint64_t)0)
		run_raw(SYS_rt_sigprocmask, SIG_SETMASK, (long)&old, 0, 8, 0, 0);
}

const sigset_t *run_filter(const sigset_t *mask, sigset_t *copy)
{
	if (!mask || run_is_dead)
		return mask;
	*copy = *mask;
	fl_filter_mask(copy);
	return copy;
}

int run_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	int ret;

	if (run_is_dead)
		return next()->sigaction(sig, act, old);
	ret = fl_sigaction(sig, act, old);
	if (ret == 0 && act)
		run_note_handler(sig, act);
	return (int)run_errno(ret);
}

/* Install h and return the handler before it. */
static run_handler install(int sig, run_handler h, int flags, bool mask_itself)
{
	struct sigaction act = {.sa_handler = h, .sa_flags = flags}, old;

	if (h == SIG_ERR || sig <= 0 || sig >= NSIG) {
		errno = EINVAL;
		return SIG_ERR;
	}
	sigemptyset(&act.sa_mask);
	if (mask_itself)
		sigaddset(&act.sa_mask, sig);
	return run_sigaction(sig, &act, &old) ? SIG_ERR : old.sa_handler;
}

run_handler run_signal(int sig, run_handler h)
{
	bool interrupts = __atomic_load_n(&interrupting, __ATOMIC_RELAXED) & bit(sig);

	return install(sig, h, interrupts ? 0 : SA_RESTART, true);
}

run_handler run_sysv_signal(int sig, run_handler h)
{
	return install(sig, h, (int)SA_RESETHAND | SA_NODEFER, false);
}

int run_sigignore(int sig)
{
	return install(sig, SIG_IGN, 0, false) == SIG_ERR ? -1 : 0;
}

int run_siginterrupt(int sig, int on)
{
	struct sigaction act;

	if (run_sigaction(sig, NULL, &act))
		return -1;
	if (on) {
		__atomic_fetch_or(&interrupting, bit(sig), __ATOMIC_RELAXED);
		act.sa_flags &= ~SA_RESTART;
	} else {
		__atomic_fetch_and(&interrupting, ~bit(sig), __ATOMIC_RELAXED);
		act.sa_flags |= SA_RESTART;
	}
	return run_sigaction(sig, &act, NULL);
}

/* sigset(3): SIG_HOLD only blocks; anything else is installed and unblocked. Returns SIG_HOLD when sig was blocked. */
run_handler run_sigset(int sig, run_handler h)
{
	struct sigaction old;
	sigset_t set, before;
	run_handler prev;

	sigemptyset(&set);
	if (sigaddset(&set, sig) || h == SIG_ERR) {
		errno = EINVAL;
		return SIG_ERR;
	}
	if (h == SIG_HOLD) {
		if (run_sigprocmask(SIG_BLOCK, &set, &before) || run_sigaction(sig, NULL, &old))
			return SIG_ERR;
		prev = old.sa_handler;
	} else {
		prev = install(sig, h, 0, false);
		if (prev == SIG_ERR || run_sigprocmask(SIG_UNBLOCK, &set, &before))
			return SIG_ERR;
	}
	return sigismember(&before, sig) ? SIG_HOLD : prev;
}

/* ---- masks ----------------------------------------------------------------------------------------------------------- */

/* The filter is asked even where its answer is not needed: the engine counts changes of masks. */
int run_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	sigset_t copy;
	const sigset_t *filtered = run_filter(set, &copy);

	return next()->sigprocmask(how, how == SIG_UNBLOCK ? set : filtered, old);
}

int run_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	sigset_t copy;
	const sigset_t *filtered = run_filter(set, &copy);

	return next()->pthread_sigmask(how, how == SIG_UNBLOCK ? set : filtered, old);
}

int run_sigsuspend(const sigset_t *mask)
{
	sigset_t copy;

	return next()->sigsuspend(run_filter(mask, &copy));
}

int run_sighold(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	return sigaddset(&set, sig) ? -1 : run_sigprocmask(SIG_BLOCK, &set, NULL);
}

RUN_EXPORT(sigaction);
RUN_EXPORT_AS(__sigaction, sigaction);
RUN_EXPORT(signal);
RUN_EXPORT_AS(bsd_signal, signal);
RUN_EXPORT_AS(ssignal, signal);
RUN_EXPORT(sysv_signal);
RUN_EXPORT_AS(__sysv_signal, sysv_signal);
RUN_EXPORT(sigset);
RUN_EXPORT(sigignore);
RUN_EXPORT(siginterrupt);
RUN_EXPORT(sigprocmask);
RUN_EXPORT(pthread_sigmask);
RUN_EXPORT(sigsuspend);
RUN_EXPORT_AS(__sigsuspend, sigsuspend);
RUN_EXPORT(sighold);
