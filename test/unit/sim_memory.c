/* SPDX-License-Identifier: MIT */
/* The simulated machine: TLBs and the walk, RAM, engine memory, and copies on a program's behalf. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "test/unit/sim_space.h"

#define RW (MACH_PROT_R | MACH_PROT_W)
#define VA ((va_t)0x400000)

static struct space sp;

static void create(const struct sim_config *config)
{
	ck_assert_int_eq(sim_create(config), 0);
	space_create(&sp);
}

static void destroy(void)
{
	space_destroy(&sp);
	ck_assert_uint_eq(sim_mem_in_use(), 0);
	sim_destroy();
}

static const struct machine_ops *ops(void)
{
	return sim_machine()->ops;
}

static uint64_t load(va_t va)
{
	uint64_t v;

	ck_assert_int_eq(sim_load(&sp.as, va, 8, &v), FAULT_DONE);
	return v;
}

static void store(va_t va, uint64_t v)
{
	ck_assert_int_eq(sim_store(&sp.as, va, 8, v), FAULT_DONE);
}

/* ---- the walk and the TLB -------------------------------------------------------------------------------------- */

START_TEST(what_is_stored_is_loaded)
{
	uint64_t v;

	create(NULL);
	space_map(&sp, VA, space_frame(), RW);
	store(VA, 0x1122334455667788);
	ck_assert_uint_eq(load(VA), 0x1122334455667788);
	ck_assert_int_eq(sim_store(&sp.as, VA + 2, 2, 0xABCD), FAULT_DONE);
	ck_assert_uint_eq(load(VA), 0x11223344ABCD7788);
	ck_assert_int_eq(sim_load(&sp.as, VA + 7, 1, &v), FAULT_DONE);
	ck_assert_uint_eq(v, 0x11);
	ck_assert_uint_eq(sp.faults, 0);
	destroy();
}
END_TEST

/* Every level's index counts: addresses that differ in one of them have different pages. */
START_TEST(the_walk_uses_every_level)
{
	static const va_t va[] = {0,
				  (va_t)1 << PAGE_SHIFT,
				  (va_t)1 << (PAGE_SHIFT + 9),
				  (va_t)1 << (PAGE_SHIFT + 18),
				  ((va_t)1 << (PAGE_SHIFT + 27)) | 8,
				  SIM_VA_LIMIT - 8};

	create(NULL);
	for (unsigned i = 0; i < ARRAY_LEN(va); i++)
		space_map(&sp, va[i], space_frame(), RW);
	for (unsigned i = 0; i < ARRAY_LEN(va); i++)
		store(va[i], i + 1);
	for (unsigned i = 0; i < ARRAY_LEN(va); i++)
		ck_assert_uint_eq(load(va[i]), i + 1);
	destroy();
}
END_TEST

START_TEST(a_missing_or_narrow_entry_reaches_the_engine)
{
	uint64_t v;

	create(NULL);
	ck_assert_int_eq(sim_load(&sp.as, VA + 24, 8, &v), FAULT_MAPERR);
	ck_assert_uint_eq(sp.fault_va, VA + 24);
	ck_assert_uint_eq(sp.fault_flags, FAULT_USER);
	space_map(&sp, VA, space_frame(), MACH_PROT_R);
	ck_assert_uint_eq(load(VA), 0);
	ck_assert_int_eq(sim_store(&sp.as, VA, 8, 1), FAULT_MAPERR);
	ck_assert_uint_eq(sp.fault_flags, FAULT_USER | FAULT_WRITE);
	ck_assert_int_eq(sim_fetch(&sp.as, VA), FAULT_MAPERR);
	ck_assert_uint_eq(sp.fault_flags, FAULT_USER | FAULT_EXEC);
	ck_assert_uint_eq(sp.faults, 3);
	space_map(&sp, VA + PAGE_SIZE, space_frame(), MACH_PROT_NONE);
	ck_assert_int_eq(sim_load(&sp.as, VA + PAGE_SIZE, 8, &v), FAULT_MAPERR);
	space_map(&sp, VA + 2 * PAGE_SIZE, space_frame(), MACH_PROT_R | MACH_PROT_X);
	ck_assert_int_eq(sim_fetch(&sp.as, VA + 2 * PAGE_SIZE), FAULT_DONE);
	destroy();
}
END_TEST

