/* SPDX-License-Identifier: MIT */
/* Calls that are interposed only because their pointers may name managed memory. */
#include "run/run.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

int run_stat(const char *path, struct stat *st)
{
	return (int)run_done(next()->stat(path, st), SYS_stat, (long)path, (long)st, 0, 0, 0, 0);
}

int run_lstat(const char *path, struct stat *st)
{
	return (int)run_done(next()->lstat(path, st), SYS_lstat, (long)path, (long)st, 0, 0, 0, 0);
}

int run_fstat(int fd, struct stat *st)
{
	return (int)run_done(next()->fstat(fd, st), SYS_fstat, fd, (long)st, 0, 0, 0, 0);
}

int run_fstatat(int dir, const char *path, struct stat *st, int flags)
{
	int ret = next()->fstatat(dir, path, st, flags);

	return (int)run_done(ret, SYS_newfstatat, dir, (long)path, (long)st, flags, 0, 0);
}

int run_statx(int dir, const char *path, int flags, unsigned mask, struct statx *sx)
{
	int ret = next()->statx(dir, path, flags, mask, sx);

	return (int)run_done(ret, SYS_statx, dir, (long)path, flags, mask, (long)sx, 0);
}

int run_access(const char *path, int mode)
{
	return (int)run_done(next()->access(path, mode), SYS_access, (long)path, mode, 0, 0, 0, 0);
}

int run_faccessat(int dir, const char *path, int mode, int flags)
{
	int ret = next()->faccessat(dir, path, mode, flags);
	long nr = flags ? SYS_faccessat2 : SYS_faccessat;

	return (int)run_done(ret, nr, dir, (long)path, mode, flags, 0, 0);
}

ssize_t run_readlink(const char *path, char *buf, size_t n)
{
	return run_done(next()->readlink(path, buf, n), SYS_readlink, (long)path, (long)buf, (long)n, 0, 0, 0);
}

ssize_t run_readlinkat(int dir, const char *path, char *buf, size_t n)
{
	ssize_t ret = next()->readlinkat(dir, path, buf, n);

	return run_done(ret, SYS_readlinkat, dir, (long)path, (long)buf, (long)n, 0, 0);
}

/* The system call returns a length where libc returns buf. */
char *run_getcwd(char *buf, size_t n)
{
	char *ret = next()->getcwd(buf, n);

	if (ret || !buf)
		return ret;
	return run_done(-1, SYS_getcwd, (long)buf, (long)n, 0, 0, 0, 0) == -1 ? NULL : buf;
}

int run_pipe(int *fds)
{
	return (int)run_done(next()->pipe(fds), SYS_pipe, (long)fds, 0, 0, 0, 0, 0);
}

int run_pipe2(int *fds, int flags)
{
	return (int)run_done(next()->pipe2(fds, flags), SYS_pipe2, (long)fds, flags, 0, 0, 0, 0);
}

int run_uname(struct utsname *u)
{
	return (int)run_done(next()->uname(u), SYS_uname, (long)u, 0, 0, 0, 0, 0);
}

int run_nanosleep(const struct timespec *req, struct timespec *rem)
{
	return (int)run_done(next()->nanosleep(req, rem), SYS_nanosleep, (long)req, (long)rem, 0, 0, 0, 0);
}

/* Returns the error rather than setting errno. */
int run_clock_nanosleep(clockid_t id, int flags, const struct timespec *req, struct timespec *rem)
{
	int err = next()->clock_nanosleep(id, flags, req, rem), saved = errno;

	if (likely(err != EFAULT))
		return err;
	errno = EFAULT;
	if (run_done(-1, SYS_clock_nanosleep, id, flags, (long)req, (long)rem, 0, 0) == 0)
		err = 0;
	else
		err = errno;
	errno = saved;
	return err;
}

/* ---- calls that lose what they cannot deliver, or use the whole buffer: its pages come first ------------------------------------- */

