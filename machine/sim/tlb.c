/* SPDX-License-Identifier: MIT */
/*
 * The TLBs and the hardware walk. A translation appears when an access needs it and goes when it is withdrawn, when its
 * set is full, or when a test evicts it. It allows a store only if the entry was writable and dirty when it was filled: a
 * first store walks again, to set the dirty bit, as x86-64 does.
 */
#include "machine/sim/internal.h"

#include <errno.h>

/* Announce a whole range page by page up to here; beyond it only what the TLB holds. */
#define ANNOUNCE_MAX (SIM_TLB_SETS * SIM_TLB_WAYS)

/* ---- one TLB --------------------------------------------------------------------------------------------------- */

static unsigned set_of(va_t va)
{
	return (unsigned)(va >> PAGE_SHIFT) % SIM_TLB_SETS;
}

static struct sim_tlb_entry *tlb_find(struct sim_tlb *t, const struct mach_as *as, va_t va)
{
	struct sim_tlb_entry *set = t->e[set_of(va)];

	for (unsigned i = 0; i < SIM_TLB_WAYS; i++)
		if (set[i].as == as && set[i].page == page_down(va))
			return &set[i];
	return NULL;
}

static void tlb_drop(struct sim_tlb *t, const struct mach_as *as, va_t va)
{
	struct sim_tlb_entry *e = tlb_find(t, as, va);

	if (e)
		*e = (struct sim_tlb_entry){.as = NULL};
}

/* Where a new translation goes: its old place, a free one, or the next victim's. */
static struct sim_tlb_entry *tlb_place(struct sim_tlb *t, const struct mach_as *as, va_t va)
{
	struct sim_tlb_entry *e = tlb_find(t, as, va);
	unsigned set = set_of(va);

	for (unsigned i = 0; !e && i < SIM_TLB_WAYS; i++)
		if (!t->e[set][i].as)
			e = &t->e[set][i];
	if (!e)
		e = &t->e[set][t->victim[set]++ % SIM_TLB_WAYS];
	return e;
}

bool sim_tlb_maps_frame(const struct sim *s, uint64_t pfn)
{
	for (unsigned c = 0; c < s->cfg.nr_cpus; c++)
		for (unsigned i = 0; i < SIM_TLB_SETS * SIM_TLB_WAYS; i++) {
			const struct sim_tlb_entry *e = &s->tlb[c].e[i / SIM_TLB_WAYS][i % SIM_TLB_WAYS];

			if (e->as && e->pfn == pfn)
				return true;
		}
	return false;
}

/* ---- the walk -------------------------------------------------------------------------------------------------- */

/* Where a walk ended: the leaf's slot, the entry read there, and the frame that it gives va. */
struct walk {
	pte_t *slot;
	pte_t e;
	uint64_t pfn;
};

static bool walk(struct mach_as *as, va_t va, struct walk *w)
{
	pte_t *table = as->root;

	for (unsigned level = PT_LEVELS; table && level-- > 0;) {
		w->slot = &table[pt_index(va, level)];
		w->e = mach_pte_load(as->m, w->slot);
		if (!pte_is_present(w->e))
			return false;
		w->pfn = pte_pfn(w->e);
		if (level == 0)
			return true;
		if (level == 1 && (w->e.v & PTE_PS)) {
			w->pfn += pt_index(va, 0);
			return true;
		}
		ASSERT(!(w->e.v & PTE_PS));
		table = (pte_t *)(uintptr_t)(w->e.v & PTE_FRAME_MASK);
	}
	return false;
}

static unsigned prot_of(pte_t e)
{
	if (!pte_is_present(e) || !(e.v & PTE_U))
		return MACH_PROT_NONE;
	return MACH_PROT_R | (e.v & PTE_W ? MACH_PROT_W : 0) | (e.v & PTE_NX ? 0 : MACH_PROT_X);
}

/* Set accessed, and dirty for a store, if the entry is still the one that was read. */
static bool set_used(struct machine *m, struct walk *w, bool store)
{
	uint64_t bits = PTE_A | (store ? PTE_D : 0);

	if ((w->e.v & bits) == bits)
		return true;
	mach_point(m, MACH_OBJ_PTE, MACH_WRITE, w->slot);
	if (!__atomic_compare_exchange_n(&w->slot->v, &w->e.v, w->e.v | bits, false, __ATOMIC_SEQ_CST,
					 __ATOMIC_SEQ_CST))
		return false;
	w->e.v |= bits;
	return true;
}

static void fill(struct sim *s, struct mach_as *as, va_t va, const struct walk *w)
{
	unsigned prot = prot_of(w->e), hw = s->cur->hw;

	if (!(w->e.v & PTE_D))
		prot &= ~MACH_PROT_W;
	ASSERT(sim_frame_is_usable(s, w->pfn));	       /* an entry that leads to a free frame */
	ASSERT(w->pfn != 0 || !(prot & MACH_PROT_W)); /* the zero page, writable */
	sim_point(&s->m, MACH_OBJ_TLB, MACH_WRITE, sim_tlb_object(hw, va));
	*tlb_place(&s->tlb[hw], as, va) =
		(struct sim_tlb_entry){.as = as, .page = page_down(va), .pfn = w->pfn, .prot = prot, .born = s->steps};
}

