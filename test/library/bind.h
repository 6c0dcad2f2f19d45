/* SPDX-License-Identifier: MIT */
/*
 * Included before everything else when a program of test/live/ is built against the library: the same source then
 * calls the engine directly, in a process where sanitizers see it. At exit the engine's whole state is checked.
 */
#pragma once
#include "include/faultline/faultline.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline long bound_syscall(long nr, int flags)
{
	if (nr != SYS_userfaultfd)
		abort();
	return fl_userfaultfd(flags);
}

static inline ssize_t bound_read(int fd, void *buf, size_t n)
{
	return fl_is_uffd(fd) ? fl_read(fd, buf, n) : read(fd, buf, n);
}

static inline int bound_close(int fd)
{
	return fl_is_uffd(fd) ? fl_close(fd) : close(fd);
}

static void check_at_exit(void)
{
	if (fl_check() == 0)
		return;
	fprintf(stderr, "FAILED: the engine's state is not clean\n");
	_exit(1);
}

__attribute__((constructor)) static void bind_check(void)
{
	atexit(check_at_exit);
}

#define syscall(nr, flags) bound_syscall(nr, flags)
#define ioctl(fd, request, arg) fl_ioctl(fd, request, arg)
#define read(fd, buf, n) bound_read(fd, buf, n)
#define close(fd) bound_close(fd)
#define poll(fds, n, timeout) fl_poll(fds, n, timeout)
#define mmap(addr, len, prot, flags, fd, off) fl_mmap(addr, len, prot, flags, fd, off)
#define munmap(addr, len) fl_munmap(addr, len)
#define madvise(addr, len, advice) fl_madvise(addr, len, advice)
#define mprotect(addr, len, prot) fl_mprotect(addr, len, prot)
