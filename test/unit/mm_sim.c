/* SPDX-License-Identifier: MIT */
/*
 * The engine over frames, on the simulated machine: mappings, demand zero, userfaultfd with a monitor on another CPU,
 * many interleavings, and every allocation failing in its turn. mm_check() runs after every step.
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
#define VA ((va_t)0x7000000)
#define SEEDS 60

/* ---- a world: one address space, one context ------------------------------------------------------------------- */

static struct memory mem;
static struct uffd_system sys;
static struct mm mm;
static struct uffd_ctx *ctx;

static va_t page(unsigned i)
{
	return VA + i * PAGE_SIZE;
}

static void complain(void *arg, const char *text, va_t va)
{
	ck_abort_msg("mm_check: %s at %#llx", text, (unsigned long long)va);
}

static void check(void)
{
	ck_assert_int_eq(mm_check(&mm, complain, NULL), 0);
}

static void create_on(const struct sim_config *config)
{
	ck_assert_int_eq(sim_create(config), 0);
	ck_assert_int_eq(memory_init(&mem, sim_machine()), 0);
	ck_assert_int_eq(uffd_system_init(&sys, sim_machine()), 0);
	ck_assert_int_eq(mm_init(&mm, &mem, &uffd_mm_ops), 0);
	sim_boot_as(&mm.as);
	ctx = NULL;
}

static void create(uint64_t seed)
{
	create_on(&(struct sim_config){.nr_cpus = 4, .seed = seed, .switch_one_in = seed ? 1 + (unsigned)seed % 6 : 0});
}

static void destroy(void)
{
	if (ctx)
		uffd_release(ctx);
	check();
	mm_destroy(&mm);
	uffd_system_destroy(&sys);
	memory_destroy(&mem);
	ck_assert_uint_eq(sim_frames_in_use(), 0);
	ck_assert_uint_eq(sim_mem_in_use(), 0);
	sim_destroy();
}

static void map(unsigned pages)
{
	ck_assert_int_eq(mm_map(&mm, VA, page(pages), RW), 0);
	check();
}

static uint64_t load(va_t va)
{
	uint64_t v;

	ck_assert_int_eq(sim_load(&mm.as, va, 8, &v), FAULT_DONE);
	return v;
}

static void store(va_t va, uint64_t v)
{
	ck_assert_int_eq(sim_store(&mm.as, va, 8, v), FAULT_DONE);
}

static enum fault_result try_load(va_t va)
{
	uint64_t v;

	return sim_load(&mm.as, va, 8, &v);
}

static enum fault_result try_store(va_t va)
{
	return sim_store(&mm.as, va, 8, 0xBAD);
}

/* ---- the ABI, as a program calls it ---------------------------------------------------------------------------- */

static int call(unsigned long cmd, void *arg)
{
	return uffd_ioctl(ctx, cmd, (va_t)(uintptr_t)arg);
}

static void open_uffd(uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};

	ck_assert_int_eq(uffd_create(&sys, &mm, 0, &ctx), 0);
	ck_assert_int_eq(call(ABI_IOCTL_API, &api), 0);
}

static int reg(unsigned from, unsigned to, uint64_t modes)
{
	struct abi_fill a = {.start = page(from), .len = (to - from) * PAGE_SIZE, .mode = modes};

	return call(ABI_IOCTL_REGISTER, &a);
}

static int unreg(unsigned from, unsigned to)
{
	struct abi_range a = {.start = page(from), .len = (to - from) * PAGE_SIZE};

	return call(ABI_IOCTL_UNREGISTER, &a);
}

static int copy(unsigned to, unsigned n, const void *src, uint64_t mode, int64_t *done)
{
	struct abi_copy a = {.dst = page(to), .src = (uintptr_t)src, .len = n * PAGE_SIZE, .mode = mode, .copy = 77};
	int r = call(ABI_IOCTL_COPY, &a);

	*done = a.copy;
	return r;
}

static int zeropage(unsigned at, unsigned n, int64_t *done)
{
	struct abi_fill a = {.start = page(at), .len = n * PAGE_SIZE, .done = 77};
	int r = call(ABI_IOCTL_ZEROPAGE, &a);

	*done = a.done;
	return r;
}

static int poison(unsigned at, unsigned n)
{
	struct abi_fill a = {.start = page(at), .len = n * PAGE_SIZE};

	return call(ABI_IOCTL_POISON, &a);
}

static int protect(unsigned at, unsigned n, uint64_t mode)
{
	struct abi_wp a = {.start = page(at), .len = n * PAGE_SIZE, .mode = mode};

	return call(ABI_IOCTL_WRITEPROTECT, &a);
}

/* A page whose every word is v. */
static const uint64_t *page_of(uint64_t v)
{
	static uint64_t buf[PAGE_SIZE / 8] __attribute__((aligned(4096)));

	for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
		buf[i] = v;
	return buf;
}

static void fill(unsigned at, uint64_t v)
{
	int64_t done;

	ck_assert_int_eq(copy(at, 1, page_of(v), 0, &done), 0);
	ck_assert_int_eq(done, PAGE_SIZE);
}

/* ---- mappings -------------------------------------------------------------------------------------------------- */

