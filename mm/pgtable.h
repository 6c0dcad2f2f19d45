/* SPDX-License-Identifier: MIT */
/*
 * Page tables: four levels of 512 entries, a lock (ptl) for each table. Tables are freed only with mmap_lock held for
 * writing, so whoever holds it for reading may walk down without locks.
 *
 * The walker owns lock, map, unmap and advance. A callback gets a span: consecutive slots of one table with its ptl
 * held. It cannot carry on past the lock (the bug of seed 1 could not be written here).
 */
#pragma once
#include "base/assert.h"
#include "mm/mm.h"

/*
 * Where tables live: blocks of 64 KiB, aligned to their size. The first page of a block holds the descriptors (lock,
 * count of used entries) of the 15 tables that follow, so a slot's descriptor is found from its address alone.
 */
#define PT_BLOCK_SIZE ((uint64_t)65536)
#define PT_BLOCK_TABLES 15

struct pt_table {
	struct mach_lock ptl;
	uint32_t used; /* p: entries that are not none */
	struct pt_table *next_free;
	pte_t *slots;
};

struct pt_block {
	struct pt_block *next;
	struct pt_table table[PT_BLOCK_TABLES];
};

_Static_assert(sizeof(struct pt_block) <= 4096, "descriptors fit the first page");

struct pt_span {
	struct mm *mm;
	pte_t *slots; /* of va, va + PAGE_SIZE, ... */
	va_t va;
	unsigned n;
};

/* Non-zero stops the walk and is returned by it. */
typedef int (*pt_span_fn)(struct pt_span *s, void *arg);
/* A stretch without a table: no lock is held. */
typedef int (*pt_hole_fn)(struct mm *mm, va_t start, va_t end, void *arg);

int pt_init(struct mm *mm);
void pt_destroy(struct mm *mm);

/* Visit the tables there are; hole may be NULL. mmap_lock held. */
int pt_walk(struct mm *mm, va_t start, va_t end, pt_span_fn fn, pt_hole_fn hole, void *arg);
/* Visit [start, end), making tables where there are none. -ENOMEM. mmap_lock held. */
int pt_walk_alloc(struct mm *mm, va_t start, va_t end, pt_span_fn fn, void *arg);

/* The slot of va, or NULL when a table is missing. No ptl. mmap_lock held. */
pte_t *pt_find(struct mm *mm, va_t va);
/* The same, making tables. NULL: no memory. */
pte_t *pt_find_alloc(struct mm *mm, va_t va);

/* The lock of the table that slot lies in. */
struct mach_lock *pt_lock_of(const pte_t *slot);


static inline pte_t pte_get(struct mm *mm, const pte_t *slot)
{
	return mach_pte_load(mm_machine(mm), slot);
}

static inline struct pt_table *pt_table_of(const pte_t *slot)
{
	uintptr_t at = (uintptr_t)slot;
	struct pt_block *block = (struct pt_block *)(at & ~(PT_BLOCK_SIZE - 1));

	return &block->table[((at >> PAGE_SHIFT) & PT_BLOCK_TABLES) - 1];
}

static inline bool pte_is_well_formed(pte_t e)
{
	if (pte_is_present(e))
		return !((e.v & PTE_W) && (e.v & PTE_UFFD_WP)); /* I3 */
	if (pte_is_marker(e))
		return swp_offset(e) != 0 && swp_offset(e) <= (MARKER_UFFD_WP | MARKER_POISON | MARKER_GUARD);
	return pte_is_none(e) || swp_type(e) != SWP_TYPE_MARKER;
}

/* The store itself, with I3 and the shape of the entry asserted. The caller knows that it holds the ptl (I2). */
static inline void pte_set_held(struct mm *mm, pte_t *slot, pte_t e)
{
	struct pt_table *t = pt_table_of(slot);

	DASSERT(mm_machine(mm)->ops->lock_is_held(mm_machine(mm), &t->ptl)); /* I2 */
	ASSERT(pte_is_well_formed(e));
	t->used += !pte_is_none(e);
	t->used -= slot->v != 0; /* stable: only writers under the ptl */
	ASSERT(t->used <= PTRS_PER_TABLE);
	mach_pte_store(mm_machine(mm), slot, e);
}

/* Store one entry. The ptl is held: asserted, since nothing but the caller's word says so (I2). */
static inline void pte_set(struct mm *mm, pte_t *slot, pte_t e)
{
	ASSERT(mm_machine(mm)->ops->lock_is_held(mm_machine(mm), pt_lock_of(slot)));
	pte_set_held(mm, slot, e);
}

/* Store the i-th entry of a span: the walker holds the ptl, and bulk changes live on this. */
static inline void span_set(struct pt_span *s, unsigned i, pte_t e)
{
	ASSERT(i < s->n);
	pte_set_held(s->mm, &s->slots[i], e);
}

/* Change bits of n present entries that stay present: I3 is asserted of the change, once. */
static inline void span_change_bits(struct pt_span *s, unsigned i, unsigned n, uint64_t set, uint64_t clear)
{
	ASSERT(i + n <= s->n);
	ASSERT(!(set & PTE_UFFD_WP) || (clear & PTE_W));
	ASSERT(!((set | clear) & PTE_P) && !(set & PTE_W));
	for (; n-- > 0; i++) {
		pte_t e = pte_get(s->mm, &s->slots[i]);

		DASSERT(pte_is_present(e));
		mach_pte_store(mm_machine(s->mm), &s->slots[i], (pte_t){(e.v & ~clear) | set});
	}
}

/* Free the tables that lie wholly in [start, end) and are empty. mmap_lock held for writing. */
void pt_free_range(struct mm *mm, va_t start, va_t end);

/* Entries of the leaf table that are not none. For checks; ptl held. */
unsigned pt_used(const pte_t *slot);
