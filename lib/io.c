/* SPDX-License-Identifier: MIT */
/* ioctl, read and the family of poll. */
#include "base/assert.h"
#include "lib/engine.h"
#include "machine/live/sys.h"
#include "uffd/abi.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <time.h>

/* ---- ioctl ------------------------------------------------------------------------------------------------------------------ */

/* What Linux does for every kind of file before the file is asked. */
static bool is_generic(uint32_t request)
{
	return request == FIOCLEX || request == FIONCLEX || request == FIONBIO;
}

static long generic_ioctl(struct desc *d, int fd, uint32_t request, void *arg)
{
	int on;

	if (request != FIONBIO)
		return sys3(SYS_ioctl, fd, request, (long)arg);
	if (engine.m->ops->copy_in(engine.m, &on, (va_t)(uintptr_t)arg, sizeof on))
		return -EFAULT;
	__atomic_store_n(&d->nonblock, on != 0, __ATOMIC_RELAXED);
	return 0;
}

static long ioctl_desc(struct desc *d, int fd, unsigned long request, void *arg)
{
	if (is_generic((uint32_t)request))
		return generic_ioctl(d, fd, (uint32_t)request, arg);
	if (d->ctx)
		return uffd_ioctl(d->ctx, (uint32_t)request, (va_t)(uintptr_t)arg);
	if ((uint32_t)request != ABI_IOC_NEW)
		return -EINVAL;
	return desc_new_uffd((int)(uintptr_t)arg); /* the flags are the argument itself */
}

int fl_ioctl(int fd, unsigned long request, void *arg)
{
	struct desc *d = desc_get(fd);
	long r;

	if (!d)
		return (int)fl_result(-EBADF);
	r = ioctl_desc(d, fd, request, arg);
	desc_put(d);
	return (int)fl_result(r);
}

/* ---- read ---------------------------------------------------------------------------------------------------------------------- */

ssize_t fl_read(int fd, void *buf, size_t count)
{
	struct desc *d = desc_get(fd);
	int64_t r = -EBADF;

	if (d) {
		r = d->ctx ? uffd_read(d->ctx, (va_t)(uintptr_t)buf, count, __atomic_load_n(&d->nonblock, __ATOMIC_RELAXED)) :
			     -EINVAL;
		desc_put(d);
	}
	return fl_result(r);
}

/* Messages may straddle the pieces: take them one by one through a buffer, never more than fit. */
static int64_t read_pieces(struct desc *d, const struct iovec *iov, int iovcnt)
{
	size_t total = 0, done = 0, used = 0;
	bool nonblock = __atomic_load_n(&d->nonblock, __ATOMIC_RELAXED);
	int i = 0;

	for (int k = 0; k < iovcnt; k++)
		total += iov[k].iov_len;
	if (total < ABI_MSG_SIZE)
		return -EINVAL;
	while (total - done >= ABI_MSG_SIZE) {
		char msg[ABI_MSG_SIZE];
		int64_t r = uffd_read(d->ctx, (va_t)(uintptr_t)msg, sizeof msg, nonblock || done > 0);

		if (r < 0)
			return done ? (int64_t)done : r;
		for (size_t at = 0; at < sizeof msg;) {
			size_t n;

			while (used == iov[i].iov_len) {
				i++;
				used = 0;
			}
			n = min_u64(sizeof msg - at, iov[i].iov_len - used);
			if (engine.m->ops->copy_out(engine.m, (va_t)(uintptr_t)iov[i].iov_base + used, msg + at, n))
				return done ? (int64_t)done : -EFAULT;
			at += n;
			used += n;
		}
		done += sizeof msg;
	}
	return (int64_t)done;
}

ssize_t fl_readv(int fd, const struct iovec *iov, int iovcnt)
{
	struct desc *d = desc_get(fd);
	int64_t r = -EBADF;

	if (d) {
		r = d->ctx && iovcnt >= 0 ? read_pieces(d, iov, iovcnt) : -EINVAL;
		desc_put(d);
	}
	return fl_result(r);
}

/* ---- poll ------------------------------------------------------------------------------------------------------------------------ */

static short ready_now(struct desc *d, short events)
{
	unsigned r = uffd_poll(d->ctx, __atomic_load_n(&d->nonblock, __ATOMIC_RELAXED));

	return (short)(r & ((unsigned)events | POLLERR | POLLHUP)) |
	       (short)(r & POLLIN && events & POLLRDNORM ? POLLRDNORM : 0);
}

/* One descriptor, ours: sleep on its messages without the kernel's poll. */
static int poll_one(struct desc *d, struct pollfd *p, int64_t timeout_ns)
{
	uint64_t end = timeout_ns > 0 ? engine.m->ops->now_ns(engine.m) + (uint64_t)timeout_ns : 0;
	int64_t left = timeout_ns < 0 ? (int64_t)1 << 60 : timeout_ns;

	for (;;) {
		uint32_t seen = mach_load32(engine.m, &d->ctx->arrivals);
		uint64_t now;
		int r;

		p->revents = ready_now(d, p->events);
		if (p->revents)
			return 1;
		if (left <= 0)
			return 0;
		r = uffd_wait_readable(d->ctx, seen, left);
		if (r == -EINTR)
			return r;
		if (timeout_ns > 0) {
			now = engine.m->ops->now_ns(engine.m);
			left = now < end ? (int64_t)(end - now) : 0;
		}
	}
}

/* Replace what the kernel says of our eventfds by what is true; count what is ready. */
static int correct_revents(struct pollfd *fds, nfds_t n)
{
	int ready = 0;

	for (nfds_t i = 0; i < n; i++) {
		struct desc *d = desc_get(fds[i].fd);

		if (d && d->ctx)
			fds[i].revents = ready_now(d, fds[i].events);
		if (d)
			desc_put(d);
		ready += fds[i].revents != 0;
	}
	return ready;
}

