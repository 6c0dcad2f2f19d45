/* SPDX-License-Identifier: MIT */
/*
 * A fault, from the access that found no good enough translation to the point where it can be tried again.
 *
 *   permission      the mapping forbids it ........................ FAULT_ACCERR / FAULT_MAPERR, no message
 *   poison          ................................................ FAULT_SIGBUS, no message
 *   missing         nothing there and the vma is armed for it ..... message, wait
 *   write-protect   a store, live uffd_wp, vma armed for it ....... message, wait
 *   no page         nothing there, frames ......................... zero page or a new frame
 *   copy-on-write   a store to a page that is not ours alone ...... copy or reuse
 *   translation     the entry allows it ........................... tell the machine
 *
 * decide() looks, without locks, and names the case; each handler takes the ptl, looks again (I2), and either does it or
 * says FAULT_AGAIN. Only mm_fault() loops.
 */
#include "mm/cow.h"
#include "mm/protect.h"

#include "base/assert.h"

#include <errno.h>

enum fault_case { CASE_ACCERR, CASE_MAPERR, CASE_POISON, CASE_MISSING, CASE_WP, CASE_NO_PAGE, CASE_COW, CASE_TRANSLATE };

enum fault_step { STEP_DONE, STEP_AGAIN, STEP_OOM };

struct fault {
	struct mm *mm;
	struct vma *vma;
	va_t va;	/* exact */
	unsigned flags; /* FAULT_* */
	pte_t orig;	/* the entry that decide() saw */
};

static unsigned access_prot(unsigned flags)
{
	return flags & FAULT_WRITE ? MACH_PROT_W : flags & FAULT_EXEC ? MACH_PROT_X : MACH_PROT_R;
}

/* x86: a writable or executable mapping is readable too. */
static bool vma_permits(const struct vma *v, unsigned flags)
{
	unsigned want = access_prot(flags);

	return want == MACH_PROT_R ? v->prot != MACH_PROT_NONE : v->prot & want;
}

static enum fault_case decide(const struct fault *f)
{
	const struct vma *v = f->vma;
	pte_t e = f->orig;
	bool write = f->flags & FAULT_WRITE;

	if (!vma_permits(v, f->flags))
		return CASE_ACCERR;
	if (pte_has_marker(e, MARKER_POISON))
		return CASE_POISON;
	if (pte_has_marker(e, MARKER_GUARD))
		return CASE_MAPERR;
	if (pte_is_none_or_marker(e) && vma_missing(v))
		return CASE_MISSING;
	if (pte_is_none_or_marker(e) && !v->backing->in_place)
		return CASE_NO_PAGE;
	if (write && vma_wp(v) && pte_uffd_wp(e))
		return CASE_WP;
	if (write && !(pte_allowed_prot(v, e) & MACH_PROT_W))
		return CASE_COW;
	return CASE_TRANSLATE;
}

/* ---- frames: make a page ----------------------------------------------------------------------------- */

/* Under the ptl: is the entry still what decide() saw? */
static bool unchanged(struct fault *f, pte_t *slot)
{
	return pte_get(f->mm, slot).v == f->orig.v;
}

/* An empty entry of frames memory: the zero page for a read, a zeroed frame for a write. A WP marker's bit is carried. */
static enum fault_step fault_no_page(struct fault *f, pte_t *slot)
{
	const struct fill_source zeroes = {.zero = true};
	bool wp = vma_wp(f->vma) && pte_uffd_wp(f->orig);
	pte_t e;
	unsigned made;
	int r;

	if (f->flags & FAULT_WRITE)
		r = f->vma->backing->make(f->mm, f->vma, page_down(f->va), 1, &zeroes, &e, &made);
	else
		r = f->vma->backing->make_zero(f->mm, f->vma, page_down(f->va), 1, &e, &made);
	if (r)
		return STEP_OOM;
	pte_set(f->mm, slot, wp ? pte_mk_uffd_wp(e) : e);
	return STEP_DONE;
}

static enum fault_step fault_cow(struct fault *f, pte_t *slot)
{
	return cow_write(f->mm, f->vma, page_down(f->va), slot, f->orig) ? STEP_OOM : STEP_DONE;
}

/* ---- translation -------------------------------------------------------------------------------------------------- */

/* Pages around a lost translation are opened with it when their entries say the same: one fault, not many. */
#define FILL_AROUND 16

