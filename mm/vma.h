/* SPDX-License-Identifier: MIT */
/* The ordered tree of vmas: find, insert, split, merge. mmap_lock held for writing where it changes. */
#pragma once
#include "mm/mm.h"

/* A new vma over free space, in the tree. NULL: no memory. */
struct vma *vma_insert(struct mm *mm, va_t start, va_t end, unsigned prot, const struct backing_ops *backing);
void vma_delete(struct mm *mm, struct vma *v);

/* Split so that no vma straddles at. -ENOMEM. */
int vma_split_at(struct mm *mm, va_t at);
/* Split at both ends: afterwards every vma is wholly inside or wholly outside. -ENOMEM, having changed nothing visible. */
int vma_isolate(struct mm *mm, va_t start, va_t end);
/* Join neighbours that became alike, from the vma before start to the one at end. */
void vma_merge_around(struct mm *mm, va_t start, va_t end);

static inline bool vma_is_armed(const struct vma *v)
{
	return v->uffd != NULL;
}

/* Does a page of this vma, when it is not there, belong to a monitor? */
static inline bool vma_missing(const struct vma *v)
{
	return v->modes & VM_UFFD_MISSING;
}

static inline bool vma_wp(const struct vma *v)
{
	return v->modes & VM_UFFD_WP;
}

#define vma_for_each_in(v, mm, s, e) \
	for (struct vma *v = vma_first_in(mm, s, e); v && vma_start(v) < (e); v = vma_next(mm, v))
