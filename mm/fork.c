/* SPDX-License-Identifier: MIT */
/*
 * Duplicating an address space. Parent's mmap_lock is held for writing, so no fault decides anything meanwhile; its threads may
 * go on storing through translations until the flush at the end of each vma, and such stores count as made before the fork. The
 * child is nobody's yet. Parent's ptl is taken outside the child's.
 */
#include "mm/protect.h"

#include "base/assert.h"

#include <errno.h>

struct dup {
	struct mm *child;
	struct vma *to;
	bool protected_some; /* a writable entry of the parent became read-only: a flush is owed */
};

static int set_child(struct dup *d, va_t va, pte_t e)
{
	struct machine *m = mm_machine(d->child);
	pte_t *slot = pt_find_alloc(d->child, va);

	if (!slot)
		return -ENOMEM;
	mach_lock(m, pt_lock_of(slot));
	pte_set(d->child, slot, e);
	mach_unlock(m, pt_lock_of(slot));
	return 0;
}

/* What of a parent's entry the child has: not the write-protection of a userfaultfd that it does not have. */
static pte_t inherited(pte_t e)
{
	return pte_clear_uffd_wp(pte_wrprotect(e));
}

/* The page is pinned and the parent's own: it stays so, the child gets a copy (I4; reference 7.3). */
static int copy_pinned(struct pt_span *s, struct dup *d, va_t va, pte_t e)
{
	struct machine *m = mm_machine(s->mm);
	uint64_t pfn;
	int r = frame_get_new(d->child, &pfn);
	pte_t now = inherited(e);

	if (r)
		return r;
	m->ops->frame_copy(m, pfn, pte_pfn(e));
	now.v = (now.v & ~PTE_FRAME_MASK) | pfn << PAGE_SHIFT;
	if (can_change_pte_writable(d->child, d->to, now))
		now.v |= PTE_W;
	r = set_child(d, va, now);
	if (r) {
		mach_add32(m, &frame_of(d->child, pfn)->mapcount, (uint32_t)-1);
		frame_put(d->child, pfn);
	}
	return r;
}

static int share_page(struct pt_span *s, struct dup *d, unsigned i, va_t va, pte_t e)
{
	struct machine *m = mm_machine(s->mm);
	struct frame *f = frame_of(s->mm, pte_pfn(e));
	int r;

	ASSERT(f->refs >= f->mapcount && f->mapcount > 0);
	ASSERT(!pte_writable(e) || f->exclusive); /* I4 */
	if (pte_writable(e)) {
		span_set(s, i, pte_wrprotect(e)); /* read-only first, then no longer exclusive */
		d->protected_some = true;
	}
	mach_store32(m, &f->exclusive, 0);
	mach_add32(m, &f->refs, 1);
	mach_add32(m, &f->mapcount, 1);
	r = set_child(d, va, inherited(e));
	if (r) {
		mach_add32(m, &f->mapcount, (uint32_t)-1);
		frame_put(s->mm, pte_pfn(e));
	}
	return r;
}

static bool is_pinned_own(struct mm *mm, pte_t e)
{
	struct machine *m = mm_machine(mm);
	struct frame *f = frame_of(mm, pte_pfn(e));

	return mach_load32(m, &f->exclusive) && mach_load32(m, &f->pins);
}

static int dup_present(struct pt_span *s, struct dup *d, unsigned i, va_t va, pte_t e)
{
	if (pte_is_zero_page(e))
		return set_child(d, va, inherited(e));
	if (is_pinned_own(s->mm, e))
		return copy_pinned(s, d, va, e);
	return share_page(s, d, i, va, e);
}

static int dup_span(struct pt_span *s, void *arg)
{
	struct dup *d = arg;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < s->n; i++) {
		pte_t e = pte_get(s->mm, &s->slots[i]);
		va_t va = s->va + i * PAGE_SIZE;

		if (pte_is_present(e))
			r = dup_present(s, d, i, va, e);
		else if (pte_has_marker(e, MARKER_POISON) || pte_has_marker(e, MARKER_GUARD))
			r = set_child(d, va, e);
		else
			ASSERT(pte_is_none(e) || pte_has_marker(e, MARKER_UFFD_WP)); /* neither arrives */
	}
	return r;
}