START_TEST(a_mapping_begins_as_zeroes)
{
	create(0);
	ck_assert_int_eq(try_load(VA), FAULT_MAPERR);
	map(3);
	ck_assert_uint_eq(load(page(1)), 0);
	ck_assert_uint_eq(sim_frames_in_use(), 0); /* a read costs no memory */
	store(page(1) + 8, 5);
	ck_assert_uint_eq(sim_frames_in_use(), 1);
	check();
	ck_assert_uint_eq(load(page(1)), 0);
	ck_assert_uint_eq(load(page(1) + 8), 5);
	store(page(2), 6);
	ck_assert_uint_eq(load(page(2) + 8), 0);
	ck_assert_int_eq(try_load(page(3)), FAULT_MAPERR);
	destroy();
}
END_TEST

START_TEST(map_refuses_what_it_must)
{
	create(0);
	ck_assert_int_eq(mm_map(&mm, VA + 1, page(2), RW), -EINVAL);
	ck_assert_int_eq(mm_map(&mm, VA, VA, RW), -EINVAL);
	ck_assert_int_eq(mm_map(&mm, page(2), page(1), RW), -EINVAL);
	ck_assert_int_eq(mm_map(&mm, VA, TASK_SIZE + PAGE_SIZE, RW), -EINVAL);
	map(4);
	ck_assert_int_eq(mm_map(&mm, page(3), page(5), RW), -EEXIST);
	check();
	destroy();
}
END_TEST

START_TEST(unmap_takes_content_and_frames_away)
{
	create(0);
	map(5);
	for (unsigned i = 0; i < 5; i++)
		store(page(i), i);
	ck_assert_int_eq(mm_unmap(&mm, page(1), page(3)), 0);
	check();
	ck_assert_uint_eq(mm.vmas.count, 2);
	ck_assert_uint_eq(sim_frames_in_use(), 3);
	ck_assert_int_eq(try_load(page(1)), FAULT_MAPERR);
	ck_assert_int_eq(try_store(page(2)), FAULT_MAPERR);
	ck_assert_uint_eq(load(page(3)), 3);
	ck_assert_int_eq(mm_map(&mm, page(1), page(3), RW), 0);
	check();
	ck_assert_uint_eq(mm.vmas.count, 1); /* joined with both neighbours */
	ck_assert_uint_eq(load(page(1)), 0);
	ck_assert_uint_eq(load(page(4)), 4);
	ck_assert_int_eq(mm_unmap(&mm, 0, SIM_VA_LIMIT), 0);
	ck_assert_uint_eq(mm.vmas.count, 0);
	destroy();
}
END_TEST

START_TEST(protect_splits_merges_and_takes_effect)
{
	create(0);
	map(4);
	for (unsigned i = 0; i < 4; i++)
		store(page(i), i + 1);
	ck_assert_int_eq(mm_protect(&mm, page(1), page(3), MACH_PROT_R), 0);
	check();
	ck_assert_uint_eq(mm.vmas.count, 3);
	ck_assert_int_eq(try_store(page(1)), FAULT_ACCERR);
	ck_assert_uint_eq(load(page(1)), 2);
	store(page(0), 9);
	ck_assert_int_eq(mm_protect(&mm, page(2), page(3), MACH_PROT_NONE), 0);
	check();
	ck_assert_int_eq(try_load(page(2)), FAULT_ACCERR);
	ck_assert_int_eq(mm_protect(&mm, page(0), page(4), RW), 0);
	check();
	ck_assert_uint_eq(mm.vmas.count, 1);
	store(page(2) + 8, 7);
	ck_assert_uint_eq(load(page(2)), 3);
	ck_assert_int_eq(mm_protect(&mm, page(3), page(5), MACH_PROT_R), -ENOMEM); /* a hole */
	check();
	destroy();
}
END_TEST

START_TEST(the_zero_page_is_never_written)
{
	create(0);
	map(2);
	ck_assert_uint_eq(load(page(0)), 0);
	ck_assert_int_eq(mm_protect(&mm, page(0), page(2), MACH_PROT_R), 0);
	ck_assert_int_eq(mm_protect(&mm, page(0), page(2), RW), 0);
	check();
	store(page(0), 5);
	ck_assert_uint_eq(load(page(1)), 0);
	ck_assert_uint_eq(*(const uint64_t *)sim_frame_ptr(0), 0);
	destroy();
}
END_TEST

START_TEST(dontneed_gives_zeroes_again)
{
	create(0);
	map(3);
	for (unsigned i = 0; i < 3; i++)
		store(page(i), 5);
	ck_assert_int_eq(mm_dontneed(&mm, page(0), page(2)), 0);
	check();
	ck_assert_uint_eq(sim_frames_in_use(), 1);
	ck_assert_uint_eq(load(page(1)), 0);
	ck_assert_uint_eq(load(page(2)), 5);
	ck_assert_int_eq(mm_dontneed(&mm, page(2), page(4)), -ENOMEM);
	check();
	ck_assert_uint_eq(load(page(2)), 0);
	destroy();
}
END_TEST

START_TEST(memory_runs_out_without_harm)
{
	unsigned done = 0;

	create_on(&(struct sim_config){.nr_frames = 5});
	map(10);
	while (done < 10 && sim_store(&mm.as, page(done), 8, done) == FAULT_DONE)
		done++;
	ck_assert_uint_eq(done, 4);
	check();
	ck_assert_int_eq(try_store(page(5)), FAULT_OOM);
	ck_assert_uint_eq(load(page(5)), 0);
	ck_assert_int_eq(try_store(page(5)), FAULT_OOM); /* the copy of the zero page */
	ck_assert_int_eq(mm_dontneed(&mm, page(0), page(1)), 0);
	store(page(5), 7);
	check();
	destroy();
}
END_TEST

