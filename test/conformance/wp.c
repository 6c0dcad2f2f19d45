/* SPDX-License-Identifier: MIT */
/* WRITEPROTECT and the life of the bit on anonymous memory: rows 109 to 133, sections 2.7 and 5. */
#include "test/conformance/conform.h"

#define PROTECT UFFDIO_WRITEPROTECT_MODE_WP
#define RESOLVE_DONTWAKE UFFDIO_WRITEPROTECT_MODE_DONTWAKE

/* n populated pages of byte, registered for WP */
static int make_wp(uint8_t **p, size_t n, int byte, uint64_t features)
{
	int fd = uffd_new(features);

	*p = map_pages(n);
	if (byte >= 0)
		touch(*p, n, byte);
	arm(fd, *p, n, WP);
	return fd;
}

/* ---- row 109: the errno table -------------------------------------------------------------------------------------- */

ROW(row109_bad_range)
{
	uint8_t *p;
	int fd = make_wp(&p, 2, 1, 0);

	EQ(try_protect(fd, p + 1, PAGE, PROTECT), EINVAL);
	EQ(try_protect(fd, p, PAGE + 1, PROTECT), EINVAL);
	EQ(try_protect(fd, p, 0, PROTECT), EINVAL);
	EQ(try_protect(fd, (void *)TASK_SIZE_4L, PAGE, PROTECT), EINVAL);
	EQ(try_protect(fd, p, -PAGE, PROTECT), EINVAL);
	EQ(try_protect(fd, p, TASK_SIZE_4L, PROTECT), EINVAL);
	writes_freely(fd, p, 2);
}

ROW(row109_bad_mode)
{
	uint8_t *p;
	int fd = make_wp(&p, 1, 1, 0);

	EQ(try_protect(fd, p, PAGE, PROTECT | RESOLVE_DONTWAKE), EINVAL);
	for (int bit = 2; bit < 64; bit++)
		EQ(try_protect(fd, p, PAGE, PROTECT | (1ull << bit)), EINVAL);
	writes_freely(fd, p, 2);
	EQ(try_protect(fd, map_pages(1), PAGE, 4), EINVAL); /* before ENOENT */
}

ROW(row109_not_registered)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);

	EQ(try_protect(fd, p, PAGE, PROTECT), ENOENT);
	EQ(try_protect(fd, p, PAGE, 0), ENOENT);
	arm(fd, p, 1, MISS);
	EQ(try_protect(fd, p, PAGE, PROTECT), ENOENT); /* registered, but not for WP */
	EQ(try_protect(fd, p, PAGE, 0), ENOENT);
	EQ(munmap(p - PAGE, 4 * PAGE), 0);
	EQ(try_protect(fd, p, PAGE, PROTECT), ENOENT); /* no VMA */
}

ROW(row109_protect_and_resolve_twice)
{
	uint8_t *p;
	int fd = make_wp(&p, 2, 1, 0);

	protect(fd, p, 2);
	protect(fd, p, 2);
	write_traps(fd, p + PAGE, 2);
	resolve(fd, p, 2);
	resolve(fd, p, 2);
	writes_freely(fd, p, 3);
	writes_freely(fd, p + PAGE, 3);
}

ROW(row110_registered_then_unregistered_tail)
{
	uint8_t *p = map_pages(3);
	int fd = uffd_new(0);

	touch(p, 3, 1);
	arm(fd, p, 2, WP);
	EQ(try_protect(fd, p, 3 * PAGE, PROTECT), ENOENT);
	write_traps(fd, p, 2); /* what came first is protected all the same */
	write_traps(fd, p + PAGE, 2);
	writes_freely(fd, p + 2 * PAGE, 2);
}

ROW(row110_unregistered_head)
{
	uint8_t *p = map_pages(3);
	int fd = uffd_new(0);

	touch(p, 3, 1);
	arm(fd, p + PAGE, 2, WP);
	EQ(try_protect(fd, p, 3 * PAGE, PROTECT), ENOENT);
	writes_freely(fd, p + PAGE, 2);
}