static int dup_vma(struct mm *child, struct mm *parent, struct vma *v)
{
	struct machine *m = mm_machine(parent);
	struct dup d = {.child = child};
	int r;

	d.to = vma_insert(child, vma_start(v), v->end, v->prot, v->backing);
	if (!d.to)
		return -ENOMEM;
	mach_add32(m, &parent->tlb_flush_pending, 1);
	r = pt_walk(parent, vma_start(v), v->end, dup_span, NULL, &d);
	if (d.protected_some)
		m->ops->tlb_restrict(&parent->as, vma_start(v), v->end, v->prot & ~MACH_PROT_W);
	mach_add32(m, &parent->tlb_flush_pending, (uint32_t)-1);
	return r;
}

int mm_fork(struct mm *child, struct mm *parent)
{
	struct machine *m = mm_machine(parent);
	int r = 0;

	ASSERT(child->mem == parent->mem && child->vmas.count == 0);
	mach_write_lock(m, &parent->mmap_lock);
	mach_write_lock(m, &child->mmap_lock);
	child->soft_dirty_tracked = parent->soft_dirty_tracked;
	for (struct vma *v = vma_find(parent, 0); r == 0 && v; v = vma_next(parent, v))
		if (!v->backing->in_place)
			r = dup_vma(child, parent, v);
	vma_merge_around(child, 0, TASK_SIZE); /* what only userfaultfd had kept apart */
	mach_write_unlock(m, &child->mmap_lock);
	mach_write_unlock(m, &parent->mmap_lock);
	return r;
}

/* ---- soft-dirty ------------------------------------------------------------------------------------------------------ */

static int clean_span(struct pt_span *s, void *arg)
{
	for (unsigned i = 0; i < s->n; i++) {
		pte_t e = pte_get(s->mm, &s->slots[i]);

		if (pte_is_present(e))
			span_set(s, i, (pte_t){e.v & ~(PTE_SOFT_DIRTY | PTE_W)});
	}
	return 0;
}

void mm_clear_soft_dirty(struct mm *mm)
{
	struct machine *m = mm_machine(mm);

	mach_write_lock(m, &mm->mmap_lock);
	mm->soft_dirty_tracked = true;
	mach_add32(m, &mm->tlb_flush_pending, 1);
	for (struct vma *v = vma_find(mm, 0); v; v = vma_next(mm, v)) {
		int r = v->backing->in_place ? 0 : pt_walk(mm, vma_start(v), v->end, clean_span, NULL, NULL);

		ASSERT(r == 0);
		if (!v->backing->in_place)
			m->ops->tlb_restrict(&mm->as, vma_start(v), v->end, v->prot & ~MACH_PROT_W);
	}
	mach_add32(m, &mm->tlb_flush_pending, (uint32_t)-1);
	mach_write_unlock(m, &mm->mmap_lock);
}

static unsigned present_bits(struct mm *mm, pte_t e)
{
	unsigned bits = PM_PRESENT | (e.v & PTE_SOFT_DIRTY ? PM_SOFT_DIRTY : 0);

	if (pte_is_zero_page(e))
		return bits | PM_ZERO;
	return mach_load32(mm_machine(mm), &frame_of(mm, pte_pfn(e))->exclusive) ? bits | PM_EXCLUSIVE : bits;
}

unsigned mm_pagemap(struct mm *mm, va_t va)
{
	struct machine *m = mm_machine(mm);
	unsigned bits = 0;
	struct vma *v;
	pte_t *slot;

	mach_read_lock(m, &mm->mmap_lock);
	v = vma_first_in(mm, page_down(va), page_down(va) + PAGE_SIZE);
	slot = v ? pt_find(mm, page_down(va)) : NULL;
	if (slot) {
		mach_lock(m, pt_lock_of(slot));
		if (pte_is_present(pte_get(mm, slot)) && !v->backing->in_place)
			bits = present_bits(mm, pte_get(mm, slot));
		if (pte_uffd_wp(pte_get(mm, slot)))
			bits |= PM_UFFD_WP;
		mach_unlock(m, pt_lock_of(slot));
	}
	mach_read_unlock(m, &mm->mmap_lock);
	return bits;
}
