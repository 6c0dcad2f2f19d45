/* SPDX-License-Identifier: MIT */
#include "mm/protect.h"

#include "base/assert.h"

#include <errno.h>

pte_t pte_mk_present(const struct vma *v, uint64_t pfn)
{
	pte_t e = {PTE_P | PTE_A | PTE_D | PTE_SOFT_DIRTY | pfn << PAGE_SHIFT};

	if (v->prot & (MACH_PROT_R | MACH_PROT_W | MACH_PROT_X))
		e.v |= PTE_U;
	if (v->prot & MACH_PROT_W)
		e.v |= PTE_W;
	if (!(v->prot & MACH_PROT_X))
		e.v |= PTE_NX;
	return e;
}

/* Is uffd_wp alive here? A bit left behind by a re-registration without WP is inert (reference, trap 6). */
static bool wp_is_live(const struct vma *v, pte_t e)
{
	return vma_wp(v) && pte_uffd_wp(e);
}

unsigned pte_allowed_prot(const struct vma *v, pte_t e)
{
	unsigned prot = wp_is_live(v, e) ? v->prot & ~MACH_PROT_W : v->prot;

	if (pte_has_marker(e, MARKER_POISON) || pte_has_marker(e, MARKER_GUARD))
		return MACH_PROT_NONE;
	if (pte_is_none_or_marker(e))
		return v->backing->in_place && !vma_missing(v) ? prot : MACH_PROT_NONE;
	if (!pte_is_present(e))
		return MACH_PROT_NONE;
	return v->backing->in_place || pte_writable(e) ? prot : prot & ~MACH_PROT_W;
}

bool can_change_pte_writable(struct mm *mm, const struct vma *v, pte_t e)
{
	if (!(v->prot & MACH_PROT_W) || !pte_is_present(e))
		return false;
	if (mm->soft_dirty_tracked && !v->backing->in_place && !(e.v & PTE_SOFT_DIRTY))
		return false; /* the first write is still to be recorded */
	return !wp_is_live(v, e) && pte_is_exclusive(mm, v, e);
}

/* ---- runs: consecutive pages whose translations are to be treated alike ------------------------------------------ */

struct run {
	struct mm *mm;
	struct vma *vma;
	va_t start, end; /* empty: start >= end */
	unsigned prot;
};

static void run_fill(struct run *r)
{
	if (r->start < r->end && r->prot)
		mm_machine(r->mm)->ops->tlb_fill(&r->mm->as, r->start, r->end, r->prot);
	r->start = r->end = 0;
}

static void run_sync(struct run *r)
{
	if (r->start < r->end)
		mm_machine(r->mm)->ops->tlb_restrict(&r->mm->as, r->start, r->end, r->prot);
	run_fill(r);
}

static void run_extend(struct run *r, va_t va, unsigned prot, void (*emit)(struct run *))
{
	if (r->start < r->end && (r->end != va || r->prot != prot))
		emit(r);
	if (r->start >= r->end) {
		r->start = va;
		r->prot = prot;
	}
	r->end = va + PAGE_SIZE;
}

static int sync_span(struct pt_span *s, void *arg)
{
	struct run *r = arg;

	for (unsigned i = 0; i < s->n; i++)
		run_extend(r, s->va + i * PAGE_SIZE, pte_allowed_prot(r->vma, pte_get(s->mm, &s->slots[i])), run_sync);
	run_sync(r);
	return 0;
}

static int sync_hole(struct mm *mm, va_t start, va_t end, void *arg)
{
	struct run *r = arg;

	*r = (struct run){mm, r->vma, start, end, pte_allowed_prot(r->vma, (pte_t){0})};
	run_sync(r);
	return 0;
}

void translations_sync(struct mm *mm, struct vma *v, va_t start, va_t end)
{
	struct run r = {.mm = mm, .vma = v};
	int stopped;

	ASSERT(mm_machine(mm)->ops->rw_is_held(mm_machine(mm), &mm->mmap_lock, true));
	ASSERT(start >= vma_start(v) && end <= v->end);
	stopped = pt_walk(mm, start, end, sync_span, sync_hole, &r);
	ASSERT(stopped == 0);
}

