/* SPDX-License-Identifier: MIT */
/*
 * The machine's contract (machine/machine.h), the same tests on every machine. A test that an operation's absence makes
 * pointless is not run, and the end of the output says which and why.
 */
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/machine/contract.h"

#define RW (MACH_PROT_R | MACH_PROT_W)

const struct fixture *fx;
struct machine *contract_machine;

#define M contract_machine

void contract_start(int seed)
{
	const char *why = NULL;

	M = fx->start(seed, &why);
	ck_assert_msg(M != NULL, "%s: %s", fx->name, why);
}

void contract_stop(void)
{
	fx->stop();
	M = NULL;
}

/* All n bodies meet here. Rounds count up, so that it can be used again. */
static uint32_t met;

static void meet(unsigned n, uint32_t round)
{
	mach_add32(M, &met, 1);
	while (mach_load32(M, &met) < n * round)
		fx->relax();
}

/* ---- locks ----------------------------------------------------------------------------------------------------- */

static struct mach_lock lock;
static struct mach_rwlock rwlock;
static uint32_t shared; /* only looked at and changed with two separate, announced accesses */

static uint32_t look(const uint32_t *p)
{
	mach_point(M, MACH_OBJ_COUNT, MACH_READ, p);
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void put(uint32_t *p, uint32_t v)
{
	mach_point(M, MACH_OBJ_COUNT, MACH_WRITE, p);
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static void count_locked(unsigned self)
{
	for (unsigned i = 0; i < fx->rounds; i++) {
		mach_lock(M, &lock);
		put(&shared, look(&shared) + 1);
		mach_unlock(M, &lock);
	}
}

START_TEST(a_lock_excludes)
{
	contract_start(_i);
	shared = 0;
	fx->run(FIXTURE_CPUS, count_locked);
	ck_assert_uint_eq(shared, FIXTURE_CPUS * fx->rounds);
	contract_stop();
}
END_TEST

static void hold_and_look(unsigned self)
{
	for (unsigned i = 0; i < fx->rounds; i++) {
		mach_lock(M, &lock);
		ck_assert(M->ops->lock_is_held(M, &lock));
		ck_assert_uint_eq(look(&shared), 0);
		put(&shared, self + 1);
		fx->relax();
		ck_assert_uint_eq(look(&shared), self + 1);
		put(&shared, 0);
		mach_unlock(M, &lock);
	}
}

START_TEST(a_lock_is_handed_over)
{
	contract_start(_i);
	shared = 0;
	fx->run(FIXTURE_CPUS, hold_and_look);
	ck_assert(!M->ops->lock_is_held(M, &lock));
	contract_stop();
}
END_TEST

/* CPU 0 writes; the others read. A reader that is inside must never see the write half done. */
static uint32_t left, right;

static void write_both(void)
{
	mach_write_lock(M, &rwlock);
	ck_assert(M->ops->rw_is_held(M, &rwlock, true));
	put(&left, look(&left) + 1);
	put(&right, look(&right) + 1);
	mach_write_unlock(M, &rwlock);
}

static void read_both(void)
{
	mach_read_lock(M, &rwlock);
	ck_assert(M->ops->rw_is_held(M, &rwlock, false));
	ck_assert_uint_eq(look(&left), look(&right));
	mach_read_unlock(M, &rwlock);
}

static void write_or_read(unsigned self)
{
	for (unsigned i = 0; i < fx->rounds; i++) {
		if (self < 2)
			write_both();
		else
			read_both();
	}
}

START_TEST(a_writer_excludes_writers_and_readers)
{
	contract_start(_i);
	left = right = 0;
	fx->run(FIXTURE_CPUS, write_or_read);
	ck_assert_uint_eq(left, 2 * fx->rounds);
	ck_assert_uint_eq(right, 2 * fx->rounds);
	ck_assert(!M->ops->rw_is_held(M, &rwlock, true));
	contract_stop();
}
END_TEST

/* If readers kept each other out this would never end. */
static void meet_as_readers(unsigned self)
{
	for (unsigned round = 1; round <= 10; round++) {
		mach_read_lock(M, &rwlock);
		meet(FIXTURE_CPUS, 2 * round - 1);
		mach_read_unlock(M, &rwlock);
		meet(FIXTURE_CPUS, 2 * round);
	}
}

START_TEST(readers_share)
{
	contract_start(_i);
	met = 0;
	fx->run(FIXTURE_CPUS, meet_as_readers);
	contract_stop();
}
END_TEST

/* ---- waiting --------------------------------------------------------------------------------------------------- */

static uint32_t ball; /* whose turn it is: ball % 2 */

/* The other's move may fall between the look and the sleep, at every possible place. */
static void play(unsigned self)
{
	for (unsigned i = 0; i < fx->rounds; i++) {
		uint32_t seen;

		while ((seen = mach_load32(M, &ball)) % 2 != self) {
			int r = M->ops->wait(M, &ball, seen, MACH_WAIT_OTHER, -1);

			ck_assert_int_eq(r, 0);
		}
		mach_store32(M, &ball, seen + 1);
		M->ops->wake(M, &ball, 1);
	}
}

START_TEST(no_wake_up_is_lost)
{
	contract_start(_i);
	ball = 0;
	fx->run(2, play);
	ck_assert_uint_eq(ball, 2 * fx->rounds);
	contract_stop();
}
END_TEST

START_TEST(a_word_that_differs_is_not_slept_on)
{
	uint32_t word = 5;

	contract_start(0);
	ck_assert_int_eq(M->ops->wait(M, &word, 4, MACH_WAIT_OTHER, -1), 0);
	ck_assert_int_eq(M->ops->wait(M, &word, 6, MACH_WAIT_FAULT, -1), 0);
	ck_assert_int_eq(M->ops->wait(M, &word, 0, MACH_WAIT_READ, -1), 0);
	contract_stop();
}
END_TEST

START_TEST(a_wait_times_out_and_not_before_its_time)
{
	static const enum mach_wait_kind kinds[] = {MACH_WAIT_FAULT, MACH_WAIT_READ, MACH_WAIT_OTHER};
	static const int64_t timeouts[] = {0, 1, 3000000};
	enum mach_wait_kind kind = kinds[_i / 3];
	int64_t timeout = timeouts[_i % 3];
	uint32_t word = 5;
	uint64_t begin;
	int r;

	contract_start(0);
	begin = M->ops->now_ns(M);
	do
		r = M->ops->wait(M, &word, 5, kind, timeout);
	while (r == 0); /* spurious */
	ck_assert_int_eq(r, -ETIMEDOUT);
	ck_assert_uint_ge(M->ops->now_ns(M) - begin, (uint64_t)timeout);
	contract_stop();
}
END_TEST

static uint32_t gate;

/* CPU 0 opens the gate for all the others at once, when all are about to sleep or do. */
static void pass_gate(unsigned self)
{
	for (uint32_t round = 1; round <= fx->rounds / 4; round++) {
		meet(FIXTURE_CPUS, round);
		if (self == 0) {
			mach_store32(M, &gate, round);
			M->ops->wake(M, &gate, INT_MAX);
			continue;
		}
		while (mach_load32(M, &gate) < round)
			M->ops->wait(M, &gate, round - 1, MACH_WAIT_OTHER, -1);
	}
}

START_TEST(wake_reaches_every_sleeper)
{
	contract_start(_i);
	gate = met = 0;
	fx->run(FIXTURE_CPUS, pass_gate);
	ck_assert_uint_eq(gate, fx->rounds / 4);
	contract_stop();
}
END_TEST

static void wake_two_words(unsigned self)
{
	static uint32_t word[2];

	if (self < 2) {
		while (mach_load32(M, &word[self]) == 0)
			M->ops->wait(M, &word[self], 0, MACH_WAIT_OTHER, -1);
		return;
	}
	mach_store32(M, &word[self - 2], 1);
	M->ops->wake(M, &word[self - 2], 1);
}

START_TEST(a_wake_for_one_word_is_not_taken_by_another)
{
	contract_start(_i);
	fx->run(4, wake_two_words);
	contract_stop();
}
END_TEST

/* ---- who and when ---------------------------------------------------------------------------------------------- */

static uint32_t ids[FIXTURE_CPUS];

static void note_id(unsigned self)
{
	ids[self] = M->ops->thread_id(M);
	meet(FIXTURE_CPUS, 1);
	ck_assert_uint_eq(M->ops->thread_id(M), ids[self]);
}

START_TEST(threads_have_ids_of_their_own)
{
	contract_start(_i);
	met = 0;
	fx->run(FIXTURE_CPUS, note_id);
	for (unsigned i = 0; i < FIXTURE_CPUS; i++) {
		ck_assert_uint_ne(ids[i], 0);
		for (unsigned k = 0; k < i; k++)
			ck_assert_uint_ne(ids[i], ids[k]);
	}
	contract_stop();
}
END_TEST

static void read_clock(unsigned self)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < fx->rounds; i++) {
		uint64_t now = M->ops->now_ns(M);

		ck_assert_uint_ge(now, last);
		last = now;
		fx->relax();
	}
	ck_assert_uint_gt(last, 0);
}

