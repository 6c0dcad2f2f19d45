/* SPDX-License-Identifier: MIT */
/*
 * The races that write-protection, copy-on-write, fork, pins and soft-dirty have with one another, each over many
 * interleavings of a simulated machine. The bugs behind them are in docs/userfaultfd-semantics.md: 5.5, 5.8, 7 and 8.
 *
 * Two things are asked of every run. What the programs see must be right: no store is lost, no secret is read. And at each
 * point of the run a TLB may hold no more than the entry allows, unless somebody owes a flush just then (I1): a stale
 * translation is found even where nobody happened to store through it.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "machine/sim/sim.h"
#include "mm/mm.h"
#include "uffd/abi.h"
#include "uffd/uffd.h"

#define RW (MACH_PROT_R | MACH_PROT_W)
#define CPUS 5u
#define PAGES 4u
/* The range crosses from one leaf table to the next. */
#define VA ((va_t)0x7200000 - 2 * PAGE_SIZE)
#define SEEDS 100

/* ---- the schedule, and I1 at each of its points ------------------------------------------------------------------ */

static struct memory mem;
static struct uffd_system sys;
static struct mm parent, child;
static bool have_child;
static struct uffd_ctx *ctx; /* of parent */

static uint64_t rng;
static unsigned switch_one_in;
static uint64_t starved;      /* CPUs that get no turn while another can run */
static unsigned starved_left; /* points until others are */

static va_t page(unsigned i)
{
	return VA + i * PAGE_SIZE;
}

static unsigned random_below(unsigned n)
{
	rng = rng * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)((rng >> 33) % n);
}

/* The entry of va as memory has it: no point is announced, so that looking changes nothing. */
static pte_t entry_of(const struct mm *mm, va_t va)
{
	const pte_t *table = mm->as.root;

	for (unsigned level = PT_LEVELS - 1; level > 0; level--) {
		pte_t e = table[pt_index(va, level)];

		if (!pte_is_present(e))
			return (pte_t){0};
		table = (const pte_t *)(uintptr_t)(e.v & PTE_FRAME_MASK);
	}
	return table[pt_index(va, 0)];
}

/* Between the change of an entry and the end of its flush, translations may be wider: someone is at it, and says so. */
static bool flush_owed(const struct mm *mm)
{
	return mm->tlb_flush_pending || mm->mmap_lock.holder;
}

static void check_translation(const struct mm *mm, unsigned cpu, va_t va)
{
	struct sim_translation t;
	pte_t e;

	if (!sim_tlb_get(cpu, &mm->as, va, &t))
		return;
	e = entry_of(mm, va);
	if (pte_is_present(e) && pte_pfn(e) == t.pfn && (!(t.prot & MACH_PROT_W) || pte_writable(e)))
		return;
	ck_abort_msg("I1: cpu%u, %#llx: prot %u of frame %u stands in the TLB, the entry is %#llx", cpu, (unsigned long long)va,
		     t.prot, (unsigned)t.pfn, (unsigned long long)e.v);
}

static void check_translations(const struct mm *mm)
{
	if (flush_owed(mm))
		return;
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		for (unsigned p = 0; p < PAGES; p++)
			check_translation(mm, cpu, page(p));
}

static void check_all_translations(void)
{
	check_translations(&parent);
	if (have_child)
		check_translations(&child);
}

/*
 * A copy of a page is a thousand points, the window between a change and its flush ten: they meet only if somebody stands
 * still in the window for long. So some CPUs rest for a while, wherever they are, and then others; and whoever is about to
 * flush, or to take a lock, rests more often.
 */
static void starve(const struct sim_access *access)
{
	bool flush = access->kind == MACH_OBJ_TLB && access->mode == MACH_WRITE;
	bool here = (flush && random_below(8) == 0) || (access->kind == MACH_OBJ_LOCK && random_below(24) == 0);

	if (starved_left > 0 && !here) {
		starved_left--;
		return;
	}
	starved_left = 20u << random_below(8);
	starved = here ? (uint64_t)1 << access->cpu : 0;
	for (unsigned cpu = 0; cpu < CPUS; cpu++)
		if (random_below(3) == 0)
			starved |= (uint64_t)1 << cpu;
}

static bool choose_here(void *arg, const struct sim_access *access)
{
	if (access->kind != MACH_OBJ_CONTENT) /* of which there are many, and no entry changes */
		check_all_translations();
	starve(access);
	return (starved >> access->cpu & 1) || random_below(switch_one_in) == 0;
}

static unsigned choose(void *arg, uint64_t runnable, unsigned last)
{
	unsigned n;

	if (runnable & ~starved)
		runnable &= ~starved;
	n = random_below((unsigned)__builtin_popcountll(runnable));
	while (n-- > 0)
		runnable &= runnable - 1;
	return (unsigned)__builtin_ctzll(runnable);
}

/* ---- a world: a parent, perhaps a child, a context over the parent ------------------------------------------------- */

static void complain(void *arg, const char *text, va_t va)
{
	ck_abort_msg("mm_check of the %s: %s at %#llx", (const char *)arg, text, (unsigned long long)va);
}

static void check(void)
{
	ck_assert_int_eq(mm_check(&parent, complain, (void *)(uintptr_t) "parent"), 0);
	if (have_child)
		ck_assert_int_eq(mm_check(&child, complain, (void *)(uintptr_t) "child"), 0);
	check_all_translations();
}

static void create(int seed)
{
	static const unsigned one_in[] = {1, 2, 3, 5, 10, 30, 100};
	struct sim_config config = {.nr_cpus = CPUS, .nr_frames = 128, .point = choose_here, .pick = choose};

	rng = (uint64_t)seed * 0x9E3779B97F4A7C15u + 1;
	switch_one_in = one_in[(unsigned)seed % ARRAY_LEN(one_in)];
	starved = 0;
	starved_left = random_below(100);
	ck_assert_int_eq(sim_create(&config), 0);
	ck_assert_int_eq(memory_init(&mem, sim_machine()), 0);
	ck_assert_int_eq(uffd_system_init(&sys, sim_machine()), 0);
	ck_assert_int_eq(mm_init(&parent, &mem, &uffd_mm_ops), 0);
	sim_boot_as(&parent.as);
	ctx = NULL;
	have_child = false;
}

static void destroy_child(void)
{
	ck_assert_int_eq(mm_check(&child, complain, (void *)(uintptr_t) "child"), 0);
	have_child = false;
	mm_destroy(&child);
}

static void destroy(void)
{
	check();
	if (ctx)
		uffd_release(ctx);
	check();
	if (have_child)
		destroy_child();
	mm_destroy(&parent);
	uffd_system_destroy(&sys);
	memory_destroy(&mem);
	ck_assert_uint_eq(sim_frames_in_use(), 0);
	ck_assert_uint_eq(sim_mem_in_use(), 0);
	sim_destroy();
}

