/* SPDX-License-Identifier: MIT */
/* A genuine crash still calls the program's own handler, with the right address and code, armed memory or not. */
#include "test/programs/prog.h"
#include <setjmp.h>

static sigjmp_buf back;
static siginfo_t seen;
static int calls;

static void on_segv(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	CHECK(sig == SIGSEGV);
	seen = *si;
	calls++;
	siglongjmp(back, 1);
}

static void crash(volatile char *p, bool write)
{
	calls = 0;
	if (sigsetjmp(back, 1) == 0) {
		if (write)
			*p = 1;
		else
			(void)*p;
	}
}

static void expect(char *p, bool write, int code)
{
	crash(p, write);
	CHECK(calls == 1);
	CHECK(seen.si_addr == p);
	CHECK(seen.si_code == code);
}

int main(void)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	struct sigaction act = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO}, got;
	char *mem = map_pages(8), *plain = map_pages(3);
	struct uffd_msg msg;
	struct monitor m;

	arm(fd, mem, 8, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	CHECK(sigaction(SIGSEGV, &act, NULL) == 0);
	CHECK(sigaction(SIGSEGV, NULL, &got) == 0);
	CHECK(got.sa_sigaction == on_segv && (got.sa_flags & SA_SIGINFO));

	CHECK(munmap(plain + PAGE, PAGE) == 0);
	CHECK(mprotect(plain, PAGE, PROT_READ) == 0);
	expect(plain + PAGE + 5, false, SEGV_MAPERR);
	expect(plain + PAGE + 6, true, SEGV_MAPERR);
	expect(plain + 7, true, SEGV_ACCERR);
	expect((char *)8, false, SEGV_MAPERR);

	/* faults of the armed range do not reach the handler */
	calls = 0;
	monitor_start(&m, fd, 'm');
	CHECK(mem[7 * PAGE] == 'm');
	protect(fd, mem + 7 * PAGE, 1, true);
	mem[7 * PAGE] = 1;
	monitor_stop(&m);
	CHECK(calls == 0 && m.nr_missing == 1 && m.nr_wp == 1);

	/* inside the armed range: the mapping's own permission comes first, and there is no message */
	CHECK(mprotect(mem, PAGE, PROT_NONE) == 0);
	CHECK(mprotect(mem + PAGE, PAGE, PROT_READ) == 0);
	expect(mem + 9, false, SEGV_ACCERR);
	expect(mem + PAGE + 10, true, SEGV_ACCERR);
	CHECK(munmap(mem + 2 * PAGE, PAGE) == 0);
	expect(mem + 2 * PAGE + 11, false, SEGV_MAPERR);
	CHECK(read(fd, &msg, sizeof(msg)) == -1 && errno == EAGAIN);
	return done("segv_handler");
}
