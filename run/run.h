/* SPDX-License-Identifier: MIT */
/*
 * The shim: libc's names in front of an unmodified program. Every wrapper first decides whether the call is about a
 * descriptor or a range of ours, and otherwise makes the next library's call with nothing changed.
 * No thread-local storage of its own: a CLONE_VM child shares its parent's.
 */
#pragma once
#include "base/types.h"
#include "lib/internal.h"
#include "run/next.h"
#include <errno.h>

/* True once this process has made a userfaultfd: until then poll and select need not look at their sets. */
extern bool run_has_uffd;

/* True when the engine could not start: userfaultfd(2) answers ENOSYS and everything else passes through. */
extern bool run_is_dead;

/* ---- raw system calls ------------------------------------------------------------------------------------- */

/* Result as the kernel gives it: -errno on error. */
static inline long run_raw(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

static inline long run_raw_args(long nr, const long a[6])
{
	return run_raw(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* From the kernel's convention to libc's. */
static inline long run_errno(long ret)
{
	if (unlikely((unsigned long)ret > -4096UL)) {
		errno = (int)-ret;
		return -1;
	}
	return ret;
}

/* ---- descriptors (run/fd.c) --------------------------------------------------------------------------------- */

/* userfaultfd(2) by way of the engine. */
int run_userfaultfd(int flags);

/* closefrom(3): close_range to the end. */
void run_closefrom(int low);

/* Is any of them a userfaultfd of ours? */
bool run_poll_has_uffd(const struct pollfd *fds, nfds_t n);
bool run_set_has_uffd(int n, const fd_set *r, const fd_set *w, const fd_set *e);

/* ---- fortified forms: room is the size of the buffer, as the compiler knows it ------------------------------------ */

ssize_t run___read_chk(int fd, void *buf, size_t n, size_t room);
ssize_t run___pread_chk(int fd, void *buf, size_t n, off_t off, size_t room);
ssize_t run___recv_chk(int fd, void *buf, size_t n, size_t room, int flags);
ssize_t run___recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *sa, socklen_t *len);
int run___poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);
int run___ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask, size_t room);

/* ---- signals (run/signal.c) ----------------------------------------------------------------------------------- */

/* The program installed act for sig. */
void run_note_handler(int sig, const struct sigaction *act);

/* Keep the program's handlers from running until the release. Fatal signals still kill. */
uint64_t run_hold_signals(void);
void run_release_signals(uint64_t old);

/* sighold(3): sigprocmask of one signal. */
int run_sighold(int sig);

/* mask without the engine's signals, in *copy; NULL stays NULL. */
const sigset_t *run_filter(const sigset_t *mask, sigset_t *copy);

/* ---- processes (run/fork.c) ----------------------------------------------------------------------------------- */

/* Have the engine's part of fork done by libc's fork, innermost of all atfork handlers. */
void run_fork_init(void);

/* A raw fork or clone without CLONE_VM. Result as the kernel gives it. */
long run_fork_raw(long nr, const long a[6]);

/* ---- pointers into managed memory (run/retry.c) ---------------------------------------------------------------- */

/*
 * A system call returned ret, in libc's convention, and a page it was given may be one that the engine must make
 * accessible first: do that and make the call again, or make up what a short transfer left. Result in libc's
 * convention. Call through run_done and run_done_io, which sort out the common case.
 */
long run_retry(long nr, const long a[6], long ret);

/* Does the table know pointers of this call? */
bool run_has_pointers(long nr);

/* Before a call that loses data when it meets an inaccessible page: make its result buffers accessible. */
void run_prefault(long nr, const long a[6]);

/* Can len bytes at p be read without a fault that is not the engine's? */
bool run_is_readable(const void *p, size_t len);

static inline long run_done(long ret, long nr, long a, long b, long c, long d, long e, long f)
{
	if (likely(ret != -1 || errno != EFAULT || !fl_is_active()))
		return ret;
	return run_retry(nr, (long[6]){a, b, c, d, e, f}, ret);
}

/* The same for a transfer of want bytes, which may also come back short. */
static inline long run_done_io(long ret, long want, long nr, long a, long b, long c, long d)
{
	if (likely(ret == want || ret == 0 || !fl_is_active()))
		return ret;
	if (ret == -1 && errno != EFAULT)
		return ret;
	return run_retry(nr, (long[6]){a, b, c, d}, ret);
}
