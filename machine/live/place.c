/* SPDX-License-Identifier: MIT */
/* Memory that the program brought: finding it, learning what it holds, filling it while nobody can look. */
#include "base/assert.h"
#include "machine/live/tlb.h"

#include <errno.h>
#include <sys/mman.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* Absent runs that are hidden one by one; with more it is cheaper to close the whole range for a moment. */
#define FEW_RUNS 16

int live_place_query(struct mach_as *as, va_t start, va_t end, int (*fn)(void *arg, const struct mach_place *p), void *arg)
{
	return live_query(start, end, fn, arg);
}

int live_place_scan(struct mach_as *as, va_t start, va_t end, mach_run_fn fn, void *arg)
{
	return live_scan(start, end, fn, arg);
}

int live_place_attach(struct mach_as *as, va_t start, va_t end, unsigned base)
{
	int r;

	live_lock(as->m, &tlb_lock);
	r = tlb_attach(start, end, base);
	if (r)
		tlb_forget(start, end);
	live_unlock(as->m, &tlb_lock);
	return r;
}

static uint8_t tag_base(uint8_t tag, unsigned base)
{
	return (uint8_t)base;
}

void live_place_detach(struct mach_as *as, va_t start, va_t end, unsigned base)
{
	live_lock(as->m, &tlb_lock);
	if (tlb_any(start, end, TAG_STATE, TAG_GUARD))
		tlb_guard_remove(start, end);
	tlb_update(start, end, tag_base, base);
	tlb_forget(start, end);
	live_unlock(as->m, &tlb_lock);
}

void live_place_forget(struct mach_as *as, va_t start, va_t end)
{
	live_lock(as->m, &tlb_lock);
	tlb_forget(start, end);
	live_unlock(as->m, &tlb_lock);
}

/* Host mappings that are compared; with more, the range was certainly split by us. */
#define SAMPLE 4

struct intact {
	va_t at;
	unsigned n;
};

/* 1: something else is there. 2: enough seen. */
static int compare_piece(void *arg, const struct mach_place *p)
{
	struct intact *i = arg;

	if (p->start != i->at || p->kind != MACH_PLACE_ANON)
		return 1;
	if (!tlb_has_prot(p->start, p->prot) || !tlb_has_prot(p->end - PAGE_SIZE, p->prot))
		return 1;
	i->at = p->end;
	return ++i->n == SAMPLE ? 2 : 0;
}

bool live_place_is_intact(struct mach_as *as, va_t start, va_t end)
{
	struct intact i = {.at = start};
	va_t guard;
	bool ok;
	int r;

	live_lock(as->m, &tlb_lock);
	r = live_query(start, end, compare_piece, &i);
	ok = r == 2 || (r == 0 && i.at == end);
	guard = tlb_first(start, end, TAG_STATE, TAG_GUARD);
	ok = ok && (guard == end || live_is_guard(guard));
	live_unlock(as->m, &tlb_lock);
	return ok;
}

/* ---- hiding what is absent ------------------------------------------------------------------------------------------------ */

struct hide {
	mach_run_fn fn;
	void *arg;
	va_t at;	/* everything before it has been looked at */
	unsigned n;	/* absent runs found; counts beyond the array too */
	struct {
		va_t start, end;
	} absent[FEW_RUNS];
};

static void note_absent(struct hide *h, va_t start, va_t end)
{
	if (start >= end)
		return;
	if (h->n < FEW_RUNS) {
		h->absent[h->n].start = start;
		h->absent[h->n].end = end;
	}
	h->n++;
}

static int first_look(void *arg, va_t start, va_t end)
{
	struct hide *h = arg;

	note_absent(h, h->at, start);
	h->at = end;
	return h->n > FEW_RUNS;
}

/* Closed now: what is absent stays so. */
static int final_look(void *arg, va_t start, va_t end)
{
	struct hide *h = arg;

	if (h->at < start)
		tlb_update(h->at, start, tag_to_empty, 0);
	h->at = end;
	return h->fn(h->arg, start, end);
}

/* Close [start, end), look again, and leave closed only what is absent. tlb_lock held. */
static int hide_closed(struct hide *h, va_t start, va_t end)
{
	int r;

	tlb_update(start, end, tag_close, 0);
	h->at = start;
	r = live_scan(start, end, final_look, h);
	if (r == 0 && h->at < end)
		tlb_update(h->at, end, tag_to_empty, 0);
	return r;
}

