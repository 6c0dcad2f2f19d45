/* SPDX-License-Identifier: MIT */
/*
 * Faultline: userfaultfd in user space, as a library.
 *
 * Every function mirrors the libc or kernel call whose name it carries: same arguments, same result, -1 and errno on
 * error, except where its comment says otherwise. Descriptors made here are real (they can be passed to poll, epoll,
 * select, dup and fcntl), but userfaultfd semantics are only behind the fl_ calls: the kernel knows nothing of them.
 * Under `faultline run` the same calls happen behind the libc names.
 *
 * All functions are thread-safe, and async-signal-safe unless marked otherwise. Addresses and lengths are in bytes.
 * Source of the semantics: userfaultfd(2), ioctl_userfaultfd(2) and Documentation/admin-guide/mm/userfaultfd.rst.
 */
#pragma once
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/select.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FL_API __attribute__((visibility("default")))

/* ---- the userfaultfd ABI ------------------------------------------------------------------------------------ */

/*
 * userfaultfd(2). flags: any of O_CLOEXEC, O_NONBLOCK, UFFD_USER_MODE_ONLY. Needs no privilege and no kernel support.
 * Errors: EINVAL unknown flag; EMFILE, ENFILE, ENOMEM; EOPNOTSUPP this machine cannot host the engine (see fl_probe).
 */
FL_API int fl_userfaultfd(int flags);

/*
 * ioctl(2) on a descriptor from fl_userfaultfd: every UFFDIO_ command of linux/userfaultfd.h that the handshake
 * announces, with the kernel's validation order, errno and output fields. COPY may wait when its source is itself
 * a page that a monitor must fill. Errors: those of ioctl_userfaultfd(2); EBADF fd is not one of ours.
 */
FL_API int fl_ioctl(int fd, unsigned long request, void *arg);

/* read(2): whole 32-byte struct uffd_msg records, as many as fit. Errors: EAGAIN, EINTR, EINVAL, EFAULT, EBADF. */
FL_API ssize_t fl_read(int fd, void *buf, size_t count);
FL_API ssize_t fl_readv(int fd, const struct iovec *iov, int iovcnt);

/* poll(2) over any mixture of our descriptors and others. timeout in milliseconds. */
FL_API int fl_poll(struct pollfd *fds, nfds_t nfds, int timeout);
FL_API int fl_ppoll(struct pollfd *fds, nfds_t nfds, const struct timespec *timeout, const sigset_t *mask);
FL_API int fl_select(int nfds, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout);

/* close(2), dup(2), dup3(2), fcntl(2): for our descriptors and all others. The last close releases the context. */
FL_API int fl_close(int fd);
FL_API int fl_dup(int fd);
FL_API int fl_dup3(int fd, int newfd, int flags);
FL_API int fl_fcntl(int fd, int cmd, unsigned long arg);

/*
 * Tell the engine that fd was handed to something that waits on it without the fl_ calls (epoll_ctl, io_uring): from
 * now on its readiness is kept up to date in the kernel's eyes. Costs one system call a message. 0, or -1 and EBADF.
 */
FL_API int fl_watch(int fd);

/* True when fd is a userfaultfd made here. Never fails; preserves errno. */
FL_API bool fl_is_uffd(int fd);

/* ---- the map: calls that may change a managed range -------------------------------------------------------------- */

/*
 * mmap(2) and friends for programs that link the library: the engine keeps its books when a range it manages is
 * changed, and passes everything else to the kernel unchanged. Results and errors are those of the system calls.
 */
FL_API void *fl_mmap(void *addr, size_t len, int prot, int flags, int fd, off_t off);
FL_API int fl_munmap(void *addr, size_t len);
FL_API int fl_mprotect(void *addr, size_t len, int prot);
FL_API int fl_madvise(void *addr, size_t len, int advice);
FL_API void *fl_mremap(void *old, size_t old_len, size_t new_len, int flags, void *new_addr);

/* ---- living in a process -------------------------------------------------------------------------------------- */

/*
 * sigaction(2), to be used instead of it once the engine is in use: the program's SIGSEGV and SIGBUS handlers stay
 * behind the engine's, and every handler may safely touch managed memory. Unlike the others: returns 0 or -errno.
 */
FL_API int fl_sigaction(int sig, const struct sigaction *act, struct sigaction *old);

/* fork(2). The child's memory is plain (not armed), as without UFFD_FEATURE_EVENT_FORK. Not async-signal-safe. */
FL_API pid_t fl_fork(void);

/* ---- what happened ------------------------------------------------------------------------------------------- */

#define FL_STATS_BUCKETS 40

/*
 * Counters since the process (under `run`: the whole process tree) started. Served by the engine, never by the kernel.
 * latency_ns[i] counts faults whose time from the access to its retry was in [2^i, 2^(i+1)) nanoseconds.
 */
struct fl_stats {
	uint64_t contexts;	   /* userfaultfds opened */
	uint64_t ranges;	   /* successful UFFDIO_REGISTER calls */
	uint64_t faults_missing;   /* messages by reason */
	uint64_t faults_wp;
	uint64_t faults_minor;
	uint64_t faults_sigbus;	   /* answered with SIGBUS: feature SIGBUS, poison */
	uint64_t faults_spurious;  /* the page was there: only its translation was missing */
	uint64_t pages_copied;	   /* by UFFDIO_COPY */
	uint64_t pages_zeroed;
	uint64_t pages_protected;  /* entries changed by UFFDIO_WRITEPROTECT, protecting */
	uint64_t pages_resolved;   /* the same, resolving */
	uint64_t pages_poisoned;
	uint64_t messages_read;
	uint64_t wakeups;	   /* waiters woken */
	uint64_t evictions;	   /* chunks of translations given up for the host's mapping limit */
	uint64_t syscalls_retried; /* system calls of the program that met an untranslated page and were made again */
	uint64_t forks;
	uint64_t latency_ns[FL_STATS_BUCKETS];
};

/* Copy the counters. 0, or -1 and EFAULT/EINVAL (size is not one this library knows). */
FL_API int fl_stats_get(struct fl_stats *out, size_t size);

/*
 * Can this machine host the engine? NULL when it can; else a sentence that says what is missing and what to do.
 */
FL_API const char *fl_probe(void);

/* Check the engine's whole state (slow; takes its locks). 0, or -1 and EINVAL after printing what is wrong. */
FL_API int fl_check(void);

/* "major.minor.patch" */
FL_API const char *fl_version(void);

#ifdef __cplusplus
}
#endif
