/* SPDX-License-Identifier: MIT */
/*
 * What the kernel is asked about this process, and the one way it lets us write through protection: /proc/self/mem.
 * Descriptors are kept high, closed on exec, and opened anew in a forked child (they would still mean the parent).
 */
#include "base/assert.h"
#include "machine/live/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

static int mem_fd = -1, pagemap_fd = -1, maps_fd = -1;
static bool has_scan, has_query;
bool live_has_guards;

static int open_high(const char *path, int flags)
{
	struct rlimit lim = {.rlim_cur = 256};
	int fd = (int)sys4(SYS_openat, AT_FDCWD, (long)path, flags | O_CLOEXEC, 0), high;

	if (fd < 0)
		return fd;
	sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&lim);
	high = (int)sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, (long)(lim.rlim_cur > 64 ? min_u64(lim.rlim_cur, 1024) - 24 : 3));
	if (high < 0)
		return fd;
	sys3(SYS_close, fd, 0, 0);
	return high;
}

bool live_owns_fd(int fd)
{
	return fd >= 0 && (fd == mem_fd || fd == pagemap_fd || fd == maps_fd);
}

void live_move_fd(int fd)
{
	int *fds[] = {&mem_fd, &pagemap_fd, &maps_fd};

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		int now = *fds[i] == fd ? (int)sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, fd + 1) : -1;

		if (now >= 0)
			*fds[i] = now;
	}
}

static int open_all(void)
{
	mem_fd = open_high("/proc/self/mem", O_RDWR);
	pagemap_fd = open_high("/proc/self/pagemap", O_RDONLY);
	maps_fd = open_high("/proc/self/maps", O_RDONLY);
	return mem_fd < 0 ? mem_fd : pagemap_fd < 0 ? pagemap_fd : maps_fd < 0 ? maps_fd : 0;
}

int live_after_fork(void)
{
	int *fds[] = {&mem_fd, &pagemap_fd, &maps_fd};

	if (mem_fd < 0)
		return 0; /* nothing was opened yet */

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0)
			sys3(SYS_close, *fds[i], 0, 0);
		*fds[i] = -1;
	}
	return open_all();
}

long live_force_write(va_t dst, va_t src, uint64_t len)
{
	long r = sys4(SYS_pwrite64, mem_fd, (long)src, (long)len, (long)dst);

	if (unlikely(r == -EBADF)) { /* somebody closed it behind our back */
		mem_fd = open_high("/proc/self/mem", O_RDWR);
		r = sys4(SYS_pwrite64, mem_fd, (long)src, (long)len, (long)dst);
	}
	return r;
}

/* ---- which pages hold content ---------------------------------------------------------------------------------------------- */

#define PAGEMAP_SCAN_IOCTL 0xC0606610u
#define SCAN_PRESENT (1u << 3)
#define SCAN_SWAPPED (1u << 4)
#define SCAN_GUARD (1u << 8)

struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

struct scan_region {
	uint64_t start, end, categories;
};

#define SCAN_REGIONS 64

static long scan_some(va_t start, va_t end, struct scan_region *regions, va_t *walk_end)
{
	uint64_t guard = live_has_guards ? SCAN_GUARD : 0;
	struct scan_arg a = {
		.size = sizeof a, .start = start, .end = end, .vec = (uint64_t)(uintptr_t)regions, .vec_len = SCAN_REGIONS,
		.category_inverted = guard, .category_mask = guard, .category_anyof_mask = SCAN_PRESENT | SCAN_SWAPPED,
		.return_mask = guard,
	};
	long n = sys3(SYS_ioctl, pagemap_fd, PAGEMAP_SCAN_IOCTL, (long)&a);

	*walk_end = a.walk_end;
	return n;
}

bool live_is_guard(va_t va)
{
	struct scan_region region;
	struct scan_arg a = {
		.size = sizeof a, .start = va, .end = va + PAGE_SIZE, .vec = (uint64_t)(uintptr_t)&region, .vec_len = 1,
		.category_mask = SCAN_GUARD, .return_mask = SCAN_GUARD,
	};

	return live_has_guards && sys3(SYS_ioctl, pagemap_fd, PAGEMAP_SCAN_IOCTL, (long)&a) == 1;
}