/* ---- UFFDIO_WRITEPROTECT: protecting ------------------------------------------------------------------------------- */

/* Empty pages between protected ones that are narrowed with them rather than cost two host mappings a gap. */
#define GAP_PAGES 16

struct protect {
	struct run flush;    /* pages whose write permission is to be withdrawn */
	va_t none_start, none_end; /* hull of entries that say nothing about presence */
	uint64_t changed;
};

static void flush_protected(struct protect *p)
{
	struct run *r = &p->flush;

	if (r->start < r->end)
		mm_machine(r->mm)->ops->tlb_restrict(&r->mm->as, r->start, r->end, r->vma->prot & ~MACH_PROT_W);
	r->start = r->end = 0;
}

static void note_protected(struct protect *p, va_t va, unsigned pages)
{
	struct run *r = &p->flush;

	ASSERT(r->start >= r->end || va >= r->end);
	if (r->start < r->end && va > r->end + GAP_PAGES * PAGE_SIZE)
		flush_protected(p);
	if (r->start >= r->end)
		r->start = va;
	r->end = va + pages * PAGE_SIZE;
}

static void note_none(struct protect *p, va_t start, va_t end)
{
	if (p->none_start >= p->none_end)
		p->none_start = start;
	p->none_start = min_u64(p->none_start, start);
	p->none_end = max_u64(p->none_end, end);
}

static void protect_present(struct pt_span *s, struct protect *p, unsigned i, pte_t e)
{
	if (!pte_uffd_wp(e)) {
		span_set(s, i, pte_mk_uffd_wp(e));
		p->changed++;
	}
	note_protected(p, s->va + i * PAGE_SIZE, 1);
}

/* Entries taken together where they are alike: most of a bulk protect is. */
#define TOGETHER 8

/*
 * Eight present pages, all protected already or none. Protected ones are flushed all the same, as part of a run: who
 * protected them may not have got that far, and this call returns only when no stale translation is left.
 */
static bool protect_together(struct pt_span *s, struct protect *p, unsigned i)
{
	struct machine *m = mm_machine(s->mm);

	if (i % TOGETHER || i + TOGETHER > s->n)
		return false;
	if (mach_pte_all(m, &s->slots[i], TOGETHER, PTE_P | PTE_UFFD_WP, PTE_P)) {
		span_change_bits(s, i, TOGETHER, PTE_UFFD_WP, PTE_W);
		p->changed += TOGETHER;
	} else if (!mach_pte_all(m, &s->slots[i], TOGETHER, PTE_P | PTE_UFFD_WP, PTE_P | PTE_UFFD_WP)) {
		return false;
	}
	note_protected(p, s->va + i * PAGE_SIZE, TOGETHER);
	return true;
}

/* Per entry, reference 5.2. An entry that is none is only noted: whether it holds a page is asked afterwards. */
static int protect_span(struct pt_span *s, void *arg)
{
	struct protect *p = arg;

	for (unsigned i = 0; i < s->n; i++) {
		va_t va = s->va + i * PAGE_SIZE;
		pte_t e;

		if (protect_together(s, p, i)) {
			i += TOGETHER - 1;
			continue;
		}
		e = pte_get(s->mm, &s->slots[i]);
		if (pte_is_none(e))
			note_none(p, va, va + PAGE_SIZE);
		else if (pte_is_present(e))
			protect_present(s, p, i, e);
	}
	return 0;
}

static int protect_hole(struct mm *mm, va_t start, va_t end, void *arg)
{
	note_none(arg, start, end);
	return 0;
}

/*
 * Entries of pages that the host was found to hold: known present from now on, and protected. A page that came between the
 * two looks (the ptl was dropped) is protected as if it had been there all along.
 */
