/* SPDX-License-Identifier: MIT */
/* A bare address space for tests of the simulated machine: page tables filled by hand, no engine. */
#pragma once
#include <string.h>

#include "base/assert.h"
#include "machine/sim/sim.h"

struct space {
	struct mach_as as; /* first */
	unsigned faults;   /* how often the machine called up */
	va_t fault_va;	   /* the last one's */
	unsigned fault_flags;
	/* What to answer; NULL: FAULT_MAPERR. */
	enum fault_result (*answer)(struct space *sp, va_t va, unsigned flags);
	void *arg;
};

static inline enum fault_result space_fault(struct mach_as *as, va_t va, unsigned flags)
{
	struct space *sp = (struct space *)as;

	sp->faults++;
	sp->fault_va = va;
	sp->fault_flags = flags;
	return sp->answer ? sp->answer(sp, va, flags) : FAULT_MAPERR;
}

static inline pte_t *space_table(struct machine *m)
{
	pte_t *table = m->ops->mem_alloc(m, PAGE_SIZE, PAGE_SIZE);

	ASSERT(table);
	return table;
}

static inline void space_create(struct space *sp)
{
	static const struct mach_as_upcalls up = {.fault = space_fault};
	struct machine *m = sim_machine();

	memset(sp, 0, sizeof(*sp));
	sp->as = (struct mach_as){.m = m, .up = &up, .root = space_table(m)};
	ASSERT(m->ops->as_create(m, &sp->as) == 0);
}

static inline void space_free_tables(struct machine *m, pte_t *table, unsigned level)
{
	for (unsigned i = 0; level > 0 && i < PTRS_PER_TABLE; i++)
		if (pte_is_present(table[i]) && !(table[i].v & PTE_PS))
			space_free_tables(m, (pte_t *)(uintptr_t)(table[i].v & PTE_FRAME_MASK), level - 1);
	m->ops->mem_free(m, table, PAGE_SIZE);
}

static inline void space_destroy(struct space *sp)
{
	struct machine *m = sp->as.m;

	m->ops->as_destroy(&sp->as);
	space_free_tables(m, sp->as.root, PT_LEVELS - 1);
}

/* The slot of va in the table of a level, with the tables above it. */
static inline pte_t *space_slot(struct space *sp, va_t va, unsigned level)
{
	pte_t *table = sp->as.root;

	for (unsigned l = PT_LEVELS - 1; l > level; l--) {
		pte_t *slot = &table[pt_index(va, l)];

		if (!pte_is_present(*slot))
			*slot = (pte_t){(uintptr_t)space_table(sp->as.m) | PTE_P | PTE_W | PTE_U};
		table = (pte_t *)(uintptr_t)(slot->v & PTE_FRAME_MASK);
	}
	return &table[pt_index(va, level)];
}

/* An entry for a program's page: neither accessed nor dirty. */
static inline pte_t space_entry(uint64_t pfn, unsigned prot)
{
	uint64_t v = pfn << PAGE_SHIFT | PTE_P;

	if (prot != MACH_PROT_NONE)
		v |= PTE_U;
	if (prot & MACH_PROT_W)
		v |= PTE_W;
	if (!(prot & MACH_PROT_X))
		v |= PTE_NX;
	return (pte_t){v};
}

static inline void space_map(struct space *sp, va_t va, uint64_t pfn, unsigned prot)
{
	mach_pte_store(sp->as.m, space_slot(sp, va, 0), space_entry(pfn, prot));
}

static inline void space_flush(struct space *sp, va_t va, unsigned prot)
{
	sp->as.m->ops->tlb_restrict(&sp->as, va, va + PAGE_SIZE, prot);
}

/* A frame that reads as zeroes. */
static inline uint64_t space_frame(void)
{
	struct machine *m = sim_machine();
	uint64_t pfn = 0;

	ASSERT(m->ops->frame_alloc(m, &pfn) == 0);
	m->ops->frame_zero(m, pfn);
	return pfn;
}
