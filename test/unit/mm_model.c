/* SPDX-License-Identifier: MIT */
/*
 * The engine against a model. Random sequences of everything that can happen to a few address spaces over one memory are
 * made on the simulated machine and on a model that keeps every page by value: no sharing, no counts, no tables. What the two
 * say about each access, each ioctl and each page must be the same after every operation.
 *
 * The content of a page is looked at through the tables as hardware would walk them, so that looking changes nothing. Accesses
 * that wait for a monitor are made by a program on a simulated CPU, and this file is the monitor.
 *
 *   MM_MODEL_SEED=N    only this sequence        MM_MODEL_OPS=N      operations in each sequence
 *   MM_MODEL_SEEDS=N   how many sequences        MM_MODEL_TRACE=1    say each operation before it is made
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine/sim/sim.h"
#include "mm/mm.h"
#include "uffd/abi.h"
#include "uffd/uffd.h"

#define SPACES 6u
#define PAGES 20u
#define CONTEXTS 2u
#define HOLDS 8u
#define CPUS 4u
#define WORDS (PAGE_SIZE / 8)
#define MIDDLE ((va_t)0x7000000) /* the pages lie on both sides of a table's end */

#define OPS 600u
#define SEEDS 500u
#define MAX_OPS 100000000u

/* ---- the model ------------------------------------------------------------------------------------------------- */

enum content {
	EMPTY,
	ZERO, /* the zero page */
	PAGE,
	MARKER, /* empty, and protected */
	POISONED,
};

struct mpage {
	bool mapped;
	unsigned prot, modes;
	unsigned owner; /* context + 1; 0: not armed */
	enum content is;
	bool wp, soft_dirty;
	bool own;	 /* nobody else can have this page: a write happens in place, a reader with a pin sees it */
	unsigned unsure; /* PM_*: what the contract leaves open; taken from the engine at the next look */
	uint64_t word[WORDS];
};

struct context {
	struct uffd_ctx *ctx;
	bool unpopulated, sigbus, user_only, exact;
};

struct space {
	bool live;
	bool far;     /* has pages elsewhere: see far_va() */
	bool tracked; /* soft-dirty was cleared once; before that the bit says nothing */
	struct mm mm;
	struct context context[CONTEXTS];
	struct mpage page[PAGES];
};

/* A reference to a frame. */
struct hold {
	bool used;
	uint64_t pfn;
	unsigned flags;	      /* GUP_* */
	struct space *space;  /* whose page it is, and which; NULL: nobody's any more */
	unsigned at;
	bool shared;	      /* left the page at a fork: other spaces may map the frame, so nobody stores there */
	uint64_t word[WORDS]; /* what the frame must hold, once space is NULL */
};

static struct memory mem;
static struct uffd_system sys;
static struct space spaces[SPACES];
static struct mm spare; /* alive all the time: references outlive the space they came from */
static struct hold holds[HOLDS];

/* ---- saying what went wrong ------------------------------------------------------------------------------------ */

static uint64_t seed;
static unsigned op_nr;
static char what[256];
static bool tracing;

__attribute__((format(printf, 1, 2))) static void say(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	if (tracing)
		fprintf(stderr, "%u: %s\n", op_nr, what);
}

__attribute__((format(printf, 1, 2))) static void wrong(const char *format, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	ck_abort_msg("MM_MODEL_SEED=%llu, operation %u, %s: %s", (unsigned long long)seed, op_nr, what, text);
}

#define must(e, ...) ((e) ? (void)0 : wrong(__VA_ARGS__))

/* A broken invariant of the engine aborts: say where we were. */
static void on_abort(int sig)
{
	char text[400];
	int n = snprintf(text, sizeof(text), "MM_MODEL_SEED=%llu, operation %u, %s: aborted\n", (unsigned long long)seed, op_nr,
			 what);

	if (write(STDERR_FILENO, text, (size_t)n) < 0)
		_exit(1);
}

static void complain(void *arg, const char *text, va_t va)
{
	wrong("mm_check: %s at page %d", text, (int)((va - MIDDLE) / PAGE_SIZE) + (int)PAGES / 2);
}

/* ---- chance ---------------------------------------------------------------------------------------------------- */

static uint64_t rng;

static uint64_t random_word(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return rng * 0x2545F4914F6CDD1Dull;
}

static unsigned below(unsigned n)
{
	return (unsigned)((random_word() >> 33) % n);
}

static bool one_in(unsigned n)
{
	return below(n) == 0;
}

static void random_page(uint64_t *word)
{
	uint64_t v = random_word(), step = random_word() | 1;

	for (unsigned i = 0; i < WORDS; i++, v += step)
		word[i] = v;
}

/* [*a, *b), mostly short. */
static void random_range(unsigned *a, unsigned *b)
{
	unsigned len = one_in(4) ? 1 + below(PAGES) : 1 + below(4);

	*a = below(PAGES);
	*b = *a + len < PAGES ? *a + len : PAGES;
}

static unsigned random_prot(void)
{
	static const unsigned prot[] = {MACH_PROT_NONE, MACH_PROT_R};

	return one_in(3) ? prot[below(2)] : MACH_PROT_R | MACH_PROT_W;
}

static struct space *random_space(void)
{
	struct space *s = &spaces[below(SPACES)];

	for (unsigned i = 0; i < SPACES && !s->live; i++)
		s = s + 1 < spaces + SPACES ? s + 1 : spaces;
	return s->live ? s : NULL;
}

static struct space *free_space(void)
{
	for (unsigned i = 0; i < SPACES; i++)
		if (!spaces[i].live)
			return &spaces[i];
	return NULL;
}

