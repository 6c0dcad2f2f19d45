/* SPDX-License-Identifier: MIT */
/* COPY and ZEROPAGE (and what is common to POISON and CONTINUE): rows 32 to 48, section 2.5. */
#include "test/conformance/conform.h"

#define DONTWAKE UFFDIO_COPY_MODE_DONTWAKE
#define COPY_WP UFFDIO_COPY_MODE_WP

static uint8_t *source(size_t n)
{
	uint8_t *p = map_pages(n);

	for (size_t i = 0; i < n * PAGE; i++)
		p[i] = (uint8_t)(i * 7 + i / PAGE);
	return p;
}

static int make_armed(uint8_t **p, size_t n, uint64_t mode)
{
	int fd = uffd_new(0);

	*p = map_pages(n);
	arm(fd, *p, n, mode);
	return fd;
}

ROW(row032_copy)
{
	uint8_t *p, *src = source(3);
	int fd = make_armed(&p, 3, MISS);
	int64_t out;

	EQ(try_copy(fd, p, src, PAGE, 0, &out), 0);
	EQ(out, PAGE);
	EQ(memcmp(p, src, PAGE), 0);
	EQ(try_copy(fd, p + PAGE, src + PAGE, 2 * PAGE, 0, &out), 0);
	EQ(out, 2 * PAGE);
	EQ(memcmp(p, src, 3 * PAGE), 0);
	p[0] ^= 0xff; /* a page of its own */
	CHECK(p[0] != src[0]);
	src[1] ^= 0xff;
	CHECK(p[1] != src[1]);
}

ROW(row032_copy_large)
{
	uint8_t *p, *src = source(1000);
	int fd = make_armed(&p, 1000, MISS);
	int64_t out;

	EQ(try_copy(fd, p, src, 1000 * PAGE, 0, &out), 0);
	EQ(out, 1000 * PAGE);
	EQ(memcmp(p, src, 1000 * PAGE), 0);
}

/* The registered mode is not looked at. */
ROW(row032_copy_into_wp_only)
{
	uint8_t *p, *src = source(1);
	int fd = make_armed(&p, 1, WP);

	EQ(try_copy(fd, p, src, PAGE, 0, NULL), 0);
	EQ(memcmp(p, src, PAGE), 0);
	EQ(probe_copy(fd, p, 1), EEXIST);
}

ROW(row032_copy_answers_a_fault)
{
	struct actor reader = {0}, writer = {0};
	uint8_t *p, *src = source(2);
	int fd = make_armed(&p, 2, MISS);

	start_read(&reader, p + 100);
	message(fd, MSG_READ, p);
	EQ(try_copy(fd, p, src, PAGE, 0, NULL), 0);
	finished(&reader);
	EQ(reader.value, src[100]);
	start_write(&writer, p + PAGE + 5, 0xaa);
	message(fd, MSG_WRITE, p + PAGE);
	EQ(try_copy(fd, p + PAGE, src + PAGE, PAGE, 0, NULL), 0);
	finished(&writer);
	EQ(p[PAGE + 5], 0xaa);
	EQ(p[PAGE + 6], src[PAGE + 6]);
	no_message(fd);
}

ROW(row033_copy_twice)
{
	uint8_t *p, *src = source(2);
	int fd = make_armed(&p, 1, MISS);
	int64_t out;

	EQ(try_copy(fd, p, src, PAGE, 0, NULL), 0);
	EQ(try_copy(fd, p, src + PAGE, PAGE, 0, &out), EEXIST);
	EQ(out, -EEXIST);
	EQ(memcmp(p, src, PAGE), 0);
	EQ(try_zeropage(fd, p, PAGE, 0, &out), EEXIST);
	EQ(out, -EEXIST);
	EQ(try_poison(fd, p, PAGE, 0, &out), EEXIST);
	EQ(out, -EEXIST);
	EQ(memcmp(p, src, PAGE), 0);
}