static enum fault_result map_it(struct space *s, va_t va, unsigned flags)
{
	space_map(s, page_down(va), space_frame(), flags & FAULT_WRITE ? RW : MACH_PROT_R);
	return FAULT_DONE;
}

START_TEST(a_mended_fault_is_tried_again)
{
	create(NULL);
	sp.answer = map_it;
	store(VA, 5);
	ck_assert_uint_eq(load(VA), 5);
	ck_assert_uint_eq(sp.faults, 1);
	destroy();
}
END_TEST

static enum fault_result answer_arg(struct space *s, va_t va, unsigned flags)
{
	return *(enum fault_result *)s->arg;
}

START_TEST(the_answer_of_the_handler_is_passed_on)
{
	static enum fault_result answers[] = {FAULT_INTERRUPTED, FAULT_MAPERR, FAULT_ACCERR, FAULT_SIGBUS, FAULT_OOM};
	uint64_t v;

	create(NULL);
	sp.answer = answer_arg;
	for (unsigned i = 0; i < ARRAY_LEN(answers); i++) {
		sp.arg = &answers[i];
		ck_assert_int_eq(sim_load(&sp.as, VA, 8, &v), answers[i]);
		ck_assert_int_eq(sim_store(&sp.as, VA, 8, 0), answers[i]);
	}
	destroy();
}
END_TEST

START_TEST(accessed_and_dirty_are_set_as_hardware_does)
{
	pte_t *slot;
	struct sim_translation t;

	create(NULL);
	space_map(&sp, VA, space_frame(), RW);
	slot = space_slot(&sp, VA, 0);
	load(VA);
	ck_assert_uint_eq(slot->v & (PTE_A | PTE_D), PTE_A);
	/* writable, but not dirty yet: a store must walk again */
	ck_assert(sim_tlb_get(0, &sp.as, VA, &t));
	ck_assert_uint_eq(t.prot, MACH_PROT_R);
	store(VA, 1);
	ck_assert_uint_eq(slot->v & (PTE_A | PTE_D), PTE_A | PTE_D);
	ck_assert(sim_tlb_get(0, &sp.as, VA, &t));
	ck_assert_uint_eq(t.prot, RW);
	ck_assert_uint_eq(t.pfn, pte_pfn(*slot));
	ck_assert_uint_eq(sp.faults, 0);
	destroy();
}
END_TEST

/* The TLB is a real cache: without a flush the old permission lives on. */
START_TEST(a_stale_translation_lasts_until_it_is_withdrawn)
{
	uint64_t pfn;

	create(NULL);
	pfn = space_frame();
	space_map(&sp, VA, pfn, RW);
	store(VA, 1);
	space_map(&sp, VA, pfn, MACH_PROT_R);
	store(VA, 2);
	ck_assert_uint_eq(sp.faults, 0);
	space_flush(&sp, VA, MACH_PROT_R);
	ck_assert_int_eq(sim_store(&sp.as, VA, 8, 3), FAULT_MAPERR);
	ck_assert_uint_eq(load(VA), 2);
	destroy();
}
END_TEST

START_TEST(an_eviction_makes_the_next_access_walk)
{
	struct sim_translation t;

	create(NULL);
	space_map(&sp, VA, space_frame(), RW);
	store(VA, 1);
	space_map(&sp, VA, space_frame(), RW);
	ck_assert_uint_eq(load(VA), 1);
	sim_tlb_evict(0, &sp.as, VA);
	ck_assert(!sim_tlb_get(0, &sp.as, VA, &t));
	ck_assert_uint_eq(load(VA), 0);
	destroy();
}
END_TEST

/* More pages than the TLB has room for. */
START_TEST(a_full_tlb_gives_up_translations_and_no_content)
{
	struct sim_translation t;
	unsigned held = 0;

	create(NULL);
	for (unsigned i = 0; i < 200; i++) {
		space_map(&sp, VA + i * PAGE_SIZE, space_frame(), RW);
		store(VA + i * PAGE_SIZE, i);
	}
	for (unsigned i = 0; i < 200; i++)
		held += sim_tlb_get(0, &sp.as, VA + i * PAGE_SIZE, &t);
	ck_assert_uint_lt(held, 200);
	ck_assert_uint_gt(held, 10);
	for (unsigned i = 0; i < 200; i++)
		ck_assert_uint_eq(load(VA + i * PAGE_SIZE), i);
	destroy();
}
END_TEST