static unsigned nr_of(const struct space *s)
{
	return (unsigned)(s - spaces);
}

static va_t page_va(unsigned i)
{
	return MIDDLE + i * PAGE_SIZE - PAGES / 2 * PAGE_SIZE;
}

/*
 * Some spaces also have a few pages far from each other, written once: their tables do not fit into what a space begins with,
 * so that fork needs memory for tables too.
 */
#define FAR 7u

static va_t far_va(unsigned i)
{
	return (va_t)(i + 1) << 30;
}

/* ---- model: references ----------------------------------------------------------------------------------------- */

static bool holds_page(const struct hold *h, const struct space *s, unsigned i)
{
	return h->used && h->space == s && h->at == i;
}

static bool is_pinned(const struct space *s, unsigned i)
{
	for (unsigned k = 0; k < HOLDS; k++)
		if (holds_page(&holds[k], s, i) && (holds[k].flags & GUP_PIN))
			return true;
	return false;
}

/* The space goes on without the frame: from now on it is the holders' alone, or (shared) must not change. */
static void leave_holders(struct space *s, unsigned i, bool shared)
{
	for (unsigned k = 0; k < HOLDS; k++) {
		if (!holds_page(&holds[k], s, i))
			continue;
		memcpy(holds[k].word, s->page[i].word, PAGE_SIZE);
		holds[k].space = NULL;
		holds[k].shared = shared;
	}
}

/* ---- model: pages ---------------------------------------------------------------------------------------------- */

static bool is_empty(const struct mpage *p)
{
	return p->is == EMPTY || p->is == MARKER;
}

static void set_content(struct mpage *p, enum content is, const uint64_t *word)
{
	p->is = is;
	p->own = is == PAGE;
	p->soft_dirty = is == PAGE;
	/* Is the zero page, which nobody wrote, soft-dirty? Left open. */
	p->unsure = is == ZERO ? PM_SOFT_DIRTY : 0;
	p->wp = is == MARKER;
	if (word)
		memcpy(p->word, word, PAGE_SIZE);
	else
		memset(p->word, 0, PAGE_SIZE);
}

static void drop_page(struct space *s, unsigned i)
{
	if (s->page[i].own)
		leave_holders(s, i, false);
	set_content(&s->page[i], EMPTY, NULL);
}

enum verdict { OK, MAPERR, ACCERR, POISON, MISSING, WP, SIGBUS_INSTEAD };

/* An access as far as it gets without a monitor. */
static enum verdict touch(struct mpage *p, bool write)
{
	bool live = p->modes & VM_UFFD_WP;

	if (!p->mapped)
		return MAPERR;
	if (write ? !(p->prot & MACH_PROT_W) : p->prot == MACH_PROT_NONE)
		return ACCERR;
	if (p->is == POISONED)
		return POISON;
	if (is_empty(p)) {
		bool keep = live && p->wp;

		if (p->modes & VM_UFFD_MISSING)
			return MISSING;
		set_content(p, write ? PAGE : ZERO, NULL);
		p->wp = keep;
		p->unsure |= keep ? PM_SOFT_DIRTY : 0; /* made for a write that has not happened yet */
	}
	if (!write)
		return OK;
	if (live && p->wp)
		return WP;
	p->is = PAGE;
	p->own = p->soft_dirty = true;
	p->wp = false; /* a bit that outlived its registration */
	p->unsure = 0;
	return OK;
}

static bool alike(const struct mpage *p, const struct mpage *q)
{
	return p->mapped == q->mapped && p->prot == q->prot && p->modes == q->modes && p->owner == q->owner;
}

/* ---- the engine, as a program calls it ------------------------------------------------------------------------- */

static int call(struct context *c, unsigned long cmd, void *arg)
{
	return uffd_ioctl(c->ctx, cmd, (va_t)(uintptr_t)arg);
}

static void same(int64_t engine, int64_t model)
{
	must(engine == model, "the engine says %lld, the model %lld", (long long)engine, (long long)model);
}

static void open_context(struct space *s, struct context *c)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_POISON};

	c->unpopulated = !one_in(3);
	c->sigbus = one_in(3);
	c->user_only = one_in(3);
	c->exact = one_in(2);
	api.features |= (c->unpopulated ? UFFD_FEATURE_WP_UNPOPULATED : 0) | (c->sigbus ? UFFD_FEATURE_SIGBUS : 0) |
			(c->exact ? UFFD_FEATURE_EXACT_ADDRESS : 0);
	ck_assert_int_eq(uffd_create(&sys, &s->mm, c->user_only ? UFFD_USER_MODE_ONLY : 0, &c->ctx), 0);
	ck_assert_int_eq(call(c, ABI_IOCTL_API, &api), 0);
}

static void begin_space(struct space *s)
{
	ck_assert_int_eq(mm_init(&s->mm, &mem, &uffd_mm_ops), 0);
	memset(s->page, 0, sizeof(s->page));
	s->live = true;
	s->far = s->tracked = false;
}

static void map_far(struct space *s)
{
	for (unsigned i = 0; i < FAR; i++) {
		va_t va = far_va(i);

		ck_assert_int_eq(mm_map(&s->mm, va, va + PAGE_SIZE, MACH_PROT_R | MACH_PROT_W), 0);
		ck_assert_int_eq(sim_store(&s->mm.as, va, 8, va), FAULT_DONE);
	}
	s->far = true;
}

static void open_contexts(struct space *s)
{
	for (unsigned i = 0; i < CONTEXTS; i++)
		open_context(s, &s->context[i]);
}

/* ---- mappings -------------------------------------------------------------------------------------------------- */