ROW(row033_copy_eexist_wakes_nobody)
{
	struct actor reader = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	start_read(&reader, p);
	message(fd, MSG_READ, p);
	fill_mode(__FILE__, __LINE__, fd, p, 3, DONTWAKE);
	still_blocked(&reader);
	EQ(probe_copy(fd, p, 4), EEXIST);
	still_blocked(&reader);
	wake(fd, p, 1);
	finished(&reader);
	EQ(reader.value, 3);
}

ROW(row034_copy_unaligned_source)
{
	uint8_t *p, *src = source(3);
	int fd = make_armed(&p, 2, MISS);
	int64_t out;

	EQ(try_copy(fd, p, src + 123, 2 * PAGE, 0, &out), 0);
	EQ(out, 2 * PAGE);
	EQ(memcmp(p, src + 123, 2 * PAGE), 0);
}

ROW(row034_copy_bad_arguments)
{
	uint8_t *p, *src = source(2);
	int fd = make_armed(&p, 2, MISS | WP);
	struct {
		void *dst;
		const void *src;
		size_t len;
		uint64_t mode;
	} bad[] = {
		{p + 1, src, PAGE, 0},
		{p, src, PAGE - 1, 0},
		{p, src, 0, 0},
		{p, src, PAGE, 4},
		{p, src, PAGE, 1ull << 63},
		{p, (void *)TASK_SIZE_4L, PAGE, 0},
		{p, (void *)(TASK_SIZE_4L - 1), PAGE, 0},
		{p, (void *)~0ul, PAGE, 0},
		{(void *)TASK_SIZE_4L, src, PAGE, 0},
		{p, src, -PAGE, 0},
		{p, src, TASK_SIZE_4L, 0},
		{(void *)-PAGE, src, PAGE, 0},
		{(void *)-PAGE, src, 2 * PAGE, 0},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int64_t out;

		EQ(try_copy(fd, bad[i].dst, bad[i].src, bad[i].len, bad[i].mode, &out), EINVAL);
		EQ(out, UNTOUCHED);
	}
	read_misses(fd, p, 1);
}

ROW(row034_zeropage_and_poison_bad_arguments)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS | WP);
	struct {
		void *p;
		size_t len;
		uint64_t mode;
	} bad[] = {
		{p + 1, PAGE, 0},
		{p, PAGE - 1, 0},
		{p, 0, 0},
		{p, PAGE, 2},
		{p, PAGE, 4},
		{p, PAGE, 1ull << 63},
		{(void *)TASK_SIZE_4L, PAGE, 0},
		{p, -PAGE, 0},
		{p, TASK_SIZE_4L, 0},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int64_t out;

		EQ(try_zeropage(fd, bad[i].p, bad[i].len, bad[i].mode, &out), EINVAL);
		EQ(out, UNTOUCHED);
		EQ(try_poison(fd, bad[i].p, bad[i].len, bad[i].mode, &out), EINVAL);
		EQ(out, UNTOUCHED);
	}
	read_misses(fd, p, 1);
}

ROW(row035_copy_wp_without_wp)
{
	uint8_t *p, *src = source(1);
	int fd = make_armed(&p, 1, MISS);
	int64_t out;

	EQ(try_copy(fd, p, src, PAGE, COPY_WP, &out), EINVAL);
	EQ(out, -EINVAL);
	read_misses(fd, p, 1);
}

ROW(row036_fill_where_nothing_is_armed)
{
	uint8_t *p = map_pages(2), *src = source(2);
	int fd = uffd_new(0);
	int64_t out;

	EQ(try_copy(fd, p, src, PAGE, 0, &out), ENOENT);
	EQ(out, -ENOENT);
	EQ(try_zeropage(fd, p, PAGE, 0, &out), ENOENT);
	EQ(out, -ENOENT);
	EQ(try_poison(fd, p, PAGE, 0, &out), ENOENT);
	EQ(out, -ENOENT);
	EQ(access_read(p, NULL), 0);
	EQ(munmap(p - PAGE, 4 * PAGE), 0); /* and where nothing is mapped */
	EQ(try_copy(fd, p, src, PAGE, 0, &out), ENOENT);
	EQ(out, -ENOENT);
	EQ(try_zeropage(fd, p, PAGE, 0, &out), ENOENT);
	EQ(out, -ENOENT);
	EQ(try_poison(fd, p, PAGE, 0, &out), ENOENT);
	EQ(out, -ENOENT);
}

