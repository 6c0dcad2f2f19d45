/* SPDX-License-Identifier: MIT */
/* Frames: counts, the gather, and the backing of memory that the engine made. */
#include "mm/backing.h"

#include "base/assert.h"
#include "mm/protect.h"

#include <errno.h>

int memory_init(struct memory *mem, struct machine *m)
{
	*mem = (struct memory){.m = m};
	if (!m->ops->frame_count)
		return 0;
	mem->nr_frames = m->ops->frame_count(m);
	mem->frames = m->ops->mem_alloc(m, page_up(mem->nr_frames * sizeof(struct frame)), PAGE_SIZE);
	return mem->frames ? 0 : -ENOMEM;
}

void memory_destroy(struct memory *mem)
{
	for (uint64_t i = 1; mem->frames && i < mem->nr_frames; i++)
		ASSERT(mem->frames[i].refs == 0 && mem->frames[i].mapcount == 0); /* I12 */
	if (mem->frames)
		mem->m->ops->mem_free(mem->m, mem->frames, page_up(mem->nr_frames * sizeof(struct frame)));
}

int frame_get_new(struct mm *mm, uint64_t *pfn)
{
	struct machine *m = mm_machine(mm);
	struct frame *f;
	int r = m->ops->frame_alloc(m, pfn);

	if (r)
		return r;
	f = frame_of(mm, *pfn);
	ASSERT(f->refs == 0 && f->mapcount == 0);
	mach_store32(m, &f->refs, 1);
	mach_store32(m, &f->mapcount, 1);
	mach_store32(m, &f->exclusive, 1);
	return 0;
}

void frame_put(struct mm *mm, uint64_t pfn)
{
	struct machine *m = mm_machine(mm);
	struct frame *f = frame_of(mm, pfn);

	ASSERT(mach_load32(m, &f->refs) > 0);
	if (mach_add_return32(m, &f->refs, (uint32_t)-1) > 0)
		return;
	ASSERT(mach_load32(m, &f->mapcount) == 0);
	ASSERT(mach_load32(m, &f->pins) == 0);
	mach_store32(m, &f->exclusive, 0);
	m->ops->frame_free(m, pfn);
}

bool pte_is_exclusive(struct mm *mm, const struct vma *v, pte_t e)
{
	if (v->backing->in_place)
		return true;
	return !pte_is_zero_page(e) && mach_load32(mm_machine(mm), &frame_of(mm, pte_pfn(e))->exclusive);
}

/* ---- gather: clear many entries, flush once, only then let the content go (I6) ------------------------------------- */

void gather_begin(struct gather *g, struct mm *mm, struct vma *v)
{
	g->mm = mm;
	g->vma = v;
	g->start = UINT64_MAX;
	g->end = 0;
	g->n = 0;
	mach_add32(mm_machine(mm), &mm->tlb_flush_pending, 1);
}

static void gather_flush(struct gather *g)
{
	struct machine *m = mm_machine(g->mm);

	if (g->start < g->end)
		m->ops->tlb_restrict(&g->mm->as, g->start, g->end, MACH_PROT_NONE);
	for (unsigned i = 0; i < g->n; i++) {
		mach_add32(m, &frame_of(g->mm, g->pfn[i])->mapcount, (uint32_t)-1);
		frame_put(g->mm, g->pfn[i]);
	}
	g->start = UINT64_MAX;
	g->end = 0;
	g->n = 0;
}

void gather_add(struct gather *g, va_t va, pte_t e)
{
	if (!pte_is_present(e) || g->vma->backing->in_place)
		return;
	g->start = min_u64(g->start, va);
	g->end = max_u64(g->end, va + PAGE_SIZE);
	if (!pte_is_zero_page(e))
		g->pfn[g->n++] = pte_pfn(e);
	if (g->n == GATHER_MAX)
		gather_flush(g);
}

void gather_finish(struct gather *g)
{
	gather_flush(g);
	ASSERT(mach_load32(mm_machine(g->mm), &g->mm->tlb_flush_pending) > 0);
	mach_add32(mm_machine(g->mm), &g->mm->tlb_flush_pending, (uint32_t)-1);
}

/* ---- the backing -------------------------------------------------------------------------------------------------- */

static int frames_make(struct mm *mm, const struct vma *v, va_t va, unsigned n, const struct fill_source *from, pte_t *first,
		       unsigned *made)
{
	struct machine *m = mm_machine(mm);
	uint64_t pfn;
	int r = from->page || from->zero ? 0 : -EFAULT; /* the caller comes back with a page of engine memory */

	*made = 0;
	if (r == 0)
		r = frame_get_new(mm, &pfn);
	if (r)
		return r;
	if (from->page)
		m->ops->frame_write(m, pfn, from->page);
	else
		m->ops->frame_zero(m, pfn);
	ASSERT(pfn > 0); /* 0 is the zero page, nobody's to write */
	*first = pte_mk_present(v, pfn);
	*made = 1;
	return 0;
}

/* All share pfn 0, so they are not consecutive: one at a time. */
static int frames_make_zero(struct mm *mm, const struct vma *v, va_t va, unsigned n, pte_t *first, unsigned *made)
{
	*first = pte_wrprotect(pte_mk_present(v, 0));
	first->v = (first->v | PTE_ZERO_PAGE) & ~(PTE_D | PTE_SOFT_DIRTY); /* nothing was written */
	*made = 1;
	return 0;
}

static int frames_settle(struct mm *mm, struct vma *v, struct pt_span *s)
{
	return 0; /* the entries are all there is to know */
}

static int frames_discard(struct mm *mm, const struct vma *v, va_t start, va_t end)
{
	return 0; /* the gather frees the frames */
}

const struct backing_ops backing_frames = {
	.name = "frames",
	.make = frames_make,
	.make_zero = frames_make_zero,
	.settle = frames_settle,
	.discard = frames_discard,
};
