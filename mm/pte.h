/* SPDX-License-Identifier: MIT */
/*
 * What the engine stores in an entry beyond the hardware's bits, declared once. Call sites use the functions, no masks.
 *
 *   present      hardware bits (machine/pte.h) + bit 9 zero page, bit 10 uffd_wp, bit 11 soft-dirty
 *   none         all zero
 *   non-present  bit 1 soft-dirty, bit 2 uffd_wp, bit 3 exclusive, bits 4-8 type, bits 12-61 offset
 *                type 0..29: a slot of that swap area; 30: migration; 31: PTE marker, its offset is a set of kinds
 *
 * A frame in place has the page number of its own address: the place is the frame.
 */
#pragma once
#include "machine/pte.h"

#define PTE_ZERO_PAGE ((uint64_t)1 << 9)
#define PTE_UFFD_WP ((uint64_t)1 << 10)
#define PTE_SOFT_DIRTY ((uint64_t)1 << 11)

#define SWP_SOFT_DIRTY ((uint64_t)1 << 1)
#define SWP_UFFD_WP ((uint64_t)1 << 2)
#define SWP_EXCLUSIVE ((uint64_t)1 << 3)
#define SWP_TYPE_SHIFT 4
#define SWP_TYPE_MASK ((uint64_t)31 << SWP_TYPE_SHIFT)
#define SWP_OFFSET_SHIFT 12

#define SWP_TYPE_MIGRATION 30u
#define SWP_TYPE_MARKER 31u

enum pte_marker {
	MARKER_UFFD_WP = 1,
	MARKER_POISON = 2,
	MARKER_GUARD = 4,
};

static inline bool pte_is_none(pte_t e)
{
	return e.v == 0;
}

static inline unsigned swp_type(pte_t e)
{
	return (unsigned)((e.v & SWP_TYPE_MASK) >> SWP_TYPE_SHIFT);
}

static inline uint64_t swp_offset(pte_t e)
{
	return e.v >> SWP_OFFSET_SHIFT;
}

static inline pte_t swp_entry(unsigned type, uint64_t offset)
{
	return (pte_t){(uint64_t)type << SWP_TYPE_SHIFT | offset << SWP_OFFSET_SHIFT};
}

static inline bool pte_is_marker(pte_t e)
{
	return !pte_is_none(e) && !pte_is_present(e) && swp_type(e) == SWP_TYPE_MARKER;
}

static inline pte_t pte_marker(enum pte_marker kind)
{
	return swp_entry(SWP_TYPE_MARKER, kind);
}

static inline bool pte_has_marker(pte_t e, enum pte_marker kind)
{
	return pte_is_marker(e) && (swp_offset(e) & kind);
}

/* For everyone who only asks "is there a page": a marker counts as none (I7). */
static inline bool pte_is_none_or_marker(pte_t e)
{
	return pte_is_none(e) || pte_is_marker(e);
}

static inline bool pte_uffd_wp(pte_t e)
{
	if (pte_is_present(e))
		return e.v & PTE_UFFD_WP;
	return pte_is_marker(e) ? pte_has_marker(e, MARKER_UFFD_WP) : (!pte_is_none(e) && (e.v & SWP_UFFD_WP));
}

static inline bool pte_writable(pte_t e)
{
	return pte_is_present(e) && (e.v & PTE_W);
}

static inline bool pte_is_zero_page(pte_t e)
{
	return pte_is_present(e) && (e.v & PTE_ZERO_PAGE);
}

static inline pte_t pte_wrprotect(pte_t e)
{
	return (pte_t){e.v & ~PTE_W};
}

/* I3: the bit and the permission never stand together. */
static inline pte_t pte_mk_uffd_wp(pte_t e)
{
	return (pte_t){(e.v & ~PTE_W) | PTE_UFFD_WP};
}

static inline pte_t pte_clear_uffd_wp(pte_t e)
{
	return (pte_t){e.v & ~(pte_is_present(e) ? PTE_UFFD_WP : SWP_UFFD_WP)};
}
