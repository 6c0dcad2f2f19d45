/* SPDX-License-Identifier: MIT */
/*
 * REGISTER and UNREGISTER below the ioctl: which memory can be armed, whose it is, and what arming does to it.
 *
 * Memory in place is found by asking the host; a vma for it exists from the first REGISTER until nothing distinguishes
 * it from ordinary memory any more. Everything is checked before anything is changed.
 */
#include "mm/protect.h"

#include "base/assert.h"

#include <errno.h>

struct arm {
	struct mm *mm;
	struct vma_uffd *uffd;
	unsigned modes;
	bool found; /* something is mapped in the range */
};

/* ---- checks, in address order over host mappings and our own vmas ------------------------------------------------------ */

static int check_vma(struct arm *a, const struct vma *v)
{
	a->found = true;
	return v->uffd && v->uffd != a->uffd ? -EBUSY : 0;
}

/* Anonymous private memory only, so far: the answer is that of a kernel without the other kinds. */
static int check_place(struct arm *a, const struct mach_place *p)
{
	a->found = true;
	if (p->kind != MACH_PLACE_ANON)
		return -EINVAL;
	return p->may_write ? 0 : -EPERM;
}

/* Calls vma_fn for our vmas and place_fn for the parts of host mappings that none covers, in address order. */
struct survey {
	struct arm *arm;
	int (*vma_fn)(struct arm *a, const struct vma *v);
	int (*place_fn)(struct arm *a, const struct mach_place *p);
	va_t at, end;
};

/* Our vmas below limit, starting at s->at. */
static int survey_vmas(struct survey *s, va_t limit)
{
	int r = 0;

	for (struct vma *v; r == 0 && s->at < limit && (v = vma_first_in(s->arm->mm, s->at, limit)); s->at = v->end)
		r = s->vma_fn(s->arm, v);
	return r;
}

static int survey_place(void *arg, const struct mach_place *p)
{
	struct survey *s = arg;
	int r = survey_vmas(s, p->start);

	s->at = max_u64(s->at, p->start);
	while (r == 0 && s->at < p->end) {
		struct vma *v = vma_first_in(s->arm->mm, s->at, p->end);
		struct mach_place part = *p;

		part.start = s->at;
		part.end = v ? max_u64(vma_start(v), s->at) : p->end;
		if (part.start < part.end)
			r = s->place_fn(s->arm, &part);
		s->at = part.end;
		if (r == 0 && v)
			r = survey_vmas(s, min_u64(v->end, p->end));
	}
	return r;
}

static int survey(struct arm *a, va_t start, va_t end, int (*vma_fn)(struct arm *, const struct vma *),
		  int (*place_fn)(struct arm *, const struct mach_place *))
{
	struct machine *m = mm_machine(a->mm);
	struct survey s = {a, vma_fn, place_fn, start, end};
	int r = 0;

	if (m->ops->place_query)
		r = m->ops->place_query(&a->mm->as, start, end, survey_place, &s);
	return r ? r : survey_vmas(&s, end);
}

/* ---- arming ------------------------------------------------------------------------------------------------------------ */

static int adopt_place(struct arm *a, const struct mach_place *p)
{
	struct machine *m = mm_machine(a->mm);
	struct vma *v = vma_insert(a->mm, p->start, p->end, p->prot, &backing_place);
	int r = v ? m->ops->place_attach(&a->mm->as, p->start, p->end, p->prot) : -ENOMEM;

	if (r && v)
		vma_delete(a->mm, v);
	return r;
}

static int adopt_nothing(struct arm *a, const struct vma *v)
{
	return 0;
}

static int mark_present_span(struct pt_span *s, void *arg)
{
	struct vma *v = arg;

	for (unsigned i = 0; i < s->n; i++) {
		pte_t e = pte_get(s->mm, &s->slots[i]), now = pte_mk_present(v, (s->va >> PAGE_SHIFT) + i);

		if (pte_is_none(e))
			span_set(s, i, now);
		else if (pte_has_marker(e, MARKER_UFFD_WP))
			span_set(s, i, pte_mk_uffd_wp(now));
	}
	return 0;
}

