/* SPDX-License-Identifier: MIT */
/* Signals and faults together: blocked masks, a handler that runs while its thread waits, what the program reads back. */
#include "test/programs/prog.h"

static char *mem;
static int fd;
static volatile int handled;

static void on_usr1(int sig)
{
	(void)sig;
	handled++;
}

static void other(int sig)
{
	(void)sig;
}

/* Everything blocked: a fault is no signal as far as the program can tell. */
static void *touch_blocked(void *arg)
{
	sigset_t all;

	(void)arg;
	sigfillset(&all);
	CHECK(pthread_sigmask(SIG_SETMASK, &all, NULL) == 0);
	CHECK(mem[0] == 's');
	sigdelset(&all, SIGSEGV);
	CHECK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8) == 0);
	sigfillset(&all);
	CHECK(sigprocmask(SIG_BLOCK, &all, NULL) == 0);
	CHECK(mem[PAGE] == 's');
	return NULL;
}

static void *touch_third(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)mem[2 * PAGE];
}

static void get_message(struct uffd_msg *msg)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	do
		CHECK(poll(&p, 1, -1) == 1);
	while (read(fd, msg, sizeof(*msg)) != sizeof(*msg));
}

/* A signal interrupts the wait, its handler runs, the access is made again: a second message for the same page. */
static void interrupt_waiter(void)
{
	struct uffd_msg msg;
	pthread_t t;
	void *got;

	CHECK(pthread_create(&t, NULL, touch_third, NULL) == 0);
	get_message(&msg);
	CHECK(pthread_kill(t, SIGUSR1) == 0);
	get_message(&msg);
	CHECK(handled == 1 && msg.arg.pagefault.address == (uintptr_t)mem + 2 * PAGE);
	fill(fd, msg.arg.pagefault.address, 't');
	CHECK(pthread_join(t, &got) == 0 && got == (void *)(intptr_t)'t');
}

static void reads_back(void)
{
	struct sigaction act = {.sa_handler = other, .sa_flags = SA_RESTART | SA_NODEFER}, got;

	CHECK(sigaction(SIGSEGV, NULL, &got) == 0 && got.sa_handler == SIG_DFL);
	CHECK(sigaction(SIGBUS, NULL, &got) == 0 && got.sa_handler == SIG_DFL);
	CHECK(signal(SIGSEGV, other) == SIG_DFL);
	CHECK(signal(SIGSEGV, SIG_IGN) == other);
	CHECK(signal(SIGSEGV, SIG_DFL) == SIG_IGN);
	sigaddset(&act.sa_mask, SIGUSR2);
	CHECK(sigaction(SIGBUS, &act, NULL) == 0);
	CHECK(sigaction(SIGBUS, &act, &got) == 0);
	CHECK(got.sa_handler == other && sigismember(&got.sa_mask, SIGUSR2) == 1);
	CHECK((got.sa_flags & (SA_RESTART | SA_NODEFER | SA_SIGINFO)) == (SA_RESTART | SA_NODEFER));
	CHECK(signal(SIGBUS, SIG_DFL) == other);
	CHECK(signal(SIGKILL, other) == SIG_ERR && errno == EINVAL);
	CHECK(sigaction(0, NULL, &got) == -1 && errno == EINVAL);
}

int main(void)
{
	struct sigaction act = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
	struct monitor m;
	pthread_t t;

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);
	mem = map_pages(4);
	arm(fd, mem, 4, UFFDIO_REGISTER_MODE_MISSING);
	CHECK(sigaction(SIGUSR1, &act, NULL) == 0);
	monitor_start(&m, fd, 's');
	CHECK(pthread_create(&t, NULL, touch_blocked, NULL) == 0);
	CHECK(pthread_join(t, NULL) == 0);
	monitor_stop(&m);
	CHECK(m.nr_missing == 2);
	interrupt_waiter();
	reads_back();
	return done("signals");
}
