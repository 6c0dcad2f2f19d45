/* SPDX-License-Identifier: MIT */
/*
 * Who owns an anonymous page? A page is exclusive when it is known to belong to one entry; fork takes that away. A write to a
 * page that is not exclusive may still find itself alone: one reference, its own mapping's. A reference that somebody holds
 * for a moment cannot be told from one that is kept (a pipe), so any further reference means a copy, and a copy must
 * therefore be safe at any time (seed 5).
 */
#include "mm/cow.h"

#include "base/assert.h"
#include "mm/protect.h"

#include <errno.h>

/*
 * A protect that already changed the entry may still owe its flush: until that is done another CPU may store through a stale
 * translation, so flush before the copy is taken (litmus 1-stale-tlb-3cpu).
 */
static void flush_if_owed(struct mm *mm, struct vma *v, va_t va)
{
	struct machine *m = mm_machine(mm);

	if (vma_wp(v) && mach_load32(m, &mm->tlb_flush_pending))
		m->ops->tlb_restrict(&mm->as, va, va + PAGE_SIZE, v->prot & ~MACH_PROT_W);
}

/* Replace the page by a copy; now is the new entry but for its frame. */
static int replace_by_copy(struct mm *mm, struct vma *v, va_t va, pte_t *slot, pte_t e, pte_t now)
{
	struct machine *m = mm_machine(mm);
	struct gather g;
	uint64_t pfn;

	flush_if_owed(mm, v, va);
	if (frame_get_new(mm, &pfn))
		return -ENOMEM;
	m->ops->frame_copy(m, pfn, pte_pfn(e));
	gather_begin(&g, mm, v);
	pte_set(mm, slot, (pte_t){0}); /* clear and flush before the new entry: no CPU sees both pages */
	gather_add(&g, va, e);
	gather_finish(&g);
	pte_set(mm, slot, (pte_t){(now.v & ~(PTE_FRAME_MASK | PTE_ZERO_PAGE)) | pfn << PAGE_SHIFT});
	return 0;
}

/* The only reference is this mapping's: the other owners are gone, and the page is ours from now on. */
static bool claim(struct mm *mm, pte_t e)
{
	struct frame *f;

	if (pte_is_zero_page(e))
		return false;
	f = frame_of(mm, pte_pfn(e));
	if (mach_load32(mm_machine(mm), &f->refs) != 1)
		return false;
	ASSERT(mach_load32(mm_machine(mm), &f->mapcount) == 1);
	mach_store32(mm_machine(mm), &f->exclusive, 1);
	return true;
}

int cow_write(struct mm *mm, struct vma *v, va_t va, pte_t *slot, pte_t e)
{
	ASSERT(pte_is_present(e) && (v->prot & MACH_PROT_W));
	ASSERT(!(vma_wp(v) && pte_uffd_wp(e))); /* the monitor comes first */
	if (!pte_is_exclusive(mm, v, e) && !claim(mm, e))
		return replace_by_copy(mm, v, va, slot, e, pte_mk_present(v, 0));
	/* A uffd_wp bit that outlived its registration goes with the first write: I3. */
	pte_set(mm, slot, (pte_t){(e.v & ~PTE_UFFD_WP) | PTE_W | PTE_D | PTE_A | PTE_SOFT_DIRTY});
	return 0;
}

int cow_unshare(struct mm *mm, struct vma *v, va_t va, pte_t *slot, pte_t e)
{
	ASSERT(pte_is_present(e) && !pte_writable(e));
	if (claim(mm, e))
		return 0;
	return replace_by_copy(mm, v, va, slot, e, pte_wrprotect(e));
}
