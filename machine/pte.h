/* SPDX-License-Identifier: MIT */
/*
 * The page-table entry as the hardware reads it: x86-64's layout. Bits that hardware ignores (9-11, 52-58 and all of a
 * non-present entry) belong to mm/pte.h. Four levels of 512 entries; an entry of an upper level holds the address of
 * the next table in its frame field.
 */
#pragma once
#include "base/types.h"

typedef struct {
	uint64_t v;
} pte_t;

#define PTE_P ((uint64_t)1 << 0)  /* present: everything else has meaning only with it */
#define PTE_W ((uint64_t)1 << 1)  /* writable */
#define PTE_U ((uint64_t)1 << 2)  /* user: always set in a program's entry; clear = no access (PROT_NONE) */
#define PTE_A ((uint64_t)1 << 5)  /* accessed */
#define PTE_D ((uint64_t)1 << 6)  /* dirty */
#define PTE_PS ((uint64_t)1 << 7) /* huge leaf, in the second level */
#define PTE_NX ((uint64_t)1 << 63)
#define PTE_FRAME_MASK (((uint64_t)1 << 52) - PAGE_SIZE)

#define PT_LEVELS 4

/* Index of va in the table of a level: level 0 holds leaves (pte), 1 pmd, 2 pud, 3 the root. */
static inline unsigned pt_index(va_t va, unsigned level)
{
	return (unsigned)(va >> (PAGE_SHIFT + 9 * level)) & (PTRS_PER_TABLE - 1);
}

static inline bool pte_is_present(pte_t e)
{
	return e.v & PTE_P;
}

static inline uint64_t pte_pfn(pte_t e)
{
	return (e.v & PTE_FRAME_MASK) >> PAGE_SHIFT;
}