ROW(row036_fill_across_mappings)
{
	uint8_t *p = map_pages(3), *src = source(3);
	int fd = uffd_new(0);
	int64_t out;

	arm(fd, p, 2, MISS);
	EQ(try_copy(fd, p, src, 3 * PAGE, 0, &out), ENOENT);
	EQ(out, -ENOENT);
	EQ(try_copy(fd, p + PAGE, src, 2 * PAGE, 0, &out), ENOENT);
	EQ(out, -ENOENT);
	EQ(try_zeropage(fd, p, 3 * PAGE, 0, &out), ENOENT);
	EQ(out, -ENOENT);
	EQ(try_poison(fd, p + PAGE, 2 * PAGE, 0, &out), ENOENT);
	EQ(out, -ENOENT);
	read_misses(fd, p, 1); /* no part of it was done */
	read_misses(fd, p + PAGE, 1);
}

/* A range that begins in a hole and ends in an armed mapping. */
ROW(row036_fill_from_a_hole)
{
	uint8_t *p, *src = source(2);
	int fd = make_armed(&p, 2, MISS);
	int64_t out;

	EQ(munmap(p, PAGE), 0);
	EQ(try_copy(fd, p, src, 2 * PAGE, 0, &out), ENOENT);
	EQ(out, -ENOENT);
	read_misses(fd, p + PAGE, 1);
}

ROW(row037_copy_stops_at_an_occupied_page)
{
	struct actor first = {0}, last = {0};
	uint8_t *p, *src = source(5);
	int fd = make_armed(&p, 5, MISS);
	int64_t out;

	fill(fd, p + 3 * PAGE, 0x99);
	start_read(&first, p + PAGE);
	message(fd, MSG_READ, p + PAGE);
	start_read(&last, p + 4 * PAGE);
	message(fd, MSG_READ, p + 4 * PAGE);
	EQ(try_copy(fd, p, src, 5 * PAGE, 0, &out), EAGAIN);
	EQ(out, 3 * PAGE);
	finished(&first);
	EQ(first.value, src[PAGE]);
	EQ(memcmp(p, src, 3 * PAGE), 0);
	CHECK(page_is(p + 3 * PAGE, 0x99));
	still_blocked(&last);
	EQ(try_copy(fd, p + 3 * PAGE, src + 3 * PAGE, 2 * PAGE, 0, &out), EEXIST); /* the true reason */
	EQ(out, -EEXIST);
	fill(fd, p + 4 * PAGE, 7);
	finished(&last);
}

ROW(row037_zeropage_and_poison_stop_at_an_occupied_page)
{
	uint8_t *p;
	int fd = make_armed(&p, 8, MISS);
	int64_t out;

	fill(fd, p + 2 * PAGE, 1);
	EQ(try_zeropage(fd, p, 4 * PAGE, 0, &out), EAGAIN);
	EQ(out, 2 * PAGE);
	CHECK(page_is(p, 0) && page_is(p + PAGE, 0) && page_is(p + 2 * PAGE, 1));
	fill(fd, p + 5 * PAGE, 1);
	EQ(try_poison(fd, p + 4 * PAGE, 4 * PAGE, 0, &out), EAGAIN);
	EQ(out, PAGE);
	EQ(access_read(p + 4 * PAGE, NULL), SIGBUS);
	CHECK(page_is(p + 5 * PAGE, 1));
	read_misses(fd, p + 6 * PAGE, 2);
}

