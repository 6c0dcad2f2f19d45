/* SPDX-License-Identifier: MIT */
/*
 * How contexts, waiters and mappings end: rows 82 to 84, 151 and the map changes without events (sections 3.5, 3.6,
 * 4.4, 9.5).
 */
#include "test/conformance/conform.h"
#include <sys/socket.h>

#define DONTUNMAP 4 /* MREMAP_DONTUNMAP, where <sys/mman.h> is older than it */

static int make_armed(uint8_t **p, size_t n, uint64_t mode)
{
	int fd = uffd_new(0);

	*p = map_pages(n);
	arm(fd, *p, n, mode);
	return fd;
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

static void await_handled(int n)
{
	for (int ms = 0; handled < n && ms < PROMPT_MS; ms++)
		poll(NULL, 0, 1);
	EQ(handled, n);
}

/* ---- signals --------------------------------------------------------------------------------------------------------- */

static void signal_user_waiter(int flags)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	handle_usr1(flags);
	start_read(&a, p);
	message(fd, MSG_READ, p);
	for (int i = 1; i <= 3; i++) {
		actor_wait_asleep(&a);
		pthread_kill(a.thread, SIGUSR1);
		await_handled(i);
		message(fd, MSG_READ, p); /* it asked again */
	}
	fill(fd, p, 6);
	finished(&a);
	EQ(a.value, 6);
	no_message(fd);
}

ROW(row082_user_waiter_and_signal)
{
	signal_user_waiter(0);
}

ROW(row082_user_waiter_and_signal_with_restart)
{
	signal_user_waiter(SA_RESTART);
}

/* Unread: the old message is gone, there is one new one. */
ROW(row082_unread_waiter_and_signal)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	handle_usr1(0);
	start_read(&a, p);
	CHECK(msg_pending(fd));
	actor_wait_asleep(&a);
	pthread_kill(a.thread, SIGUSR1);
	await_handled(1);
	message(fd, MSG_READ, p);
	no_message(fd);
	fill(fd, p, 1);
	finished(&a);
}

ROW(row082_blocked_wp_waiter_and_signal)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, WP);

	handle_usr1(0);
	touch(p, 1, 1);
	protect(fd, p, 1);
	start_write(&a, p, 2);
	message(fd, MSG_WP, p);
	actor_wait_asleep(&a);
	pthread_kill(a.thread, SIGUSR1);
	await_handled(1);
	message(fd, MSG_WP, p);
	EQ(p[0], 1);
	resolve(fd, p, 1);
	finished(&a);
	EQ(p[0], 2);
}

static void do_pipe_read(struct actor *a)
{
	a->ret = read(a->fd, (void *)a->addr, 1);
	a->err = errno;
}

ROW(row082_system_call_waiter_and_signal)
{
	struct actor a = {0};
	uint8_t *p;
	int fd, fds[2];

	need_kernel_faults();
	fd = make_armed(&p, 1, MISS);
	handle_usr1(0);
	pipe_pair(fds);
	pipe_tell(fds);
	a.fd = fds[0];
	a.addr = p;
	actor_start(&a, do_pipe_read);
	message(fd, MSG_WRITE, p);
	pthread_kill(a.thread, SIGUSR1);
	still_blocked(&a);
	EQ(handled, 0); /* not before the call is over */
	fill(fd, p, 1);
	finished(&a);
	EQ(a.ret, 1);
	EQ(handled, 1);
	EQ(p[0], 'x');
}

/* A handler may itself touch missing memory, on top of the blocked access. */
static uint8_t *handler_page;
static volatile uint8_t handler_saw;

static void touch_in_handler(int sig)
{
	(void)sig;
	handler_saw = *(volatile uint8_t *)handler_page;
	handled++;
}

ROW(row082_handler_faults_too)
{
	struct sigaction sa = {.sa_handler = touch_in_handler};
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);

	EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	handler_page = p + PAGE;
	start_read(&a, p);
	message(fd, MSG_READ, p);
	actor_wait_asleep(&a);
	pthread_kill(a.thread, SIGUSR1);
	message(fd, MSG_READ, p + PAGE);
	fill(fd, p + PAGE, 0x4d);
	await_handled(1);
	EQ(handler_saw, 0x4d);
	message(fd, MSG_READ, p);
	fill(fd, p, 0x4e);
	finished(&a);
	EQ(a.value, 0x4e);
}

