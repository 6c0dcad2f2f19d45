/* SPDX-License-Identifier: MIT */
/*
 * The C library calls that the shim stands in front of. One list gives each a slot in struct run_next (the next
 * definition in the program's search order), a prototype for its wrapper run_NAME, and the system call that stands in
 * while the slots are being looked up.
 *
 * Wrappers are ordinary hidden functions; RUN_EXPORT gives one the libc name. That keeps the shim's own calls from
 * landing in a program that defines the same name, and lets variadic calls be declared with the arguments they have.
 */
#pragma once
#undef _FORTIFY_SOURCE
#include "base/types.h"
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

typedef void (*run_handler)(int);
typedef int (*run_clone_fn)(void *);

#define RUN_NEXT_FD(X)                                                                                                 \
	X(int, ioctl, (int fd, unsigned long req, unsigned long arg), SYS_ioctl)                                       \
	X(int, open, (const char *path, int flags, mode_t mode), SYS_open)                                             \
	X(int, openat, (int dir, const char *path, int flags, mode_t mode), SYS_openat)                                \
	X(int, close, (int fd), SYS_close)                                                                             \
	X(int, close_range, (unsigned first, unsigned last, int flags), SYS_close_range)                               \
	X(int, dup, (int fd), SYS_dup)                                                                                 \
	X(int, dup2, (int fd, int to), SYS_dup2)                                                                       \
	X(int, dup3, (int fd, int to, int flags), SYS_dup3)                                                            \
	X(int, fcntl, (int fd, int cmd, unsigned long arg), SYS_fcntl)                                                 \
	X(off_t, lseek, (int fd, off_t off, int whence), SYS_lseek)                                                    \
	X(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev), SYS_epoll_ctl)

#define RUN_NEXT_IO(X)                                                                                                 \
	X(ssize_t, read, (int fd, void *buf, size_t n), SYS_read)                                                      \
	X(ssize_t, write, (int fd, const void *buf, size_t n), SYS_write)                                              \
	X(ssize_t, pread, (int fd, void *buf, size_t n, off_t off), SYS_pread64)                                       \
	X(ssize_t, pwrite, (int fd, const void *buf, size_t n, off_t off), SYS_pwrite64)                               \
	X(ssize_t, readv, (int fd, const struct iovec *v, int cnt), SYS_readv)                                         \
	X(ssize_t, writev, (int fd, const struct iovec *v, int cnt), SYS_writev)                                       \
	X(ssize_t, preadv, (int fd, const struct iovec *v, int cnt, off_t off), SYS_preadv)                            \
	X(ssize_t, pwritev, (int fd, const struct iovec *v, int cnt, off_t off), SYS_pwritev)                          \
	X(ssize_t, recv, (int fd, void *buf, size_t n, int flags), -1)                                                 \
	X(ssize_t, send, (int fd, const void *buf, size_t n, int flags), -1)                                           \
	X(ssize_t, recvfrom, (int fd, void *buf, size_t n, int flags, struct sockaddr *sa, socklen_t *len),            \
	  SYS_recvfrom)                                                                                                \
	X(ssize_t, sendto, (int fd, const void *buf, size_t n, int flags, const struct sockaddr *sa, socklen_t len),   \
	  SYS_sendto)                                                                                                  \
	X(ssize_t, recvmsg, (int fd, struct msghdr *m, int flags), SYS_recvmsg)                                        \
	X(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags), SYS_sendmsg)

#define RUN_NEXT_WAIT(X)                                                                                               \
	X(int, poll, (struct pollfd *fds, nfds_t n, int timeout), SYS_poll)                                            \
	X(int, ppoll, (struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask), -1)             \
	X(int, select, (int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *tv), SYS_select)                       \
	X(int, pselect, (int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *ts, const sigset_t *mask), -1) \
	X(int, epoll_pwait, (int ep, struct epoll_event *ev, int n, int timeout, const sigset_t *mask), -1)

#define RUN_NEXT_MAP(X)                                                                                                \
	X(void *, mmap, (void *addr, size_t len, int prot, int flags, int fd, off_t off), SYS_mmap)                    \
	X(int, munmap, (void *addr, size_t len), SYS_munmap)                                                           \
	X(int, mprotect, (void *addr, size_t len, int prot), SYS_mprotect)                                             \
	X(int, madvise, (void *addr, size_t len, int advice), SYS_madvise)                                             \
	X(int, posix_madvise, (void *addr, size_t len, int advice), -1)                                                \
	X(void *, mremap, (void *old, size_t old_len, size_t len, int flags, void *to), SYS_mremap)                    \
	X(int, brk, (void *end), -1)                                                                                   \
	X(void *, sbrk, (intptr_t delta), -1)

