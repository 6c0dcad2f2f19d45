/* SPDX-License-Identifier: MIT */
/* Descriptors, ioctls, memory, threads and messages for the rows. Policy: a helper that must succeed checks it. */
#include "test/conformance/conform.h"
#include <setjmp.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

/* ---- descriptors ------------------------------------------------------------------------------------------------ */

int uffd_create(int flags)
{
	return syscall(SYS_userfaultfd, flags);
}

int uffd_raw(int flags)
{
	int fd = uffd_create(flags | (target.kernel_faults ? 0 : UFFD_USER_MODE_ONLY));

	CHECK(fd >= 0);
	return fd;
}

int uffd_handshake(int fd, uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	return ioctl(fd, UFFDIO_API, &api) ? errno : 0;
}

int uffd_new_blocking(uint64_t features)
{
	int fd = uffd_raw(O_CLOEXEC);

	EQ(uffd_handshake(fd, features), 0);
	return fd;
}

int uffd_new(uint64_t features)
{
	int fd = uffd_raw(O_CLOEXEC | O_NONBLOCK);

	EQ(uffd_handshake(fd, features), 0);
	return fd;
}

void need_kernel_faults(void)
{
	if (!target.kernel_faults)
		row_skip("this user may only have UFFD_USER_MODE_ONLY contexts");
}

void guard_install(void *p, size_t len)
{
	if (madvise(map_pages(1), PAGE, MADV_GUARD_INSTALL))
		row_skip("this kernel has no guards: %s", strerror(errno));
	if (madvise(p, len, MADV_GUARD_INSTALL) == 0)
		return;
	if (target.engine && errno == EINVAL)
		row_skip("Faultline refuses guards in armed ranges");
	check_failed(__FILE__, __LINE__, "MADV_GUARD_INSTALL: %s", strerror(errno));
}

/* ---- ioctls ------------------------------------------------------------------------------------------------------ */

int try_register(int fd, void *p, size_t len, uint64_t mode, uint64_t *ioctls)
{
	struct uffdio_register r = {{(uintptr_t)p, len}, mode, UNTOUCHED};
	int err = ioctl(fd, UFFDIO_REGISTER, &r) ? errno : 0;

	if (ioctls)
		*ioctls = r.ioctls;
	return err;
}

static int range_ioctl(int fd, unsigned long cmd, void *p, size_t len)
{
	struct uffdio_range r = {(uintptr_t)p, len};

	return ioctl(fd, cmd, &r) ? errno : 0;
}

int try_unregister(int fd, void *p, size_t len)
{
	return range_ioctl(fd, UFFDIO_UNREGISTER, p, len);
}

int try_wake(int fd, void *p, size_t len)
{
	return range_ioctl(fd, UFFDIO_WAKE, p, len);
}

int try_copy(int fd, void *dst, const void *src, size_t len, uint64_t mode, int64_t *out)
{
	struct uffdio_copy c = {(uintptr_t)dst, (uintptr_t)src, len, mode, UNTOUCHED};
	int err = ioctl(fd, UFFDIO_COPY, &c) ? errno : 0;

	if (out)
		*out = c.copy;
	return err;
}

/* ZEROPAGE, POISON and CONTINUE share their layout. */
static int fill_ioctl(int fd, unsigned long cmd, void *p, size_t len, uint64_t mode, int64_t *out)
{
	struct uffdio_zeropage z = {{(uintptr_t)p, len}, mode, UNTOUCHED};
	int err = ioctl(fd, cmd, &z) ? errno : 0;

	if (out)
		*out = z.zeropage;
	return err;
}

int try_zeropage(int fd, void *p, size_t len, uint64_t mode, int64_t *out)
{
	return fill_ioctl(fd, UFFDIO_ZEROPAGE, p, len, mode, out);
}

int try_poison(int fd, void *p, size_t len, uint64_t mode, int64_t *out)
{
	return fill_ioctl(fd, UFFDIO_POISON, p, len, mode, out);
}

int try_continue(int fd, void *p, size_t len, uint64_t mode, int64_t *out)
{
	return fill_ioctl(fd, UFFDIO_CONTINUE, p, len, mode, out);
}

int try_protect(int fd, void *p, size_t len, uint64_t mode)
{
	struct uffdio_writeprotect w = {{(uintptr_t)p, len}, mode};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &w) ? errno : 0;
}

int probe_copy(int fd, void *p, int byte)
{
	static uint8_t page[PAGE] __attribute__((aligned(4096)));

	memset(page, byte, PAGE);
	return try_copy(fd, p, page, PAGE, 0, NULL);
}