START_TEST(the_clock_does_not_go_back)
{
	contract_start(_i);
	fx->run(2, read_clock);
	contract_stop();
}
END_TEST

/* ---- engine memory --------------------------------------------------------------------------------------------- */

static bool is_zero(const void *p, size_t len)
{
	const char *c = p;

	for (size_t i = 0; i < len; i++)
		if (c[i])
			return false;
	return true;
}

START_TEST(engine_memory_is_aligned_and_zeroed)
{
	size_t align = PAGE_SIZE << _i;
	char *p[8];

	contract_start(0);
	for (unsigned again = 0; again < 3; again++) {
		for (unsigned i = 0; i < 8; i++) {
			size_t bytes = (i + 1) * PAGE_SIZE;

			p[i] = M->ops->mem_alloc(M, bytes, align);
			ck_assert_ptr_nonnull(p[i]);
			ck_assert_uint_eq((uintptr_t)p[i] & (align - 1), 0);
			ck_assert(is_zero(p[i], bytes));
			memset(p[i], (int)i + 1, bytes);
		}
		for (unsigned i = 0; i < 8; i++) { /* nobody wrote into another's */
			ck_assert_int_eq(p[i][0], (int)i + 1);
			ck_assert_int_eq(p[i][(i + 1) * PAGE_SIZE - 1], (int)i + 1);
			M->ops->mem_free(M, p[i], (i + 1) * PAGE_SIZE);
		}
	}
	contract_stop();
}
END_TEST

