/* SPDX-License-Identifier: MIT */
/* Coroutines: the simulated CPUs take turns on one OS thread. A switch saves what a call must preserve, no more. */
#pragma once
#include "base/types.h"

#if !defined(__x86_64__) && !defined(SIM_CORO_UCONTEXT)
#define SIM_CORO_UCONTEXT 1
#endif
#ifdef SIM_CORO_UCONTEXT
#include <ucontext.h>
#endif

/* One flow of control. Zeroed memory is a valid coro for the OS thread's own stack. */
struct coro {
	void *sp;		  /* where the registers were saved; meaningful while switched away */
	void *stack;		  /* lowest usable byte; NULL: the OS thread's stack */
	size_t stack_len;
	void (*fn)(void *arg);	  /* must not return */
	void *arg;
	struct coro *from;	  /* who switched here last */
	const void *san_bottom;	  /* what the sanitizers were told about this stack */
	size_t san_len;
	void *san_fake;
	void *san_fiber;
#ifdef SIM_CORO_UCONTEXT
	ucontext_t uc;
#endif
};

/* Map a stack with a guard page below it. 0 or -ENOMEM. */
int coro_create(struct coro *c) FL_MUST_CHECK;
void coro_destroy(struct coro *c);

/* The next switch to c begins fn(arg) on an empty stack. fn leaves by coro_switch and never returns. */
void coro_start(struct coro *c, void (*fn)(void *arg), void *arg);

/* Suspend from, resume to. last: from will never be resumed (before a coro_start). */
void coro_switch(struct coro *from, struct coro *to, bool last);
