/* SPDX-License-Identifier: MIT */
/* The faultline program: picks the subcommand. */
#include "cli/cli.h"
#include "include/faultline/faultline.h"
#include <stdio.h>
#include <string.h>

#pragma weak cmd_bench

static const struct {
	const char *name, *help;
	int (*run)(int argc, char **argv);
} commands[] = {
	{"run", "run a program with userfaultfd served by the engine", cmd_run},
	{"bench", "measure the engine against the kernel", cmd_bench},
};

#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_usage(FILE *f)
{
	fputs("usage: faultline [--version | --help] COMMAND [ARGS]\n\n", f);
	for (size_t i = 0; i < NR_COMMANDS; i++)
		if (commands[i].run)
			fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].help);
	fputs("\n`faultline COMMAND --help` describes a command.\n", f);
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;

	if (!name) {
		print_usage(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
		print_usage(stdout);
		return 0;
	}
	if (!strcmp(name, "--version")) {
		printf("faultline %s\n", fl_version());
		return 0;
	}
	for (size_t i = 0; i < NR_COMMANDS; i++)
		if (commands[i].run && !strcmp(name, commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "faultline: no command '%s'\n", name);
	print_usage(stderr);
	return CLI_USAGE;
}