/* ---- accessors ------------------------------------------------------------------------------------------------- */

START_TEST(accessors_do_what_they_say)
{
	pte_t slot = {0};
	uint32_t word = 7;

	contract_start(0);
	mach_pte_store(M, &slot, (pte_t){0x8000000000001067});
	ck_assert_uint_eq(mach_pte_load(M, &slot).v, 0x8000000000001067);
	ck_assert_uint_eq(mach_load32(M, &word), 7);
	mach_store32(M, &word, 8);
	mach_add32(M, &word, 3);
	ck_assert_uint_eq(mach_add_return32(M, &word, (uint32_t)-1), 10);
	ck_assert(!mach_cas32(M, &word, 9, 1));
	ck_assert_uint_eq(word, 10);
	ck_assert(mach_cas32(M, &word, 10, 1));
	ck_assert_uint_eq(word, 1);
	contract_stop();
}
END_TEST

static uint32_t added, returned, swapped;

static void count_unlocked(unsigned self)
{
	for (unsigned i = 0; i < fx->rounds; i++) {
		uint32_t old;

		mach_add32(M, &added, 1);
		mach_add_return32(M, &returned, 2);
		do
			old = mach_load32(M, &swapped);
		while (!mach_cas32(M, &swapped, old, old + 1));
	}
}

START_TEST(accessors_are_atomic)
{
	contract_start(_i);
	added = returned = swapped = 0;
	fx->run(FIXTURE_CPUS, count_unlocked);
	ck_assert_uint_eq(added, FIXTURE_CPUS * fx->rounds);
	ck_assert_uint_eq(returned, 2 * FIXTURE_CPUS * fx->rounds);
	ck_assert_uint_eq(swapped, FIXTURE_CPUS * fx->rounds);
	contract_stop();
}
END_TEST

/* ---- translations ---------------------------------------------------------------------------------------------- */

static uint32_t faults;
static unsigned last_flags;
static va_t last_va, program;

/* Mend the access: the entry allows exactly what was asked for. */
static enum fault_result mend(va_t va, unsigned flags)
{
	mach_add32(M, &faults, 1);
	last_va = va;
	last_flags = flags;
	fx->allow(va, flags & FAULT_WRITE ? RW : MACH_PROT_R);
	return FAULT_DONE;
}

