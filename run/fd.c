/* SPDX-License-Identifier: MIT */
/*
 * Descriptors: making userfaultfds, and every call that copies, closes or controls one.
 *
 * /dev/userfaultfd: on Linux the node is root's alone unless an administrator opens it up, and asks no further
 * privilege of whoever can open it. Under the shim it always opens, whether or not the node exists and whoever asks:
 * the engine needs no privilege, so there is nothing for the node's mode to protect.
 */
#include "run/run.h"
#include <fcntl.h>
#include <linux/close_range.h>
#include <string.h>
#include <sys/ioctl.h>
/* after sys/ioctl.h, which it does not include */
#include <linux/userfaultfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define IOC_NEW ((unsigned long)USERFAULTFD_IOC_NEW)
#define DEV_PATH "/dev/userfaultfd"


static int note_uffd(int fd)
{
	if (fd >= 0)
		__atomic_store_n(&run_has_uffd, true, __ATOMIC_RELEASE);
	return fd;
}

int run_userfaultfd(int flags)
{
	if (run_is_dead) {
		errno = ENOSYS;
		return -1;
	}
	return note_uffd(fl_userfaultfd(flags));
}

/* A userfaultfd, or a descriptor of the engine's device node: both are copied and closed through the engine. */
static bool is_ours(int fd)
{
	return unlikely(fl_owns(fd));
}

/* ---- open ----------------------------------------------------------------------------------------------------- */

/*
 * The real call comes first: unless it says EFAULT, path is a string that can be looked at. A descriptor of the real
 * node has no effects of its own and is closed again.
 */
static int or_device(int fd, const char *path, int flags)
{
	if ((fd < 0 && errno == EFAULT) || run_is_dead || strcmp(path, DEV_PATH) != 0)
		return fd;
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL) || (flags & (O_DIRECTORY | O_PATH)))
		return fd;
	if (fd >= 0)
		next()->close(fd);
	return fl_open_dev(flags);
}

int run_open(const char *path, int flags, mode_t mode)
{
	int fd = next()->open(path, flags, mode);

	fd = (int)run_done(fd, SYS_open, (long)path, flags, mode, 0, 0, 0);
	return or_device(fd, path, flags);
}

int run_openat(int dir, const char *path, int flags, mode_t mode)
{
	int fd = next()->openat(dir, path, flags, mode);

	fd = (int)run_done(fd, SYS_openat, dir, (long)path, flags, mode, 0, 0);
	return or_device(fd, path, flags);
}

/* ---- close ---------------------------------------------------------------------------------------------------- */

static int bad_fd(void)
{
	errno = EBADF;
	return -1;
}

int run_close(int fd)
{
	if (is_ours(fd))
		return fl_close(fd);
	if (unlikely(fl_fd_is_private(fd)))
		return bad_fd();
	return next()->close(fd);
}

/* No descriptor of ours is above this. */
static unsigned highest_fd(unsigned last)
{
	struct rlimit rl = {0, 0};
	uint64_t top = 65536;

	run_raw(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&rl, 0, 0);
	top = min_u64(max_u64(top, rl.rlim_cur), 1u << 20);
	return (unsigned)min_u64(last, top);
}

/* The descriptors between ours, [first, last], in one call; none when the run is empty. */
static int close_run(unsigned first, unsigned last, int flags)
{
	return first <= last ? next()->close_range(first, last, flags) : 0;
}

/* The engine's own descriptors stay; ours are closed (or marked) by the calls that keep the engine's books. */
int run_close_range(unsigned first, unsigned last, int flags)
{
	unsigned from = first, top;

	if (first > last || (flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)))
		return next()->close_range(first, last, flags);
	top = highest_fd(last);
	for (unsigned fd = first; fd <= top; fd++) {
		bool ours = is_ours((int)fd);

		if (likely(!ours && !fl_fd_is_private((int)fd)))
			continue;
		if (fd > from && close_run(from, fd - 1, flags))
			return -1;
		from = fd + 1;
		if (ours && (flags & CLOSE_RANGE_CLOEXEC))
			fl_fcntl((int)fd, F_SETFD, FD_CLOEXEC);
		else if (ours)
			fl_close((int)fd);
	}
	return close_run(from, last, flags);
}

