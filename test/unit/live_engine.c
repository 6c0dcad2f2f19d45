/* SPDX-License-Identifier: MIT */
/* The engine on the live process through the library: what it costs in memory, and that it gives everything back. */
#include "include/faultline/faultline.h"
#include "machine/live/live.h"

#include <check.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define MANAGED (256ul << 20)

static int open_uffd(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
	int fd = fl_userfaultfd(O_CLOEXEC | O_NONBLOCK);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fl_ioctl(fd, UFFDIO_API, &api), 0);
	return fd;
}

static char *arm(int fd, size_t len, int mode)
{
	char *p = fl_mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct uffdio_register r = {.range = {(uintptr_t)p, len}, .mode = (unsigned)mode};

	ck_assert_ptr_ne(p, MAP_FAILED);
	ck_assert_int_eq(fl_ioctl(fd, UFFDIO_REGISTER, &r), 0);
	return p;
}

static void zeropage(int fd, char *p, size_t len)
{
	struct uffdio_zeropage z = {.range = {(uintptr_t)p, len}};

	ck_assert_int_eq(fl_ioctl(fd, UFFDIO_ZEROPAGE, &z), 0);
	ck_assert_int_eq(z.zeropage, (long)len);
}

static void protect(int fd, char *p, size_t len, int on)
{
	struct uffdio_writeprotect w = {.range = {(uintptr_t)p, len}, .mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0};

	ck_assert_int_eq(fl_ioctl(fd, UFFDIO_WRITEPROTECT, &w), 0);
}

/* An entry for every page and, after every other page was resolved, tags for every page too. */
START_TEST(metadata_is_below_two_percent)
{
	int fd = open_uffd();
	uint64_t before = live_counts.bytes;
	char *p = arm(fd, MANAGED, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);

	zeropage(fd, p, MANAGED);
	protect(fd, p, MANAGED, 1);
	for (size_t at = 0; at < MANAGED; at += 64 * PAGE)
		protect(fd, p + at, PAGE, 0);
	ck_assert_int_eq(fl_check(), 0);
	ck_assert_uint_gt(live_counts.bytes, before);
	ck_assert_uint_le((live_counts.bytes - before) * 100, MANAGED * 2);
	ck_assert_int_eq(fl_close(fd), 0);
	ck_assert_int_eq(fl_munmap(p, MANAGED), 0);
}
END_TEST

/* Registering, filling and closing over and over does not grow the engine. */
START_TEST(nothing_is_kept)
{
	uint64_t bytes[2];

	for (int round = 0; round < 64; round++) {
		int fd = open_uffd();
		char *p = arm(fd, 8ul << 20, UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP);

		for (size_t at = 0; at < 8ul << 20; at += 3 * PAGE)
			zeropage(fd, p + at, PAGE);
		protect(fd, p, 8ul << 20, 1);
		if (round & 1)
			ck_assert_int_eq(fl_munmap(p, 8ul << 20), 0);
		ck_assert_int_eq(fl_close(fd), 0);
		if (!(round & 1))
			ck_assert_int_eq(fl_munmap(p, 8ul << 20), 0);
		ck_assert_int_eq(fl_check(), 0);
		if (round == 7)
			bytes[0] = live_counts.bytes;
	}
	bytes[1] = live_counts.bytes;
	ck_assert_uint_eq(bytes[0], bytes[1]);
}
END_TEST

/* However small the budget of host mappings: all pages keep what they hold and what they may do. */
START_TEST(mapping_budget_of_twenty)
{
	int fd = open_uffd();
	size_t len = 64ul << 20;
	char *p = arm(fd, len, UFFDIO_REGISTER_MODE_WP);

	live_set_mapping_budget(20);
	for (size_t at = 0; at < len; at += PAGE)
		p[at] = (char)(at / PAGE);
	protect(fd, p, len, 1);
	for (size_t at = 0; at < len; at += 2 * PAGE) {
		protect(fd, p + at, PAGE, 0);
		p[at]++;
	}
	for (size_t at = 0; at < len; at += PAGE)
		ck_assert_int_eq(p[at], (char)(at / PAGE + (at / PAGE % 2 == 0)));
	ck_assert_uint_gt(live_counts.evictions, 0);
	ck_assert_int_eq(fl_check(), 0);
	ck_assert_int_eq(fl_close(fd), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("the engine on the live process");
	TCase *tc = tcase_create("memory");
	SRunner *runner;
	int failed;

	if (fl_probe()) {
		printf("skipped: %s\n", fl_probe());
		return 77;
	}
	tcase_add_test(tc, metadata_is_below_two_percent);
	tcase_add_test(tc, nothing_is_kept);
	tcase_add_test(tc, mapping_budget_of_twenty);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