/* A process blocked in a fault, and its monitor thread, die at once. */
static void killed_while_blocked(bool read_first)
{
	int told[2];
	pid_t pid;
	int status;

	pipe_pair(told);
	pid = fork_child();
	if (pid == 0) {
		struct actor a = {0};
		uint8_t *p;
		int fd = make_armed(&p, 1, MISS);

		start_write(&a, p, 1);
		CHECK(msg_pending(fd));
		if (read_first)
			message(fd, MSG_WRITE, p);
		pipe_tell(told);
		finished(&a); /* never */
		_exit(1);
	}
	pipe_await(told);
	EQ(kill(pid, SIGKILL), 0);
	status = wait_child(pid);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

ROW(row083_sigkill_while_blocked)
{
	killed_while_blocked(true);
	killed_while_blocked(false);
}

ROW(row083_exit_while_a_thread_is_blocked)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		struct actor a = {0};
		uint8_t *p;
		int fd = make_armed(&p, 1, MISS);

		start_write(&a, p, 1);
		message(fd, MSG_WRITE, p);
		exit(0);
	}
	child_ok(pid);
}

/* ---- close ------------------------------------------------------------------------------------------------------------ */

ROW(row084_close_frees_everybody)
{
	struct actor read = {0}, unread = {0}, wp = {0};
	uint8_t *p;
	int fd = make_armed(&p, 4, MISS | WP);

	fill_mode(__FILE__, __LINE__, fd, p + 2 * PAGE, 7, UFFDIO_COPY_MODE_WP);
	start_write(&wp, p + 2 * PAGE, 3);
	message(fd, MSG_WP, p + 2 * PAGE);
	start_read(&read, p);
	message(fd, MSG_READ, p);
	start_write(&unread, p + PAGE, 2);
	CHECK(msg_pending(fd));
	EQ(close(fd), 0);
	finished(&read);
	finished(&unread);
	finished(&wp);
	EQ(read.value, 0);
	EQ(p[PAGE], 2);
	EQ(p[2 * PAGE], 3);
	EQ(p[2 * PAGE + 1], 7);
	EQ(access_write(p + 3 * PAGE, 1, NULL), 0); /* ordinary memory */
	EQ(access_write(p, 1, NULL), 0);
	fd = uffd_new(0); /* which anybody can have */
	arm(fd, p, 4, MISS | WP);
	writes_freely(fd, p + 2 * PAGE, 4);
}

ROW(row084_close_clears_bits)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, WP);

	touch(p, 2, 1);
	protect(fd, p, 2);
	EQ(close(fd), 0);
	EQ(access_write(p, 2, NULL), 0);
	fd = uffd_new(0);
	arm(fd, p, 2, WP);
	writes_freely(fd, p + PAGE, 2);
	CHECK(p[1] == 1 && p[PAGE + 1] == 1);
}

/* Only the last reference counts: dup, fork, a descriptor in flight. */
ROW(s36_dup_keeps_the_context)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS), other = dup(fd), third = fcntl(fd, F_DUPFD_CLOEXEC, 50);

	CHECK(other >= 0);
	CHECK(third >= 50);
	EQ(close(fd), 0);
	read_misses(other, p, 1);
	start_read(&a, p + PAGE);
	message(third, MSG_READ, p + PAGE);
	EQ(close(other), 0);
	still_blocked(&a);
	EQ(close(third), 0);
	finished(&a);
	EQ(a.value, 0);
}

ROW(s36_dup2_over_the_last_descriptor)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS), null = open("/dev/null", O_RDWR | O_CLOEXEC);

	CHECK(null >= 0);
	start_read(&a, p);
	message(fd, MSG_READ, p);
	EQ(dup2(null, fd), fd);
	finished(&a);
}

ROW(s36_fork_child_holds_the_context)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS), go[2];
	pid_t pid;

	pipe_pair(go);
	pid = fork_child();
	if (pid == 0) {
		pipe_await(go);
		_exit(0);
	}
	start_read(&a, p);
	message(fd, MSG_READ, p);
	EQ(close(fd), 0);
	if (!target.engine) /* where a context belongs to its process alone the close is final */
		still_blocked(&a);
	pipe_tell(go);
	child_ok(pid);
	finished(&a);
}