static void run_to_the_end(void)
{
	ck_assert_msg(sim_run() == SIM_DONE, "%s", sim_report());
	check();
}

static uint64_t load(struct mm *mm, va_t va)
{
	uint64_t v;

	ck_assert_int_eq(sim_load(&mm->as, va, 8, &v), FAULT_DONE);
	return v;
}

static void store(struct mm *mm, va_t va, uint64_t v)
{
	ck_assert_int_eq(sim_store(&mm->as, va, 8, v), FAULT_DONE);
}

/* What a reference shows, whatever the tables say. */
static uint64_t word_of_frame(uint64_t pfn, unsigned word)
{
	return ((const uint64_t *)sim_frame_ptr(pfn))[word];
}

static uint64_t frame_at(const struct mm *mm, va_t va)
{
	pte_t e = entry_of(mm, va);

	ck_assert(pte_is_present(e));
	return pte_pfn(e);
}

/* Page p of the parent is its own, and begins with 1 + p. */
static void map_pages(void)
{
	ck_assert_int_eq(mm_map(&parent, VA, page(PAGES), RW), 0);
	for (unsigned p = 0; p < PAGES; p++)
		store(&parent, page(p), 1 + p);
	check();
}

static void fork_child(void)
{
	ck_assert_int_eq(mm_init(&child, &mem, &uffd_mm_ops), 0);
	have_child = true;
	ck_assert_int_eq(mm_fork(&child, &parent), 0);
}

static uint64_t take(struct mm *mm, unsigned p, unsigned flags)
{
	uint64_t pfn;

	ck_assert_int_eq(mm_gup(mm, page(p), flags, &pfn), 0);
	return pfn;
}

static bool is_shared(unsigned p)
{
	return frame_at(&parent, page(p)) == frame_at(&child, page(p));
}

/* ---- the ABI, as a program calls it ---------------------------------------------------------------------------- */

static int call(unsigned long cmd, void *arg)
{
	return uffd_ioctl(ctx, cmd, (va_t)(uintptr_t)arg);
}

static void register_wp(void)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
	struct abi_fill a = {.start = VA, .len = PAGES * PAGE_SIZE, .mode = VM_UFFD_WP};

	ck_assert_int_eq(uffd_create(&sys, &parent, 0, &ctx), 0);
	ck_assert_int_eq(call(ABI_IOCTL_API, &api), 0);
	ck_assert_int_eq(call(ABI_IOCTL_REGISTER, &a), 0);
}

static void unregister(void)
{
	struct abi_range a = {.start = VA, .len = PAGES * PAGE_SIZE};

	ck_assert_int_eq(call(ABI_IOCTL_UNREGISTER, &a), 0);
}

static void write_protect(unsigned at, unsigned n, bool on)
{
	struct abi_wp a = {.start = page(at), .len = n * PAGE_SIZE, .mode = on ? ABI_WP_MODE_WP : 0};

	ck_assert_int_eq(call(ABI_IOCTL_WRITEPROTECT, &a), 0);
}

/* ---- programs that several tests run ---------------------------------------------------------------------------- */

#define ROUNDS 4u

static uint32_t writers; /* that are not finished */

static bool somebody_writes(void)
{
	return mach_load32(sim_machine(), &writers) > 0;
}

static void writer_is_done(void)
{
	mach_add32(sim_machine(), &writers, (uint32_t)-1);
}

static va_t own_word(unsigned p)
{
	return page(p) + 64 + 8 * sim_self();
}

/* Every other time page 0, so that the CPUs meet. */
static unsigned some_page(void)
{
	return random_below(2) ? 0 : random_below(PAGES);
}

static uint64_t stored[CPUS][PAGES];

/*
 * Each CPU has a word of its own in every page: it is always what the CPU stored last. Several stores in a row, for which only
 * the first one should need a look at the tables.
 */
static void write_own_words(void *arg)
{
	for (unsigned i = 0; i < 4 * ROUNDS; i++) {
		unsigned p = some_page();
		uint64_t *last = &stored[sim_self()][p];

		for (unsigned n = 1 + random_below(6); n > 0; n--) {
			store(&parent, own_word(p), ++*last);
			ck_assert_msg(load(&parent, own_word(p)) == *last, "cpu%u lost a store to page %u", sim_self(), p);
		}
	}
	writer_is_done();
}

/* CPUs first .. last store to their words of the parent while others run. */
static void spawn_writers(unsigned first, unsigned last)
{
	writers = last - first + 1;
	memset(stored, 0, sizeof(stored));
	for (unsigned cpu = first; cpu <= last; cpu++)
		sim_spawn(cpu, &parent.as, write_own_words, NULL);
}

static void expect_own_words(unsigned first, unsigned last)
{
	for (unsigned p = 0; p < PAGES; p++)
		for (unsigned cpu = first; cpu <= last; cpu++)
			ck_assert_msg(load(&parent, page(p) + 64 + 8 * cpu) == stored[cpu][p], "cpu%u lost a store to page %u",
				      cpu, p);
}

static void store_zero_to_own_words(void *arg)
{
	for (unsigned p = 0; p < PAGES; p++)
		store(&parent, own_word(p), 0);
}

/* The CPUs begin with translations that allow stores. */
static void warm_up(unsigned first, unsigned last)
{
	struct sim_translation t;

	for (unsigned cpu = first; cpu <= last; cpu++)
		sim_spawn(cpu, &parent.as, store_zero_to_own_words, NULL);
	run_to_the_end();
	for (unsigned cpu = first; cpu <= last; cpu++)
		for (unsigned p = 0; p < PAGES; p++)
			ck_assert(sim_tlb_get(cpu, &parent.as, page(p), &t) && (t.prot & MACH_PROT_W));
}

static void protect_while_written(void *arg)
{
	while (somebody_writes()) {
		unsigned at = some_page();

		write_protect(at, 1 + random_below(PAGES - at), true);
		for (unsigned i = random_below(20); i > 0; i--)
			sim_yield();
	}
}

/* Ends with everything resolved, whoever protected last, as long as nobody protects after the writers are done. */
static void resolve_while_written(void *arg)
{
	while (somebody_writes()) {
		write_protect(0, PAGES, false);
		sim_yield();
	}
}

static void protect_and_resolve_while_written(void *arg)
{
	while (somebody_writes()) {
		write_protect(some_page(), 1, true);
		sim_yield();
		write_protect(0, PAGES, false);
		for (unsigned i = random_below(20); i > 0; i--)
			sim_yield();
	}
}

