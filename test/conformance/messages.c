/* SPDX-License-Identifier: MIT */
/* What is read from the descriptor, and how it is polled: rows 71 to 80 and 85 to 88, sections 3.1 to 3.4. */
#include "test/conformance/conform.h"
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/uio.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

static int make_armed(uint8_t **p, size_t n, uint64_t mode, uint64_t features)
{
	int fd = uffd_new(features);

	*p = map_pages(n);
	arm(fd, *p, n, mode);
	return fd;
}

/* n readers of n pages, each asleep in its fault, queued in the order of the pages. */
static void queue_faults(struct actor *a, uint8_t *p, int n)
{
	for (int i = 0; i < n; i++) {
		start_read(&a[i], p + i * PAGE);
		actor_wait_asleep(&a[i]);
	}
}

static void fill_all(int fd, struct actor *a, uint8_t *p, int n)
{
	zeropage(fd, p, n);
	for (int i = 0; i < n; i++)
		finished(&a[i]);
}

/* ---- row 71: one row a line of table 3.2 ---------------------------------------------------------------------------- */

ROW(row071_none_in_missing)
{
	struct actor w = {0};
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS, 0);

	read_misses(fd, p, 1);
	start_write(&w, p + PAGE + 9, 2);
	message(fd, MSG_WRITE, p + PAGE);
	fill(fd, p + PAGE, 0);
	finished(&w);
	no_message(fd);
}

ROW(row071_none_in_wp_only)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, WP, 0);

	EQ(access_read(p, NULL), 0);
	CHECK(page_is(p, 0));
	writes_freely(fd, p, 1);
	writes_freely(fd, p + PAGE, 1);
	no_message(fd);
}

/* A marker is "none" for a missing fault, and COPY without WP lets the write go on. */
ROW(row071_marker_in_missing)
{
	struct actor w = {0};
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS | WP, UFFD_FEATURE_WP_UNPOPULATED);

	protect(fd, p, 2);
	read_misses(fd, p, 1);
	start_write(&w, p + PAGE, 2);
	message(fd, MSG_WRITE, p + PAGE);
	fill(fd, p + PAGE, 0);
	finished(&w);
	no_message(fd);
	writes_freely(fd, p, 3); /* that COPY left no bit either */
}

ROW(row071_marker_in_wp_only)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, WP, UFFD_FEATURE_WP_UNPOPULATED);

	protect(fd, p, 2);
	EQ(access_read(p, NULL), 0); /* the zero page with the bit */
	no_message(fd);
	write_traps(fd, p, 1);
	write_traps(fd, p + PAGE, 1);
	EQ(p[1], 0);
	EQ(p[PAGE + 1], 0);
}

ROW(row071_marker_no_longer_wp)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, WP, UFFD_FEATURE_WP_UNPOPULATED);

	protect(fd, p, 1);
	arm(fd, p, 1, MISS);
	read_misses(fd, p, 1);
	writes_freely(fd, p, 2);
}

ROW(row071_present_with_bit)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, WP, 0);

	touch(p, 1, 5);
	protect(fd, p, 1);
	CHECK(page_is(p, 5));
	no_message(fd);
	write_traps(fd, p, 6);
	writes_freely(fd, p, 7);
}

ROW(row071_present_with_bit_not_wp)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, WP, 0);

	touch(p, 1, 5);
	protect(fd, p, 1);
	arm(fd, p, 1, MISS);
	writes_freely(fd, p, 6);
	no_message(fd);
}

/* An atomic read-modify-write is a write. */
static void do_fetch_add(struct actor *a)
{
	a->value = __atomic_fetch_add((uint8_t *)a->addr, 3, __ATOMIC_SEQ_CST);
}

ROW(row071_atomic_is_a_write)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS | WP, 0);

	a.addr = p;
	actor_start(&a, do_fetch_add);
	message(fd, MSG_WRITE, p);
	fill_mode(__FILE__, __LINE__, fd, p, 4, UFFDIO_COPY_MODE_WP);
	message(fd, MSG_WP, p);
	resolve(fd, p, 1);
	finished(&a);
	EQ(a.value, 4);
	EQ(p[0], 7);
	EQ(p[1], 4);
}

/* An access that straddles two pages faults on each. */
static void do_straddle(struct actor *a)
{
	uint64_t v;

	memcpy(&v, (void *)a->addr, 8);
	a->ret = v == 0x0202020201010101ull;
}

