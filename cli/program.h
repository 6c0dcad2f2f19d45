/* SPDX-License-Identifier: MIT */
/* Finding the program to run, and telling beforehand why the shim could not get into it. */
#pragma once
#include <limits.h>

struct program {
	char path[PATH_MAX];   /* what to exec */
	char binary[PATH_MAX]; /* the ELF file that runs: path itself, or the interpreter behind its #! lines */
	char why[2 * PATH_MAX + 256]; /* a sentence, when find or check failed */
};

/* Resolve name as execvp(3) would. 0, CLI_NOT_FOUND or CLI_REFUSED. */
int program_find(struct program *p, const char *name);

/* Can the shim be loaded into it? 0 or CLI_REFUSED. */
int program_check(struct program *p);
