/* SPDX-License-Identifier: MIT */
/* The subcommands of faultline. Each gets its own name as argv[0] and returns the exit status. */
#pragma once
#include <limits.h>
#include <stdbool.h>

/* Exit statuses of faultline itself; any other is the program's. */
enum {
	CLI_USAGE = 125,     /* the command line is wrong, or something of our own failed */
	CLI_REFUSED = 126,   /* the program is there but cannot be run this way */
	CLI_NOT_FOUND = 127, /* there is no such program */
};

int cmd_run(int argc, char **argv);
int cmd_bench(int argc, char **argv);

/*
 * The path of a file of ours: `built` beside this binary, else `installed` in ../lib/faultline or the folder compiled in.
 * mode as for access(2). False: nowhere.
 */
bool cli_find(const char *built, const char *installed, int mode, char out[PATH_MAX]);