ROW(row110_resolve_with_an_unregistered_tail_wakes_nobody)
{
	struct actor w = {0};
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);

	touch(p, 2, 1);
	arm(fd, p, 1, WP);
	protect(fd, p, 1);
	start_write(&w, p, 2);
	message(fd, MSG_WP, p);
	EQ(try_protect(fd, p, 2 * PAGE, 0), ENOENT);
	still_blocked(&w);
	wake(fd, p, 1);
	finished(&w); /* resolved, though */
	no_message(fd);
}

ROW(row110_hole_in_range)
{
	uint8_t *p;
	int fd = make_wp(&p, 3, 1, 0);

	EQ(munmap(p + PAGE, PAGE), 0);
	protect(fd, p, 3);
	write_traps(fd, p, 2);
	write_traps(fd, p + 2 * PAGE, 2);
	EQ(munmap(p - PAGE, 2 * PAGE), 0);
	EQ(try_protect(fd, p - PAGE, 4 * PAGE, PROTECT), 0); /* begins in a hole */
	write_traps(fd, p + 2 * PAGE, 3);
}

ROW(row112_read_and_write_of_a_protected_page)
{
	struct actor w = {0};
	uint8_t *p;
	int fd = make_wp(&p, 3, 0x33, 0);

	protect(fd, p + PAGE, 1);
	CHECK(page_is(p + PAGE, 0x33));
	no_message(fd);
	start_write(&w, p + PAGE + 100, 2);
	message(fd, MSG_WP, p + PAGE);
	CHECK(page_is(p + PAGE, 0x33)); /* reads pass meanwhile */
	resolve(fd, p + PAGE, 1);
	finished(&w);
	EQ(p[PAGE + 100], 2);
	EQ(p[PAGE + 101], 0x33);
	writes_freely(fd, p, 4);
	writes_freely(fd, p + 2 * PAGE, 4);
	writes_freely(fd, p + PAGE, 4); /* resolved for good */
}

ROW(row112_resolve_dontwake_then_wake)
{
	struct actor w = {0};
	uint8_t *p;
	int fd = make_wp(&p, 1, 1, 0);

	protect(fd, p, 1);
	start_write(&w, p, 2);
	message(fd, MSG_WP, p);
	EQ(try_protect(fd, p, PAGE, RESOLVE_DONTWAKE), 0);
	still_blocked(&w);
	wake(fd, p, 1);
	finished(&w);
	EQ(p[0], 2);
	no_message(fd);
}

ROW(row112_protecting_never_wakes)
{
	struct actor w = {0};
	uint8_t *p;
	int fd = make_wp(&p, 1, 1, 0);

	protect(fd, p, 1);
	start_write(&w, p, 2);
	message(fd, MSG_WP, p);
	protect(fd, p, 1);
	still_blocked(&w);
	no_message(fd);
	wake(fd, p, 1); /* woken but unresolved: asks again */
	message(fd, MSG_WP, p);
	resolve(fd, p, 1);
	finished(&w);
}

/* The wake covers the whole range of the call, beyond what was protected. */
ROW(row112_resolve_wakes_missing_waiters_in_range)
{
	struct actor a = {0};
	uint8_t *p = map_pages(1);
	int fd = uffd_new(0);

	arm(fd, p, 1, MISS | WP);
	start_read(&a, p);
	message(fd, MSG_READ, p);
	resolve(fd, p, 1);
	message(fd, MSG_READ, p); /* nothing was filled: the retry misses again */
	fill(fd, p, 1);
	finished(&a);
}

/* ---- rows 113 to 118 --------------------------------------------------------------------------------------------------- */

ROW(row113_none_is_not_protected_by_default)
{
	uint8_t *p;
	int fd = make_wp(&p, 2, -1, 0);

	protect(fd, p, 2);
	writes_freely(fd, p, 1);
	EQ(access_read(p + PAGE, NULL), 0);
	writes_freely(fd, p + PAGE, 1);
}

ROW(row113_none_is_protected_with_wp_unpopulated)
{
	uint8_t *p;
	int fd = make_wp(&p, 2, -1, UFFD_FEATURE_WP_UNPOPULATED);

	protect(fd, p, 1);
	write_traps(fd, p + 8, 1);
	EQ(p[0], 0);
	writes_freely(fd, p + PAGE, 1); /* not in the range */
}