bool sim_translate(struct sim *s, struct mach_as *as, va_t va, unsigned need, uint64_t *pfn)
{
	struct sim_tlb *t = &s->tlb[s->cur->hw];
	struct sim_tlb_entry *e;
	struct walk w;

	ASSERT(va < SIM_VA_LIMIT && as->priv);
	e = tlb_find(t, as, va);
	if (!e || (need & ~e->prot)) {
		do {
			tlb_drop(t, as, va);
			if (!walk(as, va, &w) || (need & ~prot_of(w.e)))
				return false;
		} while (!set_used(as->m, &w, need & MACH_PROT_W));
		fill(s, as, va, &w);
		e = tlb_find(t, as, va);
		ASSERT(e && !(need & ~e->prot));
	}
	ASSERT(sim_frame_is_usable(s, e->pfn)); /* a translation outlived its frame */
	*pfn = e->pfn;
	return true;
}

/* ---- address spaces -------------------------------------------------------------------------------------------- */

int sim_as_create(struct machine *m, struct mach_as *as)
{
	struct sim *s = sim_of(m);

	ASSERT(as->up && as->up->fault);
	for (unsigned i = 0; i < SIM_MAX_AS; i++) {
		ASSERT(s->as[i] != as);
		if (s->as[i])
			continue;
		s->as[i] = as;
		as->priv = &s->as[i];
		return 0;
	}
	return -ENOMEM;
}

void sim_as_destroy(struct mach_as *as)
{
	struct sim *s = sim_of(as->m);
	const struct mach_as **slot = as->priv;

	ASSERT(slot && *slot == as);
	for (unsigned c = 0; c < s->cfg.nr_cpus; c++)
		for (unsigned i = 0; i < SIM_TLB_SETS * SIM_TLB_WAYS; i++) {
			struct sim_tlb_entry *e = &s->tlb[c].e[i / SIM_TLB_WAYS][i % SIM_TLB_WAYS];

			if (e->as == as)
				e->as = NULL;
		}
	*slot = NULL;
	as->priv = NULL;
}

/* ---- withdrawing ----------------------------------------------------------------------------------------------- */

/* Fills happen on demand. */
void sim_tlb_fill(struct mach_as *as, va_t start, va_t end, unsigned prot)
{
	ASSERT(as->priv && start < end && end <= SIM_VA_LIMIT);
	ASSERT(is_page_aligned(start) && is_page_aligned(end));
}

/* Tell the hardware of the rest of the range: part of the same step. */
static void announce_range(struct sim *s, unsigned hw, va_t start, va_t end)
{
	if ((end - start) >> PAGE_SHIFT > ANNOUNCE_MAX)
		end = start + ANNOUNCE_MAX * PAGE_SIZE;
	for (va_t va = start; va < end; va += PAGE_SIZE)
		sim_point(&s->m, MACH_OBJ_TLB, MACH_WRITE, sim_tlb_object(hw, va));
}

/* One CPU is told, and drops whatever it has there: one step. */
static void invalidate(struct sim *s, unsigned hw, const struct mach_as *as, va_t start, va_t end)
{
	sim_point(&s->m, MACH_OBJ_TLB, MACH_WRITE, sim_tlb_object(hw, start));
	s->atomic++;
	announce_range(s, hw, start + PAGE_SIZE, end);
	for (unsigned i = 0; i < SIM_TLB_SETS * SIM_TLB_WAYS; i++) {
		struct sim_tlb_entry *e = &s->tlb[hw].e[i / SIM_TLB_WAYS][i % SIM_TLB_WAYS];

		if (e->as == as && e->page >= start && e->page < end)
			e->as = NULL;
	}
	s->atomic--;
}

/*
 * I1, at the end of the flush: whatever is wider than prot was filled since it began, from what the table said then. (A
 * caller that holds the ptl sees none of those either.)
 */
static void assert_withdrawn(struct sim *s, const struct mach_as *as, va_t start, va_t end, unsigned prot, uint64_t begin)
{
	for (unsigned c = 0; c < s->cfg.nr_cpus; c++)
		for (unsigned i = 0; i < SIM_TLB_SETS * SIM_TLB_WAYS; i++) {
			const struct sim_tlb_entry *e = &s->tlb[c].e[i / SIM_TLB_WAYS][i % SIM_TLB_WAYS];

			if (e->as == as && e->page >= start && e->page < end)
				ASSERT(!(e->prot & ~prot) || e->born > begin);
		}
}

void sim_tlb_restrict(struct mach_as *as, va_t start, va_t end, unsigned prot)
{
	struct sim *s = sim_of(as->m);
	uint64_t begin = s->steps;

	ASSERT(as->priv && start < end && end <= SIM_VA_LIMIT);
	ASSERT(is_page_aligned(start) && is_page_aligned(end));
	for (unsigned c = 0; c < s->cfg.nr_cpus; c++)
		invalidate(s, c, as, start, end);
	assert_withdrawn(s, as, start, end, prot, begin);
}

/* ---- for tests ------------------------------------------------------------------------------------------------- */

bool sim_tlb_get(unsigned cpu, const struct mach_as *as, va_t va, struct sim_translation *out)
{
	const struct sim_tlb_entry *e;

	ASSERT(cpu < sim_get()->cfg.nr_cpus);
	e = tlb_find(&sim_get()->tlb[cpu], as, va);
	if (e)
		*out = (struct sim_translation){.pfn = e->pfn, .prot = e->prot};
	return e != NULL;
}

void sim_tlb_evict(unsigned cpu, const struct mach_as *as, va_t va)
{
	ASSERT(cpu < sim_get()->cfg.nr_cpus);
	tlb_drop(&sim_get()->tlb[cpu], as, va);
}