/* Start, with a program of a few pages. */
static void start_program(int seed, unsigned nr_pages, fixture_fault_fn on_fault)
{
	contract_start(seed);
	faults = 0;
	program = fx->map(nr_pages, on_fault);
	ck_assert(is_page_aligned(program));
}

START_TEST(a_program_uses_its_memory_undisturbed)
{
	start_program(0, 2, mend);
	fx->store(program + 8, 1);
	fx->store(program + PAGE_SIZE, 2);
	ck_assert_uint_eq(fx->load(program + 8), 1);
	ck_assert_uint_eq(fx->load(program + PAGE_SIZE), 2);
	ck_assert_uint_eq(fx->peek(program + 8), 1);
	ck_assert_uint_eq(faults, 0);
	contract_stop();
}
END_TEST

START_TEST(a_withdrawn_translation_faults)
{
	start_program(0, 3, mend);
	for (unsigned i = 0; i < 3; i++)
		fx->store(program + i * PAGE_SIZE, i + 1);
	fx->forbid(program + PAGE_SIZE, MACH_PROT_NONE);
	ck_assert_uint_eq(fx->load(program + PAGE_SIZE + 16), 0);
	ck_assert_uint_eq(faults, 1);
	ck_assert_uint_eq(last_va, program + PAGE_SIZE + 16);
	ck_assert_uint_eq(last_flags, FAULT_USER);
	ck_assert_uint_eq(fx->load(program + PAGE_SIZE), 2);
	ck_assert_uint_eq(faults, 1); /* it was mended, for reads */
	fx->store(program + PAGE_SIZE + 24, 9);
	ck_assert_uint_eq(faults, 2); /* and for no more than reads */
	ck_assert_uint_eq(last_flags, FAULT_USER | FAULT_WRITE);
	ck_assert_uint_eq(last_va, program + PAGE_SIZE + 24);
	fx->store(program, 1);
	fx->store(program + 2 * PAGE_SIZE, 3); /* the neighbours were not touched */
	ck_assert_uint_eq(faults, 2);
	contract_stop();
}
END_TEST

START_TEST(a_narrowed_translation_can_still_be_read)
{
	start_program(0, 1, mend);
	fx->store(program, 7);
	fx->forbid(program, MACH_PROT_R);
	ck_assert_uint_eq(fx->load(program), 7);
	ck_assert_uint_eq(faults, 0);
	fx->store(program, 8);
	ck_assert_uint_eq(faults, 1);
	ck_assert_uint_eq(last_flags, FAULT_USER | FAULT_WRITE);
	ck_assert_uint_eq(fx->load(program), 8);
	contract_stop();
}
END_TEST

START_TEST(withdrawing_some_permission_gives_none_back)
{
	start_program(0, 2, mend);
	fx->store(program, 7);
	fx->forbid(program, MACH_PROT_NONE);
	M->ops->tlb_restrict(fx->as(), program, program + 2 * PAGE_SIZE, MACH_PROT_R);
	ck_assert_uint_eq(fx->load(program), 7);
	ck_assert_uint_eq(faults, 1);
	contract_stop();
}
END_TEST

START_TEST(a_range_is_withdrawn_as_a_whole)
{
	const unsigned n = 32;

	start_program(0, n, mend);
	for (unsigned i = 0; i < n; i++)
		fx->store(program + i * PAGE_SIZE, i);
	/* the entries one by one, then one flush for [1, n-1) */
	for (unsigned i = 1; i < n - 1; i++)
		fx->forbid(program + i * PAGE_SIZE, MACH_PROT_NONE);
	M->ops->tlb_restrict(fx->as(), program + PAGE_SIZE, program + (n - 1) * PAGE_SIZE, MACH_PROT_NONE);
	for (unsigned i = 0; i < n; i++)
		ck_assert_uint_eq(fx->load(program + i * PAGE_SIZE), i);
	ck_assert_uint_eq(faults, n - 2);
	contract_stop();
}
END_TEST

START_TEST(a_hint_allows_no_more_than_it_says)
{
	start_program(0, 2, mend);
	fx->store(program, 7);
	fx->forbid(program, MACH_PROT_NONE);
	fx->allow(program, MACH_PROT_R);
	ck_assert_uint_eq(fx->load(program), 7);
	faults = 0; /* the hint may be ignored, or not */
	fx->store(program, 8);
	ck_assert_uint_eq(faults, 1);
	ck_assert_uint_eq(last_flags, FAULT_USER | FAULT_WRITE);
	contract_stop();
}
END_TEST