ROW(row071_access_across_two_pages)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS, 0);
	struct uffd_msg m;

	a.addr = p + PAGE - 4;
	actor_start(&a, do_straddle);
	CHECK(msg_pending(fd));
	EQ(read(fd, &m, sizeof(m)), sizeof(m));
	EQ(m.arg.pagefault.flags, MSG_READ);
	if (m.arg.pagefault.address == (uintptr_t)p) { /* the order is the processor's */
		fill(fd, p, 1);
		message(fd, MSG_READ, p + PAGE);
		fill(fd, p + PAGE, 2);
	} else {
		fill(fd, p + PAGE, 2);
		message(fd, MSG_READ, p);
		fill(fd, p, 1);
	}
	finished(&a);
	EQ(a.ret, 1);
}

static void do_memcpy(struct actor *a)
{
	memcpy((void *)a->addr, (void *)a->arg[0], a->arg[1]);
}

/* memcpy between two managed ranges: reads are announced as reads, writes as writes. */
ROW(row071_memcpy_between_managed_pages)
{
	struct actor a = {0};
	uint8_t *p, seen = 0;
	int fd = make_armed(&p, 4, MISS, 0);
	struct uffd_msg m;

	a.addr = p;
	a.arg[0] = (uintptr_t)(p + 2 * PAGE);
	a.arg[1] = 2 * PAGE;
	actor_start(&a, do_memcpy);
	while (seen != 15) {
		unsigned page;

		CHECK(msg_pending(fd));
		EQ(read(fd, &m, sizeof(m)), sizeof(m));
		page = (m.arg.pagefault.address - (uintptr_t)p) / PAGE;
		CHECK(page < 4 && !(seen & (1 << page)));
		EQ(m.arg.pagefault.flags, page < 2 ? MSG_WRITE : MSG_READ);
		seen |= 1 << page;
		fill(fd, p + page * PAGE, 0x10 + page);
	}
	finished(&a);
	CHECK(page_is(p, 0x12) && page_is(p + PAGE, 0x13));
}

/* ---- rows 72 to 79 ---------------------------------------------------------------------------------------------------- */

ROW(row072_thread_id)
{
	struct actor a = {0}, b = {0};
	uint8_t *p, *q;
	int on = make_armed(&p, 2, MISS, UFFD_FEATURE_THREAD_ID), off = make_armed(&q, 1, MISS, 0);

	start_read(&a, p);
	EQ(message(on, MSG_READ, p), a.tid);
	start_write(&b, p + PAGE, 1);
	EQ(message(on, MSG_WRITE, p + PAGE), b.tid);
	CHECK(a.tid != b.tid);
	zeropage(on, p, 2);
	finished(&a);
	finished(&b);
	start_read(&a, q);
	EQ(message(off, MSG_READ, q), 0);
	zeropage(off, q, 1);
	finished(&a);
}

ROW(row072_exact_address)
{
	struct actor a = {0};
	uint8_t *p, *q;
	int on = make_armed(&p, 2, MISS | WP, UFFD_FEATURE_EXACT_ADDRESS), off = make_armed(&q, 1, MISS, 0);

	start_read(&a, p + 0xabc);
	message(on, MSG_READ, p + 0xabc);
	fill(on, p, 1);
	finished(&a);
	protect(on, p, 1);
	start_write(&a, p + 0xfff, 2);
	message(on, MSG_WP, p + 0xfff);
	resolve(on, p, 1);
	finished(&a);
	start_read(&a, q + 0xabc);
	message(off, MSG_READ, q);
	fill(off, q, 1);
	finished(&a);
}

ROW(row073_read_sizes)
{
	struct uffd_msg m[8];
	struct actor a[7] = {0};
	uint8_t *p;
	int fd = make_armed(&p, 7, MISS, 0);

	queue_faults(a, p, 7);
	EQ(read(fd, m, 0), -1);
	EQ(errno, EINVAL);
	EQ(read(fd, m, 31), -1);
	EQ(errno, EINVAL);
	EQ(read(fd, m, 32), 32);
	EQ(read(fd, m, 70), 64);
	EQ(read(fd, m, 256), 128);
	EQ(read(fd, m, 256), -1);
	EQ(errno, EAGAIN);
	EQ(read(fd, m, 31), -1); /* the size is looked at first */
	EQ(errno, EINVAL);
	fill_all(fd, a, p, 7);
}

