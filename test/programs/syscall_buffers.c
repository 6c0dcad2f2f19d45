/* SPDX-License-Identifier: MIT */
/* System calls whose buffers and arguments lie in armed pages: each waits for the monitor and then succeeds whole. */
#include "test/programs/prog.h"
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <time.h>

#define N 16

static int fd;
static struct monitor mon;
static char *mem;

/* Fresh missing pages, filled with zeroes when touched. */
static char *fresh(void)
{
	if (mem)
		CHECK(munmap(mem, N * PAGE) == 0);
	mem = map_pages(N);
	arm(fd, mem, N, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	mon.nr_missing = mon.nr_wp = 0;
	return mem;
}

/* The pages hold content and are protected. */
static char *fresh_protected(int value)
{
	char *p = fresh();

	for (unsigned i = 0; i < N; i++)
		fill(fd, (uintptr_t)p + i * PAGE, value);
	protect(fd, p, N, true);
	return p;
}

static void expect_at(int line, int missing, int wp)
{
	int got_missing = __atomic_load_n(&mon.nr_missing, __ATOMIC_SEQ_CST);
	int got_wp = __atomic_load_n(&mon.nr_wp, __ATOMIC_SEQ_CST);

	if (got_missing != missing || got_wp != wp)
		printf("line %d: %d missing, %d write-protect messages\n", line, got_missing, got_wp);
	CHECK(got_missing == missing && got_wp == wp);
}

#define expect(missing, wp) expect_at(__LINE__, missing, wp)

static bool all_are(const char *p, size_t n, char c)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != c)
			return false;
	return true;
}

static void with_pipe(void)
{
	static char data[3 * PAGE];
	int p[2];

	CHECK(pipe(p) == 0);
	memset(data, 'r', sizeof(data));
	CHECK(write(p[1], data, sizeof(data)) == sizeof(data));
	CHECK(read(p[0], fresh() + 100, sizeof(data)) == sizeof(data)); /* four pages */
	expect(4, 0);
	CHECK(all_are(mem + 100, sizeof(data), 'r') && mem[0] == 0);

	CHECK(write(p[1], fresh() + 100, 2 * PAGE) == 2 * PAGE); /* from missing pages */
	expect(3, 0);
	CHECK(read(p[0], data, 2 * PAGE) == 2 * PAGE && all_are(data, 2 * PAGE, 0));

	CHECK(write(p[1], fresh_protected('w'), PAGE) == PAGE); /* reading protected memory asks nobody */
	expect(0, 0);
	CHECK(read(p[0], mem + PAGE, PAGE) == PAGE);
	expect(0, 1);

	/* a short read touches no more than it delivers */
	CHECK(write(p[1], "abc", 3) == 3);
	CHECK(read(p[0], fresh(), 4 * PAGE) == 3);
	expect(1, 0);
	close(p[0]);
	close(p[1]);
}

static void with_file(int file)
{
	struct iovec v[3];

	CHECK(pwrite(file, fresh_protected('f'), 8 * PAGE, 0) == 8 * PAGE);
	expect(0, 0);
	CHECK(pread(file, fresh() + 1, 5 * PAGE, 10) == 5 * PAGE);
	expect(6, 0);
	CHECK(all_are(mem + 1, 5 * PAGE, 'f'));
	CHECK(lseek(file, 0, SEEK_SET) == 0);
	CHECK(read(file, fresh(), N * PAGE) == 8 * PAGE); /* the file ends before the buffer */
	CHECK(all_are(mem, 8 * PAGE, 'f'));
	CHECK(lseek(file, 0, SEEK_CUR) == 8 * PAGE);

	fresh();
	v[0] = (struct iovec){mem + PAGE - 10, 20};
	v[1] = (struct iovec){mem + 4 * PAGE, PAGE};
	v[2] = (struct iovec){mem + 8 * PAGE + 5, 2 * PAGE};
	CHECK(preadv(file, v, 3, 3) == 20 + 3 * PAGE);
	expect(6, 0);
	CHECK(all_are(v[0].iov_base, 20, 'f') && all_are(v[1].iov_base, PAGE, 'f') &&
	      all_are(v[2].iov_base, 2 * PAGE, 'f'));
	fresh();
	v[0] = (struct iovec){mem, 2 * PAGE};
	v[1] = (struct iovec){mem + 5 * PAGE, 2 * PAGE};
	CHECK(lseek(file, 0, SEEK_SET) == 0);
	CHECK(writev(file, v, 2) == 4 * PAGE);
	expect(4, 0);
	CHECK(pread(file, fresh_protected('x'), 5 * PAGE, 0) == 5 * PAGE);
	expect(0, 5);
	CHECK(all_are(mem, 4 * PAGE, 0) && all_are(mem + 4 * PAGE, PAGE, 'f'));
}