/* References that come and go, as a speculative look-up's do: while one is there, a page that is not exclusive is copied. */
static void refer_while_written(void *arg)
{
	while (somebody_writes()) {
		uint64_t pfn = take(&parent, some_page(), 0);

		for (unsigned i = random_below(20); i > 0; i--)
			sim_yield();
		mm_gup_put(&parent, pfn, 0);
	}
}

/* ---- a store through a stale translation (litmus 1, seed 5) ------------------------------------------------------- */

static uint64_t held[PAGES];

static void hold_references(void)
{
	for (unsigned p = 0; p < PAGES; p++)
		held[p] = take(&parent, p, 0);
}

static void drop_references(void)
{
	for (unsigned p = 0; p < PAGES; p++)
		mm_gup_put(&parent, held[p], 0);
}

/*
 * CPUs 1 and 2 store, with translations from before. A reference on every page, and more that come and go: whoever decides by
 * counts must copy. Pages are exclusive, or shared by a fork (odd seeds).
 */
static void prepare_stale(int seed)
{
	create(seed);
	map_pages();
	warm_up(1, 2);
	if (seed % 2)
		fork_child();
	hold_references();
	register_wp();
	spawn_writers(1, 2);
	sim_spawn(3, &parent.as, refer_while_written, NULL);
}

static void expect_nothing_lost(int seed)
{
	run_to_the_end();
	expect_own_words(1, 2);
	for (unsigned p = 0; p < PAGES; p++)
		ck_assert_uint_eq(load(&parent, page(p)), 1 + p);
	for (unsigned p = 0; have_child && p < PAGES; p++) { /* what was shared is as it was */
		ck_assert_uint_eq(load(&child, page(p) + 64 + 8), 0);
		ck_assert_uint_eq(word_of_frame(held[p], 8 + 2), 0);
	}
	drop_references();
	destroy();
}

START_TEST(a_resolver_never_costs_a_store)
{
	prepare_stale(_i);
	sim_spawn(0, &parent.as, resolve_while_written, NULL);
	expect_nothing_lost(_i);
}
END_TEST

START_TEST(one_manager_never_costs_a_store)
{
	prepare_stale(_i);
	sim_spawn(0, &parent.as, protect_and_resolve_while_written, NULL);
	expect_nothing_lost(_i);
}
END_TEST

START_TEST(two_managers_never_cost_a_store)
{
	prepare_stale(_i);
	sim_spawn(0, &parent.as, protect_while_written, NULL);
	sim_spawn(4, &parent.as, resolve_while_written, NULL);
	expect_nothing_lost(_i);
}
END_TEST

/*
 * The same in its shortest form, again and again in one world: a page with a reference too many, a CPU whose translation is
 * lost, so that it must fault, and one whose translation allows stores; one protect, one resolve, one store each.
 */
static uint64_t nth_store;

static void protect_page0(void *arg)
{
	write_protect(0, 1, true);
}

static void resolve_page0(void *arg)
{
	write_protect(0, 1, false);
}

static void store_nth(void *arg)
{
	store(&parent, own_word(0), nth_store);
}

static void stores_race_once(bool with_protect, bool with_fork)
{
	uint64_t pfn;

	warm_up(1, 2);
	if (with_fork)
		fork_child();
	pfn = take(&parent, 0, 0);
	sim_tlb_evict(1, &parent.as, page(0));
	nth_store++;
	sim_spawn(1, &parent.as, store_nth, NULL);
	sim_spawn(2, &parent.as, store_nth, NULL);
	sim_spawn(4, &parent.as, resolve_page0, NULL);
	if (with_protect)
		sim_spawn(0, &parent.as, protect_page0, NULL);
	if (sim_run() == SIM_BLOCKED) { /* protected after it was resolved */
		resolve_page0(NULL);
		run_to_the_end();
	}
	resolve_page0(NULL);
	for (unsigned cpu = 1; cpu <= 2; cpu++)
		ck_assert_msg(load(&parent, page(0) + 64 + 8 * cpu) == nth_store, "cpu%u lost its store", cpu);
	mm_gup_put(&parent, pfn, 0);
	if (with_fork)
		destroy_child();
}

START_TEST(a_stale_translation_never_costs_a_store)
{
	create(_i);
	map_pages();
	register_wp();
	nth_store = 0;
	for (unsigned i = 0; i < 12; i++)
		stores_race_once(_i % 4, i % 4 == 3);
	destroy();
}
END_TEST

/* ---- two resolvers over shared pages (litmus 2, seed 1) ------------------------------------------------------------ */

static void resolve_once(void *arg)
{
	write_protect(0, PAGES, false);
}

static void read_first_words(void *arg)
{
	for (unsigned i = 0; i < 3 * PAGES; i++)
		ck_assert_uint_eq(load(&parent, page(i % PAGES)), 1 + i % PAGES);
}

static uint64_t now_stored;

/* Waits for a resolver, then copies the page. */
static void store_now(void *arg)
{
	for (unsigned p = 0; p < PAGES; p++)
		store(&parent, own_word(PAGES - 1 - p), now_stored);
}

static void resolvers_meet_once(void)
{
	write_protect(0, PAGES, true);
	fork_child();
	now_stored++;
	sim_spawn(0, &parent.as, resolve_once, NULL);
	sim_spawn(1, &parent.as, resolve_once, NULL);
	sim_spawn(2, &parent.as, read_first_words, NULL);
	sim_spawn(3, &parent.as, store_now, NULL);
	run_to_the_end();
	for (unsigned p = 0; p < PAGES; p++) {
		ck_assert_uint_eq(mm_pagemap(&parent, page(p)) & PM_UFFD_WP, 0);
		ck_assert_uint_eq(load(&parent, page(p)), 1 + p);
		ck_assert_uint_eq(load(&parent, page(p) + 64 + 24), now_stored);
		ck_assert_uint_eq(load(&child, page(p)), 1 + p);
		ck_assert_uint_eq(load(&child, page(p) + 64 + 24), now_stored - 1);
		ck_assert(!is_shared(p));
	}
	destroy_child();
}

START_TEST(resolvers_of_shared_pages_meet)
{
	create(_i);
	map_pages();
	register_wp();
	now_stored = 0;
	for (unsigned i = 0; i < 8; i++)
		resolvers_meet_once();
	destroy();
}
END_TEST

/* Resolving copies nothing: a page that nobody wrote is still shared. */
START_TEST(resolving_alone_copies_nothing)
{
	create(_i);
	map_pages();
	fork_child();
	register_wp();
	write_protect(0, PAGES, true);
	sim_spawn(0, &parent.as, resolve_once, NULL);
	sim_spawn(1, &parent.as, resolve_once, NULL);
	sim_spawn(2, &parent.as, read_first_words, NULL);
	run_to_the_end();
	for (unsigned p = 0; p < PAGES; p++)
		ck_assert(is_shared(p));
	ck_assert_uint_eq(sim_frames_in_use(), PAGES);
	destroy();
}
END_TEST

