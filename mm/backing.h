/* SPDX-License-Identifier: MIT */
/*
 * What an entry points to. Two backings answer to this table and nothing above knows which it has: frames
 * (memory that the engine made) and places (memory that a program brought, governed where it is).
 */
#pragma once
#include "mm/pgtable.h"
#include "mm/vma.h"

/* Where the bytes of a fill come from. */
struct fill_source {
	bool zero;	  /* zeroes */
	const void *page; /* else, when not NULL: a page of engine memory (one page only) */
	va_t src;	  /* else: the first byte in the calling program */
};

/* Pages taken out of entries, to be given up after the flush that is owed for them (I6). */
#define GATHER_MAX 64
struct gather {
	struct mm *mm;
	struct vma *vma;
	va_t start, end; /* the range that owes a flush; empty: start >= end */
	unsigned n;
	uint64_t pfn[GATHER_MAX];
};

struct backing_ops {
	const char *name;
	/*
	 * An entry of an un-armed part may be none although the host has a page there, and the program may touch it
	 * without a fault: presence is learned, not known.
	 */
	bool in_place;

	/*
	 * Make content for up to n empty pages at va, hidden from the program. *first: the entry of the first page, without
	 * uffd_wp; the following pages' frames are consecutive. *made: pages done, also on error. -EFAULT: the source
	 * is not resident; -ENOMEM. ptl held.
	 */
	int (*make)(struct mm *mm, const struct vma *v, va_t va, unsigned n, const struct fill_source *from, pte_t *first,
		    unsigned *made);
	/* The same for pages that read as zeroes: what ZEROPAGE, or a read of a page nobody filled, installs. ptl held. */
	int (*make_zero)(struct mm *mm, const struct vma *v, va_t va, unsigned n, pte_t *first, unsigned *made);
	/*
	 * Make sure that none-entries of the span say the truth: pages that hold content become present, the others
	 * are hidden until they are filled or settled. ptl held.
	 */
	int (*settle)(struct mm *mm, struct vma *v, struct pt_span *s);
	/* The span's entries were cleared: throw the content away, hidden if the vma is armed for missing. ptl held. */
	int (*discard)(struct mm *mm, const struct vma *v, va_t start, va_t end);
};

extern const struct backing_ops backing_frames;
extern const struct backing_ops backing_place;

/* ---- frames: counts and the gather ------------------------------------------------------------------------------ */

static inline struct frame *frame_of(struct mm *mm, uint64_t pfn)
{
	ASSERT(pfn > 0 && pfn < mm->mem->nr_frames);
	return &mm->mem->frames[pfn];
}

/* A zeroed or to-be-overwritten frame with one reference, exclusive. */
int frame_get_new(struct mm *mm, uint64_t *pfn);
void frame_put(struct mm *mm, uint64_t pfn);
/* Is the page behind e known to belong to this entry alone (I4)? Places: the host decides, always yes. */
bool pte_is_exclusive(struct mm *mm, const struct vma *v, pte_t e);

void gather_begin(struct gather *g, struct mm *mm, struct vma *v);
/* The entry e of va was cleared. Flushes and frees when full; the ptl may be held. */
void gather_add(struct gather *g, va_t va, pte_t e);
void gather_finish(struct gather *g);