static int model_map(struct space *s, unsigned a, unsigned b, unsigned prot)
{
	for (unsigned i = a; i < b; i++)
		if (s->page[i].mapped)
			return -EEXIST;
	for (unsigned i = a; i < b; i++) {
		s->page[i].mapped = true;
		s->page[i].prot = prot;
	}
	return 0;
}

static void op_map(struct space *s)
{
	unsigned a, b, prot = random_prot();

	random_range(&a, &b);
	say("map space %u, pages %u-%u, prot %u", nr_of(s), a, b, prot);
	same(mm_map(&s->mm, page_va(a), page_va(b), prot), model_map(s, a, b, prot));
}

static void op_unmap(struct space *s)
{
	unsigned a, b;

	random_range(&a, &b);
	say("unmap space %u, pages %u-%u", nr_of(s), a, b);
	for (unsigned i = a; i < b; i++) {
		drop_page(s, i);
		memset(&s->page[i], 0, sizeof(s->page[i]));
	}
	same(mm_unmap(&s->mm, page_va(a), page_va(b)), 0);
}

static int model_dontneed(struct space *s, unsigned a, unsigned b)
{
	int r = 0;

	for (unsigned i = a; i < b; i++) {
		if (s->page[i].mapped)
			drop_page(s, i);
		else
			r = -ENOMEM;
	}
	return r;
}

static void op_dontneed(struct space *s)
{
	unsigned a, b;

	random_range(&a, &b);
	say("DONTNEED space %u, pages %u-%u", nr_of(s), a, b);
	same(mm_dontneed(&s->mm, page_va(a), page_va(b)), model_dontneed(s, a, b));
}

static int model_protect(struct space *s, unsigned a, unsigned b, unsigned prot)
{
	for (unsigned i = a; i < b; i++) {
		if (!s->page[i].mapped)
			return -ENOMEM;
		s->page[i].prot = prot;
	}
	return 0;
}

static void op_protect(struct space *s)
{
	unsigned a, b, prot = random_prot();

	random_range(&a, &b);
	say("mprotect space %u, pages %u-%u, prot %u", nr_of(s), a, b, prot);
	same(mm_protect(&s->mm, page_va(a), page_va(b), prot), model_protect(s, a, b, prot));
}

static void op_clear_soft_dirty(struct space *s)
{
	say("clear soft-dirty of space %u", nr_of(s));
	for (unsigned i = 0; i < PAGES; i++) {
		s->page[i].soft_dirty = false;
		s->page[i].unsure = 0;
	}
	s->tracked = true;
	mm_clear_soft_dirty(&s->mm);
}

/* ---- userfaultfd: registration --------------------------------------------------------------------------------- */

/* For a range that begins with page a: mostly the context that has it. */
static struct context *random_context(struct space *s, unsigned a)
{
	unsigned owner = s->page[a].owner;

	return &s->context[owner && !one_in(4) ? owner - 1 : below(CONTEXTS)];
}

static unsigned owner_nr(const struct space *s, const struct context *c)
{
	return (unsigned)(c - s->context) + 1;
}

/* 0: at least one page is mapped and none belongs to another context. */
static int model_whose(struct space *s, unsigned owner, unsigned a, unsigned b, int busy)
{
	bool mapped = false;

	for (unsigned i = a; i < b; i++) {
		mapped |= s->page[i].mapped;
		if (s->page[i].owner && s->page[i].owner != owner)
			return busy;
	}
	return mapped ? 0 : -EINVAL;
}

static int model_register(struct space *s, unsigned owner, unsigned a, unsigned b, unsigned modes)
{
	int r = model_whose(s, owner, a, b, -EBUSY);

	for (unsigned i = a; r == 0 && i < b; i++) {
		struct mpage *p = &s->page[i];

		if (!p->mapped || (p->owner && !(modes & ~p->modes)))
			continue;
		p->owner = owner;
		p->modes = modes;
	}
	return r;
}

static void register_range(struct space *s, struct context *c, unsigned a, unsigned b, unsigned modes)
{
	struct abi_fill arg = {.start = page_va(a), .len = (b - a) * PAGE_SIZE, .mode = modes};

	say("REGISTER space %u, context %u, pages %u-%u, modes %u", nr_of(s), owner_nr(s, c), a, b, modes);
	same(call(c, ABI_IOCTL_REGISTER, &arg), model_register(s, owner_nr(s, c), a, b, modes));
}

/* What was protected and is so no longer, but still registered, is seldom met by chance alone. */
static unsigned random_modes(const struct mpage *p)
{
	return p->modes == VM_UFFD_WP && one_in(2) ? VM_UFFD_MISSING : 1 + below(3);
}

static void op_register(struct space *s)
{
	unsigned a, b;

	random_range(&a, &b);
	register_range(s, random_context(s, a), a, b, random_modes(&s->page[a]));
}

static void model_disarm(struct mpage *p)
{
	if (p->modes & VM_UFFD_WP) {
		p->wp = false;
		if (p->is == MARKER)
			set_content(p, EMPTY, NULL);
	}
	if (p->wp)
		p->unsure |= PM_UFFD_WP; /* left by a change of modes, inert: whether it stays is open */
	p->owner = p->modes = 0;
}

static int model_unregister(struct space *s, unsigned owner, unsigned a, unsigned b)
{
	int r = model_whose(s, owner, a, b, -EINVAL);

	for (unsigned i = a; r == 0 && i < b; i++)
		if (s->page[i].owner)
			model_disarm(&s->page[i]);
	return r;
}