static void touch(void *arg)
{
	store(VA, sim_self());
	store(VA + PAGE_SIZE, sim_self());
}

START_TEST(a_flush_tells_every_cpu_and_only_about_its_range)
{
	struct sim_translation t;
	uint64_t steps;

	create(&(struct sim_config){.nr_cpus = 4});
	space_map(&sp, VA, space_frame(), RW);
	space_map(&sp, VA + PAGE_SIZE, space_frame(), RW);
	for (unsigned i = 0; i < 4; i++)
		sim_spawn(i, &sp.as, touch, NULL);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	for (unsigned i = 0; i < 4; i++)
		ck_assert(sim_tlb_get(i, &sp.as, VA, &t));
	space_map(&sp, VA, 0, MACH_PROT_NONE);
	steps = sim_steps();
	space_flush(&sp, VA, MACH_PROT_NONE);
	ck_assert_uint_eq(sim_steps() - steps, 4); /* one point a CPU */
	for (unsigned i = 0; i < 4; i++) {
		ck_assert(!sim_tlb_get(i, &sp.as, VA, &t));
		ck_assert(sim_tlb_get(i, &sp.as, VA + PAGE_SIZE, &t));
	}
	destroy();
}
END_TEST

START_TEST(address_spaces_do_not_share_translations)
{
	struct space other;
	uint64_t v;

	create(NULL);
	space_create(&other);
	space_map(&sp, VA, space_frame(), RW);
	store(VA, 7);
	ck_assert_int_eq(sim_load(&other.as, VA, 8, &v), FAULT_MAPERR);
	space_map(&other, VA, space_frame(), RW);
	ck_assert_int_eq(sim_store(&other.as, VA, 8, 8), FAULT_DONE);
	ck_assert_uint_eq(load(VA), 7);
	space_destroy(&other);
	destroy();
}
END_TEST

START_TEST(a_huge_entry_maps_consecutive_frames)
{
	uint64_t first = 512;

	create(&(struct sim_config){.nr_frames = 2048});
	for (uint64_t pfn = 0; pfn < 2 * 512; pfn++)
		space_frame();
	*space_slot(&sp, PMD_SIZE, 1) = (pte_t){space_entry(first, RW).v | PTE_PS};
	store(PMD_SIZE + 8, 1);
	store(PMD_SIZE + 300 * PAGE_SIZE, 2);
	ck_assert_uint_eq(((const uint64_t *)sim_frame_ptr(first))[1], 1);
	ck_assert_uint_eq(*(const uint64_t *)sim_frame_ptr(first + 300), 2);
	destroy();
}
END_TEST

/* ---- races that the machine must show -------------------------------------------------------------------------- */

static uint32_t flushed;

/* Take write permission away, flush, and only then call the page settled. */
static void protector(void *arg)
{
	pte_t *slot = space_slot(&sp, VA, 0);

	mach_pte_store(sim_machine(), slot, (pte_t){slot->v & ~PTE_W});
	if (!arg)
		space_flush(&sp, VA, MACH_PROT_R);
	mach_store32(sim_machine(), &flushed, 1);
}

static void writer(void *arg)
{
	unsigned *late = arg;

	for (unsigned i = 0; i < 8; i++) {
		bool settled = mach_load32(sim_machine(), &flushed);

		if (sim_store(&sp.as, VA, 8, i) == FAULT_DONE && settled)
			++*late;
	}
}

/* Stores that landed after the page was called settled, over many interleavings. */
static unsigned late_stores(bool forget_flush)
{
	unsigned late = 0;

	for (uint64_t seed = 0; seed < 50; seed++) {
		create(&(struct sim_config){.seed = seed, .switch_one_in = 3});
		flushed = 0;
		space_map(&sp, VA, space_frame(), RW);
		sim_spawn(0, &sp.as, writer, &late);
		sim_spawn(1, &sp.as, protector, forget_flush ? &late : NULL);
		ck_assert_int_eq(sim_run(), SIM_DONE);
		destroy();
	}
	return late;
}

START_TEST(a_forgotten_flush_is_seen_and_a_flush_suffices)
{
	ck_assert_uint_eq(late_stores(false), 0);
	ck_assert_uint_gt(late_stores(true), 0);
}
END_TEST

static uint64_t copy_from, copy_to;

static void copier(void *arg)
{
	ops()->frame_copy(sim_machine(), copy_to, copy_from);
}

