/* SPDX-License-Identifier: MIT */
/* The part of the machine's contract about memory that a program brought, for machines that have a host. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "test/machine/contract.h"

#define M contract_machine
#define RW (MACH_PROT_R | MACH_PROT_W)

static uint32_t faults;
static struct mach_as *as;

static enum fault_result open_for_all(va_t va, unsigned flags)
{
	mach_add32(M, &faults, 1);
	fx->allow(va, RW);
	return FAULT_DONE;
}

/* The fixture's own program memory is not used here, but its fault handler is: give it a range that spans ours. */
static va_t new_pages(unsigned n)
{
	va_t at = fx->map(n, open_for_all);

	as = fx->as();
	faults = 0;
	ck_assert_int_eq(madvise((void *)(uintptr_t)at, n * PAGE_SIZE, MADV_NOHUGEPAGE), 0);
	return at;
}

/* The same, with nothing in them and not governed yet. */
static va_t empty_pages(unsigned n)
{
	va_t at = new_pages(n);

	M->ops->place_detach(as, at, at + n * PAGE_SIZE, RW);
	ck_assert_int_eq(madvise((void *)(uintptr_t)at, n * PAGE_SIZE, MADV_DONTNEED), 0);
	return at;
}

/* Runs of pages as the machine reports them. */
static struct {
	va_t start, end;
} runs[64];
static unsigned nr_runs;

static int note_run(void *arg, va_t start, va_t end)
{
	ck_assert_uint_lt(nr_runs, 64);
	ck_assert(is_page_aligned(start) && is_page_aligned(end) && start < end);
	if (nr_runs && runs[nr_runs - 1].end == start) { /* one run may be reported in pieces */
		runs[nr_runs - 1].end = end;
		return 0;
	}
	if (nr_runs)
		ck_assert_uint_gt(start, runs[nr_runs - 1].end);
	runs[nr_runs].start = start;
	runs[nr_runs++].end = end;
	return 0;
}

static void expect_run(unsigned i, va_t start, va_t end)
{
	ck_assert_uint_lt(i, nr_runs);
	ck_assert_uint_eq(runs[i].start, start);
	ck_assert_uint_eq(runs[i].end, end);
}

static va_t page(va_t at, unsigned i)
{
	return at + i * PAGE_SIZE;
}

/* ---- query ----------------------------------------------------------------------------------------------------- */

static struct mach_place places[8];
static unsigned nr_places;

static int note_place(void *arg, const struct mach_place *p)
{
	ck_assert_uint_lt(nr_places, 8);
	places[nr_places++] = *p;
	return arg ? *(int *)arg : 0;
}

static void map_at(va_t va, unsigned n, int prot, int flags, int fd)
{
	void *p = mmap((void *)(uintptr_t)va, n * PAGE_SIZE, prot, MAP_FIXED | flags, fd, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
}

static int any_file(void)
{
	int fd = memfd_create("contract", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, 16 * PAGE_SIZE), 0);
	return fd;
}

