/* SPDX-License-Identifier: MIT */
/*
 * System calls with pointers into managed memory. The host kernel finds a page that the engine keeps hidden and says
 * EFAULT, or stops a transfer there, where with its own userfaultfd it would have waited for the monitor. So: make the
 * first hidden page of the buffers accessible, waiting as the kernel would, and make the call again.
 *
 * One table says which arguments of a call are pointers, which way they go and how long they are. Three kinds of call:
 *  - most can simply be made again after EFAULT, because the failed attempt changed nothing;
 *  - a transfer may come back short: the rest is transferred by further calls;
 *  - a few lose what they would have delivered (a datagram, a child's status), or use all of their buffer in any case:
 *    it is made accessible first.
 */
#include "run/run.h"
#include <limits.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/timex.h>
#include <unistd.h>

/* ---- the table ------------------------------------------------------------------------------------------------------- */

enum len_kind {
	LEN_NONE,  /* no pointer here: end of the list */
	LEN_FIXED, /* size bytes */
	LEN_ARG,   /* argument len_arg times size bytes */
	LEN_PTR,   /* as many bytes as the socklen_t that argument len_arg points to says */
	LEN_STR,   /* a string */
	LEN_IOV,   /* an array of len_arg iovecs, and what they name */
	LEN_SELF,  /* LEN_IOV, of the process in argument 0: only if that is this one */
	LEN_MSG,   /* a msghdr, and what it names */
	LEN_IOCTL, /* what the request in argument len_arg says */
};

struct ptr_arg {
	uint8_t arg, kind, len_arg;
	bool write; /* the kernel stores there */
	uint16_t size;
};

enum {
	TRANSFER = 1,	/* may come back short */
	POSITIONED = 2, /* a transfer at an offset */
	SENDS = 4,	/* a transfer out of memory */
	FIRST = 8,	/* its buffers are made accessible first: it uses all of them, or loses what it cannot store */
	FIRST_IF = 16,	/* the same, if the descriptor in argument 0 is of a kind that loses */
};

struct sys_desc {
	uint8_t flags;
	struct ptr_arg p[5];
};

/* clang-format off */
#define IN(a, n) {(a), LEN_FIXED, 0, false, (n)}
#define OUT(a, n) {(a), LEN_FIXED, 0, true, (n)}
#define IN_ARG(a, l) {(a), LEN_ARG, (l), false, 1}
#define OUT_ARG(a, l) {(a), LEN_ARG, (l), true, 1}
#define IN_ARRAY(a, l, n) {(a), LEN_ARG, (l), false, (n)}
#define OUT_ARRAY(a, l, n) {(a), LEN_ARG, (l), true, (n)}
#define OUT_SOCK(a, l) {(a), LEN_PTR, (l), true, 1}
#define STR(a) {(a), LEN_STR, 0, false, 0}
#define IOV(a, l, w) {(a), LEN_IOV, (l), (w), 0}
#define IOV_SELF(a, l, w) {(a), LEN_SELF, (l), (w), 0}
#define MSG(a, w) {(a), LEN_MSG, 0, (w), 0}

#define TS sizeof(struct timespec)
#define ST sizeof(struct stat)
#define INT sizeof(int)

