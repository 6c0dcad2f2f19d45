/* SPDX-License-Identifier: MIT */
#include "mm/vma.h"

#include "base/assert.h"

#include <errno.h>

static struct vma *vma_of(struct treap_node *n)
{
	return n ? container_of(n, struct vma, node) : NULL;
}

static void assert_can_change(struct mm *mm)
{
	ASSERT(mm_machine(mm)->ops->rw_is_held(mm_machine(mm), &mm->mmap_lock, true));
}

struct vma *vma_find(const struct mm *mm, va_t va)
{
	struct vma *v = vma_of(treap_find_le(&mm->vmas, va));

	return v && v->end > va ? v : vma_of(treap_find_ge(&mm->vmas, va));
}

struct vma *vma_first_in(const struct mm *mm, va_t start, va_t end)
{
	struct vma *v = vma_find(mm, start);

	return v && vma_start(v) < end ? v : NULL;
}

struct vma *vma_next(const struct mm *mm, const struct vma *v)
{
	return vma_of(treap_find_ge(&mm->vmas, v->end));
}

struct vma *vma_insert(struct mm *mm, va_t start, va_t end, unsigned prot, const struct backing_ops *backing)
{
	struct vma *v;

	assert_can_change(mm);
	ASSERT(start < end && is_page_aligned(start) && is_page_aligned(end) && end <= TASK_SIZE);
	DASSERT(!vma_first_in(mm, start, end));
	v = pool_get(&mm->vma_pool);
	if (!v)
		return NULL;
	v->node.key = start;
	v->end = end;
	v->prot = prot;
	v->backing = backing;
	treap_insert(&mm->vmas, &v->node);
	return v;
}

void vma_delete(struct mm *mm, struct vma *v)
{
	assert_can_change(mm);
	ASSERT(vma_start(v) < v->end && mm->vmas.count > 0);
	treap_remove(&mm->vmas, &v->node);
	pool_put(&mm->vma_pool, v);
}

int vma_split_at(struct mm *mm, va_t at)
{
	struct vma *v = vma_find(mm, at), *tail;
	va_t end;

	if (!v || vma_start(v) >= at)
		return 0;
	ASSERT(is_page_aligned(at) && at < v->end);
	end = v->end;
	v->end = at;
	tail = vma_insert(mm, at, end, v->prot, v->backing);
	if (!tail) {
		v->end = end;
		return -ENOMEM;
	}
	tail->modes = v->modes;
	tail->uffd = v->uffd;
	return 0;
}

int vma_isolate(struct mm *mm, va_t start, va_t end)
{
	int r = vma_split_at(mm, start);

	if (r == 0)
		r = vma_split_at(mm, end);
	if (r)
		vma_merge_around(mm, start, end);
	return r;
}

static bool alike(const struct vma *a, const struct vma *b)
{
	return a->end == vma_start(b) && a->prot == b->prot && a->modes == b->modes && a->uffd == b->uffd &&
	       a->backing == b->backing;
}

void vma_merge_around(struct mm *mm, va_t start, va_t end)
{
	struct vma *v = vma_of(treap_find_le(&mm->vmas, start ? start - 1 : 0));

	assert_can_change(mm);
	if (!v)
		v = vma_find(mm, start);
	while (v && vma_start(v) <= end) {
		struct vma *next = vma_next(mm, v);

		if (next && alike(v, next)) {
			va_t new_end = next->end;

			vma_delete(mm, next);
			v->end = new_end;
		} else {
			v = next;
		}
	}
}