void fill_mode(const char *file, int line, int fd, void *p, int byte, uint64_t mode)
{
	static uint8_t page[PAGE] __attribute__((aligned(4096)));
	int64_t out;
	int err;

	memset(page, byte, PAGE);
	err = try_copy(fd, p, page, PAGE, mode, &out);
	if (err || out != (int64_t)PAGE)
		check_failed(file, line, "COPY of one page: errno %d, copy %lld", err, (long long)out);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

uint8_t *map_prot(size_t n, int prot)
{
	uint8_t *p = mmap(NULL, (n + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(p != MAP_FAILED);
	/* Replaced, not re-protected: the three never merge back into one mapping, whatever happens to the middle. */
	CHECK(munmap(p + PAGE, n * PAGE) == 0);
	p = mmap(p + PAGE, n * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(p != MAP_FAILED);
	return p;
}

uint8_t *map_pages(size_t n)
{
	return map_prot(n, RW);
}

void touch(void *p, size_t n, int byte)
{
	memset(p, byte, n * PAGE);
}

bool page_is(const void *p, int byte)
{
	const volatile uint8_t *b = p;

	for (size_t i = 0; i < PAGE; i++)
		if (b[i] != (uint8_t)byte)
			return false;
	return true;
}

/* ---- other threads ----------------------------------------------------------------------------------------------- */

static _Thread_local sigjmp_buf *escape;
static _Thread_local siginfo_t escape_info;

static void fatal_signal(int sig, siginfo_t *info, void *uc)
{
	(void)uc;
	if (!escape) { /* an access that no row expected to fail */
		signal(sig, SIG_DFL);
		return;
	}
	escape_info = *info;
	siglongjmp(*escape, sig);
}

static void fatal_signals_caught(void)
{
	struct sigaction sa = {.sa_sigaction = fatal_signal, .sa_flags = SA_SIGINFO};

	sigemptyset(&sa.sa_mask);
	CHECK(sigaction(SIGBUS, &sa, NULL) == 0);
	CHECK(sigaction(SIGSEGV, &sa, NULL) == 0);
}

static void do_read(struct actor *a)
{
	a->value = *a->addr;
}

static void do_write(struct actor *a)
{
	*a->addr = a->value;
}

/* Run fn; the fatal signal that ended it, or 0. */
static int guarded(struct actor *a)
{
	sigjmp_buf env;
	int sig = sigsetjmp(env, 1);

	if (sig == 0) {
		escape = &env;
		a->fn(a);
	} else {
		a->code = escape_info.si_code;
		a->sig_addr = escape_info.si_addr;
	}
	escape = NULL;
	return sig;
}

static void *actor_main(void *arg)
{
	struct actor *a = arg;
	uint64_t one = 1;

	a->tid = syscall(SYS_gettid);
	a->sig = guarded(a);
	CHECK(write(a->done_fd, &one, 8) == 8);
	return NULL;
}

void actor_start(struct actor *a, void (*fn)(struct actor *))
{
	fatal_signals_caught();
	a->fn = fn;
	a->sig = 0;
	a->tid = 0;
	a->done_fd = eventfd(0, EFD_CLOEXEC);
	CHECK(a->done_fd >= 0);
	CHECK(pthread_create(&a->thread, NULL, actor_main, a) == 0);
}

void start_read(struct actor *a, const void *addr)
{
	a->addr = (volatile uint8_t *)addr;
	actor_start(a, do_read);
}

void start_write(struct actor *a, void *addr, int value)
{
	a->addr = addr;
	a->value = value;
	actor_start(a, do_write);
}

static bool actor_done(struct actor *a, int ms)
{
	struct pollfd p = {.fd = a->done_fd, .events = POLLIN};
	int n;

	do
		n = poll(&p, 1, ms);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

void actor_finish(const char *file, int line, struct actor *a, int sig)
{
	if (!actor_done(a, PROMPT_MS))
		check_failed(file, line, "the thread is still blocked after %d ms", PROMPT_MS);
	CHECK(pthread_join(a->thread, NULL) == 0);
	close(a->done_fd);
	if (a->sig != sig)
		check_failed(file, line, "the access ended with signal %d, expected %d", a->sig, sig);
	check_passed(file, line);
}

void actor_still_blocked(const char *file, int line, struct actor *a)
{
	if (actor_done(a, ABSENT_MS))
		check_failed(file, line, "the thread was let go (signal %d), expected it to stay blocked", a->sig);
	check_passed(file, line);
}

static char thread_state(pid_t tid)
{
	char path[64], text[256], *paren;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return '?';
	text[n] = '\0';
	paren = strrchr(text, ')');
	return paren ? paren[2] : '?';
}

void actor_wait_asleep(struct actor *a)
{
	for (int i = 0; i < PROMPT_MS; i++) {
		if (a->tid && (thread_state(a->tid) == 'S' || thread_state(a->tid) == 'D'))
			return;
		poll(NULL, 0, 1);
	}
	check_failed(__FILE__, __LINE__, "the thread does not go to sleep");
}

static int access_here(void (*fn)(struct actor *), void *p, int value, siginfo_t *info)
{
	struct actor a = {.fn = fn, .addr = p, .value = value};
	int sig;

	fatal_signals_caught();
	sig = guarded(&a);
	if (info)
		*info = escape_info;
	return sig;
}

int access_read(const void *p, siginfo_t *info)
{
	return access_here(do_read, (void *)p, 0, info);
}

int access_write(void *p, int value, siginfo_t *info)
{
	return access_here(do_write, p, value, info);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static int poll_in(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int n;

	do
		n = poll(&p, 1, ms);
	while (n < 0 && errno == EINTR);
	return n == 1 ? p.revents : 0;
}

bool msg_pending(int fd)
{
	return poll_in(fd, PROMPT_MS) == POLLIN;
}

uint32_t msg_take(const char *file, int line, int fd, uint64_t flags, const void *addr)
{
	struct uffd_msg m, want;

	if (poll_in(fd, PROMPT_MS) != POLLIN)
		check_failed(file, line, "no message (flags %llu at %p) arrives", (unsigned long long)flags, addr);
	memset(&m, 0xee, sizeof(m));
	if (read(fd, &m, sizeof(m)) != sizeof(m))
		check_failed(file, line, "read: %s", strerror(errno));
	memset(&want, 0, sizeof(want));
	want.event = UFFD_EVENT_PAGEFAULT;
	want.arg.pagefault.flags = flags;
	want.arg.pagefault.address = (uintptr_t)addr;
	want.arg.pagefault.feat.ptid = m.arg.pagefault.feat.ptid;
	if (memcmp(&m, &want, sizeof(m)))
		check_failed(file, line, "message: expected event 12 flags %llu address %p, got event %x flags %llu address %#llx%s",
			     (unsigned long long)flags, addr, m.event, (unsigned long long)m.arg.pagefault.flags,
			     (unsigned long long)m.arg.pagefault.address,
			     m.event == want.event && m.arg.pagefault.flags == flags &&
					     m.arg.pagefault.address == want.arg.pagefault.address ?
				     ": an unused byte is not zero" :
				     "");
	check_passed(file, line);
	return m.arg.pagefault.feat.ptid;
}

void msg_absent(const char *file, int line, int fd)
{
	struct uffd_msg m;

	if (poll_in(fd, ABSENT_MS)) {
		memset(&m, 0, sizeof(m));
		if (read(fd, &m, sizeof(m)) == sizeof(m))
			check_failed(file, line, "a message that nobody expects: event %x flags %llu address %#llx", m.event,
				     (unsigned long long)m.arg.pagefault.flags,
				     (unsigned long long)m.arg.pagefault.address);
		check_failed(file, line, "poll reports a message that cannot be read (%s)", strerror(errno));
	}
	check_passed(file, line);
}

void check_writes_freely(const char *file, int line, int fd, void *p, int byte)
{
	struct actor a = {0};

	start_write(&a, p, byte);
	if (!actor_done(&a, PROMPT_MS))
		check_failed(file, line, "the write blocks%s", msg_pending(fd) ? " and sends a message" : "");
	actor_finish(file, line, &a, 0);
	if (*(volatile uint8_t *)p != (uint8_t)byte)
		check_failed(file, line, "the byte written is not there");
	if (poll_in(fd, 0))
		msg_absent(file, line, fd);
}

void check_write_traps(const char *file, int line, int fd, void *p, int byte)
{
	void *page = (void *)((uintptr_t)p & ~(PAGE - 1));
	struct actor a = {0};

	start_write(&a, p, byte);
	msg_take(file, line, fd, MSG_WP, page);
	resolve(fd, page, 1);
	actor_finish(file, line, &a, 0);
	if (*(volatile uint8_t *)p != (uint8_t)byte)
		check_failed(file, line, "the byte written is not there");
}

void check_read_misses(const char *file, int line, int fd, void *p, int byte)
{
	void *page = (void *)((uintptr_t)p & ~(PAGE - 1));
	struct actor a = {0};

	start_read(&a, p);
	msg_take(file, line, fd, MSG_READ, page);
	fill_mode(file, line, fd, page, byte, 0);
	actor_finish(file, line, &a, 0);
	if (a.value != (uint8_t)byte)
		check_failed(file, line, "read %#x, expected %#x", a.value, byte);
}

/* ---- processes --------------------------------------------------------------------------------------------------- */

pid_t fork_child(void)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

int wait_child(pid_t pid)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0), status = -1;

	CHECK(pidfd >= 0);
	if (!poll_in(pidfd, PROMPT_MS))
		check_failed(__FILE__, __LINE__, "the child is still there after %d ms", PROMPT_MS);
	close(pidfd);
	CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 1) /* it left its own report */
		_exit(1);
	return status;
}

void pipe_pair(int fds[2])
{
	CHECK(pipe(fds) == 0);
}

void pipe_tell(int fds[2])
{
	CHECK(write(fds[1], "x", 1) == 1);
}

void pipe_await(int fds[2])
{
	char c;

	if (!poll_in(fds[0], PROMPT_MS))
		check_failed(__FILE__, __LINE__, "the other process says nothing");
	CHECK(read(fds[0], &c, 1) == 1);
}
