/* SPDX-License-Identifier: MIT */
/*
 * Locks and sleeping. Nobody spins: a CPU that cannot go on is disabled, and the scheduler asks sim_block_is_over()
 * when it looks for somebody to run. What a CPU holds is kept in a list, so that every misuse is seen where it happens:
 * taking a lock twice, releasing another's, sleeping with one held.
 */
#include "machine/sim/internal.h"

#include <errno.h>

/* ---- what the current CPU holds -------------------------------------------------------------------------------- */

static struct sim_held *find_held(struct sim_cpu *c, const void *lock)
{
	for (unsigned i = 0; i < c->nr_held; i++)
		if (c->held[i].lock == lock)
			return &c->held[i];
	return NULL;
}

static void push_held(struct sim_cpu *c, const void *lock, enum sim_why how)
{
	ASSERT(c->nr_held < SIM_MAX_HELD);
	c->held[c->nr_held++] = (struct sim_held){.lock = lock, .how = how};
}

static void drop_held(struct sim_cpu *c, const void *lock, enum sim_why how)
{
	struct sim_held *h = find_held(c, lock);

	ASSERT(h); /* else released by a CPU that does not hold it */
	ASSERT(h->how == how);
	*h = c->held[--c->nr_held];
}

static void block_on_lock(struct sim *s, const void *lock, enum sim_why why)
{
	struct sim_blocked_on b = {.what = {.why = why, .obj = lock}};

	while (!sim_block_is_over(s, &b))
		sim_block_here(s, b.what, SIM_NO_DEADLINE);
}

/* ---- locks ----------------------------------------------------------------------------------------------------- */

void sim_lock(struct machine *m, struct mach_lock *l)
{
	struct sim *s = sim_of(m);

	ASSERT(!find_held(s->cur, l)); /* not recursive */
	sim_point(m, MACH_OBJ_LOCK, MACH_WRITE, l);
	block_on_lock(s, l, SIM_WHY_LOCK);
	ASSERT(l->holder == 0);
	l->word = 1;
	l->holder = s->cur->id + 1;
	push_held(s->cur, l, SIM_WHY_LOCK);
}

void sim_unlock(struct machine *m, struct mach_lock *l)
{
	struct sim *s = sim_of(m);

	ASSERT(l->word == 1 && l->holder == s->cur->id + 1);
	drop_held(s->cur, l, SIM_WHY_LOCK);
	l->word = 0;
	l->holder = 0;
}

bool sim_lock_is_held(struct machine *m, const struct mach_lock *l)
{
	return l->word && l->holder == sim_of(m)->cur->id + 1;
}

void sim_read_lock(struct machine *m, struct mach_rwlock *l)
{
	struct sim *s = sim_of(m);

	ASSERT(!find_held(s->cur, l)); /* a reader that comes back deadlocks with a writer in between */
	sim_point(m, MACH_OBJ_LOCK, MACH_READ, l);
	block_on_lock(s, l, SIM_WHY_READ_LOCK);
	ASSERT(l->holder == 0);
	l->word++;
	push_held(s->cur, l, SIM_WHY_READ_LOCK);
}

void sim_read_unlock(struct machine *m, struct mach_rwlock *l)
{
	ASSERT(l->word > 0 && !(l->word & SIM_RW_WRITER));
	drop_held(sim_of(m)->cur, l, SIM_WHY_READ_LOCK);
	l->word--;
}

void sim_write_lock(struct machine *m, struct mach_rwlock *l)
{
	struct sim *s = sim_of(m);

	ASSERT(!find_held(s->cur, l));
	sim_point(m, MACH_OBJ_LOCK, MACH_WRITE, l);
	l->want++;
	block_on_lock(s, l, SIM_WHY_WRITE_LOCK);
	l->want--;
	ASSERT(l->word == 0 && l->holder == 0);
	l->word = SIM_RW_WRITER;
	l->holder = s->cur->id + 1;
	push_held(s->cur, l, SIM_WHY_WRITE_LOCK);
}