static void write_both_ends(void *arg)
{
	store(VA, 1);
	store(VA + PAGE_SIZE - 8, 1);
}

/* The last word was stored after the first, so a copy that has the first may miss the last, or have both, or none. */
START_TEST(a_frame_is_copied_word_by_word)
{
	unsigned torn = 0;

	for (uint64_t seed = 0; seed < 50; seed++) {
		const uint64_t *to;

		create(&(struct sim_config){.seed = seed, .switch_one_in = 50});
		copy_from = space_frame();
		copy_to = space_frame();
		space_map(&sp, VA, copy_from, RW);
		sim_spawn(0, &sp.as, write_both_ends, NULL);
		sim_spawn(1, NULL, copier, NULL);
		ck_assert_int_eq(sim_run(), SIM_DONE);
		to = sim_frame_ptr(copy_to);
		torn += to[0] != to[511];
		destroy();
	}
	ck_assert_uint_gt(torn, 0);
}
END_TEST

/* ---- RAM ------------------------------------------------------------------------------------------------------- */

START_TEST(frames_come_lowest_first_and_run_out)
{
	uint64_t pfn;

	create(&(struct sim_config){.nr_frames = 4});
	ck_assert_uint_eq(ops()->frame_count(sim_machine()), 4);
	for (uint64_t i = 1; i < 4; i++) {
		ck_assert_int_eq(ops()->frame_alloc(sim_machine(), &pfn), 0);
		ck_assert_uint_eq(pfn, i);
	}
	ck_assert_int_eq(ops()->frame_alloc(sim_machine(), &pfn), -ENOMEM);
	ops()->frame_free(sim_machine(), 3);
	ops()->frame_free(sim_machine(), 1);
	ck_assert_uint_eq(sim_frames_in_use(), 1);
	ck_assert(!sim_frame_is_allocated(1));
	ck_assert_int_eq(ops()->frame_alloc(sim_machine(), &pfn), 0);
	ck_assert_uint_eq(pfn, 1);
	destroy();
}
END_TEST

START_TEST(frame_content)
{
	char page[PAGE_SIZE];
	uint64_t a, b, steps;

	create(NULL);
	ck_assert_int_eq(ops()->frame_alloc(sim_machine(), &a), 0);
	ck_assert_int_eq(ops()->frame_alloc(sim_machine(), &b), 0);
	memset(page, 0, sizeof(page));
	ck_assert_mem_eq(sim_frame_ptr(0), page, PAGE_SIZE);
	ck_assert_mem_ne(sim_frame_ptr(a), page, PAGE_SIZE); /* fresh frames are not clean */
	ops()->frame_zero(sim_machine(), a);
	ck_assert_mem_eq(sim_frame_ptr(a), page, PAGE_SIZE);
	memset(page, 0x42, sizeof(page));
	ops()->frame_write(sim_machine(), a, page);
	steps = sim_steps();
	ops()->frame_copy(sim_machine(), b, a);
	ck_assert_uint_eq(sim_steps() - steps, 2 * 512); /* a read and a write for each word */
	ck_assert_mem_eq(sim_frame_ptr(b), page, PAGE_SIZE);
	destroy();
}
END_TEST

START_TEST(engine_memory_is_clean_aligned_and_counted)
{
	char *a, *b, *c;

	create(&(struct sim_config){.mem_bytes = (size_t)4 << 20});
	a = ops()->mem_alloc(sim_machine(), PAGE_SIZE, PAGE_SIZE);
	b = ops()->mem_alloc(sim_machine(), 3 * PAGE_SIZE, 65536);
	c = ops()->mem_alloc(sim_machine(), PAGE_SIZE, (size_t)2 << 20);
	ck_assert_uint_eq((uintptr_t)b % 65536, 0);
	ck_assert_uint_eq((uintptr_t)c % ((size_t)2 << 20), 0);
	ck_assert_uint_eq(sim_mem_in_use(), 6 * PAGE_SIZE); /* with the root table */
	memset(a, 1, PAGE_SIZE);
	ops()->mem_free(sim_machine(), a, PAGE_SIZE);
	ck_assert_ptr_eq(ops()->mem_alloc(sim_machine(), PAGE_SIZE, PAGE_SIZE), a);
	for (unsigned i = 0; i < PAGE_SIZE; i++)
		ck_assert_int_eq(a[i], 0);
	ck_assert_ptr_null(ops()->mem_alloc(sim_machine(), (size_t)4 << 20, PAGE_SIZE));
	ops()->mem_free(sim_machine(), a, PAGE_SIZE);
	ops()->mem_free(sim_machine(), b, 3 * PAGE_SIZE);
	ops()->mem_free(sim_machine(), c, PAGE_SIZE);
	destroy();
}
END_TEST

