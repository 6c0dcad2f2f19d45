/* SPDX-License-Identifier: MIT */
/* The simulated machine: who runs, who blocks, what a run's outcome says, and that all of it is determined. */
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "machine/sim/sim.h"

static void create(const struct sim_config *config)
{
	ck_assert_int_eq(sim_create(config), 0);
}

static const struct machine_ops *ops(void)
{
	return sim_machine()->ops;
}

/* ---- order ----------------------------------------------------------------------------------------------------- */

static unsigned order[64], nr_order;

static void note(unsigned what)
{
	ck_assert_uint_lt(nr_order, 64);
	order[nr_order++] = what;
}

static void note_self(void *arg)
{
	note(sim_self());
}

START_TEST(cpus_run_in_order)
{
	create(&(struct sim_config){.nr_cpus = 3});
	for (unsigned i = 3; i-- > 0;)
		sim_spawn(i, NULL, note_self, NULL);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	ck_assert_uint_eq(nr_order, 3);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_uint_eq(order[i], i);
		ck_assert_int_eq(sim_cpu_state(i), SIM_CPU_DONE);
	}
	sim_destroy();
}
END_TEST

static void note_and_yield(void *arg)
{
	for (unsigned i = 0; i < 3; i++) {
		note(sim_self());
		sim_yield();
	}
}

START_TEST(yield_gives_the_turn_to_the_next)
{
	static const unsigned want[] = {0, 1, 2, 0, 1, 2, 0, 1, 2};

	create(&(struct sim_config){.nr_cpus = 3});
	for (unsigned i = 0; i < 3; i++)
		sim_spawn(i, NULL, note_and_yield, NULL);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	ck_assert_uint_eq(nr_order, 9);
	ck_assert_mem_eq(order, want, sizeof(want));
	sim_destroy();
}
END_TEST

START_TEST(a_finished_cpu_can_be_used_again)
{
	create(NULL);
	for (unsigned i = 0; i < 5; i++) {
		sim_spawn(1, NULL, note_self, NULL);
		ck_assert_int_eq(sim_run(), SIM_DONE);
	}
	ck_assert_uint_eq(nr_order, 5);
	sim_destroy();
}
END_TEST

START_TEST(machines_follow_one_another)
{
	for (unsigned i = 0; i < 20; i++) {
		create(&(struct sim_config){.nr_cpus = 1 + i % SIM_MAX_CPUS});
		sim_spawn(i % SIM_MAX_CPUS, NULL, note_self, NULL);
		ck_assert_int_eq(sim_run(), SIM_DONE);
		ck_assert_uint_eq(sim_mem_in_use(), 0);
		sim_destroy();
	}
	ck_assert_uint_eq(nr_order, 20);
}
END_TEST

/* Values that a compiler keeps in callee-saved registers survive a switch, and so does the stack. */
static void compute(void *arg)
{
	uint64_t a = sim_self() + 1, b = a * 3, c = b * 5, d = c * 7, e = d * 11, f = e * 13;
	volatile char frame[2000];

	memset((char *)frame, (int)a, sizeof(frame));
	for (unsigned i = 0; i < 10; i++) {
		sim_yield();
		a += b, b += c, c += d, d += e, e += f, f += a;
		ck_assert_int_eq(frame[i * 199], (char)(sim_self() + 1));
	}
	*(uint64_t *)arg = f;
}

START_TEST(a_switch_preserves_registers_and_stack)
{
	uint64_t together[3], alone[3];

	create(&(struct sim_config){.nr_cpus = 3});
	for (unsigned i = 0; i < 3; i++)
		sim_spawn(i, NULL, compute, &together[i]);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	for (unsigned i = 0; i < 3; i++) {
		sim_spawn(i, NULL, compute, &alone[i]);
		ck_assert_int_eq(sim_run(), SIM_DONE);
		ck_assert_uint_eq(together[i], alone[i]);
	}
	sim_destroy();
}
END_TEST

static char *stack_top; /* about */