ROW(row074_first_in_first_out)
{
	struct uffd_msg m[16];
	struct actor a[8] = {0};
	uint8_t *p;
	int fd = make_armed(&p, 8, MISS, 0);

	queue_faults(a, p, 8);
	EQ(read(fd, m, 3 * sizeof(m[0])), 3 * sizeof(m[0]));
	EQ(read(fd, m + 3, 10 * sizeof(m[0])), 5 * sizeof(m[0]));
	for (int i = 0; i < 8; i++) {
		EQ(m[i].event, UFFD_EVENT_PAGEFAULT);
		EQ(m[i].arg.pagefault.address, (uintptr_t)(p + i * PAGE));
	}
	fill_all(fd, a, p, 8);
}

ROW(row075_empty_nonblock)
{
	struct uffd_msg m;
	int fd = uffd_new(0);

	EQ(read(fd, &m, sizeof(m)), -1);
	EQ(errno, EAGAIN);
}

ROW(row075_empty_rwf_nowait)
{
	struct uffd_msg m;
	struct iovec iov = {&m, sizeof(m)};
	int fd = uffd_new_blocking(0);

	EQ(preadv2(fd, &iov, 1, -1, RWF_NOWAIT), -1);
	EQ(errno, EAGAIN);
}

static void do_read_message(struct actor *a)
{
	struct uffd_msg m = {0};

	a->ret = read(a->fd, &m, sizeof(m));
	a->err = errno;
	a->arg[0] = m.arg.pagefault.address;
}

static volatile sig_atomic_t handled;

static void count_signal(int sig)
{
	(void)sig;
	handled++;
}

static void handle_usr1(int flags)
{
	struct sigaction sa = {.sa_handler = count_signal, .sa_flags = flags};

	EQ(sigaction(SIGUSR1, &sa, NULL), 0);
}

ROW(row075_blocking_read_and_signal)
{
	struct actor a = {.fd = uffd_new_blocking(0)};
	struct pollfd done;

	handle_usr1(0);
	actor_start(&a, do_read_message);
	actor_wait_asleep(&a);
	done = (struct pollfd){.fd = a.done_fd, .events = POLLIN};
	/* It may have slept on its way there: signals before the read are only counted. */
	for (int i = 0; i < PROMPT_MS; i++) {
		pthread_kill(a.thread, SIGUSR1);
		if (poll(&done, 1, 1) == 1)
			break;
	}
	finished(&a);
	EQ(a.ret, -1);
	EQ(a.err, EINTR);
}

ROW(row075_blocking_read_restarts)
{
	struct actor a = {.fd = uffd_new_blocking(0)}, reader = {0};
	uint8_t *p = map_pages(1);

	handle_usr1(SA_RESTART);
	arm(a.fd, p, 1, MISS);
	actor_start(&a, do_read_message);
	for (int i = 1; i <= 5; i++) {
		actor_wait_asleep(&a);
		pthread_kill(a.thread, SIGUSR1);
		for (int ms = 0; handled < i && ms < PROMPT_MS; ms++)
			poll(NULL, 0, 1);
		EQ(handled, i);
	}
	start_read(&reader, p);
	finished(&a);
	EQ(a.ret, sizeof(struct uffd_msg));
	EQ(a.arg[0], (uintptr_t)p);
	fill(a.fd, p, 1);
	finished(&reader);
}

ROW(row075_blocking_read_waits_for_a_fault)
{
	struct actor a = {.fd = uffd_new_blocking(0)}, reader = {0};
	uint8_t *p = map_pages(1);

	arm(a.fd, p, 1, MISS);
	actor_start(&a, do_read_message);
	still_blocked(&a);
	start_read(&reader, p);
	finished(&a);
	EQ(a.ret, sizeof(struct uffd_msg));
	EQ(a.arg[0], (uintptr_t)p);
	fill(a.fd, p, 1);
	finished(&reader);
}

ROW(row076_readv_split_inside_a_message)
{
	struct actor a = {0};
	struct uffd_msg m;
	struct iovec iov[3] = {{&m, 5}, {(char *)&m + 5, 20}, {(char *)&m + 25, 7}};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS, 0);

	start_write(&a, p, 1);
	CHECK(msg_pending(fd));
	EQ(readv(fd, iov, 3), 32);
	EQ(m.event, UFFD_EVENT_PAGEFAULT);
	EQ(m.arg.pagefault.flags, MSG_WRITE);
	EQ(m.arg.pagefault.address, (uintptr_t)p);
	fill(fd, p, 0);
	finished(&a);
}

