/* SPDX-License-Identifier: MIT */
/* Transfers: messages read from a userfaultfd, and everyone else's buffers in managed memory. */
#include "run/run.h"
#include <pthread.h>
#include <unistd.h>

_Noreturn void __chk_fail(void); /* libc's, for the fortified calls */

static long fail(int err)
{
	errno = err;
	return -1;
}

/* Make the buffers of a call that would lose data accessible before it is made. */
static inline void before(long nr, long a, long b, long c)
{
	if (unlikely(fl_is_active()))
		run_prefault(nr, (long[6]){a, b, c});
}

/* How many bytes a vector that the kernel took asks for. Only looked at where it matters: ret bytes were moved. */
static size_t iov_bytes(const struct iovec *v, int cnt, ssize_t ret)
{
	size_t sum = 0;

	if (ret <= 0 || !fl_is_active())
		return 0;
	for (int i = 0; i < cnt; i++)
		sum += v[i].iov_len;
	return sum;
}

/* read(2) is a cancellation point: the test comes before the engine's wait, which cannot be cancelled. */
ssize_t run_read(int fd, void *buf, size_t n)
{
	ssize_t ret;

	if (unlikely(fl_is_uffd(fd))) {
		pthread_testcancel();
		return fl_read(fd, buf, n);
	}
	before(SYS_read, fd, (long)buf, (long)n);
	ret = next()->read(fd, buf, n);
	return run_done_io(ret, (long)n, SYS_read, fd, (long)buf, (long)n, 0);
}

ssize_t run_readv(int fd, const struct iovec *v, int cnt)
{
	ssize_t ret;

	if (unlikely(fl_is_uffd(fd))) {
		pthread_testcancel();
		return fl_readv(fd, v, cnt);
	}
	ret = next()->readv(fd, v, cnt);
	return run_done_io(ret, (long)iov_bytes(v, cnt, ret), SYS_readv, fd, (long)v, cnt, 0);
}

/* A userfaultfd is open for reading only, and has no position. */
ssize_t run_write(int fd, const void *buf, size_t n)
{
	ssize_t ret;

	if (unlikely(fl_is_uffd(fd)))
		return fail(EBADF);
	ret = next()->write(fd, buf, n);
	return run_done_io(ret, (long)n, SYS_write, fd, (long)buf, (long)n, 0);
}

ssize_t run_writev(int fd, const struct iovec *v, int cnt)
{
	ssize_t ret;

	if (unlikely(fl_is_uffd(fd)))
		return fail(EBADF);
	ret = next()->writev(fd, v, cnt);
	return run_done_io(ret, (long)iov_bytes(v, cnt, ret), SYS_writev, fd, (long)v, cnt, 0);
}

ssize_t run_pread(int fd, void *buf, size_t n, off_t off)
{
	ssize_t ret;

	if (unlikely(fl_is_uffd(fd)))
		return fail(ESPIPE);
	ret = next()->pread(fd, buf, n, off);
	return run_done_io(ret, (long)n, SYS_pread64, fd, (long)buf, (long)n, off);
}

ssize_t run_pwrite(int fd, const void *buf, size_t n, off_t off)
{
	ssize_t ret;

	if (unlikely(fl_is_uffd(fd)))
		return fail(ESPIPE);
	ret = next()->pwrite(fd, buf, n, off);
	return run_done_io(ret, (long)n, SYS_pwrite64, fd, (long)buf, (long)n, off);
}

ssize_t run_preadv(int fd, const struct iovec *v, int cnt, off_t off)
{
	ssize_t ret;

	if (unlikely(fl_is_uffd(fd)))
		return fail(ESPIPE);
	ret = next()->preadv(fd, v, cnt, off);
	return run_done_io(ret, (long)iov_bytes(v, cnt, ret), SYS_preadv, fd, (long)v, cnt, off);
}