static uint64_t eat_stack(uint64_t depth)
{
	volatile uint64_t pad[64];

	pad[0] = depth;
	return depth ? eat_stack(depth - 1) + pad[0] : pad[0];
}

static void overflow(void *arg)
{
	stack_top = (char *)__builtin_frame_address(0);
	*(uint64_t *)arg = eat_stack(1 << 20);
}

/* The largest stack that any build has, and a guard page. The stacks of 16 CPUs are longer than that together. */
static void on_overflow(int sig, siginfo_t *info, void *context)
{
	_exit(stack_top - (char *)info->si_addr < 300 << 10 ? 42 : 1);
}

START_TEST(a_stack_overflow_meets_the_guard_page)
{
	static char other_stack[65536];
	stack_t alt = {.ss_sp = other_stack, .ss_size = sizeof(other_stack)};
	struct sigaction act = {.sa_sigaction = on_overflow, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	uint64_t sum;

	sigaltstack(&alt, NULL);
	sigaction(SIGSEGV, &act, NULL);
	create(&(struct sim_config){.nr_cpus = 16});
	sim_spawn(0, NULL, overflow, &sum);
	sim_run();
}
END_TEST

/* ---- locks ----------------------------------------------------------------------------------------------------- */

static struct mach_lock lock_a, lock_b;
static struct mach_rwlock rwlock;

static void hold_and_yield(void *arg)
{
	mach_lock(sim_machine(), &lock_a);
	note(sim_self());
	ck_assert(ops()->lock_is_held(sim_machine(), &lock_a));
	sim_yield();
	ck_assert(ops()->lock_is_held(sim_machine(), &lock_a));
	note(sim_self());
	mach_unlock(sim_machine(), &lock_a);
	ck_assert(!ops()->lock_is_held(sim_machine(), &lock_a));
}

START_TEST(a_lock_excludes_and_is_handed_over)
{
	static const unsigned want[] = {0, 0, 1, 1, 2, 2};

	create(&(struct sim_config){.nr_cpus = 3});
	for (unsigned i = 0; i < 3; i++)
		sim_spawn(i, NULL, hold_and_yield, NULL);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	ck_assert_uint_eq(nr_order, 6);
	ck_assert_mem_eq(order, want, sizeof(want));
	sim_destroy();
}
END_TEST

static void lock_both(void *arg)
{
	struct mach_lock **l = arg;

	mach_lock(sim_machine(), l[0]);
	sim_yield();
	mach_lock(sim_machine(), l[1]);
	mach_unlock(sim_machine(), l[1]);
	mach_unlock(sim_machine(), l[0]);
}

START_TEST(a_deadlock_is_found_and_told)
{
	struct mach_lock *ab[] = {&lock_a, &lock_b}, *ba[] = {&lock_b, &lock_a};

	create(NULL);
	sim_spawn(0, NULL, lock_both, ab);
	sim_spawn(1, NULL, lock_both, ba);
	ck_assert_int_eq(sim_run(), SIM_DEADLOCK);
	ck_assert_int_eq(sim_cpu_state(0), SIM_CPU_BLOCKED);
	ck_assert_int_eq(sim_cpu_block(0).why, SIM_WHY_LOCK);
	ck_assert_ptr_eq(sim_cpu_block(0).obj, &lock_b);
	ck_assert_ptr_eq(sim_cpu_block(1).obj, &lock_a);
	ck_assert_ptr_nonnull(strstr(sim_report(), "cpu0: waits for a lock"));
	ck_assert_ptr_nonnull(strstr(sim_report(), "held by cpu1\ncpu1: waits"));
	ck_assert_ptr_nonnull(strstr(sim_report(), "held by cpu0\n"));
	sim_destroy();
}
END_TEST

static void read_and_yield(void *arg)
{
	mach_read_lock(sim_machine(), &rwlock);
	note(sim_self());
	sim_yield();
	ck_assert(ops()->rw_is_held(sim_machine(), &rwlock, false));
	ck_assert(!ops()->rw_is_held(sim_machine(), &rwlock, true));
	note(sim_self());
	mach_read_unlock(sim_machine(), &rwlock);
}

static void write_and_yield(void *arg)
{
	mach_write_lock(sim_machine(), &rwlock);
	note(sim_self());
	sim_yield();
	ck_assert(ops()->rw_is_held(sim_machine(), &rwlock, true));
	note(sim_self());
	mach_write_unlock(sim_machine(), &rwlock);
}

START_TEST(readers_share_and_writers_do_not)
{
	static const unsigned want[] = {0, 1, 0, 1, 2, 2, 3, 3};

	create(&(struct sim_config){.nr_cpus = 4});
	sim_spawn(0, NULL, read_and_yield, NULL);
	sim_spawn(1, NULL, read_and_yield, NULL);
	sim_spawn(2, NULL, write_and_yield, NULL);
	sim_spawn(3, NULL, write_and_yield, NULL);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	ck_assert_uint_eq(nr_order, 8);
	ck_assert_mem_eq(order, want, sizeof(want));
	sim_destroy();
}
END_TEST

START_TEST(a_waiting_writer_keeps_new_readers_out)
{
	static const unsigned want[] = {0, 0, 1, 1, 2, 2};

	create(&(struct sim_config){.nr_cpus = 3});
	sim_spawn(0, NULL, read_and_yield, NULL);
	sim_spawn(1, NULL, write_and_yield, NULL);
	sim_spawn(2, NULL, read_and_yield, NULL);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	ck_assert_mem_eq(order, want, sizeof(want));
	ck_assert_uint_eq(rwlock.want, 0);
	sim_destroy();
}
END_TEST

/* ---- waiting --------------------------------------------------------------------------------------------------- */

static uint32_t word;

struct wait {
	enum mach_wait_kind kind;
	int64_t timeout;
	int result;
	uint64_t woke_at;
};

static void wait_once(void *arg)
{
	struct wait *w = arg;

	w->result = ops()->wait(sim_machine(), &word, 0, w->kind, w->timeout);
	w->woke_at = ops()->now_ns(sim_machine());
	note(sim_self());
}

START_TEST(a_monitor_without_messages_is_blocked_not_dead)
{
	struct wait w = {.kind = MACH_WAIT_READ, .timeout = -1, .result = 1};

	create(NULL);
	sim_spawn(1, NULL, wait_once, &w);
	ck_assert_int_eq(sim_run(), SIM_BLOCKED);
	ck_assert_int_eq(sim_cpu_block(1).why, SIM_WHY_WAIT);
	ck_assert_int_eq(sim_cpu_block(1).kind, MACH_WAIT_READ);
	ck_assert_ptr_eq(sim_cpu_block(1).obj, &word);
	ck_assert_ptr_nonnull(strstr(sim_report(), "cpu1: waits for a message"));
	ck_assert_int_eq(sim_run(), SIM_BLOCKED);
	mach_store32(sim_machine(), &word, 1);
	ops()->wake(sim_machine(), &word, 1);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	ck_assert_int_eq(w.result, 0);
	sim_destroy();
}
END_TEST

START_TEST(a_wait_that_nobody_ends_is_a_deadlock)
{
	struct wait w = {.kind = MACH_WAIT_OTHER, .timeout = -1};

	create(NULL);
	sim_spawn(0, NULL, wait_once, &w);
	ck_assert_int_eq(sim_run(), SIM_DEADLOCK);
	sim_destroy();
}
END_TEST

START_TEST(wake_ends_the_longest_wait_first)
{
	struct wait w = {.kind = MACH_WAIT_READ, .timeout = -1};
	static const unsigned want[] = {0, 1, 2};

	create(&(struct sim_config){.nr_cpus = 3});
	for (unsigned i = 0; i < 3; i++)
		sim_spawn(i, NULL, wait_once, &w);
	ck_assert_int_eq(sim_run(), SIM_BLOCKED);
	ops()->wake(sim_machine(), &word, 1);
	ck_assert_int_eq(sim_run(), SIM_BLOCKED);
	ck_assert_uint_eq(nr_order, 1);
	ops()->wake(sim_machine(), &word, INT_MAX);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	ck_assert_mem_eq(order, want, sizeof(want));
	sim_destroy();
}
END_TEST

START_TEST(timeouts_end_in_their_order)
{
	struct wait late = {.kind = MACH_WAIT_OTHER, .timeout = 500}, soon = {.kind = MACH_WAIT_READ, .timeout = 20};
	static const unsigned want[] = {1, 0};

	create(NULL);
	sim_spawn(0, NULL, wait_once, &late);
	sim_spawn(1, NULL, wait_once, &soon);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	ck_assert_int_eq(late.result, -ETIMEDOUT);
	ck_assert_int_eq(soon.result, -ETIMEDOUT);
	ck_assert_mem_eq(order, want, sizeof(want));
	ck_assert_uint_ge(soon.woke_at, 20);
	ck_assert_uint_lt(soon.woke_at, 500);
	ck_assert_uint_ge(late.woke_at, 500);
	sim_destroy();
}
END_TEST

START_TEST(a_signal_ends_a_wait)
{
	struct wait w = {.kind = MACH_WAIT_FAULT, .timeout = -1};

	create(NULL);
	sim_spawn(0, NULL, wait_once, &w);
	ck_assert(!sim_interrupt(0));
	ck_assert_int_eq(sim_run(), SIM_BLOCKED);
	ck_assert_ptr_nonnull(strstr(sim_report(), "a fault to be answered"));
	ck_assert(sim_interrupt(0));
	ck_assert_int_eq(sim_run(), SIM_DONE);
	ck_assert_int_eq(w.result, -EINTR);
	sim_destroy();
}
END_TEST

START_TEST(boot_code_times_out_at_once)
{
	create(NULL);
	ck_assert_int_eq(ops()->wait(sim_machine(), &word, 1, MACH_WAIT_READ, -1), 0);
	ck_assert_int_eq(ops()->wait(sim_machine(), &word, 0, MACH_WAIT_READ, 50), -ETIMEDOUT);
	ck_assert_uint_ge(ops()->now_ns(sim_machine()), 50);
	sim_destroy();
}
END_TEST

START_TEST(boot_code_that_would_block_aborts)
{
	create(NULL);
	ops()->wait(sim_machine(), &word, 0, MACH_WAIT_READ, -1);
}
END_TEST

/* ---- broken invariants and livelocks --------------------------------------------------------------------------- */

static void bad_unlock(void *arg)
{
	lock_a.word = 1;
	lock_a.holder = sim_self() + 2;
	mach_unlock(sim_machine(), &lock_a);
}

static void bad_relock(void *arg)
{
	mach_lock(sim_machine(), &lock_a);
	mach_lock(sim_machine(), &lock_a);
}

static void bad_reread(void *arg)
{
	mach_read_lock(sim_machine(), &rwlock);
	mach_read_lock(sim_machine(), &rwlock);
}

static void bad_read_unlock(void *arg)
{
	rwlock.word = 1;
	mach_read_unlock(sim_machine(), &rwlock);
}

static void bad_write_unlock(void *arg)
{
	mach_read_lock(sim_machine(), &rwlock);
	mach_write_unlock(sim_machine(), &rwlock);
}

static void bad_wait(void *arg)
{
	mach_lock(sim_machine(), &lock_a);
	ops()->wait(sim_machine(), &word, 1, MACH_WAIT_READ, -1);
}

static void bad_end(void *arg)
{
	mach_lock(sim_machine(), &lock_a);
}

static void bad_assert(void *arg)
{
	ASSERT(!"said so");
}

static const struct {
	void (*fn)(void *arg);
	const char *report;
} bad[] = {
	{bad_unlock, "l->holder == s->cur->id + 1"}, {bad_relock, "find_held"},
	{bad_reread, "find_held"},		     {bad_read_unlock, "broken invariant: h at"},
	{bad_write_unlock, "SIM_RW_WRITER"},	     {bad_wait, "nr_held == 0"},
	{bad_end, "nr_held == 0"},		     {bad_assert, "said so"},
};

START_TEST(a_broken_invariant_ends_the_run)
{
	create(&(struct sim_config){.catch_violations = true});
	sim_spawn(0, NULL, bad[_i].fn, NULL);
	sim_spawn(1, NULL, note_self, NULL);
	ck_assert_int_eq(sim_run(), SIM_VIOLATED);
	ck_assert_int_eq(sim_cpu_state(0), SIM_CPU_DEAD);
	ck_assert_msg(strstr(sim_report(), bad[_i].report) != NULL, "%s", sim_report());
	ck_assert_uint_eq(nr_order, 0);
	sim_destroy();
	/* and the next one is not troubled by it */
	create(NULL);
	sim_spawn(0, NULL, note_self, NULL);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	sim_destroy();
}
END_TEST

START_TEST(without_the_hook_a_broken_invariant_aborts)
{
	create(NULL);
	sim_spawn(0, NULL, bad_assert, NULL);
	sim_run();
}
END_TEST

static void spin(void *arg)
{
	while (mach_load32(sim_machine(), &word) == 0)
		sim_yield();
}

START_TEST(a_livelock_reaches_the_limit)
{
	create(&(struct sim_config){.max_steps = 1000});
	sim_spawn(0, NULL, spin, NULL);
	ck_assert_int_eq(sim_run(), SIM_LIMIT);
	ck_assert_ptr_nonnull(strstr(sim_report(), "still running after 1000 steps"));
	sim_destroy();
}
END_TEST

/* ---- choices --------------------------------------------------------------------------------------------------- */

static uint32_t counter;

#define ROUNDS 20

static void count_badly(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		mach_store32(sim_machine(), &counter, mach_load32(sim_machine(), &counter) + 1);
}

static void count_well(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++) {
		mach_lock(sim_machine(), &lock_a);
		mach_store32(sim_machine(), &counter, mach_load32(sim_machine(), &counter) + 1);
		mach_unlock(sim_machine(), &lock_a);
	}
}

