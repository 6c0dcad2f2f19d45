/* SPDX-License-Identifier: MIT */
/*
 * A blocked fault: enqueue, look again, sleep; and everything that ends the sleep (I10).
 *
 * No wake-up is lost: the waiter enqueues, then looks at the entry; a resolver changes the entry, then looks at the queue.
 * With a full barrier on each side one of them sees the other (reference 9.3). A woken waiter is off the lists already, so
 * only a waiter that gave up by itself has to take itself off.
 */
#include "uffd/internal.h"

#include "base/assert.h"

#include <errno.h>

/* ---- records -------------------------------------------------------------------------------------------------------- */

static void waiter_free(struct uffd_waiter *w)
{
	struct uffd_system *sys = w->ctx->sys;
	struct uffd_ctx *ctx = w->ctx;

	ASSERT(list_is_empty(&w->link));
	ASSERT(w->state == WAITER_WOKEN || w->state == WAITER_CANCELLED);
	mach_store32(sys->m, &w->state, WAITER_FREE);
	mach_lock(sys->m, &sys->lock);
	pool_put(&sys->waiter_pool, w);
	mach_unlock(sys->m, &sys->lock);
	uffd_put(ctx);
}

static uint32_t message_flags(const struct userfault *uf)
{
	uint32_t flags = uf->flags & FAULT_WRITE ? UFFD_PAGEFAULT_FLAG_WRITE : 0;

	ASSERT(uf->reason != REASON_WP || flags); /* only a store meets write-protection */

	if (uf->reason == REASON_WP)
		flags |= UFFD_PAGEFAULT_FLAG_WP;
	if (uf->reason == REASON_MINOR)
		flags |= UFFD_PAGEFAULT_FLAG_MINOR;
	return flags;
}

static struct uffd_waiter *waiter_alloc(struct uffd_ctx *ctx, const struct userfault *uf, uintptr_t frame)
{
	struct uffd_system *sys = ctx->sys;
	uint32_t features = mach_load32(sys->m, &ctx->features);
	struct uffd_waiter *w;

	mach_lock(sys->m, &sys->lock);
	w = pool_get(&sys->waiter_pool);
	mach_unlock(sys->m, &sys->lock);
	if (!w)
		return NULL;
	list_init(&w->link);
	w->ctx = ctx;
	w->va = features & UFFD_FEATURE_EXACT_ADDRESS ? uf->va : page_down(uf->va);
	w->tid = features & UFFD_FEATURE_THREAD_ID ? sys->m->ops->thread_id(sys->m) : 0;
	w->frame = frame;
	w->msg_flags = message_flags(uf);
	w->state = WAITER_WAITING;
	uffd_get(ctx);
	return w;
}

/* ---- queues. ctx->lock held -------------------------------------------------------------------------------------------- */

static void enqueue(struct uffd_ctx *ctx, struct uffd_waiter *w)
{
	ASSERT(ctx->sys->m->ops->lock_is_held(ctx->sys->m, &ctx->lock));
	ASSERT(w->ctx == ctx && w->state == WAITER_WAITING && list_is_empty(&w->link));
	mach_point(ctx->sys->m, MACH_OBJ_QUEUE, MACH_WRITE, ctx);
	list_add_tail(&ctx->pending, &w->link);
	mach_add32(ctx->sys->m, &ctx->nr_pending, 1);
	mach_add32(ctx->sys->m, &ctx->nr_waiters, 1);
}

/* Off whichever list it is on. pending: it was on the list of unread ones. */
static void dequeue(struct uffd_ctx *ctx, struct uffd_waiter *w, bool pending, enum waiter_state state)
{
	struct machine *m = ctx->sys->m;

	ASSERT(m->ops->lock_is_held(m, &ctx->lock));
	ASSERT(!list_is_empty(&w->link));
	ASSERT(w->ctx == ctx && w->state == WAITER_WAITING && state != WAITER_WAITING);
	ASSERT(ctx->nr_waiters > 0 && (!pending || ctx->nr_pending > 0));
	mach_point(m, MACH_OBJ_QUEUE, MACH_WRITE, ctx);
	list_del(&w->link);
	if (pending)
		mach_add32(m, &ctx->nr_pending, (uint32_t)-1);
	mach_add32(m, &ctx->nr_waiters, (uint32_t)-1);
	mach_store32(m, &w->state, state); /* last: from here on the record may be gone */
}

