/* SPDX-License-Identifier: MIT */
/* The counters of a run: the shared file they live in, and the two ways to print them. */
#pragma once
#include "include/faultline/faultline.h"
#include <limits.h>
#include <stdio.h>

struct stats_file {
	char path[PATH_MAX]; /* empty: none */
	struct fl_stats *counters;
};

/* Make the file that fl_stats_attach finds by name. 0 or -errno. */
int stats_create(struct stats_file *f);

/* Remove the file; the counters stay readable. */
void stats_remove(struct stats_file *f);

void stats_print(FILE *out, const struct fl_stats *s);
void stats_print_json(FILE *out, const struct fl_stats *s);