static int protect_found_span(struct pt_span *s, void *arg)
{
	struct protect *p = arg;

	for (unsigned i = 0; i < s->n; i++) {
		pte_t e = pte_get(s->mm, &s->slots[i]);
		va_t va = s->va + i * PAGE_SIZE;

		if (pte_is_none(e))
			e = pte_mk_present(p->flush.vma, va >> PAGE_SHIFT);
		if (pte_is_present(e))
			protect_present(s, p, i, e);
	}
	return 0;
}

static int protect_found_run(void *arg, va_t start, va_t end)
{
	struct protect *p = arg;

	return pt_walk_alloc(p->flush.mm, start, end, protect_found_span, p);
}

static int protect_marker_span(struct pt_span *s, void *arg)
{
	struct protect *p = arg;

	for (unsigned i = 0; i < s->n; i++) {
		pte_t e = pte_get(s->mm, &s->slots[i]);

		if (pte_is_present(e))
			protect_present(s, p, i, e); /* came between the two looks */
		if (!pte_is_none(e))
			continue;
		span_set(s, i, pte_marker(MARKER_UFFD_WP));
		p->changed++;
		if (!vma_missing(p->flush.vma))
			note_protected(p, s->va + i * PAGE_SIZE, 1);
	}
	return 0;
}

/*
 * Entries that were none. With WP_UNPOPULATED they get markers, page or no page: a marker over a page that the host
 * holds behaves as the protected page does. Without it only pages that exist are protected, and the host knows which.
 */
static int protect_unknown(struct mm *mm, struct vma *v, struct protect *p)
{
	if (p->none_start >= p->none_end)
		return 0;
	if (v->uffd->wp_unpopulated)
		return pt_walk_alloc(mm, p->none_start, p->none_end, protect_marker_span, p);
	if (v->backing->in_place && !vma_missing(v))
		return mm_machine(mm)->ops->place_scan(&mm->as, p->none_start, p->none_end, protect_found_run, p);
	return 0;
}

static int protect_vma(struct mm *mm, struct vma *v, va_t start, va_t end, uint64_t *changed)
{
	struct protect p = {.flush = {.mm = mm, .vma = v}};
	int r;

	mach_add32(mm_machine(mm), &mm->tlb_flush_pending, 1); /* before the first store: reference 8.1 */
	r = pt_walk(mm, start, end, protect_span, protect_hole, &p);
	flush_protected(&p); /* a run only grows upwards, and the second look begins below its end */
	if (r == 0)
		r = protect_unknown(mm, v, &p);
	flush_protected(&p);
	mach_add32(mm_machine(mm), &mm->tlb_flush_pending, (uint32_t)-1);
	*changed += p.changed;
	return r;
}

/* ---- resolving --------------------------------------------------------------------------------------------------- */

struct resolve {
	struct run fill;
	uint64_t changed;
	bool open;
};

static pte_t resolved(struct mm *mm, const struct vma *v, pte_t e)
{
	if (pte_is_marker(e))
		return (pte_t){0};
	e = pte_clear_uffd_wp(e);
	if (can_change_pte_writable(mm, v, e))
		e.v |= PTE_W;
	return e;
}

static int resolve_span(struct pt_span *s, void *arg)
{
	struct resolve *r = arg;

	for (unsigned i = 0; i < s->n; i++) {
		pte_t e = pte_get(s->mm, &s->slots[i]);

		if (!pte_uffd_wp(e))
			continue;
		e = resolved(s->mm, r->fill.vma, e);
		span_set(s, i, e);
		r->changed++;
		if (r->open)
			run_extend(&r->fill, s->va + i * PAGE_SIZE, pte_allowed_prot(r->fill.vma, e), run_fill);
	}
	run_fill(&r->fill);
	return 0;
}

uint64_t resolve_range(struct mm *mm, struct vma *v, va_t start, va_t end, bool open)
{
	struct resolve r = {.fill = {.mm = mm, .vma = v}, .open = open};
	int stopped = pt_walk(mm, start, end, resolve_span, NULL, &r);

	ASSERT(stopped == 0);
	return r.changed;
}