static int report_present(struct hide *h, va_t start, va_t end)
{
	va_t at = start;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < h->n; i++) {
		if (at < h->absent[i].start)
			r = h->fn(h->arg, at, h->absent[i].start);
		at = h->absent[i].end;
	}
	return r || at >= end ? r : h->fn(h->arg, at, end);
}

static int hide_few(struct hide *h, va_t start, va_t end)
{
	int r = report_present(h, start, end);

	for (unsigned i = 0; r == 0 && i < h->n; i++) {
		r = hide_closed(h, h->absent[i].start, h->absent[i].end);
		tlb_seed(h->absent[i].start, min_u64(h->absent[i].end, h->absent[i].start + PAGE_SIZE));
		tlb_update(h->absent[i].start, h->absent[i].end, tag_reopen, 0);
	}
	return r;
}

/* Many small holes: guards, not mappings. */
static int hide_many(struct hide *h, va_t start, va_t end)
{
	int r = hide_closed(h, start, end);

	tlb_guard_all(start, end);
	tlb_update(start, end, tag_reopen, 0);
	return r;
}

int live_place_hide_absent(struct mach_as *as, va_t start, va_t end, mach_run_fn fn, void *arg)
{
	struct hide h = {.fn = fn, .arg = arg, .at = start};
	int r;

	live_lock(as->m, &tlb_lock);
	r = live_scan(start, end, first_look, &h);
	if (r == 0)
		note_absent(&h, h.at, end);
	if (r >= 0)
		r = h.n > FEW_RUNS ? hide_many(&h, start, end) : hide_few(&h, start, end);
	tlb_relieve(start, end);
	live_unlock(as->m, &tlb_lock);
	return r;
}

/* ---- content ------------------------------------------------------------------------------------------------------------------ */

static uint8_t tag_uncover(uint8_t tag, unsigned arg)
{
	return (tag & TAG_STATE) == TAG_GUARD ? (uint8_t)TAG_GUARD : tag; /* guard stays, protection goes */
}

static uint8_t tag_filled(uint8_t tag, unsigned arg)
{
	return (tag & TAG_STATE) == TAG_UNGOVERNED ? tag : TAG_PLAIN;
}

/* Ready for a forced write: no access through protection alone, no guard in the way. */
static void uncover(va_t start, va_t end)
{
	if (tlb_any(start, end, TAG_STATE, TAG_GUARD)) {
		tlb_update(start, end, tag_uncover, 0);
		tlb_runs(start, end, TAG_STATE, TAG_GUARD, tlb_guard_remove);
	}
	tlb_seed(start, end);
	tlb_update(start, end, tag_filled, 0);
}

int live_place_write(struct mach_as *as, va_t start, va_t end, va_t src, uint64_t *done)
{
	long r;

	*done = 0;
	if (src == 0) { /* an absent page reads as zeroes once it is opened */
		*done = end - start;
		return 0;
	}
	live_lock(as->m, &tlb_lock);
	uncover(start, end);
	live_unlock(as->m, &tlb_lock);
	r = live_force_write(start, src, end - start);
	*done = r > 0 ? page_down((uint64_t)r) : 0;
	if (start + *done == end)
		return 0;
	live_lock(as->m, &tlb_lock);
	tlb_update(start + *done, end, tag_to_empty, 0);
	live_unlock(as->m, &tlb_lock);
	return r == -EFAULT || r >= 0 ? -EFAULT : -ENOMEM;
}

static int throw_away(va_t start, va_t end)
{
	long r = sys3(SYS_madvise, (long)start, (long)(end - start), MADV_DONTNEED);

	if (r == -EINVAL) /* locked memory */
		r = sys3(SYS_madvise, (long)start, (long)(end - start), MADV_DONTNEED_LOCKED);
	return (int)r;
}

static uint8_t tag_hide(uint8_t tag, unsigned arg)
{
	return (tag & TAG_STATE) == TAG_PLAIN ? TAG_PLAIN : tag;
}

int live_place_discard(struct mach_as *as, va_t start, va_t end, bool hide)
{
	int r;

	live_lock(as->m, &tlb_lock);
	if (hide)
		tlb_update(start, end, tag_hide, 0);
	r = throw_away(start, end);
	if (hide && r == 0) {
		tlb_update(start, end, tag_to_empty, 0);
		tlb_relieve(start, end);
	}
	live_unlock(as->m, &tlb_lock);
	return r;
}