/* ---- a copy carries the bit (litmus 3) ----------------------------------------------------------------------------- */

static uint64_t pinned;
static unsigned announced;
static uint64_t snapshot;

static void pin_page0(void *arg)
{
	pinned = take(&parent, 0, GUP_PIN);
}

static void store_2_to_page0(void *arg)
{
	store(&parent, page(0), 2);
}

/* Everything that is written is announced first, and the page still has its old content then. */
static void look_and_resolve(void *arg)
{
	struct uffd_msg msg;

	ck_assert_int_eq(uffd_read(ctx, (va_t)(uintptr_t)&msg, sizeof(msg), false), sizeof(msg));
	ck_assert_uint_eq(msg.event, UFFD_EVENT_PAGEFAULT);
	ck_assert(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP);
	snapshot = load(&parent, page(0));
	announced++;
	write_protect(0, 1, false);
}

static void prepare_protected_shared(int seed)
{
	create(seed);
	map_pages();
	fork_child();
	register_wp();
	write_protect(0, PAGES, true);
	announced = 0;
}

START_TEST(unshare_keeps_the_protection)
{
	unsigned bits;

	prepare_protected_shared(0);
	mm_clear_soft_dirty(&parent);
	pin_page0(NULL);
	check();
	bits = mm_pagemap(&parent, page(0));
	ck_assert_uint_eq(bits, PM_PRESENT | PM_UFFD_WP | PM_EXCLUSIVE); /* and still not soft-dirty: nothing was written */
	ck_assert(!is_shared(0));
	ck_assert_uint_eq(frame_at(&parent, page(0)), pinned);
	ck_assert_uint_eq(word_of_frame(pinned, 0), 1);
	sim_spawn(1, &parent.as, store_2_to_page0, NULL);
	ck_assert_int_eq(sim_run(), SIM_BLOCKED);
	ck_assert_int_eq(sim_cpu_block(1).kind, MACH_WAIT_FAULT);
	sim_spawn(2, &parent.as, look_and_resolve, NULL);
	run_to_the_end();
	ck_assert_uint_eq(snapshot, 1);
	ck_assert_uint_eq(frame_at(&parent, page(0)), pinned);
	mm_gup_put(&parent, pinned, GUP_PIN);
	destroy();
}
END_TEST

START_TEST(unshare_keeps_soft_dirty)
{
	create(0);
	map_pages();
	fork_child();
	ck_assert(mm_pagemap(&parent, page(0)) & PM_SOFT_DIRTY);
	pin_page0(NULL);
	ck_assert(!is_shared(0));
	ck_assert(mm_pagemap(&parent, page(0)) & PM_SOFT_DIRTY);
	mm_gup_put(&parent, pinned, GUP_PIN);
	destroy();
}
END_TEST

START_TEST(a_store_is_announced_whoever_copies_first)
{
	prepare_protected_shared(_i);
	sim_spawn(0, &parent.as, pin_page0, NULL);
	sim_spawn(1, &parent.as, store_2_to_page0, NULL);
	sim_spawn(2, &parent.as, look_and_resolve, NULL);
	run_to_the_end();
	ck_assert_uint_eq(announced, 1);
	ck_assert_uint_eq(snapshot, 1);
	ck_assert_uint_eq(load(&parent, page(0)), 2);
	ck_assert_uint_eq(load(&child, page(0)), 1);
	ck_assert_uint_eq(frame_at(&parent, page(0)), pinned); /* the pin is of the program's page */
	ck_assert_uint_eq(word_of_frame(pinned, 0), 2);
	mm_gup_put(&parent, pinned, GUP_PIN);
	destroy();
}
END_TEST

/* ---- a reference does not show what was written later (litmus 4, seed 5) -------------------------------------------- */

struct thief {
	struct mm *mm;
	bool unmaps;
};

/* A reference to a shared page, as vmsplice takes one. It shows what was there, for ever. */
static void steal(void *arg)
{
	const struct thief *t = arg;
	uint64_t pfn = take(t->mm, 0, 0);
	bool more;

	if (t->unmaps)
		ck_assert_int_eq(mm_unmap(t->mm, page(0), page(1)), 0);
	do {
		more = somebody_writes();
		ck_assert_msg(word_of_frame(pfn, 0) == 1 && word_of_frame(pfn, 511) == 0, "the secret got out");
		sim_yield();
	} while (more);
	mm_gup_put(t->mm, pfn, 0);
}

static void store_secrets(void *arg)
{
	struct mm *mm = arg;

	store(mm, page(0), 42);
	store(mm, page(0) + 4088, 43);
	ck_assert_uint_eq(load(mm, page(0)), 42);
	writer_is_done();
}

START_TEST(a_reference_never_shows_a_secret)
{
	bool child_steals = _i % 2;
	struct thief thief = {child_steals ? &child : &parent, _i / 2 % 2};
	struct mm *victim = child_steals ? &parent : &child;

	create(_i);
	map_pages();
	fork_child();
	writers = 1;
	sim_spawn(0, &thief.mm->as, steal, &thief);
	sim_spawn(1, &victim->as, store_secrets, victim);
	run_to_the_end();
	ck_assert_uint_eq(load(victim, page(0)), 42);
	ck_assert_uint_eq(load(victim, page(0) + 4088), 43);
	if (!thief.unmaps)
		ck_assert_uint_eq(load(thief.mm, page(0)), 1);
	ck_assert_uint_eq(sim_frames_in_use(), PAGES + !thief.unmaps);
	destroy();
}
END_TEST

/* In this order the attack worked: shared, referred to, unmapped, so that one mapping is left; then the secret. */
START_TEST(one_mapping_left_is_not_one_owner)
{
	bool child_steals = _i;
	struct mm *thief = child_steals ? &child : &parent, *victim = child_steals ? &parent : &child;
	uint64_t pfn;

	create(0);
	map_pages();
	fork_child();
	pfn = take(thief, 0, 0);
	ck_assert_int_eq(mm_unmap(thief, page(0), page(1)), 0);
	store(victim, page(0), 42);
	check();
	ck_assert_uint_eq(word_of_frame(pfn, 0), 1);
	ck_assert_uint_ne(frame_at(victim, page(0)), pfn);
	mm_gup_put(thief, pfn, 0);
	store(victim, page(1), 42); /* and without a thief, a page whose other owner left is not copied: */
	ck_assert_int_eq(mm_unmap(thief, page(2), page(3)), 0);
	pfn = frame_at(victim, page(2));
	store(victim, page(2), 42);
	ck_assert_uint_eq(frame_at(victim, page(2)), pfn);
	destroy();
}
END_TEST