void sim_write_unlock(struct machine *m, struct mach_rwlock *l)
{
	struct sim *s = sim_of(m);

	ASSERT(l->word == SIM_RW_WRITER && l->holder == s->cur->id + 1);
	drop_held(s->cur, l, SIM_WHY_WRITE_LOCK);
	l->word = 0;
	l->holder = 0;
}

bool sim_rw_is_held(struct machine *m, const struct mach_rwlock *l, bool for_write)
{
	const struct sim_held *h = find_held(sim_of(m)->cur, l);

	return h && (!for_write || h->how == SIM_WHY_WRITE_LOCK);
}

/* ---- waiting --------------------------------------------------------------------------------------------------- */

static uint64_t deadline_of(const struct sim *s, int64_t timeout_ns)
{
	return timeout_ns < 0 ? SIM_NO_DEADLINE : s->steps + (uint64_t)timeout_ns;
}

int sim_wait(struct machine *m, uint32_t *word, uint32_t expect, enum mach_wait_kind kind, int64_t timeout_ns)
{
	struct sim *s = sim_of(m);
	uint64_t deadline;

	ASSERT(s->cur->nr_held == 0); /* I10 */
	sim_point(m, MACH_OBJ_QUEUE, MACH_READ, word);
	if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != expect)
		return 0;
	deadline = deadline_of(s, timeout_ns);
	if (s->cur == &s->boot && deadline != SIM_NO_DEADLINE) {
		s->steps = deadline; /* nobody runs who could wake it */
		return -ETIMEDOUT;
	}
	sim_block_here(s, (struct sim_block){.why = SIM_WHY_WAIT, .obj = word, .kind = kind}, deadline);
	return s->cur->block.result;
}

static struct sim_cpu *longest_sleeper(struct sim *s, const uint32_t *word)
{
	struct sim_cpu *first = NULL;

	for (unsigned i = 0; i < s->cfg.nr_cpus; i++) {
		struct sim_cpu *c = &s->cpu[i];
		const struct sim_blocked_on *b = &c->block;

		if (c->state != SIM_CPU_BLOCKED || b->what.why != SIM_WHY_WAIT || b->what.obj != word || b->woken)
			continue;
		if (!first || b->order < first->block.order)
			first = c;
	}
	return first;
}

void sim_wake(struct machine *m, uint32_t *word, int n)
{
	struct sim *s = sim_of(m);
	struct sim_cpu *c;

	sim_point(m, MACH_OBJ_QUEUE, MACH_WRITE, word);
	while (n-- > 0 && (c = longest_sleeper(s, word))) {
		c->block.woken = true;
		c->block.result = 0;
	}
}

bool sim_interrupt(unsigned cpu)
{
	struct sim *s = sim_get();
	struct sim_cpu *c = &s->cpu[cpu];

	ASSERT(cpu < s->cfg.nr_cpus);
	if (c->state != SIM_CPU_BLOCKED || c->block.what.why != SIM_WHY_WAIT || c->block.woken)
		return false;
	c->block.woken = true;
	c->block.result = -EINTR;
	return true;
}

/* ---- for the scheduler ----------------------------------------------------------------------------------------- */

bool sim_block_is_over(const struct sim *s, const struct sim_blocked_on *b)
{
	const struct mach_lock *l = b->what.obj;
	const struct mach_rwlock *rw = b->what.obj;

	switch (b->what.why) {
	case SIM_WHY_LOCK:
		return l->word == 0;
	case SIM_WHY_READ_LOCK:
		return !(rw->word & SIM_RW_WRITER) && rw->want == 0;
	case SIM_WHY_WRITE_LOCK:
		return rw->word == 0;
	case SIM_WHY_WAIT:
		return b->woken || s->steps >= b->deadline;
	case SIM_WHY_NONE:
		break;
	}
	return true;
}
