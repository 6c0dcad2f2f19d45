/* SPDX-License-Identifier: MIT */
/*
 * Row 88, continued: the kernel touches missing memory on the program's behalf, in calls of every shape. Each call
 * waits for its page like any access, and then does what it always does.
 */
#include "test/conformance/conform.h"
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#define FILLER 0x00 /* a page of zeroes is a legal argument of every call here */

/* fn makes its call with a->addr in a missing page; the first message has these flags. */
static void served(struct actor *a, void (*fn)(struct actor *), int flags, long ret)
{
	uint8_t *p;
	int fd;

	need_kernel_faults();
	fd = uffd_new(0);
	p = map_pages(1);
	arm(fd, p, 1, MISS);
	a->addr = p + 256;
	errno = 0;
	actor_start(a, fn);
	message(fd, flags, p);
	still_blocked(a);
	fill(fd, p, FILLER);
	finished(a);
	if (a->ret != ret)
		check_failed(__FILE__, __LINE__, "the call returned %ld (errno %d), expected %ld", a->ret, a->err, ret);
	no_message(fd);
}

#define CALL(name, expr)                                                                                               \
	static void name(struct actor *a)                                                                              \
	{                                                                                                              \
		void *at = (void *)a->addr;                                                                            \
                                                                                                                       \
		a->ret = expr;                                                                                         \
		a->err = errno;                                                                                        \
	}

CALL(do_pread, pread(a->fd, at, 16, 0))
CALL(do_readv, readv(a->fd, (struct iovec[]){{at, 8}, {(char *)at + 8, 8}}, 2))
CALL(do_writev, writev(a->fd, (struct iovec[]){{at, 8}, {(char *)at + 8, 8}}, 2))
CALL(do_iovec_itself, writev(a->fd, at, 1))
CALL(do_send, send(a->fd, at, 16, 0))
CALL(do_recv, recv(a->fd, at, 16, 0))
CALL(do_recvmsg, recvmsg(a->fd, &(struct msghdr){.msg_iov = &(struct iovec){at, 16}, .msg_iovlen = 1}, 0))
CALL(do_getrandom, getrandom(at, 16, 0))
CALL(do_stat, stat("/", at))
CALL(do_uname, uname(at))
CALL(do_getcwd, syscall(SYS_getcwd, at, 256) > 0)
CALL(do_nanosleep, nanosleep(at, NULL))
CALL(do_poll, poll(at, 1, 0))
CALL(do_epoll_wait, epoll_wait(a->fd, at, 1, 0))
CALL(do_futex, syscall(SYS_futex, at, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0))
CALL(do_clock, clock_gettime(CLOCK_MONOTONIC, at))
CALL(do_open, open(at, O_RDONLY))
CALL(do_getsockopt, getsockopt(a->fd, SOL_SOCKET, SO_TYPE, at, &(socklen_t){4}))
CALL(do_pipe, pipe(at))
CALL(do_sigpending, sigpending(at))

static int zeroes(void)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	return fd;
}

/* A connected pair; `bytes` bytes wait to be received at the returned end. */
static int socket_with(int bytes)
{
	static const char data[64] = "sixteen bytes and then some more";
	int pair[2];

	EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	EQ(send(pair[1], data, bytes, 0), bytes);
	return pair[0];
}

ROW(row088_call_pread)
{
	struct actor a = {.fd = zeroes()};

	served(&a, do_pread, MSG_WRITE, 16);
	EQ(memcmp((void *)a.addr, "\177ELF", 4), 0);
}

ROW(row088_call_readv)
{
	struct actor a = {.fd = zeroes()};

	served(&a, do_readv, MSG_WRITE, 16);
	EQ(memcmp((void *)a.addr, "\177ELF", 4), 0);
}

ROW(row088_call_writev)
{
	struct actor a = {0};
	int fds[2];

	pipe_pair(fds);
	a.fd = fds[1];
	served(&a, do_writev, MSG_READ, 16);
}

/* The array of pointers lies in the missing page; it says "nothing". */
ROW(row088_call_iovec_in_a_missing_page)
{
	struct actor a = {0};
	int fds[2];

	pipe_pair(fds);
	a.fd = fds[1];
	served(&a, do_iovec_itself, MSG_READ, 0);
}