/* ---- references that come and go ---------------------------------------------------------------------------------- */

/* Protection taken and given back, so that stores fault and the question of ownership is asked again and again. */
static void reprotect_while_written(void *arg)
{
	while (somebody_writes()) {
		unsigned p = random_below(PAGES);

		ck_assert_int_eq(mm_protect(&parent, page(p), page(p + 1), MACH_PROT_R), 0);
		ck_assert_int_eq(mm_protect(&parent, page(p), page(p + 1), RW), 0);
		mm_clear_soft_dirty(&parent); /* this alone makes the next store fault */
		sim_yield();
	}
}

static void write_despite_mprotect(void *arg)
{
	for (unsigned i = 0; i < ROUNDS * PAGES;) {
		uint64_t *last = &stored[sim_self()][i % PAGES];
		enum fault_result r = sim_store(&parent.as, own_word(i % PAGES), 8, *last + 1);

		ck_assert(r == FAULT_DONE || r == FAULT_ACCERR);
		i += r == FAULT_DONE;
		*last += r == FAULT_DONE;
	}
	writer_is_done();
}

START_TEST(a_passing_reference_takes_no_page_away)
{
	uint64_t frame[PAGES];

	create(_i);
	map_pages();
	for (unsigned p = 0; p < PAGES; p++)
		frame[p] = frame_at(&parent, page(p));
	writers = 2;
	memset(stored, 0, sizeof(stored));
	sim_spawn(0, &parent.as, refer_while_written, NULL);
	sim_spawn(1, &parent.as, write_despite_mprotect, NULL);
	sim_spawn(2, &parent.as, write_despite_mprotect, NULL);
	sim_spawn(3, &parent.as, reprotect_while_written, NULL);
	run_to_the_end();
	expect_own_words(1, 2);
	for (unsigned p = 0; p < PAGES; p++)
		ck_assert_uint_eq(frame_at(&parent, page(p)), frame[p]);
	ck_assert_uint_eq(sim_frames_in_use(), PAGES);
	destroy();
}
END_TEST

static void write_in_child(void *arg)
{
	for (uint64_t r = 1; r <= ROUNDS; r++)
		for (unsigned p = 0; p < PAGES; p++)
			store(&child, own_word(p), 100 + r);
	writer_is_done();
}

static void refer_in_child(void *arg)
{
	while (somebody_writes()) {
		uint64_t pfn = take(&child, random_below(PAGES), 0);

		sim_yield();
		mm_gup_put(&child, pfn, 0);
	}
}

/* Both sides write shared pages while references pass: copies may be made in vain, but everyone ends with pages of his own. */
START_TEST(a_passing_reference_mixes_nothing_up)
{
	create(_i);
	map_pages();
	fork_child();
	spawn_writers(1, 2);
	writers++;
	sim_spawn(0, &parent.as, refer_while_written, NULL);
	sim_spawn(3, &child.as, write_in_child, NULL);
	sim_spawn(4, &child.as, refer_in_child, NULL);
	run_to_the_end();
	expect_own_words(1, 2);
	for (unsigned p = 0; p < PAGES; p++) {
		store(&parent, page(p), 1 + p); /* if nobody happened to store to it */
		ck_assert(!is_shared(p));
		ck_assert_uint_eq(load(&parent, page(p) + 64 + 24), 0);
		ck_assert_uint_eq(load(&child, page(p) + 64 + 24), 100 + ROUNDS);
		ck_assert_uint_eq(load(&child, page(p) + 64 + 8), 0);
		ck_assert_uint_eq(load(&child, page(p)), 1 + p);
	}
	ck_assert_uint_eq(sim_frames_in_use(), 2 * PAGES);
	destroy();
}
END_TEST

/* ---- pinned pages at fork (I4) -------------------------------------------------------------------------------------- */

static void dma(uint64_t pfn, unsigned word, uint64_t v)
{
	((uint64_t *)(uintptr_t)sim_frame_ptr(pfn))[word] = v;
}

START_TEST(a_pinned_page_is_not_shared_by_fork)
{
	unsigned flags = _i % 2 ? GUP_PIN : GUP_PIN | GUP_WRITE;
	uint64_t pfn;

	create(0);
	map_pages();
	pfn = take(&parent, 0, flags);
	fork_child();
	check();
	ck_assert(!is_shared(0) && is_shared(1));
	ck_assert_uint_eq(frame_at(&parent, page(0)), pfn);
	ck_assert(mm_pagemap(&parent, page(0)) & PM_EXCLUSIVE);
	ck_assert_uint_eq(mm_pagemap(&parent, page(1)) & PM_EXCLUSIVE, 0);
	store(&parent, page(0), 42);
	ck_assert_uint_eq(frame_at(&parent, page(0)), pfn);
	ck_assert_uint_eq(word_of_frame(pfn, 0), 42);
	dma(pfn, 1, 43);
	ck_assert_uint_eq(load(&parent, page(0) + 8), 43);
	ck_assert_uint_eq(load(&child, page(0)), 1);
	ck_assert_uint_eq(load(&child, page(0) + 8), 0);
	store(&child, page(0), 44);
	ck_assert_uint_eq(word_of_frame(pfn, 0), 42);
	mm_gup_put(&parent, pfn, flags);
	destroy();
}
END_TEST

/* The parent's protection stays, of the pinned page 0 and of the others; the child has none. */
START_TEST(fork_leaves_the_protection_to_the_parent)
{
	create(0);
	map_pages();
	register_wp();
	pinned = take(&parent, 0, GUP_PIN);
	write_protect(0, 2, true);
	fork_child();
	check();
	for (unsigned p = 0; p < PAGES; p++) {
		ck_assert_uint_eq(mm_pagemap(&parent, page(p)) & PM_UFFD_WP, p < 2 ? PM_UFFD_WP : 0);
		ck_assert_uint_eq(mm_pagemap(&child, page(p)) & PM_UFFD_WP, 0);
		store(&child, page(p), 42);
		ck_assert_uint_eq(load(&parent, page(p)), 1 + p);
	}
	mm_gup_put(&parent, pinned, GUP_PIN);
	destroy();
}
END_TEST

START_TEST(a_mere_reference_does_not_stop_sharing)
{
	uint64_t pfn;

	create(0);
	map_pages();
	pfn = take(&parent, 0, 0);
	fork_child();
	ck_assert(is_shared(0));
	ck_assert_uint_eq(mm_pagemap(&parent, page(0)) & PM_EXCLUSIVE, 0);
	mm_gup_put(&parent, pfn, 0);
	pfn = take(&parent, 1, GUP_PIN); /* a pin given back is no pin either */
	mm_gup_put(&parent, pfn, GUP_PIN);
	destroy_child();
	fork_child();
	ck_assert(is_shared(1));
	destroy();
}
END_TEST