/* The child closes its copy: the parent's context lives on. */
ROW(s36_fork_child_closes_its_copy)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);
	pid_t pid = fork_child();

	if (pid == 0) {
		EQ(close(fd), 0);
		EQ(access_read(p, NULL), 0);
		_exit(0);
	}
	child_ok(pid);
	read_misses(fd, p, 1);
	EQ(access_read(p, NULL), 0);
	read_misses(fd, p + PAGE, 2);
}

ROW(row151_close_versus_faulting_threads)
{
	for (int round = 0; round < 100; round++) {
		struct actor a[4] = {0};
		uint8_t *p;
		int fd = make_armed(&p, 4, MISS);

		for (int i = 0; i < 4; i++)
			start_write(&a[i], p + i * PAGE, i + 1);
		EQ(close(fd), 0);
		for (int i = 0; i < 4; i++) {
			finished(&a[i]);
			EQ(p[i * PAGE], i + 1);
		}
		EQ(munmap(p - PAGE, 6 * PAGE), 0);
	}
}

/* ---- waiters and map changes (section 3.5) ------------------------------------------------------------------------------ */

ROW(s35_munmap_under_waiter)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	start_read(&a, p);
	message(fd, MSG_READ, p);
	EQ(munmap(p, PAGE), 0);
	still_blocked(&a);
	wake(fd, p, 1);
	finished_by(&a, SIGSEGV);
	CHECK(a.sig_addr == p);
	EQ(a.code, SEGV_MAPERR);
}

ROW(s35_remapped_under_waiter)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	start_read(&a, p);
	message(fd, MSG_READ, p);
	CHECK(mmap(p, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
	*p = 0x3a;
	still_blocked(&a);
	wake(fd, p, 1);
	finished(&a);
	EQ(a.value, 0x3a);
	no_message(fd);
}

ROW(s35_dontneed_under_wp_waiter)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, WP);

	touch(p, 1, 1);
	protect(fd, p, 1);
	start_write(&a, p, 2);
	message(fd, MSG_WP, p);
	EQ(madvise(p, PAGE, MADV_DONTNEED), 0);
	still_blocked(&a);
	wake(fd, p, 1);
	finished(&a);
	EQ(p[0], 2);
	EQ(p[1], 0);
	no_message(fd);
}

ROW(s35_mprotect_under_waiter)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	start_write(&a, p, 2);
	message(fd, MSG_WRITE, p);
	EQ(mprotect(p, PAGE, PROT_READ), 0);
	still_blocked(&a);
	fill(fd, p, 1);
	finished_by(&a, SIGSEGV);
	EQ(a.code, SEGV_ACCERR);
	CHECK(page_is(p, 1));
}

ROW(s35_mremap_under_waiter)
{
	struct actor a = {0};
	uint8_t *p, *to = map_pages(1);
	int fd = make_armed(&p, 1, MISS);

	start_read(&a, p);
	message(fd, MSG_READ, p);
	CHECK(mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	still_blocked(&a);
	wake(fd, p, 1);
	finished_by(&a, SIGSEGV);
}

/* ---- map changes without events ------------------------------------------------------------------------------------------ */

ROW(s44_fork_child_is_plain)
{
	uint8_t *p;
	int fd = make_armed(&p, 3, MISS);
	pid_t pid;

	fill(fd, p, 0x70);
	pid = fork_child();
	if (pid == 0) {
		CHECK(page_is(p, 0x70));
		CHECK(page_is(p + PAGE, 0));
		touch(p, 3, 0x71);
		CHECK(page_is(p + 2 * PAGE, 0x71));
		_exit(0);
	}
	child_ok(pid);
	no_message(fd);
	CHECK(page_is(p, 0x70));
	read_misses(fd, p + PAGE, 1); /* the parent's memory is armed as before */
	read_misses(fd, p + 2 * PAGE, 2);
}

/* The child may have contexts of its own on that memory. */
ROW(s44_fork_child_registers_for_itself)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);
	pid_t pid;

	fill(fd, p, 1);
	pid = fork_child();
	if (pid == 0) {
		int own = uffd_new(0);

		arm(own, p, 2, MISS | WP);
		CHECK(page_is(p, 1));
		read_misses(own, p + PAGE, 0x51);
		protect(own, p, 1);
		write_traps(own, p, 0x52);
		_exit(0);
	}
	child_ok(pid);
	CHECK(page_is(p, 1));
	read_misses(fd, p + PAGE, 2);
}

