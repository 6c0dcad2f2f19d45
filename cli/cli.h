/* SPDX-License-Identifier: MIT */
/* The subcommands of faultline. Each gets its own name as argv[0] and returns the exit status. */
#pragma once

/* Exit statuses of faultline itself; any other is the program's. */
enum {
	CLI_USAGE = 125,     /* the command line is wrong, or something of our own failed */
	CLI_REFUSED = 126,   /* the program is there but cannot be run this way */
	CLI_NOT_FOUND = 127, /* there is no such program */
};

int cmd_run(int argc, char **argv);
int cmd_bench(int argc, char **argv);
