/* SPDX-License-Identifier: MIT */
/*
 * The context switch of the simulated CPUs. x86-64: callee-saved registers and the stack pointer, by hand, since
 * swapcontext makes two system calls a switch. Elsewhere, and with -DSIM_CORO_UCONTEXT, ucontext. The floating-point
 * control words are not saved: no simulated program changes them. Sanitizers are told of every change of stack.
 */
#include "machine/sim/coro.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/assert.h"

#if defined(__SANITIZE_ADDRESS__)
#define SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SIM_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define SIM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SIM_TSAN 1
#endif
#endif

#ifdef SIM_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef SIM_TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* Instrumented frames are several times larger. */
#if defined(SIM_ASAN) || defined(SIM_TSAN)
#define CORO_STACK ((size_t)256 << 10)
#else
#define CORO_STACK ((size_t)64 << 10)
#endif

/* ---- sanitizers ------------------------------------------------------------------------------------------------ */

static void san_leave(struct coro *from, struct coro *to, bool last)
{
#ifdef SIM_ASAN
	__sanitizer_start_switch_fiber(last ? NULL : &from->san_fake, to->san_bottom, to->san_len);
#endif
#ifdef SIM_TSAN
	if (!from->san_fiber)
		from->san_fiber = __tsan_get_current_fiber();
	__tsan_switch_to_fiber(to->san_fiber, 0);
#endif
}

/* First thing on the new stack; c is the coroutine that now runs. */
static void san_arrive(struct coro *c)
{
#ifdef SIM_ASAN
	__sanitizer_finish_switch_fiber(c->san_fake, &c->from->san_bottom, &c->from->san_len);
	c->san_fake = NULL;
#endif
}

static void san_start(struct coro *c)
{
	c->san_bottom = c->stack;
	c->san_len = c->stack_len;
	c->san_fake = NULL;
#ifdef SIM_ASAN
	/* A coroutine that was abandoned half-way left its frames' red zones behind. */
	__asan_unpoison_memory_region(c->stack, c->stack_len);
#endif
#ifdef SIM_TSAN
	if (!c->san_fiber)
		c->san_fiber = __tsan_create_fiber(0);
#endif
}

static void san_destroy(struct coro *c)
{
#ifdef SIM_ASAN
	__asan_unpoison_memory_region(c->stack, c->stack_len);
#endif
#ifdef SIM_TSAN
	if (c->san_fiber)
		__tsan_destroy_fiber(c->san_fiber);
#endif
	c->san_fiber = NULL;
}

/* ---- the switch itself ----------------------------------------------------------------------------------------- */

void coro_main(struct coro *c);

void coro_main(struct coro *c)
{
	san_arrive(c);
	c->fn(c->arg);
	ASSERT(!"a coroutine returned from its function");
}

#ifdef SIM_CORO_UCONTEXT
/* makecontext passes ints only. */
static void uc_entry(unsigned hi, unsigned lo)
{
	coro_main((struct coro *)(((uintptr_t)hi << 32) | lo));
}

static void raw_start(struct coro *c)
{
	uintptr_t p = (uintptr_t)c;

	ASSERT(getcontext(&c->uc) == 0);
	c->uc.uc_stack.ss_sp = c->stack;
	c->uc.uc_stack.ss_size = c->stack_len;
	c->uc.uc_link = NULL;
	makecontext(&c->uc, (void (*)(void))uc_entry, 2, (unsigned)(p >> 32), (unsigned)p);
}

static void raw_switch(struct coro *from, struct coro *to)
{
	ASSERT(swapcontext(&from->uc, &to->uc) == 0);
}
#else
void coro_swap(void **save_sp, void *load_sp);
void coro_entry(void);

/* coro_swap(rdi: where to leave our stack pointer, rsi: the stack pointer to take up) */
__asm__(".text\n"
	".p2align 4\n"
	".hidden coro_swap\n"
	".globl coro_swap\n"
	".type coro_swap, @function\n"
	"coro_swap:\n"
	"	pushq %rbp\n"
	"	pushq %rbx\n"
	"	pushq %r12\n"
	"	pushq %r13\n"
	"	pushq %r14\n"
	"	pushq %r15\n"
	"	movq %rsp, (%rdi)\n"
	"	movq %rsi, %rsp\n"
	"	popq %r15\n"
	"	popq %r14\n"
	"	popq %r13\n"
	"	popq %r12\n"
	"	popq %rbx\n"
	"	popq %rbp\n"
	"	ret\n"
	".size coro_swap, .-coro_swap\n"
	".hidden coro_entry\n"
	".globl coro_entry\n"
	".type coro_entry, @function\n"
	"coro_entry:\n"
	"	movq %r12, %rdi\n"
	"	call coro_main\n"
	"	ud2\n"
	".size coro_entry, .-coro_entry\n");

/* What coro_swap pops on the first switch to a coroutine. It ends at the top of the stack, aligned as a call expects. */
struct first_frame {
	uint64_t r15, r14, r13;
	uint64_t r12; /* the coroutine, for coro_entry */
	uint64_t rbx;
	uint64_t rbp; /* 0 ends a walk along frame pointers */
	void (*ret)(void);
};

static void raw_start(struct coro *c)
{
	struct first_frame *f = (struct first_frame *)((char *)c->stack + c->stack_len) - 1;

	*f = (struct first_frame){.r12 = (uintptr_t)c, .ret = coro_entry};
	c->sp = f;
}

static void raw_switch(struct coro *from, struct coro *to)
{
	coro_swap(&from->sp, to->sp);
}
#endif

/* ---- interface ------------------------------------------------------------------------------------------------- */

int coro_create(struct coro *c)
{
	char *p = mmap(NULL, PAGE_SIZE + CORO_STACK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	if (mprotect(p + PAGE_SIZE, CORO_STACK, PROT_READ | PROT_WRITE)) {
		munmap(p, PAGE_SIZE + CORO_STACK);
		return -ENOMEM;
	}
	*c = (struct coro){.stack = p + PAGE_SIZE, .stack_len = CORO_STACK};
	return 0;
}

void coro_destroy(struct coro *c)
{
	if (!c->stack)
		return;
	san_destroy(c);
	munmap((char *)c->stack - PAGE_SIZE, PAGE_SIZE + c->stack_len);
	c->stack = NULL;
}

void coro_start(struct coro *c, void (*fn)(void *arg), void *arg)
{
	ASSERT(c->stack);
	c->fn = fn;
	c->arg = arg;
	san_start(c);
	raw_start(c);
}

void coro_switch(struct coro *from, struct coro *to, bool last)
{
	ASSERT(from != to);
	to->from = from;
	san_leave(from, to, last);
	raw_switch(from, to);
	san_arrive(from);
}
