/* SPDX-License-Identifier: MIT */
/* What a SIGBUS handler does to the signal mask ends with it, and what it writes into the saved context holds. */
#include "test/programs/prog.h"

#include <ucontext.h>

#define N 8

static int fd;
static int how;

static void fill_at(uintptr_t addr)
{
	struct uffdio_zeropage z = {.range = {addr & ~(uintptr_t)(PAGE - 1), PAGE}};

	CHECK(ioctl(fd, UFFDIO_ZEROPAGE, &z) == 0);
}

static bool is_blocked(int sig)
{
	sigset_t now;

	CHECK(sigprocmask(SIG_BLOCK, NULL, &now) == 0);
	return sigismember(&now, sig);
}

static void on_bus(int sig, siginfo_t *si, void *ucv)
{
	ucontext_t *uc = ucv;
	sigset_t set;

	(void)sig;
	fill_at((uintptr_t)si->si_addr);
	sigemptyset(&set);
	sigaddset(&set, how == 1 ? SIGUSR2 : SIGUSR1);
	if (how == 0)
		CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && is_blocked(SIGUSR1));
	if (how == 1)
		CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0 && !is_blocked(SIGUSR2));
	if (how == 2)
		CHECK(is_blocked(SIGHUP));
	if (how == 3)
		sigaddset(&uc->uc_sigmask, SIGUSR1);
}

int main(void)
{
	struct sigaction act = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
	volatile char *mem;
	sigset_t set;

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_SIGBUS);
	mem = map_pages(N);
	arm(fd, (char *)mem, N, UFFDIO_REGISTER_MODE_MISSING);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	CHECK(sigprocmask(SIG_SETMASK, &set, NULL) == 0);
	for (how = 0; how < 4; how++) {
		sigemptyset(&act.sa_mask);
		if (how == 2)
			sigaddset(&act.sa_mask, SIGHUP);
		CHECK(sigaction(SIGBUS, &act, NULL) == 0);
		mem[how * PAGE] = 1;
		CHECK(is_blocked(SIGUSR1) == (how == 3));
		CHECK(is_blocked(SIGUSR2));
		CHECK(!is_blocked(SIGHUP));
	}
	return done("handler_masks");
}