static const struct sys_desc table[] = {
	[SYS_read] = {TRANSFER | FIRST_IF, {OUT_ARG(1, 2)}},
	[SYS_write] = {TRANSFER | SENDS, {IN_ARG(1, 2)}},
	[SYS_pread64] = {TRANSFER | POSITIONED, {OUT_ARG(1, 2)}},
	[SYS_pwrite64] = {TRANSFER | POSITIONED | SENDS, {IN_ARG(1, 2)}},
	[SYS_readv] = {TRANSFER, {IOV(1, 2, true)}},
	[SYS_writev] = {TRANSFER | SENDS, {IOV(1, 2, false)}},
	[SYS_preadv] = {TRANSFER | POSITIONED, {IOV(1, 2, true)}},
	[SYS_pwritev] = {TRANSFER | POSITIONED | SENDS, {IOV(1, 2, false)}},
	[SYS_preadv2] = {TRANSFER | POSITIONED, {IOV(1, 2, true)}},
	[SYS_pwritev2] = {TRANSFER | POSITIONED | SENDS, {IOV(1, 2, false)}},
	[SYS_vmsplice] = {0, {IOV(1, 2, false)}},
	[SYS_process_vm_readv] = {FIRST, {IOV(1, 2, true), IOV_SELF(3, 4, false)}},
	[SYS_process_vm_writev] = {FIRST, {IOV(1, 2, false), IOV_SELF(3, 4, true)}},
	[SYS_mlock] = {FIRST, {OUT_ARG(0, 1), IN_ARG(0, 1)}},
	[SYS_mlock2] = {FIRST, {OUT_ARG(0, 1), IN_ARG(0, 1)}},
	[SYS_sendfile] = {0, {OUT(2, sizeof(off_t))}},
	[SYS_copy_file_range] = {0, {OUT(1, sizeof(off_t)), OUT(3, sizeof(off_t))}},
	[SYS_splice] = {0, {OUT(1, sizeof(off_t)), OUT(3, sizeof(off_t))}},

	[SYS_recvfrom] = {FIRST_IF, {OUT_ARG(1, 2), OUT(5, INT), OUT_SOCK(4, 5)}},
	[SYS_sendto] = {0, {IN_ARG(1, 2), IN_ARG(4, 5)}},
	[SYS_recvmsg] = {FIRST_IF, {MSG(1, true)}},
	[SYS_sendmsg] = {0, {MSG(1, false)}},
	[SYS_accept] = {FIRST, {OUT(2, INT), OUT_SOCK(1, 2)}},
	[SYS_accept4] = {FIRST, {OUT(2, INT), OUT_SOCK(1, 2)}},
	[SYS_getsockname] = {0, {OUT(2, INT), OUT_SOCK(1, 2)}},
	[SYS_getpeername] = {0, {OUT(2, INT), OUT_SOCK(1, 2)}},
	[SYS_bind] = {0, {IN_ARG(1, 2)}},
	[SYS_connect] = {0, {IN_ARG(1, 2)}},
	[SYS_setsockopt] = {0, {IN_ARG(3, 4)}},
	[SYS_getsockopt] = {0, {OUT(4, INT), OUT_SOCK(3, 4)}},
	[SYS_socketpair] = {0, {OUT(3, 2 * INT)}},
	[SYS_pipe] = {0, {OUT(0, 2 * INT)}},
	[SYS_pipe2] = {0, {OUT(0, 2 * INT)}},

	[SYS_poll] = {0, {IN_ARRAY(0, 1, sizeof(struct pollfd)), OUT_ARRAY(0, 1, sizeof(struct pollfd))}},
	[SYS_epoll_ctl] = {0, {IN(3, sizeof(struct epoll_event))}},
	[SYS_epoll_wait] = {0, {OUT_ARRAY(1, 2, sizeof(struct epoll_event))}},
	[SYS_epoll_pwait] = {0, {OUT_ARRAY(1, 2, sizeof(struct epoll_event))}},

	[SYS_open] = {0, {STR(0)}},
	[SYS_openat] = {0, {STR(1)}},
	[SYS_creat] = {0, {STR(0)}},
	[SYS_stat] = {0, {STR(0), OUT(1, ST)}},
	[SYS_lstat] = {0, {STR(0), OUT(1, ST)}},
	[SYS_fstat] = {0, {OUT(1, ST)}},
	[SYS_newfstatat] = {0, {STR(1), OUT(2, ST)}},
	[SYS_statx] = {0, {STR(1), OUT(4, sizeof(struct statx))}},
	[SYS_statfs] = {0, {STR(0), OUT(1, sizeof(struct statfs))}},
	[SYS_fstatfs] = {0, {OUT(1, sizeof(struct statfs))}},
	[SYS_access] = {0, {STR(0)}},
	[SYS_faccessat] = {0, {STR(1)}},
	[SYS_faccessat2] = {0, {STR(1)}},
	[SYS_readlink] = {0, {STR(0), OUT_ARG(1, 2)}},
	[SYS_readlinkat] = {0, {STR(1), OUT_ARG(2, 3)}},
	[SYS_getcwd] = {0, {OUT_ARG(0, 1)}},
	[SYS_chdir] = {0, {STR(0)}},
	[SYS_mkdir] = {0, {STR(0)}},
	[SYS_mkdirat] = {0, {STR(1)}},
	[SYS_rmdir] = {0, {STR(0)}},
	[SYS_unlink] = {0, {STR(0)}},
	[SYS_unlinkat] = {0, {STR(1)}},
	[SYS_rename] = {0, {STR(0), STR(1)}},
	[SYS_renameat] = {0, {STR(1), STR(3)}},
	[SYS_renameat2] = {0, {STR(1), STR(3)}},
	[SYS_link] = {0, {STR(0), STR(1)}},
	[SYS_symlink] = {0, {STR(0), STR(1)}},
	[SYS_chmod] = {0, {STR(0)}},
	[SYS_truncate] = {0, {STR(0)}},
	[SYS_getdents64] = {0, {OUT_ARG(1, 2)}},
	[SYS_memfd_create] = {0, {STR(0)}},
	[SYS_ioctl] = {0, {{2, LEN_IOCTL, 1, true, 0}}},

	[SYS_nanosleep] = {0, {IN(0, TS), OUT(1, TS)}},
	[SYS_clock_nanosleep] = {0, {IN(2, TS), OUT(3, TS)}},
	[SYS_clock_gettime] = {0, {OUT(1, TS)}},
	[SYS_clock_getres] = {0, {OUT(1, TS)}},
	[SYS_gettimeofday] = {0, {OUT(0, sizeof(struct timeval))}},
	[SYS_timer_settime] = {0, {IN(2, 2 * TS), OUT(3, 2 * TS)}},
	[SYS_timerfd_settime] = {0, {IN(2, 2 * TS), OUT(3, 2 * TS)}},
	[SYS_timerfd_gettime] = {0, {OUT(1, 2 * TS)}},
	[SYS_setitimer] = {0, {IN(1, 2 * TS), OUT(2, 2 * TS)}},
	[SYS_futex] = {0, {IN(0, INT), IN(3, TS), IN(4, INT), OUT(0, INT), OUT(4, INT)}},
	[SYS_getrandom] = {FIRST, {OUT_ARG(0, 1)}},
	[SYS_rt_sigpending] = {0, {OUT_ARG(0, 1)}},
	[SYS_uname] = {0, {OUT(0, sizeof(struct utsname))}},
	[SYS_getrusage] = {0, {OUT(1, sizeof(struct rusage))}},
	[SYS_getrlimit] = {0, {OUT(1, sizeof(struct rlimit))}},
	[SYS_prlimit64] = {0, {IN(2, sizeof(struct rlimit)), OUT(3, sizeof(struct rlimit))}},
	[SYS_wait4] = {FIRST, {OUT(1, INT), OUT(3, sizeof(struct rusage))}},
	[SYS_waitid] = {FIRST, {OUT(2, sizeof(siginfo_t)), OUT(4, sizeof(struct rusage))}},
	[SYS_sched_setaffinity] = {0, {IN_ARG(2, 1)}},
	[SYS_sched_getaffinity] = {0, {OUT_ARG(2, 1)}},
};
/* clang-format on */