/* Nobody's fault is answered before everybody has faulted. */
static enum fault_result mend_when_all_are_here(va_t va, unsigned flags)
{
	mach_add32(M, &faults, 1);
	while (mach_load32(M, &faults) < FIXTURE_CPUS)
		fx->relax();
	fx->allow(va, RW);
	return FAULT_DONE;
}

/* Every CPU uses the page, CPU 0 withdraws it, and then every CPU must fault: a translation left behind never ends this. */
static void use_withdraw_use(unsigned self)
{
	fx->store(program + 8 * self, self);
	meet(FIXTURE_CPUS, 1);
	if (self == 0)
		fx->forbid(program, MACH_PROT_NONE);
	meet(FIXTURE_CPUS, 2);
	fx->store(program + 8 * self, self + 10);
}

START_TEST(a_translation_is_withdrawn_from_every_cpu)
{
	start_program(_i, 1, mend_when_all_are_here);
	met = 0;
	fx->run(FIXTURE_CPUS, use_withdraw_use);
	ck_assert_uint_eq(faults, FIXTURE_CPUS);
	for (unsigned i = 0; i < FIXTURE_CPUS; i++)
		ck_assert_uint_eq(fx->peek(program + 8 * i), i + 10);
	contract_stop();
}
END_TEST

static uint32_t frozen, finished;

/* A store is answered only while nothing is frozen, under the lock that freezing takes (the ptl's part). */
static enum fault_result mend_unless_frozen(va_t va, unsigned flags)
{
	mach_lock(M, &lock);
	if (!frozen)
		fx->allow(va, RW);
	mach_unlock(M, &lock);
	fx->relax();
	return FAULT_DONE;
}

static void freeze_and_compare(unsigned prot)
{
	uint64_t before;

	mach_lock(M, &lock);
	frozen = 1;
	fx->forbid(program, prot);
	mach_unlock(M, &lock);
	before = fx->peek(program);
	for (unsigned i = 0; i < 5; i++)
		fx->relax();
	ck_assert_uint_eq(fx->peek(program), before);
	mach_lock(M, &lock);
	frozen = 0;
	mach_unlock(M, &lock);
}

/* CPU 0 withdraws write permission again and again; when it has it back, nobody's store may land any more. */
static void freeze_while_others_store(unsigned self)
{
	for (uint64_t i = 1; self && !mach_load32(M, &finished); i++) {
		fx->store(program, self << 20 | i);
		fx->relax();
	}
	for (unsigned i = 0; self == 0 && i < fx->rounds / 4; i++) {
		freeze_and_compare(i % 2 ? MACH_PROT_R : MACH_PROT_NONE);
		fx->relax();
	}
	if (self == 0)
		mach_store32(M, &finished, 1);
}

START_TEST(no_store_lands_after_the_withdrawal)
{
	start_program(_i, 1, mend_unless_frozen);
	frozen = finished = 0;
	fx->run(3, freeze_while_others_store);
	contract_stop();
}
END_TEST

/* A machine may drop translations whenever it likes, and then it asks again. What the entries say is kept here. */
#define SQUEEZED_PAGES 1100u

static unsigned char truth[SQUEEZED_PAGES];

static enum fault_result mend_by_truth(va_t va, unsigned flags)
{
	unsigned i = (unsigned)((va - program) >> PAGE_SHIFT);
	unsigned need = flags & FAULT_WRITE ? MACH_PROT_W : MACH_PROT_R;

	if (!(truth[i] & need)) {
		faults++;
		truth[i] |= need | MACH_PROT_R;
	}
	fx->allow(va, truth[i]);
	return FAULT_DONE;
}

static unsigned pattern(unsigned i)
{
	static const unsigned prots[] = {RW, MACH_PROT_R, MACH_PROT_NONE};

	return prots[i * 7 % 11 % 3];
}