ROW(row076_bad_buffer_loses_the_message)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS, 0);

	start_read(&a, p);
	CHECK(msg_pending(fd));
	EQ(read(fd, map_prot(1, PROT_NONE), sizeof(struct uffd_msg)), -1);
	EQ(errno, EFAULT);
	no_message(fd);
	still_blocked(&a);
	wake(fd, p, 1);
	message(fd, MSG_READ, p);
	fill(fd, p, 1);
	finished(&a);
}

/* A bad buffer is only noticed when there is something to put into it. */
ROW(row076_bad_buffer_on_an_empty_queue)
{
	int fd = uffd_new(0);

	EQ(read(fd, map_prot(1, PROT_NONE), sizeof(struct uffd_msg)), -1);
	EQ(errno, EAGAIN);
}

#define FLOOD 16

struct share {
	int fd;
	_Atomic int taken;
	_Atomic int times[FLOOD];
	uint8_t *base;
};

static void do_share(struct actor *a)
{
	struct share *s = (void *)a->arg[0];
	struct pollfd pfd = {.fd = s->fd, .events = POLLIN};
	struct uffd_msg m;

	while (s->taken < FLOOD) {
		if (poll(&pfd, 1, 10) != 1 || read(s->fd, &m, sizeof(m)) != sizeof(m))
			continue;
		s->times[(m.arg.pagefault.address - (uintptr_t)s->base) / PAGE]++;
		s->taken++;
	}
}

ROW(row077_two_readers)
{
	static struct share s;
	struct actor faulter[FLOOD] = {0}, monitor[2] = {0};

	s.fd = make_armed(&s.base, FLOOD, MISS, 0);
	for (int i = 0; i < 2; i++) {
		monitor[i].arg[0] = (uintptr_t)&s;
		actor_start(&monitor[i], do_share);
	}
	for (int i = 0; i < FLOOD; i++)
		start_read(&faulter[i], s.base + i * PAGE);
	finished(&monitor[0]);
	finished(&monitor[1]);
	no_message(s.fd);
	EQ(s.taken, FLOOD);
	for (int i = 0; i < FLOOD; i++)
		EQ(s.times[i], 1);
	fill_all(s.fd, faulter, s.base, FLOOD);
}

static int revents(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int n = poll(&p, 1, ms);

	CHECK(n == (p.revents != 0));
	return p.revents;
}

ROW(row078_poll)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS, 0);

	EQ(revents(uffd_raw(O_NONBLOCK), 0), POLLERR);
	EQ(revents(uffd_new_blocking(0), 0), POLLERR);
	EQ(revents(fd, 0), 0);
	start_read(&a, p);
	EQ(revents(fd, PROMPT_MS), POLLIN);
	EQ(revents(fd, 0), POLLIN);
	message(fd, MSG_READ, p);
	EQ(revents(fd, 0), 0);
	fill(fd, p, 1);
	finished(&a);
	EQ(revents(fd, 0), 0);
}

ROW(row078_poll_follows_nonblock)
{
	int fd = uffd_new(0);

	EQ(revents(fd, 0), 0);
	EQ(fcntl(fd, F_SETFL, 0), 0);
	EQ(revents(fd, 0), POLLERR);
	EQ(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	EQ(revents(fd, 0), 0);
}

/* poll() must be woken by a fault that comes after it began. */
static void do_poll(struct actor *a)
{
	struct pollfd p[2] = {{.fd = a->fd, .events = POLLIN}, {.fd = (int)a->arg[0], .events = POLLIN}};

	a->ret = poll(p, a->arg[0] ? 2 : 1, PROMPT_MS);
	a->err = p[0].revents;
}

ROW(row078_poll_is_woken)
{
	struct actor a = {0}, poller = {0};
	uint8_t *p;
	int fds[2];

	pipe_pair(fds);
	poller.fd = make_armed(&p, 1, MISS, 0);
	poller.arg[0] = fds[0];
	actor_start(&poller, do_poll);
	still_blocked(&poller);
	start_read(&a, p);
	finished(&poller);
	EQ(poller.ret, 1);
	EQ(poller.err, POLLIN);
	message(poller.fd, MSG_READ, p);
	fill(poller.fd, p, 1);
	finished(&a);
}

static void epoll_sees(bool before)
{
	struct epoll_event want = {.events = EPOLLIN, .data.u64 = 77}, got;
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS, 0), ep = epoll_create1(EPOLL_CLOEXEC);

	if (before)
		EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &want), 0);
	start_read(&a, p);
	if (!before) {
		CHECK(msg_pending(fd));
		EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &want), 0);
	}
	EQ(epoll_wait(ep, &got, 1, PROMPT_MS), 1);
	EQ(got.events, EPOLLIN);
	EQ(got.data.u64, 77);
	message(fd, MSG_READ, p);
	EQ(epoll_wait(ep, &got, 1, 0), 0);
	fill(fd, p, 1);
	finished(&a);
	EQ(epoll_wait(ep, &got, 1, ABSENT_MS), 0);
}