ROW(row038_copy_unreadable_source)
{
	uint8_t *p, *src = source(3);
	int fd = make_armed(&p, 3, MISS);
	int64_t out;

	EQ(mprotect(src + 2 * PAGE, PAGE, PROT_NONE), 0);
	EQ(try_copy(fd, p, src + 2 * PAGE, PAGE, 0, &out), EFAULT);
	EQ(out, -EFAULT);
	EQ(try_copy(fd, p, src + PAGE + 1, PAGE, 0, &out), EFAULT); /* its last byte */
	EQ(out, -EFAULT);
	read_misses(fd, p + 2 * PAGE, 1);
	EQ(try_copy(fd, p, src + PAGE, 2 * PAGE, 0, &out), EAGAIN);
	EQ(out, PAGE);
	EQ(memcmp(p, src + PAGE, PAGE), 0);
	read_misses(fd, p + PAGE, 1);
}

ROW(row038_copy_null_source)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);
	int64_t out;

	EQ(try_copy(fd, p, NULL, PAGE, 0, &out), EFAULT);
	EQ(out, -EFAULT);
	read_misses(fd, p, 1);
}

ROW(row038_copy_unmapped_source_with_waiter)
{
	struct actor reader = {0};
	uint8_t *p, *src = source(1);
	int fd = make_armed(&p, 1, MISS);

	EQ(munmap(src, PAGE), 0);
	start_read(&reader, p);
	message(fd, MSG_READ, p);
	EQ(try_copy(fd, p, src, PAGE, 0, NULL), EFAULT);
	still_blocked(&reader);
	fill(fd, p, 1);
	finished(&reader);
}

ROW(row039_copy_whatever_the_protection)
{
	uint8_t *none = map_prot(1, PROT_NONE), *ro = map_prot(1, PROT_READ), *src = source(1);
	int fd = uffd_new(0);

	arm(fd, none, 1, MISS);
	arm(fd, ro, 1, MISS);
	EQ(try_copy(fd, none, src, PAGE, 0, NULL), 0);
	EQ(try_copy(fd, ro, src, PAGE, 0, NULL), 0);
	EQ(memcmp(ro, src, PAGE), 0);
	EQ(access_write(ro, 1, NULL), SIGSEGV);
	EQ(access_read(none, NULL), SIGSEGV);
	EQ(mprotect(none, PAGE, PROT_READ), 0);
	EQ(memcmp(none, src, PAGE), 0);
	EQ(access_write(none, 1, NULL), SIGSEGV);
	EQ(mprotect(none, PAGE, RW), 0);
	EQ(mprotect(ro, PAGE, RW), 0);
	writes_freely(fd, none, 0x12);
	writes_freely(fd, ro, 0x12);
}

ROW(row039_zeropage_whatever_the_protection)
{
	uint8_t *none = map_prot(1, PROT_NONE), *ro = map_prot(1, PROT_READ);
	int fd = uffd_new(0);

	arm(fd, none, 1, MISS);
	arm(fd, ro, 1, MISS);
	zeropage(fd, none, 1);
	zeropage(fd, ro, 1);
	CHECK(page_is(ro, 0));
	EQ(access_write(ro, 1, NULL), SIGSEGV);
	EQ(access_read(none, NULL), SIGSEGV);
	EQ(mprotect(none, PAGE, RW), 0);
	writes_freely(fd, none, 0x12);
}

ROW(row042_copy_over_wp_marker)
{
	uint8_t *p = map_pages(2), *src = source(2);
	int fd = uffd_new(UFFD_FEATURE_WP_UNPOPULATED);
	int64_t out;

	arm(fd, p, 2, WP);
	protect(fd, p, 2);
	EQ(try_copy(fd, p, src, PAGE, 0, &out), 0); /* the bit is gone */
	EQ(out, PAGE);
	writes_freely(fd, p, 1);
	EQ(try_copy(fd, p + PAGE, src, PAGE, COPY_WP, &out), 0); /* set */
	EQ(out, PAGE);
	EQ(memcmp(p + PAGE, src, PAGE), 0);
	write_traps(fd, p + PAGE, 1);
}