#define RUN_NEXT_SIGNAL(X)                                                                                             \
	X(int, sigaction, (int sig, const struct sigaction *act, struct sigaction *old), -1)                           \
	X(run_handler, signal, (int sig, run_handler h), -1)                                                           \
	X(run_handler, sysv_signal, (int sig, run_handler h), -1)                                                      \
	X(run_handler, sigset, (int sig, run_handler h), -1)                                                           \
	X(int, sigignore, (int sig), -1)                                                                               \
	X(int, siginterrupt, (int sig, int on), -1)                                                                    \
	X(int, sigprocmask, (int how, const sigset_t *set, sigset_t *old), -1)                                         \
	X(int, pthread_sigmask, (int how, const sigset_t *set, sigset_t *old), -1)                                     \
	X(int, sigsuspend, (const sigset_t *mask), -1)

#define RUN_NEXT_PROC(X)                                                                                               \
	X(long, syscall, (long nr), -1)                                                                                \
	X(pid_t, fork, (void), SYS_fork)                                                                               \
	X(pid_t, _Fork, (void), SYS_fork)                                                                              \
	X(int, clone, (run_clone_fn fn, void *stack, int flags, void *arg, void *ptid, void *tls, void *ctid), -1)

/* Calls that only matter for the memory that their pointers name (run/retry.c); the plain ones are like their system call. */
#define RUN_NEXT_POINTER(X)                                                                                            \
	X(int, stat, (const char *path, struct stat *st), SYS_stat)                                                    \
	X(int, lstat, (const char *path, struct stat *st), SYS_lstat)                                                  \
	X(int, fstat, (int fd, struct stat *st), SYS_fstat)                                                            \
	X(int, fstatat, (int dir, const char *path, struct stat *st, int flags), SYS_newfstatat)                       \
	X(int, statx, (int dir, const char *path, int flags, unsigned mask, struct statx *sx), SYS_statx)              \
	X(int, access, (const char *path, int mode), SYS_access)                                                       \
	X(int, faccessat, (int dir, const char *path, int mode, int flags), SYS_faccessat2)                            \
	X(ssize_t, readlink, (const char *path, char *buf, size_t n), SYS_readlink)                                    \
	X(ssize_t, readlinkat, (int dir, const char *path, char *buf, size_t n), SYS_readlinkat)                       \
	X(char *, getcwd, (char *buf, size_t n), -1)                                                                   \
	X(int, pipe, (int *fds), SYS_pipe)                                                                             \
	X(int, pipe2, (int *fds, int flags), SYS_pipe2)                                                                \
	X(int, uname, (struct utsname *u), SYS_uname)                                                                  \
	X(ssize_t, getrandom, (void *buf, size_t n, unsigned flags), SYS_getrandom)                                    \
	X(int, nanosleep, (const struct timespec *req, struct timespec *rem), SYS_nanosleep)                           \
	X(int, clock_nanosleep, (clockid_t id, int flags, const struct timespec *req, struct timespec *rem), -1)

/* Calls whose buffers must be accessible before. */
#define RUN_NEXT_REAP(X)                                                                                               \
	X(int, accept, (int fd, struct sockaddr *sa, socklen_t *len), SYS_accept)                                      \
	X(int, accept4, (int fd, struct sockaddr *sa, socklen_t *len, int flags), SYS_accept4)                         \
	X(pid_t, wait, (int *status), -1)                                                                              \
	X(pid_t, waitpid, (pid_t pid, int *status, int options), -1)                                                   \
	X(pid_t, wait3, (int *status, int options, struct rusage *ru), -1)                                             \
	X(pid_t, wait4, (pid_t pid, int *status, int options, struct rusage *ru), SYS_wait4)                           \
	X(int, waitid, (int type, id_t id, siginfo_t *info, int options), -1)                                          \
	X(int, mlock, (const void *addr, size_t len), SYS_mlock)                                                       \
	X(int, mlock2, (const void *addr, size_t len, unsigned flags), SYS_mlock2)                                     \
	X(ssize_t, process_vm_readv, (pid_t pid, const struct iovec *to, unsigned long n, const struct iovec *from,    \
	   unsigned long m, unsigned long flags), SYS_process_vm_readv)                                                \
	X(ssize_t, process_vm_writev, (pid_t pid, const struct iovec *from, unsigned long n, const struct iovec *to,   \
	   unsigned long m, unsigned long flags), SYS_process_vm_writev)

