/* SPDX-License-Identifier: MIT */
/* Waiting for readiness. Sets without a userfaultfd go to libc; the others to the engine, pselect by way of ppoll. */
#include "run/run.h"
#include <pthread.h>
#include <sys/mman.h>

_Noreturn void __chk_fail(void);

static bool any_made(void)
{
	return __atomic_load_n(&run_has_uffd, __ATOMIC_ACQUIRE);
}

bool run_poll_has_uffd(const struct pollfd *fds, nfds_t n)
{
	if (likely(!any_made()) || !run_is_readable(fds, n * sizeof(*fds)))
		return false;
	for (nfds_t i = 0; i < n; i++)
		if (fl_is_uffd(fds[i].fd))
			return true;
	return false;
}

static bool in_set(int fd, const fd_set *s)
{
	return s && (s->fds_bits[fd / NFDBITS] & (1L << (fd % NFDBITS)));
}

static bool set_is_readable(int n, const fd_set *s)
{
	return !s || run_is_readable(s, (size_t)(n + NFDBITS - 1) / NFDBITS * sizeof(long));
}

bool run_set_has_uffd(int n, const fd_set *r, const fd_set *w, const fd_set *e)
{
	if (likely(!any_made()) || n <= 0)
		return false;
	if (!set_is_readable(n, r) || !set_is_readable(n, w) || !set_is_readable(n, e))
		return false;
	for (int fd = 0; fd < n; fd++)
		if ((in_set(fd, r) || in_set(fd, w) || in_set(fd, e)) && fl_is_uffd(fd))
			return true;
	return false;
}

/* ---- poll ----------------------------------------------------------------------------------------------------------- */

int run_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	int ret;

	if (unlikely(run_poll_has_uffd(fds, n))) {
		pthread_testcancel();
		return fl_poll(fds, n, timeout);
	}
	ret = next()->poll(fds, n, timeout);
	return (int)run_done(ret, SYS_poll, (long)fds, (long)n, timeout, 0, 0, 0);
}

int run_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask)
{
	sigset_t copy;

	mask = run_filter(mask, &copy);
	if (likely(!run_poll_has_uffd(fds, n)))
		return next()->ppoll(fds, n, ts, mask);
	pthread_testcancel();
	return fl_ppoll(fds, n, ts, mask);
}

int run___poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
	if (room / sizeof(*fds) < n)
		__chk_fail();
	return run_poll(fds, n, timeout);
}

int run___ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask, size_t room)
{
	if (room / sizeof(*fds) < n)
		__chk_fail();
	return run_ppoll(fds, n, ts, mask);
}

/* ---- select --------------------------------------------------------------------------------------------------------- */

#define SET_IN (POLLIN | POLLHUP | POLLERR | POLLRDNORM | POLLRDBAND)
#define SET_OUT (POLLOUT | POLLERR | POLLWRNORM | POLLWRBAND)
#define SET_EX POLLPRI

static nfds_t set_to_poll(struct pollfd *p, int n, const fd_set *r, const fd_set *w, const fd_set *e)
{
	nfds_t cnt = 0;

	for (int fd = 0; fd < n; fd++) {
		short ev = (short)((in_set(fd, r) ? POLLIN : 0) | (in_set(fd, w) ? POLLOUT : 0) |
				   (in_set(fd, e) ? POLLPRI : 0));

		if (ev)
			p[cnt++] = (struct pollfd){.fd = fd, .events = ev};
	}
	return cnt;
}

/* Keep fd in the set only when one of the events in want came; 1 when it stays. */
static int keep(fd_set *s, const struct pollfd *p, short want)
{
	if (!in_set(p->fd, s))
		return 0;
	if (p->revents & want)
		return 1;
	s->fds_bits[p->fd / NFDBITS] &= ~(1L << (p->fd % NFDBITS));
	return 0;
}

static int poll_to_set(const struct pollfd *p, nfds_t cnt, fd_set *r, fd_set *w, fd_set *e)
{
	int bits = 0;

	for (nfds_t i = 0; i < cnt; i++) {
		if (p[i].revents & POLLNVAL) {
			errno = EBADF;
			return -1;
		}
	}
	for (nfds_t i = 0; i < cnt; i++)
		bits += keep(r, &p[i], SET_IN) + keep(w, &p[i], SET_OUT) + keep(e, &p[i], SET_EX);
	return bits;
}

static int select_by_poll(int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *ts, const sigset_t *mask)
{
	size_t bytes = (size_t)n * sizeof(struct pollfd);
	struct pollfd *p;
	nfds_t cnt;
	int ret;

	p = (void *)run_raw(SYS_mmap, 0, (long)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if ((unsigned long)p > -4096UL) {
		errno = ENOMEM;
		return -1;
	}
	cnt = set_to_poll(p, n, r, w, e);
	ret = fl_ppoll(p, cnt, ts, mask);
	if (ret >= 0)
		ret = poll_to_set(p, cnt, r, w, e);
	run_raw(SYS_munmap, (long)p, (long)bytes, 0, 0, 0, 0);
	return ret;
}

static int64_t now_ns(void)
{
	struct timespec ts = {0, 0};

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Not by the kernel's select: to it the descriptor is an eventfd, which is always writable. Linux counts tv down. */
int run_select(int n, fd_set *r, fd_set *w, fd_set *e, struct timeval *tv)
{
	struct timespec ts;
	int64_t end, left;
	int ret;

	if (likely(!run_set_has_uffd(n, r, w, e)))
		return next()->select(n, r, w, e, tv);
	pthread_testcancel();
	if (!tv)
		return select_by_poll(n, r, w, e, NULL, NULL);
	ts = (struct timespec){tv->tv_sec + tv->tv_usec / 1000000, tv->tv_usec % 1000000 * 1000};
	end = now_ns() + ts.tv_sec * 1000000000 + ts.tv_nsec;
	ret = select_by_poll(n, r, w, e, &ts, NULL);
	left = end - now_ns();
	left = left > 0 ? left : 0;
	*tv = (struct timeval){left / 1000000000, left % 1000000000 / 1000};
	return ret;
}

int run_pselect(int n, fd_set *r, fd_set *w, fd_set *e, const struct timespec *ts, const sigset_t *mask)
{
	sigset_t copy;

	mask = run_filter(mask, &copy);
	if (likely(!run_set_has_uffd(n, r, w, e)))
		return next()->pselect(n, r, w, e, ts, mask);
	pthread_testcancel();
	return select_by_poll(n, r, w, e, ts, mask);
}

int run_epoll_pwait(int ep, struct epoll_event *ev, int n, int timeout, const sigset_t *mask)
{
	sigset_t copy;

	return next()->epoll_pwait(ep, ev, n, timeout, run_filter(mask, &copy));
}

RUN_EXPORT(poll);
RUN_EXPORT(ppoll);
RUN_EXPORT(__poll_chk);
RUN_EXPORT(__ppoll_chk);
RUN_EXPORT(select);
RUN_EXPORT(pselect);
RUN_EXPORT(epoll_pwait);
