/* SPDX-License-Identifier: MIT */
/*
 * Faults in awkward places of a program's life: with signals blocked, in handlers, on a stack, by many threads, over
 * many contexts, in huge sparse ranges. The kernel makes nothing of any of them.
 */
#include "test/conformance/conform.h"
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

static int make_armed(uint8_t **p, size_t n, uint64_t mode)
{
	int fd = uffd_new(0);

	*p = map_pages(n);
	arm(fd, *p, n, mode);
	return fd;
}

static void do_read_with_signals_blocked(struct actor *a)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	a->value = *a->addr;
}

ROW(s32_fault_with_all_signals_blocked)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	a.addr = p;
	actor_start(&a, do_read_with_signals_blocked);
	message(fd, MSG_READ, p);
	fill(fd, p, 0x29);
	finished(&a);
	EQ(a.value, 0x29);
}

static uint8_t *handler_page;
static volatile int handler_saw = -1;

static void read_in_handler(int sig)
{
	(void)sig;
	handler_saw = *(volatile uint8_t *)handler_page;
}

static void do_raise(struct actor *a)
{
	a->ret = raise(SIGUSR1);
}

ROW(s32_fault_in_a_handler_that_masks_everything)
{
	struct sigaction sa = {.sa_handler = read_in_handler};
	struct actor a = {0};
	int fd = make_armed(&handler_page, 1, MISS);

	sigfillset(&sa.sa_mask);
	EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	actor_start(&a, do_raise);
	message(fd, MSG_READ, handler_page);
	fill(fd, handler_page, 0x38);
	finished(&a);
	EQ(handler_saw, 0x38);
}

/* The mask that a program sees is the mask that it set. */
ROW(s32_signal_mask_reads_back)
{
	sigset_t set, got;
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	if (target.engine)
		row_skip("SIGSEGV is never really blocked: see CAVEATS");
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGSEGV);
	EQ(pthread_sigmask(SIG_SETMASK, &set, NULL), 0);
	EQ(pthread_sigmask(SIG_SETMASK, NULL, &got), 0);
	EQ(sigismember(&got, SIGUSR2), 1);
	EQ(sigismember(&got, SIGSEGV), 1);
	EQ(sigismember(&got, SIGUSR1), 0);
	read_misses(fd, p, 1);
}

/* The program's own handlers for SIGSEGV and SIGBUS read back as they were set. */
ROW(s32_sigaction_reads_back)
{
	struct sigaction sa = {.sa_handler = read_in_handler, .sa_flags = SA_RESTART}, got;
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	EQ(sigaction(SIGSEGV, NULL, &got), 0);
	CHECK(got.sa_handler == SIG_DFL);
	sigemptyset(&sa.sa_mask);
	sigaddset(&sa.sa_mask, SIGUSR2);
	EQ(sigaction(SIGSEGV, &sa, NULL), 0);
	EQ(sigaction(SIGSEGV, NULL, &got), 0);
	CHECK(got.sa_handler == read_in_handler);
	EQ(got.sa_flags & SA_RESTART, SA_RESTART);
	EQ(sigismember(&got.sa_mask, SIGUSR2), 1);
	CHECK(signal(SIGSEGV, SIG_DFL) == read_in_handler);
	CHECK(signal(SIGBUS, SIG_IGN) == SIG_DFL);
	CHECK(signal(SIGBUS, SIG_DFL) == SIG_IGN);
	read_misses(fd, p, 1);
}

/* Without a handler a bad access kills, as it should. */
ROW(s32_default_action_still_kills)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS), status;
	pid_t pid;

	for (int i = 0; i < 2; i++) {
		pid = fork_child();
		if (pid == 0) {
			int own = uffd_new(UFFD_FEATURE_SIGBUS);

			signal(SIGSEGV, SIG_DFL);
			signal(SIGBUS, SIG_DFL);
			arm(own, p, 2, MISS);
			*(volatile uint8_t *)(i ? p : NULL);
			_exit(0);
		}
		status = wait_child(pid);
		CHECK(WIFSIGNALED(status));
		EQ(WTERMSIG(status), i ? SIGBUS : SIGSEGV);
	}
	close(fd);
}