ROW(row043_copy_over_poison)
{
	uint8_t *p, *src = source(1);
	int fd = make_armed(&p, 1, MISS);
	int64_t out;

	poison(fd, p, 1);
	EQ(try_copy(fd, p, src, PAGE, 0, &out), 0);
	EQ(out, PAGE);
	EQ(memcmp(p, src, PAGE), 0);
	writes_freely(fd, p, 1);
}

ROW(row043_copy_over_guard)
{
	uint8_t *p, *src = source(1);
	int fd = make_armed(&p, 1, MISS);

	guard_install(p, PAGE);
	EQ(try_zeropage(fd, p, PAGE, 0, NULL), EEXIST);
	EQ(try_poison(fd, p, PAGE, 0, NULL), EEXIST);
	EQ(try_copy(fd, p, src, PAGE, 0, NULL), 0);
	EQ(memcmp(p, src, PAGE), 0);
}

ROW(row045_copy_by_another_context)
{
	struct actor reader = {0};
	uint8_t *p;
	int a = make_armed(&p, 2, MISS), b = uffd_new(0);

	start_read(&reader, p);
	message(a, MSG_READ, p);
	fill(b, p, 0x21);
	still_blocked(&reader);
	wake(b, p, 1);
	still_blocked(&reader);
	wake(a, p, 1);
	finished(&reader);
	EQ(reader.value, 0x21);
	zeropage(b, p + PAGE, 1);
	CHECK(page_is(p + PAGE, 0));
	EQ(try_copy(b, p, p + PAGE, 2 * PAGE, 0, NULL), EEXIST);
}

/* ---- row 46: the source itself needs a monitor --------------------------------------------------------------------- */

static void do_copy(struct actor *a)
{
	int64_t out;

	a->err = try_copy(a->fd, (void *)a->addr, (void *)a->arg[0], a->arg[1], 0, &out);
	a->ret = out;
}

struct blocked_copy {
	struct actor copier;
	uint8_t *dst, *src;
	int fd, src_fd;
};

/* A COPY of one page that waits for its source, whose message was read. */
static void copy_blocks(struct blocked_copy *b)
{
	memset(b, 0, sizeof(*b));
	need_kernel_faults();
	b->fd = make_armed(&b->dst, 1, MISS);
	b->src_fd = make_armed(&b->src, 1, MISS);
	b->copier.fd = b->fd;
	b->copier.addr = b->dst;
	b->copier.arg[0] = (uintptr_t)b->src;
	b->copier.arg[1] = PAGE;
	actor_start(&b->copier, do_copy);
	message(b->src_fd, MSG_READ, b->src);
}

static void copy_ends(struct blocked_copy *b, int err)
{
	fill(b->src_fd, b->src, 0x55);
	finished(&b->copier);
	EQ(b->copier.err, err);
	EQ(b->copier.ret, err ? -err : (long)PAGE);
}

ROW(row046_copy_source_needs_a_fault)
{
	struct blocked_copy b;

	copy_blocks(&b);
	still_blocked(&b.copier);
	copy_ends(&b, 0);
	CHECK(page_is(b.dst, 0x55));
}

ROW(row046_copy_destination_unmapped_meanwhile)
{
	struct blocked_copy b;

	copy_blocks(&b);
	EQ(munmap(b.dst, PAGE), 0);
	copy_ends(&b, ENOENT);
}

ROW(row046_copy_destination_unregistered_meanwhile)
{
	struct blocked_copy b;

	copy_blocks(&b);
	disarm(b.fd, b.dst, 1);
	copy_ends(&b, ENOENT);
	EQ(access_read(b.dst, NULL), 0);
	CHECK(page_is(b.dst, 0));
}

ROW(row046_copy_destination_filled_meanwhile)
{
	struct blocked_copy b;

	copy_blocks(&b);
	fill(b.fd, b.dst, 0x11);
	copy_ends(&b, EEXIST);
	CHECK(page_is(b.dst, 0x11));
}

