/* SPDX-License-Identifier: MIT */
/* Changes of the map: the engine keeps its books once there is a range; before that libc is called as ever. */
#include "run/run.h"
#include <sys/mman.h>
#include <unistd.h>

void *run_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off)
{
	if (unlikely(fl_is_active()))
		return fl_mmap(addr, len, prot, flags, fd, off);
	return next()->mmap(addr, len, prot, flags, fd, off);
}

int run_munmap(void *addr, size_t len)
{
	return unlikely(fl_is_active()) ? fl_munmap(addr, len) : next()->munmap(addr, len);
}

int run_mprotect(void *addr, size_t len, int prot)
{
	return unlikely(fl_is_active()) ? fl_mprotect(addr, len, prot) : next()->mprotect(addr, len, prot);
}

int run_madvise(void *addr, size_t len, int advice)
{
	return unlikely(fl_is_active()) ? fl_madvise(addr, len, advice) : next()->madvise(addr, len, advice);
}

/* posix_madvise(3) returns the error and, as glibc has it, never discards. */
int run_posix_madvise(void *addr, size_t len, int advice)
{
	int saved = errno, err;

	if (likely(!fl_is_active()))
		return next()->posix_madvise(addr, len, advice);
	if (advice == POSIX_MADV_DONTNEED)
		return 0;
	err = fl_madvise(addr, len, advice) ? errno : 0;
	errno = saved;
	return err;
}

void *run_mremap(void *old, size_t old_len, size_t len, int flags, void *to)
{
	if (unlikely(fl_is_active()))
		return fl_mremap(old, old_len, len, flags, to);
	return next()->mremap(old, old_len, len, flags, to);
}

/*
 * The heap shrank: what lay above is gone, whatever the engine thought of it. The kernel refuses to move the break
 * below memory that was unmapped before, so the engine learns of it afterwards.
 */
static void heap_moved(void *from, void *to)
{
	va_t start = page_up((va_t)to), end = page_up((va_t)from);
	int saved = errno;

	if (start < end)
		fl_forget((void *)start, end - start);
	errno = saved;
}

int run_brk(void *end)
{
	void *from = fl_is_active() ? next()->sbrk(0) : NULL;
	int ret = next()->brk(end);

	if (ret == 0 && from)
		heap_moved(from, end);
	return ret;
}

void *run_sbrk(intptr_t delta)
{
	void *from = next()->sbrk(delta);

	if (delta < 0 && from != (void *)-1 && fl_is_active())
		heap_moved(from, (char *)from + delta);
	return from;
}

RUN_EXPORT(mmap);
RUN_EXPORT_AS(mmap64, mmap);
RUN_EXPORT(munmap);
RUN_EXPORT(mprotect);
RUN_EXPORT(madvise);
RUN_EXPORT(posix_madvise);
RUN_EXPORT(mremap);
RUN_EXPORT(brk);
RUN_EXPORT(sbrk);