static const struct sys_desc *desc_of(long nr)
{
	if (nr < 0 || nr >= (long)ARRAY_LEN(table) || table[nr].p[0].kind == LEN_NONE)
		return NULL;
	return &table[nr];
}

bool run_has_pointers(long nr)
{
	return desc_of(nr) != NULL;
}

/* ---- looking at the program's structures without faulting -------------------------------------------------------------- */

/*
 * rt_sigprocmask reads its set before it looks at `how`, and an invalid `how` then changes nothing: the most ordinary
 * of system calls tells whether eight bytes can be read. One probe a page is enough.
 */
static bool page_is_readable(va_t va)
{
	if (likely(fl_is_active()))
		return fl_can_read((void *)va); /* no system call: poll asks each time */
	return run_raw(SYS_rt_sigprocmask, -1, (long)(va & ~(va_t)7), 0, 8, 0, 0) != -EFAULT;
}

bool run_is_readable(const void *p, size_t len)
{
	va_t va = (va_t)p, end = va + len;

	if (end < va)
		return false;
	for (; va < end; va = page_down(va) + PAGE_SIZE)
		if (!page_is_readable(va))
			return false;
	return true;
}

/* Make [va, va+len) accessible to the kernel as far as that is the engine's to do. True: something changed. */
static bool reach(va_t va, size_t len, bool write)
{
	uint64_t mask;
	int r;

	if (!va || !len)
		return false;
	mask = run_hold_signals(); /* no handler runs inside a system call */
	r = fl_retry_access((void *)va, len, write);
	run_release_signals(mask);
	/* -EINTR: another signal, of libc's own; the kernel's wait would begin again */
	return r == 1 || r == -EINTR;
}


