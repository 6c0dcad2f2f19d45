/* SPDX-License-Identifier: MIT */
/* Without a handler a crash kills, with the signal it would always have: SIGSEGV, or SIGBUS where the feature says so. */
#include "test/programs/prog.h"
#include <sys/resource.h>

enum how { UNMAPPED, READ_ONLY, SIGBUS_FEATURE, RESET_HANDLER, IGNORED, NR };

static void on_segv(int sig)
{
	(void)sig; /* SA_RESETHAND: the second time kills */
}

static void crash(enum how how)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, how == SIGBUS_FEATURE ? UFFD_FEATURE_SIGBUS : 0);
	struct sigaction act = {.sa_handler = how == IGNORED ? SIG_IGN : on_segv, .sa_flags = (int)SA_RESETHAND};
	volatile char *mem = map_pages(4), *ro = map_pages(1);

	arm(fd, (char *)mem, 4, UFFDIO_REGISTER_MODE_MISSING);
	if (how == RESET_HANDLER || how == IGNORED)
		sigaction(SIGSEGV, &act, NULL);
	if (how == READ_ONLY || how == RESET_HANDLER)
		mprotect((char *)ro, PAGE, PROT_READ);
	else
		munmap((char *)ro, PAGE);
	if (how == SIGBUS_FEATURE)
		mem[PAGE] = 1;
	ro[3] = 1;
	_exit(9);
}

int main(void)
{
	static const int want[NR] = {SIGSEGV, SIGSEGV, SIGBUS, SIGSEGV, SIGSEGV};
	struct rlimit none = {0, 0};
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);

	setrlimit(RLIMIT_CORE, &none);
	close(fd);
	for (enum how how = 0; how < NR; how++) {
		pid_t pid = fork();
		int status = -1;

		if (pid == 0)
			crash(how);
		CHECK(waitpid(pid, &status, 0) == pid);
		if (!WIFSIGNALED(status) || WTERMSIG(status) != want[how])
			printf("case %d: status %#x\n", how, (unsigned)status);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == want[how]);
	}
	return done("crash_default");
}
