/* SPDX-License-Identifier: MIT */
/* The SIGBUS feature with a handler that fills the page and returns: no monitor, no messages. */
#include "test/programs/prog.h"

#define N 32

static int fd;
static volatile int calls;
static volatile uintptr_t seen[N + 1];

static void on_bus(int sig, siginfo_t *si, void *uc)
{
	uintptr_t addr = (uintptr_t)si->si_addr;
	struct uffdio_zeropage z = {.range = {addr & ~(uintptr_t)(PAGE - 1), PAGE}};

	(void)uc;
	CHECK(sig == SIGBUS && si->si_code == BUS_ADRERR);
	CHECK(calls < N);
	seen[calls++] = addr;
	CHECK(ioctl(fd, UFFDIO_ZEROPAGE, &z) == 0);
}

int main(void)
{
	struct sigaction act = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
	struct uffd_msg msg;
	volatile char *mem;

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_SIGBUS);
	mem = map_pages(N);
	arm(fd, (char *)mem, N, UFFDIO_REGISTER_MODE_MISSING);
	CHECK(sigaction(SIGBUS, &act, NULL) == 0);
	for (int i = 0; i < N; i++) {
		mem[i * PAGE + i] = (char)i;
		CHECK(calls == i + 1);
		CHECK(seen[i] == (uintptr_t)mem + (unsigned)i * PAGE + (unsigned)i);
		CHECK(mem[i * PAGE + i] == (char)i && mem[i * PAGE + i + 1] == 0);
	}
	CHECK(read(fd, &msg, sizeof(msg)) == -1 && errno == EAGAIN);
	return done("sigbus_handler");
}
