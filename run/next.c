/* SPDX-License-Identifier: MIT */
/*
 * Finding the next definitions, and the constructor.
 *
 * The library is linked initfirst, so its constructor runs before all others, libc's own included: the environment is
 * taken from the constructor's arguments, because getenv does not work yet. Calls can still come earlier, from the
 * program's preinit functions or from dlsym's own allocations; next() resolves on demand for the former, and for the
 * latter the slots start out as raw system calls.
 */
#include "run/run.h"
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

bool run_has_uffd;
bool run_is_dead;
bool run_next_ready;

#define X(ret, name, args, nr)                                                                                         \
	static long early_##name(long a, long b, long c, long d, long e, long f)                                       \
	{                                                                                                              \
		return run_errno((nr) < 0 ? -ENOSYS : run_raw(nr, a, b, c, d, e, f));                                  \
	}
RUN_NEXT(X)
#undef X

struct run_next run_next_table = {
#define X(ret, name, args, nr) .name = (ret(*) args)(void *)early_##name,
	RUN_NEXT(X)
#undef X
};

static const struct {
	const char *name;
	size_t slot;
} slots[] = {
#define X(ret, name, args, nr) {#name, offsetof(struct run_next, name)},
	RUN_NEXT(X)
#undef X
};

void run_next_resolve(void)
{
	static bool busy;

	if (__atomic_exchange_n(&busy, true, __ATOMIC_ACQ_REL))
		return;
	for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
		void *fn = dlsym(RTLD_NEXT, slots[i].name);

		if (fn)
			__atomic_store_n((void **)((char *)&run_next_table + slots[i].slot), fn, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&run_next_ready, true, __ATOMIC_RELEASE);
}

static const char *env_get(char **env, const char *name)
{
	size_t len = strlen(name);

	for (; env && *env; env++)
		if (!strncmp(*env, name, len) && (*env)[len] == '=')
			return *env + len + 1;
	return NULL;
}

static void say(const char *text, const char *detail)
{
	const char *parts[] = {"faultline: ", text, detail, "\n"};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		run_raw(SYS_write, 2, (long)parts[i], (long)strlen(parts[i]), 0, 0, 0);
}

static void start_engine(void)
{
	const char *why;

	if (fl_start() == 0)
		return;
	run_is_dead = true;
	why = fl_probe();
	say("the engine cannot start, userfaultfd will answer ENOSYS: ", why ? why : "out of memory");
}

__attribute__((constructor)) static void run_init(int argc, char **argv, char **env)
{
	const char *stats = env_get(env, "FAULTLINE_STATS");

	run_next_resolve();
	fl_set_libc(&(struct fl_libc){
		.sigaction = run_next_table.sigaction,
		.poll = run_next_table.poll,
		.ppoll = run_next_table.ppoll,
		.fork = next()->fork,
	});
	/* A program that changed its user cannot open the file any more; its faults are then not counted. */
	if (stats && *stats)
		(void)fl_stats_attach(stats);
	start_engine();
	run_fork_init();
}