static void unregister_range(struct space *s, struct context *c, unsigned a, unsigned b)
{
	struct abi_range arg = {.start = page_va(a), .len = (b - a) * PAGE_SIZE};

	say("UNREGISTER space %u, context %u, pages %u-%u", nr_of(s), owner_nr(s, c), a, b);
	same(call(c, ABI_IOCTL_UNREGISTER, &arg), model_unregister(s, owner_nr(s, c), a, b));
}

static void op_unregister(struct space *s)
{
	unsigned a, b;

	random_range(&a, &b);
	unregister_range(s, random_context(s, a), a, b);
}

static void op_close(struct space *s)
{
	struct context *c = random_context(s, below(PAGES));

	say("close space %u, context %u", nr_of(s), owner_nr(s, c));
	for (unsigned i = 0; i < PAGES; i++)
		if (s->page[i].owner == owner_nr(s, c))
			model_disarm(&s->page[i]);
	uffd_release(c->ctx);
	open_context(s, c);
}

/* ---- userfaultfd: fills ---------------------------------------------------------------------------------------- */

static uint64_t source[PAGES * WORDS] __attribute__((aligned(4096)));

static bool model_fill_page(struct mpage *p, enum fill_kind kind, bool wp, const uint64_t *word)
{
	if (p->is != EMPTY && !(kind == FILL_COPY && (p->is == MARKER || p->is == POISONED)))
		return false;
	set_content(p, kind == FILL_COPY ? PAGE : kind == FILL_ZERO ? ZERO : POISONED, kind == FILL_COPY ? word : NULL);
	p->wp = wp;
	return true;
}

/* Returns what the ioctl does; *done: its output field. */
static int model_fill(struct space *s, unsigned a, unsigned b, enum fill_kind kind, bool wp, int64_t *done)
{
	unsigned n = 0;
	int r = -EEXIST;

	for (unsigned i = a; i < b; i++)
		if (!alike(&s->page[i], &s->page[a]))
			r = -ENOENT;
	if (!s->page[a].owner)
		r = -ENOENT;
	if (r != -ENOENT && wp && !(s->page[a].modes & VM_UFFD_WP))
		r = -EINVAL;
	if (r == -EEXIST)
		while (a + n < b && model_fill_page(&s->page[a + n], kind, wp, source + n * WORDS))
			n++;
	*done = n ? (int64_t)(n * PAGE_SIZE) : r;
	return n == b - a ? 0 : n ? -EAGAIN : r;
}

static void copy_range(struct space *s, struct context *c, unsigned a, unsigned b, bool wp)
{
	struct abi_copy arg = {.dst = page_va(a), .src = (uintptr_t)source, .len = (b - a) * PAGE_SIZE, .copy = 77};
	int64_t done;
	int r;

	say("COPY space %u, context %u, pages %u-%u%s", nr_of(s), owner_nr(s, c), a, b, wp ? ", wp" : "");
	for (unsigned i = 0; i < b - a; i++)
		random_page(source + i * WORDS);
	arg.mode = wp ? ABI_COPY_MODE_WP : 0;
	r = model_fill(s, a, b, FILL_COPY, wp, &done);
	same(call(c, ABI_IOCTL_COPY, &arg), r);
	same(arg.copy, done);
}

static void fill_range(struct space *s, struct context *c, unsigned a, unsigned b, bool poison)
{
	struct abi_fill arg = {.start = page_va(a), .len = (b - a) * PAGE_SIZE, .done = 77};
	int64_t done;
	int r;

	say("%s space %u, context %u, pages %u-%u", poison ? "POISON" : "ZEROPAGE", nr_of(s), owner_nr(s, c), a, b);
	r = model_fill(s, a, b, poison ? FILL_POISON : FILL_ZERO, false, &done);
	same(call(c, poison ? ABI_IOCTL_POISON : ABI_IOCTL_ZEROPAGE, &arg), r);
	same(arg.done, done);
}

static void op_copy(struct space *s)
{
	unsigned a, b;

	random_range(&a, &b);
	copy_range(s, random_context(s, a), a, b, one_in(3));
}

/* What COPY from another page answers before it looks at the destination's entry. 0: the source is in source[]. */
static int model_read_source(const struct mpage *to, struct mpage *from, bool wp)
{
	if (!to->owner)
		return -ENOENT;
	if (wp && !(to->modes & VM_UFFD_WP))
		return -EINVAL;
	if (touch(from, false) != OK)
		return -EFAULT;
	memcpy(source, from->word, PAGE_SIZE);
	return 0;
}

/* The source is a page of a program, of this space or another, that no monitor answers for. */
static void op_copy_of_page(struct space *s)
{
	struct space *t = random_space();
	unsigned to = below(PAGES), from = below(PAGES), wp = one_in(3);
	struct abi_copy arg = {.dst = page_va(to), .src = page_va(from), .len = PAGE_SIZE, .mode = wp ? ABI_COPY_MODE_WP : 0};
	int64_t done;
	int r;

	if (t->page[from].owner)
		return;
	say("COPY space %u, page %u, from space %u, page %u%s", nr_of(s), to, nr_of(t), from, wp ? ", wp" : "");
	r = model_read_source(&s->page[to], &t->page[from], wp);
	done = r;
	if (r == 0)
		r = model_fill(s, to, to + 1, FILL_COPY, wp, &done);
	sim_boot_as(&t->mm.as);
	same(call(random_context(s, to), ABI_IOCTL_COPY, &arg), r);
	sim_boot_as(NULL);
	same(arg.copy, done);
}

static void op_zeropage(struct space *s)
{
	unsigned a, b;

	random_range(&a, &b);
	fill_range(s, random_context(s, a), a, b, false);
}

static void op_poison(struct space *s)
{
	unsigned a, b;

	random_range(&a, &b);
	fill_range(s, random_context(s, a), a, b, true);
}

