/* SPDX-License-Identifier: MIT */
/* mm_check(): every invariant that can be read off the structures of an address space at rest. */
#include "mm/backing.h"

#include "base/assert.h"

#include <errno.h>

struct check {
	struct mm *mm;
	struct vma *vma;
	void (*complain)(void *arg, const char *text, va_t va);
	void *arg;
	int result;
};

static void require(struct check *c, bool ok, const char *text, va_t va)
{
	if (ok)
		return;
	c->result = -EINVAL;
	if (c->complain)
		c->complain(c->arg, text, va);
}

static void check_present(struct check *c, va_t va, pte_t e)
{
	struct frame *f;

	require(c, !(pte_writable(e) && pte_uffd_wp(e)), "I3: a write-protected entry is writable", va);
	require(c, !pte_writable(e) || (c->vma->prot & MACH_PROT_W), "I8: an entry is writable, its mapping is not", va);
	if (c->vma->backing->in_place) {
		require(c, pte_pfn(e) == va >> PAGE_SHIFT, "an entry in place points elsewhere", va);
		return;
	}
	if (pte_is_zero_page(e)) {
		require(c, pte_pfn(e) == 0 && !pte_writable(e), "the zero page is writable or has a frame", va);
		return;
	}
	require(c, pte_pfn(e) > 0 && pte_pfn(e) < c->mm->mem->nr_frames, "an entry points outside memory", va);
	f = &c->mm->mem->frames[pte_pfn(e)];
	require(c, f->mapcount > 0 && f->refs >= f->mapcount, "I12: a mapped frame has too few references", va);
	require(c, !pte_writable(e) || f->exclusive, "I4: a writable anonymous page is not exclusive", va);
	require(c, !f->exclusive || f->mapcount == 1, "I4: an exclusive page is mapped twice", va);
}

static int check_span(struct pt_span *s, void *arg)
{
	struct check *c = arg;
	unsigned used = 0;

	for (unsigned i = 0; i < s->n; i++) {
		pte_t e = pte_get(s->mm, &s->slots[i]);
		va_t va = s->va + i * PAGE_SIZE;

		used += !pte_is_none(e);
		if (pte_is_present(e))
			check_present(c, va, e);
		else if (!pte_is_none(e))
			require(c, swp_type(e) == SWP_TYPE_MARKER && swp_offset(e), "an entry of no known kind", va);
		require(c, !pte_has_marker(e, MARKER_UFFD_WP) || vma_is_armed(c->vma), "I7: a marker in an un-armed vma", va);
	}
	require(c, pt_used(s->slots) >= used, "a table counts fewer entries than it has", s->va);
	return 0;
}

/* Between vmas every entry is none. */
static int check_gap_span(struct pt_span *s, void *arg)
{
	struct check *c = arg;

	for (unsigned i = 0; i < s->n; i++)
		require(c, pte_is_none(pte_get(s->mm, &s->slots[i])), "an entry outside every vma", s->va + i * PAGE_SIZE);
	return 0;
}

static void check_vma(struct check *c)
{
	struct vma *v = c->vma, *next = vma_next(c->mm, v);

	require(c, vma_start(v) < v->end && is_page_aligned(v->end), "a vma is empty or unaligned", vma_start(v));
	require(c, !next || next->node.key >= v->end, "vmas overlap", v->end);
	require(c, (v->modes != 0) == (v->uffd != NULL), "modes without a context, or the reverse", vma_start(v));
	require(c, !next || v->end != vma_start(next) || v->prot != next->prot || v->modes != next->modes ||
			   v->uffd != next->uffd || v->backing != next->backing,
		"neighbours that should have been merged", v->end);
	pt_walk(c->mm, vma_start(v), v->end, check_span, NULL, c);
}

int mm_check(struct mm *mm, void (*complain)(void *arg, const char *text, va_t va), void *arg)
{
	struct machine *m = mm_machine(mm);
	struct check c = {.mm = mm, .complain = complain, .arg = arg};
	va_t at = 0;

	mach_write_lock(m, &mm->mmap_lock);
	require(&c, treap_is_valid(&mm->vmas), "the vma tree is out of order", 0);
	require(&c, mm->vmas.count == mm->vma_pool.in_use, "a vma is in use but not in the tree", 0);
	require(&c, mm->tlb_flush_pending == 0, "a flush is still pending", 0);
	for (c.vma = vma_find(mm, 0); c.vma; c.vma = vma_next(mm, c.vma)) {
		pt_walk(mm, at, vma_start(c.vma), check_gap_span, NULL, &c);
		check_vma(&c);
		at = c.vma->end;
	}
	pt_walk(mm, at, TASK_SIZE, check_gap_span, NULL, &c);
	mach_write_unlock(m, &mm->mmap_lock);
	return c.result;
}