static bool reach_string(va_t va)
{
	for (int page = 0; va && page <= PATH_MAX / (int)PAGE_SIZE; page++) {
		size_t room = page_down(va) + PAGE_SIZE - va;

		if (reach(va, 1, false))
			return true;
		if (!page_is_readable(va) || memchr((void *)va, 0, room))
			return false;
		va += room;
	}
	return false;
}

/* ---- reaching what one argument names ------------------------------------------------------------------------------------ */

static bool reach_iov(va_t va, size_t cnt, bool write)
{
	const struct iovec *v = (const struct iovec *)va;

	if (cnt > IOV_MAX)
		return false;
	if (reach(va, cnt * sizeof(*v), false))
		return true;
	if (!va || !run_is_readable(v, cnt * sizeof(*v)))
		return false;
	for (size_t i = 0; i < cnt; i++)
		if (reach((va_t)v[i].iov_base, v[i].iov_len, write))
			return true;
	return false;
}

static bool reach_msg(va_t va, bool write)
{
	const struct msghdr *m = (const struct msghdr *)va;

	if (reach(va, sizeof(*m), write))
		return true;
	if (!va || !run_is_readable(m, sizeof(*m)))
		return false;
	return reach((va_t)m->msg_name, m->msg_namelen, write) ||
	       reach((va_t)m->msg_control, m->msg_controllen, write) ||
	       reach_iov((va_t)m->msg_iov, m->msg_iovlen, write);
}

/* Old requests do not say how much they move: then the first bytes must do. */
static bool reach_ioctl(unsigned long req, va_t va)
{
	size_t len = _IOC_SIZE(req) ? _IOC_SIZE(req) : sizeof(long);
	bool write = !_IOC_SIZE(req) || (_IOC_DIR(req) & _IOC_READ);

	return reach(va, len, write);
}

static bool reach_sock(va_t va, va_t len_va)
{
	if (!len_va || !run_is_readable((void *)len_va, sizeof(socklen_t)))
		return false;
	return reach(va, *(socklen_t *)len_va, true);
}

static bool reach_arg(const struct ptr_arg *p, const long a[6])
{
	va_t va = (va_t)a[p->arg];
	size_t n = (size_t)a[p->len_arg];

	switch ((enum len_kind)p->kind) {
	case LEN_FIXED:
		return reach(va, p->size, p->write);
	case LEN_ARG:
		return reach(va, n * p->size, p->write);
	case LEN_PTR:
		return reach_sock(va, n);
	case LEN_STR:
		return reach_string(va);
	case LEN_IOV:
		return reach_iov(va, n, p->write);
	case LEN_SELF:
		return a[0] == run_raw(SYS_getpid, 0, 0, 0, 0, 0, 0) && reach_iov(va, n, p->write);
	case LEN_MSG:
		return reach_msg(va, p->write);
	case LEN_IOCTL:
		return reach_ioctl(n, va);
	case LEN_NONE:
		break;
	}
	return false;
}

/* Make the first hidden page that the call names accessible. False: there is none. */
static bool reach_any(const struct sys_desc *d, const long a[6])
{
	for (size_t i = 0; i < ARRAY_LEN(d->p) && d->p[i].kind != LEN_NONE; i++)
		if (reach_arg(&d->p[i], a))
			return true;
	return false;
}

/* The call, until it says something other than EFAULT or nothing more can be done about it. */
static long call_again(const struct sys_desc *d, long nr, const long a[6], long r)
{
	while (r == -EFAULT && reach_any(d, a))
		r = run_raw_args(nr, a);
	return r;
}

/* ---- short transfers ------------------------------------------------------------------------------------------------------ */

#define SEGMENTS 16 /* at a time, on the caller's stack */

/* A transfer as a vector; one buffer is a vector of one. */
struct transfer {
	const struct iovec *v;
	size_t cnt;
	struct iovec one;
};

static void transfer_init(struct transfer *t, const struct sys_desc *d, const long a[6])
{
	if (d->p[0].kind == LEN_IOV) {
		t->v = (const struct iovec *)a[1];
		t->cnt = (size_t)a[2];
		return;
	}
	t->one = (struct iovec){(void *)a[1], (size_t)a[2]};
	t->v = &t->one;
	t->cnt = 1;
}

