/* SPDX-License-Identifier: MIT */
/* What run/ (the shim) needs of the engine beyond the public API. Not installed. */
#pragma once
#include "include/faultline/faultline.h"

/*
 * The C library calls that the engine itself makes on the program's behalf. The shim installs its RTLD_NEXT pointers
 * before anything else; a program that links the library uses plain libc. Never NULL.
 */
struct fl_libc {
	int (*sigaction)(int, const struct sigaction *, struct sigaction *);
	int (*poll)(struct pollfd *, nfds_t, int);
	int (*ppoll)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
	pid_t (*fork)(void);
};

/* Start the engine in this process if it is not running: signal handlers, shared counters. 0 or -errno. */
int fl_start(void);

/* Replace the libc entry points (shim only, from its constructor, before fl_start). */
void fl_set_libc(const struct fl_libc *libc);

/* A descriptor the engine keeps for itself (/proc/self/mem and the like): a program's close of it answers EBADF. */
bool fl_fd_is_private(int fd);

/*
 * A fork without EVENT_FORK. prepare takes every engine lock (call before fork, on the forking thread), exactly one
 * of parent/child follows on each side. child un-arms all ranges and reopens the descriptors that mean the parent.
 */
void fl_fork_prepare(void);
void fl_fork_parent(void);
void fl_fork_child(void);

/*
 * A system call of the program failed with EFAULT (or came back short) on [addr, addr+len): make the first page there that
 * the engine manages and the host does not yet allow accessible, waiting for a monitor where the kernel would.
 * 1: something changed, make the call again; 0: nothing here is ours, the error stands; -EINTR: a signal arrived.
 */
int fl_retry_access(const void *addr, size_t len, bool write);

/* Can the byte at p be read now, without waiting for anybody? Only once a range was registered (fl_is_active). */
bool fl_can_read(const void *p);

/* The engine knows fd: a userfaultfd, or a descriptor of /dev/userfaultfd. */
bool fl_owns(int fd);

/* The program unmapped [addr, addr+len) by a call that was made already. */
void fl_forget(void *addr, size_t len);

/*
 * The mask without the signals that the engine must be able to receive (SIGSEGV). For sigprocmask and sa_mask: the
 * shim calls it for every change of a mask, which the engine counts on (live_mask_changes).
 */
void fl_filter_mask(sigset_t *mask);

/* The handler a program believes is installed, by signal(2)'s rules. */
int fl_sigaction_get(int sig, struct sigaction *old);

/* Counters live at path (created and sized by `faultline run --stats`), shared by the process tree. 0 or -errno. */
int fl_stats_attach(const char *path);

/* True once any range was ever registered: a cheap test that lets the shim stay out of the way until then. */
bool fl_is_active(void);

/* UFFDIO-aware open of /dev/userfaultfd: a descriptor on which USERFAULTFD_IOC_NEW (through fl_ioctl) makes uffds. */
int fl_open_dev(int flags);