static struct uffd_waiter *waiter_of(struct list *l)
{
	return container_of(l, struct uffd_waiter, link);
}

static bool is_on(struct list *head, struct uffd_waiter *w)
{
	list_for_each(l, head)
		if (l == &w->link)
			return true;
	return false;
}

/* The faulter gives up by itself (signal, nothing to wait for). True: nobody had read its message. */
static bool leave_queue(struct uffd_ctx *ctx, struct uffd_waiter *w)
{
	bool unread = false;

	if (mach_load32(ctx->sys->m, &w->state) == WAITER_WOKEN)
		return false; /* off the lists already */
	mach_lock(ctx->sys->m, &ctx->lock);
	if (!list_is_empty(&w->link)) {
		unread = is_on(&ctx->pending, w);
		dequeue(ctx, w, unread, WAITER_WOKEN); /* cancelled is what a signal does */
	}
	mach_unlock(ctx->sys->m, &ctx->lock);
	return unread;
}

/* ---- waking ----------------------------------------------------------------------------------------------------------- */

#define WAKE_BATCH 32

struct wake_batch {
	uint32_t *word[WAKE_BATCH];
	unsigned n;
};

static void wake_list(struct uffd_ctx *ctx, struct list *head, va_t start, va_t end, struct wake_batch *b)
{
	list_for_each_safe(l, tmp, head) {
		struct uffd_waiter *w = waiter_of(l);

		if (b->n == WAKE_BATCH)
			return;
		if (w->va < start || w->va >= end)
			continue;
		b->word[b->n++] = &w->state;
		dequeue(ctx, w, head == &ctx->pending, WAITER_WOKEN);
	}
}

/* Sleepers are told after the lock is dropped. The record may be reused by then: at worst its sleeper looks once more. */
void uffd_wake_range(struct uffd_ctx *ctx, va_t start, va_t end)
{
	struct machine *m = ctx->sys->m;
	struct wake_batch b;

	ASSERT(start < end);
	mach_full_barrier();
	if (mach_load32(m, &ctx->nr_waiters) == 0)
		return;
	do {
		b.n = 0;
		mach_lock(m, &ctx->lock);
		wake_list(ctx, &ctx->pending, start, end, &b);
		wake_list(ctx, &ctx->delivered, start, end, &b);
		mach_unlock(m, &ctx->lock);
		for (unsigned i = 0; i < b.n; i++)
			m->ops->wake(m, b.word[i], INT32_MAX);
		uffd_count(ctx, COUNT_WAKEUPS, b.n);
	} while (b.n == WAKE_BATCH);
}

/* ---- the fault --------------------------------------------------------------------------------------------------------- */

static void announce(struct uffd_ctx *ctx)
{
	struct machine *m = ctx->sys->m;

	mach_add32(m, &ctx->arrivals, 1);
	m->ops->wake(m, &ctx->arrivals, INT32_MAX);
	if (ctx->sys->readiness)
		ctx->sys->readiness(ctx);
}

static enum fault_result sleep_until_answered(struct uffd_ctx *ctx, struct uffd_waiter *w)
{
	struct machine *m = ctx->sys->m;
	int r = 0;

	while (r == 0 && mach_load32(m, &w->state) == WAITER_WAITING && !mach_load32(m, &ctx->released))
		r = m->ops->wait(m, &w->state, WAITER_WAITING, MACH_WAIT_FAULT, -1);
	leave_queue(ctx, w);
	return r == -EINTR || mach_load32(m, &w->state) == WAITER_CANCELLED ? FAULT_INTERRUPTED : FAULT_DONE;
}

