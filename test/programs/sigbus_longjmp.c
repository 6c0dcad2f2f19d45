/* SPDX-License-Identifier: MIT */
/* siglongjmp out of a SIGBUS handler, often: the signal mask comes back and nothing is used up. */
#include "test/programs/prog.h"
#include <setjmp.h>

#define ROUNDS 5000

static sigjmp_buf back;
static volatile int calls;

static void on_bus(int sig)
{
	(void)sig;
	calls++;
	siglongjmp(back, 1);
}

static bool can_read(volatile char *p)
{
	if (sigsetjmp(back, 1))
		return false;
	(void)*p;
	return true;
}

int main(void)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_SIGBUS);
	struct sigaction act = {.sa_handler = on_bus};
	char *mem = map_pages(4);
	sigset_t mask;

	arm(fd, mem, 4, UFFDIO_REGISTER_MODE_MISSING);
	CHECK(sigaction(SIGBUS, &act, NULL) == 0);
	for (int i = 0; i < ROUNDS; i++)
		CHECK(!can_read(mem + (i % 4) * PAGE));
	CHECK(calls == ROUNDS);
	CHECK(sigprocmask(SIG_SETMASK, NULL, &mask) == 0);
	CHECK(!sigismember(&mask, SIGBUS) && !sigismember(&mask, SIGSEGV));
	fill(fd, (uintptr_t)mem, 'x');
	CHECK(can_read(mem) && mem[1] == 'x');
	CHECK(!can_read(mem + PAGE));
	return done("sigbus_longjmp");
}