static inline void before(long nr, long a, long b, long c, long d)
{
	if (unlikely(fl_is_active()))
		run_prefault(nr, (long[6]){a, b, c, d});
}

ssize_t run_getrandom(void *buf, size_t n, unsigned flags)
{
	before(SYS_getrandom, (long)buf, (long)n, flags, 0);
	return next()->getrandom(buf, n, flags);
}

int run_accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	before(SYS_accept, fd, (long)sa, (long)len, 0);
	return next()->accept(fd, sa, len);
}

int run_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	before(SYS_accept4, fd, (long)sa, (long)len, flags);
	return next()->accept4(fd, sa, len, flags);
}

pid_t run_wait(int *status)
{
	before(SYS_wait4, -1, (long)status, 0, 0);
	return next()->wait(status);
}

pid_t run_waitpid(pid_t pid, int *status, int options)
{
	before(SYS_wait4, pid, (long)status, options, 0);
	return next()->waitpid(pid, status, options);
}

pid_t run_wait3(int *status, int options, struct rusage *ru)
{
	before(SYS_wait4, -1, (long)status, options, (long)ru);
	return next()->wait3(status, options, ru);
}

pid_t run_wait4(pid_t pid, int *status, int options, struct rusage *ru)
{
	before(SYS_wait4, pid, (long)status, options, (long)ru);
	return next()->wait4(pid, status, options, ru);
}

int run_waitid(int type, id_t id, siginfo_t *info, int options)
{
	before(SYS_waitid, type, (long)id, (long)info, options);
	return next()->waitid(type, id, info, options);
}

int run_mlock(const void *addr, size_t len)
{
	before(SYS_mlock, (long)addr, (long)len, 0, 0);
	return next()->mlock(addr, len);
}

int run_mlock2(const void *addr, size_t len, unsigned flags)
{
	if (!(flags & MLOCK_ONFAULT))
		before(SYS_mlock2, (long)addr, (long)len, flags, 0);
	return next()->mlock2(addr, len, flags);
}

ssize_t run_process_vm_readv(pid_t pid, const struct iovec *to, unsigned long n, const struct iovec *from,
			     unsigned long m, unsigned long flags)
{
	if (unlikely(fl_is_active()))
		run_prefault(SYS_process_vm_readv, (long[6]){pid, (long)to, (long)n, (long)from, (long)m});
	return next()->process_vm_readv(pid, to, n, from, m, flags);
}

ssize_t run_process_vm_writev(pid_t pid, const struct iovec *from, unsigned long n, const struct iovec *to,
			      unsigned long m, unsigned long flags)
{
	if (unlikely(fl_is_active()))
		run_prefault(SYS_process_vm_writev, (long[6]){pid, (long)from, (long)n, (long)to, (long)m});
	return next()->process_vm_writev(pid, from, n, to, m, flags);
}

/* ---- calls that are their system call ------------------------------------------------------------------------------------ */

#define PLAIN1(name, nr, A)                                                                                            \
	int run_##name(A a)                                                                                            \
	{                                                                                                              \
		return (int)run_done(next()->name(a), nr, (long)a, 0, 0, 0, 0, 0);                                     \
	}                                                                                                              \
	RUN_EXPORT(name)
#define PLAIN2(name, nr, A, B)                                                                                         \
	int run_##name(A a, B b)                                                                                       \
	{                                                                                                              \
		return (int)run_done(next()->name(a, b), nr, (long)a, (long)b, 0, 0, 0, 0);                            \
	}                                                                                                              \
	RUN_EXPORT(name)
#define PLAIN3(name, nr, A, B, C)                                                                                      \
	int run_##name(A a, B b, C c)                                                                                  \
	{                                                                                                              \
		return (int)run_done(next()->name(a, b, c), nr, (long)a, (long)b, (long)c, 0, 0, 0);                   \
	}                                                                                                              \
	RUN_EXPORT(name)
