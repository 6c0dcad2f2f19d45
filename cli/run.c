/* SPDX-License-Identifier: MIT */
/*
 * faultline run: put the shim in front of a program. Without --stats the program replaces this process, so that its
 * process id, its parent and its exit are its own. With it, this process stays to print what was counted, and passes
 * signals in and the way the program ended out.
 */
#include "cli/cli.h"
#include "cli/program.h"
#include "cli/stats.h"
#include "include/faultline/faultline.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHIM "libfaultline-run.so"

struct options {
	bool stats, verbose;
	const char *stats_path, *json_path; /* NULL: standard error; no JSON */
	FILE *stats_out, *json_out;
};

static const char usage_text[] =
	"usage: faultline run [OPTIONS] [--] PROGRAM [ARGS]\n"
	"\n"
	"Run PROGRAM with userfaultfd served by the engine in its own process: no privilege, no kernel support.\n"
	"\n"
	"  --stats[=FILE]      print what was counted when the program ends, to standard error or FILE\n"
	"  --stats-json=FILE   the same as one line of JSON\n"
	"  --verbose           say what is run and with which library\n"
	"  --check-machine     only say whether this machine can host the engine\n"
	"\n"
	"Exit status: the program's; 125 a wrong option, 126 the program cannot be run this way, 127 no such program.\n";

static int complain(const char *text, const char *detail)
{
	fprintf(stderr, "faultline run: %s%s\n", text, detail);
	return CLI_USAGE;
}

/* ---- the library ----------------------------------------------------------------------------------------------------------- */

static bool is_library(const char *path)
{
	return access(path, R_OK) == 0;
}

/* 0 or an exit status, after saying why. The path goes into LD_PRELOAD, whose separators it must not contain. */
static int find_library(char out[PATH_MAX])
{
	const char *env = getenv("FAULTLINE_LIB");

	if (env && *env) {
		if (!realpath(env, out) || !is_library(out))
			return complain("FAULTLINE_LIB names no readable file: ", env);
	} else if (!cli_find(SHIM, SHIM, R_OK, out)) {
		return complain(SHIM " is not beside faultline nor where it was installed; set FAULTLINE_LIB to its path", "");
	}
	if (strpbrk(out, " :"))
		return complain("LD_PRELOAD cannot hold a path with a space or a colon; move the library: ", out);
	return 0;
}

static bool list_has(const char *list, const char *path)
{
	size_t len = strlen(path);

	while (*list) {
		size_t n = strcspn(list, " :");

		if (n == len && !memcmp(list, path, len))
			return true;
		list += n + (list[n] != 0);
	}
	return false;
}

/* First in LD_PRELOAD, before what is there, once. */
static int preload(const char *lib)
{
	const char *old = getenv("LD_PRELOAD");
	char *value;
	int err;

	if (!old || !*old)
		return setenv("LD_PRELOAD", lib, 1);
	if (list_has(old, lib))
		return 0;
	if (asprintf(&value, "%s:%s", lib, old) < 0)
		return -1;
	err = setenv("LD_PRELOAD", value, 1);
	free(value);
	return err;
}

/* ---- the program ------------------------------------------------------------------------------------------------------------- */

/* Replaces this process; returns only the status of a failure. */
static int exec_program(const struct program *p, char **argv)
{
	execv(p->path, argv);
	fprintf(stderr, "faultline run: %s: %s\n", p->path, strerror(errno));
	return errno == ENOENT ? CLI_NOT_FOUND : CLI_REFUSED;
}

static volatile pid_t child_pid;

/* A signal from the terminal reaches the program by itself, being in the same process group. */
static void forward(int sig, siginfo_t *si, void *uc)
{
	int saved = errno;

	(void)uc;
	if (si->si_code <= 0 && child_pid > 0)
		kill(child_pid, sig);
	errno = saved;
}

static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH};

#define NR_FORWARDED (sizeof(forwarded) / sizeof(forwarded[0]))

/* Begin to forward, except what the caller ignores: the program inherits that and means it. */
static void forward_signals(struct sigaction old[NR_FORWARDED])
{
	struct sigaction act = {.sa_sigaction = forward, .sa_flags = SA_SIGINFO | SA_RESTART};

	sigemptyset(&act.sa_mask);
	for (size_t i = 0; i < NR_FORWARDED; i++) {
		sigaction(forwarded[i], NULL, &old[i]);
		if (old[i].sa_handler != SIG_IGN)
			sigaction(forwarded[i], &act, NULL);
	}
}

static void restore_signals(const struct sigaction old[NR_FORWARDED])
{
	for (size_t i = 0; i < NR_FORWARDED; i++)
		sigaction(forwarded[i], &old[i], NULL);
}

