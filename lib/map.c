/* SPDX-License-Identifier: MIT */
/*
 * Calls that change the map. Ranges the engine manages are changed in its books and on the host under mmap_lock, so that a
 * fault sees either the old or the new state; everything else is passed to the kernel as it is.
 */
#include "base/assert.h"
#include "lib/engine.h"
#include "machine/live/sys.h"
#include "mm/vma.h"

#include <sys/mman.h>

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

static long raw_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	return sys6(SYS_mmap, (long)addr, (long)len, prot, flags, fd, off);
}

static bool is_error(long r)
{
	return r < 0 && r > -4096;
}

static void map_lock(void)
{
	mach_write_lock(engine.m, &engine.mm.mmap_lock);
}

static void map_unlock(void)
{
	mach_write_unlock(engine.m, &engine.mm.mmap_lock);
}

/* A range that the kernel will accept; what it will not is passed on for its errno. */
static bool is_range(const void *addr, size_t len, va_t *start, va_t *end)
{
	*start = (va_t)(uintptr_t)addr;
	*end = page_up(*start + len);
	return fl_is_active() && is_page_aligned(*start) && len > 0 && *end > *start && *end <= TASK_SIZE;
}

/* map_lock held */
static bool is_managed(va_t start, va_t end)
{
	return vma_first_in(&engine.mm, start, end);
}

/* ---- mmap, munmap ------------------------------------------------------------------------------------------------------------- */

/*
 * What is new where we thought to manage something: MAP_FIXED, or a range that was unmapped by a call we do not see.
 * The host is done already and stays as it is.
 */
static int forget_range(va_t start, va_t end)
{
	return is_managed(start, end) ? mm_unmap_locked(&engine.mm, start, end) : 0;
}

void *fl_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	va_t start, end;
	long r;

	if (!fl_is_active() || len == 0)
		return (void *)fl_result(raw_mmap(addr, len, prot, flags, fd, off));
	map_lock();
	r = raw_mmap(addr, len, prot, flags, fd, off);
	if (!is_error(r) && is_range((void *)r, len, &start, &end))
		ASSERT(forget_range(start, end) == 0);
	map_unlock();
	return (void *)fl_result(r);
}

static long munmap_locked(void *addr, size_t len, va_t start, va_t end)
{
	long r = vma_isolate(&engine.mm, start, end); /* what may fail, first */

	if (r == 0)
		r = sys3(SYS_munmap, (long)addr, (long)len, 0);
	if (r == 0)
		r = forget_range(start, end);
	else
		vma_merge_around(&engine.mm, start, end);
	return r;
}

int fl_munmap(void *addr, size_t len)
{
	va_t start, end;
	long r;

	if (!is_range(addr, len, &start, &end))
		return (int)fl_result(sys3(SYS_munmap, (long)addr, (long)len, 0));
	map_lock();
	r = munmap_locked(addr, len, start, end);
	map_unlock();
	return (int)fl_result(r);
}

/* ---- pieces: ours and the host's, in address order ------------------------------------------------------------------------------- */

/* Calls ours or theirs for each piece of the range until one fails. */
static long for_pieces(va_t start, va_t end, long (*ours)(va_t, va_t, int), long (*theirs)(va_t, va_t, int), int arg)
{
	long r = 0;

	for (va_t at = start, next; r == 0 && at < end; at = next) {
		struct vma *v = vma_first_in(&engine.mm, at, end);

		if (v && vma_start(v) <= at) {
			next = min_u64(v->end, end);
			r = ours(at, next, arg);
		} else {
			next = v ? vma_start(v) : end;
			r = theirs(at, next, arg);
		}
	}
	return r;
}

static long protect_ours(va_t start, va_t end, int prot)
{
	return mm_protect_locked(&engine.mm, start, end, (unsigned)prot & (MACH_PROT_R | MACH_PROT_W | MACH_PROT_X));
}

static long protect_theirs(va_t start, va_t end, int prot)
{
	return sys3(SYS_mprotect, (long)start, (long)(end - start), prot);
}