ROW(s34_epoll_added_before_the_fault)
{
	epoll_sees(true);
}

ROW(s34_epoll_added_after_the_fault)
{
	epoll_sees(false);
}

ROW(s34_epoll_error_states)
{
	struct epoll_event ev = {.events = EPOLLIN}, got;
	int ep = epoll_create1(EPOLL_CLOEXEC), fd = uffd_new_blocking(0);

	if (target.engine)
		row_skip("the kernel sees an eventfd: see CAVEATS");
	EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), 0);
	EQ(epoll_wait(ep, &got, 1, PROMPT_MS), 1);
	EQ(got.events, EPOLLERR);
}

ROW(s34_select)
{
	struct timeval none = {0}, prompt = {.tv_sec = PROMPT_MS / 1000};
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS, 0);
	fd_set r;

	FD_ZERO(&r);
	FD_SET(fd, &r);
	EQ(select(fd + 1, &r, NULL, NULL, &none), 0);
	start_read(&a, p);
	FD_SET(fd, &r);
	EQ(select(fd + 1, &r, NULL, NULL, &prompt), 1);
	CHECK(FD_ISSET(fd, &r));
	message(fd, MSG_READ, p);
	FD_SET(fd, &r);
	EQ(select(fd + 1, &r, NULL, NULL, &none), 0);
	fill(fd, p, 1);
	finished(&a);
}

/* "pending" counts unread faults, "total" those whose thread still waits. */
static void fdinfo_is(int fd, int pending, int total)
{
	char path[64], text[1024], *at;
	int info;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(info >= 0);
	n = read(info, text, sizeof(text) - 1);
	close(info);
	CHECK(n > 0);
	text[n] = '\0';
	at = strstr(text, "pending:");
	CHECK(at != NULL);
	EQ(atoi(at + 8), pending);
	at = strstr(text, "total:");
	CHECK(at != NULL);
	EQ(atoi(at + 6), total);
}

ROW(row079_fdinfo)
{
	struct uffd_msg m[4];
	struct actor a[4] = {0};
	uint8_t *p;
	int fd;

	if (target.engine)
		row_skip("the views of /proc come later");
	fd = make_armed(&p, 4, MISS, 0);
	queue_faults(a, p, 4);
	fdinfo_is(fd, 4, 4);
	EQ(read(fd, m, sizeof(m)), sizeof(m));
	fdinfo_is(fd, 0, 4);
	fill_all(fd, a, p, 4);
	fdinfo_is(fd, 0, 0);
}

/* ---- rows 80 and 81 ----------------------------------------------------------------------------------------------------- */

ROW(row080_resolved_before_it_was_read)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS, 0);

	start_read(&a, p);
	CHECK(msg_pending(fd));
	fill(fd, p, 1);
	finished(&a);
	no_message(fd);
}

ROW(row080_two_threads_one_page)
{
	struct actor a = {0}, b = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS, UFFD_FEATURE_THREAD_ID);
	uint32_t first;

	start_read(&a, p);
	first = message(fd, MSG_READ, p);
	EQ(first, a.tid);
	start_write(&b, p + 8, 2);
	EQ(message(fd, MSG_WRITE, p), b.tid);
	no_message(fd);
	fill(fd, p, 1);
	finished(&a);
	finished(&b);
	EQ(a.value, 1);
	EQ(p[8], 2);
}