void run_closefrom(int low)
{
	run_close_range(low < 0 ? 0 : (unsigned)low, ~0u, 0);
}

/* ---- dup, fcntl ------------------------------------------------------------------------------------------------- */

int run_dup(int fd)
{
	return is_ours(fd) ? fl_dup(fd) : next()->dup(fd);
}

/* Neither descriptor is the engine's in any way, so the real call will do. fl_dup3 makes room when `to` is private. */
static bool dup_is_plain(int fd, int to)
{
	return likely(!is_ours(fd) && !is_ours(to) && !fl_fd_is_private(to));
}

int run_dup2(int fd, int to)
{
	if (dup_is_plain(fd, to) || fd == to)
		return next()->dup2(fd, to);
	return fl_dup3(fd, to, 0);
}

int run_dup3(int fd, int to, int flags)
{
	return dup_is_plain(fd, to) ? next()->dup3(fd, to, flags) : fl_dup3(fd, to, flags);
}

int run_fcntl(int fd, int cmd, unsigned long arg)
{
	int ret;

	if (is_ours(fd))
		return fl_fcntl(fd, cmd, arg);
	ret = next()->fcntl(fd, cmd, arg);
	return (int)run_done(ret, SYS_fcntl, fd, cmd, (long)arg, 0, 0, 0);
}

/* ---- the rest ----------------------------------------------------------------------------------------------------- */

int run_ioctl(int fd, unsigned long req, unsigned long arg)
{
	int ret;

	if (is_ours(fd)) {
		ret = fl_ioctl(fd, req, (void *)arg);
		return req == IOC_NEW && !fl_is_uffd(fd) ? note_uffd(ret) : ret;
	}
	ret = next()->ioctl(fd, req, arg);
	return (int)run_done(ret, SYS_ioctl, fd, (long)req, (long)arg, 0, 0, 0);
}

off_t run_lseek(int fd, off_t off, int whence)
{
	if (likely(!fl_is_uffd(fd)))
		return next()->lseek(fd, off, whence);
	if (whence >= SEEK_SET && whence <= SEEK_HOLE)
		return 0;
	errno = EINVAL;
	return -1;
}

/*
 * The real descriptor is an eventfd, which epoll finds writable at any time; a userfaultfd never is. fl_watch comes
 * first, so that what waits now is reported too.
 */
static int epoll_ctl_uffd(int ep, int op, int fd, const struct epoll_event *ev)
{
	struct epoll_event copy = *ev;

	copy.events &= ~(uint32_t)(EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND);
	fl_watch(fd);
	return next()->epoll_ctl(ep, op, fd, &copy);
}

int run_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	int ret;

	if (unlikely(fl_is_uffd(fd)) && op != EPOLL_CTL_DEL && ev && run_is_readable(ev, sizeof(*ev)))
		return epoll_ctl_uffd(ep, op, fd, ev);
	ret = next()->epoll_ctl(ep, op, fd, ev);
	return (int)run_done(ret, SYS_epoll_ctl, ep, op, fd, (long)ev, 0, 0);
}

RUN_EXPORT(open);
RUN_EXPORT_AS(open64, open);
RUN_EXPORT_AS(__open_2, open);
RUN_EXPORT_AS(__open64_2, open);
RUN_EXPORT(openat);
RUN_EXPORT_AS(openat64, openat);
RUN_EXPORT_AS(__openat_2, openat);
RUN_EXPORT_AS(__openat64_2, openat);
RUN_EXPORT(close);
RUN_EXPORT(close_range);
RUN_EXPORT(closefrom);
RUN_EXPORT(dup);
RUN_EXPORT(dup2);
RUN_EXPORT(dup3);
RUN_EXPORT(fcntl);
RUN_EXPORT_AS(fcntl64, fcntl);
RUN_EXPORT(ioctl);
RUN_EXPORT(lseek);
RUN_EXPORT_AS(lseek64, lseek);
RUN_EXPORT(epoll_ctl);
