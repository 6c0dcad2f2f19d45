/* SPDX-License-Identifier: MIT */
/* References to frames behind the tables: pins of devices, pages in a pipe. Reference 7.4. */
#include "mm/cow.h"

#include "base/assert.h"

#include <errno.h>

enum gup_step { GUP_TAKEN, GUP_FAULT_FIRST };

static void take(struct mm *mm, uint64_t pfn, unsigned flags)
{
	struct machine *m = mm_machine(mm);

	if (pfn == 0)
		return; /* the zero page needs no counting: nobody can change it */
	mach_add32(m, &frame_of(mm, pfn)->refs, 1);
	if (flags & GUP_PIN)
		mach_add32(m, &frame_of(mm, pfn)->pins, 1);
}

/* A pin for reading promises that what it reads stays what the program sees: the page must be the program's own. */
static bool must_unshare(struct mm *mm, const struct vma *v, pte_t e, unsigned flags)
{
	return (flags & GUP_PIN) && !(flags & GUP_WRITE) && !pte_is_exclusive(mm, v, e);
}

/* ptl held */
static int try_take(struct mm *mm, struct vma *v, va_t va, pte_t *slot, unsigned flags, enum gup_step *step, uint64_t *pfn)
{
	pte_t e = pte_get(mm, slot);
	int r = 0;

	*step = GUP_FAULT_FIRST;
	if (!pte_is_present(e) || ((flags & GUP_WRITE) && !pte_writable(e)))
		return 0;
	if (must_unshare(mm, v, e, flags))
		r = cow_unshare(mm, v, va, slot, e);
	if (r)
		return r;
	*pfn = pte_pfn(pte_get(mm, slot));
	take(mm, *pfn, flags);
	*step = GUP_TAKEN;
	return 0;
}

static bool permits(const struct vma *v, unsigned flags)
{
	return v->prot & (flags & GUP_WRITE ? MACH_PROT_W : MACH_PROT_R | MACH_PROT_W | MACH_PROT_X);
}

/* mmap_lock held for reading */
static int gup_locked(struct mm *mm, va_t va, unsigned flags, enum gup_step *step, uint64_t *pfn)
{
	struct machine *m = mm_machine(mm);
	struct vma *v = vma_first_in(mm, va, va + PAGE_SIZE);
	pte_t *slot;
	int r;

	*step = GUP_FAULT_FIRST;
	if (!v || v->backing->in_place || !permits(v, flags))
		return -EFAULT;
	slot = pt_find(mm, va);
	if (!slot)
		return 0;
	mach_lock(m, pt_lock_of(slot));
	r = try_take(mm, v, va, slot, flags, step, pfn);
	mach_unlock(m, pt_lock_of(slot));
	return r;
}

static int fault_error(enum fault_result f)
{
	switch (f) {
	case FAULT_DONE:
		return 0;
	case FAULT_INTERRUPTED:
		return -EINTR;
	case FAULT_POISON:
		return -EHWPOISON;
	case FAULT_OOM:
		return -ENOMEM;
	default:
		return -EFAULT;
	}
}

int mm_gup(struct mm *mm, va_t va, unsigned flags, uint64_t *pfn)
{
	struct machine *m = mm_machine(mm);
	enum gup_step step;
	int r;

	va = page_down(va);
	if (va >= TASK_SIZE)
		return -EFAULT;
	do {
		mach_read_lock(m, &mm->mmap_lock);
		r = gup_locked(mm, va, flags, &step, pfn);
		mach_read_unlock(m, &mm->mmap_lock);
		if (r == 0 && step == GUP_FAULT_FIRST)
			r = fault_error(mm_fault(mm, va, flags & GUP_WRITE ? FAULT_WRITE : 0));
	} while (r == 0 && step == GUP_FAULT_FIRST);
	return r;
}

void mm_gup_put(struct mm *mm, uint64_t pfn, unsigned flags)
{
	struct machine *m = mm_machine(mm);

	if (pfn == 0)
		return;
	if (flags & GUP_PIN) {
		ASSERT(mach_load32(m, &frame_of(mm, pfn)->pins) > 0);
		mach_add32(m, &frame_of(mm, pfn)->pins, (uint32_t)-1);
	}
	frame_put(mm, pfn);
}