/* Kernels before 6.7: read the entries. Bit 63 present, bit 62 swapped. */
static int scan_entries(va_t start, va_t end, mach_run_fn fn, void *arg)
{
	uint64_t entry[128];
	va_t run = end;
	int r = 0;

	for (va_t va = start; r == 0 && va < end;) {
		uint64_t n = min_u64(ARRAY_LEN(entry), (end - va) >> PAGE_SHIFT);
		long got = sys4(SYS_pread64, pagemap_fd, (long)entry, (long)(n * 8), (long)(va >> PAGE_SHIFT << 3));

		if (got < 8)
			return got < 0 ? (int)got : -EIO;
		for (long i = 0; r == 0 && i < got / 8; i++, va += PAGE_SIZE) {
			bool held = entry[i] >> 62;

			if (held && run == end) {
				run = va;
			} else if (!held && run != end) {
				r = fn(arg, run, va);
				run = end;
			}
		}
	}
	return r || run == end ? r : fn(arg, run, end);
}

static int scan_exactly(va_t start, va_t end, mach_run_fn fn, void *arg)
{
	struct scan_region regions[SCAN_REGIONS];
	int r = 0;

	if (!has_scan)
		return scan_entries(start, end, fn, arg);
	while (r == 0 && start < end) {
		long n = scan_some(start, end, regions, &start);

		if (n < 0)
			return (int)n;
		for (long i = 0; r == 0 && i < n; i++)
			r = fn(arg, regions[i].start, regions[i].end);
	}
	return r;
}

/*
 * Resident pages are found five times faster by mincore. What it calls absent may be swapped out, so that is looked at
 * again; where it is scattered, the whole batch is.
 */
#define BATCH 4096
#define FEW_ABSENT 8

struct merge {
	mach_run_fn fn;
	void *arg;
	va_t start, end; /* a run that may go on */
};

static int merge_run(void *arg, va_t start, va_t end)
{
	struct merge *m = arg;
	int r = 0;

	if (m->start < m->end && m->end != start) {
		r = m->fn(m->arg, m->start, m->end);
		m->start = start;
	} else if (m->start >= m->end) {
		m->start = start;
	}
	m->end = end;
	return r;
}

static unsigned count_runs(const unsigned char *resident, unsigned n)
{
	unsigned runs = 0;

	for (unsigned i = 0; i < n; i++)
		runs += !(resident[i] & 1) && (i == 0 || (resident[i - 1] & 1));
	return runs;
}

static int scan_batch(va_t start, unsigned n, struct merge *m)
{
	unsigned char resident[BATCH];
	int r = 0;

	if (sys3(SYS_mincore, (long)start, (long)(n * PAGE_SIZE), (long)resident) || count_runs(resident, n) > FEW_ABSENT)
		return scan_exactly(start, start + n * PAGE_SIZE, merge_run, m);
	for (unsigned i = 0, j; r == 0 && i < n; i = j) {
		va_t at = start + i * PAGE_SIZE;

		for (j = i + 1; j < n && (resident[j] & 1) == (resident[i] & 1);)
			j++;
		r = resident[i] & 1 ? merge_run(m, at, start + j * PAGE_SIZE) :
				      scan_exactly(at, start + j * PAGE_SIZE, merge_run, m);
	}
	return r;
}

int live_scan(va_t start, va_t end, mach_run_fn fn, void *arg)
{
	struct merge m = {.fn = fn, .arg = arg};
	int r = 0;

	for (va_t va = start; r == 0 && va < end; va += BATCH * PAGE_SIZE)
		r = scan_batch(va, (unsigned)min_u64(BATCH, (end - va) >> PAGE_SHIFT), &m);
	return r || m.start >= m.end ? r : fn(arg, m.start, m.end);
}

/* ---- which mappings there are ------------------------------------------------------------------------------------------------ */

#define PROCMAP_QUERY_IOCTL 0xC0686611u
#define QUERY_READABLE 1u
#define QUERY_WRITABLE 2u
#define QUERY_EXECUTABLE 4u
#define QUERY_SHARED 8u
#define QUERY_COVERING_OR_NEXT 16u