/* ---- the ioctl's work --------------------------------------------------------------------------------------------- */

static int stop_at_mapping(void *arg, const struct mach_place *p)
{
	return 1;
}

/* Memory of the program that was never armed is a mapping without WP too; only a true hole is passed over. */
static int wp_gap(struct mm *mm, va_t start, va_t end)
{
	struct machine *m = mm_machine(mm);

	if (start >= end || !m->ops->place_query)
		return 0;
	return m->ops->place_query(&mm->as, start, end, stop_at_mapping, NULL) ? -ENOENT : 0;
}

static int wp_range_locked(struct mm *mm, va_t start, va_t end, bool protect, const uint32_t *changing, uint64_t *changed)
{
	va_t covered = start;
	int r = 0;

	if (mach_load32(mm_machine(mm), changing))
		return -EAGAIN;
	if (!vma_first_in(mm, start, end))
		return -ENOENT;
	vma_for_each_in(v, mm, start, end) {
		va_t from = max_u64(start, vma_start(v)), to = min_u64(end, v->end);

		r = wp_gap(mm, covered, from);
		if (r || !vma_wp(v))
			return -ENOENT; /* earlier vmas stay changed, as on Linux */
		covered = to;
		if (protect)
			r = protect_vma(mm, v, from, to, changed);
		else
			*changed += resolve_range(mm, v, from, to, true);
		if (r)
			return r;
	}
	return wp_gap(mm, covered, end);
}

int mm_wp_range(struct mm *mm, va_t start, va_t end, bool protect, const uint32_t *changing, uint64_t *changed)
{
	int r;

	*changed = 0;
	mach_read_lock(mm_machine(mm), &mm->mmap_lock);
	r = wp_range_locked(mm, start, end, protect, changing, changed);
	mach_read_unlock(mm_machine(mm), &mm->mmap_lock);
	return r;
}

/* ---- mprotect ----------------------------------------------------------------------------------------------------- */

/* The entry under the vma's new protection: write permission is lost at once, gained only where it is safe. */
static int reprotect_span(struct pt_span *s, void *arg)
{
	struct vma *v = arg;

	for (unsigned i = 0; i < s->n; i++) {
		pte_t e = pte_get(s->mm, &s->slots[i]);
		uint64_t keep = PTE_FRAME_MASK | PTE_A | PTE_D | PTE_P | PTE_ZERO_PAGE | PTE_UFFD_WP | PTE_SOFT_DIRTY;

		if (!pte_is_present(e))
			continue;
		e.v = (e.v & keep) | (pte_mk_present(v, 0).v & (PTE_U | PTE_NX));
		if (can_change_pte_writable(s->mm, v, e) && !pte_uffd_wp(e))
			e.v |= PTE_W;
		span_set(s, i, e);
	}
	return 0;
}

static void protect_one(struct mm *mm, struct vma *v, unsigned prot)
{
	int r;

	v->prot = prot;
	r = pt_walk(mm, vma_start(v), v->end, reprotect_span, NULL, v);
	ASSERT(r == 0);
	translations_sync(mm, v, vma_start(v), v->end);
}

int mm_protect_locked(struct mm *mm, va_t start, va_t end, unsigned prot)
{
	va_t covered = start;
	int r = vma_isolate(mm, start, end);

	vma_for_each_in(v, mm, start, end) {
		if (r || vma_start(v) != covered)
			break;
		covered = v->end;
		if (v->prot != prot)
			protect_one(mm, v, prot);
	}
	vma_merge_around(mm, start, end);
	return r ? r : covered == end ? 0 : -ENOMEM;
}

int mm_protect(struct mm *mm, va_t start, va_t end, unsigned prot)
{
	int r;

	mach_write_lock(mm_machine(mm), &mm->mmap_lock);
	r = mm_protect_locked(mm, start, end, prot);
	mach_write_unlock(mm_machine(mm), &mm->mmap_lock);
	return r;
}