/* The classic use of SIGSEGV, side by side with a userfaultfd: a handler that opens the page and returns. */
static volatile int opened;

static void open_page(int sig, siginfo_t *info, void *uc)
{
	(void)sig;
	(void)uc;
	opened++;
	if (mprotect((void *)((uintptr_t)info->si_addr & ~(PAGE - 1)), PAGE, RW))
		_exit(9);
}

ROW(s32_program_with_its_own_write_barrier)
{
	struct sigaction sa = {.sa_sigaction = open_page, .sa_flags = SA_SIGINFO};
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS | WP);
	volatile uint8_t *own = map_prot(10, PROT_READ), *managed = p;

	EQ(sigaction(SIGSEGV, &sa, NULL), 0);
	for (int i = 0; i < 10; i++)
		own[i * PAGE] = i;
	EQ(opened, 10);
	EQ(mprotect(p, PAGE, PROT_READ), 0); /* over managed memory, too */
	fill(fd, p, 3);
	managed[5] = 4;
	EQ(opened, 11);
	EQ(managed[5], 4);
	EQ(managed[6], 3);
	no_message(fd);
}

static void do_keep_errno(struct actor *a)
{
	errno = 1234;
	a->value = *a->addr;
	a->err = errno;
}

ROW(s32_errno_survives_a_fault)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	a.addr = p;
	actor_start(&a, do_keep_errno);
	message(fd, MSG_READ, p);
	fill(fd, p, 1);
	finished(&a);
	EQ(a.err, 1234);
}

/* Vector registers, too: a sum carried across faults. */
static void do_sum(struct actor *a)
{
	volatile float *v = (volatile float *)a->addr;
	float sum[8] = {0};

	for (int page = 0; page < 8; page++)
		for (int i = 0; i < 8; i++)
			sum[i] += v[page * (PAGE / 4) + i] * (float)(i + 1) + 1.0f;
	a->ret = 0;
	for (int i = 0; i < 8; i++)
		a->ret += (long)sum[i];
}

ROW(s32_registers_survive_a_fault)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 8, MISS);

	a.addr = p;
	actor_start(&a, do_sum);
	for (int i = 0; i < 8; i++) {
		message(fd, MSG_READ, p + i * PAGE);
		zeropage(fd, p + i * PAGE, 1);
	}
	finished(&a);
	EQ(a.ret, 64);
}

/* ---- a fault on the thread's own stack -------------------------------------------------------------------------------- */

__attribute__((noinline)) static int descend(int depth)
{
	volatile uint8_t frame[1024];

	frame[depth % 1024] = depth;
	return depth ? descend(depth - 1) + frame[depth % 1024] : 0;
}

static void *descend_main(void *arg)
{
	*(int *)arg = descend(80);
	return NULL;
}

#define STACK_PAGES 64
#define STACK_PRESENT 16

ROW(s32_fault_on_ones_own_stack)
{
	pthread_attr_t attr;
	pthread_t t;
	uint8_t *stack = map_pages(STACK_PAGES);
	int fd = uffd_new(0), sum = -1, served = 0;
	struct uffd_msg m;

	if (target.engine)
		row_skip("alternate stacks for all threads come with the real-programs issue");
	touch(stack + (STACK_PAGES - STACK_PRESENT) * PAGE, STACK_PRESENT, 0);
	arm(fd, stack, STACK_PAGES - STACK_PRESENT, MISS);
	pthread_attr_init(&attr);
	EQ(pthread_attr_setstack(&attr, stack, STACK_PAGES * PAGE), 0);
	EQ(pthread_create(&t, &attr, descend_main, &sum), 0);
	while (pthread_tryjoin_np(t, NULL)) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};

		if (poll(&pfd, 1, 10) != 1)
			continue;
		EQ(read(fd, &m, sizeof(m)), sizeof(m));
		zeropage(fd, (void *)m.arg.pagefault.address, 1);
		served++;
	}
	EQ(sum, 80 * 81 / 2);
	CHECK(served > 3);
}

