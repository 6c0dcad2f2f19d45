/* SPDX-License-Identifier: MIT */
/*
 * The simulated multiprocessor: a machine of a few CPUs with TLBs, RAM, blocking locks and sleeping, whose CPUs take
 * turns on one OS thread in an order that follows from the configuration alone. docs/sim.md tells how it works.
 *
 * There is one simulation at a time, the current one, from sim_create to sim_destroy. A test builds its address spaces
 * by calling the engine directly ("boot": as CPU 0, where anything that would block is a broken invariant), spawns
 * one program a CPU, and runs them until each has finished or is blocked.
 *
 * A simulated program's addresses are below SIM_VA_LIMIT. Pointers of the test program are above it (on 64-bit
 * Linux a position-independent program, its heap and its mappings are), which is how copy_in tells the two apart.
 */
#pragma once
#include "machine/machine.h"

#define SIM_VA_LIMIT ((va_t)1 << 40)
#define SIM_MAX_CPUS 16u

/* ---- making one ------------------------------------------------------------------------------------------------ */

/* An access about to be made. cpu is the one that makes it. */
struct sim_access {
	unsigned cpu;
	enum mach_obj kind;
	enum mach_mode mode;
	const volatile void *obj;
};

struct sim_config {
	unsigned nr_cpus;	/* 0: 2 */
	uint64_t nr_frames;	/* RAM in pages, with the zero page; 0: 1024 */
	size_t mem_bytes;	/* engine memory; 0: 8 MiB */
	uint64_t max_steps;	/* of one sim_run; 0: 10 million */
	uint64_t seed;		/* of every random choice */
	unsigned switch_one_in; /* at each point the CPU is chosen anew with a chance of 1 in this; 0: never */
	bool catch_violations;	/* a broken invariant ends sim_run with SIM_VIOLATED instead of aborting */

	/* Replace the choices above. point: true when pick should choose before the access. pick: one of the set bits. */
	bool (*point)(void *arg, const struct sim_access *access);
	unsigned (*pick)(void *arg, uint64_t runnable, unsigned last);
	void *arg;
};

/* 0 or -ENOMEM. NULL: all defaults. There must be no current simulation. */
int sim_create(const struct sim_config *config) FL_MUST_CHECK;
/* Throws everything away, in whatever state it is. */
void sim_destroy(void);
struct machine *sim_machine(void);

/* ---- running --------------------------------------------------------------------------------------------------- */

enum sim_cpu_state {
	SIM_CPU_IDLE, /* nothing was spawned */
	SIM_CPU_READY,
	SIM_CPU_BLOCKED,
	SIM_CPU_DONE,
	SIM_CPU_DEAD, /* it broke an invariant */
};

enum sim_why {
	SIM_WHY_NONE,
	SIM_WHY_LOCK,
	SIM_WHY_READ_LOCK,
	SIM_WHY_WRITE_LOCK,
	SIM_WHY_WAIT,
};

struct sim_block {
	enum sim_why why;
	const void *obj;	  /* the lock or the word */
	enum mach_wait_kind kind; /* SIM_WHY_WAIT */
};

enum sim_outcome {
	SIM_DONE,     /* every program finished */
	SIM_BLOCKED,  /* the others wait for a monitor or for a message: an outcome, not a fault of the engine */
	SIM_DEADLOCK, /* somebody waits for a lock, or in MACH_WAIT_OTHER, and nobody can end that */
	SIM_LIMIT,    /* max_steps: a livelock */
	SIM_VIOLATED, /* an invariant broke (catch_violations); only sim_report and sim_destroy are legal now */
};

/* Give an idle or finished CPU a program. as is what its copy_in and copy_out mean; may be NULL. */
void sim_spawn(unsigned cpu, struct mach_as *as, void (*fn)(void *arg), void *arg);

/* Run until no CPU can go on. May be called again, after sim_spawn or after boot code woke somebody. */
enum sim_outcome sim_run(void);

/* One line for each CPU that is blocked or dead, and what broke. Valid until the next call. */
const char *sim_report(void);

enum sim_cpu_state sim_cpu_state(unsigned cpu);
struct sim_block sim_cpu_block(unsigned cpu);

/* The address space that boot code's copy_in and copy_out mean. */
void sim_boot_as(struct mach_as *as);

/* ---- what a simulated program can do --------------------------------------------------------------------------- */

/* Load or store size (1, 2, 4, 8) bytes, naturally aligned. FAULT_DONE, or what the fault handler answered. */
enum fault_result sim_load(struct mach_as *as, va_t va, unsigned size, uint64_t *value) FL_MUST_CHECK;
enum fault_result sim_store(struct mach_as *as, va_t va, unsigned size, uint64_t value) FL_MUST_CHECK;
/* Fetch an instruction: asks for MACH_PROT_X. */
enum fault_result sim_fetch(struct mach_as *as, va_t va) FL_MUST_CHECK;

/* Let the next CPU that can run have a turn. Outside sim_run: nothing. */
void sim_yield(void);

/* The CPU that runs; nr_cpus for boot code. */
unsigned sim_self(void);

/* A signal for a program: ends its mach wait with -EINTR. False when it is not in one. */
bool sim_interrupt(unsigned cpu);

/* ---- looking and meddling -------------------------------------------------------------------------------------- */

uint64_t sim_steps(void);    /* points announced so far */
uint64_t sim_switches(void); /* times that a CPU was given the turn */

/* The next n-th allocation (mem_alloc and frame_alloc together, 1: the next) fails, once. 0: none. */
void sim_fail_alloc_at(uint64_t n);
/* Allocations asked for so far, with the failed ones. */
uint64_t sim_alloc_count(void);

size_t sim_mem_in_use(void); /* bytes of engine memory */
uint64_t sim_frames_in_use(void); /* without the zero page */
bool sim_frame_is_allocated(uint64_t pfn);
/* The content of a frame, for a test to look at. */
const void *sim_frame_ptr(uint64_t pfn);

struct sim_translation {
	uint64_t pfn;
	unsigned prot;
};

/* What a CPU's TLB holds for a page. False: nothing. */
bool sim_tlb_get(unsigned cpu, const struct mach_as *as, va_t va, struct sim_translation *out);
/* Hardware may drop a translation at any time. */
void sim_tlb_evict(unsigned cpu, const struct mach_as *as, va_t va);
