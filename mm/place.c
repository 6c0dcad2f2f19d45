/* SPDX-License-Identifier: MIT */
/*
 * The backing of memory that a program brought: the place is the frame. Content, copy-on-write between processes, swap
 * and huge pages stay the host's; the engine keeps an entry a page and governs access.
 */
#include "mm/backing.h"

#include "base/assert.h"
#include "mm/protect.h"

#include <errno.h>

/* src 0: zeroes. Whole pages are done or not at all. */
static int write_pages(struct mm *mm, const struct vma *v, va_t va, unsigned n, va_t src, pte_t *first, unsigned *made)
{
	uint64_t done = 0;
	int r = mm_machine(mm)->ops->place_write(&mm->as, va, va + n * PAGE_SIZE, src, &done);

	ASSERT(is_page_aligned(done) && done <= n * PAGE_SIZE);
	*first = pte_mk_present(v, va >> PAGE_SHIFT);
	*made = (unsigned)(done >> PAGE_SHIFT);
	return *made ? 0 : r;
}

static int place_make(struct mm *mm, const struct vma *v, va_t va, unsigned n, const struct fill_source *from, pte_t *first,
		      unsigned *made)
{
	if (from->page)
		return write_pages(mm, v, va, 1, (va_t)(uintptr_t)from->page, first, made);
	if (!from->zero && !from->src)
		return -EFAULT; /* a source at address 0: nothing is there */
	return write_pages(mm, v, va, n, from->zero ? 0 : from->src, first, made);
}

static int place_make_zero(struct mm *mm, const struct vma *v, va_t va, unsigned n, pte_t *first, unsigned *made)
{
	int r = write_pages(mm, v, va, n, 0, first, made);

	first->v |= PTE_ZERO_PAGE; /* the host has no page there before somebody writes */
	return r;
}

struct settle {
	struct mm *mm;
	struct vma *vma;
	struct pt_span *span;
};

static int settle_run(void *arg, va_t start, va_t end)
{
	struct settle *s = arg;

	for (va_t va = start; va < end; va += PAGE_SIZE) {
		pte_t *slot = &s->span->slots[(va - s->span->va) >> PAGE_SHIFT];

		pte_t e = pte_get(s->mm, slot), now = pte_mk_present(s->vma, va >> PAGE_SHIFT);

		if (pte_is_none(e))
			pte_set(s->mm, slot, now);
		else if (pte_has_marker(e, MARKER_UFFD_WP))
			pte_set(s->mm, slot, pte_mk_uffd_wp(now)); /* a read gave it a page: the bit moves there */
	}
	return 0;
}

static int place_settle(struct mm *mm, struct vma *v, struct pt_span *s)
{
	struct settle st = {.mm = mm, .vma = v, .span = s};

	if (vma_missing(v))
		return 0; /* hidden since REGISTER: the entries know */
	return mm_machine(mm)->ops->place_hide_absent(&mm->as, s->va, s->va + s->n * PAGE_SIZE, settle_run, &st);
}

static int place_discard(struct mm *mm, const struct vma *v, va_t start, va_t end)
{
	return mm_machine(mm)->ops->place_discard(&mm->as, start, end, vma_missing(v));
}

const struct backing_ops backing_place = {
	.name = "place",
	.in_place = true,
	.make = place_make,
	.make_zero = place_make_zero,
	.settle = place_settle,
	.discard = place_discard,
};