/* ---- userfaultfd: write-protection ----------------------------------------------------------------------------- */

static void model_wp_page(struct space *s, struct mpage *p, bool on)
{
	if (p->is == PAGE || p->is == ZERO)
		p->wp = on;
	else if (p->is == EMPTY && on && s->context[p->owner - 1].unpopulated)
		set_content(p, MARKER, NULL);
	else if (p->is == MARKER && !on)
		set_content(p, EMPTY, NULL);
}

static int model_wp(struct space *s, unsigned a, unsigned b, bool on)
{
	int r = -ENOENT;

	for (unsigned i = a; i < b; i++) {
		struct mpage *p = &s->page[i];

		if (!p->mapped)
			continue;
		if (!(p->modes & VM_UFFD_WP))
			return -ENOENT;
		model_wp_page(s, p, on);
		r = 0;
	}
	return r;
}

static void wp_range(struct space *s, struct context *c, unsigned a, unsigned b, bool on)
{
	struct abi_wp arg = {.start = page_va(a), .len = (b - a) * PAGE_SIZE, .mode = on ? ABI_WP_MODE_WP : 0};

	say("WRITEPROTECT %s space %u, context %u, pages %u-%u", on ? "on" : "off", nr_of(s), owner_nr(s, c), a, b);
	same(call(c, ABI_IOCTL_WRITEPROTECT, &arg), model_wp(s, a, b, on));
}

static void op_wp_on(struct space *s)
{
	unsigned a, b;

	random_range(&a, &b);
	wp_range(s, random_context(s, a), a, b, true);
}

static void op_wp_off(struct space *s)
{
	unsigned a, b;

	random_range(&a, &b);
	wp_range(s, random_context(s, a), a, b, false);
}

/* ---- accesses, and what they wait for -------------------------------------------------------------------------- */

enum access_kind { LOAD, STORE, GUP };

struct access {
	enum access_kind kind;
	struct space *space;
	unsigned at;   /* page */
	unsigned word; /* in it */
	unsigned flags; /* GUP_* */
	uint64_t value; /* stored, or loaded */
	uint64_t pfn;
	enum fault_result result;
	int error; /* of GUP */
};

static bool is_write(const struct access *a)
{
	return a->kind == STORE || (a->kind == GUP && (a->flags & GUP_WRITE));
}

static va_t access_va(const struct access *a)
{
	return page_va(a->at) + (a->kind == GUP ? 0 : 8 * a->word);
}

/* What the program does, on whatever CPU. */
static void make_access(void *arg)
{
	struct access *a = arg;
	struct mm *mm = &a->space->mm;

	if (a->kind == LOAD)
		a->result = sim_load(&mm->as, access_va(a), 8, &a->value);
	else if (a->kind == STORE)
		a->result = sim_store(&mm->as, access_va(a), 8, a->value);
	else
		a->error = mm_gup(mm, page_va(a->at) + 8 * a->word, a->flags, &a->pfn);
}

static bool is_wait(enum verdict v)
{
	return v == MISSING || v == WP;
}

static struct context *owner_of(const struct access *a)
{
	return &a->space->context[a->space->page[a->at].owner - 1];
}

/* The model's answer, with a context that does not ask a monitor taken into account. */
static enum verdict expect(const struct access *a)
{
	enum verdict v = touch(&a->space->page[a->at], is_write(a));

	if (is_wait(v) && (owner_of(a)->sigbus || (a->kind == GUP && owner_of(a)->user_only)))
		return SIGBUS_INSTEAD;
	return v;
}

static void read_message(const struct access *a, enum verdict v)
{
	struct context *c = owner_of(a);
	struct uffd_msg msg;
	uint64_t flags = (is_write(a) ? UFFD_PAGEFAULT_FLAG_WRITE : 0) | (v == WP ? UFFD_PAGEFAULT_FLAG_WP : 0);

	same(uffd_read(c->ctx, (va_t)(uintptr_t)&msg, sizeof(msg), true), sizeof(msg));
	same(msg.event, UFFD_EVENT_PAGEFAULT);
	same((int64_t)msg.arg.pagefault.flags, (int64_t)flags);
	same((int64_t)msg.arg.pagefault.address, (int64_t)(c->exact ? access_va(a) : page_va(a->at)));
}

static void wake(struct context *c, unsigned at)
{
	struct abi_range arg = {page_va(at), PAGE_SIZE};

	same(call(c, ABI_IOCTL_WAKE, &arg), 0);
}

static void answer_missing(struct space *s, unsigned at)
{
	struct context *c = &s->context[s->page[at].owner - 1];

	if (s->page[at].is == MARKER || one_in(2))
		copy_range(s, c, at, at + 1, (s->page[at].modes & VM_UFFD_WP) && one_in(3));
	else if (one_in(2))
		fill_range(s, c, at, at + 1, false);
	else if (one_in(2))
		fill_range(s, c, at, at + 1, true);
	else
		unregister_range(s, c, at, at + 1);
}

static void answer(struct space *s, unsigned at, enum verdict v)
{
	struct context *c = &s->context[s->page[at].owner - 1];

	if (one_in(8))
		wake(c, at); /* nothing is different: the same message again */
	else if (v == MISSING)
		answer_missing(s, at);
	else
		wp_range(s, c, at, at + 1, false);
}

/* By a program on cpu; whenever it waits, as it should, be its monitor. Returns the model's last word. */
static enum verdict run_program(struct access *a, unsigned cpu)
{
	enum verdict v;