struct procmap_query {
	uint64_t size, query_flags, query_addr, vma_start, vma_end, vma_flags, vma_page_size, vma_offset, inode;
	uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
	uint64_t vma_name_addr, build_id_addr;
};

static enum mach_place_kind kind_of(bool shared, bool has_file, const char *name)
{
	static const char *const special[] = {"[vdso", "[vvar", "[vsyscall", "[uprobes"};

	if (shared)
		return MACH_PLACE_SHARED;
	for (size_t i = 0; i < ARRAY_LEN(special); i++)
		if (strncmp(name, special[i], strlen(special[i])) == 0)
			return MACH_PLACE_SPECIAL;
	return has_file ? MACH_PLACE_FILE : MACH_PLACE_ANON;
}

/* 1: *p describes the mapping at or after va; 0: none. */
static int query_next(va_t va, struct mach_place *p)
{
	char name[64] = "";
	struct procmap_query q = {
		.size = sizeof q, .query_flags = QUERY_COVERING_OR_NEXT, .query_addr = va, .vma_name_size = sizeof name,
		.vma_name_addr = (uint64_t)(uintptr_t)name,
	};
	long r = sys3(SYS_ioctl, maps_fd, PROCMAP_QUERY_IOCTL, (long)&q);

	if (r == -ENAMETOOLONG) { /* a long path: a file */
		q.vma_name_size = 0;
		q.vma_name_addr = 0;
		r = sys3(SYS_ioctl, maps_fd, PROCMAP_QUERY_IOCTL, (long)&q);
	}
	if (r)
		return r == -ENOENT ? 0 : (int)r;
	*p = (struct mach_place){.start = q.vma_start, .end = q.vma_end, .may_write = true};
	p->prot = (unsigned)(q.vma_flags & (QUERY_READABLE | QUERY_WRITABLE | QUERY_EXECUTABLE));
	p->kind = kind_of(q.vma_flags & QUERY_SHARED, q.inode || q.dev_major || q.dev_minor, name);
	return 1;
}

static int clip_and_call(struct mach_place *p, va_t start, va_t end, int (*fn)(void *, const struct mach_place *), void *arg)
{
	p->start = max_u64(p->start, start);
	p->end = min_u64(p->end, end);
	return p->start < p->end ? fn(arg, p) : 0;
}

static int query_by_ioctl(va_t start, va_t end, int (*fn)(void *, const struct mach_place *), void *arg)
{
	struct mach_place p;
	va_t at = start;
	int r;

	while ((r = query_next(at, &p)) == 1 && p.start < end) {
		at = p.end;
		r = clip_and_call(&p, start, end, fn, arg);
		if (r || at >= end)
			return r;
	}
	return r < 0 ? r : 0;
}

/* One line of /proc/self/maps: "start-end rwxp offset major:minor inode   name". */
static const char *parse_hex(const char *s, uint64_t *v)
{
	for (*v = 0;; s++) {
		unsigned d = (unsigned)(*s >= '0' && *s <= '9' ? *s - '0' : *s >= 'a' && *s <= 'f' ? *s - 'a' + 10 : 16);

		if (d == 16)
			return s;
		*v = *v << 4 | d;
	}
}

static void parse_line(const char *s, struct mach_place *p)
{
	const char *perm, *after;
	uint64_t offset, major, minor, inode;

	perm = parse_hex(parse_hex(s, &p->start) + 1, &p->end) + 1;
	after = parse_hex(parse_hex(parse_hex(perm + 5, &offset) + 1, &major) + 1, &minor);
	after = parse_hex(after + 1, &inode);
	while (*after == ' ')
		after++;
	p->prot = (perm[0] == 'r' ? MACH_PROT_R : 0) | (perm[1] == 'w' ? MACH_PROT_W : 0) | (perm[2] == 'x' ? MACH_PROT_X : 0);
	p->kind = kind_of(perm[3] == 's', inode || major || minor, after);
	p->may_write = true;
}

