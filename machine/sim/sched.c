/* SPDX-License-Identifier: MIT */
/*
 * Who runs. A CPU keeps the turn until it blocks, finishes, or a point gives the turn away; then the scheduler, which
 * runs on the OS thread's own stack, picks the next. The choice depends on the configuration alone.
 */
#include "machine/sim/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- choices --------------------------------------------------------------------------------------------------- */

/* xorshift64*: the state is never 0 */
static uint64_t random_next(struct sim *s)
{
	s->rng ^= s->rng >> 12;
	s->rng ^= s->rng << 25;
	s->rng ^= s->rng >> 27;
	return s->rng * 0x2545F4914F6CDD1Dull;
}

static unsigned random_below(struct sim *s, unsigned n)
{
	return (unsigned)((random_next(s) >> 33) % n);
}

static bool wants_switch(struct sim *s, const struct sim_access *a)
{
	if (s->cfg.point)
		return s->cfg.point(s->cfg.arg, a);
	return s->cfg.switch_one_in && random_below(s, s->cfg.switch_one_in) == 0;
}

/* The n-th set bit, from 0. */
static unsigned nth_bit(uint64_t set, unsigned n)
{
	while (n-- > 0)
		set &= set - 1;
	return (unsigned)__builtin_ctzll(set);
}

/* The first set bit at or after `from`, cyclically. */
static unsigned bit_from(uint64_t set, unsigned from)
{
	uint64_t above = set >> from << from;

	return (unsigned)__builtin_ctzll(above ? above : set);
}

static unsigned pick(struct sim *s, uint64_t runnable)
{
	unsigned cpu;

	if (s->cfg.pick)
		cpu = s->cfg.pick(s->cfg.arg, runnable, s->last);
	else if (s->cfg.switch_one_in)
		cpu = nth_bit(runnable, random_below(s, (unsigned)__builtin_popcountll(runnable)));
	else
		cpu = bit_from(runnable, s->last);
	ASSERT(cpu < s->cfg.nr_cpus && (runnable >> cpu & 1));
	return cpu;
}

static bool can_run(const struct sim *s, const struct sim_cpu *c)
{
	return c->state == SIM_CPU_READY || (c->state == SIM_CPU_BLOCKED && sim_block_is_over(s, &c->block));
}

static uint64_t runnable_set(const struct sim *s)
{
	uint64_t set = 0;

	for (unsigned i = 0; i < s->cfg.nr_cpus; i++)
		set |= (uint64_t)can_run(s, &s->cpu[i]) << i;
	return set;
}

/* Nobody can run: let the time pass until the first deadline. False: there is none. */
static bool skip_to_deadline(struct sim *s)
{
	uint64_t first = SIM_NO_DEADLINE;

	for (unsigned i = 0; i < s->cfg.nr_cpus; i++)
		if (s->cpu[i].state == SIM_CPU_BLOCKED && s->cpu[i].block.what.why == SIM_WHY_WAIT)
			first = min_u64(first, s->cpu[i].block.deadline);
	if (first == SIM_NO_DEADLINE)
		return false;
	ASSERT(first > s->steps);
	s->steps = first;
	return true;
}

/* ---- giving and taking the turn -------------------------------------------------------------------------------- */

static void give_up_turn(struct sim *s, bool last)
{
	coro_switch(&s->cur->co, &s->boot.co, last);
}

/* Let cpu go on next. */
static void hand_over(struct sim *s, unsigned cpu)
{
	if (cpu == s->cur->id)
		return;
	s->chosen = (int)cpu;
	give_up_turn(s, false);
}

static void take_turn(struct sim *s, struct sim_cpu *c)
{
	c->state = SIM_CPU_READY;
	s->last = c->id;
	s->cur = c;
	s->switches++;
	coro_switch(&s->boot.co, &c->co, false);
	s->cur = &s->boot;
}

/* steps is past the limit: the execution ends here, and this CPU's turn with it. */
static void stop_at_limit(struct sim *s)
{
	ASSERT(s->cur != &s->boot); /* else boot code goes round for ever */
	s->at_limit = true;
	give_up_turn(s, false);
	ASSERT(!"resumed after the limit");
}

