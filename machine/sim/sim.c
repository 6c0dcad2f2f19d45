/* SPDX-License-Identifier: MIT */
/* The simulation as a whole: its table of operations, its beginning and its end. */
#include "machine/sim/internal.h"

#include <errno.h>
#include <stdlib.h>

/* The only state outside struct sim. */
static struct sim *current;

struct sim *sim_get(void)
{
	ASSERT(current);
	return current;
}

static uint32_t sim_thread_id(struct machine *m)
{
	return sim_of(m)->cur->hw + 1;
}

static uint64_t sim_now_ns(struct machine *m)
{
	return sim_of(m)->steps;
}

static const struct machine_ops sim_ops = {
	.name = "sim",
	.mem_alloc = sim_mem_alloc,
	.mem_free = sim_mem_free,
	.lock = sim_lock,
	.unlock = sim_unlock,
	.lock_is_held = sim_lock_is_held,
	.read_lock = sim_read_lock,
	.read_unlock = sim_read_unlock,
	.write_lock = sim_write_lock,
	.write_unlock = sim_write_unlock,
	.rw_is_held = sim_rw_is_held,
	.wait = sim_wait,
	.wake = sim_wake,
	.thread_id = sim_thread_id,
	.now_ns = sim_now_ns,
	.copy_in = sim_copy_in,
	.copy_out = sim_copy_out,
	.copy_in_atomic = sim_copy_in_atomic,
	.as_create = sim_as_create,
	.as_destroy = sim_as_destroy,
	.tlb_fill = sim_tlb_fill,
	.tlb_restrict = sim_tlb_restrict,
	.frame_alloc = sim_frame_alloc,
	.frame_free = sim_frame_free,
	.frame_zero = sim_frame_zero,
	.frame_copy = sim_frame_copy,
	.frame_write = sim_frame_write,
	.frame_count = sim_frame_count,
};

static void with_defaults(struct sim_config *c)
{
	if (!c->nr_cpus)
		c->nr_cpus = 2;
	if (!c->nr_frames)
		c->nr_frames = 1024;
	if (!c->mem_bytes)
		c->mem_bytes = (size_t)8 << 20;
	if (!c->max_steps)
		c->max_steps = 10000000;
	ASSERT(c->nr_cpus <= SIM_MAX_CPUS);
	ASSERT(is_page_aligned(c->mem_bytes));
}

static int create_cpus(struct sim *s)
{
	for (unsigned i = 0; i < s->cfg.nr_cpus; i++) {
		int r = coro_create(&s->cpu[i].co);

		if (r)
			return r;
		s->cpu[i].id = s->cpu[i].hw = i;
	}
	s->boot.id = s->cfg.nr_cpus;
	s->boot.state = SIM_CPU_READY;
	return 0;
}

int sim_create(const struct sim_config *config)
{
	struct sim *s;
	int r;

	ASSERT(!current);
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	/* Pointers of the test program must not look like addresses of a simulated one. */
	ASSERT((va_t)(uintptr_t)&current >= SIM_VA_LIMIT && (va_t)(uintptr_t)s >= SIM_VA_LIMIT);
	if (config)
		s->cfg = *config;
	with_defaults(&s->cfg);
	s->m = (struct machine){.ops = &sim_ops, .point = sim_point};
	sim_sched_init(s);
	current = s;
	r = create_cpus(s);
	if (r == 0)
		r = sim_ram_create(s);
	if (r) {
		sim_destroy();
		return r;
	}
	if (s->cfg.catch_violations)
		fl_violation_hook(sim_on_violation);
	return 0;
}

void sim_destroy(void)
{
	struct sim *s = sim_get();

	ASSERT(s->cur == &s->boot);
	if (s->cfg.catch_violations)
		fl_violation_hook(NULL);
	for (unsigned i = 0; i < s->cfg.nr_cpus; i++)
		coro_destroy(&s->cpu[i].co);
	sim_ram_destroy(s);
	free(s);
	current = NULL;
}

struct machine *sim_machine(void)
{
	return &sim_get()->m;
}

void sim_boot_as(struct mach_as *as)
{
	sim_get()->boot.as = as;
}

unsigned sim_self(void)
{
	return sim_get()->cur->id;
}

uint64_t sim_steps(void)
{
	return sim_get()->steps;
}

uint64_t sim_switches(void)
{
	return sim_get()->switches;
}