	sim_spawn(cpu, &a->space->mm.as, make_access, a);
	for (;;) {
		enum sim_outcome o = sim_run();

		v = expect(a);
		must(o == (is_wait(v) ? SIM_BLOCKED : SIM_DONE), "outcome %u, the model says %u. %s", o, v, sim_report());
		if (!is_wait(v))
			return v;
		must(sim_cpu_block(cpu).kind == MACH_WAIT_FAULT, "%s", sim_report());
		read_message(a, v);
		answer(a->space, a->at, v);
	}
}

/* Boot code must not wait. */
static bool may_wait(const struct access *a)
{
	return a->space->page[a->at].owner != 0;
}

static enum verdict run_access(struct access *a)
{
	unsigned cpu = below(CPUS);

	if (cpu == 0 && !may_wait(a)) {
		make_access(a);
		return expect(a);
	}
	return run_program(a, cpu);
}

static const enum fault_result fault_of[] = {
	[OK] = FAULT_DONE,
	[MAPERR] = FAULT_MAPERR,
	[ACCERR] = FAULT_ACCERR,
	[POISON] = FAULT_POISON,
	[SIGBUS_INSTEAD] = FAULT_SIGBUS,
};

static void op_load(struct space *s)
{
	struct access a = {.kind = LOAD, .space = s, .at = below(PAGES), .word = below(WORDS)};
	enum verdict v;

	say("load space %u, page %u", nr_of(s), a.at);
	v = run_access(&a);
	same(a.result, fault_of[v]);
	if (v == OK)
		must(a.value == s->page[a.at].word[a.word], "the word is not what the model has");
}

static void op_store(struct space *s)
{
	struct access a = {.kind = STORE, .space = s, .at = below(PAGES), .word = below(WORDS), .value = random_word()};
	enum verdict v;

	say("store space %u, page %u", nr_of(s), a.at);
	v = run_access(&a);
	same(a.result, fault_of[v]);
	if (v == OK)
		s->page[a.at].word[a.word] = a.value;
}

/* ---- references ------------------------------------------------------------------------------------------------ */

static int gup_error(enum verdict v)
{
	return v == OK ? 0 : v == POISON ? -EHWPOISON : -EFAULT;
}

static void model_hold(struct hold *h, const struct access *a)
{
	struct mpage *p = &a->space->page[a->at];

	if ((a->flags & GUP_PIN) && !p->own) { /* unshared: uffd_wp and soft-dirty come along */
		p->is = PAGE;
		p->own = true;
	}
	*h = (struct hold){.used = true, .pfn = a->pfn, .flags = a->flags, .space = p->own ? a->space : NULL, .at = a->at};
	h->shared = !p->own;
	memcpy(h->word, p->word, PAGE_SIZE);
}

static void op_gup(struct space *s)
{
	struct access a = {.kind = GUP, .space = s, .at = below(PAGES), .word = below(WORDS), .flags = below(4)};
	struct hold *h = &holds[below(HOLDS)];
	enum verdict v;

	if (h->used)
		return;
	say("gup space %u, page %u, flags %u", nr_of(s), a.at, a.flags);
	v = run_access(&a);
	same(a.error, gup_error(v));
	if (v == OK)
		model_hold(h, &a);
}

static void put(struct hold *h)
{
	say("put frame %u, flags %u", (unsigned)h->pfn, h->flags);
	mm_gup_put(h->space ? &h->space->mm : &spare, h->pfn, h->flags);
	h->used = false;
}

static void op_put(struct space *s)
{
	struct hold *h = &holds[below(HOLDS)];

	if (h->used)
		put(h);
}

static uint64_t *held_words(struct hold *h)
{
	return h->space ? h->space->page[h->at].word : h->word;
}

/* A device writes. Whoever else holds the frame sees it, and so does the program, as long as the page is its own. */
static void op_dma(struct space *s)
{
	static uint64_t word[WORDS];
	struct hold *h = &holds[below(HOLDS)];

	if (!h->used || !(h->flags & GUP_WRITE) || h->shared)
		return;
	say("store through frame %u", (unsigned)h->pfn);
	random_page(word);
	sim_machine()->ops->frame_write(sim_machine(), h->pfn, word);
	for (unsigned k = 0; k < HOLDS; k++)
		if (holds[k].used && holds[k].pfn == h->pfn)
			memcpy(held_words(&holds[k]), word, PAGE_SIZE);
}

/* ---- birth, fork, exit ----------------------------------------------------------------------------------------- */

static void model_fork_page(struct space *to, struct space *from, unsigned i)
{
	struct mpage *p = &from->page[i], *q = &to->page[i];

	if (p->own && !is_pinned(from, i)) {
		leave_holders(from, i, true);
		p->own = false;
	}
	*q = *p;
	q->own = p->is == PAGE && p->own; /* copied at once: the page is pinned */
	q->owner = q->modes = 0;
	q->wp = false;
	if (p->is == MARKER)
		set_content(q, EMPTY, NULL);
}

static void model_fork(struct space *to, struct space *from)
{
	for (unsigned i = 0; i < PAGES; i++)
		model_fork_page(to, from, i);
	to->tracked = from->tracked;
	to->far = from->far;
}

/* No memory: the parent is as it was, but which of its pages are still its own is open. */
static void fork_failed(struct space *to, struct space *from)
{
	ck_assert_int_eq(mm_check(&to->mm, complain, NULL), 0);
	mm_destroy(&to->mm);
	to->live = false;
	for (unsigned i = 0; i < PAGES; i++)
		if (from->page[i].own && !is_pinned(from, i))
			from->page[i].unsure |= PM_EXCLUSIVE;
}