/* ---- many ---------------------------------------------------------------------------------------------------------------- */

#define CROWD 48

ROW(s35_a_crowd_on_one_page)
{
	static struct actor a[CROWD];
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	for (int i = 0; i < CROWD; i++) {
		start_read(&a[i], p + i * 64);
		message(fd, MSG_READ, p);
	}
	no_message(fd);
	fill(fd, p, 0x6b);
	for (int i = 0; i < CROWD; i++) {
		finished(&a[i]);
		EQ(a[i].value, 0x6b);
	}
	no_message(fd);
}

ROW(s35_a_crowd_on_many_pages)
{
	static struct actor a[CROWD];
	uint8_t *p;
	int fd = make_armed(&p, CROWD, MISS);

	for (int i = 0; i < CROWD; i++) {
		start_write(&a[i], p + i * PAGE + i, i);
		message(fd, MSG_WRITE, p + i * PAGE);
	}
	for (int i = CROWD - 1; i >= 0; i--) {
		fill(fd, p + i * PAGE, 0xf0);
		finished(&a[i]);
		EQ(p[i * PAGE + i], i);
		EQ(p[i * PAGE + i + 1], 0xf0);
	}
}

ROW(s11_many_contexts)
{
	enum { CONTEXTS = 100 };
	uint8_t *p = map_pages(CONTEXTS);
	int fd[CONTEXTS];

	for (int i = 0; i < CONTEXTS; i++) {
		fd[i] = uffd_new(0);
		arm(fd[i], p + i * PAGE, 1, MISS);
	}
	for (int i = CONTEXTS - 1; i >= 0; i--)
		read_misses(fd[i], p + i * PAGE, i);
	for (int i = 0; i < CONTEXTS; i++)
		EQ(close(fd[i]), 0);
}

ROW(s11_open_and_close_many_times)
{
	uint8_t *p = map_pages(2);

	for (int i = 0; i < 500; i++) {
		int fd = uffd_new(0);

		arm(fd, p, 2, MISS | WP);
		EQ(probe_copy(fd, p, i), i ? EEXIST : 0);
		protect(fd, p, 1);
		EQ(close(fd), 0);
	}
	EQ(access_write(p, 9, NULL), 0);
}

ROW(s22_register_huge_sparse_range)
{
	size_t bytes = 64ul << 30;
	uint8_t *p = mmap(NULL, bytes, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int fd = uffd_new(0);

	if (p == MAP_FAILED)
		row_skip("64 GiB of address space are not to be had: %s", strerror(errno));
	EQ(try_register(fd, p, bytes, MISS | WP, NULL), 0);
	for (size_t at = 0; at < bytes; at += (7ul << 30) + 12345 * PAGE)
		read_misses(fd, p + at, 0x5d);
	protect(fd, p, bytes / PAGE);
	write_traps(fd, p, 1);
	EQ(try_unregister(fd, p, bytes), 0);
	EQ(access_write(p + (1ul << 30), 1, NULL), 0);
	EQ(munmap(p, bytes), 0);
}

/* Scattered fills, then everything checked: no page opens for its neighbour. */
ROW(s25_every_other_page)
{
	uint8_t *p;
	int fd = make_armed(&p, 400, MISS);

	for (int i = 0; i < 400; i += 2)
		fill(fd, p + i * PAGE, i);
	for (int i = 0; i < 400; i += 2)
		CHECK(page_is(p + i * PAGE, i));
	no_message(fd);
	for (int i = 1; i < 400; i += 40)
		read_misses(fd, p + i * PAGE, i);
}

/* ---- odds and ends of descriptors ------------------------------------------------------------------------------------------ */

ROW(s11_fionbio)
{
	int fd = uffd_new(0), off = 0, on = 1;

	EQ(ioctl(fd, FIONBIO, &off), 0);
	EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	EQ(ioctl(fd, FIONBIO, &on), 0);
	EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
}

ROW(s11_descriptor_name)
{
	char path[64], name[64] = {0};

	if (target.engine)
		row_skip("the views of /proc come later");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", uffd_new(0));
	CHECK(readlink(path, name, sizeof(name) - 1) > 0);
	EQ(strcmp(name, "anon_inode:[userfaultfd]"), 0);
}

ROW(s34_poll_for_output_only)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};

	start_read(&a, p);
	CHECK(msg_pending(fd));
	EQ(poll(&pfd, 1, 0), 0);
	pfd.events = POLLIN | POLLOUT;
	EQ(poll(&pfd, 1, 0), 1);
	EQ(pfd.revents, POLLIN);
	message(fd, MSG_READ, p);
	fill(fd, p, 1);
	finished(&a);
}