/* The same context serves both ends. */
ROW(row046_copy_within_one_context)
{
	struct actor copier = {0};
	uint8_t *p;
	int fd;

	need_kernel_faults();
	fd = make_armed(&p, 2, MISS);
	copier.fd = fd;
	copier.addr = p;
	copier.arg[0] = (uintptr_t)p + PAGE;
	copier.arg[1] = PAGE;
	actor_start(&copier, do_copy);
	message(fd, MSG_READ, p + PAGE);
	fill(fd, p + PAGE, 0x61);
	finished(&copier);
	EQ(copier.err, 0);
	CHECK(page_is(p, 0x61));
}

/* ---- ZEROPAGE -------------------------------------------------------------------------------------------------------- */

ROW(row048_zeropage)
{
	uint8_t *p;
	int fd = make_armed(&p, 3, MISS);
	int64_t out;

	EQ(try_zeropage(fd, p, 2 * PAGE, 0, &out), 0);
	EQ(out, 2 * PAGE);
	CHECK(page_is(p, 0) && page_is(p + PAGE, 0));
	EQ(try_zeropage(fd, p, PAGE, 0, &out), EEXIST);
	EQ(out, -EEXIST);
	writes_freely(fd, p, 0x44);
	CHECK(page_is(p + PAGE, 0));
	read_misses(fd, p + 2 * PAGE, 1);
}

ROW(row048_zeropage_answers_a_fault)
{
	struct actor reader = {0}, writer = {0};
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);

	start_read(&reader, p + 1);
	message(fd, MSG_READ, p);
	start_write(&writer, p + PAGE + 1, 0x66);
	message(fd, MSG_WRITE, p + PAGE);
	zeropage(fd, p, 2);
	finished(&reader);
	finished(&writer);
	EQ(reader.value, 0);
	EQ(p[PAGE], 0);
	EQ(p[PAGE + 1], 0x66);
	no_message(fd);
}

ROW(row048_zeropage_dontwake)
{
	struct actor reader = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	start_read(&reader, p);
	message(fd, MSG_READ, p);
	EQ(try_zeropage(fd, p, PAGE, UFFDIO_ZEROPAGE_MODE_DONTWAKE, NULL), 0);
	still_blocked(&reader);
	EQ(try_zeropage(fd, p, PAGE, 0, NULL), EEXIST);
	still_blocked(&reader);
	wake(fd, p, 1);
	finished(&reader);
}

ROW(row048_zeropage_over_wp_marker)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(UFFD_FEATURE_WP_UNPOPULATED);
	int64_t out;

	arm(fd, p, 2, WP);
	protect(fd, p, 1);
	EQ(try_zeropage(fd, p, PAGE, 0, &out), EEXIST);
	EQ(out, -EEXIST);
	EQ(try_zeropage(fd, p + PAGE, PAGE, 0, &out), 0);
	write_traps(fd, p, 1); /* the marker is still there */
}

/* ---- the common sequence, step by step ------------------------------------------------------------------------------- */

ROW(s25_mode_is_checked_before_the_mapping)
{
	uint8_t *p = map_pages(1), *src = source(1);
	int fd = uffd_new(0);
	int64_t out;

	EQ(try_copy(fd, p, src, PAGE, 8, &out), EINVAL); /* not ENOENT */
	EQ(out, UNTOUCHED);
	EQ(try_copy(fd, p, src, PAGE, COPY_WP, &out), ENOENT); /* ENOENT before "not registered for WP" */
	EQ(out, -ENOENT);
}

ROW(s25_bad_source_is_found_before_the_page_is_taken)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);
	int64_t out;

	fill(fd, p, 1);
	/* The copy is made first: an unreadable source is reported even where the page is taken. */
	EQ(try_copy(fd, p, map_prot(1, PROT_NONE), PAGE, 0, &out), EFAULT);
	EQ(out, -EFAULT);
	CHECK(page_is(p, 1));
}