START_TEST(the_nth_allocation_can_be_made_to_fail)
{
	uint64_t pfn, before;
	void *p;

	create(NULL);
	before = sim_alloc_count();
	sim_fail_alloc_at(3);
	ck_assert_int_eq(ops()->frame_alloc(sim_machine(), &pfn), 0);
	p = ops()->mem_alloc(sim_machine(), PAGE_SIZE, PAGE_SIZE);
	ck_assert_ptr_nonnull(p);
	ck_assert_int_eq(ops()->frame_alloc(sim_machine(), &pfn), -ENOMEM);
	ck_assert_int_eq(ops()->frame_alloc(sim_machine(), &pfn), 0);
	ck_assert_uint_eq(sim_alloc_count() - before, 4);
	sim_fail_alloc_at(1);
	ck_assert_ptr_null(ops()->mem_alloc(sim_machine(), PAGE_SIZE, PAGE_SIZE));
	sim_fail_alloc_at(1);
	sim_fail_alloc_at(0);
	ck_assert_int_eq(ops()->frame_alloc(sim_machine(), &pfn), 0);
	ops()->mem_free(sim_machine(), p, PAGE_SIZE);
	destroy();
}
END_TEST

/* ---- copies ---------------------------------------------------------------------------------------------------- */

START_TEST(copies_cross_pages_at_any_alignment)
{
	unsigned char out[PAGE_SIZE], in[PAGE_SIZE];

	create(NULL);
	sim_boot_as(&sp.as);
	sp.answer = map_it;
	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (unsigned char)(i * 7 + 1);
	for (unsigned shift = 0; shift < 9; shift++) {
		va_t va = VA + PAGE_SIZE - 100 + shift;

		for (unsigned len = 0; len < 300; len += 13) {
			memset(in, 0, sizeof(in));
			ck_assert_int_eq(ops()->copy_out(sim_machine(), va, out, len), 0);
			ck_assert_int_eq(ops()->copy_in(sim_machine(), in, va, len), 0);
			ck_assert_mem_eq(in, out, len);
			ck_assert_int_eq(in[len], 0);
		}
	}
	ck_assert_uint_eq(sp.faults, 2);
	ck_assert_uint_eq(sp.fault_flags, FAULT_WRITE); /* not FAULT_USER */
	destroy();
}
END_TEST

START_TEST(bad_addresses_are_efault)
{
	char buf[16];

	create(NULL);
	ck_assert_int_eq(ops()->copy_in(sim_machine(), buf, VA, 1), -EFAULT); /* no address space */
	sim_boot_as(&sp.as);
	space_map(&sp, VA, space_frame(), MACH_PROT_R);
	ck_assert_int_eq(ops()->copy_in(sim_machine(), buf, 0, 1), -EFAULT);
	ck_assert_int_eq(ops()->copy_out(sim_machine(), VA, buf, 1), -EFAULT);
	ck_assert_int_eq(ops()->copy_in(sim_machine(), buf, VA + PAGE_SIZE - 8, 8), 0);
	ck_assert_int_eq(ops()->copy_in(sim_machine(), buf, VA + PAGE_SIZE - 8, 9), -EFAULT);
	space_map(&sp, SIM_VA_LIMIT - PAGE_SIZE, space_frame(), MACH_PROT_R);
	ck_assert_int_eq(ops()->copy_in(sim_machine(), buf, SIM_VA_LIMIT - 1, 1), 0);
	ck_assert_int_eq(ops()->copy_in(sim_machine(), buf, SIM_VA_LIMIT - 1, 2), -EFAULT);
	ck_assert_int_eq(ops()->copy_in(sim_machine(), buf, TASK_SIZE - 1, 2), -EFAULT);
	ck_assert_int_eq(ops()->copy_in(sim_machine(), buf, UINT64_MAX - 3, 8), -EFAULT);
	ck_assert_int_eq(ops()->copy_in(sim_machine(), buf, 0, 0), 0);
	destroy();
}
END_TEST

