/* SPDX-License-Identifier: MIT */
/*
 * The fill family: COPY, ZEROPAGE, POISON. The order of checks and what a half-done fill reports are reference 2.5.
 *
 * The source is read twice over at most: first where it lies, under the locks, without faulting; if it is not resident,
 * every lock is dropped, one page is fetched into engine memory (which may itself wait for a monitor), and the fill
 * starts again from the vma lookup, since anything may have changed meanwhile (reference: COPY, last paragraph).
 */
#include "mm/protect.h"

#include "base/assert.h"

#include <errno.h>

struct fill {
	const struct fill_req *req;
	struct mm *mm;
	struct vma *vma;
	va_t at;      /* next byte to fill */
	void *bounce; /* one page of engine memory, or NULL */
	bool fetched; /* bounce holds the source of `at` */
};

/* May this fill replace what the entry holds? Anonymous memory; reference 2.5, per-page outcomes. */
static bool may_replace(enum fill_kind kind, pte_t e)
{
	return pte_is_none(e) || (kind == FILL_COPY && pte_is_marker(e));
}

static unsigned fillable_run(struct fill *f, struct pt_span *s, unsigned from)
{
	unsigned n = 0;

	while (from + n < s->n && may_replace(f->req->kind, pte_get(s->mm, &s->slots[from + n])))
		n++;
	return n;
}

static void install_run(struct fill *f, struct pt_span *s, unsigned from, unsigned n, pte_t first)
{
	va_t va = s->va + from * PAGE_SIZE;

	ASSERT(n > 0 && from + n <= s->n && va == f->at);
	ASSERT(pte_is_present(first) && !pte_uffd_wp(first));
	ASSERT(!f->req->wp || vma_wp(f->vma));
	for (unsigned i = 0; i < n; i++) {
		pte_t e = {first.v + i * PAGE_SIZE};

		span_set(s, from + i, f->req->wp ? pte_mk_uffd_wp(e) : e);
	}
	mm_machine(s->mm)->ops->tlb_fill(&s->mm->as, va, va + n * PAGE_SIZE,
					 pte_allowed_prot(f->vma, pte_get(s->mm, &s->slots[from])));
}

static int copy_run(struct fill *f, struct pt_span *s, unsigned from, unsigned n, unsigned *made)
{
	struct fill_source source = {.src = f->req->src + (f->at - f->req->start)};
	pte_t first;
	int r;

	if (f->fetched)
		source = (struct fill_source){.page = f->bounce};
	r = f->vma->backing->make(s->mm, f->vma, f->at, n, &source, &first, made);
	if (r == 0) {
		install_run(f, s, from, *made, first);
		f->fetched = false;
	}
	return r;
}

static int zero_run(struct fill *f, struct pt_span *s, unsigned from, unsigned n, unsigned *made)
{
	pte_t first;
	int r = f->vma->backing->make_zero(s->mm, f->vma, f->at, n, &first, made);

	if (r == 0)
		install_run(f, s, from, *made, first);
	return r;
}

static int fill_some(struct fill *f, struct pt_span *s, unsigned from, unsigned n, unsigned *made)
{
	*made = 1;
	switch (f->req->kind) {
	case FILL_COPY:
		return copy_run(f, s, from, n, made);
	case FILL_ZERO:
		return zero_run(f, s, from, n, made);
	case FILL_POISON:
		span_set(s, from, pte_marker(MARKER_POISON));
		return 0;
	}
	return -EINVAL;
}

/* Pages of an un-armed part that settle() hid and that were not filled in the end: open again. */
static void reopen_rest(struct fill *f, struct pt_span *s)
{
	for (unsigned i = 0; i < s->n; i++) {
		unsigned prot = pte_allowed_prot(f->vma, pte_get(s->mm, &s->slots[i]));
		va_t va = s->va + i * PAGE_SIZE;

		if (prot)
			mm_machine(s->mm)->ops->tlb_fill(&s->mm->as, va, va + PAGE_SIZE, prot);
	}
}

static int fill_span(struct pt_span *s, void *arg)
{
	struct fill *f = arg;
	bool settled = f->vma->backing->in_place && !vma_missing(f->vma);
	int r = f->vma->backing->settle(s->mm, f->vma, s);

	for (unsigned i = 0, made; r == 0 && i < s->n; i += made) {
		unsigned n = fillable_run(f, s, i);

		DASSERT(f->at == s->va + i * PAGE_SIZE);
		made = 0;
		r = n ? fill_some(f, s, i, n, &made) : -EEXIST;
		if (r == 0)
			f->at += made * PAGE_SIZE;
	}
	if (settled)
		reopen_rest(f, s);
	return r;
}

/* Reference 2.5, steps 6 to 11, then the loop. mmap_lock held for reading. */
static int fill_locked(struct fill *f)
{
	const struct fill_req *req = f->req;

	f->vma = vma_first_in(f->mm, f->at, f->at + PAGE_SIZE);
	if (!f->vma || req->end > f->vma->end || !vma_is_armed(f->vma))
		return -ENOENT;
	if (mach_load32(mm_machine(f->mm), req->changing))
		return -EAGAIN;
	if (req->wp && !vma_wp(f->vma))
		return -EINVAL;
	ASSERT(vma_start(f->vma) <= f->at && f->at < req->end);
	return pt_walk_alloc(f->mm, f->at, req->end, fill_span, f);
}

/* The source of the next page is not resident: fetch it with no lock held. */
static int fetch(struct fill *f)
{
	struct machine *m = mm_machine(f->mm);
	int r;

	if (!f->bounce)
		f->bounce = m->ops->mem_alloc(m, PAGE_SIZE, PAGE_SIZE);
	if (!f->bounce)
		return -ENOMEM;
	r = m->ops->copy_in(m, f->bounce, f->req->src + (f->at - f->req->start), PAGE_SIZE);
	f->fetched = r == 0;
	return r;
}

int mm_fill(struct mm *mm, const struct fill_req *req, uint64_t *done)
{
	struct machine *m = mm_machine(mm);
	struct fill f = {.req = req, .mm = mm, .at = req->start};
	int r;

	ASSERT(req->start < req->end && is_page_aligned(req->start) && is_page_aligned(req->end));
	do {
		bool had = f.fetched;

		mach_read_lock(m, &mm->mmap_lock);
		r = fill_locked(&f);
		mach_read_unlock(m, &mm->mmap_lock);
		if (r != -EFAULT || req->kind != FILL_COPY || (had && f.fetched))
			break;
		r = fetch(&f);
	} while (r == 0);
	/* Linux reads the source before it looks at the entry: a bad source wins over an occupied page. */
	if (r == -EEXIST && req->kind == FILL_COPY && f.at == req->start && fetch(&f))
		r = -EFAULT;
	if (f.bounce)
		m->ops->mem_free(m, f.bounce, PAGE_SIZE);
	ASSERT(f.at >= req->start && f.at <= req->end && (r || f.at == req->end));
	*done = f.at - req->start;
	return r;
}