ROW(row088_call_send)
{
	struct actor a = {.fd = socket_with(0)};

	served(&a, do_send, MSG_READ, 16);
}

ROW(row088_call_recv)
{
	struct actor a = {.fd = socket_with(20)};

	served(&a, do_recv, MSG_WRITE, 16);
	EQ(memcmp((void *)a.addr, "sixteen bytes an", 16), 0);
}

ROW(row088_call_recvmsg)
{
	struct actor a = {.fd = socket_with(20)};

	served(&a, do_recvmsg, MSG_WRITE, 16);
	EQ(memcmp((void *)a.addr, "sixteen bytes an", 16), 0);
}

ROW(row088_call_getrandom)
{
	struct actor a = {0};

	served(&a, do_getrandom, MSG_WRITE, 16);
}

ROW(row088_call_stat)
{
	struct actor a = {0};

	served(&a, do_stat, MSG_WRITE, 0);
	CHECK(S_ISDIR(((struct stat *)a.addr)->st_mode));
}

ROW(row088_call_uname)
{
	struct actor a = {0};

	served(&a, do_uname, MSG_WRITE, 0);
	EQ(strcmp(((struct utsname *)a.addr)->sysname, "Linux"), 0);
}

ROW(row088_call_getcwd)
{
	struct actor a = {0};

	served(&a, do_getcwd, MSG_WRITE, 1);
	EQ(*a.addr, '/');
}

ROW(row088_call_nanosleep)
{
	struct actor a = {0};

	served(&a, do_nanosleep, MSG_READ, 0);
}

ROW(row088_call_poll)
{
	struct actor a = {0};
	uint8_t *p;
	int fd, fds[2];

	need_kernel_faults();
	pipe_pair(fds);
	pipe_tell(fds);
	fd = uffd_new(0);
	p = map_pages(2);
	arm(fd, p, 1, MISS);
	((struct pollfd *)(p + PAGE))[0] = (struct pollfd){.fd = fds[0], .events = POLLIN};
	a.addr = p;
	actor_start(&a, do_poll);
	message(fd, MSG_READ, p);
	EQ(try_copy(fd, p, p + PAGE, PAGE, 0, NULL), 0);
	finished(&a);
	EQ(a.ret, 1);
	EQ(((struct pollfd *)p)->revents, POLLIN);
}

ROW(row088_call_epoll_wait)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 0x1122334455667788};
	struct actor a = {.fd = epoll_create1(EPOLL_CLOEXEC)};
	int fds[2];

	pipe_pair(fds);
	pipe_tell(fds);
	EQ(epoll_ctl(a.fd, EPOLL_CTL_ADD, fds[0], &ev), 0);
	served(&a, do_epoll_wait, MSG_WRITE, 1);
	memcpy(&ev, (void *)a.addr, sizeof(ev));
	EQ(ev.data.u64, 0x1122334455667788);
}

ROW(row088_call_futex)
{
	struct actor a = {0};

	served(&a, do_futex, MSG_READ, -1);
	EQ(a.err, EAGAIN); /* the word is 0, not 1 */
}

/* Not a system call on most machines: the vdso stores from user mode. */
ROW(row088_call_clock_gettime)
{
	struct actor a = {0};

	served(&a, do_clock, MSG_WRITE, 0);
	CHECK(((struct timespec *)a.addr)->tv_nsec > 0 || ((struct timespec *)a.addr)->tv_sec > 0);
}

ROW(row088_call_open)
{
	struct actor a = {0};

	served(&a, do_open, MSG_READ, -1);
	EQ(a.err, ENOENT); /* an empty path */
}

ROW(row088_call_getsockopt)
{
	struct actor a = {.fd = socket_with(0)};

	served(&a, do_getsockopt, MSG_WRITE, 0);
	EQ(*(int *)a.addr, SOCK_STREAM);
}

ROW(row088_call_pipe)
{
	struct actor a = {0};

	served(&a, do_pipe, MSG_WRITE, 0);
	CHECK(((int *)a.addr)[0] != ((int *)a.addr)[1]);
}

