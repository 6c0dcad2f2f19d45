/* SPDX-License-Identifier: MIT */
/* The contract's tests on the simulated machine. */
#include "test/machine/fixture.h"

#include <check.h>

#include "machine/sim/sim.h"
#include "test/unit/sim_space.h"

#define PROGRAM_START ((va_t)0x10000000)
#define BASE_PROT (MACH_PROT_R | MACH_PROT_W)

static struct space space;
static unsigned nr_mapped;
static fixture_fault_fn fault_fn;
static void (*body_fn)(unsigned self);

static struct machine *start(int seed, const char **why)
{
	struct sim_config config = {
		.nr_cpus = FIXTURE_CPUS,
		.nr_frames = 1200,
		.mem_bytes = (size_t)32 << 20,
		.seed = (uint64_t)seed,
		.switch_one_in = seed ? 2 + (unsigned)seed % 7 : 0,
		.max_steps = 3000000,
	};

	if (sim_create(&config)) {
		*why = "no memory for the simulation";
		return NULL;
	}
	nr_mapped = 0;
	return sim_machine();
}

static void stop(void)
{
	for (unsigned i = 0; i < nr_mapped; i++) {
		va_t va = PROGRAM_START + i * PAGE_SIZE;
		uint64_t pfn = pte_pfn(*space_slot(&space, va, 0));

		space_map(&space, va, 0, MACH_PROT_NONE);
		space_flush(&space, va, MACH_PROT_NONE);
		sim_machine()->ops->frame_free(sim_machine(), pfn);
	}
	if (nr_mapped)
		space_destroy(&space);
	ck_assert_uint_eq(sim_mem_in_use(), 0);
	ck_assert_uint_eq(sim_frames_in_use(), 0);
	sim_destroy();
}

static void program(void *arg)
{
	body_fn(sim_self());
}

static void run(unsigned n, void (*body)(unsigned self))
{
	enum sim_outcome outcome;

	body_fn = body;
	for (unsigned i = 0; i < n; i++)
		sim_spawn(i, nr_mapped ? &space.as : NULL, program, NULL);
	outcome = sim_run();
	ck_assert_msg(outcome == SIM_DONE, "outcome %d: %s", (int)outcome, sim_report());
}

static enum fault_result on_fault(struct space *sp, va_t va, unsigned flags)
{
	if (va < PROGRAM_START || va >= PROGRAM_START + nr_mapped * PAGE_SIZE)
		return FAULT_MAPERR;
	return fault_fn(va, flags);
}

static va_t map(unsigned nr_pages, fixture_fault_fn fn)
{
	space_create(&space);
	space.answer = on_fault;
	fault_fn = fn;
	nr_mapped = nr_pages;
	for (unsigned i = 0; i < nr_pages; i++)
		space_map(&space, PROGRAM_START + i * PAGE_SIZE, space_frame(), BASE_PROT);
	sim_boot_as(&space.as);
	return PROGRAM_START;
}

static struct mach_as *as(void)
{
	return &space.as;
}

static va_t bad_va(void)
{
	return PROGRAM_START + 1024 * PAGE_SIZE;
}

static void change_entry(va_t va, unsigned prot)
{
	pte_t *slot = space_slot(&space, va, 0);

	mach_pte_store(sim_machine(), slot, space_entry(pte_pfn(*slot), prot));
}

static void allow(va_t va, unsigned prot)
{
	change_entry(va, prot);
	sim_machine()->ops->tlb_fill(&space.as, page_down(va), page_down(va) + PAGE_SIZE, prot);
}

static void forbid(va_t va, unsigned prot)
{
	change_entry(va, prot);
	sim_machine()->ops->tlb_restrict(&space.as, page_down(va), page_down(va) + PAGE_SIZE, prot);
}

static uint64_t load(va_t va)
{
	uint64_t value;

	ck_assert_int_eq(sim_load(&space.as, va, 8, &value), FAULT_DONE);
	return value;
}

static void store(va_t va, uint64_t value)
{
	ck_assert_int_eq(sim_store(&space.as, va, 8, value), FAULT_DONE);
}

/* The TLB has 64 entries: that is little enough. */
static void squeeze(void)
{
}

static uint64_t peek(va_t va)
{
	const char *frame = sim_frame_ptr(pte_pfn(*space_slot(&space, va, 0)));

	return *(const uint64_t *)(frame + (va & ~PAGE_MASK));
}

const struct fixture sim_fixture = {
	.name = "sim",
	.seeds = 40,
	.rounds = 60,
	.start = start,
	.stop = stop,
	.run = run,
	.relax = sim_yield,
	.map = map,
	.as = as,
	.bad_va = bad_va,
	.allow = allow,
	.forbid = forbid,
	.load = load,
	.store = store,
	.squeeze = squeeze,
	.peek = peek,
	.frame = sim_frame_ptr,
};