/* ---- fills, alone ---------------------------------------------------------------------------------------------- */

START_TEST(fills_do_as_the_kernel_does)
{
	int64_t done;

	create(0);
	map(6);
	open_uffd(UFFD_FEATURE_POISON);
	ck_assert_int_eq(copy(0, 1, page_of(1), 0, &done), -ENOENT); /* not registered */
	ck_assert_int_eq(done, -ENOENT);
	ck_assert_int_eq(reg(0, 6, VM_UFFD_MISSING), 0);
	check();
	fill(0, 0x11);
	check();
	ck_assert_uint_eq(load(page(0) + 4088), 0x11);
	ck_assert_int_eq(copy(0, 1, page_of(1), 0, &done), -EEXIST);
	ck_assert_int_eq(zeropage(1, 2, &done), 0);
	ck_assert_int_eq(done, 2 * PAGE_SIZE);
	check();
	ck_assert_uint_eq(load(page(2)), 0);
	store(page(2), 4); /* present: not the monitor's business */
	ck_assert_uint_eq(load(page(2)), 4);
	ck_assert_int_eq(zeropage(1, 1, &done), -EEXIST);
	ck_assert_int_eq(poison(3, 1), 0);
	check();
	ck_assert_int_eq(try_load(page(3)), FAULT_POISON);
	ck_assert_int_eq(try_store(page(3)), FAULT_POISON);
	fill(3, 0x33); /* COPY may replace the marker */
	ck_assert_uint_eq(load(page(3)), 0x33);
	check();
	destroy();
}
END_TEST

START_TEST(a_fill_stops_at_the_first_page_that_is_there)
{
	static uint64_t src[4 * PAGE_SIZE / 8];
	int64_t done;

	create(0);
	map(4);
	store(page(2), 9);
	open_uffd(0);
	ck_assert_int_eq(reg(0, 4, VM_UFFD_MISSING), 0);
	memset(src, 0x22, sizeof(src));
	ck_assert_int_eq(copy(0, 4, src, 0, &done), -EAGAIN);
	ck_assert_int_eq(done, 2 * PAGE_SIZE);
	check();
	ck_assert_uint_eq(load(page(1)), 0x2222222222222222);
	ck_assert_uint_eq(load(page(2)), 9);
	ck_assert_int_eq(copy(2, 2, src, 0, &done), -EEXIST);
	ck_assert_int_eq(done, -EEXIST);
	destroy();
}
END_TEST

START_TEST(sigbus_instead_of_a_message)
{
	create(0);
	map(2);
	open_uffd(UFFD_FEATURE_SIGBUS);
	ck_assert_int_eq(reg(0, 2, VM_UFFD_MISSING), 0);
	ck_assert_int_eq(try_load(page(0)), FAULT_SIGBUS);
	ck_assert_int_eq(try_store(page(1)), FAULT_SIGBUS);
	fill(0, 1);
	ck_assert_uint_eq(load(page(0)), 1);
	ck_assert_int_eq(unreg(0, 2), 0);
	check();
	ck_assert_uint_eq(load(page(1)), 0);
	destroy();
}
END_TEST

START_TEST(registration_splits_and_merges)
{
	create(0);
	map(6);
	open_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	ck_assert_int_eq(reg(2, 4, VM_UFFD_MISSING), 0);
	check();
	ck_assert_uint_eq(mm.vmas.count, 3);
	ck_assert_int_eq(reg(0, 6, VM_UFFD_MISSING), 0);
	check();
	ck_assert_uint_eq(mm.vmas.count, 1);
	ck_assert_int_eq(reg(3, 6, VM_UFFD_MISSING | VM_UFFD_WP), 0);
	check();
	ck_assert_uint_eq(mm.vmas.count, 2);
	ck_assert_int_eq(unreg(0, 6), 0);
	check();
	ck_assert_uint_eq(mm.vmas.count, 1);
	ck_assert_int_eq(reg(6, 8, VM_UFFD_MISSING), -EINVAL);
	check();
	destroy();
}
END_TEST

START_TEST(write_protection_on_and_off)
{
	create(0);
	map(3);
	store(page(0), 1);
	ck_assert_uint_eq(load(page(1)), 0); /* the zero page */
	open_uffd(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED);
	ck_assert_int_eq(reg(0, 3, VM_UFFD_WP), 0);
	ck_assert_int_eq(protect(0, 3, ABI_WP_MODE_WP), 0);
	check();
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(try_store(page(i)), FAULT_SIGBUS);
		ck_assert_uint_eq(load(page(i)), i == 0);
		check();
	}
	ck_assert_int_eq(try_store(page(2)), FAULT_SIGBUS); /* the marker survived the read */
	ck_assert_int_eq(protect(0, 3, 0), 0);
	check();
	for (unsigned i = 0; i < 3; i++)
		store(page(i), 7);
	ck_assert_int_eq(protect(0, 3, ABI_WP_MODE_WP), 0);
	ck_assert_int_eq(unreg(0, 3), 0);
	check();
	store(page(1), 8);
	ck_assert_uint_eq(load(page(0)), 7);
	destroy();
}
END_TEST

