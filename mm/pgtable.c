/* SPDX-License-Identifier: MIT */
/*
 * Tables: allocation from blocks, the walk down, spans for callbacks, freeing.
 */
#include "mm/pgtable.h"

#include "base/assert.h"

#include <errno.h>

struct mach_lock *pt_lock_of(const pte_t *slot)
{
	return &pt_table_of(slot)->ptl;
}

unsigned pt_used(const pte_t *slot)
{
	return pt_table_of(slot)->used;
}

static bool add_block(struct mm *mm)
{
	struct machine *m = mm_machine(mm);
	struct pt_block *block = m->ops->mem_alloc(m, PT_BLOCK_SIZE, PT_BLOCK_SIZE);

	if (!block)
		return false;
	ASSERT(((uintptr_t)block & (PT_BLOCK_SIZE - 1)) == 0);
	block->next = mm->pt_blocks;
	mm->pt_blocks = block;
	for (unsigned i = PT_BLOCK_TABLES; i-- > 0;) {
		struct pt_table *t = &block->table[i];

		t->slots = (pte_t *)((char *)block + (i + 1) * PAGE_SIZE);
		t->next_free = mm->pt_free;
		mm->pt_free = t;
	}
	return true;
}

static pte_t *table_alloc(struct mm *mm)
{
	struct machine *m = mm_machine(mm);
	struct pt_table *t = NULL;

	mach_lock(m, &mm->pt_lock);
	if (mm->pt_free || add_block(mm)) {
		t = mm->pt_free;
		mm->pt_free = t->next_free;
		mm->nr_tables++;
		ASSERT(t->used == 0);
	}
	mach_unlock(m, &mm->pt_lock);
	return t ? t->slots : NULL;
}

static void table_free(struct mm *mm, pte_t *slots)
{
	struct machine *m = mm_machine(mm);
	struct pt_table *t = pt_table_of(slots);

	ASSERT(t->used == 0);
	ASSERT(t->slots == slots);
	mach_lock(m, &mm->pt_lock);
	ASSERT(mm->nr_tables > 0);
	mm->nr_tables--;
	t->next_free = mm->pt_free;
	mm->pt_free = t;
	mach_unlock(m, &mm->pt_lock);
}

static pte_t *next_table(pte_t e)
{
	return (pte_t *)(uintptr_t)(e.v & PTE_FRAME_MASK);
}

/* Make the table below slot; another thread may have been faster. */
static pte_t *table_install(struct mm *mm, pte_t *slot)
{
	struct machine *m = mm_machine(mm);
	pte_t *fresh = table_alloc(mm), e;

	if (!fresh)
		return NULL;
	mach_lock(m, pt_lock_of(slot));
	e = pte_get(mm, slot);
	if (pte_is_none(e)) {
		e = (pte_t){(uint64_t)(uintptr_t)fresh | PTE_P | PTE_W | PTE_U | PTE_A};
		pte_set(mm, slot, e);
		fresh = NULL;
	}
	mach_unlock(m, pt_lock_of(slot));
	if (fresh)
		table_free(mm, fresh);
	return next_table(e);
}

/* Walk down; *level is where it ended: 0 with the leaf slot, else the level whose entry is none. */
static pte_t *descend(struct mm *mm, va_t va, bool alloc, unsigned *level)
{
	pte_t *table = mm->as.root;

	ASSERT(va < TASK_SIZE);
	for (*level = PT_LEVELS - 1; *level > 0; --*level) {
		pte_t *slot = &table[pt_index(va, *level)];
		pte_t e = pte_get(mm, slot);

		if (!pte_is_none(e))
			table = next_table(e);
		else if (!alloc || !(table = table_install(mm, slot)))
			return NULL;
	}
	return &table[pt_index(va, 0)];
}

pte_t *pt_find(struct mm *mm, va_t va)
{
	unsigned level;

	return descend(mm, va, false, &level);
}

pte_t *pt_find_alloc(struct mm *mm, va_t va)
{
	unsigned level;

	return descend(mm, va, true, &level);
}

static int visit_span(struct mm *mm, pte_t *slot, va_t va, va_t end, pt_span_fn fn, void *arg)
{
	struct machine *m = mm_machine(mm);
	struct pt_span s = {.mm = mm, .slots = slot, .va = va, .n = (unsigned)((end - va) >> PAGE_SHIFT)};
	int r;

	mach_lock(m, pt_lock_of(slot));
	r = fn(&s, arg);
	mach_unlock(m, pt_lock_of(slot));
	return r;
}

/* The end of what one entry of this level covers. */
static va_t level_end(va_t va, unsigned level)
{
	uint64_t size = (uint64_t)1 << (PAGE_SHIFT + 9 * level);

	return (va & ~(size - 1)) + size;
}

static int walk(struct mm *mm, va_t start, va_t end, pt_span_fn fn, pt_hole_fn hole, bool alloc, void *arg)
{
	int r = 0;

	ASSERT(start <= end && is_page_aligned(start) && is_page_aligned(end));
	for (va_t va = start, next; va < end && r == 0; va = next) {
		unsigned level;
		pte_t *slot = descend(mm, va, alloc, &level);

		next = min_u64(end, level_end(va, slot ? 1 : level));
		if (slot)
			r = visit_span(mm, slot, va, next, fn, arg);
		else if (alloc)
			r = -ENOMEM;
		else if (hole)
			r = hole(mm, va, next, arg);
	}
	return r;
}

int pt_walk(struct mm *mm, va_t start, va_t end, pt_span_fn fn, pt_hole_fn hole, void *arg)
{
	return walk(mm, start, end, fn, hole, false, arg);
}

int pt_walk_alloc(struct mm *mm, va_t start, va_t end, pt_span_fn fn, void *arg)
{
	return walk(mm, start, end, fn, NULL, true, arg);
}

/* Free empty tables below `table` that lie wholly in [start, end); true when the table itself is empty now. */
static bool free_below(struct mm *mm, pte_t *table, unsigned level, va_t base, va_t start, va_t end)
{
	struct machine *m = mm_machine(mm);
	uint64_t size = (uint64_t)1 << (PAGE_SHIFT + 9 * level);

	for (unsigned i = 0; level > 0 && i < PTRS_PER_TABLE; i++) {
		va_t at = base + i * size;
		pte_t e = at < end && at + size > start ? pte_get(mm, &table[i]) : (pte_t){0};

		if (pte_is_none(e) || !free_below(mm, next_table(e), level - 1, at, start, end))
			continue;
		if (at < start || at + size > end)
			continue;
		mach_lock(m, pt_lock_of(&table[i]));
		pte_set(mm, &table[i], (pte_t){0});
		mach_unlock(m, pt_lock_of(&table[i]));
		table_free(mm, next_table(e));
	}
	return pt_used(table) == 0;
}

void pt_free_range(struct mm *mm, va_t start, va_t end)
{
	ASSERT(mm_machine(mm)->ops->rw_is_held(mm_machine(mm), &mm->mmap_lock, true));
	free_below(mm, mm->as.root, PT_LEVELS - 1, 0, start, end);
}

int pt_init(struct mm *mm)
{
	mm->as.root = table_alloc(mm);
	return mm->as.root ? 0 : -ENOMEM;
}

void pt_destroy(struct mm *mm)
{
	struct machine *m = mm_machine(mm);

	table_free(mm, mm->as.root);
	ASSERT(mm->nr_tables == 0);
	while (mm->pt_blocks) {
		struct pt_block *block = mm->pt_blocks;

		mm->pt_blocks = block->next;
		m->ops->mem_free(m, block, PT_BLOCK_SIZE);
	}
}