#define DMA_WORD 20u

/* As long as a pin is held, it and the program mean the same page: each sees what the other stores. */
static void pin_while_written(void *arg)
{
	uint64_t n = 0;

	while (somebody_writes()) {
		unsigned p = random_below(PAGES), flags = random_below(2) ? GUP_PIN : GUP_PIN | GUP_WRITE;
		uint64_t pfn = take(&parent, p, flags);

		for (unsigned i = random_below(30); i > 0; i--) {
			uint64_t seen = load(&parent, page(p) + 64 + 8);

			ck_assert_uint_ge(word_of_frame(pfn, 8 + 1), seen);
			if (flags & GUP_WRITE)
				dma(pfn, DMA_WORD, ++n);
			sim_yield();
		}
		ck_assert_uint_eq(frame_at(&parent, page(p)), pfn);
		ck_assert_uint_eq(load(&parent, page(p) + 8 * DMA_WORD), word_of_frame(pfn, DMA_WORD));
		mm_gup_put(&parent, pfn, flags);
	}
}

/* A child has what was there when it began: neither stores nor transfers reach it. */
static void fork_and_watch_while_written(void *arg)
{
	while (somebody_writes()) {
		uint64_t word[PAGES], transfer[PAGES];

		fork_child();
		for (unsigned p = 0; p < PAGES; p++) {
			word[p] = load(&child, page(p) + 64 + 8);
			transfer[p] = load(&child, page(p) + 8 * DMA_WORD);
		}
		for (unsigned i = 0; i < 20; i++)
			sim_yield();
		for (unsigned p = 0; p < PAGES; p++) {
			ck_assert_uint_eq(load(&child, page(p) + 64 + 8), word[p]);
			ck_assert_uint_eq(load(&child, page(p) + 8 * DMA_WORD), transfer[p]);
		}
		destroy_child();
	}
}

START_TEST(pins_come_and_go_while_forks_do)
{
	create(_i);
	map_pages();
	spawn_writers(1, 2);
	sim_spawn(0, &parent.as, pin_while_written, NULL);
	sim_spawn(3, &parent.as, fork_and_watch_while_written, NULL);
	sim_spawn(4, &parent.as, refer_while_written, NULL);
	run_to_the_end();
	expect_own_words(1, 2);
	ck_assert_uint_eq(sim_frames_in_use(), PAGES);
	destroy();
}
END_TEST

/* ---- soft-dirty (litmus 6, seed 3) ---------------------------------------------------------------------------------- */

static bool is_soft_dirty(unsigned p)
{
	return mm_pagemap(&parent, page(p)) & PM_SOFT_DIRTY;
}

static void way_unregister(void)
{
	register_wp();
	unregister();
}

static void way_resolve(void)
{
	register_wp();
	write_protect(0, PAGES, true);
	write_protect(0, PAGES, false);
}

static void way_unregister_protected(void)
{
	register_wp();
	write_protect(0, PAGES, true);
	unregister();
}

static void way_close(void)
{
	register_wp();
	write_protect(0, PAGES, true);
	uffd_release(ctx);
	ctx = NULL;
}

static void way_mprotect(void)
{
	ck_assert_int_eq(mm_protect(&parent, VA, page(PAGES), MACH_PROT_R), 0);
	ck_assert_int_eq(mm_protect(&parent, VA, page(PAGES), RW), 0);
}

static void way_pin(void)
{
	mm_gup_put(&parent, take(&parent, 0, GUP_PIN), GUP_PIN);
}

static void way_fork(void)
{
	fork_child();
	destroy_child();
}

static void way_fork_and_pin(void)
{
	fork_child();
	way_pin();
}

static void (*const ways[])(void) = {
	way_unregister, way_resolve, way_unregister_protected, way_close, way_mprotect, way_pin, way_fork, way_fork_and_pin,
};

/* Whatever takes write permission away and gives it back must remember that the first write is still to be recorded. */
START_TEST(soft_dirty_is_not_lost_on_the_way)
{
	create(0);
	map_pages();
	ck_assert(is_soft_dirty(0));
	mm_clear_soft_dirty(&parent);
	check();
	for (unsigned p = 0; p < PAGES; p++)
		ck_assert(!is_soft_dirty(p));
	ways[_i]();
	check();
	ck_assert_uint_eq(load(&parent, page(0)), 1);
	ck_assert(!is_soft_dirty(0)); /* nothing was written yet */
	store(&parent, page(0), 2);
	ck_assert(is_soft_dirty(0));
	ck_assert(!is_soft_dirty(1));
	mm_clear_soft_dirty(&parent);
	store(&parent, page(0), 3);
	ck_assert(is_soft_dirty(0));
	destroy();
}
END_TEST

START_TEST(a_new_page_is_soft_dirty)
{
	create(0);
	map_pages();
	ck_assert_int_eq(mm_dontneed(&parent, page(0), page(2)), 0);
	mm_clear_soft_dirty(&parent);
	ck_assert_uint_eq(load(&parent, page(1)), 0);
	store(&parent, page(0), 1);
	store(&parent, page(1), 1);
	ck_assert(is_soft_dirty(0) && is_soft_dirty(1));
	destroy();
}
END_TEST

static uint32_t asked, answered;

/* Store all the time, and once more each time that the tracker asks. */
static void store_when_asked(void *arg)
{
	uint64_t n = 0;

	for (uint32_t ask; (ask = mach_load32(sim_machine(), &asked)) != 99; sim_yield()) {
		for (unsigned p = 0; p < PAGES; p++)
			store(&parent, own_word(p), ++n);
		mach_store32(sim_machine(), &answered, ask);
	}
	writer_is_done();
}

/* A store that begins after the bits were cleared sets the bit again: nobody may go on with an old translation. */
static void clear_and_ask(void *arg)
{
	for (uint32_t i = 1; i <= 5; i++) {
		mm_clear_soft_dirty(&parent);
		mach_store32(sim_machine(), &asked, i);
		while (mach_load32(sim_machine(), &answered) != i)
			sim_yield();
		for (unsigned p = 0; p < PAGES; p++)
			ck_assert_msg(is_soft_dirty(p), "a store to page %u was not recorded", p);
	}
	mach_store32(sim_machine(), &asked, 99);
}