int fl_mprotect(void *addr, size_t len, int prot)
{
	va_t start, end;
	long r;

	if (!is_range(addr, len, &start, &end) || (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC)))
		return (int)fl_result(sys3(SYS_mprotect, (long)addr, (long)len, prot));
	map_lock();
	r = is_managed(start, end) ? for_pieces(start, end, protect_ours, protect_theirs, prot) :
				     sys3(SYS_mprotect, (long)addr, (long)len, prot);
	map_unlock();
	return (int)fl_result(r);
}

/* ---- madvise ------------------------------------------------------------------------------------------------------------------------ */

static long advise_theirs(va_t start, va_t end, int advice)
{
	return sys3(SYS_madvise, (long)start, (long)(end - start), advice);
}

static long dontneed_ours(va_t start, va_t end, int advice)
{
	return mm_dontneed_locked(&engine.mm, start, end);
}

/* Pages of a monitor are never dropped behind its back: freeing lazily may as well mean never. */
static long free_ours(va_t start, va_t end, int advice)
{
	struct vma *v = vma_first_in(&engine.mm, start, end);

	mm_clear_poison_locked(&engine.mm, start, end);
	return vma_missing(v) ? 0 : advise_theirs(start, end, advice);
}

/* Guards of the program's own are not built yet: the answer of a kernel without them. */
static long guard_ours(va_t start, va_t end, int advice)
{
	return -EINVAL;
}

/* The kernel's populate meets hidden pages with an error: have them made accessible first, as its own faults would. */
static long populate(va_t start, va_t end, int advice)
{
	unsigned want = advice == MADV_POPULATE_WRITE ? MACH_PROT_W : MACH_PROT_R;

	for (va_t va = start; va < end; va += PAGE_SIZE) {
		while (!live_allows(va, want)) {
			enum fault_result f = mm_fault(&engine.mm, va, want == MACH_PROT_W ? FAULT_WRITE : 0);

			if (f == FAULT_INTERRUPTED)
				return -EINTR;
			if (f != FAULT_DONE)
				return f == FAULT_POISON ? -EHWPOISON : f == FAULT_MAPERR ? -ENOMEM : -EFAULT;
		}
	}
	return advise_theirs(start, end, advice);
}

static long advise(va_t start, va_t end, int advice)
{
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
		return for_pieces(start, end, dontneed_ours, advise_theirs, advice);
	case MADV_FREE:
		return for_pieces(start, end, free_ours, advise_theirs, advice);
	case MADV_GUARD_INSTALL:
	case MADV_GUARD_REMOVE:
		return for_pieces(start, end, guard_ours, advise_theirs, advice);
	default:
		return advise_theirs(start, end, advice);
	}
}

int fl_madvise(void *addr, size_t len, int advice)
{
	va_t start, end;
	long r;

	if (!is_range(addr, len, &start, &end))
		return (int)fl_result(sys3(SYS_madvise, (long)addr, (long)len, advice));
	if (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE)
		return (int)fl_result(populate(start, end, advice)); /* may wait for a monitor: no locks */
	map_lock();
	r = is_managed(start, end) ? advise(start, end, advice) : sys3(SYS_madvise, (long)addr, (long)len, advice);
	map_unlock();
	return (int)fl_result(r);
}

/* ---- mremap ------------------------------------------------------------------------------------------------------------------------- */

