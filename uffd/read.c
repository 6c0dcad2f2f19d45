/* SPDX-License-Identifier: MIT */
/* Messages out: read and poll. Reference 3.1, 3.3, 3.4. */
#include "uffd/internal.h"

#include "base/assert.h"

#include <errno.h>

static struct uffd_msg message_of(struct uffd_ctx *ctx, const struct uffd_waiter *w)
{
	struct uffd_msg msg = {.event = UFFD_EVENT_PAGEFAULT};

	msg.arg.pagefault.flags = w->msg_flags;
	msg.arg.pagefault.address = w->va;
	if (mach_load32(ctx->sys->m, &ctx->features) & UFFD_FEATURE_THREAD_ID)
		msg.arg.pagefault.feat.ptid = w->tid;
	return msg;
}

/* The oldest unread fault moves to the delivered ones; the waiter sleeps on. */
static bool take_message(struct uffd_ctx *ctx, struct uffd_msg *msg)
{
	struct machine *m = ctx->sys->m;
	struct uffd_waiter *w = NULL;

	if (mach_load32(m, &ctx->nr_pending) == 0)
		return false;
	mach_lock(m, &ctx->lock);
	mach_point(m, MACH_OBJ_QUEUE, MACH_WRITE, ctx);
	if (!list_is_empty(&ctx->pending)) {
		w = container_of(ctx->pending.next, struct uffd_waiter, link);
		ASSERT(w->ctx == ctx && w->state == WAITER_WAITING);
		ASSERT(ctx->nr_pending > 0 && ctx->nr_pending <= ctx->nr_waiters);
		*msg = message_of(ctx, w);
		list_del(&w->link);
		list_add_tail(&ctx->delivered, &w->link);
		mach_add32(m, &ctx->nr_pending, (uint32_t)-1);
	}
	mach_unlock(m, &ctx->lock);
	return w != NULL;
}

/* Sleep until there is a first message. */
static int wait_for_message(struct uffd_ctx *ctx, struct uffd_msg *msg)
{
	for (;;) {
		uint32_t seen = mach_load32(ctx->sys->m, &ctx->arrivals);
		int r;

		if (take_message(ctx, msg))
			return 0;
		r = uffd_wait_readable(ctx, seen, -1);
		if (r)
			return r;
	}
}

int64_t uffd_read(struct uffd_ctx *ctx, va_t buf, uint64_t count, bool nonblock)
{
	struct machine *m = ctx->sys->m;
	uint64_t done = 0;
	struct uffd_msg msg;
	int r = 0;

	if (!mach_load32(m, &ctx->features) || count < ABI_MSG_SIZE)
		return -EINVAL;
	while (r == 0 && count - done >= ABI_MSG_SIZE) {
		if (!take_message(ctx, &msg)) {
			if (done)
				break;
			r = nonblock ? -EAGAIN : wait_for_message(ctx, &msg);
		}
		if (r == 0)
			r = m->ops->copy_out(m, buf + done, &msg, sizeof msg); /* -EFAULT: this message is lost (trap 26) */
		if (r == 0)
			done += sizeof msg;
	}
	ASSERT(done <= count && done % ABI_MSG_SIZE == 0);
	ASSERT(done || r);
	uffd_count(ctx, COUNT_MESSAGES_READ, done / ABI_MSG_SIZE);
	if (done && ctx->sys->readiness && mach_load32(m, &ctx->nr_pending) == 0)
		ctx->sys->readiness(ctx);
	return done ? (int64_t)done : r;
}

unsigned uffd_poll(struct uffd_ctx *ctx, bool nonblock)
{
	if (!mach_load32(ctx->sys->m, &ctx->features) || !nonblock)
		return ABI_POLLERR;
	return mach_load32(ctx->sys->m, &ctx->nr_pending) ? ABI_POLLIN : 0;
}

int uffd_wait_readable(struct uffd_ctx *ctx, uint32_t seen, int64_t timeout_ns)
{
	return ctx->sys->m->ops->wait(ctx->sys->m, &ctx->arrivals, seen, MACH_WAIT_READ, timeout_ns);
}