START_TEST(a_machine_short_of_room_allows_no_more_than_before)
{
	unsigned expected = 0;

	start_program(0, SQUEEZED_PAGES, mend_by_truth);
	fx->squeeze();
	for (unsigned i = 0; i < SQUEEZED_PAGES; i++) {
		truth[i] = RW;
		fx->store(program + i * PAGE_SIZE, i);
	}
	for (unsigned i = 0; i < SQUEEZED_PAGES; i++) {
		truth[i] = (unsigned char)pattern(i);
		if (truth[i] != RW)
			fx->forbid(program + i * PAGE_SIZE, truth[i]);
	}
	ck_assert_uint_eq(faults, 0);
	for (unsigned k = 0; k < SQUEEZED_PAGES; k++) {
		unsigned i = k * 577 % SQUEEZED_PAGES; /* all of them, far apart */

		ck_assert_uint_eq(fx->load(program + i * PAGE_SIZE), i);
		expected += pattern(i) == MACH_PROT_NONE;
		ck_assert_uint_eq(faults, expected);
		fx->store(program + i * PAGE_SIZE, i + 1);
		expected += pattern(i) != RW;
		ck_assert_uint_eq(faults, expected);
	}
	contract_stop();
}
END_TEST

/* ---- copies ---------------------------------------------------------------------------------------------------- */

static void copy_tests(unsigned self)
{
	char out[300], in[300];
	va_t across = program + PAGE_SIZE - 137;

	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 3 + 1);
	ck_assert_int_eq(M->ops->copy_out(M, across, out, sizeof(out)), 0);
	for (unsigned len = 0; len < sizeof(in); len += 7) {
		memset(in, 0, sizeof(in));
		ck_assert_int_eq(M->ops->copy_in(M, in, across, len), 0);
		ck_assert_mem_eq(in, out, len);
		ck_assert_int_eq(in[len], 0);
		ck_assert_int_eq(M->ops->copy_in_atomic(M, in, across + 1, len), 0);
		ck_assert_mem_eq(in, out + 1, len);
	}
}

START_TEST(copies_reach_the_program)
{
	start_program(0, 2, mend);
	fx->run(1, copy_tests);
	ck_assert_uint_eq(faults, 0);
	contract_stop();
}
END_TEST

static void copy_bad(unsigned self)
{
	static const va_t nowhere[] = {1, TASK_SIZE - 8, TASK_SIZE, (va_t)1 << 62, UINT64_MAX - 16};
	char buf[64] = {0};
	va_t end = program + 2 * PAGE_SIZE, bad = fx->bad_va();

	ck_assert_int_eq(M->ops->copy_in(M, buf, bad, 1), -EFAULT);
	ck_assert_int_eq(M->ops->copy_in(M, buf, bad, 64), -EFAULT);
	ck_assert_int_eq(M->ops->copy_out(M, bad, buf, 8), -EFAULT);
	ck_assert_int_eq(M->ops->copy_in_atomic(M, buf, bad, 8), -EFAULT);
	ck_assert_int_eq(M->ops->copy_in(M, buf, end - 8, 8), 0);
	for (unsigned i = 0; i < ARRAY_LEN(nowhere); i++) {
		ck_assert_int_eq(M->ops->copy_in(M, buf, nowhere[i], 32), -EFAULT);
		ck_assert_int_eq(M->ops->copy_out(M, nowhere[i], buf, 32), -EFAULT);
		ck_assert_int_eq(M->ops->copy_in_atomic(M, buf, nowhere[i], 32), -EFAULT);
	}
	errno = 4321;
	ck_assert_int_eq(M->ops->copy_in(M, buf, bad, 8), -EFAULT);
	ck_assert_int_eq(errno, 4321);
}

START_TEST(copies_to_bad_addresses_are_efault)
{
	start_program(0, 2, mend);
	fx->run(1, copy_bad);
	ck_assert_uint_eq(faults, 0);
	contract_stop();
}
END_TEST

static void copy_withdrawn(unsigned self)
{
	uint64_t v[2] = {0};

	fx->store(program, 5);
	fx->store(program + PAGE_SIZE, 6);
	fx->forbid(program + PAGE_SIZE, MACH_PROT_NONE);
	ck_assert_int_eq(M->ops->copy_in_atomic(M, v, program + PAGE_SIZE - 8, 16), -EFAULT);
	ck_assert_uint_eq(faults, 0);
	ck_assert_int_eq(M->ops->copy_in(M, v, program + PAGE_SIZE - 8, 16), 0);
	ck_assert_uint_eq(v[1], 6);
	ck_assert_uint_eq(faults, 1);
	ck_assert_uint_eq(last_flags, 0); /* neither the program's own nor a store */
	v[0] = v[1] = 7;
	ck_assert_int_eq(M->ops->copy_out(M, program + PAGE_SIZE - 8, v, 16), 0);
	ck_assert_uint_eq(faults, 2); /* it was mended for reading only */
	ck_assert_uint_eq(last_flags, FAULT_WRITE);
	ck_assert_uint_eq(fx->peek(program + PAGE_SIZE), 7);
	ck_assert_int_eq(M->ops->copy_in_atomic(M, v, program + PAGE_SIZE - 8, 16), 0);
}