/* page 0-1 anonymous rw, 2 anonymous r, 3 a hole, 4-5 shared, 6 private file, 7 none at all */
static va_t build_places(void)
{
	char *at = mmap(NULL, 8 * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	va_t va = (va_t)(uintptr_t)at;

	ck_assert_ptr_ne(at, MAP_FAILED);
	map_at(va, 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	map_at(page(va, 2), 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	ck_assert_int_eq(munmap(at + 3 * PAGE_SIZE, PAGE_SIZE), 0);
	map_at(page(va, 4), 2, PROT_READ | PROT_WRITE, MAP_SHARED, any_file());
	map_at(page(va, 6), 1, PROT_READ | PROT_EXEC, MAP_PRIVATE, any_file());
	return va;
}

static void expect_place(unsigned i, va_t start, va_t end, unsigned prot, enum mach_place_kind kind)
{
	ck_assert_uint_lt(i, nr_places);
	ck_assert_uint_eq(places[i].start, start);
	ck_assert_uint_eq(places[i].end, end);
	ck_assert_uint_eq(places[i].prot, prot);
	ck_assert_int_eq(places[i].kind, kind);
	ck_assert(places[i].may_write);
}

START_TEST(query_describes_what_the_host_has)
{
	va_t va;

	contract_start(0);
	new_pages(1);
	va = build_places();
	ck_assert_int_eq(M->ops->place_query(as, page(va, 1), page(va, 8), note_place, NULL), 0);
	ck_assert_uint_eq(nr_places, 5);
	expect_place(0, page(va, 1), page(va, 2), RW, MACH_PLACE_ANON); /* clipped */
	expect_place(1, page(va, 2), page(va, 3), MACH_PROT_R, MACH_PLACE_ANON);
	expect_place(2, page(va, 4), page(va, 6), RW, MACH_PLACE_SHARED);
	expect_place(3, page(va, 6), page(va, 7), MACH_PROT_R | MACH_PROT_X, MACH_PLACE_FILE);
	expect_place(4, page(va, 7), page(va, 8), MACH_PROT_NONE, MACH_PLACE_ANON);
	contract_stop();
}
END_TEST

START_TEST(query_stops_when_told)
{
	int stop = 17;
	va_t va;

	contract_start(0);
	new_pages(1);
	va = build_places();
	ck_assert_int_eq(M->ops->place_query(as, va, page(va, 8), note_place, &stop), 17);
	ck_assert_uint_eq(nr_places, 1);
	nr_places = 0;
	ck_assert_int_eq(M->ops->place_query(as, page(va, 3), page(va, 4), note_place, NULL), 0);
	ck_assert_uint_eq(nr_places, 0);
	contract_stop();
}
END_TEST

/* ---- governing ------------------------------------------------------------------------------------------------- */

START_TEST(detach_gives_everything_back)
{
	va_t at;

	contract_start(0);
	at = new_pages(4);
	for (unsigned i = 0; i < 4; i++)
		fx->store(page(at, i), i + 1);
	fx->forbid(page(at, 1), MACH_PROT_NONE);
	fx->forbid(page(at, 2), MACH_PROT_R);
	M->ops->place_detach(as, at, page(at, 4), RW);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(fx->load(page(at, i)), i + 1);
		fx->store(page(at, i), i + 11);
	}
	ck_assert_uint_eq(faults, 0);
	ck_assert_int_eq(M->ops->place_attach(as, at, page(at, 4), RW), 0); /* as the fixture left it */
	contract_stop();
}
END_TEST

START_TEST(forget_lets_something_else_live_there)
{
	va_t at;

	contract_start(0);
	at = new_pages(4);
	fx->forbid(page(at, 1), MACH_PROT_NONE);
	ck_assert_int_eq(munmap((void *)(uintptr_t)page(at, 1), 2 * PAGE_SIZE), 0);
	M->ops->place_forget(as, page(at, 1), page(at, 3));
	map_at(page(at, 1), 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	fx->store(page(at, 1), 3);
	/* What is left is governed still, and a change beside the new mapping does not touch it. */
	fx->forbid(at, MACH_PROT_NONE);
	fx->forbid(page(at, 3), MACH_PROT_NONE);
	ck_assert_uint_eq(fx->load(page(at, 1)), 3);
	ck_assert_uint_eq(faults, 0);
	fx->load(at);
	fx->load(page(at, 3));
	ck_assert_uint_eq(faults, 2);
	ck_assert_int_eq(M->ops->place_attach(as, page(at, 1), page(at, 3), RW), 0); /* for the fixture */
	contract_stop();
}
END_TEST

/* ---- what holds content ---------------------------------------------------------------------------------------- */

START_TEST(scan_reports_what_holds_content)
{
	va_t at;

	contract_start(0);
	at = empty_pages(16);
	ck_assert_int_eq(M->ops->place_attach(as, at, page(at, 16), RW), 0);
	fx->store(page(at, 3), 1);
	fx->store(page(at, 4), 1);
	fx->store(page(at, 9), 1);
	fx->forbid(page(at, 9), MACH_PROT_NONE); /* hidden is not gone */
	ck_assert_int_eq(M->ops->place_scan(as, at, page(at, 16), note_run, NULL), 0);
	ck_assert_uint_eq(nr_runs, 2);
	expect_run(0, page(at, 3), page(at, 5));
	expect_run(1, page(at, 9), page(at, 10));
	nr_runs = 0;
	ck_assert_int_eq(M->ops->place_scan(as, page(at, 4), page(at, 9), note_run, NULL), 0);
	ck_assert_uint_eq(nr_runs, 1);
	expect_run(0, page(at, 4), page(at, 5));
	contract_stop();
}
END_TEST

/* Pages with content are those whose bit in `held` is set; _i is how many pages. */
static void hide_absent(uint64_t held, unsigned n)
{
	va_t at = empty_pages(n);

	for (unsigned i = 0; i < n; i++)
		if (held >> i & 1)
			fx->store(page(at, i), i + 1);
	ck_assert_int_eq(M->ops->place_attach(as, at, page(at, n), RW), 0);
	ck_assert_int_eq(M->ops->place_hide_absent(as, at, page(at, n), note_run, NULL), 0);
	for (unsigned i = 0, run = 0; i < n; i++) {
		uint32_t before = faults;

		while (run < nr_runs && runs[run].end <= page(at, i))
			run++;
		ck_assert_int_eq(run < nr_runs && runs[run].start <= page(at, i), held >> i & 1);
		ck_assert_uint_eq(fx->load(page(at, i)), held >> i & 1 ? i + 1 : 0);
		ck_assert_uint_eq(faults - before, !(held >> i & 1));
	}
}

static const struct {
	uint64_t held;
	unsigned n;
} patterns[] = {
	{0, 1},
	{1, 1},
	{0, 40},
	{(uint64_t)-1, 40},
	{0x00F0F0, 24},
	{0x5555555555555555, 60}, /* many holes */
	{0x8000000000000001, 64},
	{0x7FFFFFFFFFFFFFFE, 64},
};

START_TEST(hide_absent_hides_what_is_absent)
{
	contract_start(0);
	hide_absent(patterns[_i].held, patterns[_i].n);
	contract_stop();
}
END_TEST

/* Threads touch pages while the range is being hidden: a page is reported, or it is hidden and empty. Never neither. */
#define RACE_PAGES 64u
static va_t race_at;
static uint32_t race_go;
static struct mach_lock race_lock; /* the ptl's part */
static uint64_t race_reported;

static enum fault_result open_when_told(va_t va, unsigned flags)
{
	mach_add32(M, &faults, 1);
	while (mach_load32(M, &race_go) < 2)
		fx->relax();
	fx->allow(va, RW);
	return FAULT_DONE;
}

static int note_reported(void *arg, va_t start, va_t end)
{
	for (; start < end; start += PAGE_SIZE)
		race_reported |= (uint64_t)1 << ((start - race_at) >> PAGE_SHIFT);
	return 0;
}

static void check_hidden(void)
{
	nr_runs = 0;
	ck_assert_int_eq(M->ops->place_scan(as, race_at, page(race_at, RACE_PAGES), note_run, NULL), 0);
	for (unsigned i = 0; i < nr_runs; i++)
		for (va_t va = runs[i].start; va < runs[i].end; va += PAGE_SIZE)
			ck_assert_msg(race_reported >> ((va - race_at) >> PAGE_SHIFT) & 1,
				      "page %u holds content and was not reported", (unsigned)((va - race_at) >> PAGE_SHIFT));
}

static void race(unsigned self)
{
	if (self == 0) {
		mach_store32(M, &race_go, 1);
		ck_assert_int_eq(M->ops->place_hide_absent(as, race_at, page(race_at, RACE_PAGES), note_reported, NULL), 0);
		check_hidden();
		mach_store32(M, &race_go, 2);
		return;
	}
	while (mach_load32(M, &race_go) == 0)
		fx->relax();
	for (unsigned i = self; i < RACE_PAGES; i += 3)
		fx->store(page(race_at, (i * 29) % RACE_PAGES), i + 1);
}

START_TEST(hide_absent_misses_nothing_that_threads_touch)
{
	contract_start(0);
	race_at = fx->map(RACE_PAGES, open_when_told);
	as = fx->as();
	ck_assert_int_eq(madvise((void *)(uintptr_t)race_at, RACE_PAGES * PAGE_SIZE, MADV_NOHUGEPAGE), 0);
	for (unsigned i = 0; i < 30; i++) {
		M->ops->place_detach(as, race_at, page(race_at, RACE_PAGES), RW);
		ck_assert_int_eq(madvise((void *)(uintptr_t)race_at, RACE_PAGES * PAGE_SIZE, MADV_DONTNEED), 0);
		for (unsigned k = 0; k < RACE_PAGES; k += 1 + i)
			fx->store(page(race_at, k), 1);
		ck_assert_int_eq(M->ops->place_attach(as, race_at, page(race_at, RACE_PAGES), RW), 0);
		race_reported = 0;
		race_go = 0;
		fx->run(4, race);
	}
	contract_stop();
}
END_TEST

/* ---- content --------------------------------------------------------------------------------------------------- */

/* n governed pages, all empty and hidden */
static va_t hidden_pages(unsigned n)
{
	va_t at = empty_pages(n);

	ck_assert_int_eq(M->ops->place_attach(as, at, page(at, n), RW), 0);
	ck_assert_int_eq(M->ops->place_hide_absent(as, at, page(at, n), note_run, NULL), 0);
	ck_assert_uint_eq(nr_runs, 0);
	return at;
}

START_TEST(write_fills_without_opening)
{
	uint64_t done = 1, *src;
	va_t at;

	contract_start(0);
	at = hidden_pages(6);
	src = aligned_alloc(PAGE_SIZE, 2 * PAGE_SIZE);
	memset(src, 0x77, 2 * PAGE_SIZE);
	ck_assert_int_eq(M->ops->place_write(as, page(at, 1), page(at, 3), (va_t)(uintptr_t)src, &done), 0);
	ck_assert_uint_eq(done, 2 * PAGE_SIZE);
	ck_assert_int_eq(M->ops->place_write(as, page(at, 4), page(at, 5), 0, &done), 0);
	ck_assert_uint_eq(done, PAGE_SIZE);
	ck_assert_uint_eq(fx->peek(page(at, 2) + 8), 0x7777777777777777);
	ck_assert_uint_eq(fx->load(page(at, 1)), 0x7777777777777777);
	ck_assert_uint_eq(faults, 1); /* still hidden: the handler opened it */
	fx->allow(page(at, 2), RW);
	fx->allow(page(at, 4), MACH_PROT_R);
	ck_assert_uint_eq(fx->load(page(at, 3) - 8), 0x7777777777777777);
	ck_assert_uint_eq(fx->load(page(at, 4)), 0);
	ck_assert_uint_eq(faults, 1);
	ck_assert_uint_eq(fx->load(page(at, 3)), 0); /* the neighbour stayed hidden */
	ck_assert_uint_eq(faults, 2);
	free(src);
	contract_stop();
}
END_TEST

START_TEST(write_from_a_bad_source_says_how_far_it_came)
{
	uint64_t done = 99;
	char *src;
	va_t at;

	contract_start(0);
	at = hidden_pages(4);
	src = mmap(NULL, 3 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(src, 0x33, 2 * PAGE_SIZE);
	ck_assert_int_eq(mprotect(src + 2 * PAGE_SIZE, PAGE_SIZE, PROT_NONE), 0);
	ck_assert_int_eq(M->ops->place_write(as, at, page(at, 3), (va_t)(uintptr_t)src, &done), -EFAULT);
	ck_assert_uint_le(done, 2 * PAGE_SIZE);
	ck_assert(is_page_aligned(done));
	ck_assert_int_eq(M->ops->place_write(as, page(at, 3), page(at, 4), (va_t)(uintptr_t)src + 2 * PAGE_SIZE, &done),
			 -EFAULT);
	ck_assert_uint_eq(done, 0);
	fx->load(page(at, 3));
	ck_assert_uint_eq(faults, 1); /* hidden as before */
	contract_stop();
}
END_TEST

/* While a page is written, nobody ever sees a part of it, nor zeroes. */
static uint32_t race_page;

static enum fault_result open_if_filled(va_t va, unsigned flags)
{
	while (mach_load32(M, &race_page) <= (va - race_at) >> PAGE_SHIFT)
		fx->relax();
	fx->allow(va, RW);
	return FAULT_DONE;
}

static void fill_or_look(unsigned self)
{
	static uint64_t src[PAGE_SIZE / 8] __attribute__((aligned(4096)));
	uint64_t done;

	for (unsigned i = 0; self && i < RACE_PAGES; i++)
		for (unsigned k = 0; k < 512; k += 73)
			ck_assert_uint_eq(fx->load(page(race_at, i) + 8 * ((k + self * 101) % 512)), 0x1111111111111111);
	memset(src, 0x11, sizeof(src));
	for (unsigned i = 0; self == 0 && i < RACE_PAGES; i++) {
		ck_assert_int_eq(M->ops->place_write(as, page(race_at, i), page(race_at, i + 1), (va_t)(uintptr_t)src, &done), 0);
		fx->allow(page(race_at, i), RW);
		mach_store32(M, &race_page, i + 1);
	}
}

START_TEST(nobody_sees_a_page_before_it_is_whole)
{
	contract_start(0);
	race_at = fx->map(RACE_PAGES, open_if_filled);
	as = fx->as();
	ck_assert_int_eq(madvise((void *)(uintptr_t)race_at, RACE_PAGES * PAGE_SIZE, MADV_NOHUGEPAGE), 0);
	for (unsigned i = 0; i < 10; i++) {
		ck_assert_int_eq(M->ops->place_discard(as, race_at, page(race_at, RACE_PAGES), true), 0);
		race_page = 0;
		fx->run(3, fill_or_look);
	}
	contract_stop();
}
END_TEST

START_TEST(discard_throws_content_away)
{
	va_t at;

	contract_start(0);
	at = new_pages(4);
	for (unsigned i = 0; i < 4; i++)
		fx->store(page(at, i), i + 1);
	ck_assert_int_eq(M->ops->place_discard(as, page(at, 1), page(at, 2), true), 0);
	ck_assert_int_eq(M->ops->place_discard(as, page(at, 2), page(at, 3), false), 0);
	ck_assert_uint_eq(fx->load(page(at, 2)), 0);
	ck_assert_uint_eq(faults, 0);
	ck_assert_int_eq(M->ops->place_scan(as, at, page(at, 2), note_run, NULL), 0);
	ck_assert_uint_eq(nr_runs, 1);
	expect_run(0, at, page(at, 1));
	ck_assert_uint_eq(fx->load(page(at, 1)), 0);
	ck_assert_uint_eq(faults, 1);
	ck_assert_uint_eq(fx->load(at), 1);
	ck_assert_uint_eq(fx->load(page(at, 3)), 4);
	contract_stop();
}
END_TEST

/* A store that races with the discard lands before it and is thrown away, or waits for the page to be opened again. */
static enum fault_result open_when_told_again(va_t va, unsigned flags)
{
	mach_lock(M, &race_lock);
	fx->allow(va, RW);
	mach_add32(M, &faults, 1);
	mach_unlock(M, &race_lock);
	return FAULT_DONE;
}

static void discard_or_store(unsigned self)
{
	uint32_t opened = 0;

	for (unsigned i = 0; self && !mach_load32(M, &race_go); i++)
		fx->store(race_at, i);
	for (unsigned i = 0; self == 0 && i < fx->rounds / 4; i++) {
		while (i && mach_load32(M, &faults) == opened)
			fx->relax(); /* until somebody stores again */
		mach_lock(M, &race_lock);
		ck_assert_int_eq(M->ops->place_discard(as, race_at, page(race_at, 1), true), 0);
		nr_runs = 0;
		ck_assert_int_eq(M->ops->place_scan(as, race_at, page(race_at, 1), note_run, NULL), 0);
		ck_assert_uint_eq(nr_runs, 0);
		opened = mach_load32(M, &faults);
		mach_unlock(M, &race_lock);
	}
	if (self == 0)
		mach_store32(M, &race_go, 1);
}

START_TEST(nothing_lands_on_a_page_while_it_is_discarded)
{
	contract_start(0);
	race_at = fx->map(2, open_when_told_again);
	as = fx->as();
	race_go = 0;
	fx->run(3, discard_or_store);
	contract_stop();
}
END_TEST

static int count_places(void *arg, const struct mach_place *p)
{
	++*(unsigned *)arg;
	return 0;
}

/* Given up for lack of room, a page beside something else's memory takes nothing of that with it. */
START_TEST(a_machine_short_of_room_leaves_others_alone)
{
	const unsigned n = 4096;
	unsigned mappings = 0;
	va_t at, hole;

	contract_start(0);
	at = new_pages(n);
	hole = page(at, n / 2);
	ck_assert_int_eq(munmap((void *)(uintptr_t)hole, 2 * PAGE_SIZE), 0);
	M->ops->place_forget(as, hole, page(hole, 2));
	map_at(hole, 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	fx->squeeze();
	for (unsigned i = 0; i < n; i += 3)
		if (page(at, i) < hole || page(at, i) >= page(hole, 2))
			fx->forbid(page(at, i), MACH_PROT_NONE);
	for (unsigned i = 0; i < n; i += 64)
		fx->load(page(at, i));
	ck_assert_int_eq(M->ops->place_query(as, at, page(at, n), count_places, &mappings), 0);
	ck_assert_uint_lt(mappings, n / 3); /* else nothing was given up, and nothing is proved */
	nr_places = 0;
	ck_assert_int_eq(M->ops->place_query(as, hole, page(hole, 2), note_place, NULL), 0);
	for (unsigned i = 0; i < nr_places; i++)
		ck_assert_uint_eq(places[i].prot, RW);
	faults = 0;
	fx->store(hole, 1);
	fx->store(page(hole, 1), 1);
	ck_assert_uint_eq(faults, 0);
	ck_assert_int_eq(M->ops->place_attach(as, hole, page(hole, 2), RW), 0); /* for the fixture */
	contract_stop();
}
END_TEST

/* ---- suite ----------------------------------------------------------------------------------------------------- */

TCase *contract_place_tests(void)
{
	TCase *t = tcase_create("places");

	tcase_set_timeout(t, 30);
	tcase_add_test(t, query_describes_what_the_host_has);
	tcase_add_test(t, query_stops_when_told);
	tcase_add_test(t, detach_gives_everything_back);
	tcase_add_test(t, forget_lets_something_else_live_there);
	tcase_add_test(t, scan_reports_what_holds_content);
	tcase_add_loop_test(t, hide_absent_hides_what_is_absent, 0, (int)(sizeof(patterns) / sizeof(patterns[0])));
	tcase_add_test(t, hide_absent_misses_nothing_that_threads_touch);
	tcase_add_test(t, write_fills_without_opening);
	tcase_add_test(t, write_from_a_bad_source_says_how_far_it_came);
	tcase_add_test(t, nobody_sees_a_page_before_it_is_whole);
	tcase_add_test(t, discard_throws_content_away);
	tcase_add_test(t, nothing_lands_on_a_page_while_it_is_discarded);
	tcase_add_test(t, a_machine_short_of_room_leaves_others_alone);
	return t;
}