/* What is left after done bytes, as at most SEGMENTS segments in out. */
static size_t transfer_rest(const struct transfer *t, size_t done, struct iovec out[SEGMENTS])
{
	size_t n = 0;

	for (size_t i = 0; i < t->cnt && n < SEGMENTS; i++) {
		size_t skip = (size_t)min_u64(done, t->v[i].iov_len);

		done -= skip;
		if (skip < t->v[i].iov_len)
			out[n++] = (struct iovec){(char *)t->v[i].iov_base + skip, t->v[i].iov_len - skip};
	}
	return n;
}

/*
 * Has a short read more to give, so that it was a page that stopped it? A file is not at its end; anything else is
 * readable without waiting. A write was asked to take all there is.
 */
static bool is_unfinished(const struct sys_desc *d, const long a[6], size_t done)
{
	struct pollfd p = {.fd = (int)a[0], .events = POLLIN};
	struct stat st;
	off_t pos;

	if (d->flags & SENDS)
		return true;
	if (run_raw(SYS_fstat, a[0], (long)&st, 0, 0, 0, 0))
		return false;
	if (!S_ISREG(st.st_mode))
		return run_raw(SYS_poll, (long)&p, 1, 0, 0, 0, 0) == 1 && (p.revents & POLLIN);
	pos = d->flags & POSITIONED ? a[3] + (off_t)done : run_raw(SYS_lseek, a[0], 0, SEEK_CUR, 0, 0, 0);
	return pos >= 0 && pos < st.st_size;
}

/*
 * Open the page that stopped the transfer. A file's read stops at exactly that page; a pipe does not count a buffer that
 * it moved in part, so the page may be up to a page further on; a write may be sent by any amount.
 */
static bool reach_stop(const struct sys_desc *d, const struct iovec *rest, size_t n)
{
	bool sends = d->flags & SENDS;
	size_t left = sends ? SIZE_MAX : PAGE_SIZE;

	for (size_t i = 0; i < n && left; i++) {
		size_t len = (size_t)min_u64(rest[i].iov_len, left);

		if (reach((va_t)rest[i].iov_base, len, !sends))
			return true;
		left -= len;
	}
	return false;
}

static long vector_nr(const struct sys_desc *d)
{
	if (d->flags & POSITIONED)
		return d->flags & SENDS ? SYS_pwritev : SYS_preadv;
	return d->flags & SENDS ? SYS_writev : SYS_readv;
}

/* r bytes were moved, fewer than asked: move the rest. Answers the total, as if it had been one call. */
static long finish(const struct sys_desc *d, const long a[6], long r)
{
	struct iovec rest[SEGMENTS];
	struct transfer t;
	size_t done = (size_t)r, n;

	transfer_init(&t, d, a);
	while ((n = transfer_rest(&t, done, rest)) && is_unfinished(d, a, done) && reach_stop(d, rest, n)) {
		const long b[6] = {a[0], (long)rest, (long)n, a[3] + (long)done};

		r = call_again(&table[vector_nr(d)], vector_nr(d), b, run_raw_args(vector_nr(d), b));
		if (r <= 0)
			break;
		done += (size_t)r;
	}
	return (long)done;
}

long run_retry(long nr, const long a[6], long ret)
{
	const struct sys_desc *d = desc_of(nr);
	int saved = errno;
	long r = ret == -1 ? -saved : ret;

	if (!d)
		return ret;
	r = call_again(d, nr, a, r);
	if (r > 0 && (d->flags & TRANSFER))
		r = finish(d, a, r);
	errno = saved;
	return run_errno(r);
}

/* ---- calls that lose what they cannot deliver --------------------------------------------------------------------------------- */

/* Files, pipes and streams keep what a failed read did not take; datagrams and the kernel's event descriptors do not. */
static bool read_loses(long fd)
{
	int type = SOCK_STREAM, len = sizeof(type);
	struct stat st;

	if (run_raw(SYS_fstat, fd, (long)&st, 0, 0, 0, 0))
		return false;
	if (S_ISSOCK(st.st_mode))
		return run_raw(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, (long)&type, (long)&len, 0) == 0 &&
		       type != SOCK_STREAM;
	return (st.st_mode & S_IFMT) == 0;
}

void run_prefault(long nr, const long a[6])
{
	const struct sys_desc *d = desc_of(nr);
	int saved = errno;

	if (!d || !(d->flags & (FIRST | FIRST_IF)))
		return;
	if ((d->flags & FIRST_IF) && !read_loses(a[0]))
		return;
	for (size_t i = 0; i < ARRAY_LEN(d->p) && d->p[i].kind != LEN_NONE; i++)
		while (reach_arg(&d->p[i], a))
			;
	errno = saved;
}