/* Fork while another thread of the parent waits for its page. */
ROW(s44_fork_with_a_blocked_thread)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);
	pid_t pid;

	start_read(&a, p);
	message(fd, MSG_READ, p);
	pid = fork_child();
	if (pid == 0) {
		EQ(access_read(p, NULL), 0);
		_exit(0);
	}
	child_ok(pid);
	still_blocked(&a);
	fill(fd, p, 8);
	finished(&a);
	EQ(a.value, 8);
}

ROW(s44_vfork_child_shares)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS), status;
	pid_t pid;

	fill(fd, p, 1);
	pid = vfork();
	if (pid == 0)
		_exit(*(volatile uint8_t *)p);
	EQ(waitpid(pid, &status, 0), pid);
	EQ(WEXITSTATUS(status), 1);
	no_message(fd);
}

ROW(s44_exec_drops_it_all)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);
	pid_t pid = fork_child();

	if (pid == 0) {
		char *argv[] = {"true", NULL};

		execv("/bin/true", argv);
		_exit(127);
	}
	child_ok(pid);
	read_misses(fd, p, 1);
}

ROW(s44_dontneed_makes_missing)
{
	uint8_t *p;
	int fd = make_armed(&p, 3, MISS);

	for (int i = 0; i < 3; i++)
		fill(fd, p + i * PAGE, 1);
	EQ(madvise(p + PAGE, PAGE, MADV_DONTNEED), 0);
	no_message(fd);
	read_misses(fd, p + PAGE, 2);
	CHECK(page_is(p, 1) && page_is(p + 2 * PAGE, 1));
	EQ(madvise(p, 3 * PAGE, MADV_DONTNEED), 0);
	for (int i = 0; i < 3; i++)
		read_misses(fd, p + i * PAGE, 3 + i);
}

ROW(s44_dontneed_of_never_touched)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);

	EQ(madvise(p, 2 * PAGE, MADV_DONTNEED), 0);
	read_misses(fd, p, 1);
}

ROW(s44_partial_munmap)
{
	uint8_t *p;
	int fd = make_armed(&p, 3, MISS);

	EQ(munmap(p + PAGE, PAGE), 0);
	EQ(probe_copy(fd, p + PAGE, 1), ENOENT);
	EQ(access_read(p + PAGE, NULL), SIGSEGV);
	read_misses(fd, p, 1);
	read_misses(fd, p + 2 * PAGE, 2);
	EQ(try_copy(fd, p, p + 2 * PAGE, 3 * PAGE, 0, NULL), ENOENT);
}

ROW(s44_map_fixed_over)
{
	uint8_t *p;
	int fd = make_armed(&p, 3, MISS);

	CHECK(mmap(p + PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + PAGE);
	EQ(access_write(p + PAGE, 1, NULL), 0); /* plain */
	EQ(probe_copy(fd, p + PAGE, 1), ENOENT);
	read_misses(fd, p, 1);
	read_misses(fd, p + 2 * PAGE, 1);
}

ROW(s44_partial_mprotect)
{
	uint8_t *p;
	int fd = make_armed(&p, 3, MISS);

	EQ(mprotect(p + PAGE, PAGE, PROT_READ), 0);
	EQ(access_write(p + PAGE, 1, NULL), SIGSEGV);
	read_misses(fd, p + PAGE, 1);
	EQ(access_write(p + PAGE, 1, NULL), SIGSEGV);
	read_misses(fd, p, 1);
	EQ(mprotect(p + PAGE, PAGE, RW), 0);
	writes_freely(fd, p + PAGE, 2);
	read_misses(fd, p + 2 * PAGE, 1);
}

/* Protection changes never show what is missing. */
ROW(s44_mprotect_does_not_reveal)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);

	EQ(mprotect(p, 2 * PAGE, PROT_NONE), 0);
	EQ(mprotect(p, 2 * PAGE, RW), 0);
	read_misses(fd, p, 1);
	EQ(mprotect(p, 2 * PAGE, PROT_READ), 0);
	read_misses(fd, p + PAGE, 1);
}

