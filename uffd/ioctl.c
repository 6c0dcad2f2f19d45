/* SPDX-License-Identifier: MIT */
/* The handshake and the table of commands. Reference 1.3, 1.4, 2.1. */
#include "uffd/internal.h"

#include "base/assert.h"

#include <errno.h>

int uffd_check_range(uint64_t start, uint64_t len, bool aligned)
{
	if (aligned && !is_page_aligned(start))
		return -EINVAL;
	if (len == 0 || !is_page_aligned(len))
		return -EINVAL;
	if (start >= TASK_SIZE || len > TASK_SIZE - start)
		return -EINVAL;
	return 0;
}

/* A failed handshake leaves the context as it was and answers an all-zero structure (trap 2). */
static int refuse_api(struct uffd_ctx *ctx, va_t arg, int error)
{
	struct uffdio_api zero = {0};

	return ctx->sys->m->ops->copy_out(ctx->sys->m, arg, &zero, sizeof zero) ? -EFAULT : error;
}

/*
 * Once only. WP_UNPOPULATED is read by mm without a lock, so it stands before the features are seen; the lock keeps a
 * second handshake, with other features, from writing it in between.
 */
static bool enable(struct uffd_ctx *ctx, uint32_t features)
{
	struct machine *m = ctx->sys->m;
	bool first;

	mach_lock(m, &ctx->lock);
	first = mach_load32(m, &ctx->features) == 0;
	if (first) {
		ctx->vma.wp_unpopulated = features & UFFD_FEATURE_WP_UNPOPULATED;
		mach_store32(m, &ctx->features, features | UFFD_INITIALISED);
	}
	mach_unlock(m, &ctx->lock);
	return first;
}

static int uffd_api(struct uffd_ctx *ctx, va_t arg)
{
	struct machine *m = ctx->sys->m;
	struct uffdio_api a, reply = {.api = UFFD_API, .features = UFFD_SUPPORTED, .ioctls = ABI_API_IOCTLS};
	int r = m->ops->copy_in(m, &a, arg, sizeof a);

	if (r)
		return r;
	if (a.api != UFFD_API || (a.features & ~(uint64_t)UFFD_SUPPORTED))
		return refuse_api(ctx, arg, -EINVAL);
	r = m->ops->copy_out(m, arg, &reply, sizeof reply);
	if (r)
		return r;
	return enable(ctx, (uint32_t)a.features) ? 0 : refuse_api(ctx, arg, -EINVAL);
}

static const struct {
	unsigned long cmd;
	int (*fn)(struct uffd_ctx *ctx, va_t arg);
} commands[] = {
	{ABI_IOCTL_COPY, uffd_copy},		 {ABI_IOCTL_WRITEPROTECT, uffd_writeprotect},
	{ABI_IOCTL_ZEROPAGE, uffd_zeropage},	 {ABI_IOCTL_WAKE, uffd_wake},
	{ABI_IOCTL_POISON, uffd_poison},	 {ABI_IOCTL_REGISTER, uffd_register},
	{ABI_IOCTL_UNREGISTER, uffd_unregister},
};

int uffd_ioctl(struct uffd_ctx *ctx, unsigned long cmd, va_t arg)
{
	if (cmd == ABI_IOCTL_API)
		return uffd_api(ctx, arg);
	if (mach_load32(ctx->sys->m, &ctx->features) == 0)
		return -EINVAL;
	ASSERT((ctx->features & ~(UFFD_SUPPORTED | UFFD_INITIALISED)) == 0);
	ASSERT(ctx->vma.wp_unpopulated == !!(ctx->features & UFFD_FEATURE_WP_UNPOPULATED));
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (commands[i].cmd == cmd)
			return commands[i].fn(ctx, arg);
	return -EINVAL;
}