static void fault_translate(struct fault *f, pte_t *slot)
{
	unsigned prot = pte_allowed_prot(f->vma, f->orig), at = pt_index(f->va, 0);
	pte_t *table = slot - at;
	va_t base = page_down(f->va) - at * PAGE_SIZE;
	unsigned first = at, last = at + 1, low = at - at % FILL_AROUND, high = low + FILL_AROUND;

	while (first > low && base + (first - 1) * PAGE_SIZE >= vma_start(f->vma) &&
	       pte_allowed_prot(f->vma, pte_get(f->mm, &table[first - 1])) == prot)
		first--;
	while (last < high && base + last * PAGE_SIZE < f->vma->end &&
	       pte_allowed_prot(f->vma, pte_get(f->mm, &table[last])) == prot)
		last++;
	ASSERT(first <= at && at < last && last <= PTRS_PER_TABLE);
	mm_machine(f->mm)->ops->tlb_fill(&f->mm->as, base + first * PAGE_SIZE, base + last * PAGE_SIZE, prot);
	if (f->mm->uffd_ops->translated)
		f->mm->uffd_ops->translated(f->mm);
}

/* ---- the cases that the engine settles alone ------------------------------------------------------------------------ */

static enum fault_step settle_case(struct fault *f, enum fault_case c)
{
	struct machine *m = mm_machine(f->mm);
	pte_t *slot = pt_find_alloc(f->mm, page_down(f->va));
	enum fault_step step = STEP_AGAIN;

	if (!slot)
		return STEP_OOM;
	ASSERT(m->ops->rw_is_held(m, &f->mm->mmap_lock, false));
	ASSERT(page_down(f->va) >= vma_start(f->vma) && f->va < f->vma->end);
	mach_lock(m, pt_lock_of(slot));
	if (unchanged(f, slot)) {
		step = STEP_DONE;
		if (c == CASE_NO_PAGE)
			step = fault_no_page(f, slot);
		else if (c == CASE_COW)
			step = fault_cow(f, slot);
		else
			fault_translate(f, slot);
	}
	mach_unlock(m, pt_lock_of(slot));
	return step;
}

static pte_t entry_at(struct mm *mm, va_t va)
{
	pte_t *slot = pt_find(mm, page_down(va));

	return slot ? pte_get(mm, slot) : (pte_t){0};
}

/* Post the message and wait. Drops mmap_lock. */
static enum fault_result fault_userfault(struct fault *f, enum fault_reason reason)
{
	struct userfault uf = {
		.mm = f->mm, .uffd = f->vma->uffd, .va = f->va, .flags = f->flags, .reason = reason,
	};

	return f->mm->uffd_ops->userfault(&uf);
}

/* One look at the fault. *again: from the top. mmap_lock held for reading on entry, dropped on return. */
static enum fault_result fault_once(struct fault *f, bool *again)
{
	struct machine *m = mm_machine(f->mm);
	enum fault_result result = FAULT_DONE;
	enum fault_step step;
	enum fault_case c;

	f->vma = vma_first_in(f->mm, page_down(f->va), page_down(f->va) + PAGE_SIZE);
	if (!f->vma) {
		mach_read_unlock(m, &f->mm->mmap_lock);
		return FAULT_MAPERR;
	}
	f->orig = entry_at(f->mm, f->va);
	c = decide(f);
	switch (c) {
	case CASE_MISSING:
		return fault_userfault(f, REASON_MISSING);
	case CASE_WP:
		return fault_userfault(f, REASON_WP);
	case CASE_ACCERR:
		result = FAULT_ACCERR;
		break;
	case CASE_MAPERR:
		result = FAULT_MAPERR;
		break;
	case CASE_POISON:
		result = FAULT_POISON;
		break;
	case CASE_NO_PAGE:
	case CASE_COW:
	case CASE_TRANSLATE:
		step = settle_case(f, c);
		*again = step == STEP_AGAIN;
		result = step == STEP_OOM ? FAULT_OOM : FAULT_DONE;
		break;
	}
	mach_read_unlock(m, &f->mm->mmap_lock);
	return result;
}

enum fault_result mm_fault(struct mm *mm, va_t va, unsigned flags)
{
	struct fault f = {.mm = mm, .va = va, .flags = flags};
	enum fault_result result;
	bool again;

	if (va >= TASK_SIZE)
		return FAULT_MAPERR;
	do {
		again = false;
		mach_read_lock(mm_machine(mm), &mm->mmap_lock);
		result = fault_once(&f, &again);
	} while (again);
	return result;
}

/* Reference 9.2, the must-wait predicate: by writability for WP, by presence for the rest. */
bool mm_must_wait(struct mm *mm, va_t va, enum fault_reason reason)
{
	struct vma *v = vma_first_in(mm, page_down(va), page_down(va) + PAGE_SIZE);
	pte_t e = entry_at(mm, va);

	if (reason != REASON_WP)
		return pte_is_none_or_marker(e);
	if (!v || !vma_wp(v))
		return false;
	return pte_is_present(e) ? pte_uffd_wp(e) : pte_is_none_or_marker(e) && pte_uffd_wp(e);
}