START_TEST(soft_dirty_is_not_lost_in_a_race)
{
	create(_i);
	map_pages();
	register_wp();
	asked = answered = 0;
	writers = 1;
	sim_spawn(0, &parent.as, clear_and_ask, NULL);
	sim_spawn(1, &parent.as, store_when_asked, NULL);
	sim_spawn(2, &parent.as, protect_and_resolve_while_written, NULL);
	run_to_the_end();
	destroy();
}
END_TEST

/* ---- fork against stores ---------------------------------------------------------------------------------------------- */

#define STORES 40u
#define ECHO_WORD 30u

static uint64_t begun[CPUS], returned[CPUS];

/* 1, 2, 3, ... to the pages in turn */
static void count_over_pages(void *arg)
{
	unsigned me = sim_self();

	for (uint64_t i = 1; i <= STORES; i++) {
		begun[me] = i;
		store(&parent, own_word((unsigned)i % PAGES), i);
		returned[me] = i;
	}
	writer_is_done();
}

/* What CPU 1 stored to page 0, into the last page: never newer than its source. */
static void echo(void *arg)
{
	while (somebody_writes())
		store(&parent, page(PAGES - 1) + 8 * ECHO_WORD, load(&parent, page(0) + 64 + 8));
}

/* The last number up to n that went to page p. */
static uint64_t last_in_page(uint64_t n, unsigned p)
{
	while (n > 0 && n % PAGES != p)
		n--;
	return n;
}

/* A child has of each CPU's stores all up to one, and no later: those before the fork, perhaps some of those during it. */
static void expect_prefix(unsigned cpu, uint64_t at_least, uint64_t at_most)
{
	uint64_t n = 0;

	for (unsigned p = 0; p < PAGES; p++)
		n = max_u64(n, load(&child, page(p) + 64 + 8 * cpu));
	ck_assert_msg(n >= at_least, "cpu%u: store %u was before the fork", cpu, (unsigned)at_least);
	ck_assert_msg(n <= at_most, "cpu%u: store %u was after the fork", cpu, (unsigned)n);
	for (unsigned p = 0; p < PAGES; p++)
		ck_assert_uint_eq(load(&child, page(p) + 64 + 8 * cpu), last_in_page(n, p));
}

static void fork_and_compare(void)
{
	uint64_t before[CPUS], after[CPUS];

	ck_assert_int_eq(mm_init(&child, &mem, &uffd_mm_ops), 0);
	have_child = true;
	memcpy(before, returned, sizeof(before));
	ck_assert_int_eq(mm_fork(&child, &parent), 0);
	memcpy(after, begun, sizeof(after));
	for (unsigned round = 0; round < 3; round++) {
		expect_prefix(1, before[1], after[1]);
		expect_prefix(2, before[2], after[2]);
		ck_assert_uint_le(load(&child, page(PAGES - 1) + 8 * ECHO_WORD), load(&child, page(0) + 64 + 8));
		for (unsigned p = 0; p < PAGES; p++)
			ck_assert_uint_eq(mm_pagemap(&child, page(p)) & PM_UFFD_WP, 0);
		store(&child, page(round), 77);
	}
}

static void fork_twice(void *arg)
{
	for (unsigned n = 0; n < 2; n++) {
		while (returned[1] < 4 + 8 * n && somebody_writes())
			sim_yield();
		if (n)
			destroy_child();
		fork_and_compare();
	}
}

START_TEST(a_child_has_what_was_stored_before_it)
{
	create(_i);
	map_pages();
	memset(begun, 0, sizeof(begun));
	memset(returned, 0, sizeof(returned));
	writers = 2;
	sim_spawn(0, &parent.as, fork_twice, NULL);
	sim_spawn(1, &parent.as, count_over_pages, NULL);
	sim_spawn(2, &parent.as, count_over_pages, NULL);
	if (_i % 3)
		sim_spawn(3, &parent.as, echo, NULL);
	if (_i % 2) {
		register_wp();
		sim_spawn(4, &parent.as, protect_and_resolve_while_written, NULL);
	}
	run_to_the_end();
	for (unsigned p = 0; p < PAGES; p++)
		for (unsigned cpu = 1; cpu <= 2; cpu++)
			ck_assert_uint_eq(load(&parent, page(p) + 64 + 8 * cpu), last_in_page(STORES, p));
	for (unsigned p = 0; p < PAGES; p++)
		ck_assert_uint_eq(load(&parent, page(p)), 1 + p);
	destroy();
}
END_TEST

/* ---- every allocation fails in its turn ------------------------------------------------------------------------------ */

/* prepare runs without failures. run: 0 or -ENOMEM; it is called again after a failure, and then what it did is verified. */
struct operation {
	const char *name;
	void (*prepare)(void);
	int (*run)(void);
	void (*verify)(void);
};

#define FAR_TABLES 20u
#define FAR_ZERO 3u /* the zero page is there */
static unsigned far_pinned;
static uint64_t far_pin;

static va_t far_page(unsigned i)
{
	return ((va_t)1 << 32) + i * PMD_SIZE + i * PAGE_SIZE; /* not all in one set of the TLB */
}

/* Many tables and many vmas, a pinned page, a protected one and a zero page: the child needs memory of every kind. */
static void prepare_fork_with_pin(unsigned at)
{
	far_pinned = at;
	map_pages();
	register_wp();
	write_protect(1, 1, true);
	for (unsigned i = 0; i < FAR_TABLES; i++) {
		ck_assert_int_eq(mm_map(&parent, far_page(i), far_page(i) + PAGE_SIZE, RW), 0);
		if (i == FAR_ZERO)
			ck_assert_uint_eq(load(&parent, far_page(i)), 0);
		else
			store(&parent, far_page(i), 200 + i);
	}
	ck_assert_int_eq(mm_gup(&parent, far_page(at), GUP_PIN, &far_pin), 0);
}

static void prepare_fork(void)
{
	prepare_fork_with_pin(1);
}

/* The table that the child has no memory for is now that of the pinned page. */
static void prepare_fork_pin_late(void)
{
	prepare_fork_with_pin(9);
}

static int op_fork(void)
{
	int r = mm_init(&child, &mem, &uffd_mm_ops);

	if (r)
		return r;
	have_child = true;
	r = mm_fork(&child, &parent);
	check();
	for (unsigned i = 0; i < FAR_TABLES; i++)
		check_translation(&parent, 0, far_page(i));
	if (r)
		destroy_child();
	return r;
}

static void expect_far(struct mm *mm, uint64_t base)
{
	for (unsigned i = 0; i < FAR_TABLES; i++)
		ck_assert_uint_eq(load(mm, far_page(i)), i == FAR_ZERO ? 0 : base + i);
}

