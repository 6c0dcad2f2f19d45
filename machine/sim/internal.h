/* SPDX-License-Identifier: MIT */
/* What crosses the files of machine/sim. */
#pragma once
#include "base/assert.h"
#include "machine/sim/coro.h"
#include "machine/sim/sim.h"

#define SIM_MAX_HELD 16u
#define SIM_MAX_AS 64u
#define SIM_TLB_SETS 16u
#define SIM_TLB_WAYS 4u
#define SIM_NO_DEADLINE UINT64_MAX

/* Bits of mach_rwlock.word: the rest counts readers. */
#define SIM_RW_WRITER ((uint32_t)1 << 31)

struct sim_held {
	const void *lock;
	enum sim_why how; /* LOCK, READ_LOCK, WRITE_LOCK */
};

struct sim_blocked_on {
	struct sim_block what;
	uint64_t deadline; /* step, for SIM_WHY_WAIT */
	uint64_t order;	   /* of arrival at the word */
	bool woken;
	int result; /* what wait() will answer */
};

/* One flow of control: a CPU's program, or the boot code. */
struct sim_cpu {
	unsigned id; /* boot: nr_cpus */
	unsigned hw; /* whose TLB and thread id; boot: 0 */
	enum sim_cpu_state state;
	struct coro co;
	struct mach_as *as;
	void (*fn)(void *arg);
	void *arg;
	struct sim_blocked_on block;
	struct sim_held held[SIM_MAX_HELD];
	unsigned nr_held;
};

struct sim_tlb_entry {
	const struct mach_as *as; /* NULL: empty */
	va_t page;
	uint64_t pfn;
	unsigned prot;
	uint64_t born; /* step of the fill */
};

struct sim_tlb {
	struct sim_tlb_entry e[SIM_TLB_SETS][SIM_TLB_WAYS];
	unsigned victim[SIM_TLB_SETS]; /* next way to give up */
};

/* Engine memory: pages from a fixed arena, first fit. */
struct sim_arena {
	char *map; /* what mmap gave; base is aligned in it */
	size_t map_len;
	char *base;
	size_t nr_pages;
	uint32_t *run;	/* at the first page of an allocation: its pages */
	uint8_t *taken; /* per page */
	size_t pages_in_use;
};

struct sim_ram {
	char *base;
	uint64_t nr_frames;
	uint8_t *taken;
	uint64_t hint; /* no free frame below it */
	uint64_t in_use;
};

struct sim {
	struct machine m;
	struct sim_config cfg;
	struct sim_cpu cpu[SIM_MAX_CPUS];
	struct sim_cpu boot;
	struct sim_cpu *cur;
	struct sim_tlb tlb[SIM_MAX_CPUS];
	const struct mach_as *as[SIM_MAX_AS];
	struct sim_arena arena;
	struct sim_ram ram;

	bool running;
	bool at_limit;
	unsigned atomic; /* above 0: hardware is in the middle of one access, nobody else can step in */
	unsigned last;	 /* the CPU that had the turn last */
	int chosen;	 /* the choice that a point made, for the scheduler; -1: none */
	uint64_t steps;
	uint64_t switches;
	uint64_t limit; /* of steps */
	uint64_t wait_order;
	uint64_t rng;

	uint64_t allocs;
	uint64_t fail_at; /* the value of allocs that fails; 0: none */

	char violation[256];
	char report[2048];
};

struct sim *sim_get(void);

static inline struct sim *sim_of(struct machine *m)
{
	return container_of(m, struct sim, m);
}

/* ram.c */
int sim_ram_create(struct sim *s);
void sim_ram_destroy(struct sim *s);
/* Counts an allocation; true: it must fail. */
bool sim_alloc_fails(struct sim *s);
void *sim_mem_alloc(struct machine *m, size_t bytes, size_t align);
void sim_mem_free(struct machine *m, void *p, size_t bytes);
int sim_frame_alloc(struct machine *m, uint64_t *pfn);
void sim_frame_free(struct machine *m, uint64_t pfn);
void sim_frame_zero(struct machine *m, uint64_t pfn);
void sim_frame_copy(struct machine *m, uint64_t dst, uint64_t src);
void sim_frame_write(struct machine *m, uint64_t pfn, const void *page);
uint64_t sim_frame_count(struct machine *m);
bool sim_frame_is_usable(const struct sim *s, uint64_t pfn);
static inline char *sim_frame_addr(const struct sim *s, uint64_t pfn)
{
	return s->ram.base + pfn * PAGE_SIZE;
}

/* sched.c */
void sim_sched_init(struct sim *s);
void sim_point(struct machine *m, enum mach_obj kind, enum mach_mode mode, const volatile void *obj);
/* Give the turn away until block is over; what it is over for, see block_is_over(). */
void sim_block_here(struct sim *s, struct sim_block what, uint64_t deadline);
void sim_on_violation(const char *expr, const char *file, int line);

/* lock.c */
void sim_lock(struct machine *m, struct mach_lock *l);
void sim_unlock(struct machine *m, struct mach_lock *l);
bool sim_lock_is_held(struct machine *m, const struct mach_lock *l);
void sim_read_lock(struct machine *m, struct mach_rwlock *l);
void sim_read_unlock(struct machine *m, struct mach_rwlock *l);
void sim_write_lock(struct machine *m, struct mach_rwlock *l);
void sim_write_unlock(struct machine *m, struct mach_rwlock *l);
bool sim_rw_is_held(struct machine *m, const struct mach_rwlock *l, bool for_write);
int sim_wait(struct machine *m, uint32_t *word, uint32_t expect, enum mach_wait_kind kind, int64_t timeout_ns);
void sim_wake(struct machine *m, uint32_t *word, int n);
/* Can the reason for which somebody is blocked be taken away now? */
bool sim_block_is_over(const struct sim *s, const struct sim_blocked_on *b);

/* tlb.c */
int sim_as_create(struct machine *m, struct mach_as *as);
void sim_as_destroy(struct mach_as *as);
void sim_tlb_fill(struct mach_as *as, va_t start, va_t end, unsigned prot);
void sim_tlb_restrict(struct mach_as *as, va_t start, va_t end, unsigned prot);
/* True when a TLB holds a translation to the frame. */
bool sim_tlb_maps_frame(const struct sim *s, uint64_t pfn);

/*
 * The TLB and the walk of one access by the current CPU, without the fault handler. The caller announces it and makes
 * it one step (atomic). False: a translation is missing or too narrow.
 */
bool sim_translate(struct sim *s, struct mach_as *as, va_t va, unsigned need, uint64_t *pfn);
/* The object that stands for one page's translation on one CPU. Only its identity matters. */
static inline const void *sim_tlb_object(unsigned hw, va_t va)
{
	return (const void *)(uintptr_t)(page_down(va) | hw);
}

/* access.c */
int sim_copy_in(struct machine *m, void *dst, va_t src, size_t len);
int sim_copy_out(struct machine *m, va_t dst, const void *src, size_t len);
int sim_copy_in_atomic(struct machine *m, void *dst, va_t src, size_t len);