static void op_fork(struct space *s)
{
	struct space *child = free_space();
	unsigned nth = one_in(3) ? 1 + below(4) : 0;
	int r;

	if (!child)
		return;
	say("fork space %u into %u, allocation %u fails", nr_of(s), nr_of(child), nth);
	begin_space(child);
	sim_fail_alloc_at(nth);
	r = mm_fork(&child->mm, &s->mm);
	sim_fail_alloc_at(0);
	if (r) {
		must(r == -ENOMEM && nth, "mm_fork: %d", r);
		fork_failed(child, s);
		return;
	}
	model_fork(child, s);
	open_contexts(child);
}

static void end_space(struct space *s)
{
	for (unsigned i = 0; i < PAGES; i++)
		drop_page(s, i);
	for (unsigned i = 0; i < CONTEXTS; i++)
		uffd_release(s->context[i].ctx);
	mm_destroy(&s->mm);
	s->live = false;
}

static void op_exit(struct space *s)
{
	say("exit of space %u", nr_of(s));
	end_space(s);
}

static void op_begin(struct space *s)
{
	struct space *new_space = free_space();

	if (!new_space)
		return;
	say("space %u begins", nr_of(new_space));
	begin_space(new_space);
	if (one_in(4))
		map_far(new_space);
	open_contexts(new_space);
}

/* ---- comparing ------------------------------------------------------------------------------------------------- */

/* An entry, by a walk of our own. */
static pte_t entry_at(const struct space *s, va_t va)
{
	pte_t *table = s->mm.as.root;

	for (unsigned level = PT_LEVELS - 1; level > 0; level--) {
		pte_t e = table[pt_index(va, level)];

		if (!pte_is_present(e))
			return (pte_t){0};
		table = (pte_t *)(uintptr_t)(e.v & PTE_FRAME_MASK);
	}
	return table[pt_index(va, 0)];
}

static pte_t entry_of(const struct space *s, unsigned i)
{
	return entry_at(s, page_va(i));
}

/* Which of the model's pages hold a frame, for the count of all frames. */
static uint64_t frames_seen[4096 / 64];

static unsigned note_frame(uint64_t pfn)
{
	uint64_t bit = (uint64_t)1 << pfn % 64, was = frames_seen[pfn / 64] & bit;

	frames_seen[pfn / 64] |= bit;
	return pfn != 0 && !was;
}

static void compare_entry(const struct space *s, unsigned i, pte_t e)
{
	const struct mpage *p = &s->page[i];
	bool present = p->is == PAGE || p->is == ZERO;

	must(pte_is_present(e) == present, "space %u, page %u: present is %d", nr_of(s), i, !present);
	if (!present)
		return;
	must((pte_pfn(e) == 0) == (p->is == ZERO), "space %u, page %u: frame %u", nr_of(s), i, (unsigned)pte_pfn(e));
	must(!memcmp(sim_frame_ptr(pte_pfn(e)), p->word, PAGE_SIZE), "space %u, page %u: wrong content", nr_of(s), i);
	if (e.v & PTE_W)
		must((p->prot & MACH_PROT_W) && p->own && (p->soft_dirty || !s->tracked) && !p->wp, "space %u, page %u: writable", nr_of(s), i);
}

/* Nobody goes on with what the tables took back. */
static void compare_tlbs(const struct space *s, unsigned i, pte_t e)
{
	struct sim_translation t;

	for (unsigned cpu = 0; cpu < CPUS; cpu++) {
		if (!sim_tlb_get(cpu, &s->mm.as, page_va(i), &t))
			continue;
		must(pte_is_present(e) && t.pfn == pte_pfn(e), "space %u, page %u: stale on CPU %u", nr_of(s), i, cpu);
		must(!(t.prot & MACH_PROT_W) || (e.v & PTE_W), "space %u, page %u: writable on CPU %u", nr_of(s), i, cpu);
	}
}

static unsigned expected_pagemap(const struct mpage *p)
{
	unsigned bits = p->wp ? PM_UFFD_WP : 0;

	if (p->is == ZERO)
		bits |= PM_PRESENT | PM_ZERO;
	if (p->is == PAGE)
		bits |= PM_PRESENT | (p->own ? PM_EXCLUSIVE : 0);
	return bits | (p->soft_dirty ? PM_SOFT_DIRTY : 0);
}

static void compare_pagemap(struct space *s, unsigned i)
{
	unsigned engine = mm_pagemap(&s->mm, page_va(i)), model = expected_pagemap(&s->page[i]);

	must(engine == model, "space %u, page %u: pagemap says %#x, the model %#x", nr_of(s), i, engine, model);
}

/* What the contract leaves open is as the engine made it. */
static void settle_page(struct space *s, unsigned i)
{
	struct mpage *p = &s->page[i];
	unsigned engine;

	if (!s->tracked)
		p->unsure |= PM_SOFT_DIRTY;
	if (!p->unsure)
		return;
	engine = mm_pagemap(&s->mm, page_va(i));
	if (p->unsure & PM_SOFT_DIRTY)
		p->soft_dirty = engine & PM_SOFT_DIRTY;
	if ((p->unsure & PM_UFFD_WP) && !(engine & PM_UFFD_WP)) {
		p->wp = false;
		p->is = p->is == MARKER ? EMPTY : p->is;
	}
	if ((p->unsure & PM_EXCLUSIVE) && !(engine & PM_EXCLUSIVE)) {
		leave_holders(s, i, true);
		p->own = false;
	}
	p->unsure = 0;
}

static unsigned compare_far(const struct space *s)
{
	unsigned frames = 0;

	for (unsigned i = 0; s->far && i < FAR; i++) {
		pte_t e = entry_at(s, far_va(i));

		must(pte_is_present(e) && *(const uint64_t *)sim_frame_ptr(pte_pfn(e)) == far_va(i),
		     "space %u, far page %u: wrong content", nr_of(s), i);
		frames += note_frame(pte_pfn(e));
	}
	return frames;
}