/* mprotect must not open what WRITEPROTECT closed (I3, I8), in either order. */
START_TEST(write_protection_survives_mprotect)
{
	create(0);
	map(1);
	store(page(0), 1);
	open_uffd(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	ck_assert_int_eq(reg(0, 1, VM_UFFD_WP), 0);
	ck_assert_int_eq(protect(0, 1, ABI_WP_MODE_WP), 0);
	ck_assert_int_eq(mm_protect(&mm, page(0), page(1), MACH_PROT_R), 0);
	check();
	ck_assert_int_eq(mm_protect(&mm, page(0), page(1), RW), 0);
	check();
	ck_assert_int_eq(try_store(page(0)), FAULT_SIGBUS);
	ck_assert_int_eq(mm_protect(&mm, page(0), page(1), MACH_PROT_R), 0);
	ck_assert_int_eq(protect(0, 1, 0), 0);
	check();
	ck_assert_int_eq(try_store(page(0)), FAULT_ACCERR);
	destroy();
}
END_TEST

/* ---- with a monitor on another CPU ----------------------------------------------------------------------------- */

#define PAGES 4u

struct seen {
	unsigned missing, wp;
	uint32_t tid;
	uint64_t last_address;
};
static struct seen seen;

/* Answer messages until `messages` have come (for ever: 0). A missing page i is filled with 100 + i. */
static void monitor(void *arg)
{
	unsigned messages = *(unsigned *)arg;
	struct uffd_msg msg;

	for (unsigned n = 0; n < messages || !messages; n++) {
		unsigned at;

		ck_assert_int_eq(uffd_read(ctx, (va_t)(uintptr_t)&msg, sizeof(msg), false), sizeof(msg));
		ck_assert_uint_eq(msg.event, UFFD_EVENT_PAGEFAULT);
		at = (unsigned)((msg.arg.pagefault.address - VA) / PAGE_SIZE);
		seen.tid = msg.arg.pagefault.feat.ptid;
		seen.last_address = msg.arg.pagefault.address;
		if (msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
			seen.wp++;
			ck_assert_int_eq(protect(at, 1, 0), 0);
		} else {
			int64_t done;
			int r = copy(at, 1, page_of(100 + at), 0, &done);
			struct abi_range w = {page(at), PAGE_SIZE};

			seen.missing++;
			ck_assert(r == 0 || r == -EEXIST); /* two CPUs may have met the same hole */
			if (r)
				ck_assert_int_eq(call(ABI_IOCTL_WAKE, &w), 0);
		}
	}
}

static void expect_pages(void *arg)
{
	for (unsigned i = 0; i < PAGES; i++)
		ck_assert_uint_eq(load(page(i) + 8 * sim_self()), 100 + i);
}

static unsigned for_ever;

START_TEST(missing_pages_are_filled_by_the_monitor)
{
	create((uint64_t)_i);
	map(PAGES);
	open_uffd(UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EXACT_ADDRESS);
	ck_assert_int_eq(reg(0, PAGES, VM_UFFD_MISSING), 0);
	for (unsigned i = 0; i < 3; i++)
		sim_spawn(i, &mm.as, expect_pages, NULL);
	sim_spawn(3, &mm.as, monitor, &for_ever);
	ck_assert_msg(sim_run() == SIM_BLOCKED, "%s", sim_report());
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(sim_cpu_state(i), SIM_CPU_DONE);
	ck_assert_int_eq(sim_cpu_block(3).kind, MACH_WAIT_READ);
	ck_assert_uint_ge(seen.missing, PAGES);
	ck_assert_uint_eq(seen.wp, 0);
	ck_assert(uffd_is_quiet(&sys));
	check();
	destroy();
}
END_TEST

static void store_once(void *arg)
{
	store(page(1) + 24, 5);
}

START_TEST(a_message_tells_who_and_where)
{
	static unsigned two = 2;

	create(0);
	map(PAGES);
	ck_assert_uint_eq(load(page(1)), 0);
	open_uffd(UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	ck_assert_int_eq(reg(0, PAGES, VM_UFFD_WP | VM_UFFD_MISSING), 0);
	ck_assert_int_eq(protect(1, 1, ABI_WP_MODE_WP), 0);
	sim_spawn(2, &mm.as, store_once, NULL);
	ck_assert_int_eq(sim_run(), SIM_BLOCKED);
	ck_assert_int_eq(sim_cpu_block(2).kind, MACH_WAIT_FAULT);
	ck_assert_uint_eq(uffd_poll(ctx, true), ABI_POLLIN);
	sim_spawn(0, &mm.as, monitor, &two);
	ck_assert_int_eq(sim_run(), SIM_BLOCKED); /* one message came, the monitor wants another */
	ck_assert_int_eq(sim_cpu_state(2), SIM_CPU_DONE);
	ck_assert_uint_eq(seen.wp, 1);
	ck_assert_uint_eq(seen.tid, 3);
	ck_assert_uint_eq(seen.last_address, page(1) + 24);
	ck_assert_uint_eq(load(page(1) + 24), 5);
	check();
	destroy();
}
END_TEST

/* What each CPU stored into its own word of each page is there at the end, whatever was protected meanwhile. */
#define ROUNDS 6u

static void store_own_words(void *arg)
{
	va_t word = 8 * sim_self();

	for (uint64_t i = 1; i <= ROUNDS; i++)
		for (unsigned p = 0; p < PAGES; p++) {
			store(page(p) + word, i);
			ck_assert_uint_eq(load(page(p) + word), i);
		}
}

static void protect_again_and_again(void *arg)
{
	for (unsigned i = 0; i < 2 * ROUNDS; i++) {
		ck_assert_int_eq(protect(i % PAGES, 1, ABI_WP_MODE_WP), 0);
		sim_yield();
	}
}

static void expect_words(unsigned cpus, uint64_t value)
{
	for (unsigned p = 0; p < PAGES; p++)
		for (unsigned c = 0; c < cpus; c++)
			ck_assert_uint_eq(load(page(p) + 8 * c), value);
}

START_TEST(no_store_is_lost_under_write_protection)
{
	create((uint64_t)_i);
	map(PAGES);
	if (_i % 2)
		expect_words(1, 0); /* begin with the zero page */
	open_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED);
	ck_assert_int_eq(reg(0, PAGES, VM_UFFD_WP), 0);
	sim_spawn(0, &mm.as, store_own_words, NULL);
	sim_spawn(1, &mm.as, store_own_words, NULL);
	sim_spawn(2, &mm.as, protect_again_and_again, NULL);
	sim_spawn(3, &mm.as, monitor, &for_ever);
	ck_assert_msg(sim_run() == SIM_BLOCKED, "%s", sim_report());
	for (unsigned i = 0; i < 3; i++)
		ck_assert_int_eq(sim_cpu_state(i), SIM_CPU_DONE);
	check();
	ck_assert_int_eq(protect(0, PAGES, 0), 0);
	expect_words(2, ROUNDS);
	destroy();
}
END_TEST

static uint64_t snapshot[8];

/* Once WRITEPROTECT has returned, content stands still until it is resolved: the whole point of it. */
static void protect_and_watch(void *arg)
{
	for (unsigned i = 0; i < 8; i++) {
		ck_assert_int_eq(protect(0, 1, ABI_WP_MODE_WP), 0);
		snapshot[i] = load(page(0));
		for (unsigned k = 0; k < 6; k++) {
			sim_yield();
			ck_assert_uint_eq(load(page(0)), snapshot[i]);
		}
		ck_assert_int_eq(protect(0, 1, 0), 0);
		sim_yield();
	}
}

static void count_up(void *arg)
{
	for (uint64_t i = 1; i <= 20; i++)
		store(page(0), i);
}

START_TEST(protected_content_stands_still)
{
	create((uint64_t)_i);
	map(1);
	if (_i % 3)
		store(page(0), 0);
	open_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED);
	ck_assert_int_eq(reg(0, 1, VM_UFFD_WP), 0);
	sim_spawn(0, &mm.as, count_up, NULL);
	sim_spawn(1, &mm.as, protect_and_watch, NULL);
	ck_assert_msg(sim_run() == SIM_DONE, "%s", sim_report());
	ck_assert_uint_eq(load(page(0)), 20);
	check();
	destroy();
}
END_TEST