static int query_by_text(va_t start, va_t end, int (*fn)(void *, const struct mach_place *), void *arg)
{
	char buf[4096 + 1];
	size_t have = 0;
	long got;

	for (uint64_t at = 0; (got = sys4(SYS_pread64, maps_fd, (long)buf + (long)have, (long)(sizeof buf - 1 - have), (long)at)) > 0;
	     at += (uint64_t)got) {
		char *line = buf, *nl;

		have += (size_t)got;
		buf[have] = '\0';
		for (; (nl = memchr(line, '\n', have - (size_t)(line - buf))); line = nl + 1) {
			struct mach_place p;
			int r;

			*nl = '\0';
			parse_line(line, &p);
			if (p.start >= end)
				return 0;
			r = p.end > start ? clip_and_call(&p, start, end, fn, arg) : 0;
			if (r)
				return r;
		}
		have -= (size_t)(line - buf);
		memmove(buf, line, have);
	}
	return (int)got;
}

int live_query(va_t start, va_t end, int (*fn)(void *arg, const struct mach_place *p), void *arg)
{
	return has_query ? query_by_ioctl(start, end, fn, arg) : query_by_text(start, end, fn, arg);
}

static int permits(void *arg, const struct mach_place *p)
{
	unsigned flags = *(unsigned *)arg;
	unsigned want = flags & FAULT_WRITE ? MACH_PROT_W : flags & FAULT_EXEC ? MACH_PROT_X : MACH_PROT_NONE;

	return p->prot != MACH_PROT_NONE && (p->prot & want) == want;
}

bool live_host_permits(va_t va, unsigned flags)
{
	return live_query(page_down(va), page_down(va) + PAGE_SIZE, permits, &flags) == 1;
}

/* ---- what this kernel can do: behaviour is probed, not versions -------------------------------------------------------------- */

uint64_t live_max_map_count(void)
{
	char buf[32] = "";
	int fd = (int)sys4(SYS_openat, AT_FDCWD, (long)"/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC, 0);
	long got = fd < 0 ? 0 : sys3(SYS_read, fd, (long)buf, sizeof buf - 1);
	uint64_t v = 0;

	if (fd >= 0)
		sys3(SYS_close, fd, 0, 0);
	for (long i = 0; i < got && buf[i] >= '0' && buf[i] <= '9'; i++)
		v = v * 10 + (uint64_t)(buf[i] - '0');
	return v ? v : 65530;
}

/* Forced writes reach a page without permission; a guard is reported as such and survives. */
static const char *probe_page(char *page)
{
	struct scan_region regions[SCAN_REGIONS];
	va_t end, at = (va_t)(uintptr_t)page;
	struct mach_place p;

	has_query = query_next(at, &p) == 1 && p.start <= at;
	sys3(SYS_mprotect, (long)page, (long)PAGE_SIZE, PROT_NONE);
	if (live_force_write(at, (va_t)(uintptr_t)"x", 1) != 1)
		return "the kernel refuses writes to /proc/self/mem through page protection (proc_mem.force_override?); "
		       "Faultline fills pages that way: boot with proc_mem.force_override=always or ptrace";
	has_scan = scan_some(at, at + PAGE_SIZE, regions, &end) == 1;
	sys3(SYS_madvise, (long)page, (long)PAGE_SIZE, MADV_DONTNEED);
	if (has_scan && sys3(SYS_madvise, (long)page, (long)PAGE_SIZE, MADV_GUARD_INSTALL) == 0) {
		live_has_guards = true;
		live_has_guards = scan_some(at, at + PAGE_SIZE, regions, &end) == 0;
	}
	return NULL;
}

int live_proc_open(const char **why)
{
	char *page;
	int r = open_all();

	if (r) {
		*why = "/proc/self/mem, pagemap or maps can't be opened: mount /proc, and don't run under a non-dumpable process";
		return r;
	}
	page = live_mem_alloc(NULL, PAGE_SIZE, PAGE_SIZE);
	*why = page ? probe_page(page) : "no memory";
	live_mem_free(NULL, page, PAGE_SIZE);
	return *why ? -EOPNOTSUPP : 0;
}
