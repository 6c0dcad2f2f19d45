/* SPDX-License-Identifier: MIT */
/*
 * Page tables: four levels of 512 entries, a lock (ptl) for each table. Tables are freed only with mmap_lock held for
 * writing, so whoever holds it for reading may walk down without locks.
 *
 * The walker owns lock, map, unmap and advance. A callback gets a span: consecutive slots of one table with its ptl
 * held. It cannot carry on past the lock (the bug of seed 1 could not be written here).
 */
#pragma once
#include "mm/mm.h"

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

/* Store an entry. The ptl is held (I2); I3 and the shape of the entry are asserted. */
void pte_set(struct mm *mm, pte_t *slot, pte_t e);

static inline pte_t pte_get(struct mm *mm, const pte_t *slot)
{
	return mach_pte_load(mm_machine(mm), slot);
}

/* Free the tables that lie wholly in [start, end) and are empty. mmap_lock held for writing. */
void pt_free_range(struct mm *mm, va_t start, va_t end);

/* Entries of the leaf table that are not none. For checks; ptl held. */
unsigned pt_used(const pte_t *slot);