static unsigned compare_space(struct space *s)
{
	unsigned frames = compare_far(s);

	for (unsigned i = 0; i < PAGES; i++) {
		pte_t e = entry_of(s, i);

		settle_page(s, i);
		compare_entry(s, i, e);
		compare_tlbs(s, i, e);
		compare_pagemap(s, i);
		if (pte_is_present(e))
			frames += note_frame(pte_pfn(e));
	}
	return frames;
}

static unsigned compare_hold(struct hold *h)
{
	unsigned pfn = (unsigned)h->pfn;

	must(sim_frame_is_allocated(pfn), "frame %u is held, but free", pfn);
	must(!memcmp(sim_frame_ptr(pfn), held_words(h), PAGE_SIZE), "frame %u, held with flags %u: wrong content", pfn, h->flags);
	if (h->space)
		must(pte_pfn(entry_of(h->space, h->at)) == pfn, "space %u, page %u: no longer frame %u, which is held",
		     nr_of(h->space), h->at, pfn);
	return note_frame(pfn);
}

static void compare_all(void)
{
	unsigned frames = 0;

	memset(frames_seen, 0, sizeof(frames_seen));
	for (unsigned i = 0; i < SPACES; i++)
		frames += spaces[i].live ? compare_space(&spaces[i]) : 0;
	for (unsigned k = 0; k < HOLDS; k++)
		frames += holds[k].used ? compare_hold(&holds[k]) : 0;
	must(frames == sim_frames_in_use(), "%u frames are used, %u taken", frames, (unsigned)sim_frames_in_use());
}

static void check_all(void)
{
	for (unsigned i = 0; i < SPACES; i++)
		if (spaces[i].live)
			ck_assert_int_eq(mm_check(&spaces[i].mm, complain, NULL), 0);
}

/* ---- sequences ------------------------------------------------------------------------------------------------- */

static const struct {
	unsigned weight;
	void (*fn)(struct space *s);
} operations[] = {
	{6, op_map},	   {2, op_unmap},    {3, op_dontneed}, {4, op_protect}, {2, op_clear_soft_dirty}, {6, op_register},
	{3, op_unregister}, {1, op_close},    {6, op_copy},	{3, op_copy_of_page}, {3, op_zeropage}, {1, op_poison},	  {7, op_wp_on},
	{4, op_wp_off},	   {12, op_load},    {24, op_store},	{8, op_gup},	  {6, op_put},		  {4, op_dma},
	{3, op_fork},	   {2, op_exit},     {1, op_begin},
};

static void random_operation(void)
{
	unsigned sum = 0, n;
	size_t i = 0;
	struct space *s = random_space();

	for (size_t k = 0; k < ARRAY_LEN(operations); k++)
		sum += operations[k].weight;
	for (n = below(sum); n >= operations[i].weight; i++)
		n -= operations[i].weight;
	say("nothing");
	if (!s)
		op_begin(NULL);
	else
		operations[i].fn(s);
}

static void begin(void)
{
	static const struct sim_config config = {.nr_cpus = CPUS, .max_steps = UINT64_MAX / 4};

	ck_assert_int_eq(sim_create(&config), 0);
	ck_assert_int_eq(memory_init(&mem, sim_machine()), 0);
	ck_assert_int_eq(uffd_system_init(&sys, sim_machine()), 0);
	ck_assert_int_eq(mm_init(&spare, &mem, &uffd_mm_ops), 0);
	rng = (seed + 1) * 0x9E3779B97F4A7C15ull;
	op_begin(NULL);
	ck_assert_int_eq(mm_map(&spaces[0].mm, page_va(0), page_va(PAGES), MACH_PROT_R | MACH_PROT_W), 0);
	model_map(&spaces[0], 0, PAGES, MACH_PROT_R | MACH_PROT_W);
}

/* Spaces and references go in any order; whatever is wrong with a count shows here. */
static void end(void)
{
	unsigned left = SPACES + HOLDS;

	for (unsigned k = below(left), n = 0; n < left; n++, k = (k + 1) % left) {
		if (k < SPACES && spaces[k].live)
			end_space(&spaces[k]);
		if (k >= SPACES && holds[k - SPACES].used)
			put(&holds[k - SPACES]);
		compare_all();
	}
	mm_destroy(&spare);
	uffd_system_destroy(&sys);
	memory_destroy(&mem);
	ck_assert_uint_eq(sim_frames_in_use(), 0);
	ck_assert_uint_eq(sim_mem_in_use(), 0);
	sim_destroy();
}

static unsigned setting(const char *name, unsigned otherwise)
{
	const char *text = getenv(name);

	return text ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

START_TEST(the_engine_does_as_the_model)
{
	unsigned ops = setting("MM_MODEL_OPS", OPS);

	seed = (uint64_t)_i;
	tracing = getenv("MM_MODEL_TRACE") != NULL;
	signal(SIGABRT, on_abort);
	begin();
	for (op_nr = 0; op_nr < ops && op_nr < MAX_OPS; op_nr++) {
		random_operation();
		compare_all();
		if (op_nr % 4 == 3)
			check_all();
	}
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mm against a model");
	TCase *t = tcase_create("random operations");
	unsigned first = setting("MM_MODEL_SEED", 0), n = getenv("MM_MODEL_SEED") ? 1 : setting("MM_MODEL_SEEDS", SEEDS);
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 600);
	tcase_add_loop_test(t, the_engine_does_as_the_model, (int)first, (int)(first + n));
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
