/* SPDX-License-Identifier: MIT */
/*
 * The live machine: this process is the multiprocessor and its address space is the TLB.
 *
 * Lock order inside: tlb lock only, a leaf. Everything is async-signal-safe; see docs/live.md for the mechanisms.
 */
#pragma once
#include "machine/machine.h"

#include <signal.h>
#include <stdbool.h>

/* The one live machine of this process, ready for use; NULL and *why (may be NULL) when the host can't carry it. */
struct machine *live_machine(const char **why);

/* Counters of the machine itself. */
struct live_counts {
	uint64_t evictions; /* chunks of translations given up for the host's mapping limit */
	uint64_t fills, restricts, guards;
	uint64_t bytes; /* memory the engine holds for itself now */
};
extern struct live_counts live_counts;

/* The most host mappings that translations may cost; 0: derive it from vm.max_map_count. For tests and tuning. */
void live_set_mapping_budget(uint64_t budget);

/* Does the host allow this access to va now, as far as the machine governs va? True for memory that is not governed. */
bool live_allows(va_t va, unsigned prot);

/* The machine's own locks, around a fork. */
void live_locks_take(void);
void live_locks_drop(void);

/* ---- signals (signal.c) --------------------------------------------------------------------------------------- */

struct live_signal_hooks {
	/* A handler of the program is about to run on the thread whose stack was interrupted at sp. May be NULL. */
	void (*before_handler)(uintptr_t sp);
	/* A fault was answered: what came of it and how long it took, from delivery to return. May be NULL. */
	void (*fault_done)(enum fault_result result, uint64_t ns);
	/* Every change of a signal mask by the program is told through live_mask_changes. */
	bool masks_are_watched;
	/* libc's sigaction, not interposed */
	int (*sigaction)(int sig, const struct sigaction *act, struct sigaction *old);
};

/* Faults of the program go to as from now on: takes SIGSEGV and SIGBUS. 0 or -errno. */
int live_signals_start(struct mach_as *as, const struct live_signal_hooks *hooks);
/* The program's sigaction: its handlers run behind the engine's. 0 or -errno. */
int live_sigaction(const struct live_signal_hooks *hooks, int sig, const struct sigaction *act, struct sigaction *old);

/* A: bumped when the program changes a thread's signal mask. */
extern uint32_t live_mask_changes;

/* In a forked child. forking_tid: the parent's thread that forked. */
void live_signals_after_fork(uint32_t forking_tid);

/* Set while a signal that arrived inside the engine waits for this process to leave it. */
extern uint32_t live_deferred;
void live_deliver_deferred(void);

/* Every way out of the engine back into the program ends with this: signals that arrived meanwhile run now. */
static inline void live_engine_exit(void)
{
	if (__builtin_expect(__atomic_load_n(&live_deferred, __ATOMIC_RELAXED) != 0, 0))
		live_deliver_deferred();
}

/* ---- descriptors the machine keeps (proc.c) --------------------------------------------------------------------- */

bool live_owns_fd(int fd);
/* The program wants this number: keep ours under another one. */
void live_move_fd(int fd);
/* After fork, in the child, before anything else: descriptors that still mean the parent are opened anew. */
int live_after_fork(void);
/* Sleep helper state that must not survive into a child. */
void live_wait_reset(void);
/* In the child, which holds l for writing: the threads that waited for it are the parent's. */
void live_rwlock_after_fork(struct mach_rwlock *l);