struct present_arg {
	struct mm *mm;
	struct vma *vma;
};

static int mark_present_run(void *arg, va_t start, va_t end)
{
	struct present_arg *p = arg;

	return pt_walk_alloc(p->mm, start, end, mark_present_span, p->vma);
}

/* From now on an empty page is a monitor's business: learn which there are, hide the others. */
static int begin_missing(struct mm *mm, struct vma *v)
{
	struct present_arg p = {mm, v};

	if (!v->backing->in_place)
		return 0;
	return mm_machine(mm)->ops->place_hide_absent(&mm->as, vma_start(v), v->end, mark_present_run, &p);
}

static int arm_vma(struct mm *mm, struct vma *v, struct vma_uffd *uffd, unsigned modes)
{
	unsigned old = v->modes;
	int r = 0;

	ASSERT(v->uffd == NULL || v->uffd == uffd); /* checked before anything was changed */
	ASSERT((v->uffd != NULL) == (old != 0));

	if (v->uffd == uffd && (modes & ~old) == 0)
		return 0; /* a subset: keeps the wider set (trap 5) */
	if (!(old & VM_UFFD_MISSING) && (modes & VM_UFFD_MISSING))
		r = begin_missing(mm, v);
	if (r)
		return r;
	v->uffd = uffd;
	v->modes = modes;
	/* Modes that were dropped open what they hid; a WP that came back closes over bits left behind (trap 6). */
	if (old != 0 && old != modes)
		translations_sync(mm, v, vma_start(v), v->end);
	return 0;
}

static void disarm_vma(struct mm *mm, struct vma *v);
static void forget_vma(struct mm *mm, struct vma *v);

/* Stops at the first page that was filled, with its address in *arg. */
static int first_filled_span(struct pt_span *s, void *arg)
{
	for (unsigned i = 0; i < s->n; i++) {
		pte_t e = pte_get(s->mm, &s->slots[i]);

		if (pte_is_present(e) && !pte_is_zero_page(e)) {
			*(va_t *)arg = s->va + i * PAGE_SIZE;
			return 1;
		}
	}
	return 0;
}

static int has_content(void *arg, va_t start, va_t end)
{
	return 1;
}

/* What is mapped there is not what we left there, or a page that was filled has lost its content. */
static bool is_stale(struct mm *mm, struct vma *v)
{
	struct machine *m = mm_machine(mm);
	va_t va;

	if (!v->backing->in_place)
		return false;
	if (!m->ops->place_is_intact(&mm->as, vma_start(v), v->end))
		return true;
	if (!vma_missing(v) || !pt_walk(mm, vma_start(v), v->end, first_filled_span, NULL, &va))
		return false;
	return m->ops->place_scan(&mm->as, va, va + PAGE_SIZE, has_content, NULL) != 1;
}

/* Memory that was unmapped behind our back, and is perhaps something new by now: nothing of it is armed any more. */
static void drop_stale(struct mm *mm, va_t start, va_t end)
{
	for (struct vma *v = vma_first_in(mm, start, end), *next; v; v = next) {
		next = v->end < end ? vma_first_in(mm, v->end, end) : NULL;
		if (!is_stale(mm, v))
			continue;
		mm_machine(mm)->ops->place_forget(&mm->as, vma_start(v), v->end); /* the host's is somebody else's */
		forget_vma(mm, v);
	}
}

/* A failed REGISTER armed a prefix only: what it adopted beyond that goes back to the host. */
static void forget_unarmed(struct mm *mm, va_t start, va_t end)
{
	for (struct vma *v = vma_first_in(mm, start, end), *next; v; v = next) {
		next = v->end < end ? vma_first_in(mm, v->end, end) : NULL;
		if (!vma_is_armed(v))
			disarm_vma(mm, v);
	}
}

