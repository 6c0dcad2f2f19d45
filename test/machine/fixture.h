/* SPDX-License-Identifier: MIT */
/*
 * What the contract's tests need of a machine beyond its operations: several CPUs that do something at the same time, and a
 * program whose memory they can touch.
 *
 * The program has one stretch of memory, all of it present, allowed and zero after map(). The tests play the engine: they
 * change an entry and tell the machine (allow, forbid), and answer faults (on_fault).
 */
#pragma once
#include "machine/machine.h"

/* Answer a fault at va, inside the program's memory. Any CPU; no lock is held. */
typedef enum fault_result (*fixture_fault_fn)(va_t va, unsigned flags);

struct fixture {
	const char *name;
	int seeds;	 /* how many times a concurrent test is worth running, each with another seed */
	unsigned rounds; /* how long a loop in a concurrent test should be */

	/* The machine; NULL and *why: this host cannot carry it. seed 0 is the plainest order. */
	struct machine *(*start)(int seed, const char **why);
	void (*stop)(void);

	/* body(0) .. body(n-1) at the same time, n <= FIXTURE_CPUS, until all have ended. Fails the test if they do not. */
	void (*run)(unsigned n, void (*body)(unsigned self));
	/* Inside a body that looks at a word again and again: let the others go on. */
	void (*relax)(void);

	/* The program's memory: nr_pages from the address that is returned. */
	va_t (*map)(unsigned nr_pages, fixture_fault_fn on_fault);
	struct mach_as *(*as)(void);
	/* An address that the program cannot access and the engine does not manage. */
	va_t (*bad_va)(void);
	/* The page's entry says prot from now on, and the machine is told: tlb_fill, or tlb_restrict. */
	void (*allow)(va_t va, unsigned prot);
	void (*forbid)(va_t va, unsigned prot);
	/* The program's own accesses. They go on until they succeed. */
	uint64_t (*load)(va_t va);
	void (*store)(va_t va, uint64_t value);
	/* From now on the machine has as little room for translations as it can do with. */
	void (*squeeze)(void);
	/* What the page holds, whatever its translations allow. */
	uint64_t (*peek)(va_t va);
	/* The content of a frame; NULL: the machine has none. */
	const void *(*frame)(uint64_t pfn);
};

#define FIXTURE_CPUS 4u

extern const struct fixture sim_fixture, live_fixture;
