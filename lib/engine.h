/* SPDX-License-Identifier: MIT */
/* The engine of this process, and what crosses files inside lib/ only. */
#pragma once
#include "lib/internal.h"
#include "machine/live/live.h"
#include "uffd/uffd.h"

#include <errno.h>

struct engine {
	struct machine *m;
	struct memory memory;
	struct mm mm;
	struct uffd_system uffds;
	uint32_t started; /* A */
	uint32_t active;  /* A: a range was registered once */
	int pid;	  /* of the process whose descriptors the table describes */
};

extern struct engine engine;
extern struct fl_libc fl_libc;
extern struct live_signal_hooks fl_signal_hooks;

/* Results on their way out: errno at the outer edge, and signals that arrived meanwhile. */
static inline long fl_result(long r)
{
	live_engine_exit();
	if (r >= 0 || r < -4095)
		return r;
	errno = (int)-r;
	return -1;
}

/* ---- descriptors (desc.c) ------------------------------------------------------------------------------------- */

/* What a descriptor refers to: the open file of Linux. */
struct desc {
	uint32_t refs;	      /* A: descriptors and calls in flight */
	struct uffd_ctx *ctx; /* C: NULL: /dev/userfaultfd */
	int event_fd;	      /* A: a descriptor of the eventfd, any of its numbers; -1: all closed */
	uint32_t nonblock;    /* A: the file status flag, shared by all duplicates */
	uint32_t watched;     /* A: how many wait on it in the kernel; epoll never stops */
	struct mach_lock ready_lock;
	bool signalled;	      /* ready_lock: the eventfd's count is not zero */
};

/* A new userfaultfd: its number or -errno. */
int desc_new_uffd(int flags);

/* The open file behind fd with a reference, or NULL. Drop it with desc_put. */
struct desc *desc_get(int fd);
void desc_put(struct desc *d);
/* Make the kernel's idea of readiness true, and keep it so until desc_unwatch. */
void desc_watch(struct desc *d);
void desc_unwatch(struct desc *d);
void desc_locks_take(void);
void desc_locks_drop(void);
void desc_readiness(struct uffd_ctx *ctx);

/* ---- counters (stats.c) ------------------------------------------------------------------------------------------ */

void stats_count(enum uffd_count what, uint64_t n);
void stats_translated(struct mm *mm);
void stats_fault_done(enum fault_result result, uint64_t ns);
void stats_add_fork(void);
void stats_add_retry(void);