ROW(row080_two_threads_one_protected_page)
{
	struct actor a = {0}, b = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, WP, 0);

	touch(p, 1, 0);
	protect(fd, p, 1);
	start_write(&a, p, 1);
	message(fd, MSG_WP, p);
	start_write(&b, p + 8, 2);
	message(fd, MSG_WP, p);
	resolve(fd, p, 1);
	finished(&a);
	finished(&b);
	EQ(p[0], 1);
	EQ(p[8], 2);
	no_message(fd);
}

ROW(row081_dontwake_then_partial_wake)
{
	struct actor a[4] = {0};
	uint8_t *p, *src = map_pages(4);
	int fd = make_armed(&p, 4, MISS, 0);

	for (int i = 0; i < 4; i++) {
		start_read(&a[i], p + i * PAGE);
		message(fd, MSG_READ, p + i * PAGE);
	}
	EQ(try_copy(fd, p, src, 4 * PAGE, UFFDIO_COPY_MODE_DONTWAKE, NULL), 0);
	wake(fd, p + PAGE, 2);
	finished(&a[1]);
	finished(&a[2]);
	still_blocked(&a[0]);
	still_blocked(&a[3]);
	wake(fd, p, 4);
	finished(&a[0]);
	finished(&a[3]);
}

/* ---- rows 85 to 88 -------------------------------------------------------------------------------------------------------- */

ROW(row085_sigbus_feature_missing)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS, UFFD_FEATURE_SIGBUS);
	siginfo_t info;

	EQ(access_read(p + 5, &info), SIGBUS);
	CHECK(info.si_addr == p + 5);
	EQ(info.si_code, BUS_ADRERR);
	EQ(access_write(p + 0xff0, 1, &info), SIGBUS);
	CHECK(info.si_addr == p + 0xff0);
	fill(fd, p, 3);
	EQ(access_read(p, NULL), 0);
	EQ(access_write(p, 4, NULL), 0);
	EQ(access_read(p + PAGE, NULL), SIGBUS);
	no_message(fd);
}

ROW(row085_sigbus_feature_wp)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, WP, UFFD_FEATURE_SIGBUS);

	touch(p, 1, 1);
	protect(fd, p, 1);
	EQ(access_read(p, NULL), 0);
	EQ(access_write(p + 9, 2, NULL), SIGBUS);
	EQ(p[9], 1);
	resolve(fd, p, 1);
	EQ(access_write(p + 9, 2, NULL), 0);
	no_message(fd);
}

ROW(row085_sigbus_feature_fork_child_is_plain)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS, UFFD_FEATURE_SIGBUS);
	pid_t pid = fork_child();

	if (pid == 0) {
		EQ(access_read(p, NULL), 0);
		EQ(access_write(p, 1, NULL), 0);
		_exit(0);
	}
	child_ok(pid);
	EQ(access_read(p, NULL), SIGBUS);
	no_message(fd);
}

/* A handler that fills the page itself: the classic use of the feature. */
static int handler_fd;
static uint8_t handler_page[PAGE] __attribute__((aligned(4096)));

static void fill_in_handler(int sig, siginfo_t *info, void *uc)
{
	struct uffdio_copy c = {(uintptr_t)info->si_addr & ~(PAGE - 1), (uintptr_t)handler_page, PAGE, 0, 0};

	(void)sig;
	(void)uc;
	if (ioctl(handler_fd, UFFDIO_COPY, &c))
		_exit(9);
	handled++;
}

ROW(row085_sigbus_feature_handler_fills)
{
	struct sigaction sa = {.sa_sigaction = fill_in_handler, .sa_flags = SA_SIGINFO};
	volatile uint8_t *v;
	uint8_t *p;

	handler_fd = make_armed(&p, 50, MISS, UFFD_FEATURE_SIGBUS);
	memset(handler_page, 0x19, PAGE);
	EQ(sigaction(SIGBUS, &sa, NULL), 0);
	v = p;
	for (int i = 0; i < 50; i++) {
		EQ(v[i * PAGE + 3], 0x19);
		EQ(handled, i + 1);
	}
}