ROW(s34_poll_among_others)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS), idle = uffd_new(0), fds[2];
	struct pollfd pfd[4];

	pipe_pair(fds);
	pipe_tell(fds);
	pfd[0] = (struct pollfd){.fd = idle, .events = POLLIN};
	pfd[1] = (struct pollfd){.fd = fds[0], .events = POLLIN};
	pfd[2] = (struct pollfd){.fd = fd, .events = POLLIN};
	pfd[3] = (struct pollfd){.fd = -1, .events = POLLIN};
	start_read(&a, p);
	CHECK(msg_pending(fd));
	EQ(poll(pfd, 4, 0), 2);
	EQ(pfd[0].revents, 0);
	EQ(pfd[1].revents, POLLIN);
	EQ(pfd[2].revents, POLLIN);
	EQ(pfd[3].revents, 0);
	message(fd, MSG_READ, p);
	EQ(poll(pfd, 4, 0), 1);
	fill(fd, p, 1);
	finished(&a);
}

/* Edge-triggered: one report for each arrival, none for what lies there already. */
ROW(s34_epoll_edge_triggered)
{
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET}, got;
	struct actor a = {0}, b = {0};
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS), ep = epoll_create1(EPOLL_CLOEXEC);

	EQ(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), 0);
	start_read(&a, p);
	EQ(epoll_wait(ep, &got, 1, PROMPT_MS), 1);
	EQ(epoll_wait(ep, &got, 1, 0), 0);
	start_read(&b, p + PAGE);
	EQ(epoll_wait(ep, &got, 1, PROMPT_MS), 1);
	zeropage(fd, p, 2);
	finished(&a);
	finished(&b);
}

ROW(s34_epoll_after_dup)
{
	struct epoll_event ev = {.events = EPOLLIN}, got;
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS), copy = dup(fd), ep = epoll_create1(EPOLL_CLOEXEC);

	EQ(epoll_ctl(ep, EPOLL_CTL_ADD, copy, &ev), 0);
	start_read(&a, p);
	EQ(epoll_wait(ep, &got, 1, PROMPT_MS), 1);
	message(fd, MSG_READ, p); /* read through the other one */
	EQ(epoll_wait(ep, &got, 1, 0), 0);
	fill(fd, p, 1);
	finished(&a);
}

static void do_ppoll(struct actor *a)
{
	struct pollfd p = {.fd = a->fd, .events = POLLIN};
	sigset_t mask;

	sigemptyset(&mask);
	a->ret = ppoll(&p, 1, &(struct timespec){PROMPT_MS / 1000, 0}, &mask);
	a->err = errno;
}

static void nothing(int sig)
{
	(void)sig;
}

/* ppoll opens the mask for its wait only: the pending signal ends it. */
ROW(s34_ppoll_and_its_mask)
{
	struct sigaction sa = {.sa_handler = nothing};
	struct actor a = {0};
	sigset_t block;

	EQ(sigaction(SIGUSR1, &sa, NULL), 0);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	EQ(pthread_sigmask(SIG_BLOCK, &block, NULL), 0);
	a.fd = uffd_new(0);
	actor_start(&a, do_ppoll);
	pthread_kill(a.thread, SIGUSR1);
	finished(&a);
	EQ(a.ret, -1);
	EQ(a.err, EINTR);
}