/* End as the program ended, so that whoever waits for us sees no difference. Its core, if any, was its own to write. */
static int die_like(int status)
{
	struct rlimit none = {0, 0};
	sigset_t set;
	int sig;

	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	sig = WTERMSIG(status);
	setrlimit(RLIMIT_CORE, &none);
	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	kill(getpid(), sig);
	return 128 + sig;
}

/* Signals stay blocked around fork, so that none is lost before there is a child to pass it to. */
static int run_and_wait(const struct program *p, char **argv, int *status)
{
	struct sigaction old[NR_FORWARDED];
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	forward_signals(old);
	pid = fork();
	if (pid == 0) {
		restore_signals(old);
		sigprocmask(SIG_SETMASK, &before, NULL);
		_exit(exec_program(p, argv));
	}
	child_pid = pid;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (pid < 0)
		return -errno;
	while (waitpid(pid, status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static void write_stats(const struct options *o, const struct fl_stats *counters)
{
	struct fl_stats s = *counters;

	if (o->stats) {
		stats_print(o->stats_out, &s);
		fflush(o->stats_out);
	}
	if (o->json_out) {
		stats_print_json(o->json_out, &s);
		fflush(o->json_out);
	}
}

static int run_with_stats(const struct options *o, const struct program *p, char **argv)
{
	struct stats_file f = {.path = ""};
	int err = stats_create(&f), status = 0;

	if (err)
		return complain("no file for the counters can be made in TMPDIR or /tmp: ", strerror(-err));
	setenv("FAULTLINE_STATS", f.path, 1);
	err = run_and_wait(p, argv, &status);
	stats_remove(&f);
	if (err)
		return complain("the program cannot be started: ", strerror(-err));
	write_stats(o, f.counters);
	return die_like(status);
}

/* ---- the command line ---------------------------------------------------------------------------------------------------------- */

static int check_machine(void)
{
	const char *why = fl_probe();

	printf("%s\n", why ? why : "this machine can host the engine");
	return why ? 1 : 0;
}

/* 0: go on; -1: done with *status. */
static int parse(struct options *o, int argc, char **argv, int *status)
{
	static const struct option longs[] = {
		{"stats", optional_argument, NULL, 's'}, {"stats-json", required_argument, NULL, 'j'},
		{"verbose", no_argument, NULL, 'v'},	 {"check-machine", no_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},	 {NULL, 0, NULL, 0},
	};
	int c;

	argv[0] = (char *)"faultline run"; /* how getopt's complaints begin */
	while ((c = getopt_long(argc, argv, "+h", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			o->stats = true;
			o->stats_path = optarg;
			break;
		case 'j':
			o->json_path = optarg;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'c':
			*status = check_machine();
			return -1;
		case 'h':
			fputs(usage_text, stdout);
			*status = 0;
			return -1;
		default:
			fputs(usage_text, stderr);
			*status = CLI_USAGE;
			return -1;
		}
	}
	return 0;
}

/* Open the outputs before the program runs, while a mistake costs nothing. "e": not inherited by the program. */
static int open_outputs(struct options *o)
{
	o->stats_out = o->stats_path ? fopen(o->stats_path, "we") : stderr;
	if (!o->stats_out)
		return complain("cannot write to ", o->stats_path);
	if (!o->json_path)
		return 0;
	o->json_out = fopen(o->json_path, "we");
	return o->json_out ? 0 : complain("cannot write to ", o->json_path);
}

static int prepare(struct options *o, struct program *p, const char *name)
{
	char lib[PATH_MAX];
	int ret = program_find(p, name);

	if (!ret)
		ret = program_check(p);
	if (ret) {
		fprintf(stderr, "faultline run: %s\n", p->why);
		return ret;
	}
	ret = find_library(lib);
	if (ret)
		return ret;
	if (preload(lib))
		return complain("out of memory", "");
	if (o->verbose)
		fprintf(stderr, "faultline run: program %s, binary %s, library %s\n", p->path, p->binary, lib);
	return open_outputs(o);
}

int cmd_run(int argc, char **argv)
{
	struct options o = {.stats = false};
	static struct program p;
	int ret = 0;

	if (parse(&o, argc, argv, &ret))
		return ret;
	if (optind >= argc) {
		fputs(usage_text, stderr);
		return CLI_USAGE;
	}
	ret = prepare(&o, &p, argv[optind]);
	if (ret)
		return ret;
	if (o.stats || o.json_path)
		return run_with_stats(&o, &p, argv + optind);
	return exec_program(&p, argv + optind);
}