static uint32_t flag;

static void store_and_tell(void *arg)
{
	for (unsigned p = 0; p < PAGES; p++) {
		ck_assert_uint_eq(load(page(p)), 0);
		store(page(p), 1);
		mach_store32(sim_machine(), &flag, p + 1);
	}
}

static void look_and_check(void *arg)
{
	for (unsigned p = 0; p < PAGES; sim_yield()) {
		bool told = mach_load32(sim_machine(), &flag) > p;
		uint64_t v = load(page(p));

		ck_assert_uint_le(v, 1);
		ck_assert(v == 1 || !told);
		p += told;
	}
}

/* The first store replaces the zero page. Whoever had that page must not go on with it. */
START_TEST(a_new_page_is_seen_by_everybody)
{
	create((uint64_t)_i);
	map(PAGES);
	flag = 0;
	sim_spawn(0, &mm.as, store_and_tell, NULL);
	for (unsigned i = 1; i < 4; i++)
		sim_spawn(i, &mm.as, look_and_check, NULL);
	ck_assert_msg(sim_run() == SIM_DONE, "%s", sim_report());
	check();
	destroy();
}
END_TEST

/* mprotect, DONTNEED, fills and faults at once: a word is what its CPU stored last, or the page was thrown away since. */
static void store_or_find_nothing(void *arg)
{
	va_t word = 512 + 8 * sim_self();

	for (uint64_t i = 1; i <= 3 * ROUNDS; i++) {
		unsigned p = (unsigned)i % PAGES;
		enum fault_result r = sim_store(&mm.as, page(p) + word, 8, i);
		uint64_t v;

		ck_assert(r == FAULT_DONE || r == FAULT_ACCERR);
		if (r == FAULT_DONE && sim_load(&mm.as, page(p) + word, 8, &v) == FAULT_DONE)
			ck_assert_msg(v == i || v == 0 || v == 100 + p, "page %u holds %llu, not %llu", p,
				      (unsigned long long)v, (unsigned long long)i);
	}
}

static void change_the_map(void *arg)
{
	for (unsigned i = 0; i < 2 * ROUNDS; i++) {
		unsigned p = i * 7 % PAGES;

		if (i % 3 == 0)
			ck_assert_int_eq(mm_dontneed(&mm, page(p), page(p + 1)), 0);
		else if (i % 3 == 1)
			ck_assert_int_eq(mm_protect(&mm, page(p), page(p + 1), MACH_PROT_R), 0);
		else
			ck_assert_int_eq(mm_protect(&mm, page(0), page(PAGES), RW), 0);
		sim_yield();
	}
}

