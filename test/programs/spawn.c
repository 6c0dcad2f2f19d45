/* SPDX-License-Identifier: MIT */
/* exec in every form, with armed memory in the parent: the new program finds a userfaultfd of its own. */
#include "test/programs/prog.h"
#include <spawn.h>

extern char **environ;

static int serve_one_page(void)
{
	int fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);
	char *p = map_pages(1);
	struct monitor m;

	arm(fd, p, 1, UFFDIO_REGISTER_MODE_MISSING);
	monitor_start(&m, fd, 'e');
	CHECK(p[7] == 'e');
	monitor_stop(&m);
	return m.nr_missing == 1 ? 0 : 1;
}

static void by_spawn(char *self)
{
	char *args[] = {self, "child", NULL};
	pid_t pid = -1;

	CHECK(posix_spawn(&pid, self, NULL, NULL, args, environ) == 0);
	reap(pid);
}

static void by_vfork(char *self)
{
	pid_t pid = vfork();

	if (pid == 0) {
		execl(self, self, "child", (char *)NULL);
		_exit(127);
	}
	reap(pid);
}

static void by_fork(char *self)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl(self, self, "child", (char *)NULL);
		_exit(127);
	}
	reap(pid);
}

int main(int argc, char **argv)
{
	char self[4096] = "", command[4200];
	char *p;
	int fd;

	if (argc > 1)
		return serve_one_page();
	CHECK(readlink("/proc/self/exe", self, sizeof(self) - 1) > 0);
	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);
	p = map_pages(2);
	arm(fd, p, 2, UFFDIO_REGISTER_MODE_MISSING);
	by_spawn(self);
	by_vfork(self);
	by_fork(self);
	snprintf(command, sizeof(command), "'%s' child", self);
	CHECK(system(command) == 0);
	fill(fd, (uintptr_t)p, 'f');
	CHECK(p[0] == 'f');
	return done(argv[0] ? "spawn" : "");
}
