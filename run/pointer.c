/* SPDX-License-Identifier: MIT */
/* Calls that are interposed only because their pointers may name managed memory. */
#include "run/run.h"
#include <fcntl.h>
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

int run_pipe(int fds[2])
{
	return (int)run_done(next()->pipe(fds), SYS_pipe, (long)fds, 0, 0, 0, 0, 0);
}

int run_pipe2(int fds[2], int flags)
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