/* Room behind the mapping: growing in place is mapping more of the same there, armed as the rest is. */
static bool grow_in_place(va_t start, va_t old_end, va_t new_end)
{
	struct vma *v = vma_first_in(&engine.mm, start, old_end);
	long r;

	if (!v || vma_start(v) > start || v->end != old_end)
		return false;
	r = raw_mmap((void *)old_end, new_end - old_end, (int)v->prot,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (is_error(r))
		return false;
	if ((va_t)r != old_end || (vma_is_armed(v) && mm_arm(&engine.mm, old_end, new_end, v->uffd, v->modes))) {
		sys3(SYS_munmap, r, (long)(new_end - old_end), 0);
		return false;
	}
	return true;
}

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/* No EVENT_REMAP yet: what moves arrives un-armed, as Linux has it. A move that fails leaves the old range un-armed too. */
static long move_locked(va_t old, size_t old_len, size_t new_len, int flags, void *new_addr)
{
	va_t old_end = page_up(old + old_len);
	long r = mm_move_begin(&engine.mm, old, old_end);

	if (r)
		return r;
	r = sys6(SYS_mremap, (long)old, (long)old_len, (long)new_len, flags, (long)new_addr, 0);
	if (!is_error(r) && r != (long)old) /* whatever was at the target is gone */
		ASSERT(forget_range((va_t)r, page_up((va_t)r + new_len)) == 0);
	if (mm_move_end(&engine.mm, old, old_end, is_error(r) ? old : (va_t)r, !is_error(r) && (flags & MREMAP_DONTUNMAP)))
		r = is_error(r) ? r : -ENOMEM;
	return r;
}

static long remap_locked(va_t old, size_t old_len, size_t new_len, int flags, void *new_addr)
{
	va_t old_end = page_up(old + old_len), new_end = page_up(old + new_len);
	bool moving = flags & ~MREMAP_MAYMOVE, managed = is_managed(old, old_end);
	long r;

	if (!moving && new_end <= old_end) {
		r = new_end < old_end ? munmap_locked((void *)new_end, old_end - new_end, new_end, old_end) : 0;
		return r ? r : (long)old;
	}
	if (!moving && managed && grow_in_place(old, old_end, new_end))
		return (long)old;
	if (managed && (flags & MREMAP_MAYMOVE))
		return move_locked(old, old_len, new_len, flags, new_addr);
	r = sys6(SYS_mremap, (long)old, (long)old_len, (long)new_len, flags, (long)new_addr, 0);
	if (!is_error(r) && r != (long)old)
		ASSERT(forget_range((va_t)r, page_up((va_t)r + new_len)) == 0);
	return r;
}

void *fl_mremap(void *old, size_t old_len, size_t new_len, int flags, void *new_addr)
{
	va_t start, end;
	long r;

	if (!is_range(old, old_len, &start, &end) || new_len == 0)
		return (void *)fl_result(sys6(SYS_mremap, (long)old, (long)old_len, (long)new_len, flags, (long)new_addr, 0));
	map_lock();
	r = remap_locked(start, old_len, new_len, flags, new_addr);
	map_unlock();
	return (void *)fl_result(r);
}

void fl_forget(void *addr, size_t len)
{
	va_t start, end;

	if (!is_range(addr, len, &start, &end))
		return;
	map_lock();
	ASSERT(forget_range(start, end) == 0);
	map_unlock();
	live_engine_exit();
}

bool fl_can_read(const void *p)
{
	char byte;

	return engine.m->ops->copy_in_atomic(engine.m, &byte, (va_t)(uintptr_t)p, 1) == 0;
}

/* ---- system calls that met an untranslated page --------------------------------------------------------------------------------------- */

int fl_retry_access(const void *addr, size_t len, bool write)
{
	va_t start = page_down((va_t)(uintptr_t)addr), end = page_up((va_t)(uintptr_t)addr + len);
	enum fault_result f = FAULT_MAPERR;

	if (!fl_is_active() || end > TASK_SIZE || end < start)
		return 0;
	for (va_t va = start; va < end; va += PAGE_SIZE) {
		if (live_allows(va, write ? MACH_PROT_W : MACH_PROT_R))
			continue;
		f = mm_fault(&engine.mm, max_u64(va, (va_t)(uintptr_t)addr), write ? FAULT_WRITE : 0);
		break;
	}
	live_engine_exit();
	if (f == FAULT_DONE)
		stats_add_retry();
	return f == FAULT_DONE ? 1 : f == FAULT_INTERRUPTED ? -EINTR : 0;
}
