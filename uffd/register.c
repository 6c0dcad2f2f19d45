/* SPDX-License-Identifier: MIT */
/* UFFDIO_REGISTER and UFFDIO_UNREGISTER. Reference 2.2, 2.3. */
#include "uffd/internal.h"

#include "base/assert.h"

#include <errno.h>

#define KNOWN_MODES (VM_UFFD_MISSING | VM_UFFD_WP | VM_UFFD_MINOR)

/* What can be done with the range: reference 2.2.2, the anonymous row, less what is not built. */
static uint64_t range_ioctls(uint64_t modes)
{
	uint64_t mask = ABI_BIT_WAKE | ABI_BIT_COPY | ABI_BIT_ZEROPAGE | ABI_BIT_POISON;

	return modes & VM_UFFD_WP ? mask | ABI_BIT_WRITEPROTECT : mask;
}

static int decode_register(struct uffd_ctx *ctx, va_t arg, struct abi_fill *a)
{
	struct machine *m = ctx->sys->m;
	int r = m->ops->copy_in(m, a, arg, offsetof(struct abi_fill, done));

	if (r)
		return r;
	if (a->mode == 0 || (a->mode & ~(uint64_t)KNOWN_MODES))
		return -EINVAL;
	if (a->mode & VM_UFFD_MINOR)
		return -EINVAL; /* not built yet: the answer of a kernel without minor faults */
	return uffd_check_range(a->start, a->len, true);
}

int uffd_register(struct uffd_ctx *ctx, va_t arg)
{
	struct machine *m = ctx->sys->m;
	struct abi_fill a;
	uint64_t mask;
	int r = decode_register(ctx, arg, &a);

	if (r)
		return r;
	if (mach_load32(m, &ctx->mm_gone))
		return -ENOMEM;
	ASSERT(a.len > 0 && a.start + a.len <= TASK_SIZE);
	mach_write_lock(m, &ctx->mm->mmap_lock);
	r = mm_arm(ctx->mm, a.start, a.start + a.len, &ctx->vma, (unsigned)a.mode);
	mach_write_unlock(m, &ctx->mm->mmap_lock);
	if (r)
		return r;
	uffd_count(ctx, COUNT_RANGES, 1);
	mask = range_ioctls(a.mode);
	return m->ops->copy_out(m, arg + offsetof(struct abi_fill, done), &mask, sizeof mask);
}

static void wake_intersection(void *arg, va_t start, va_t end)
{
	ASSERT(start < end);
	uffd_wake_range(arg, start, end);
}

/*
 * Waiters of MISSING parts are woken inside, before the modes go: they try again, find mmap_lock taken, and go on when
 * the memory is ordinary.
 */
int uffd_unregister(struct uffd_ctx *ctx, va_t arg)
{
	struct machine *m = ctx->sys->m;
	struct abi_range a;
	int r = m->ops->copy_in(m, &a, arg, sizeof a);

	if (r == 0)
		r = uffd_check_range(a.start, a.len, true);
	if (r)
		return r;
	if (mach_load32(m, &ctx->mm_gone))
		return -ENOMEM;
	mach_write_lock(m, &ctx->mm->mmap_lock);
	r = mm_disarm(ctx->mm, a.start, a.start + a.len, &ctx->vma, wake_intersection, ctx);
	mach_write_unlock(m, &ctx->mm->mmap_lock);
	return r;
}