START_TEST(copies_fault_through_the_engine_unless_atomic)
{
	start_program(0, 2, mend);
	fx->run(1, copy_withdrawn);
	contract_stop();
}
END_TEST

static enum fault_result refuse(va_t va, unsigned flags)
{
	mach_add32(M, &faults, 1);
	return (enum fault_result[]){FAULT_SIGBUS, FAULT_ACCERR, FAULT_MAPERR, FAULT_OOM}[faults % 4];
}

static void copy_refused(unsigned self)
{
	uint64_t v = 0;

	fx->forbid(program, MACH_PROT_NONE);
	for (unsigned i = 1; i <= 4; i++) {
		ck_assert_int_eq(M->ops->copy_in(M, &v, program, 8), -EFAULT);
		ck_assert_uint_eq(faults, i);
	}
	ck_assert_int_eq(M->ops->copy_out(M, program, &v, 8), -EFAULT);
}

START_TEST(a_refused_fault_is_efault)
{
	start_program(0, 1, refuse);
	fx->run(1, copy_refused);
	contract_stop();
}
END_TEST

/* ---- frames ---------------------------------------------------------------------------------------------------- */

START_TEST(frames_are_distinct_and_run_out)
{
	uint64_t count, n = 0, *pfn;
	char *taken;

	contract_start(0);
	count = M->ops->frame_count(M);
	pfn = calloc(count, sizeof(*pfn));
	taken = calloc(count, 1);
	while (M->ops->frame_alloc(M, &pfn[n]) == 0) {
		ck_assert_uint_gt(pfn[n], 0);
		ck_assert_uint_lt(pfn[n], count);
		ck_assert(!taken[pfn[n]]);
		taken[pfn[n++]] = 1;
		ck_assert_uint_lt(n, count);
	}
	ck_assert_uint_eq(n, count - 1);
	ck_assert_int_eq(M->ops->frame_alloc(M, &pfn[n]), -ENOMEM);
	M->ops->frame_free(M, pfn[n / 2]);
	ck_assert_int_eq(M->ops->frame_alloc(M, &pfn[n / 2]), 0);
	while (n-- > 0)
		M->ops->frame_free(M, pfn[n]);
	free(pfn);
	free(taken);
	contract_stop();
}
END_TEST

START_TEST(frames_hold_what_was_put_in)
{
	char page[PAGE_SIZE];
	uint64_t a, b;

	contract_start(0);
	ck_assert(is_zero(fx->frame(0), PAGE_SIZE));
	ck_assert_int_eq(M->ops->frame_alloc(M, &a), 0);
	ck_assert_int_eq(M->ops->frame_alloc(M, &b), 0);
	for (unsigned i = 0; i < sizeof(page); i++)
		page[i] = (char)(i * 5 + 1);
	M->ops->frame_zero(M, b);
	M->ops->frame_write(M, a, page);
	ck_assert_mem_eq(fx->frame(a), page, PAGE_SIZE);
	ck_assert(is_zero(fx->frame(b), PAGE_SIZE));
	M->ops->frame_copy(M, b, a);
	ck_assert_mem_eq(fx->frame(b), page, PAGE_SIZE);
	M->ops->frame_zero(M, a);
	ck_assert(is_zero(fx->frame(a), PAGE_SIZE));
	ck_assert_mem_eq(fx->frame(b), page, PAGE_SIZE);
	M->ops->frame_free(M, a);
	M->ops->frame_free(M, b);
	contract_stop();
}
END_TEST

/* ---- suite ----------------------------------------------------------------------------------------------------- */

static unsigned skipped;

static void skip(const char *what, const char *why)
{
	printf("SKIP: machine contract, %s, %s: %s\n", fx->name, what, why);
	skipped++;
}

