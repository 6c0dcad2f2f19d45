/* SPDX-License-Identifier: MIT */
/* fork without EVENT_FORK: the child's copy of armed memory is plain, the parent's stays armed. By fork, clone, syscall. */
#include "test/programs/prog.h"
#include <sched.h>

#define N 8

static char *mem;

/* Nobody monitors the child: an armed page would hang it. */
static int child(void *arg)
{
	(void)arg;
	alarm(LIMIT);
	CHECK(mem[0] == 'p');
	mem[0] = 'c'; /* protected in the parent */
	CHECK(mem[0] == 'c');
	for (int i = 1; i < N; i++) {
		CHECK(mem[i * PAGE] == 0); /* missing in the parent */
		mem[i * PAGE] = 'c';
	}
	return 0;
}

static int grandchild(void *arg)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(child(arg));
	reap(pid);
	return child(arg);
}

static char stack[65536] __attribute__((aligned(16)));

static pid_t make(int how, int (*fn)(void *))
{
	pid_t pid;

	if (how == 0)
		pid = fork();
	else if (how == 1)
		pid = (pid_t)syscall(SYS_fork);
	else if (how == 2)
		pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	else
		return clone(fn, stack + sizeof(stack), SIGCHLD, NULL);
	if (pid == 0)
		_exit(fn(NULL));
	return pid;
}

int main(void)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	struct monitor m;

	mem = map_pages(N);
	mem[0] = 'p';
	arm(fd, mem, N, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);
	protect(fd, mem, 1, true);
	for (int how = 0; how < 4; how++) {
		reap(make(how, child));
		reap(make(how, grandchild));
	}
	CHECK(mem[0] == 'p');
	monitor_start(&m, fd, 'm');
	mem[0] = 'q';
	for (int i = 1; i < N; i++)
		CHECK(mem[i * PAGE] == 'm');
	monitor_stop(&m);
	CHECK(m.nr_wp == 1 && m.nr_missing == N - 1);
	return done("fork_plain");
}