ROW(s25_continue_on_anonymous_memory)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS | WP);
	int64_t out;

	EQ(try_continue(fd, p, PAGE, 0, &out), EINVAL);
	CHECK(out == -EINVAL || (out == UNTOUCHED && !has(UFFD_FEATURE_MINOR_SHMEM))); /* an unknown command, there */
	read_misses(fd, p, 1);
}

ROW(s25_dontwake_keeps_the_waiter)
{
	struct actor a = {0}, b = {0};
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);

	start_read(&a, p);
	message(fd, MSG_READ, p);
	start_read(&b, p + PAGE);
	message(fd, MSG_READ, p + PAGE);
	fill_mode(__FILE__, __LINE__, fd, p, 1, DONTWAKE);
	fill_mode(__FILE__, __LINE__, fd, p + PAGE, 2, DONTWAKE);
	still_blocked(&a);
	still_blocked(&b);
	wake(fd, p + PAGE, 1);
	finished(&b);
	still_blocked(&a);
	wake(fd, p, 1);
	finished(&a);
	EQ(a.value, 1);
	EQ(b.value, 2);
}

ROW(s25_poison_dontwake)
{
	struct actor reader = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	start_read(&reader, p);
	message(fd, MSG_READ, p);
	EQ(try_poison(fd, p, PAGE, UFFDIO_POISON_MODE_DONTWAKE, NULL), 0);
	still_blocked(&reader);
	wake(fd, p, 1);
	finished_by(&reader, SIGBUS);
}

ROW(s25_copy_wp)
{
	struct actor writer = {0};
	uint8_t *p, *src = source(2);
	int fd = make_armed(&p, 2, MISS | WP);

	EQ(try_copy(fd, p, src, 2 * PAGE, COPY_WP, NULL), 0);
	EQ(memcmp(p, src, 2 * PAGE), 0); /* reads pass */
	no_message(fd);
	start_write(&writer, p + 3, 0x0f);
	message(fd, MSG_WP, p);
	EQ(memcmp(p, src, 2 * PAGE), 0);
	resolve(fd, p, 1);
	finished(&writer);
	EQ(p[3], 0x0f);
	EQ(memcmp(p + 4, src + 4, PAGE - 4), 0);
	write_traps(fd, p + PAGE, 1);
}

/* The source may be any memory: read-only, zero page, the destination's neighbour. */
ROW(s25_copy_sources)
{
	uint8_t *p, *ro = map_prot(1, PROT_READ), *fresh = map_pages(1);
	int fd = make_armed(&p, 3, MISS);

	EQ(try_copy(fd, p, ro, PAGE, 0, NULL), 0);
	CHECK(page_is(p, 0));
	EQ(try_copy(fd, p + PAGE, fresh, PAGE, 0, NULL), 0);
	CHECK(page_is(p + PAGE, 0));
	touch(p, 1, 0x3c);
	EQ(try_copy(fd, p + 2 * PAGE, p, PAGE, 0, NULL), 0);
	CHECK(page_is(p + 2 * PAGE, 0x3c));
}

/* A source that was never touched is faulted in page by page. */
ROW(s25_copy_absent_source_many_pages)
{
	uint8_t *p, *src = map_pages(64);
	int fd = make_armed(&p, 64, MISS);
	int64_t out;

	EQ(try_copy(fd, p, src, 64 * PAGE, 0, &out), 0);
	EQ(out, 64 * PAGE);
	for (int i = 0; i < 64; i++)
		CHECK(page_is(p + i * PAGE, 0));
}

/* Resolved pages stay resolved: content written later is kept, other pages still miss. */
ROW(s25_write_after_copy)
{
	uint8_t *p;
	int fd = make_armed(&p, 3, MISS);

	fill(fd, p + PAGE, 1);
	writes_freely(fd, p + PAGE, 2);
	EQ(probe_copy(fd, p + PAGE, 3), EEXIST);
	EQ(p[PAGE], 2);
	EQ(p[PAGE + 1], 1);
	read_misses(fd, p, 4);
	read_misses(fd, p + 2 * PAGE, 5);
}