ssize_t run_pwritev(int fd, const struct iovec *v, int cnt, off_t off)
{
	ssize_t ret;

	if (unlikely(fl_is_uffd(fd)))
		return fail(ESPIPE);
	ret = next()->pwritev(fd, v, cnt, off);
	return run_done_io(ret, (long)iov_bytes(v, cnt, ret), SYS_pwritev, fd, (long)v, cnt, off);
}

/* ---- sockets ------------------------------------------------------------------------------------------------------ */

ssize_t run_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *sa, socklen_t *len)
{
	ssize_t ret;

	before(SYS_recvfrom, fd, (long)buf, (long)n);
	ret = next()->recvfrom(fd, buf, n, flags, sa, len);
	return run_done(ret, SYS_recvfrom, fd, (long)buf, (long)n, flags, (long)sa, (long)len);
}

ssize_t run_recv(int fd, void *buf, size_t n, int flags)
{
	ssize_t ret;

	before(SYS_recvfrom, fd, (long)buf, (long)n);
	ret = next()->recv(fd, buf, n, flags);
	return run_done(ret, SYS_recvfrom, fd, (long)buf, (long)n, flags, 0, 0);
}

ssize_t run_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *sa, socklen_t len)
{
	ssize_t ret = next()->sendto(fd, buf, n, flags, sa, len);

	return run_done(ret, SYS_sendto, fd, (long)buf, (long)n, flags, (long)sa, len);
}

ssize_t run_send(int fd, const void *buf, size_t n, int flags)
{
	ssize_t ret = next()->send(fd, buf, n, flags);

	return run_done(ret, SYS_sendto, fd, (long)buf, (long)n, flags, 0, 0);
}

ssize_t run_recvmsg(int fd, struct msghdr *m, int flags)
{
	ssize_t ret;

	before(SYS_recvmsg, fd, (long)m, flags);
	ret = next()->recvmsg(fd, m, flags);
	return run_done(ret, SYS_recvmsg, fd, (long)m, flags, 0, 0, 0);
}

ssize_t run_sendmsg(int fd, const struct msghdr *m, int flags)
{
	ssize_t ret = next()->sendmsg(fd, m, flags);

	return run_done(ret, SYS_sendmsg, fd, (long)m, flags, 0, 0, 0);
}

/* ---- fortified forms ------------------------------------------------------------------------------------------------ */

ssize_t run___read_chk(int fd, void *buf, size_t n, size_t room)
{
	if (n > room)
		__chk_fail();
	return run_read(fd, buf, n);
}

ssize_t run___pread_chk(int fd, void *buf, size_t n, off_t off, size_t room)
{
	if (n > room)
		__chk_fail();
	return run_pread(fd, buf, n, off);
}

ssize_t run___recv_chk(int fd, void *buf, size_t n, size_t room, int flags)
{
	if (n > room)
		__chk_fail();
	return run_recv(fd, buf, n, flags);
}

ssize_t run___recvfrom_chk(int fd, void *buf, size_t n, size_t room, int flags, struct sockaddr *sa, socklen_t *len)
{
	if (n > room)
		__chk_fail();
	return run_recvfrom(fd, buf, n, flags, sa, len);
}

RUN_EXPORT(read);
RUN_EXPORT(readv);
RUN_EXPORT(write);
RUN_EXPORT(writev);
RUN_EXPORT(pread);
RUN_EXPORT_AS(pread64, pread);
RUN_EXPORT(pwrite);
RUN_EXPORT_AS(pwrite64, pwrite);
RUN_EXPORT(preadv);
RUN_EXPORT_AS(preadv64, preadv);
RUN_EXPORT(pwritev);
RUN_EXPORT_AS(pwritev64, pwritev);
RUN_EXPORT(recv);
RUN_EXPORT(send);
RUN_EXPORT(recvfrom);
RUN_EXPORT(sendto);
RUN_EXPORT(recvmsg);
RUN_EXPORT(sendmsg);
RUN_EXPORT(__read_chk);
RUN_EXPORT(__pread_chk);
RUN_EXPORT_AS(__pread64_chk, __pread_chk);
RUN_EXPORT(__recv_chk);
RUN_EXPORT(__recvfrom_chk);