/* A datagram that does not fit where it should go is lost: it must fit the first time. */
static void with_sockets(void)
{
	char data[600];
	struct iovec v = {NULL, sizeof(data)};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	int s[2];

	memset(data, 's', sizeof(data));
	CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s) == 0);
	for (int how = 0; how < 3; how++) {
		ssize_t n;

		CHECK(send(s[0], data, sizeof(data), 0) == sizeof(data));
		v.iov_base = fresh() + PAGE - 300;
		n = how == 0 ? read(s[1], v.iov_base, v.iov_len) :
		    how == 1 ? recv(s[1], v.iov_base, v.iov_len, 0) :
			       recvmsg(s[1], &m, 0);
		CHECK(n == sizeof(data) && all_are(v.iov_base, sizeof(data), 's'));
		expect(2, 0);
	}
	CHECK(send(s[0], fresh() + PAGE - 300, 600, 0) == 600);
	expect(2, 0);
	CHECK(recv(s[1], data, sizeof(data), 0) == sizeof(data) && all_are(data, sizeof(data), 0));
	close(s[0]);
	close(s[1]);
}

static void with_structs(const char *path)
{
	struct timespec *ts;
	struct stat st;
	int *fds;

	CHECK(stat(path, (struct stat *)(fresh() + PAGE - 40)) == 0);
	expect(2, 0);
	CHECK(stat(path, &st) == 0 && st.st_size == ((struct stat *)(mem + PAGE - 40))->st_size);
	CHECK(uname((struct utsname *)fresh()) == 0 && !strcmp(((struct utsname *)mem)->sysname, "Linux"));
	expect(1, 0);
	CHECK(getrandom(fresh(), 2 * PAGE, 0) == 2 * PAGE);
	expect(2, 0);
	CHECK(getcwd(fresh(), PAGE) == mem && mem[0] == '/');
	expect(1, 0);
	ts = (struct timespec *)fresh();
	CHECK(nanosleep(ts, NULL) == 0); /* zeroes: no time at all */
	expect(1, 0);
	fds = (int *)fresh();
	CHECK(pipe(fds) == 0);
	expect(1, 0);
	CHECK(close(fds[0]) == 0 && close(fds[1]) == 0);
	CHECK(open(fresh(), O_RDONLY) == -1 && errno == ENOENT); /* an empty path, once it is there */
	expect(1, 0);
	CHECK(access(fresh() + PAGE - 8, F_OK) == -1 && errno == ENOENT);
	expect(1, 0);
}

static void with_syscall(void)
{
	struct timespec ts = {0, 1};
	uint32_t *word = (uint32_t *)fresh();
	int p[2];

	CHECK(syscall(SYS_futex, word, 0 /* FUTEX_WAIT */, 5, &ts, NULL, 0) == -1 && errno == EAGAIN); /* 0 is not 5 */
	expect(1, 0);
	CHECK(pipe(p) == 0);
	CHECK(syscall(SYS_write, p[1], "hello", 5) == 5);
	CHECK(syscall(SYS_read, p[0], fresh() + PAGE - 2, 5) == 5 && !memcmp(mem + PAGE - 2, "hello", 5));
	expect(2, 0);
	CHECK(syscall(SYS_getrandom, fresh(), 16, 0) == 16);
	expect(1, 0);
	close(p[0]);
	close(p[1]);
}

/* What is wrong stays wrong. */
static void with_bad_pointers(void)
{
	char *gone = map_pages(1);
	int p[2];

	CHECK(pipe(p) == 0 && munmap(gone, PAGE) == 0);
	CHECK(write(p[1], gone, 10) == -1 && errno == EFAULT);
	CHECK(write(p[1], "0123456789", 10) == 10);
	CHECK(read(p[0], gone, 10) == -1 && errno == EFAULT);
	CHECK(syscall(SYS_writev, p[1], gone, 2) == -1 && errno == EFAULT);
	CHECK(open(gone, O_RDONLY) == -1 && errno == EFAULT);
	CHECK(stat("/", (struct stat *)gone) == -1 && errno == EFAULT);
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	char path[] = "/tmp/syscall_buffers-XXXXXX";
	int file;

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	file = mkstemp(path);
	CHECK(file >= 0);
	monitor_start(&mon, fd, 0);
	with_pipe();
	with_file(file);
	with_sockets();
	with_structs(path);
	with_syscall();
	with_bad_pointers();
	monitor_stop(&mon);
	CHECK(unlink(path) == 0);
	return done("syscall_buffers");
}