/* Three CPUs count; what the counter says, and how often the turn changed. */
static uint32_t count(uint64_t seed, unsigned one_in, void (*fn)(void *arg), uint64_t *switches)
{
	create(&(struct sim_config){.nr_cpus = 3, .seed = seed, .switch_one_in = one_in});
	counter = 0;
	for (unsigned i = 0; i < 3; i++)
		sim_spawn(i, NULL, fn, NULL);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	*switches = sim_switches();
	sim_destroy();
	return counter;
}

START_TEST(without_switches_nothing_is_lost)
{
	uint64_t switches;

	ck_assert_uint_eq(count(_i, 0, count_badly, &switches), 3 * ROUNDS);
	ck_assert_uint_eq(switches, 3);
}
END_TEST

START_TEST(random_switches_find_a_lost_update)
{
	uint64_t switches;
	unsigned lost = 0;

	for (uint64_t seed = 0; seed < 20; seed++) {
		lost += count(seed, 4, count_badly, &switches) < 3 * ROUNDS;
		ck_assert_uint_gt(switches, 3);
		ck_assert_uint_eq(count(seed, 4, count_well, &switches), 3 * ROUNDS);
	}
	ck_assert_uint_gt(lost, 10);
}
END_TEST

START_TEST(a_seed_determines_the_run)
{
	unsigned different = 0;

	for (uint64_t seed = 0; seed < 20; seed++) {
		uint64_t first, again, other;
		uint32_t value = count(seed, 5, count_badly, &first);

		ck_assert_uint_eq(count(seed, 5, count_badly, &again), value);
		ck_assert_uint_eq(first, again);
		different += count(seed + 1, 5, count_badly, &other) != value || other != first;
	}
	ck_assert_uint_gt(different, 10);
}
END_TEST