#define RUN_NEXT_PLAIN(X)                                                                                              \
	X(int, epoll_wait, (int ep, struct epoll_event *ev, int n, int timeout), SYS_epoll_wait)                       \
	X(int, getsockopt, (int fd, int level, int name, void *val, socklen_t *len), SYS_getsockopt)                   \
	X(int, setsockopt, (int fd, int level, int name, const void *val, socklen_t len), SYS_setsockopt)              \
	X(int, getsockname, (int fd, struct sockaddr *sa, socklen_t *len), SYS_getsockname)                            \
	X(int, getpeername, (int fd, struct sockaddr *sa, socklen_t *len), SYS_getpeername)                            \
	X(int, bind, (int fd, const struct sockaddr *sa, socklen_t len), SYS_bind)                                     \
	X(int, connect, (int fd, const struct sockaddr *sa, socklen_t len), SYS_connect)                               \
	X(int, socketpair, (int domain, int type, int protocol, int *fds), SYS_socketpair)                             \
	X(int, chdir, (const char *path), SYS_chdir)                                                                   \
	X(int, mkdir, (const char *path, mode_t mode), SYS_mkdir)                                                      \
	X(int, rmdir, (const char *path), SYS_rmdir)                                                                   \
	X(int, unlink, (const char *path), SYS_unlink)                                                                 \
	X(int, unlinkat, (int dir, const char *path, int flags), SYS_unlinkat)                                         \
	X(int, rename, (const char *from, const char *to), SYS_rename)                                                 \
	X(int, truncate, (const char *path, off_t len), SYS_truncate)                                                  \
	X(int, statfs, (const char *path, struct statfs *st), SYS_statfs)                                              \
	X(int, fstatfs, (int fd, struct statfs *st), SYS_fstatfs)                                                      \
	X(int, getrusage, (int who, struct rusage *ru), SYS_getrusage)                                                 \
	X(int, memfd_create, (const char *name, unsigned flags), SYS_memfd_create)                                     \
	X(int, timerfd_settime, (int fd, int flags, const struct itimerspec *v, struct itimerspec *old),               \
	  SYS_timerfd_settime)                                                                                         \
	X(int, timerfd_gettime, (int fd, struct itimerspec *v), SYS_timerfd_gettime)                                   \
	X(int, sigpending, (sigset_t * set), -1)

#define RUN_NEXT(X)                                                                                                    \
	RUN_NEXT_FD(X)                                                                                                 \
	RUN_NEXT_IO(X)                                                                                                 \
	RUN_NEXT_WAIT(X)                                                                                               \
	RUN_NEXT_MAP(X)                                                                                                \
	RUN_NEXT_SIGNAL(X)                                                                                             \
	RUN_NEXT_PROC(X)                                                                                               \
	RUN_NEXT_POINTER(X)                                                                                            \
	RUN_NEXT_REAP(X)                                                                                               \
	RUN_NEXT_PLAIN(X)

struct run_next {
#define X(ret, name, args, nr) ret(*name) args;
	RUN_NEXT(X)
#undef X
};

#define X(ret, name, args, nr) ret run_##name args;
RUN_NEXT(X)
#undef X

extern struct run_next run_next_table;
extern bool run_next_ready;

/* Fill the table. Idempotent; a call made while it runs (dlsym may allocate) finds the raw system calls. */
void run_next_resolve(void);

static inline const struct run_next *next(void)
{
	if (unlikely(!__atomic_load_n(&run_next_ready, __ATOMIC_ACQUIRE)))
		run_next_resolve();
	return &run_next_table;
}

/* Give the hidden function run_FUNC the name that programs call. */
#define RUN_EXPORT_AS(name, func)                                                                                      \
	__asm__(".globl " #name "\n\t.type " #name ", @function\n\t.set " #name ", run_" #func "\n")
#define RUN_EXPORT(name) RUN_EXPORT_AS(name, name)