START_TEST(the_atomic_copy_walks_but_never_faults)
{
	struct mach_lock lock = {0};
	uint64_t word = 1, got = 0;

	create(NULL);
	sim_boot_as(&sp.as);
	mach_lock(sim_machine(), &lock);
	ck_assert_int_eq(ops()->copy_in_atomic(sim_machine(), &got, VA, 8), -EFAULT);
	ck_assert_uint_eq(sp.faults, 0);
	space_map(&sp, VA, space_frame(), MACH_PROT_R);
	ck_assert_int_eq(ops()->copy_in_atomic(sim_machine(), &word, VA, 8), 0);
	ck_assert_uint_eq(word, 0);
	mach_unlock(sim_machine(), &lock);
	destroy();
}
END_TEST

START_TEST(host_pointers_are_the_test_programs)
{
	uint64_t from = 0x1234, to = 0;
	static uint64_t fixed;

	create(NULL);
	ck_assert_int_eq(ops()->copy_in(sim_machine(), &to, (va_t)(uintptr_t)&from, 8), 0);
	ck_assert_uint_eq(to, 0x1234);
	ck_assert_int_eq(ops()->copy_out(sim_machine(), (va_t)(uintptr_t)&fixed, &from, 8), 0);
	ck_assert_uint_eq(fixed, 0x1234);
	ck_assert_int_eq(ops()->copy_in_atomic(sim_machine(), &to, (va_t)(uintptr_t)&fixed, 4), 0);
	destroy();
}
END_TEST

static enum fault_result interrupted_twice(struct space *s, va_t va, unsigned flags)
{
	return s->faults < 3 ? FAULT_INTERRUPTED : map_it(s, va, flags);
}

START_TEST(a_signal_does_not_end_a_copy)
{
	uint64_t v;

	create(NULL);
	sim_boot_as(&sp.as);
	sp.answer = interrupted_twice;
	ck_assert_int_eq(ops()->copy_in(sim_machine(), &v, VA, 8), 0);
	ck_assert_uint_eq(sp.faults, 3);
	destroy();
}
END_TEST

/* ---- misuse ---------------------------------------------------------------------------------------------------- */

static void bad_zero_page_entry(void *arg)
{
	space_map(&sp, VA, 0, RW);
	(void)!sim_store(&sp.as, VA, 8, 1);
}

static void bad_zero_page_write(void *arg)
{
	ops()->frame_zero(sim_machine(), 0);
}

static void bad_free_frame_entry(void *arg)
{
	uint64_t v;

	space_map(&sp, VA, 5, MACH_PROT_R);
	(void)!sim_load(&sp.as, VA, 8, &v);
}

static void bad_frame_free_before_flush(void *arg)
{
	uint64_t pfn = space_frame();

	space_map(&sp, VA, pfn, RW);
	store(VA, 1);
	space_map(&sp, VA, 0, MACH_PROT_NONE);
	ops()->frame_free(sim_machine(), pfn);
}

static void bad_frame_double_free(void *arg)
{
	uint64_t pfn = space_frame();

	ops()->frame_free(sim_machine(), pfn);
	ops()->frame_free(sim_machine(), pfn);
}

static void bad_mem_double_free(void *arg)
{
	void *p = ops()->mem_alloc(sim_machine(), PAGE_SIZE, PAGE_SIZE);

	ops()->mem_free(sim_machine(), p, PAGE_SIZE);
	ops()->mem_free(sim_machine(), p, PAGE_SIZE);
}

static void bad_mem_part_free(void *arg)
{
	ops()->mem_free(sim_machine(), ops()->mem_alloc(sim_machine(), 2 * PAGE_SIZE, PAGE_SIZE), PAGE_SIZE);
}

static void bad_fault_with_lock(void *arg)
{
	static struct mach_lock lock;
	uint64_t v;

	mach_lock(sim_machine(), &lock);
	(void)!sim_load(&sp.as, VA, 8, &v);
}

static enum fault_result forget_lock(struct space *s, va_t va, unsigned flags)
{
	static struct mach_lock lock;

	mach_lock(sim_machine(), &lock);
	return FAULT_DONE;
}

static void bad_handler_keeps_lock(void *arg)
{
	uint64_t v;

	sp.answer = forget_lock;
	(void)!sim_load(&sp.as, VA, 8, &v);
}

