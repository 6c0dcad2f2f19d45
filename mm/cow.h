/* SPDX-License-Identifier: MIT */
/*
 * Copy-on-write of frames: when a page may be written where it is, when it must be copied first, and what a copy carries.
 * All with the ptl of slot held and e just read from it.
 */
#pragma once
#include "mm/backing.h"

/* Make the present, read-only page of a write fault writable: reuse or copy (reference 7.5). 0 or -ENOMEM. */
int cow_write(struct mm *mm, struct vma *v, va_t va, pte_t *slot, pte_t e);

/*
 * A private, read-only copy for a reader who keeps a pin: carries uffd_wp and soft-dirty (I5), because nothing was
 * written. 0 or -ENOMEM.
 */
int cow_unshare(struct mm *mm, struct vma *v, va_t va, pte_t *slot, pte_t e);
