/* SPDX-License-Identifier: MIT */
/*
 * Three costs of assertion. ASSERT is O(1) and always on; DASSERT is on in debug builds (FL_DEBUG); whole-structure
 * checks (mm_check) are called by name. A broken invariant is not an error: fl_violation() reports it and does not
 * return. A machine that turns violations into outcomes (sim) installs its own hook.
 */
#pragma once
#include "base/types.h"

typedef void (*fl_violation_fn)(const char *expr, const char *file, int line);

/* Install a hook that is called instead of the abort; it must not return (sim: unwinds the execution). NULL: abort. */
void fl_violation_hook(fl_violation_fn fn);

/* Write one line to standard error (async-signal-safe) and abort, or call the hook. */
_Noreturn void fl_violation(const char *expr, const char *file, int line);

#define ASSERT(e) (likely(e) ? (void)0 : fl_violation(#e, __FILE__, __LINE__))
#ifdef FL_DEBUG
#define DASSERT(e) ASSERT(e)
#else
#define DASSERT(e) ((void)sizeof(e))
#endif