void sim_point(struct machine *m, enum mach_obj kind, enum mach_mode mode, const volatile void *obj)
{
	struct sim *s = sim_of(m);
	struct sim_access a = {.cpu = s->cur->id, .kind = kind, .mode = mode, .obj = obj};
	bool again;

	s->steps++;
	if (s->cur == &s->boot) {
		ASSERT(s->steps < s->limit);
		return;
	}
	again = wants_switch(s, &a);
	if (s->atomic)
		return;
	if (s->steps >= s->limit)
		stop_at_limit(s);
	if (!again)
		return;
	hand_over(s, pick(s, runnable_set(s)));
}

void sim_yield(void)
{
	struct sim *s = sim_get();
	uint64_t others;

	if (s->cur == &s->boot)
		return;
	s->steps++;
	if (s->steps >= s->limit)
		stop_at_limit(s);
	others = runnable_set(s) & ~((uint64_t)1 << s->cur->id);
	if (!others)
		return;
	hand_over(s, s->cfg.pick || s->cfg.switch_one_in ? pick(s, others) : bit_from(others, s->cur->id));
}

static const char *why_text(enum sim_why why)
{
	static const char *const text[] = {
		[SIM_WHY_NONE] = "nothing",
		[SIM_WHY_LOCK] = "a lock",
		[SIM_WHY_READ_LOCK] = "a lock, to read",
		[SIM_WHY_WRITE_LOCK] = "a lock, to write",
		[SIM_WHY_WAIT] = "a wake-up",
	};

	return text[why];
}

/* Outside sim_run there is nobody who could end the wait. */
static void boot_would_block(struct sim *s, struct sim_block what)
{
	fprintf(stderr, "sim: an engine call outside sim_run would block on %s (%p)\n%s", why_text(what.why), what.obj,
		sim_report());
	ASSERT(!"boot code would block for ever");
}

void sim_block_here(struct sim *s, struct sim_block what, uint64_t deadline)
{
	struct sim_cpu *c = s->cur;

	ASSERT(s->atomic == 0);
	if (c == &s->boot)
		boot_would_block(s, what);
	c->block = (struct sim_blocked_on){
		.what = what, .deadline = deadline, .order = s->wait_order++, .result = -ETIMEDOUT};
	c->state = SIM_CPU_BLOCKED;
	give_up_turn(s, false);
	ASSERT(s->cur == c && c->state == SIM_CPU_READY);
}

/* ---- programs -------------------------------------------------------------------------------------------------- */

static void program_main(void *arg)
{
	struct sim_cpu *c = arg;
	struct sim *s = sim_get();

	c->fn(c->arg);
	ASSERT(c->nr_held == 0); /* a program that ends with a lock held */
	ASSERT(s->cur == c && s->atomic == 0);
	c->state = SIM_CPU_DONE;
	give_up_turn(s, true);
}

void sim_spawn(unsigned cpu, struct mach_as *as, void (*fn)(void *arg), void *arg)
{
	struct sim *s = sim_get();
	struct sim_cpu *c = &s->cpu[cpu];

	ASSERT(cpu < s->cfg.nr_cpus);
	ASSERT(c->state == SIM_CPU_IDLE || c->state == SIM_CPU_DONE);
	c->as = as;
	c->fn = fn;
	c->arg = arg;
	c->block = (struct sim_blocked_on){.deadline = SIM_NO_DEADLINE};
	coro_start(&c->co, program_main, c);
	c->state = SIM_CPU_READY;
}

/* What the state of the CPUs says now that nobody can run. */
static enum sim_outcome outcome(const struct sim *s)
{
	enum sim_outcome o = SIM_DONE;

	if (s->violation[0])
		return SIM_VIOLATED;
	if (s->at_limit)
		return SIM_LIMIT;
	for (unsigned i = 0; i < s->cfg.nr_cpus; i++) {
		const struct sim_block *b = &s->cpu[i].block.what;

		if (s->cpu[i].state != SIM_CPU_BLOCKED)
			continue;
		if (b->why != SIM_WHY_WAIT || b->kind == MACH_WAIT_OTHER)
			return SIM_DEADLOCK;
		o = SIM_BLOCKED;
	}
	return o;
}

static struct sim_cpu *next_cpu(struct sim *s)
{
	int chosen = s->chosen;
	uint64_t runnable;

