/* SPDX-License-Identifier: MIT */
/*
 * What simulated programs do with memory: loads, stores, fetches, and the copies that the engine makes on their behalf.
 * One access is one step: the look into the TLB, the walk if it missed, and the data. (Another CPU's flush takes effect
 * between two instructions of a CPU, never inside one.)
 */
#include "machine/sim/internal.h"

#include <errno.h>
#include <string.h>

struct access {
	struct mach_as *as;
	va_t va;
	void *data;
	unsigned size;
	unsigned need;	/* MACH_PROT_* */
	unsigned flags; /* FAULT_* */
};

/* A naturally aligned piece of memory is copied whole: no other CPU sees a part of it. */
static void move_data(struct sim *s, const struct access *a, uint64_t pfn)
{
	char *p = sim_frame_addr(s, pfn) + (a->va & ~PAGE_MASK);
	bool store = a->need & MACH_PROT_W;

	ASSERT(!store || pfn != 0); /* a store to the zero page */
	sim_point(&s->m, MACH_OBJ_CONTENT, store ? MACH_WRITE : MACH_READ, (void *)((uintptr_t)p & ~(uintptr_t)7));
	memcpy(store ? (void *)p : a->data, store ? a->data : (void *)p, a->size);
}

/* One try by the hardware. */
static bool try_access(struct sim *s, const struct access *a)
{
	uint64_t pfn;
	bool ok;

	ASSERT((a->va & ~PAGE_MASK) + a->size <= PAGE_SIZE && s->atomic == 0);
	/* The one point where others can come in; the announcements that follow belong to the same step. */
	sim_point(&s->m, MACH_OBJ_TLB, MACH_READ, sim_tlb_object(s->cur->hw, a->va));
	s->atomic++;
	ok = sim_translate(s, a->as, a->va, a->need, &pfn);
	if (ok && a->data)
		move_data(s, a, pfn);
	s->atomic--;
	return ok;
}

static enum fault_result do_access(struct sim *s, const struct access *a)
{
	enum fault_result r = FAULT_DONE;

	ASSERT(s->atomic == 0);
	while (r == FAULT_DONE && !try_access(s, a)) {
		ASSERT(s->cur->nr_held == 0); /* the handler may wait for a monitor */
		r = a->as->up->fault(a->as, a->va, a->flags);
		ASSERT(s->cur->nr_held == 0);
	}
	return r;
}

/* ---- programs -------------------------------------------------------------------------------------------------- */

static void assert_shape(va_t va, unsigned size)
{
	ASSERT(size == 1 || size == 2 || size == 4 || size == 8);
	ASSERT((va & (size - 1)) == 0 && va < SIM_VA_LIMIT);
}

enum fault_result sim_load(struct mach_as *as, va_t va, unsigned size, uint64_t *value)
{
	struct access a = {.as = as, .va = va, .data = value, .size = size, .need = MACH_PROT_R, .flags = FAULT_USER};

	assert_shape(va, size);
	*value = 0; /* little-endian: the bytes that are loaded are the low ones */
	return do_access(sim_get(), &a);
}

enum fault_result sim_store(struct mach_as *as, va_t va, unsigned size, uint64_t value)
{
	struct access a = {.as = as,
			   .va = va,
			   .data = &value,
			   .size = size,
			   .need = MACH_PROT_R | MACH_PROT_W,
			   .flags = FAULT_USER | FAULT_WRITE};

	assert_shape(va, size);
	return do_access(sim_get(), &a);
}

enum fault_result sim_fetch(struct mach_as *as, va_t va)
{
	struct access a = {.as = as,
			   .va = va,
			   .size = 1,
			   .need = MACH_PROT_R | MACH_PROT_X,
			   .flags = FAULT_USER | FAULT_EXEC};

	return do_access(sim_get(), &a);
}

/* ---- copies on a program's behalf ------------------------------------------------------------------------------ */

/* Is [va, va+len) a pointer of the test program? */
static bool is_host_range(va_t va, size_t len)
{
	return va >= SIM_VA_LIMIT && va < TASK_SIZE && len <= TASK_SIZE - va;
}

/* The longest aligned piece at va, at most len. */
static unsigned piece(va_t va, size_t len)
{
	unsigned size = 8;

	while ((va & (size - 1)) || size > len)
		size >>= 1;
	return size;
}

static int copy_piece(struct sim *s, struct access *a, bool may_fault)
{
	enum fault_result r;

	if (!may_fault)
		return try_access(s, a) ? 0 : -EFAULT;
	do
		r = do_access(s, a); /* a system call's own faults are not ended by a signal */
	while (r == FAULT_INTERRUPTED);
	return r == FAULT_DONE ? 0 : -EFAULT;
}

static int copy_sim(struct sim *s, va_t va, char *buf, size_t len, unsigned need, bool may_fault)
{
	struct access a = {.as = s->cur->as, .need = need, .flags = need & MACH_PROT_W ? FAULT_WRITE : 0};
	int r = 0;

	if (!a.as || len > SIM_VA_LIMIT - va)
		return -EFAULT;
	for (; len > 0 && r == 0; va += a.size, buf += a.size, len -= a.size) {
		a.va = va;
		a.data = buf;
		a.size = piece(va, len);
		r = copy_piece(s, &a, may_fault);
	}
	return r;
}

static int copy(struct machine *m, va_t va, void *buf, size_t len, unsigned need, bool may_fault)
{
	struct sim *s = sim_of(m);
	bool store = need & MACH_PROT_W;
	void *host = (void *)(uintptr_t)va;

	ASSERT(!may_fault || s->cur->nr_held == 0);
	if (len == 0)
		return 0;
	if (va < SIM_VA_LIMIT)
		return copy_sim(s, va, buf, len, need, may_fault);
	if (!is_host_range(va, len))
		return -EFAULT;
	sim_point(m, MACH_OBJ_CONTENT, store ? MACH_WRITE : MACH_READ, host);
	memcpy(store ? host : buf, store ? buf : host, len);
	return 0;
}

int sim_copy_in(struct machine *m, void *dst, va_t src, size_t len)
{
	return copy(m, src, dst, len, MACH_PROT_R, true);
}

int sim_copy_out(struct machine *m, va_t dst, const void *src, size_t len)
{
	return copy(m, dst, (void *)(uintptr_t)src, len, MACH_PROT_R | MACH_PROT_W, true);
}

int sim_copy_in_atomic(struct machine *m, void *dst, va_t src, size_t len)
{
	return copy(m, src, dst, len, MACH_PROT_R, false);
}