ROW(row088_call_sigpending)
{
	struct actor a = {0};

	served(&a, do_sigpending, MSG_WRITE, 0);
}

/* ---- transfers that meet a missing page on their way ---------------------------------------------------------------- */

struct span {
	int uffd;
	uint8_t *p; /* page 0 present, page 1 missing, page 2 present */
};

static struct span span_make(void)
{
	struct span s;

	need_kernel_faults();
	s.uffd = uffd_new(0);
	s.p = map_pages(3);
	touch(s.p, 1, 0x10);
	touch(s.p + 2 * PAGE, 1, 0x30);
	arm(s.uffd, s.p + PAGE, 1, MISS);
	return s;
}

CALL(do_read_span, read(a->fd, at, a->arg[0]))
CALL(do_write_span, write(a->fd, at, a->arg[0]))

ROW(row088_read_across_a_missing_page)
{
	struct span s = span_make();
	struct actor a = {.fd = socket_with(0), .arg = {2 * PAGE}};
	uint8_t *src = map_pages(2);
	int fds[2];

	pipe_pair(fds);
	touch(src, 2, 0x77);
	EQ(write(fds[1], src, 2 * PAGE), 2 * PAGE);
	a.fd = fds[0];
	a.addr = s.p + PAGE / 2;
	actor_start(&a, do_read_span);
	message(s.uffd, MSG_WRITE, s.p + PAGE);
	fill(s.uffd, s.p + PAGE, 0x20);
	finished(&a);
	EQ(a.ret, 2 * PAGE);
	EQ(s.p[PAGE / 2 - 1], 0x10);
	EQ(s.p[PAGE / 2], 0x77);
	CHECK(page_is(s.p + PAGE, 0x77));
	EQ(s.p[2 * PAGE + PAGE / 2 - 1], 0x77);
	EQ(s.p[2 * PAGE + PAGE / 2], 0x30);
	no_message(s.uffd);
}

ROW(row088_write_across_a_missing_page)
{
	struct span s = span_make();
	struct actor a = {.arg = {2 * PAGE}};
	uint8_t *got = map_pages(2);
	int fds[2];

	pipe_pair(fds);
	a.fd = fds[1];
	a.addr = s.p + PAGE / 2;
	actor_start(&a, do_write_span);
	message(s.uffd, MSG_READ, s.p + PAGE);
	fill(s.uffd, s.p + PAGE, 0x20);
	finished(&a);
	EQ(a.ret, 2 * PAGE);
	EQ(read(fds[0], got, 2 * PAGE), 2 * PAGE);
	EQ(got[PAGE / 2 - 1], 0x10);
	EQ(got[PAGE / 2], 0x20);
	EQ(got[PAGE + PAGE / 2], 0x30);
	no_message(s.uffd);
}

/* Fewer bytes come than the buffer could hold: the pages they do not reach are not asked for. */
ROW(row088_short_read_asks_for_no_more)
{
	struct span s = span_make();
	int fds[2];

	pipe_pair(fds);
	EQ(write(fds[1], "0123456789", 10), 10);
	EQ(read(fds[0], s.p, 3 * PAGE), 10);
	EQ(memcmp(s.p, "0123456789", 10), 0);
	no_message(s.uffd);
}

/* A refused call does not ask either. */
ROW(row088_refused_call_asks_nothing)
{
	struct span s = span_make();

	EQ(read(-1, s.p + PAGE, 10), -1);
	EQ(errno, EBADF);
	EQ(write(-1, s.p + PAGE, 10), -1);
	EQ(errno, EBADF);
	no_message(s.uffd);
}

/* Poison in the middle of a transfer: what came before it counts. */
ROW(row057_write_across_poison)
{
	struct span s = span_make();
	int fds[2];

	pipe_pair(fds);
	poison(s.uffd, s.p + PAGE, 1);
	EQ(write(fds[1], s.p + PAGE, 10), -1);
	EQ(errno, EFAULT);
	CHECK(read(zeroes(), s.p + PAGE + 5, 10) == -1 && errno == EFAULT);
	no_message(s.uffd);
}
