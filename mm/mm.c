/* SPDX-License-Identifier: MIT */
/* Birth and death of an address space; mapping, unmapping and zapping. */
#include "mm/mm.h"

#include "base/assert.h"
#include "mm/protect.h"

#include <errno.h>

static void *source_get(void *arg, size_t bytes)
{
	struct mm *mm = arg;

	return mm_machine(mm)->ops->mem_alloc(mm_machine(mm), bytes, PAGE_SIZE);
}

static void source_put(void *arg, void *p, size_t bytes)
{
	struct mm *mm = arg;

	mm_machine(mm)->ops->mem_free(mm_machine(mm), p, bytes);
}

static enum fault_result fault_upcall(struct mach_as *as, va_t va, unsigned flags)
{
	return mm_fault(mm_of_as(as), va, flags);
}

static const struct mach_as_upcalls upcalls = {.fault = fault_upcall};

int mm_init(struct mm *mm, struct memory *mem, const struct mm_uffd_ops *uffd_ops)
{
	int r;

	*mm = (struct mm){.as = {.m = mem->m, .up = &upcalls}, .mem = mem, .uffd_ops = uffd_ops};
	mm->source = (struct pool_source){source_get, source_put, mm};
	pool_init(&mm->vma_pool, &mm->source, sizeof(struct vma));
	r = pt_init(mm);
	if (r)
		return r;
	r = mem->m->ops->as_create(mem->m, &mm->as);
	if (r)
		pt_destroy(mm);
	return r;
}

/* ---- zap ---------------------------------------------------------------------------------------------------------- */

struct zap {
	struct gather gather;
	bool drop_all;	/* unmapping: markers go too, and the host drops its pages itself */
};

static int zap_span(struct pt_span *s, void *arg)
{
	struct zap *z = arg;

	for (unsigned i = 0; i < s->n; i++) {
		pte_t e = pte_get(s->mm, &s->slots[i]);

		if (pte_is_none(e) || (!z->drop_all && pte_has_marker(e, MARKER_GUARD)))
			continue;
		span_set(s, i, (pte_t){0}); /* anonymous: markers go as well (reference 6.3) */
		gather_add(&z->gather, s->va + i * PAGE_SIZE, e);
	}
	if (z->drop_all)
		return 0;
	return z->gather.vma->backing->discard(s->mm, z->gather.vma, s->va, s->va + s->n * PAGE_SIZE);
}

/* No entries, but in place the host may hold pages that the program touched by itself. */
static int zap_hole(struct mm *mm, va_t start, va_t end, void *arg)
{
	struct zap *z = arg;

	return z->drop_all || vma_missing(z->gather.vma) ? 0 : z->gather.vma->backing->discard(mm, z->gather.vma, start, end);
}

static int zap_range(struct mm *mm, struct vma *v, va_t start, va_t end, bool drop_all)
{
	struct zap z = {.drop_all = drop_all};
	int r;

	gather_begin(&z.gather, mm, v);
	r = pt_walk(mm, start, end, zap_span, zap_hole, &z);
	gather_finish(&z.gather);
	return r;
}

/* ---- map and unmap -------------------------------------------------------------------------------------------------- */

int mm_map(struct mm *mm, va_t start, va_t end, unsigned prot)
{
	struct machine *m = mm_machine(mm);
	int r = 0;

	if (!is_page_aligned(start) || !is_page_aligned(end) || start >= end || end > TASK_SIZE)
		return -EINVAL;
	mach_write_lock(m, &mm->mmap_lock);
	if (vma_first_in(mm, start, end))
		r = -EEXIST;
	else if (!vma_insert(mm, start, end, prot, &backing_frames))
		r = -ENOMEM;
	else
		vma_merge_around(mm, start, end);
	mach_write_unlock(m, &mm->mmap_lock);
	return r;
}

static void drop_vma(struct mm *mm, struct vma *v)
{
	int r = zap_range(mm, v, vma_start(v), v->end, true);

	ASSERT(r == 0);
	if (v->backing->in_place)
		mm_machine(mm)->ops->place_forget(&mm->as, vma_start(v), v->end);
	vma_delete(mm, v);
}

int mm_unmap_locked(struct mm *mm, va_t start, va_t end)
{
	struct vma *v;
	int r = vma_isolate(mm, start, end);

	if (r)
		return r;
	while ((v = vma_first_in(mm, start, end)))
		drop_vma(mm, v);
	pt_free_range(mm, start, end);
	return 0;
}

int mm_unmap(struct mm *mm, va_t start, va_t end)
{
	int r;

	mach_write_lock(mm_machine(mm), &mm->mmap_lock);
	r = mm_unmap_locked(mm, start, end);
	mach_write_unlock(mm_machine(mm), &mm->mmap_lock);
	return r;
}

static int clear_poison_span(struct pt_span *s, void *arg)
{
	for (unsigned i = 0; i < s->n; i++)
		if (pte_has_marker(pte_get(s->mm, &s->slots[i]), MARKER_POISON))
			span_set(s, i, (pte_t){0});
	return 0;
}

void mm_clear_poison_locked(struct mm *mm, va_t start, va_t end)
{
	vma_for_each_in(v, mm, start, end) {
		va_t from = max_u64(start, vma_start(v)), to = min_u64(end, v->end);
		int r = pt_walk(mm, from, to, clear_poison_span, NULL, NULL);

		ASSERT(r == 0);
		translations_sync(mm, v, from, to);
	}
}

int mm_dontneed_locked(struct mm *mm, va_t start, va_t end)
{
	va_t covered = start;
	int r = 0;

	vma_for_each_in(v, mm, start, end) {
		va_t from = max_u64(start, vma_start(v)), to = min_u64(end, v->end);

		if (from == covered)
			covered = to;
		r = zap_range(mm, v, from, to, false);
		if (r)
			return r;
		if (v->backing->in_place && !vma_missing(v))
			translations_sync(mm, v, from, to); /* protected pages became plain */
	}
	return covered == end ? 0 : -ENOMEM;
}

int mm_dontneed(struct mm *mm, va_t start, va_t end)
{
	int r;

	mach_write_lock(mm_machine(mm), &mm->mmap_lock);
	r = mm_dontneed_locked(mm, start, end);
	mach_write_unlock(mm_machine(mm), &mm->mmap_lock);
	return r;
}

void mm_destroy(struct mm *mm)
{
	struct machine *m = mm_machine(mm);
	int r;

	mach_write_lock(m, &mm->mmap_lock);
	r = mm_unmap_locked(mm, 0, TASK_SIZE);
	ASSERT(r == 0);
	pt_free_range(mm, 0, (va_t)1 << 47);
	mach_write_unlock(m, &mm->mmap_lock);
	m->ops->as_destroy(&mm->as);
	pt_destroy(mm);
	pool_empty(&mm->vma_pool);
}
