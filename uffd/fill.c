/* SPDX-License-Identifier: MIT */
/* UFFDIO_COPY, UFFDIO_ZEROPAGE, UFFDIO_POISON, UFFDIO_WRITEPROTECT, UFFDIO_WAKE. Reference 2.4, 2.5, 2.7. */
#include "uffd/internal.h"

#include "base/assert.h"

#include <errno.h>

static bool is_changing(struct uffd_ctx *ctx)
{
	return mach_load32(ctx->sys->m, &ctx->mmap_changing) != 0;
}

/* Errors that a fill reports before it looked at memory leave the output field alone (trap 9). */
static int report(struct uffd_ctx *ctx, va_t field, int64_t value)
{
	return ctx->sys->m->ops->copy_out(ctx->sys->m, field, &value, sizeof value);
}

static const enum uffd_count fill_counts[] = {
	[FILL_COPY] = COUNT_COPIED,
	[FILL_ZERO] = COUNT_ZEROED,
	[FILL_POISON] = COUNT_POISONED,
};

/* Steps 6 to 15: fill, write the output, wake what was filled, and the result's errno. */
static int run_fill(struct uffd_ctx *ctx, const struct fill_req *req, bool wake, va_t field)
{
	uint64_t done = 0;
	int r = mm_fill(ctx->mm, req, &done), r2;

	ASSERT(is_page_aligned(done) && done <= req->end - req->start);
	ASSERT(r || req->start + done == req->end); /* success is all of it */
	uffd_count(ctx, fill_counts[req->kind], done >> PAGE_SHIFT);
	r2 = report(ctx, field, done ? (int64_t)done : r);
	if (r2)
		return r2;
	if (done && wake)
		uffd_wake_range(ctx, req->start, req->start + done);
	if (done == 0)
		return r;
	return req->start + done == req->end ? 0 : -EAGAIN;
}

int uffd_copy(struct uffd_ctx *ctx, va_t arg)
{
	struct machine *m = ctx->sys->m;
	va_t field = arg + offsetof(struct abi_copy, copy);
	struct abi_copy a;
	int r;

	if (is_changing(ctx)) /* before the arguments are looked at (trap 10) */
		return report(ctx, field, -EAGAIN) ? -EFAULT : -EAGAIN;
	r = m->ops->copy_in(m, &a, arg, offsetof(struct abi_copy, copy));
	if (r == 0)
		r = uffd_check_range(a.src, a.len, false);
	if (r == 0)
		r = uffd_check_range(a.dst, a.len, true);
	if (r == 0 && (a.mode & ~(uint64_t)(ABI_MODE_DONTWAKE | ABI_COPY_MODE_WP)))
		r = -EINVAL;
	if (r == 0 && mach_load32(m, &ctx->mm_gone))
		r = -ESRCH;
	if (r)
		return r;
	return run_fill(ctx,
			&(struct fill_req){.kind = FILL_COPY, .start = a.dst, .end = a.dst + a.len, .src = a.src,
					   .wp = a.mode & ABI_COPY_MODE_WP, .changing = &ctx->mmap_changing},
			!(a.mode & ABI_MODE_DONTWAKE), field);
}

static int fill_without_source(struct uffd_ctx *ctx, va_t arg, enum fill_kind kind)
{
	struct machine *m = ctx->sys->m;
	va_t field = arg + offsetof(struct abi_fill, done);
	struct abi_fill a;
	int r;

	if (is_changing(ctx))
		return report(ctx, field, -EAGAIN) ? -EFAULT : -EAGAIN;
	r = m->ops->copy_in(m, &a, arg, offsetof(struct abi_fill, done));
	if (r == 0)
		r = uffd_check_range(a.start, a.len, true);
	if (r == 0 && (a.mode & ~(uint64_t)ABI_MODE_DONTWAKE))
		r = -EINVAL;
	if (r == 0 && mach_load32(m, &ctx->mm_gone))
		r = -ESRCH;
	if (r)
		return r;
	return run_fill(ctx,
			&(struct fill_req){.kind = kind, .start = a.start, .end = a.start + a.len,
					   .changing = &ctx->mmap_changing},
			!(a.mode & ABI_MODE_DONTWAKE), field);
}

int uffd_zeropage(struct uffd_ctx *ctx, va_t arg)
{
	return fill_without_source(ctx, arg, FILL_ZERO);
}

int uffd_poison(struct uffd_ctx *ctx, va_t arg)
{
	return fill_without_source(ctx, arg, FILL_POISON);
}

int uffd_writeprotect(struct uffd_ctx *ctx, va_t arg)
{
	struct machine *m = ctx->sys->m;
	struct abi_wp a;
	uint64_t changed;
	bool protect;
	int r;

	if (is_changing(ctx))
		return -EAGAIN;
	r = m->ops->copy_in(m, &a, arg, sizeof a);
	if (r == 0)
		r = uffd_check_range(a.start, a.len, true);
	if (r)
		return r;
	if ((a.mode & ~(uint64_t)(ABI_WP_MODE_WP | ABI_WP_MODE_DONTWAKE)) ||
	    a.mode == (ABI_WP_MODE_WP | ABI_WP_MODE_DONTWAKE))
		return -EINVAL;
	if (mach_load32(m, &ctx->mm_gone))
		return -ESRCH;
	protect = a.mode & ABI_WP_MODE_WP;
	r = mm_wp_range(ctx->mm, a.start, a.start + a.len, protect, &ctx->mmap_changing, &changed);
	uffd_count(ctx, protect ? COUNT_PROTECTED : COUNT_RESOLVED, changed);
	if (r == 0 && !protect && !(a.mode & ABI_WP_MODE_DONTWAKE))
		uffd_wake_range(ctx, a.start, a.start + a.len);
	return r;
}

int uffd_wake(struct uffd_ctx *ctx, va_t arg)
{
	struct machine *m = ctx->sys->m;
	struct abi_range a;
	int r = m->ops->copy_in(m, &a, arg, sizeof a);

	if (r == 0)
		r = uffd_check_range(a.start, a.len, true);
	if (r == 0)
		uffd_wake_range(ctx, a.start, a.start + a.len);
	return r;
}