static void verify_fork(void)
{
	expect_far(&parent, 200);
	expect_far(&child, 200);
	ck_assert_uint_eq(mm_pagemap(&parent, page(1)) & PM_UFFD_WP, PM_UFFD_WP);
	ck_assert_uint_eq(frame_at(&parent, far_page(far_pinned)), far_pin);
	ck_assert_uint_ne(frame_at(&child, far_page(far_pinned)), far_pin);
	for (unsigned i = 0; i < FAR_TABLES; i++)
		if (i != FAR_ZERO)
			store(&parent, far_page(i), 300 + i);
	expect_far(&parent, 300);
	expect_far(&child, 200);
	mm_gup_put(&parent, far_pin, GUP_PIN);
}

static void prepare_shared(void)
{
	map_pages();
	fork_child();
}

static int op_cow(void)
{
	enum fault_result r = sim_store(&parent.as, page(2), 8, 9);

	ck_assert(r == FAULT_DONE || r == FAULT_OOM);
	if (r == FAULT_OOM) /* still shared, and still to be read */
		ck_assert(is_shared(2) && load(&parent, page(2)) == 3);
	return r == FAULT_DONE ? 0 : -ENOMEM;
}

static void verify_cow(void)
{
	ck_assert_uint_eq(load(&parent, page(2)), 9);
	ck_assert_uint_eq(load(&child, page(2)), 3);
}

static void prepare_protected(void)
{
	prepare_shared();
	register_wp();
	write_protect(0, PAGES, true);
}

static int op_unshare(void)
{
	int r = mm_gup(&parent, page(1), GUP_PIN, &pinned);

	ck_assert(mm_pagemap(&parent, page(1)) & PM_UFFD_WP);
	if (r)
		ck_assert(is_shared(1));
	return r;
}

static void verify_unshare(void)
{
	ck_assert(!is_shared(1));
	ck_assert_uint_eq(frame_at(&parent, page(1)), pinned);
	ck_assert_uint_eq(word_of_frame(pinned, 0), 2);
	mm_gup_put(&parent, pinned, GUP_PIN);
}

static int op_write_pin(void)
{
	return mm_gup(&parent, page(1), GUP_PIN | GUP_WRITE, &pinned);
}

static void verify_write_pin(void)
{
	ck_assert(!is_shared(1));
	ck_assert_uint_eq(frame_at(&parent, page(1)), pinned);
	mm_gup_put(&parent, pinned, GUP_PIN | GUP_WRITE);
}

static const struct operation operations[] = {
	{"fork", prepare_fork, op_fork, verify_fork},
	{"fork, pin late", prepare_fork_pin_late, op_fork, verify_fork},
	{"copy-on-write", prepare_shared, op_cow, verify_cow},
	{"unshare", prepare_protected, op_unshare, verify_unshare},
	{"pin for writing", prepare_shared, op_write_pin, verify_write_pin},
};

/* True: the n-th allocation was reached, and failed. */
static bool fail_nth(const struct operation *op, uint64_t n)
{
	uint64_t before, frames;
	bool reached;
	int r;

	create(0);
	op->prepare();
	check();
	before = sim_alloc_count();
	frames = sim_frames_in_use();
	sim_fail_alloc_at(n);
	r = op->run();
	reached = sim_alloc_count() >= before + n;
	sim_fail_alloc_at(0);
	check();
	ck_assert_msg(!reached || r == -ENOMEM, "%s: allocation %u failed unnoticed", op->name, (unsigned)n);
	ck_assert_msg(r == 0 || (reached && r == -ENOMEM), "%s, allocation %u: %d", op->name, (unsigned)n, r);
	if (r) {
		ck_assert_msg(sim_frames_in_use() == frames, "%s: frames leaked at allocation %u", op->name, (unsigned)n);
		ck_assert_msg(op->run() == 0, "%s: not possible after allocation %u failed once", op->name, (unsigned)n);
		check();
	}
	op->verify();
	destroy();
	return reached;
}

START_TEST(an_allocation_that_fails_does_no_harm)
{
	uint64_t n = 1;

	while (fail_nth(&operations[_i], n))
		n++;
	ck_assert_msg(n > 1, "%s: needs no memory, and proves nothing", operations[_i].name);
}
END_TEST

/* ---- suite ----------------------------------------------------------------------------------------------------- */

static TCase *rules(void)
{
	TCase *t = tcase_create("rules");

	tcase_add_test(t, unshare_keeps_the_protection);
	tcase_add_test(t, unshare_keeps_soft_dirty);
	tcase_add_loop_test(t, one_mapping_left_is_not_one_owner, 0, 2);
	tcase_add_loop_test(t, a_pinned_page_is_not_shared_by_fork, 0, 2);
	tcase_add_test(t, fork_leaves_the_protection_to_the_parent);
	tcase_add_test(t, a_mere_reference_does_not_stop_sharing);
	tcase_add_loop_test(t, soft_dirty_is_not_lost_on_the_way, 0, (int)ARRAY_LEN(ways));
	tcase_add_test(t, a_new_page_is_soft_dirty);
	tcase_add_loop_test(t, an_allocation_that_fails_does_no_harm, 0, (int)ARRAY_LEN(operations));
	return t;
}

static TCase *races(void)
{
	TCase *t = tcase_create("races");

	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, a_resolver_never_costs_a_store, 0, SEEDS);
	tcase_add_loop_test(t, one_manager_never_costs_a_store, 0, SEEDS);
	tcase_add_loop_test(t, two_managers_never_cost_a_store, 0, SEEDS);
	tcase_add_loop_test(t, a_stale_translation_never_costs_a_store, 0, SEEDS);
	tcase_add_loop_test(t, resolvers_of_shared_pages_meet, 0, SEEDS);
	tcase_add_loop_test(t, resolving_alone_copies_nothing, 0, SEEDS);
	tcase_add_loop_test(t, a_store_is_announced_whoever_copies_first, 0, SEEDS);
	tcase_add_loop_test(t, a_reference_never_shows_a_secret, 0, 2 * SEEDS);
	tcase_add_loop_test(t, a_passing_reference_takes_no_page_away, 0, SEEDS);
	tcase_add_loop_test(t, a_passing_reference_mixes_nothing_up, 0, SEEDS);
	tcase_add_loop_test(t, pins_come_and_go_while_forks_do, 0, SEEDS);
	tcase_add_loop_test(t, soft_dirty_is_not_lost_in_a_race, 0, SEEDS);
	tcase_add_loop_test(t, a_child_has_what_was_stored_before_it, 0, 2 * SEEDS);
	return t;
}

int main(void)
{
	Suite *s = suite_create("fork, pins and copy-on-write on sim");
	SRunner *r;
	int failed;

	suite_add_tcase(s, rules());
	suite_add_tcase(s, races());
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