ROW(row100_mremap_without_event)
{
	uint8_t *p, *to = map_pages(2);
	int fd = make_armed(&p, 2, MISS);

	fill(fd, p, 0x21);
	CHECK(mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	no_message(fd);
	CHECK(page_is(to, 0x21));
	EQ(access_read(to + PAGE, NULL), 0); /* plain */
	CHECK(page_is(to + PAGE, 0));
	EQ(probe_copy(fd, to, 1), ENOENT);
	EQ(probe_copy(fd, p, 1), ENOENT);
	EQ(access_read(p, NULL), SIGSEGV);
}

ROW(row098_mremap_dontunmap_without_event)
{
	uint8_t *p, *to;
	int fd = make_armed(&p, 1, MISS);

	if (mremap(map_pages(1), PAGE, PAGE, MREMAP_MAYMOVE | DONTUNMAP, NULL) == MAP_FAILED)
		row_skip("this kernel has no MREMAP_DONTUNMAP: %s", strerror(errno));
	fill(fd, p, 0x21);
	to = mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | DONTUNMAP, NULL);
	if (to == MAP_FAILED && target.engine && errno == EINVAL)
		row_skip("Faultline refuses MREMAP_DONTUNMAP of armed ranges");
	CHECK(to != MAP_FAILED);
	CHECK(page_is(to, 0x21));
	EQ(probe_copy(fd, to, 1), ENOENT);
	read_misses(fd, p, 2); /* the old mapping stays, armed and empty */
}

ROW(row098_mremap_grow_in_place)
{
	uint8_t *p, *q;
	int fd = uffd_new(0);

	p = map_pages(4);
	EQ(munmap(p + 2 * PAGE, 2 * PAGE), 0);
	arm(fd, p, 2, MISS);
	fill(fd, p, 1);
	q = mremap(p, 2 * PAGE, 4 * PAGE, 0);
	CHECK(q == p);
	CHECK(page_is(p, 1));
	for (int i = 1; i < 4; i++)
		read_misses(fd, p + i * PAGE, 2); /* the new part is armed, too */
}

ROW(row098_mremap_shrink)
{
	uint8_t *p;
	int fd = make_armed(&p, 3, MISS);

	CHECK(mremap(p, 3 * PAGE, PAGE, 0) == p);
	read_misses(fd, p, 1);
	EQ(probe_copy(fd, p + PAGE, 1), ENOENT);
	EQ(access_read(p + 2 * PAGE, NULL), SIGSEGV);
}

ROW(row100_failed_mremap)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);

	CHECK(mremap(p, 2 * PAGE, 3 * PAGE, 0) == MAP_FAILED); /* its neighbour is in the way */
	EQ(errno, ENOMEM);
	CHECK(mremap(p, 2 * PAGE, 0, 0) == MAP_FAILED);
	EQ(errno, EINVAL);
	read_misses(fd, p, 1);
	read_misses(fd, p + PAGE, 1);
}

/* ---- races of table 9.5 that need no luck -------------------------------------------------------------------------------- */

static void do_copy_page(struct actor *a)
{
	static uint8_t pages[2][PAGE] __attribute__((aligned(4096)));
	int64_t out;

	memset(pages[a->arg[0]], 0x41 + a->arg[0], PAGE);
	a->err = try_copy(a->fd, (void *)a->addr, pages[a->arg[0]], PAGE, 0, &out);
	a->ret = out;
}

ROW(s95_two_copies_of_one_page)
{
	uint8_t *p;
	int fd = make_armed(&p, 100, MISS);

	for (int i = 0; i < 100; i++) {
		struct actor a[2] = {0};

		for (int k = 0; k < 2; k++) {
			a[k].fd = fd;
			a[k].addr = p + i * PAGE;
			a[k].arg[0] = k;
			actor_start(&a[k], do_copy_page);
		}
		finished(&a[0]);
		finished(&a[1]);
		EQ(a[0].err + a[1].err, EEXIST);
		EQ(a[0].ret + a[1].ret, (long)PAGE - EEXIST);
		CHECK(page_is(p + i * PAGE, a[0].err ? 0x42 : 0x41));
	}
}

/* ---- descriptors elsewhere ------------------------------------------------------------------------------------------------ */

ROW(s36_descriptor_sent_to_oneself)
{
	char control[CMSG_SPACE(sizeof(int))] = {0}, byte = 'x';
	struct iovec iov = {&byte, 1};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
	int pair[2], fd, other;
	uint8_t *p;

	if (target.engine)
		row_skip("descriptors in flight come with EVENT_FORK");
	fd = make_armed(&p, 1, MISS);
	EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	EQ(sendmsg(pair[0], &mh, 0), 1);
	EQ(close(fd), 0);
	EQ(recvmsg(pair[1], &mh, 0), 1);
	memcpy(&other, CMSG_DATA(CMSG_FIRSTHDR(&mh)), sizeof(int));
	read_misses(other, p, 1);
}