ROW(row086_sigbus_feature_and_system_calls)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS | WP, UFFD_FEATURE_SIGBUS), fds[2];

	pipe_pair(fds);
	pipe_tell(fds);
	EQ(read(fds[0], p, 1), -1);
	EQ(errno, EFAULT);
	EQ(write(fds[1], p, 1), -1);
	EQ(errno, EFAULT);
	fill_mode(__FILE__, __LINE__, fd, p + PAGE, 1, UFFDIO_COPY_MODE_WP);
	EQ(write(fds[1], p + PAGE, 1), 1);
	EQ(read(fds[0], p + PAGE, 1), -1);
	EQ(errno, EFAULT);
	EQ(madvise(p, PAGE, MADV_POPULATE_READ), -1);
	EQ(errno, EFAULT);
	no_message(fd);
}

ROW(row086_user_mode_only_and_system_calls)
{
	struct actor a = {0};
	uint8_t *p = map_pages(2);
	int fd = uffd_create(O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY), fds[2];

	CHECK(fd >= 0);
	EQ(uffd_handshake(fd, 0), 0);
	arm(fd, p, 2, MISS | WP);
	pipe_pair(fds);
	pipe_tell(fds);
	EQ(read(fds[0], p, 1), -1);
	EQ(errno, EFAULT);
	fill_mode(__FILE__, __LINE__, fd, p + PAGE, 1, UFFDIO_COPY_MODE_WP);
	EQ(read(fds[0], p + PAGE, 1), -1);
	EQ(errno, EFAULT);
	EQ(madvise(p, PAGE, MADV_POPULATE_WRITE), -1);
	EQ(errno, EFAULT);
	no_message(fd);
	start_read(&a, p); /* accesses of the program itself are served */
	message(fd, MSG_READ, p);
	fill(fd, p, 2);
	finished(&a);
	EQ(read(fds[0], p, 1), 1);
}

ROW(row087_protection_violation)
{
	uint8_t *none = map_prot(1, PROT_NONE), *ro = map_prot(2, PROT_READ);
	int fd = uffd_new(0);
	siginfo_t info;

	arm(fd, none, 1, MISS | WP);
	arm(fd, ro, 2, MISS | WP);
	fill_mode(__FILE__, __LINE__, fd, ro + PAGE, 1, UFFDIO_COPY_MODE_WP);
	EQ(access_read(none + 7, &info), SIGSEGV);
	CHECK(info.si_addr == none + 7);
	EQ(info.si_code, SEGV_ACCERR);
	EQ(access_write(none, 1, NULL), SIGSEGV);
	EQ(access_write(ro, 1, &info), SIGSEGV);
	EQ(info.si_code, SEGV_ACCERR);
	EQ(access_write(ro + PAGE, 1, NULL), SIGSEGV);
	no_message(fd);
}

/* ---- row 88: accesses made by system calls ------------------------------------------------------------------------------ */

static void do_madvise(struct actor *a)
{
	a->ret = madvise((void *)a->addr, PAGE, a->arg[0]);
	a->err = errno;
}

static void do_mlock(struct actor *a)
{
	a->ret = mlock((void *)a->addr, PAGE);
	a->err = errno;
}

/* A call on a missing page must send that message and succeed once the page is there. */
static void call_is_served(struct actor *a, void (*fn)(struct actor *), int flags)
{
	uint8_t *p;
	int fd;

	need_kernel_faults();
	fd = make_armed(&p, 1, MISS, 0);
	a->addr = p;
	actor_start(a, fn);
	message(fd, flags, p);
	still_blocked(a);
	fill(fd, p, 0x5c);
	finished(a);
	if (a->ret < 0)
		EQ(a->err, 0);
	no_message(fd);
}

ROW(row088_populate_read)
{
	struct actor a = {.arg = {MADV_POPULATE_READ}};

	call_is_served(&a, do_madvise, MSG_READ);
}

ROW(row088_populate_write)
{
	struct actor a = {.arg = {MADV_POPULATE_WRITE}};

	call_is_served(&a, do_madvise, MSG_WRITE);
}

ROW(row088_mlock)
{
	struct actor a = {0};

	call_is_served(&a, do_mlock, MSG_WRITE);
}

static void do_vm_writev(struct actor *a)
{
	static char c = 0x42;
	struct iovec here = {&c, 1}, there = {(void *)a->addr, 1};

	a->ret = process_vm_writev(getpid(), &here, 1, &there, 1, 0);
	a->err = errno;
}

ROW(row088_process_vm_writev)
{
	struct actor a = {0};

	call_is_served(&a, do_vm_writev, MSG_WRITE);
	EQ(a.ret, 1);
	EQ(a.addr[0], 0x42);
}