static TCase *sync_tests(void)
{
	TCase *t = tcase_create("locks and waiting");

	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, a_lock_excludes, 0, fx->seeds);
	tcase_add_loop_test(t, a_lock_is_handed_over, 0, fx->seeds);
	tcase_add_loop_test(t, a_writer_excludes_writers_and_readers, 0, fx->seeds);
	tcase_add_loop_test(t, readers_share, 0, fx->seeds);
	tcase_add_loop_test(t, no_wake_up_is_lost, 0, fx->seeds);
	tcase_add_test(t, a_word_that_differs_is_not_slept_on);
	tcase_add_loop_test(t, a_wait_times_out_and_not_before_its_time, 0, 9);
	tcase_add_loop_test(t, wake_reaches_every_sleeper, 0, fx->seeds);
	tcase_add_loop_test(t, a_wake_for_one_word_is_not_taken_by_another, 0, fx->seeds);
	tcase_add_loop_test(t, threads_have_ids_of_their_own, 0, fx->seeds);
	tcase_add_loop_test(t, the_clock_does_not_go_back, 0, fx->seeds);
	return t;
}

static TCase *memory_tests(void)
{
	TCase *t = tcase_create("memory and translations");

	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, engine_memory_is_aligned_and_zeroed, 0, 10);
	tcase_add_test(t, accessors_do_what_they_say);
	tcase_add_loop_test(t, accessors_are_atomic, 0, fx->seeds);
	tcase_add_test(t, a_program_uses_its_memory_undisturbed);
	tcase_add_test(t, a_withdrawn_translation_faults);
	tcase_add_test(t, a_narrowed_translation_can_still_be_read);
	tcase_add_test(t, withdrawing_some_permission_gives_none_back);
	tcase_add_test(t, a_range_is_withdrawn_as_a_whole);
	tcase_add_test(t, a_hint_allows_no_more_than_it_says);
	tcase_add_loop_test(t, a_translation_is_withdrawn_from_every_cpu, 0, fx->seeds);
	tcase_add_loop_test(t, no_store_lands_after_the_withdrawal, 0, fx->seeds);
	tcase_add_test(t, a_machine_short_of_room_allows_no_more_than_before);
	tcase_add_test(t, copies_reach_the_program);
	tcase_add_test(t, copies_to_bad_addresses_are_efault);
	tcase_add_test(t, copies_fault_through_the_engine_unless_atomic);
	tcase_add_test(t, a_refused_fault_is_efault);
	return t;
}

static TCase *frame_tests(void)
{
	TCase *t = tcase_create("frames");

	tcase_add_test(t, frames_are_distinct_and_run_out);
	tcase_add_test(t, frames_hold_what_was_put_in);
	return t;
}

/* What a machine has, as an exit status. */
#define HAS_MACHINE 1
#define HAS_FRAMES 2
#define HAS_PLACES 4

/* Asked in a child, so that the tests find a process in which the machine was never started. */
static int ask(void)
{
	pid_t child = fork();
	const char *why = NULL;
	int status = 0, has = 0;

	if (child == 0) {
		M = fx->start(0, &why);
		if (M)
			has = HAS_MACHINE | (M->ops->frame_alloc ? HAS_FRAMES : 0) | (M->ops->place_query ? HAS_PLACES : 0);
		else
			fprintf(stderr, "%s: %s\n", fx->name, why);
		_exit(has);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) {
		printf("%s: the machine died when it was started\n", fx->name);
		exit(EXIT_FAILURE);
	}
	return WEXITSTATUS(status);
}

static Suite *contract_suite(int has)
{
	Suite *s = suite_create(fx->name);

	suite_add_tcase(s, sync_tests());
	suite_add_tcase(s, memory_tests());
	if (has & HAS_FRAMES)
		suite_add_tcase(s, frame_tests());
	else
		skip("frames", "this machine has none");
	if (has & HAS_PLACES)
		suite_add_tcase(s, contract_place_tests());
	else
		skip("places", "this machine has no host");
	return s;
}

static int run_on(const struct fixture *fixture)
{
	SRunner *r;
	int failed, has;

	fx = fixture;
	has = ask();
	if (!has) {
		skip("everything", "this host cannot carry it (the reason is above)");
		return 0;
	}
	r = srunner_create(contract_suite(has));
	fflush(stdout);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed;
}

int main(void)
{
	int failed = run_on(&sim_fixture);

	failed += run_on(&live_fixture);
	if (skipped)
		printf("0 passed, 0 failed, %u skipped\n", skipped);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