struct strategy {
	unsigned points, picks, updates;
};

static bool at_every_point(void *arg, const struct sim_access *a)
{
	struct strategy *st = arg;

	st->points++;
	st->updates += a->kind == MACH_OBJ_COUNT && a->obj == &counter && a->mode == MACH_WRITE;
	return true;
}

static unsigned highest(void *arg, uint64_t runnable, unsigned last)
{
	((struct strategy *)arg)->picks++;
	return 63u - (unsigned)__builtin_clzll(runnable);
}

START_TEST(a_strategy_can_replace_the_choices)
{
	static const unsigned want[] = {2, 1, 0};
	struct strategy st = {0};

	create(&(struct sim_config){.nr_cpus = 3, .point = at_every_point, .pick = highest, .arg = &st});
	for (unsigned i = 0; i < 3; i++)
		sim_spawn(i, NULL, note_self, NULL);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	ck_assert_mem_eq(order, want, sizeof(want));
	for (unsigned i = 0; i < 3; i++)
		sim_spawn(i, NULL, count_badly, NULL);
	ck_assert_int_eq(sim_run(), SIM_DONE);
	ck_assert_uint_eq(counter, 3 * ROUNDS);
	ck_assert_uint_eq(st.points, 2 * 3 * ROUNDS);
	ck_assert_uint_eq(st.updates, 3 * ROUNDS);
	ck_assert_uint_gt(st.picks, st.points);
	sim_destroy();
}
END_TEST