int mm_arm(struct mm *mm, va_t start, va_t end, struct vma_uffd *uffd, unsigned modes)
{
	struct arm a = {.mm = mm, .uffd = uffd, .modes = modes};
	int r;

	ASSERT(mm_machine(mm)->ops->rw_is_held(mm_machine(mm), &mm->mmap_lock, true));
	drop_stale(mm, start, end);
	r = survey(&a, start, end, check_vma, check_place);
	ASSERT(modes != 0 && (modes & ~(VM_UFFD_MISSING | VM_UFFD_WP | VM_UFFD_MINOR)) == 0);
	if (r == 0 && !a.found)
		r = -EINVAL;
	if (r)
		return r;
	r = survey(&a, start, end, adopt_nothing, adopt_place);
	if (r == 0)
		r = vma_isolate(mm, start, end);
	for (struct vma *v = vma_first_in(mm, start, end); r == 0 && v; v = v->end < end ? vma_first_in(mm, v->end, end) : NULL)
		r = arm_vma(mm, v, uffd, modes);
	if (r)
		forget_unarmed(mm, start, end);
	vma_merge_around(mm, start, end);
	return r;
}

/* ---- disarming ---------------------------------------------------------------------------------------------------------- */

static int has_special_span(struct pt_span *s, void *arg)
{
	for (unsigned i = 0; i < s->n; i++) {
		pte_t e = pte_get(s->mm, &s->slots[i]);

		if (pte_has_marker(e, MARKER_POISON) || pte_has_marker(e, MARKER_GUARD))
			return 1;
	}
	return 0;
}

static int clear_span(struct pt_span *s, void *arg)
{
	for (unsigned i = 0; i < s->n; i++)
		if (!pte_is_none(pte_get(s->mm, &s->slots[i])))
			span_set(s, i, (pte_t){0});
	return 0;
}

static void forget_vma(struct mm *mm, struct vma *v)
{
	va_t start = vma_start(v), end = v->end;
	int r = pt_walk(mm, start, end, clear_span, NULL, NULL);

	ASSERT(r == 0 && v->backing->in_place);
	vma_delete(mm, v);
	pt_free_range(mm, start, end);
}

/* Nothing here differs from ordinary memory any more: hand it back to the host and forget it. */
static void release_place(struct mm *mm, struct vma *v)
{
	struct machine *m = mm_machine(mm);

	if (m->ops->place_is_intact(&mm->as, vma_start(v), v->end))
		m->ops->place_detach(&mm->as, vma_start(v), v->end, v->prot);
	else
		m->ops->place_forget(&mm->as, vma_start(v), v->end); /* somebody else's memory by now */
	forget_vma(mm, v);
}

/* Poison outlives the registration (trap 20), so a vma that has any stays, un-armed. */
static void disarm_vma(struct mm *mm, struct vma *v)
{
	resolve_range(mm, v, vma_start(v), v->end, false); /* bits that outlived a WP registration as well (trap 6) */
	v->uffd = NULL;
	v->modes = 0;
	if (v->backing->in_place && !pt_walk(mm, vma_start(v), v->end, has_special_span, NULL, NULL))
		release_place(mm, v);
	else
		translations_sync(mm, v, vma_start(v), v->end);
}

static int check_owner(struct arm *a, const struct vma *v)
{
	a->found = true;
	return v->uffd && v->uffd != a->uffd ? -EINVAL : 0;
}

static int check_could_be_armed(struct arm *a, const struct mach_place *p)
{
	a->found = true;
	return p->kind == MACH_PLACE_ANON ? 0 : -EINVAL;
}

