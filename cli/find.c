/* SPDX-License-Identifier: MIT */
/* Files that belong to this program: beside it in a build, in ../lib/faultline of an installed tree, or where it was meant to go. */
#include "cli/cli.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool cli_find(const char *built, const char *installed, int mode, char out[PATH_MAX])
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	char *slash;

	exe[n > 0 ? n : 0] = 0;
	slash = strrchr(exe, '/');
	if (slash) {
		*slash = 0;
		if (snprintf(out, PATH_MAX, "%s/%s", exe, built) < PATH_MAX && access(out, mode) == 0)
			return true;
		if (snprintf(out, PATH_MAX, "%s/../lib/faultline/%s", exe, installed) < PATH_MAX && access(out, mode) == 0)
			return true;
	}
#ifdef FL_LIBDIR
	return snprintf(out, PATH_MAX, "%s/%s", FL_LIBDIR, installed) < PATH_MAX && access(out, mode) == 0;
#else
	return false;
#endif
}