START_TEST(who_and_when)
{
	uint64_t before;

	create(NULL);
	ck_assert_uint_eq(ops()->thread_id(sim_machine()), 1);
	ck_assert_uint_eq(sim_self(), 2);
	before = ops()->now_ns(sim_machine());
	mach_load32(sim_machine(), &word);
	ck_assert_uint_eq(ops()->now_ns(sim_machine()), before + 1);
	ck_assert_uint_eq(sim_steps(), before + 1);
	sim_destroy();
}
END_TEST

/* ---- suite ----------------------------------------------------------------------------------------------------- */

static TCase *order_tests(void)
{
	TCase *t = tcase_create("order");

	tcase_add_test(t, cpus_run_in_order);
	tcase_add_test(t, yield_gives_the_turn_to_the_next);
	tcase_add_test(t, a_finished_cpu_can_be_used_again);
	tcase_add_test(t, machines_follow_one_another);
	tcase_add_test(t, a_switch_preserves_registers_and_stack);
	tcase_add_exit_test(t, a_stack_overflow_meets_the_guard_page, 42);
	return t;
}

static TCase *blocking_tests(void)
{
	TCase *t = tcase_create("blocking");

	tcase_add_test(t, a_lock_excludes_and_is_handed_over);
	tcase_add_test(t, a_deadlock_is_found_and_told);
	tcase_add_test(t, readers_share_and_writers_do_not);
	tcase_add_test(t, a_waiting_writer_keeps_new_readers_out);
	tcase_add_test(t, a_monitor_without_messages_is_blocked_not_dead);
	tcase_add_test(t, a_wait_that_nobody_ends_is_a_deadlock);
	tcase_add_test(t, wake_ends_the_longest_wait_first);
	tcase_add_test(t, timeouts_end_in_their_order);
	tcase_add_test(t, a_signal_ends_a_wait);
	tcase_add_test(t, boot_code_times_out_at_once);
	tcase_add_test_raise_signal(t, boot_code_that_would_block_aborts, SIGABRT);
	return t;
}

static TCase *outcome_tests(void)
{
	TCase *t = tcase_create("outcomes and choices");

	tcase_add_loop_test(t, a_broken_invariant_ends_the_run, 0, (int)ARRAY_LEN(bad));
	tcase_add_test_raise_signal(t, without_the_hook_a_broken_invariant_aborts, SIGABRT);
	tcase_add_test(t, a_livelock_reaches_the_limit);
	tcase_add_loop_test(t, without_switches_nothing_is_lost, 0, 3);
	tcase_add_test(t, random_switches_find_a_lost_update);
	tcase_add_test(t, a_seed_determines_the_run);
	tcase_add_test(t, a_strategy_can_replace_the_choices);
	tcase_add_test(t, who_and_when);
	return t;
}

int main(void)
{
	Suite *s = suite_create("sim: scheduling");
	SRunner *r;
	int failed;

	suite_add_tcase(s, order_tests());
	suite_add_tcase(s, blocking_tests());
	suite_add_tcase(s, outcome_tests());
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