#define PLAIN4(name, nr, A, B, C, D)                                                                                   \
	int run_##name(A a, B b, C c, D d)                                                                             \
	{                                                                                                              \
		return (int)run_done(next()->name(a, b, c, d), nr, (long)a, (long)b, (long)c, (long)d, 0, 0);          \
	}                                                                                                              \
	RUN_EXPORT(name)
#define PLAIN5(name, nr, A, B, C, D, E)                                                                                \
	int run_##name(A a, B b, C c, D d, E e)                                                                        \
	{                                                                                                              \
		return (int)run_done(next()->name(a, b, c, d, e), nr, (long)a, (long)b, (long)c, (long)d, (long)e, 0); \
	}                                                                                                              \
	RUN_EXPORT(name)

PLAIN4(epoll_wait, SYS_epoll_wait, int, struct epoll_event *, int, int);
PLAIN5(getsockopt, SYS_getsockopt, int, int, int, void *, socklen_t *);
PLAIN5(setsockopt, SYS_setsockopt, int, int, int, const void *, socklen_t);
PLAIN3(getsockname, SYS_getsockname, int, struct sockaddr *, socklen_t *);
PLAIN3(getpeername, SYS_getpeername, int, struct sockaddr *, socklen_t *);
PLAIN3(bind, SYS_bind, int, const struct sockaddr *, socklen_t);
PLAIN3(connect, SYS_connect, int, const struct sockaddr *, socklen_t);
PLAIN4(socketpair, SYS_socketpair, int, int, int, int *);
PLAIN1(chdir, SYS_chdir, const char *);
PLAIN2(mkdir, SYS_mkdir, const char *, mode_t);
PLAIN1(rmdir, SYS_rmdir, const char *);
PLAIN1(unlink, SYS_unlink, const char *);
PLAIN3(unlinkat, SYS_unlinkat, int, const char *, int);
PLAIN2(rename, SYS_rename, const char *, const char *);
PLAIN2(truncate, SYS_truncate, const char *, off_t);
PLAIN2(statfs, SYS_statfs, const char *, struct statfs *);
PLAIN2(fstatfs, SYS_fstatfs, int, struct statfs *);
PLAIN2(getrusage, SYS_getrusage, int, struct rusage *);
PLAIN2(memfd_create, SYS_memfd_create, const char *, unsigned);
PLAIN4(timerfd_settime, SYS_timerfd_settime, int, int, const struct itimerspec *, struct itimerspec *);
PLAIN2(timerfd_gettime, SYS_timerfd_gettime, int, struct itimerspec *);

int run_sigpending(sigset_t *set)
{
	return (int)run_done(next()->sigpending(set), SYS_rt_sigpending, (long)set, 8, 0, 0, 0, 0);
}

RUN_EXPORT(sigpending);
RUN_EXPORT(mlock);
RUN_EXPORT(mlock2);
RUN_EXPORT(process_vm_readv);
RUN_EXPORT(process_vm_writev);
RUN_EXPORT(accept);
RUN_EXPORT(accept4);
RUN_EXPORT(wait);
RUN_EXPORT(waitpid);
RUN_EXPORT(wait3);
RUN_EXPORT(wait4);
RUN_EXPORT(waitid);
RUN_EXPORT(stat);
RUN_EXPORT_AS(stat64, stat);
RUN_EXPORT(lstat);
RUN_EXPORT_AS(lstat64, lstat);
RUN_EXPORT(fstat);
RUN_EXPORT_AS(fstat64, fstat);
RUN_EXPORT(fstatat);
RUN_EXPORT_AS(fstatat64, fstatat);
RUN_EXPORT(statx);
RUN_EXPORT(access);
RUN_EXPORT(faccessat);
RUN_EXPORT(readlink);
RUN_EXPORT(readlinkat);
RUN_EXPORT(getcwd);
RUN_EXPORT(pipe);
RUN_EXPORT(pipe2);
RUN_EXPORT(uname);
RUN_EXPORT(getrandom);
RUN_EXPORT(nanosleep);
RUN_EXPORT(clock_nanosleep);