START_TEST(the_map_may_change_under_everybody)
{
	create((uint64_t)_i);
	map(PAGES);
	open_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED);
	ck_assert_int_eq(reg(0, PAGES, _i % 2 ? VM_UFFD_MISSING : VM_UFFD_MISSING | VM_UFFD_WP), 0);
	sim_spawn(0, &mm.as, store_or_find_nothing, NULL);
	sim_spawn(1, &mm.as, store_or_find_nothing, NULL);
	sim_spawn(2, &mm.as, change_the_map, NULL);
	sim_spawn(3, &mm.as, monitor, &for_ever);
	ck_assert_msg(sim_run() == SIM_BLOCKED, "%s", sim_report());
	for (unsigned i = 0; i < 3; i++)
		ck_assert_msg(sim_cpu_state(i) == SIM_CPU_DONE, "%s", sim_report());
	check();
	destroy();
}
END_TEST

/* ---- what ends a wait (I10) ------------------------------------------------------------------------------------ */

static enum fault_result result_of[4];

static void load_page0(void *arg)
{
	result_of[sim_self()] = try_load(page(0));
}

/* Two CPUs wait for page 0; how it ends is the test's choice. */
static void start_waiters(int seed)
{
	create((uint64_t)seed);
	map(2);
	open_uffd(0);
	ck_assert_int_eq(reg(0, 2, VM_UFFD_MISSING), 0);
	sim_spawn(0, &mm.as, load_page0, NULL);
	sim_spawn(1, &mm.as, load_page0, NULL);
	ck_assert_int_eq(sim_run(), SIM_BLOCKED);
	ck_assert_int_eq(sim_cpu_block(0).kind, MACH_WAIT_FAULT);
	ck_assert(!uffd_is_quiet(&sys));
	check();
}

static void expect_end(enum sim_outcome outcome)
{
	ck_assert_msg(outcome == SIM_DONE, "%s", sim_report());
	ck_assert(uffd_is_quiet(&sys));
	if (ctx) /* messages of those who wait no more are gone too */
		ck_assert_uint_eq(uffd_poll(ctx, true), 0);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(result_of[i], FAULT_DONE);
	check();
	destroy();
}

START_TEST(unregister_ends_a_wait)
{
	start_waiters(_i);
	ck_assert_int_eq(unreg(0, 2), 0);
	expect_end(sim_run());
}
END_TEST

START_TEST(release_ends_a_wait)
{
	start_waiters(_i);
	uffd_release(ctx);
	ctx = NULL;
	expect_end(sim_run());
}
END_TEST

START_TEST(a_fill_without_a_wake_does_not_end_a_wait)
{
	struct abi_range w = {page(0), PAGE_SIZE};
	int64_t done;

	start_waiters(_i);
	ck_assert_int_eq(copy(0, 1, page_of(3), ABI_MODE_DONTWAKE, &done), 0);
	ck_assert_int_eq(sim_run(), SIM_BLOCKED);
	ck_assert_int_eq(call(ABI_IOCTL_WAKE, &w), 0);
	expect_end(sim_run());
}
END_TEST

START_TEST(unmap_and_wake_end_in_a_segfault)
{
	struct abi_range w = {page(0), PAGE_SIZE};

	start_waiters(_i);
	ck_assert_int_eq(mm_unmap(&mm, page(0), page(1)), 0);
	ck_assert_int_eq(call(ABI_IOCTL_WAKE, &w), 0);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	ck_assert_int_eq(result_of[0], FAULT_MAPERR);
	ck_assert(uffd_is_quiet(&sys));
	check();
	destroy();
}
END_TEST

START_TEST(a_signal_ends_a_wait_and_leaves_nothing_behind)
{
	start_waiters(_i);
	ck_assert(sim_interrupt(0));
	ck_assert_int_eq(sim_run(), SIM_BLOCKED);
	ck_assert_int_eq(result_of[0], FAULT_INTERRUPTED);
	ck_assert_int_eq(sim_cpu_state(0), SIM_CPU_DONE);
	ck_assert_uint_eq(ctx->nr_waiters, 1);
	result_of[0] = FAULT_DONE;
	fill(0, 1);
	expect_end(sim_run());
}
END_TEST

static void close_it(void *arg)
{
	uffd_release(ctx);
	ctx = NULL;
}

static void fill_page0(void *arg)
{
	int64_t done;

	ck_assert_int_eq(copy(0, 1, page_of(1), 0, &done), 0);
}

static void unregister_it(void *arg)
{
	ck_assert_int_eq(unreg(0, 2), 0);
}

/* The end comes while the faults are under way: nobody may be left asleep. */
START_TEST(no_waiter_is_left_behind)
{
	static void (*const ends[])(void *arg) = {close_it, fill_page0, unregister_it};

	create((uint64_t)_i + 1);
	map(2);
	open_uffd(0);
	ck_assert_int_eq(reg(0, 2, VM_UFFD_MISSING), 0);
	sim_spawn(0, &mm.as, load_page0, NULL);
	sim_spawn(1, &mm.as, load_page0, NULL);
	sim_spawn(2, NULL, ends[_i % 3], NULL);
	expect_end(sim_run());
}
END_TEST

