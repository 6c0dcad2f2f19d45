/* SPDX-License-Identifier: MIT */
/*
 * Counters: relaxed additions to a block that is this process's own, or a file shared by a process tree (`run --stats`).
 */
#include "base/types.h"
#include "lib/engine.h"
#include "machine/live/sys.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

static struct fl_stats own;
static struct fl_stats *stats = &own;
static uint64_t evictions_seen;

static void add(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static const size_t offset_of_count[COUNT_NR] = {
	[COUNT_CONTEXTS] = offsetof(struct fl_stats, contexts),
	[COUNT_RANGES] = offsetof(struct fl_stats, ranges),
	[COUNT_FAULT_MISSING] = offsetof(struct fl_stats, faults_missing),
	[COUNT_FAULT_WP] = offsetof(struct fl_stats, faults_wp),
	[COUNT_FAULT_MINOR] = offsetof(struct fl_stats, faults_minor),
	[COUNT_FAULT_SIGBUS] = offsetof(struct fl_stats, faults_sigbus),
	[COUNT_FAULT_SPURIOUS] = offsetof(struct fl_stats, faults_spurious),
	[COUNT_COPIED] = offsetof(struct fl_stats, pages_copied),
	[COUNT_ZEROED] = offsetof(struct fl_stats, pages_zeroed),
	[COUNT_PROTECTED] = offsetof(struct fl_stats, pages_protected),
	[COUNT_RESOLVED] = offsetof(struct fl_stats, pages_resolved),
	[COUNT_POISONED] = offsetof(struct fl_stats, pages_poisoned),
	[COUNT_MESSAGES_READ] = offsetof(struct fl_stats, messages_read),
	[COUNT_WAKEUPS] = offsetof(struct fl_stats, wakeups),
};

void stats_count(enum uffd_count what, uint64_t n)
{
	if (what == COUNT_RANGES)
		__atomic_store_n(&engine.active, 1, __ATOMIC_RELAXED);
	add((uint64_t *)((char *)stats + offset_of_count[what]), n);
}

/* The machine counts its evictions itself; carry over what is new. */
static void note_evictions(void)
{
	uint64_t now = __atomic_load_n(&live_counts.evictions, __ATOMIC_RELAXED);
	uint64_t seen = __atomic_exchange_n(&evictions_seen, now, __ATOMIC_RELAXED);

	if (now > seen)
		add(&stats->evictions, now - seen);
}

void stats_translated(struct mm *mm)
{
	stats_count(COUNT_FAULT_SPURIOUS, 1);
	note_evictions();
}

void stats_fault_done(enum fault_result result, uint64_t ns)
{
	unsigned bucket = ns ? 63u - (unsigned)__builtin_clzl(ns) : 0;

	add(&stats->latency_ns[bucket < FL_STATS_BUCKETS ? bucket : FL_STATS_BUCKETS - 1], 1);
	note_evictions();
}

void stats_add_fork(void)
{
	add(&stats->forks, 1);
}

void stats_add_retry(void)
{
	add(&stats->syscalls_retried, 1);
}

int fl_stats_attach(const char *path)
{
	int fd = (int)sys4(SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_CLOEXEC, 0);
	long at;

	if (fd < 0)
		return fd;
	at = sys6(SYS_mmap, 0, (long)page_up(sizeof *stats), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	sys3(SYS_close, fd, 0, 0);
	if (at < 0 && at > -4096)
		return (int)at;
	stats = (struct fl_stats *)at;
	fl_signal_hooks.fault_done = stats_fault_done;
	return 0;
}

int fl_stats_get(struct fl_stats *out, size_t size)
{
	if (!out || size != sizeof *out)
		return (int)fl_result(out ? -EINVAL : -EFAULT);
	note_evictions();
	memcpy(out, stats, sizeof *out);
	return (int)fl_result(0);
}