static const struct {
	void (*fn)(void *arg);
	const char *report;
} bad[] = {
	{bad_zero_page_entry, "pfn != 0"},
	{bad_zero_page_write, "pfn != 0"},
	{bad_free_frame_entry, "sim_frame_is_usable"},
	{bad_frame_free_before_flush, "sim_tlb_maps_frame"},
	{bad_frame_double_free, "sim_frame_is_usable"},
	{bad_mem_double_free, "a->taken[at]"},
	{bad_mem_part_free, "a->run[at] == n"},
	{bad_fault_with_lock, "nr_held == 0"},
	{bad_handler_keeps_lock, "nr_held == 0"},
};

START_TEST(misuse_is_found)
{
	create(&(struct sim_config){.catch_violations = true});
	sim_spawn(0, &sp.as, bad[_i].fn, NULL);
	ck_assert_int_eq(sim_run(), SIM_VIOLATED);
	ck_assert_msg(strstr(sim_report(), bad[_i].report) != NULL, "%s", sim_report());
	sim_destroy();
}
END_TEST

/* A flush whose range is still wide open in the table withdraws nothing for good. */
static void forgot_to_change_the_entry(void *arg)
{
	space_flush(&sp, VA, MACH_PROT_NONE);
}

static void keep_storing(void *arg)
{
	for (unsigned i = 0; i < 20; i++)
		store(VA, i);
}

/* Legal: somebody else widened the entry meanwhile. The contract is about entries that were narrowed before. */
START_TEST(a_flush_does_not_fight_the_table)
{
	for (uint64_t seed = 0; seed < 20; seed++) {
		create(&(struct sim_config){.seed = seed, .switch_one_in = 2});
		space_map(&sp, VA, space_frame(), RW);
		sim_spawn(0, &sp.as, keep_storing, NULL);
		sim_spawn(1, &sp.as, forgot_to_change_the_entry, NULL);
		ck_assert_int_eq(sim_run(), SIM_DONE);
		destroy();
	}
}
END_TEST

/* ---- suite ----------------------------------------------------------------------------------------------------- */

static TCase *tlb_tests(void)
{
	TCase *t = tcase_create("translations");

	tcase_add_test(t, what_is_stored_is_loaded);
	tcase_add_test(t, the_walk_uses_every_level);
	tcase_add_test(t, a_missing_or_narrow_entry_reaches_the_engine);
	tcase_add_test(t, a_mended_fault_is_tried_again);
	tcase_add_test(t, the_answer_of_the_handler_is_passed_on);
	tcase_add_test(t, accessed_and_dirty_are_set_as_hardware_does);
	tcase_add_test(t, a_stale_translation_lasts_until_it_is_withdrawn);
	tcase_add_test(t, an_eviction_makes_the_next_access_walk);
	tcase_add_test(t, a_full_tlb_gives_up_translations_and_no_content);
	tcase_add_test(t, a_flush_tells_every_cpu_and_only_about_its_range);
	tcase_add_test(t, a_flush_does_not_fight_the_table);
	tcase_add_test(t, address_spaces_do_not_share_translations);
	tcase_add_test(t, a_huge_entry_maps_consecutive_frames);
	tcase_add_test(t, a_forgotten_flush_is_seen_and_a_flush_suffices);
	return t;
}

static TCase *memory_tests(void)
{
	TCase *t = tcase_create("memory");

	tcase_add_test(t, a_frame_is_copied_word_by_word);
	tcase_add_test(t, frames_come_lowest_first_and_run_out);
	tcase_add_test(t, frame_content);
	tcase_add_test(t, engine_memory_is_clean_aligned_and_counted);
	tcase_add_test(t, the_nth_allocation_can_be_made_to_fail);
	tcase_add_test(t, copies_cross_pages_at_any_alignment);
	tcase_add_test(t, bad_addresses_are_efault);
	tcase_add_test(t, the_atomic_copy_walks_but_never_faults);
	tcase_add_test(t, host_pointers_are_the_test_programs);
	tcase_add_test(t, a_signal_does_not_end_a_copy);
	tcase_add_loop_test(t, misuse_is_found, 0, (int)ARRAY_LEN(bad));
	return t;
}

int main(void)
{
	Suite *s = suite_create("sim: memory");
	SRunner *r;
	int failed;

	suite_add_tcase(s, tlb_tests());
	suite_add_tcase(s, memory_tests());
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
