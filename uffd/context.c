/* SPDX-License-Identifier: MIT */
/* Birth, references and release of a context. */
#include "uffd/internal.h"

#include "base/assert.h"

#include <errno.h>

static void *source_get(void *arg, size_t bytes)
{
	struct machine *m = arg;

	return m->ops->mem_alloc(m, bytes, PAGE_SIZE);
}

static void source_put(void *arg, void *p, size_t bytes)
{
	struct machine *m = arg;

	m->ops->mem_free(m, p, bytes);
}

int uffd_system_init(struct uffd_system *sys, struct machine *m)
{
	*sys = (struct uffd_system){.m = m, .source = {source_get, source_put, m}};
	list_init(&sys->contexts);
	pool_init(&sys->pool, &sys->source, sizeof(struct uffd_ctx));
	pool_init(&sys->waiter_pool, &sys->source, sizeof(struct uffd_waiter));
	return 0;
}

void uffd_system_destroy(struct uffd_system *sys)
{
	ASSERT(list_is_empty(&sys->contexts));
	pool_empty(&sys->pool);
	pool_empty(&sys->waiter_pool);
}

int uffd_create(struct uffd_system *sys, struct mm *mm, unsigned flags, struct uffd_ctx **out)
{
	struct uffd_ctx *ctx;

	if (flags & ~(ABI_O_CLOEXEC | ABI_O_NONBLOCK | UFFD_USER_MODE_ONLY))
		return -EINVAL;
	mach_lock(sys->m, &sys->lock);
	ctx = pool_get(&sys->pool);
	if (ctx) {
		ctx->sys = sys;
		ctx->mm = mm;
		ctx->refs = 1;
		ctx->flags = flags;
		list_init(&ctx->pending);
		list_init(&ctx->delivered);
		list_add_tail(&sys->contexts, &ctx->link);
	}
	mach_unlock(sys->m, &sys->lock);
	if (!ctx)
		return -ENOMEM;
	ASSERT(!ctx->features && !ctx->released && ctx->nr_waiters == 0); /* the pool's memory is zeroed */
	uffd_count(ctx, COUNT_CONTEXTS, 1);
	*out = ctx;
	return 0;
}

void uffd_get(struct uffd_ctx *ctx)
{
	ASSERT(mach_load32(ctx->sys->m, &ctx->refs) > 0);
	mach_add32(ctx->sys->m, &ctx->refs, 1);
}

void uffd_put(struct uffd_ctx *ctx)
{
	struct uffd_system *sys = ctx->sys;

	if (mach_add_return32(sys->m, &ctx->refs, (uint32_t)-1) > 0)
		return;
	ASSERT(list_is_empty(&ctx->pending) && list_is_empty(&ctx->delivered));
	ASSERT(ctx->nr_pending == 0 && ctx->nr_waiters == 0);
	ASSERT(ctx->released);
	mach_lock(sys->m, &sys->lock);
	list_del(&ctx->link);
	pool_put(&sys->pool, ctx);
	mach_unlock(sys->m, &sys->lock);
}

/* Reference 3.6: flag first, so that a fault which races finds it; disarm; then nobody is left waiting. */
void uffd_release(struct uffd_ctx *ctx)
{
	struct machine *m = ctx->sys->m;

	ASSERT(mach_load32(m, &ctx->refs) > 0);
	ASSERT(!mach_load32(m, &ctx->released)); /* once */
	mach_store32(m, &ctx->released, 1);
	mach_write_lock(m, &ctx->mm->mmap_lock);
	mm_disarm_all(ctx->mm, &ctx->vma);
	mach_write_unlock(m, &ctx->mm->mmap_lock);
	uffd_wake_range(ctx, 0, UINT64_MAX);
	mach_add32(m, &ctx->arrivals, 1);
	m->ops->wake(m, &ctx->arrivals, INT32_MAX);
	uffd_put(ctx);
}