static enum uffd_count count_of(enum fault_reason reason)
{
	return reason == REASON_MISSING ? COUNT_FAULT_MISSING : reason == REASON_WP ? COUNT_FAULT_WP : COUNT_FAULT_MINOR;
}

/* Nobody is to be asked: reference 9.2, steps 3 and 4. */
static bool answers_sigbus(struct uffd_ctx *ctx, unsigned flags)
{
	if (mach_load32(ctx->sys->m, &ctx->features) & UFFD_FEATURE_SIGBUS)
		return true;
	return (!(flags & FAULT_USER) && (ctx->flags & UFFD_USER_MODE_ONLY)) || (flags & FAULT_NOWAIT);
}

static enum fault_result handle_userfault(const struct userfault *uf)
{
	struct uffd_ctx *ctx = container_of(uf->uffd, struct uffd_ctx, vma);
	struct machine *m = ctx->sys->m;
	enum fault_result result = FAULT_DONE;
	struct uffd_waiter *w = NULL;
	bool must_wait;

	ASSERT(uf->mm == ctx->mm);
	ASSERT(m->ops->rw_is_held(m, &uf->mm->mmap_lock, false)); /* the context cannot go away yet */
	if (answers_sigbus(ctx, uf->flags))
		result = FAULT_SIGBUS;
	else if (!(w = waiter_alloc(ctx, uf, (uintptr_t)__builtin_frame_address(0))))
		result = FAULT_OOM;
	if (!w) {
		mach_read_unlock(m, &uf->mm->mmap_lock);
		uffd_count(ctx, COUNT_FAULT_SIGBUS, result == FAULT_SIGBUS);
		return result;
	}
	mach_lock(m, &ctx->lock);
	enqueue(ctx, w);
	mach_unlock(m, &ctx->lock);
	mach_full_barrier();
	must_wait = mm_must_wait(uf->mm, uf->va, uf->reason);
	mach_read_unlock(m, &uf->mm->mmap_lock);
	if (must_wait || !leave_queue(ctx, w)) /* a reader may have been faster than our second look */
		uffd_count(ctx, count_of(uf->reason), 1);
	if (must_wait) {
		announce(ctx);
		result = sleep_until_answered(ctx, w);
	}
	waiter_free(w);
	return result;
}

const struct mm_uffd_ops uffd_mm_ops = {.userfault = handle_userfault};

/* ---- signals ------------------------------------------------------------------------------------------------------------- */

bool uffd_is_quiet(struct uffd_system *sys)
{
	return sys->waiter_pool.in_use == 0;
}

/* The sleep is a few calls below the frame that waits. */
#define MAX_DEPTH 4096

static void cancel_list(struct uffd_ctx *ctx, struct list *head, uintptr_t sp)
{
	list_for_each_safe(l, tmp, head) {
		if (waiter_of(l)->frame - sp < MAX_DEPTH)
			dequeue(ctx, waiter_of(l), head == &ctx->pending, WAITER_CANCELLED);
	}
}

void uffd_cancel_frame(struct uffd_system *sys, uintptr_t sp)
{
	mach_lock(sys->m, &sys->lock);
	list_for_each(l, &sys->contexts) {
		struct uffd_ctx *ctx = container_of(l, struct uffd_ctx, link);

		mach_lock(sys->m, &ctx->lock);
		cancel_list(ctx, &ctx->pending, sp);
		cancel_list(ctx, &ctx->delivered, sp);
		mach_unlock(sys->m, &ctx->lock);
	}
	mach_unlock(sys->m, &sys->lock);
}

/* The waiting threads are the parent's: here nobody waits. Their records stay in use, a few bytes in a child. */
void uffd_after_fork(struct uffd_system *sys)
{
	list_for_each(l, &sys->contexts) {
		struct uffd_ctx *ctx = container_of(l, struct uffd_ctx, link);

		list_init(&ctx->pending);
		list_init(&ctx->delivered);
		ctx->nr_pending = ctx->nr_waiters = 0;
		ctx->mm_gone = 1;
	}
}