ROW(row113_populated_first)
{
	uint8_t *p;
	int fd;

	need_kernel_faults();
	fd = make_wp(&p, 2, -1, 0);
	EQ(madvise(p, 2 * PAGE, MADV_POPULATE_READ), 0);
	protect(fd, p, 2);
	write_traps(fd, p, 1);
	write_traps(fd, p + PAGE, 1);
}

ROW(row114_marker_resolved)
{
	uint8_t *p;
	int fd = make_wp(&p, 1, -1, UFFD_FEATURE_WP_UNPOPULATED);

	protect(fd, p, 1);
	resolve(fd, p, 1);
	writes_freely(fd, p, 1);
}

ROW(row114_marker_dontneed)
{
	uint8_t *p;
	int fd = make_wp(&p, 1, -1, UFFD_FEATURE_WP_UNPOPULATED);

	protect(fd, p, 1);
	EQ(madvise(p, PAGE, MADV_DONTNEED), 0);
	writes_freely(fd, p, 1);
}

ROW(row114_marker_read_then_written)
{
	uint8_t *p;
	int fd = make_wp(&p, 1, -1, UFFD_FEATURE_WP_UNPOPULATED);

	protect(fd, p, 1);
	EQ(access_read(p, NULL), 0);
	CHECK(page_is(p, 0));
	write_traps(fd, p, 1);
	EQ(p[1], 0);
}

ROW(row116_marker_with_both_modes)
{
	struct actor w = {0};
	uint8_t *p = map_pages(1);
	int fd = uffd_new(UFFD_FEATURE_WP_UNPOPULATED);

	arm(fd, p, 1, MISS | WP);
	protect(fd, p, 1);
	start_write(&w, p, 1);
	message(fd, MSG_WRITE, p);
	fill_mode(__FILE__, __LINE__, fd, p, 9, UFFDIO_COPY_MODE_WP);
	message(fd, MSG_WP, p);
	resolve(fd, p, 1);
	finished(&w);
	EQ(p[0], 1);
	EQ(p[1], 9);
}

ROW(row116_missing_write_answered_by_copy_wp)
{
	struct actor w = {0};
	uint8_t *p = map_pages(1);
	int fd = uffd_new(0);

	arm(fd, p, 1, MISS | WP);
	start_write(&w, p + 3, 1);
	message(fd, MSG_WRITE, p);
	fill_mode(__FILE__, __LINE__, fd, p, 9, UFFDIO_COPY_MODE_WP);
	message(fd, MSG_WP, p);
	still_blocked(&w);
	EQ(p[3], 9);
	resolve(fd, p, 1);
	finished(&w);
	EQ(p[3], 1);
}

ROW(row117_fork_shared_page)
{
	struct actor w = {0};
	uint8_t *p;
	int fd = make_wp(&p, 1, 0x11, 0), go[2];
	pid_t pid;

	pipe_pair(go);
	pid = fork_child();
	if (pid == 0) {
		pipe_await(go);
		CHECK(page_is(p, 0x11));
		EQ(access_write(p, 0x99, NULL), 0); /* the child's memory is plain */
		_exit(0);
	}
	protect(fd, p, 1);
	start_write(&w, p, 0x22);
	message(fd, MSG_WP, p);
	CHECK(page_is(p, 0x11));
	resolve(fd, p, 1);
	finished(&w);
	EQ(p[0], 0x22);
	EQ(p[1], 0x11);
	pipe_tell(go);
	child_ok(pid);
	EQ(p[0], 0x22);
	no_message(fd);
}

ROW(row118_zero_page)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);

	arm(fd, p, 2, MISS | WP);
	zeropage(fd, p, 2);
	protect(fd, p, 2);
	CHECK(page_is(p, 0));
	write_traps(fd, p + 6, 7);
	EQ(p[5], 0);
	CHECK(page_is(p + PAGE, 0)); /* a page of its own was written */
	write_traps(fd, p + PAGE, 8);
}

/* ---- row 119: fork without EVENT_FORK ------------------------------------------------------------------------------------ */

static void child_writes_freely(uint8_t *p, size_t n, int byte)
{
	pid_t pid = fork_child();

	if (pid == 0) {
		for (size_t i = 0; i < n; i++) {
			EQ(access_write(p + i * PAGE, byte, NULL), 0);
			EQ(p[i * PAGE], byte);
		}
		_exit(0);
	}
	child_ok(pid);
}