/* The source of a COPY is itself a page that a monitor must fill: the fill waits, with no lock held. */
static void copy_from_hole(void *arg)
{
	struct abi_copy a = {.dst = page(0), .src = page(3), .len = PAGE_SIZE};

	ck_assert_int_eq(call(ABI_IOCTL_COPY, &a), 0);
	ck_assert_uint_eq(load(page(0)), 103);
}

START_TEST(a_copy_waits_for_its_source)
{
	static unsigned one = 1;

	create((uint64_t)_i);
	map(PAGES);
	open_uffd(0);
	ck_assert_int_eq(reg(0, PAGES, VM_UFFD_MISSING), 0);
	sim_spawn(0, &mm.as, copy_from_hole, NULL);
	sim_spawn(1, &mm.as, monitor, &one);
	ck_assert_msg(sim_run() == SIM_DONE, "%s", sim_report());
	check();
	destroy();
}
END_TEST

/* ---- every allocation fails in its turn ------------------------------------------------------------------------ */

/* An operation under test: 0, or -ENOMEM (or FAULT_OOM as -ENOMEM). prepare runs without failures. */
struct operation {
	const char *name;
	void (*prepare)(void);
	int (*run)(void);
};

static int as_errno(enum fault_result r)
{
	ck_assert(r == FAULT_DONE || r == FAULT_OOM);
	return r == FAULT_DONE ? 0 : -ENOMEM;
}

static void prepare_nothing(void)
{
}

/* No page table is left over: the next one needs memory. */
static void use_up_tables(void)
{
	for (va_t far = (va_t)1 << 33; mm.pt_free; far += PMD_SIZE) {
		ck_assert_int_eq(mm_map(&mm, far, far + PAGE_SIZE, RW), 0);
		ck_assert_uint_eq(load(far), 0);
	}
}

static void prepare_map(void)
{
	map(1100);
	use_up_tables();
}

static void prepare_used(void)
{
	map(8);
	for (unsigned i = 0; i < 8; i += 2)
		store(page(i), i);
}

/* The pool of vmas has nothing left over: the next vma needs memory. */
static void prepare_tight(void)
{
	unsigned at = 2000;

	prepare_used();
	while (mm.vma_pool.free && at < 4000) {
		ck_assert_int_eq(mm_map(&mm, page(at), page(at + 1), RW), 0);
		at += 2;
	}
	ck_assert_ptr_null(mm.vma_pool.free);
}

static void prepare_uffd(void)
{
	prepare_map();
	open_uffd(UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED);
	ck_assert_int_eq(reg(0, 1100, VM_UFFD_MISSING | VM_UFFD_WP), 0);
}

/* Room for one vma: of the two splits that an operation in the middle needs, the second one fails. */
static void prepare_one_left(void)
{
	prepare_used();
	for (unsigned at = 2000; *(void **)mm.vma_pool.free && at < 4000; at += 2)
		ck_assert_int_eq(mm_map(&mm, page(at), page(at + 1), RW), 0);
	ck_assert_ptr_null(*(void **)mm.vma_pool.free);
}

static int op_map(void)
{
	return mm_map(&mm, VA, page(4), RW);
}

static int op_load(void)
{
	return as_errno(try_load(page(5)));
}

static int op_store(void)
{
	return as_errno(try_store(page(700)));
}

static int op_store_after_load(void)
{
	int r = as_errno(try_load(page(5)));

	return r ? r : as_errno(try_store(page(5)));
}

static int op_protect(void)
{
	return mm_protect(&mm, page(2), page(5), MACH_PROT_R);
}

static int op_unmap(void)
{
	return mm_unmap(&mm, page(2), page(5));
}

static int op_dontneed(void)
{
	return mm_dontneed(&mm, page(1), page(6));
}

static int op_create(void)
{
	int r = uffd_create(&sys, &mm, 0, &ctx);

	if (r)
		ctx = NULL;
	return r;
}

static void prepare_tight_uffd(void)
{
	prepare_tight();
	open_uffd(0);
}

static int op_register(void)
{
	return reg(2, 5, VM_UFFD_MISSING);
}

static void prepare_tight_registered(void)
{
	prepare_used();
	open_uffd(0);
	ck_assert_int_eq(reg(0, 8, VM_UFFD_MISSING), 0);
	for (unsigned at = 2000; mm.vma_pool.free && at < 4000; at += 2)
		ck_assert_int_eq(mm_map(&mm, page(at), page(at + 1), RW), 0);
	ck_assert_ptr_null(mm.vma_pool.free);
}

static int op_unregister(void)
{
	return unreg(2, 5);
}

/* A half-done fill is -EAGAIN with the pages that were done: go on behind them. */
static int op_copy(void)
{
	static uint64_t src[3 * PAGE_SIZE / 8];
	unsigned at = 510;

	while (at < 513) {
		int64_t done;
		int r = copy(at, 513 - at, src, 0, &done);

		if (r == 0)
			return 0;
		if (r == -EEXIST) { /* an earlier try came this far */
			at++;
			continue;
		}
		if (r != -EAGAIN)
			return r;
		ck_assert_int_gt(done, 0);
		at += (unsigned)(done / (int64_t)PAGE_SIZE);
	}
	return 0;
}

static int op_zeropage(void)
{
	int64_t done;

	return zeropage(600, 1, &done);
}

static int op_poison(void)
{
	return poison(600, 1);
}

static int op_wp(void)
{
	return protect(0, 1100, ABI_WP_MODE_WP);
}

