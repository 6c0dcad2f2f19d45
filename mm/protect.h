/* SPDX-License-Identifier: MIT */
/*
 * Who may do what to a page: one function says what an entry allows, one grants writability (I8). Changing protection,
 * for mprotect, UFFDIO_WRITEPROTECT and unregister alike, goes through here.
 */
#pragma once
#include "mm/backing.h"

/* A present entry for pfn with the vma's own protection: accessed, dirty, writable if the vma is. */
pte_t pte_mk_present(const struct vma *v, uint64_t pfn);

/* What a translation of this entry may allow, MACH_PROT_*: the whole of I1 and I3 in one place. */
unsigned pte_allowed_prot(const struct vma *v, pte_t e);

/* May this present entry become writable without a fault? Knows every reason against it (reference 5.7). ptl held. */
bool can_change_pte_writable(struct mm *mm, const struct vma *v, pte_t e);

/*
 * Bring the machine's translations of [start, end), inside v, in line with the entries: narrow what allows too much,
 * open what is known to be allowed. mmap_lock held for writing.
 */
void translations_sync(struct mm *mm, struct vma *v, va_t start, va_t end);

/* Clear uffd_wp and its markers in [start, end), inside v. open: give the translations back too. Returns entries changed. */
uint64_t resolve_range(struct mm *mm, struct vma *v, va_t start, va_t end, bool open);