ROW(row119_fork_present)
{
	uint8_t *p;
	int fd = make_wp(&p, 2, 1, 0);

	protect(fd, p, 2);
	child_writes_freely(p, 2, 0x44);
	no_message(fd);
	CHECK(page_is(p, 1) && page_is(p + PAGE, 1));
	write_traps(fd, p, 2);
	write_traps(fd, p + PAGE, 2);
}

ROW(row119_fork_marker)
{
	uint8_t *p;
	int fd = make_wp(&p, 1, -1, UFFD_FEATURE_WP_UNPOPULATED);

	protect(fd, p, 1);
	child_writes_freely(p, 1, 0x44);
	no_message(fd);
	write_traps(fd, p, 2);
	EQ(p[1], 0);
}

ROW(row119_fork_zero_page)
{
	uint8_t *p = map_pages(1);
	int fd = uffd_new(0);

	arm(fd, p, 1, MISS | WP);
	zeropage(fd, p, 1);
	protect(fd, p, 1);
	child_writes_freely(p, 1, 0x44);
	write_traps(fd, p, 2);
}

/* ---- rows 125, 126, 131, 133 and table 5.10 -------------------------------------------------------------------------------- */

ROW(row125_mprotect_keeps_the_bit)
{
	uint8_t *p;
	int fd = make_wp(&p, 2, 1, 0);

	protect(fd, p, 2);
	EQ(mprotect(p, PAGE, PROT_READ), 0);
	EQ(access_write(p, 2, NULL), SIGSEGV);
	EQ(mprotect(p, PAGE, RW), 0);
	EQ(mprotect(p + PAGE, PAGE, PROT_NONE), 0);
	EQ(access_read(p + PAGE, NULL), SIGSEGV);
	EQ(mprotect(p + PAGE, PAGE, RW), 0);
	no_message(fd);
	write_traps(fd, p, 2);
	write_traps(fd, p + PAGE, 2);
}

ROW(row125_mprotect_keeps_the_marker)
{
	uint8_t *p;
	int fd = make_wp(&p, 1, -1, UFFD_FEATURE_WP_UNPOPULATED);

	protect(fd, p, 1);
	EQ(mprotect(p, PAGE, PROT_NONE), 0);
	EQ(mprotect(p, PAGE, RW), 0);
	write_traps(fd, p, 2);
}

/* Bits can be set and cleared while the mapping is inaccessible. */
ROW(row125_protect_in_an_inaccessible_mapping)
{
	uint8_t *p;
	int fd = make_wp(&p, 2, 1, 0);

	EQ(mprotect(p, 2 * PAGE, PROT_NONE), 0);
	protect(fd, p, 2);
	resolve(fd, p + PAGE, 1);
	EQ(access_read(p, NULL), SIGSEGV);
	EQ(mprotect(p, 2 * PAGE, RW), 0);
	write_traps(fd, p, 2);
	writes_freely(fd, p + PAGE, 2);
}

/* A resolve grants nothing that the mapping does not. */
ROW(row125_resolve_in_a_read_only_mapping)
{
	uint8_t *p;
	int fd = make_wp(&p, 1, 1, 0);

	protect(fd, p, 1);
	EQ(mprotect(p, PAGE, PROT_READ), 0);
	resolve(fd, p, 1);
	EQ(access_write(p, 2, NULL), SIGSEGV);
	EQ(mprotect(p, PAGE, RW), 0);
	writes_freely(fd, p, 2);
}