static void do_pipe_read(struct actor *a)
{
	a->ret = read(a->fd, (void *)a->addr, 1);
	a->err = errno;
}

static void do_pipe_write(struct actor *a)
{
	a->ret = write(a->fd, (void *)a->addr, 1);
	a->err = errno;
}

ROW(row088_read_into_a_missing_page)
{
	struct actor a = {0};
	int fds[2];

	pipe_pair(fds);
	pipe_tell(fds);
	a.fd = fds[0];
	call_is_served(&a, do_pipe_read, MSG_WRITE);
	EQ(a.ret, 1);
	EQ(a.addr[0], 'x');
	EQ(a.addr[1], 0x5c);
}

ROW(row088_write_from_a_missing_page)
{
	struct actor a = {0};
	int fds[2];
	char c;

	pipe_pair(fds);
	a.fd = fds[1];
	call_is_served(&a, do_pipe_write, MSG_READ);
	EQ(a.ret, 1);
	EQ(read(fds[0], &c, 1), 1);
	EQ(c, 0x5c);
}

/* A bare system call instruction, no function of the C library between. */
static void do_bare_read(struct actor *a)
{
	__asm__ volatile("syscall"
			 : "=a"(a->ret)
			 : "a"((long)SYS_read), "D"((long)a->fd), "S"(a->addr), "d"(1l)
			 : "rcx", "r11", "memory");
}

ROW(row088_bare_system_call_into_a_missing_page)
{
	struct actor a = {0};
	int fds[2];

	if (target.engine)
		row_skip("system calls outside libc come with the real-programs issue");
	pipe_pair(fds);
	pipe_tell(fds);
	a.fd = fds[0];
	call_is_served(&a, do_bare_read, MSG_WRITE);
	EQ(a.ret, 1);
	EQ(a.addr[0], 'x');
}

static void do_stat(struct actor *a)
{
	a->ret = access((char *)a->addr, F_OK);
	a->err = errno;
}

/* A path in a missing page: read by the kernel, byte by byte. */
ROW(row088_path_in_a_missing_page)
{
	struct actor a = {0};
	uint8_t *p, *src = map_pages(1);
	int fd;

	need_kernel_faults();
	fd = make_armed(&p, 1, MISS, 0);
	memcpy(src, "/proc/self/maps", 16);
	a.addr = p;
	actor_start(&a, do_stat);
	message(fd, MSG_READ, p);
	EQ(try_copy(fd, p, src, PAGE, 0, NULL), 0);
	finished(&a);
	EQ(a.ret, 0);
}

/* System calls on a protected page: reading passes, writing asks. */
ROW(row088_system_calls_on_a_protected_page)
{
	struct actor a = {0};
	uint8_t *p;
	int fd, fds[2];
	char c;

	need_kernel_faults();
	fd = make_armed(&p, 1, WP, 0);
	touch(p, 1, 0x31);
	protect(fd, p, 1);
	pipe_pair(fds);
	EQ(write(fds[1], p, 1), 1);
	EQ(read(fds[0], &c, 1), 1);
	EQ(c, 0x31);
	no_message(fd);
	pipe_tell(fds);
	a.fd = fds[0];
	a.addr = p;
	actor_start(&a, do_pipe_read);
	message(fd, MSG_WP, p);
	resolve(fd, p, 1);
	finished(&a);
	EQ(a.ret, 1);
	EQ(p[0], 'x');
}

ROW(row088_proc_self_mem)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS, 0), mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	char c = 1;

	if (target.engine)
		row_skip("the views of /proc come later");
	CHECK(mem >= 0);
	EQ(pread(mem, &c, 1, (off_t)(uintptr_t)p), -1);
	EQ(errno, EIO);
	EQ(pwrite(mem, &c, 1, (off_t)(uintptr_t)p), -1);
	EQ(errno, EIO);
	no_message(fd);
	read_misses(fd, p, 1);
}

ROW(row088_mlock_onfault_and_willneed)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS, 0);

	EQ(madvise(p, PAGE, MADV_WILLNEED), 0);
	EQ(mlock2(p, PAGE, MLOCK_ONFAULT), 0);
	no_message(fd);
	read_misses(fd, p, 1);
	EQ(munlock(p, PAGE), 0);
}