static void run_wait(void *arg)
{
	result_of[sim_self()] = try_load(page(0));
}

static void prepare_wait(void)
{
	map(2);
	open_uffd(0);
	ck_assert_int_eq(reg(0, 2, VM_UFFD_MISSING), 0);
}

/* A faulter needs a record to wait in. */
static int op_wait(void)
{
	sim_spawn(0, &mm.as, run_wait, NULL);
	if (sim_run() == SIM_DONE)
		return as_errno(result_of[0]);
	sim_fail_alloc_at(0);
	fill(0, 1);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	return as_errno(result_of[0]);
}

static const struct operation operations[] = {
	{"map", prepare_nothing, op_map},
	{"load", prepare_map, op_load},
	{"store", prepare_map, op_store},
	{"store after load", prepare_map, op_store_after_load},
	{"protect", prepare_tight, op_protect},
	{"unmap", prepare_tight, op_unmap},
	{"unmap, second split", prepare_one_left, op_unmap},
	{"protect, second split", prepare_one_left, op_protect},
	{"dontneed", prepare_used, op_dontneed},
	{"create", prepare_nothing, op_create},
	{"register", prepare_tight_uffd, op_register},
	{"unregister", prepare_tight_registered, op_unregister},
	{"copy", prepare_uffd, op_copy},
	{"zeropage", prepare_uffd, op_zeropage},
	{"poison", prepare_uffd, op_poison},
	{"write-protect", prepare_uffd, op_wp},
	{"wait", prepare_wait, op_wait},
};

/* True: the n-th allocation was reached, and failed. */
static bool fail_nth(const struct operation *op, uint64_t n)
{
	uint64_t before;
	bool reached;
	int r;

	create(0);
	op->prepare();
	check();
	before = sim_alloc_count();
	sim_fail_alloc_at(n);
	r = op->run();
	reached = sim_alloc_count() >= before + n;
	sim_fail_alloc_at(0);
	check();
	if (r) {
		ck_assert_msg(reached && r == -ENOMEM, "%s, allocation %u: %d", op->name, (unsigned)n, r);
		ck_assert_msg(op->run() == 0, "%s: not possible after allocation %u failed once", op->name, (unsigned)n);
		check();
	}
	destroy();
	return reached;
}

START_TEST(an_allocation_that_fails_does_no_harm)
{
	const struct operation *op = &operations[_i];
	uint64_t n = 1;

	while (fail_nth(op, n))
		n++;
	/* every operation in the list needs memory, or it would prove nothing; DONTNEED must need none */
	ck_assert_msg((n > 1) == (op->run != op_dontneed), "%s: %u allocations", op->name, (unsigned)n - 1);
}
END_TEST

/* ---- suite ----------------------------------------------------------------------------------------------------- */

static TCase *alone(void)
{
	TCase *t = tcase_create("one CPU");

	tcase_add_test(t, a_mapping_begins_as_zeroes);
	tcase_add_test(t, map_refuses_what_it_must);
	tcase_add_test(t, unmap_takes_content_and_frames_away);
	tcase_add_test(t, protect_splits_merges_and_takes_effect);
	tcase_add_test(t, the_zero_page_is_never_written);
	tcase_add_test(t, dontneed_gives_zeroes_again);
	tcase_add_test(t, memory_runs_out_without_harm);
	tcase_add_test(t, fills_do_as_the_kernel_does);
	tcase_add_test(t, a_fill_stops_at_the_first_page_that_is_there);
	tcase_add_test(t, sigbus_instead_of_a_message);
	tcase_add_test(t, registration_splits_and_merges);
	tcase_add_test(t, write_protection_on_and_off);
	tcase_add_test(t, write_protection_survives_mprotect);
	tcase_add_loop_test(t, an_allocation_that_fails_does_no_harm, 0, (int)ARRAY_LEN(operations));
	return t;
}

static TCase *together(void)
{
	TCase *t = tcase_create("with a monitor");

	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, missing_pages_are_filled_by_the_monitor, 0, SEEDS);
	tcase_add_test(t, a_message_tells_who_and_where);
	tcase_add_loop_test(t, no_store_is_lost_under_write_protection, 0, SEEDS);
	tcase_add_loop_test(t, protected_content_stands_still, 0, SEEDS);
	tcase_add_loop_test(t, a_new_page_is_seen_by_everybody, 0, SEEDS);
	tcase_add_loop_test(t, the_map_may_change_under_everybody, 0, SEEDS);
	tcase_add_loop_test(t, unregister_ends_a_wait, 0, 4);
	tcase_add_loop_test(t, release_ends_a_wait, 0, 4);
	tcase_add_loop_test(t, a_fill_without_a_wake_does_not_end_a_wait, 0, 4);
	tcase_add_loop_test(t, unmap_and_wake_end_in_a_segfault, 0, 4);
	tcase_add_loop_test(t, a_signal_ends_a_wait_and_leaves_nothing_behind, 0, 4);
	tcase_add_loop_test(t, no_waiter_is_left_behind, 0, 3 * SEEDS);
	tcase_add_loop_test(t, a_copy_waits_for_its_source, 0, SEEDS);
	return t;
}

int main(void)
{
	Suite *s = suite_create("mm and uffd on sim");
	SRunner *r;
	int failed;

	suite_add_tcase(s, alone());
	suite_add_tcase(s, together());
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