ROW(row126_mremap_without_event)
{
	uint8_t *p, *to = map_pages(2);
	int fd = make_wp(&p, 2, 1, UFFD_FEATURE_WP_UNPOPULATED);

	EQ(madvise(p + PAGE, PAGE, MADV_DONTNEED), 0);
	protect(fd, p, 2);
	CHECK(mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	CHECK(page_is(to, 1));
	EQ(probe_copy(fd, to + PAGE, 1), ENOENT); /* no longer armed */
	writes_freely(fd, to, 2);
	writes_freely(fd, to + PAGE, 2);
	arm(fd, to, 2, WP);
	writes_freely(fd, to, 3); /* and the bits are gone, not just inert */
	EQ(try_protect(fd, p, 2 * PAGE, PROTECT), ENOENT);
}

ROW(row131_guard_in_an_armed_range)
{
	uint8_t *p = map_pages(3);
	int fd = uffd_new(0);

	arm(fd, p, 3, MISS | WP);
	guard_install(p + PAGE, PAGE);
	EQ(access_read(p + PAGE, NULL), SIGSEGV);
	EQ(access_write(p + PAGE, 1, NULL), SIGSEGV);
	no_message(fd);
	read_misses(fd, p, 1);
	EQ(madvise(p + PAGE, PAGE, MADV_GUARD_REMOVE), 0);
	read_misses(fd, p + PAGE, 1);
}

ROW(row131_guard_over_an_anonymous_marker)
{
	uint8_t *p;
	int fd = make_wp(&p, 2, -1, UFFD_FEATURE_WP_UNPOPULATED);

	touch(p + PAGE, 1, 1);
	protect(fd, p, 2);
	guard_install(p, 2 * PAGE);
	EQ(access_read(p, NULL), SIGSEGV);
	EQ(access_write(p + PAGE, 1, NULL), SIGSEGV);
	EQ(madvise(p, 2 * PAGE, MADV_GUARD_REMOVE), 0);
	writes_freely(fd, p, 1); /* the marker and the bit went with the guard */
	writes_freely(fd, p + PAGE, 1);
}

static void do_populate_write(struct actor *a)
{
	a->ret = madvise((void *)a->addr, PAGE, MADV_POPULATE_WRITE);
	a->err = errno;
}

ROW(row133_populate_write_of_a_protected_page)
{
	struct actor a = {0};
	uint8_t *p;
	int fd;

	need_kernel_faults();
	fd = make_wp(&p, 1, 1, 0);
	protect(fd, p, 1);
	EQ(madvise(p, PAGE, MADV_POPULATE_READ), 0);
	no_message(fd);
	a.addr = p;
	actor_start(&a, do_populate_write);
	message(fd, MSG_WP, p);
	resolve(fd, p, 1);
	finished(&a);
	EQ(a.ret, 0);
}

ROW(s510_dontneed)
{
	uint8_t *p;
	int fd = make_wp(&p, 2, 1, 0);

	protect(fd, p, 2);
	EQ(madvise(p, PAGE, MADV_DONTNEED), 0);
	EQ(access_read(p, NULL), 0);
	CHECK(page_is(p, 0));
	writes_freely(fd, p, 2);
	write_traps(fd, p + PAGE, 2);
}

ROW(s510_cold_keeps_bit_and_marker)
{
	uint8_t *p;
	int fd = make_wp(&p, 2, 1, UFFD_FEATURE_WP_UNPOPULATED);

	EQ(madvise(p + PAGE, PAGE, MADV_DONTNEED), 0);
	protect(fd, p, 2);
	EQ(madvise(p, 2 * PAGE, MADV_COLD), 0);
	write_traps(fd, p, 2);
	write_traps(fd, p + PAGE, 2);
}

ROW(s510_madv_free_keeps_the_marker)
{
	uint8_t *p;
	int fd = make_wp(&p, 1, -1, UFFD_FEATURE_WP_UNPOPULATED);

	protect(fd, p, 1);
	EQ(madvise(p, PAGE, MADV_FREE), 0);
	write_traps(fd, p, 2);
}

ROW(s510_munmap_then_mmap_again)
{
	uint8_t *p;
	int fd = make_wp(&p, 1, 1, 0);

	protect(fd, p, 1);
	EQ(munmap(p, PAGE), 0);
	CHECK(mmap(p, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p);
	writes_freely(fd, p, 2);
	EQ(probe_copy(fd, p, 1), ENOENT);
}

ROW(s510_populate_read_turns_the_marker_into_a_page)
{
	uint8_t *p;
	int fd;

	need_kernel_faults();
	fd = make_wp(&p, 1, -1, UFFD_FEATURE_WP_UNPOPULATED);
	protect(fd, p, 1);
	EQ(madvise(p, PAGE, MADV_POPULATE_READ), 0);
	EQ(probe_copy(fd, p, 1), EEXIST);
	write_traps(fd, p, 2);
}

/* ---- more of section 2.7 and 5 --------------------------------------------------------------------------------------------- */

ROW(s27_any_context_may_protect)
{
	struct actor w = {0};
	uint8_t *p;
	int a = make_wp(&p, 1, 1, 0), b = uffd_new(0);

	protect(b, p, 1);
	start_write(&w, p, 2);
	message(a, MSG_WP, p); /* the owner is asked */
	no_message(b);
	resolve(b, p, 1);
	still_blocked(&w); /* and the owner must wake */
	wake(a, p, 1);
	finished(&w);
}

ROW(s27_two_mappings_of_two_contexts)
{
	uint8_t *p = map_pages(2);
	int a = uffd_new(0), b = uffd_new(0);

	touch(p, 2, 1);
	arm(a, p, 1, WP);
	arm(b, p + PAGE, 1, WP);
	protect(a, p, 2);
	write_traps(a, p, 2);
	write_traps(b, p + PAGE, 2);
}

ROW(s27_sub_range)
{
	uint8_t *p;
	int fd = make_wp(&p, 5, 1, 0);

	protect(fd, p, 5);
	resolve(fd, p + PAGE, 3);
	for (int i = 1; i < 4; i++)
		writes_freely(fd, p + i * PAGE, 2);
	protect(fd, p + 2 * PAGE, 1);
	write_traps(fd, p, 2);
	write_traps(fd, p + 2 * PAGE, 3);
	write_traps(fd, p + 4 * PAGE, 2);
	writes_freely(fd, p + PAGE, 4);
}

ROW(s27_large_range)
{
	uint8_t *p;
	int fd = make_wp(&p, 3000, 1, 0);

	protect(fd, p, 3000);
	for (int i = 0; i < 3000; i += 271)
		write_traps(fd, p + i * PAGE, 2);
	resolve(fd, p, 3000);
	for (int i = 0; i < 3000; i += 131)
		writes_freely(fd, p + i * PAGE, 3);
}

/* Both modes at once: missing first, then the bit that COPY set, then free. */
ROW(s32_missing_then_wp)
{
	uint8_t *p = map_pages(3);
	int fd = uffd_new(0);

	arm(fd, p, 3, MISS | WP);
	read_misses(fd, p, 1);
	writes_freely(fd, p, 2);
	protect(fd, p, 3); /* the missing ones stay missing and unprotected */
	write_traps(fd, p, 3);
	read_misses(fd, p + PAGE, 1);
	writes_freely(fd, p + PAGE, 2);
	EQ(probe_copy(fd, p + 2 * PAGE, 1), 0);
	writes_freely(fd, p + 2 * PAGE, 2);
}

/* COPY over a protected page changes nothing. */
ROW(s32_protected_page_is_present)
{
	uint8_t *p;
	int fd = make_wp(&p, 1, 1, 0);
	int64_t out;

	protect(fd, p, 1);
	EQ(probe_copy(fd, p, 9), EEXIST);
	EQ(try_zeropage(fd, p, PAGE, 0, &out), EEXIST);
	EQ(out, -EEXIST);
	CHECK(page_is(p, 1));
	write_traps(fd, p, 2);
}

/* A page protected again after a write traps again. */
ROW(s27_protect_again)
{
	uint8_t *p;
	int fd = make_wp(&p, 1, 1, 0);

	for (int round = 0; round < 5; round++) {
		protect(fd, p, 1);
		write_traps(fd, p, 0x10 + round);
		writes_freely(fd, p, 0x20 + round);
	}
}

/* Fork, then protect in the parent while the child still shares the pages, then let the child write. */
ROW(s55_child_write_does_not_lift_the_parents_bit)
{
	uint8_t *p;
	int fd = make_wp(&p, 2, 1, 0), go[2];
	pid_t pid;

	pipe_pair(go);
	pid = fork_child();
	if (pid == 0) {
		pipe_await(go);
		EQ(access_write(p, 7, NULL), 0);
		EQ(access_write(p + PAGE, 7, NULL), 0);
		_exit(0);
	}
	protect(fd, p, 2);
	pipe_tell(go);
	child_ok(pid);
	CHECK(page_is(p, 1));
	write_traps(fd, p, 2);
	write_traps(fd, p + PAGE, 2);
}