enum watch { WATCH_NOT, WATCH_BEGIN, WATCH_END };

/* Is one of ours ready? Begin and end: the kernel is about to wait on them, or has done so. */
static bool any_ready(struct pollfd *fds, nfds_t n, enum watch watch)
{
	bool ready = false;

	for (nfds_t i = 0; i < n; i++) {
		struct desc *d = desc_get(fds[i].fd);

		if (d && d->ctx) {
			if (watch == WATCH_BEGIN)
				desc_watch(d);
			else if (watch == WATCH_END)
				desc_unwatch(d);
			ready |= ready_now(d, fds[i].events) != 0;
		}
		if (d)
			desc_put(d);
	}
	return ready;
}

/* The usual monitor waits for faults on one of ours and for "stop" on something else: spin a little for a fault first. */
static void spin_for_message(struct pollfd *fds, nfds_t n)
{
	struct desc *d = NULL;

	for (nfds_t i = 0; i < n && !d; i++) {
		d = desc_get(fds[i].fd);
		if (d && !d->ctx) {
			desc_put(d);
			d = NULL;
		}
	}
	if (!d)
		return;
	(void)uffd_wait_readable(d->ctx, mach_load32(engine.m, &d->ctx->arrivals), 0);
	desc_put(d);
}

/* A mixture: the kernel waits, our descriptors' readiness is kept up to date for it. */
static int poll_many(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct timespec none = {0};
	int r;

	do {
		bool waits = !timeout || timeout->tv_sec || timeout->tv_nsec;

		if (waits && !any_ready(fds, n, WATCH_NOT))
			spin_for_message(fds, n);
		r = fl_libc.ppoll(fds, n, any_ready(fds, n, WATCH_BEGIN) ? &none : timeout, mask);
		any_ready(fds, n, WATCH_END);
		if (r < 0)
			return -errno;
		if (r == 0 && !any_ready(fds, n, WATCH_NOT))
			return 0;
		r = correct_revents(fds, n);
	} while (r == 0 && !timeout); /* another reader was faster: wait on */
	return r;
}

/* A userfaultfd is never writable, its eventfd always: the kernel is not asked that. */
#define ON_STACK 64

static bool wants_out(const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++)
		if ((fds[i].events & (POLLOUT | POLLWRNORM | POLLWRBAND)) && fl_is_uffd(fds[i].fd))
			return true;
	return false;
}

static int poll_without_out(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct pollfd few[ON_STACK], *copy = few;
	size_t bytes = page_up(n * sizeof *copy);
	int r;

	if (n > ON_STACK)
		copy = engine.m->ops->mem_alloc(engine.m, bytes, PAGE_SIZE);
	if (!copy)
		return -ENOMEM;
	for (nfds_t i = 0; i < n; i++) {
		copy[i] = fds[i];
		if (fl_is_uffd(fds[i].fd))
			copy[i].events &= ~(POLLOUT | POLLWRNORM | POLLWRBAND);
	}
	r = poll_many(copy, n, timeout, mask);
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = copy[i].revents;
	if (copy != few)
		engine.m->ops->mem_free(engine.m, copy, bytes);
	return r;
}

static int do_poll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
	struct desc *d = n == 1 && !mask ? desc_get(fds[0].fd) : NULL;
	int r;

	if (!d || !d->ctx) {
		if (d)
			desc_put(d);
		return (wants_out(fds, n) ? poll_without_out : poll_many)(fds, n, timeout, mask);
	}
	r = poll_one(d, &fds[0], timeout ? timeout->tv_sec * 1000000000 + timeout->tv_nsec : -1);
	desc_put(d);
	return r;
}

int fl_poll(struct pollfd *fds, nfds_t nfds, int timeout)
{
	struct timespec ts = {timeout / 1000, timeout % 1000 * 1000000L};

	if (!__atomic_load_n(&engine.started, __ATOMIC_ACQUIRE))
		return fl_libc.poll(fds, nfds, timeout);
	return (int)fl_result(do_poll(fds, nfds, timeout < 0 ? NULL : &ts, NULL));
}

int fl_ppoll(struct pollfd *fds, nfds_t nfds, const struct timespec *timeout, const sigset_t *mask)
{
	if (!__atomic_load_n(&engine.started, __ATOMIC_ACQUIRE))
		return fl_libc.ppoll(fds, nfds, timeout, mask);
	return (int)fl_result(do_poll(fds, nfds, timeout, mask));
}

/* Our descriptors in the set are watched by the kernel from now on; it does the rest. */
static void watch_set(int nfds, const fd_set *set)
{
	for (int fd = 0; set && fd < nfds && fd < FD_SETSIZE; fd++)
		if (FD_ISSET(fd, set) && fl_is_uffd(fd))
			fl_watch(fd);
}

/* A userfaultfd is never writable; its eventfd always is. The set is the call's answer too, so it may be changed. */
static void drop_from_set(int nfds, fd_set *set)
{
	for (int fd = 0; set && fd < nfds && fd < FD_SETSIZE; fd++)
		if (FD_ISSET(fd, set) && fl_is_uffd(fd))
			FD_CLR(fd, set);
}

int fl_select(int nfds, fd_set *r, fd_set *w, fd_set *e, struct timeval *timeout)
{
	watch_set(nfds, r);
	watch_set(nfds, e);
	drop_from_set(nfds, w);
	return (int)fl_result(sys6(SYS_select, nfds, (long)r, (long)w, (long)e, (long)timeout, 0));
}