	s->chosen = -1;
	if (chosen >= 0)
		return &s->cpu[chosen];
	while (!(runnable = runnable_set(s)))
		if (!skip_to_deadline(s))
			return NULL;
	return &s->cpu[pick(s, runnable)];
}

enum sim_outcome sim_run(void)
{
	struct sim *s = sim_get();
	struct sim_cpu *c;

	ASSERT(!s->running && s->cur == &s->boot);
	ASSERT(!s->violation[0] && !s->at_limit);
	ASSERT(s->boot.nr_held == 0); /* the programs would wait for it for ever */
	s->running = true;
	s->limit = s->steps + s->cfg.max_steps;
	while (!s->violation[0] && !s->at_limit && (c = next_cpu(s)))
		take_turn(s, c);
	s->running = false;
	s->atomic = 0; /* a CPU that broke an invariant may have been in the middle */
	s->limit = s->steps + s->cfg.max_steps;
	return outcome(s);
}

void sim_on_violation(const char *expr, const char *file, int line)
{
	struct sim *s = sim_get();

	if (s->cur == &s->boot || s->violation[0])
		return; /* nothing to unwind to: fl_violation reports and aborts */
	snprintf(s->violation, sizeof(s->violation), "%s at %s:%d", expr, file, line);
	s->cur->state = SIM_CPU_DEAD;
	give_up_turn(s, true);
}

void sim_sched_init(struct sim *s)
{
	/* splitmix's constant: seeds 0, 1, 2, ... start far from one another */
	s->rng = (s->cfg.seed + 1) * 0x9E3779B97F4A7C15ull;
	if (!s->rng)
		s->rng = 1;
	s->chosen = -1;
	s->last = 0;
	s->limit = s->cfg.max_steps;
	s->cur = &s->boot;
}

/* ---- reports --------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void say(struct sim *s, const char *format, ...)
{
	size_t len = strlen(s->report);
	va_list ap;

	va_start(ap, format);
	vsnprintf(s->report + len, sizeof(s->report) - len, format, ap);
	va_end(ap);
}

static void say_holders(struct sim *s, const void *lock)
{
	for (unsigned i = 0; i <= s->cfg.nr_cpus; i++) {
		const struct sim_cpu *c = i < s->cfg.nr_cpus ? &s->cpu[i] : &s->boot;

		for (unsigned k = 0; k < c->nr_held; k++) {
			if (c->held[k].lock != lock)
				continue;
			if (c == &s->boot)
				say(s, ", held by boot code");
			else
				say(s, ", held by cpu%u", i);
		}
	}
}

static void say_blocked(struct sim *s, unsigned cpu, const struct sim_block *b)
{
	static const char *const kind[] = {
		[MACH_WAIT_FAULT] = "a fault to be answered",
		[MACH_WAIT_READ] = "a message",
		[MACH_WAIT_OTHER] = "a wake-up",
	};

	say(s, "cpu%u: waits for %s (%p)", cpu, b->why == SIM_WHY_WAIT ? kind[b->kind] : why_text(b->why), b->obj);
	say_holders(s, b->obj);
	say(s, "\n");
}

const char *sim_report(void)
{
	struct sim *s = sim_get();

	s->report[0] = '\0';
	if (s->violation[0])
		say(s, "broken invariant: %s\n", s->violation);
	if (s->at_limit)
		say(s, "cpu%u: still running after %llu steps\n", s->last, (unsigned long long)s->cfg.max_steps);
	for (unsigned i = 0; i < s->cfg.nr_cpus; i++) {
		if (s->cpu[i].state == SIM_CPU_BLOCKED)
			say_blocked(s, i, &s->cpu[i].block.what);
		else if (s->cpu[i].state == SIM_CPU_DEAD)
			say(s, "cpu%u: broke the invariant\n", i);
	}
	return s->report;
}

enum sim_cpu_state sim_cpu_state(unsigned cpu)
{
	ASSERT(cpu < sim_get()->cfg.nr_cpus);
	return sim_get()->cpu[cpu].state;
}

struct sim_block sim_cpu_block(unsigned cpu)
{
	ASSERT(sim_cpu_state(cpu) == SIM_CPU_BLOCKED);
	return sim_get()->cpu[cpu].block.what;
}