int mm_disarm(struct mm *mm, va_t start, va_t end, struct vma_uffd *uffd, void (*wake)(void *, va_t, va_t), void *arg)
{
	struct arm a = {.mm = mm, .uffd = uffd};
	int r = survey(&a, start, end, check_owner, check_could_be_armed);

	ASSERT(mm_machine(mm)->ops->rw_is_held(mm_machine(mm), &mm->mmap_lock, true));
	if (r == 0 && !a.found)
		r = -EINVAL;
	if (r == 0)
		r = vma_isolate(mm, start, end);
	if (r)
		return r;
	for (struct vma *v = vma_first_in(mm, start, end), *next; v; v = next) {
		next = v->end < end ? vma_first_in(mm, v->end, end) : NULL;
		if (!vma_is_armed(v))
			continue;
		if (vma_missing(v))
			wake(arg, vma_start(v), v->end);
		disarm_vma(mm, v);
	}
	vma_merge_around(mm, start, end);
	return 0;
}

void mm_disarm_all(struct mm *mm, struct vma_uffd *uffd)
{
	for (struct vma *v = vma_first_in(mm, 0, TASK_SIZE), *next; v; v = next) {
		next = vma_next(mm, v);
		if (v->uffd && (!uffd || v->uffd == uffd))
			disarm_vma(mm, v);
	}
	vma_merge_around(mm, 0, TASK_SIZE);
}

int mm_move_begin(struct mm *mm, va_t start, va_t end)
{
	int r = vma_isolate(mm, start, end);

	if (r)
		return r;
	vma_for_each_in(v, mm, start, end) {
		ASSERT(v->backing->in_place);
		mm_machine(mm)->ops->place_detach(&mm->as, vma_start(v), v->end, v->prot);
	}
	return 0;
}

/* An un-armed vma at the new place, for nothing but the poison in it. */
static int carry_poison(struct mm *mm, struct vma *v, va_t to)
{
	struct machine *m = mm_machine(mm);
	va_t end = to + (v->end - vma_start(v));
	struct vma *new_vma;
	int r;

	if (!pt_walk(mm, vma_start(v), v->end, has_special_span, NULL, NULL))
		return 0;
	new_vma = vma_insert(mm, to, end, v->prot, v->backing);
	r = new_vma ? m->ops->place_attach(&mm->as, to, end, v->prot) : -ENOMEM;
	for (va_t va = vma_start(v); r == 0 && va < v->end; va += PAGE_SIZE, to += PAGE_SIZE) {
		pte_t *from = pt_find(mm, va), *slot;

		if (!from || !pte_has_marker(pte_get(mm, from), MARKER_POISON))
			continue;
		slot = pt_find_alloc(mm, to);
		if (!slot)
			return -ENOMEM;
		mach_lock(m, pt_lock_of(slot));
		pte_set(mm, slot, pte_marker(MARKER_POISON));
		mach_unlock(m, pt_lock_of(slot));
	}
	if (new_vma)
		translations_sync(mm, new_vma, vma_start(new_vma), new_vma->end);
	return r;
}

static int clear_entries(struct mm *mm, struct vma *v)
{
	return pt_walk(mm, vma_start(v), v->end, clear_span, NULL, NULL);
}

int mm_move_end(struct mm *mm, va_t start, va_t end, va_t to, bool keep)
{
	struct machine *m = mm_machine(mm);
	int r = 0;

	for (struct vma *v = vma_first_in(mm, start, end), *next; v; v = next) {
		next = v->end < end ? vma_first_in(mm, v->end, end) : NULL;
		if (r == 0)
			r = carry_poison(mm, v, to + (vma_start(v) - start));
		if (clear_entries(mm, v) == 0 && keep && r == 0)
			r = m->ops->place_attach(&mm->as, vma_start(v), v->end, v->prot);
		if (keep && r == 0 && vma_missing(v))
			r = begin_missing(mm, v);
		if (!keep)
			vma_delete(mm, v);
	}
	pt_free_range(mm, start, end);
	vma_merge_around(mm, start, end);
	return r;
}
