/* SPDX-License-Identifier: MIT */
/* The contract's tests on the live machine: real threads, real memory, real faults. */
#include "test/machine/fixture.h"

#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "machine/live/live.h"

#define BASE_PROT (MACH_PROT_R | MACH_PROT_W)

static struct machine *machine;
static struct mach_as space;
static va_t program_start, program_end;
static fixture_fault_fn fault_fn;
static void (*body_fn)(unsigned self);

static enum fault_result on_fault(struct mach_as *as, va_t va, unsigned flags)
{
	if (va < program_start || va >= program_end)
		return FAULT_MAPERR;
	return fault_fn(va, flags);
}

static struct machine *start(int seed, const char **why)
{
	static const struct mach_as_upcalls up = {.fault = on_fault};
	static const struct live_signal_hooks hooks = {.sigaction = sigaction};

	machine = live_machine(why);
	if (!machine)
		return NULL;
	space = (struct mach_as){.m = machine, .up = &up};
	if (machine->ops->as_create(machine, &space) || live_signals_start(&space, &hooks)) {
		*why = "the signal handlers cannot be installed";
		return NULL;
	}
	return machine;
}

/* Each test has a process of its own. */
static void stop(void)
{
	if (program_start < program_end)
		machine->ops->place_detach(&space, program_start, program_end, BASE_PROT);
	machine->ops->as_destroy(&space);
}

static void *thread_main(void *arg)
{
	body_fn((unsigned)(uintptr_t)arg);
	return NULL;
}

static void run(unsigned n, void (*body)(unsigned self))
{
	pthread_t thread[FIXTURE_CPUS];

	body_fn = body;
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, thread_main, (void *)(uintptr_t)i), 0);
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
}

static void relax(void)
{
	sched_yield();
}

static va_t map(unsigned nr_pages, fixture_fault_fn fn)
{
	size_t len = nr_pages * PAGE_SIZE;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	for (size_t i = 0; i < len; i += PAGE_SIZE)
		((volatile char *)p)[i] = 0;
	program_start = (va_t)(uintptr_t)p;
	program_end = program_start + len;
	fault_fn = fn;
	ck_assert_int_eq(machine->ops->place_attach(&space, program_start, program_end, BASE_PROT), 0);
	return program_start;
}

static struct mach_as *as(void)
{
	return &space;
}

static va_t bad_va(void)
{
	void *p = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return (va_t)(uintptr_t)p;
}

/* Here the entries are the test's own affair: the machine only hears about translations. */
static void allow(va_t va, unsigned prot)
{
	machine->ops->tlb_fill(&space, page_down(va), page_down(va) + PAGE_SIZE, prot);
}

static void forbid(va_t va, unsigned prot)
{
	machine->ops->tlb_restrict(&space, page_down(va), page_down(va) + PAGE_SIZE, prot);
}

static uint64_t load(va_t va)
{
	return *(volatile uint64_t *)(uintptr_t)va;
}

static void store(va_t va, uint64_t value)
{
	*(volatile uint64_t *)(uintptr_t)va = value;
}

static void squeeze(void)
{
	live_set_mapping_budget(PTRS_PER_TABLE + 1); /* translations are given up 2 MiB at a time: less cannot work */
}

static uint64_t peek(va_t va)
{
	static int fd = -1;
	uint64_t value;

	if (fd < 0)
		fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(pread(fd, &value, sizeof(value), (off_t)va), sizeof(value));
	return value;
}

const struct fixture live_fixture = {
	.name = "live",
	.seeds = 3,
	.rounds = 2000,
	.start = start,
	.stop = stop,
	.run = run,
	.relax = relax,
	.map = map,
	.as = as,
	.bad_va = bad_va,
	.allow = allow,
	.forbid = forbid,
	.load = load,
	.store = store,
	.squeeze = squeeze,
	.peek = peek,
};
