/* SPDX-License-Identifier: MIT */
#include "machine/live/tlb.h"

#include "base/assert.h"
#include "base/pool.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif

/* A chunk with empty pages that costs more mappings than this gets guards instead (measured: 4 to 16 isolated runs). */
#define GUARD_BOUNDS 16u

#define DIR_BITS 13
#define DIR_SIZE ((size_t)1 << DIR_BITS)

struct mach_lock tlb_lock;
struct live_counts live_counts;

static void *get_pages(void *arg, size_t bytes)
{
	return live_mem_alloc(NULL, bytes, PAGE_SIZE);
}

static void put_pages(void *arg, void *p, size_t bytes)
{
	live_mem_free(NULL, p, bytes);
}

static const struct pool_source source = {get_pages, put_pages, NULL};

/* A directory word: 0 nothing governed; odd: the one tag of all pages << 1 | 1; else a struct chunk. */
static uintptr_t *directory[DIR_SIZE];
static struct pool chunks;
static struct list queue = {&queue, &queue};
static uint64_t total_bounds, budget;

void live_set_mapping_budget(uint64_t n)
{
	uint64_t limit = live_max_map_count();

	budget = n ? n : limit - limit / 8; /* the rest is the program's own; more of those make us evict sooner */
}

/* ---- the directory --------------------------------------------------------------------------------------------------------- */

static uintptr_t *word_of(va_t va, bool create)
{
	uint64_t index = va >> PMD_SHIFT;
	uintptr_t **leaf = &directory[index >> DIR_BITS];

	ASSERT(va < TASK_SIZE);
	if (!*leaf && create)
		*leaf = live_mem_alloc(NULL, DIR_SIZE * sizeof(uintptr_t), PAGE_SIZE);
	return *leaf ? &(*leaf)[index & (DIR_SIZE - 1)] : NULL;
}

static bool is_uniform(uintptr_t w)
{
	return w & 1;
}

static uint8_t uniform_tag(uintptr_t w)
{
	return (uint8_t)(w >> 1);
}

static uintptr_t mk_uniform(uint8_t tag)
{
	return (uintptr_t)tag << 1 | 1;
}

static struct chunk *chunk_of(uintptr_t w)
{
	return w && !is_uniform(w) ? (struct chunk *)w : NULL;
}

/* Give the chunk of *w its own tags. NULL: no memory. */
static struct chunk *materialise(uintptr_t *w, va_t va)
{
	struct chunk *c = chunk_of(*w);

	if (c)
		return c;
	if (!chunks.source)
		pool_init(&chunks, &source, sizeof(struct chunk));
	c = pool_get(&chunks);
	if (!c)
		return NULL;
	list_init(&c->link);
	c->base = va & PMD_MASK;
	memset(c->tag, is_uniform(*w) ? uniform_tag(*w) : TAG_UNGOVERNED, sizeof c->tag);
	*w = (uintptr_t)c;
	return c;
}

static void chunk_drop(uintptr_t *w)
{
	struct chunk *c = chunk_of(*w);

	if (c) {
		total_bounds -= c->bounds;
		list_del(&c->link);
		pool_put(&chunks, c);
	}
	*w = 0;
}

/* Eight tags whose protection is that of the tag before each. */
static bool same_as_before(const uint8_t *tag)
{
	uint64_t here, before;

	memcpy(&here, tag, sizeof here);
	memcpy(&before, tag - 1, sizeof before);
	return ((here ^ before) & (TAG_PROT * (uint64_t)0x0101010101010101)) == 0;
}

/* Neighbours that differ among tags first-1 .. last. */
static uint32_t count_bounds(const struct chunk *c, unsigned first, unsigned last)
{
	uint32_t n = 0;

	for (unsigned i = first ? first : 1; i <= last && i < PTRS_PER_TABLE; i++) {
		if (i + 8 <= PTRS_PER_TABLE && i + 7 <= last && same_as_before(&c->tag[i]))
			i += 7;
		else
			n += (c->tag[i] & TAG_PROT) != (c->tag[i - 1] & TAG_PROT);
	}
	return n;
}

static void chunk_set_bounds(struct chunk *c, uint32_t bounds)
{
	total_bounds += bounds;
	total_bounds -= c->bounds;
	c->bounds = bounds;
	if (bounds && list_is_empty(&c->link))
		list_add_tail(&queue, &c->link);
	else if (!bounds && !list_is_empty(&c->link))
		list_del(&c->link);
}

/* ---- the host -------------------------------------------------------------------------------------------------------------- */

static bool evict_one(va_t keep_start, va_t keep_end);

struct coverage {
	va_t at;
	unsigned prot; /* to be set piece by piece; TAG_PROT + 1: only look */
};

static int cover(void *arg, const struct mach_place *p)
{
	struct coverage *c = arg;

	if (c->prot <= TAG_PROT && p->kind == MACH_PLACE_ANON)
		sys3(SYS_mprotect, (long)p->start, (long)(p->end - p->start), c->prot);
	else if (c->prot > TAG_PROT && p->start != c->at)
		return 1;
	c->at = p->end;
	return 0;
}

static bool has_hole(va_t start, va_t end)
{
	struct coverage c = {start, TAG_PROT + 1};

	return live_query(start, end, cover, &c) || c.at != end;
}

/*
 * ENOMEM: the mapping limit, which the program's own mappings may have reached: make room and try again. Or a hole: the
 * program unmapped some of it by a call that we did not see; what is left is treated piece by piece.
 */
static void host_protect(va_t start, va_t end, unsigned prot)
{
	struct coverage pieces = {start, prot};
	long r;

	while ((r = sys3(SYS_mprotect, (long)start, (long)(end - start), prot)) == -ENOMEM && !has_hole(start, end) &&
	       evict_one(start, end))
		;
	if (unlikely(r == -ENOMEM && has_hole(start, end)))
		r = live_query(start, end, cover, &pieces);
	ASSERT(r == 0);
}

/* Consecutive pages that end up with the same protection; dirty when the host does not have it yet for all of them. */
struct prot_run {
	va_t start, end;
	unsigned prot;
	bool dirty;
	bool told; /* the host was called */
};

static void run_flush(struct prot_run *r)
{
	if (r->dirty)
		host_protect(r->start, r->end, r->prot);
	r->told |= r->dirty;
	r->start = r->end = 0;
	r->dirty = false;
}

/* The host skips mappings that have the protection already, so clean pages inside a run cost next to nothing. */
static void run_add(struct prot_run *r, va_t va, uint64_t len, unsigned old, unsigned now)
{
	if (r->start < r->end && (r->end != va || r->prot != now))
		run_flush(r);
	if (r->start >= r->end) {
		if (old == now)
			return; /* nothing to do at a run's edge */
		r->start = va;
		r->prot = now;
	}
	r->end = va + len;
	r->dirty |= old != now;
}

/* ---- changing tags ---------------------------------------------------------------------------------------------------------- */

static void update_uniform(uintptr_t *w, va_t va, tag_fn fn, unsigned arg, struct prot_run *run)
{
	uint8_t old = uniform_tag(*w), now = fn(old, arg);

	*w = mk_uniform(now);
	if ((old & TAG_STATE) != TAG_UNGOVERNED)
		run_add(run, va, PMD_SIZE, old & TAG_PROT, now & TAG_PROT);
}

static bool same_eight(const uint8_t *tag)
{
	uint64_t w;

	memcpy(&w, tag, sizeof w);
	return w == tag[0] * (uint64_t)0x0101010101010101;
}

static void update_chunk(struct chunk *c, unsigned first, unsigned last, tag_fn fn, unsigned arg, struct prot_run *run)
{
	uint32_t before = count_bounds(c, first, last + 1);

	for (unsigned i = first; i <= last; i++) {
		uint8_t old = c->tag[i];

		if ((old & TAG_STATE) == TAG_UNGOVERNED)
			continue;
		if (i + 8 <= last + 1 && same_eight(&c->tag[i]) && fn(old, arg) == old) { /* bulk protects live on this */
			run_add(run, c->base + i * PAGE_SIZE, 8 * PAGE_SIZE, old & TAG_PROT, old & TAG_PROT);
			i += 7;
			continue;
		}
		c->tag[i] = fn(old, arg);
		run_add(run, c->base + i * PAGE_SIZE, PAGE_SIZE, old & TAG_PROT, c->tag[i] & TAG_PROT);
	}
	chunk_set_bounds(c, c->bounds + count_bounds(c, first, last + 1) - before);
}

/* The part of [va, end) that lies in va's chunk: its last page's index and the next chunk's address. */
static unsigned piece_last(va_t va, va_t end, va_t *next)
{
	*next = min_u64((va & PMD_MASK) + PMD_SIZE, end);
	return pt_index(*next - PAGE_SIZE, 0);
}

static void update_piece(va_t va, va_t end, tag_fn fn, unsigned arg, struct prot_run *run)
{
	uintptr_t *w = word_of(va, false);
	unsigned first = pt_index(va, 0), last;
	struct chunk *c;
	va_t next;

	ASSERT(w && *w); /* every governed page is attached */
	last = piece_last(va, end, &next);
	if (is_uniform(*w)) {
		if (fn(uniform_tag(*w), arg) == uniform_tag(*w)) {
			run_add(run, va, next - va, uniform_tag(*w) & TAG_PROT, uniform_tag(*w) & TAG_PROT);
			return;
		}
		if (first == 0 && last == PTRS_PER_TABLE - 1) {
			update_uniform(w, va, fn, arg, run);
			return;
		}
	}
	c = materialise(w, va);
	ASSERT(c); /* attach reserved nothing for it: out of memory here leaves no way back */
	update_chunk(c, first, last, fn, arg, run);
}

bool tlb_update(va_t start, va_t end, tag_fn fn, unsigned arg)
{
	struct prot_run run = {0};

	ASSERT(live_lock_is_held(NULL, &tlb_lock));
	for (va_t va = start, next; va < end; va = next) {
		piece_last(va, end, &next);
		update_piece(va, next, fn, arg, &run);
	}
	run_flush(&run);
	return run.told;
}

/* Whole chunks from va on, as far as one leaf of the directory goes: REGISTER of gigabytes passes here. */
static va_t attach_whole(uintptr_t *w, va_t va, va_t end, uintptr_t uniform)
{
	va_t leaf_end = (va | ((PMD_SIZE << DIR_BITS) - 1)) + 1;

	for (end = min_u64(end & PMD_MASK, leaf_end); va < end; va += PMD_SIZE, w++) {
		if (unlikely(chunk_of(*w) != NULL))
			chunk_drop(w);
		*w = uniform;
	}
	return va;
}

uint32_t live_generation;

int tlb_attach(va_t start, va_t end, unsigned prot)
{
	__atomic_fetch_add(&live_generation, 1, __ATOMIC_SEQ_CST);
	for (va_t va = start, next; va < end; va = next) {
		uintptr_t *w = word_of(va, true);
		unsigned first = pt_index(va, 0), last = piece_last(va, end, &next);
		struct chunk *c;

		if (!w)
			return -ENOMEM;
		if (first == 0 && last == PTRS_PER_TABLE - 1) {
			next = attach_whole(w, va, end, mk_uniform((uint8_t)(prot | TAG_PLAIN)));
			continue;
		}
		c = materialise(w, va);
		if (!c)
			return -ENOMEM;
		memset(&c->tag[first], (int)(prot | TAG_PLAIN), last - first + 1);
		chunk_set_bounds(c, count_bounds(c, 0, PTRS_PER_TABLE - 1));
	}
	return 0;
}

static bool all_ungoverned(const struct chunk *c)
{
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++)
		if ((c->tag[i] & TAG_STATE) != TAG_UNGOVERNED)
			return false;
	return true;
}

void tlb_forget(va_t start, va_t end)
{
	__atomic_fetch_add(&live_generation, 1, __ATOMIC_SEQ_CST);
	for (va_t va = start, next; va < end; va = next) {
		uintptr_t *w = word_of(va, false);
		unsigned first = pt_index(va, 0), last = piece_last(va, end, &next);
		struct chunk *c;

		if (!w || !*w)
			continue;
		if (first == 0 && last == PTRS_PER_TABLE - 1) {
			chunk_drop(w);
			continue;
		}
		c = materialise(w, va);
		ASSERT(c);
		memset(&c->tag[first], TAG_UNGOVERNED, last - first + 1);
		chunk_set_bounds(c, count_bounds(c, 0, PTRS_PER_TABLE - 1));
		if (all_ungoverned(c))
			chunk_drop(w);
	}
}

/* ---- looking ------------------------------------------------------------------------------------------------------------------ */

static uint8_t tag_at(va_t va)
{
	uintptr_t *w = word_of(va, false);

	if (!w || !*w)
		return TAG_UNGOVERNED;
	return is_uniform(*w) ? uniform_tag(*w) : chunk_of(*w)->tag[pt_index(va, 0)];
}

bool tlb_has_prot(va_t va, unsigned prot)
{
	uint8_t tag = tag_at(va);

	return (tag & TAG_STATE) == TAG_UNGOVERNED || (tag & TAG_PROT) == prot;
}

/* The end of the stretch from va that is known to have one tag: a page, or what is left of a uniform chunk. */
static va_t same_until(va_t va, va_t end)
{
	uintptr_t *w = word_of(va, false);

	if (w && chunk_of(*w))
		return va + PAGE_SIZE;
	return min_u64((va & PMD_MASK) + PMD_SIZE, end);
}

va_t tlb_first(va_t start, va_t end, uint8_t mask, uint8_t value)
{
	for (va_t va = start; va < end; va = same_until(va, end))
		if ((tag_at(va) & mask) == value)
			return va;
	return end;
}

bool tlb_any(va_t start, va_t end, uint8_t mask, uint8_t value)
{
	return tlb_first(start, end, mask, value) != end;
}

void tlb_runs(va_t start, va_t end, uint8_t mask, uint8_t value, void (*fn)(va_t start, va_t end))
{
	va_t run = end;

	for (va_t va = start; va < end; va = same_until(va, end)) {
		bool match = (tag_at(va) & mask) == value;

		if (match && run == end) {
			run = va;
		} else if (!match && run != end) {
			fn(run, va);
			run = end;
		}
	}
	if (run != end)
		fn(run, end);
}

/* ---- guards -------------------------------------------------------------------------------------------------------------------- */

uint8_t tag_to_empty(uint8_t tag, unsigned arg)
{
	return (tag & TAG_STATE) == TAG_PLAIN ? TAG_EMPTY : tag;
}

uint8_t tag_close(uint8_t tag, unsigned arg)
{
	if ((tag & TAG_STATE) != TAG_PLAIN)
		return tag;
	return (uint8_t)((tag & TAG_PROT) << TAG_SAVED_SHIFT);
}

uint8_t tag_reopen(uint8_t tag, unsigned arg)
{
	if ((tag & TAG_STATE) != TAG_PLAIN || !(tag >> TAG_SAVED_SHIFT))
		return tag;
	return tag >> TAG_SAVED_SHIFT;
}

void tlb_guard_remove(va_t start, va_t end)
{
	long r = sys3(SYS_madvise, (long)start, (long)(end - start), MADV_GUARD_REMOVE);

	ASSERT(r == 0 || r == -ENOMEM); /* a hole: what is there is done */
}

/* Guards over the empty runs of a chunk; false when the host refuses (locked memory). Content is never under them. */
static bool install_guards(struct chunk *c)
{
	for (unsigned i = 0, j; i < PTRS_PER_TABLE; i = j) {
		uint8_t state = c->tag[i] & TAG_STATE;

		for (j = i + 1; j < PTRS_PER_TABLE && (c->tag[j] & TAG_STATE) == state;)
			j++;
		if (state != TAG_EMPTY)
			continue;
		if (sys3(SYS_madvise, (long)(c->base + i * PAGE_SIZE), (long)((j - i) * PAGE_SIZE), MADV_GUARD_INSTALL)) {
			c->no_guards = true;
			return false;
		}
		for (unsigned k = i; k < j; k++)
			c->tag[k] = (uint8_t)((c->tag[k] & ~TAG_STATE) | TAG_GUARD);
		live_counts.guards++;
	}
	return true;
}

/* The protection that a guard at i should have to cost no mapping: its nearest neighbour's that is no guard. */
static unsigned neighbour_prot(const struct chunk *c, unsigned i)
{
	for (unsigned k = i; k-- > 0;)
		if ((c->tag[k] & TAG_STATE) == TAG_PLAIN)
			return c->tag[k] & TAG_PROT;
	for (unsigned k = i + 1; k < PTRS_PER_TABLE; k++)
		if ((c->tag[k] & TAG_STATE) == TAG_PLAIN)
			return c->tag[k] & TAG_PROT;
	return c->tag[i] & TAG_PROT;
}

static void chunk_to_guards(struct chunk *c)
{
	struct prot_run run = {0};
	unsigned prot = 0;

	if (!live_has_guards || c->no_guards || !install_guards(c))
		return;
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++) {
		uint8_t old = c->tag[i];

		if ((old & TAG_STATE) == TAG_UNGOVERNED)
			continue;
		if ((old & TAG_STATE) == TAG_GUARD) {
			if (i == 0 || (c->tag[i - 1] & TAG_STATE) != TAG_GUARD)
				prot = neighbour_prot(c, i);
			c->tag[i] = (uint8_t)(TAG_GUARD | prot);
		}
		run_add(&run, c->base + i * PAGE_SIZE, PAGE_SIZE, old & TAG_PROT, c->tag[i] & TAG_PROT);
	}
	run_flush(&run);
	chunk_set_bounds(c, count_bounds(c, 0, PTRS_PER_TABLE - 1));
}

static bool has_empty(const struct chunk *c)
{
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++)
		if ((c->tag[i] & TAG_STATE) == TAG_EMPTY)
			return true;
	return false;
}

/* ---- eviction: the host's mapping limit is the capacity of this TLB ------------------------------------------------------------ */

static uint8_t tag_and(uint8_t tag, unsigned prot)
{
	return (uint8_t)(tag & ~(TAG_PROT & ~prot));
}

/* One mapping for the whole chunk: every page gets what all of them allow. */
static void chunk_evict(struct chunk *c)
{
	unsigned prot = TAG_PROT;
	struct prot_run run = {0};

	if (has_empty(c))
		chunk_to_guards(c);
	for (unsigned i = 0; i < PTRS_PER_TABLE; i++)
		if ((c->tag[i] & TAG_STATE) != TAG_UNGOVERNED)
			prot &= c->tag[i];
	update_chunk(c, 0, PTRS_PER_TABLE - 1, tag_and, prot, &run);
	run_flush(&run);
	__atomic_fetch_add(&live_counts.evictions, 1, __ATOMIC_RELAXED);
}

/* The chunk that has been split longest, but none in [keep_start, keep_end), which is being changed. False: no other. */
static bool evict_one(va_t keep_start, va_t keep_end)
{
	list_for_each_safe(l, tmp, &queue) {
		struct chunk *c = container_of(l, struct chunk, link);

		if (c->base < keep_end && c->base + PMD_SIZE > keep_start)
			continue;
		chunk_evict(c);
		if (!list_is_empty(&c->link)) { /* parts of it are not ours to merge: to the back */
			list_del(&c->link);
			list_add_tail(&queue, &c->link);
		}
		return true;
	}
	return false;
}

void tlb_relieve(va_t start, va_t end)
{
	for (va_t va = start, next; va < end; va = next) {
		uintptr_t *w = word_of(va, false);
		struct chunk *c = w ? chunk_of(*w) : NULL;

		piece_last(va, end, &next);
		if (c && c->bounds > GUARD_BOUNDS && !c->no_guards && has_empty(c))
			chunk_to_guards(c);
	}
	if (unlikely(budget == 0))
		live_set_mapping_budget(0);
	for (int tries = 8; total_bounds > budget && tries > 0 && evict_one(start & PMD_MASK, end);)
		tries--;
}

void tlb_guard_all(va_t start, va_t end)
{
	for (va_t va = start, next; va < end; va = next) {
		uintptr_t *w = word_of(va, false);
		struct chunk *c = w ? chunk_of(*w) : NULL;

		piece_last(va, end, &next);
		if (c && has_empty(c))
			chunk_to_guards(c);
	}
}

void tlb_seed(va_t start, va_t end)
{
	for (va_t va = start, next; va < end; va = next) {
		uintptr_t *w = word_of(va, false);
		struct chunk *c;

		piece_last(va, end, &next);
		ASSERT(w && *w);
		c = materialise(w, va);
		if (!c || c->seeded || (tag_at(va) & TAG_STATE) != TAG_EMPTY)
			continue;
		c->seeded = true;
		if (!live_has_guards || sys3(SYS_madvise, (long)va, (long)PAGE_SIZE, MADV_GUARD_INSTALL)) {
			live_force_write(va, (va_t)(uintptr_t)"", 1);
			sys3(SYS_madvise, (long)va, (long)PAGE_SIZE, MADV_DONTNEED);
		} else {
			tlb_guard_remove(va, va + PAGE_SIZE);
		}
	}
}

/* ---- the contract's operations ---------------------------------------------------------------------------------------------- */

int live_as_create(struct machine *m, struct mach_as *as)
{
	return 0; /* one address space, this process: its tags are the statics above */
}

void live_as_destroy(struct mach_as *as)
{
}

static uint8_t tag_open(uint8_t tag, unsigned prot)
{
	return (uint8_t)prot; /* plain: there is content, or there may be */
}

void live_tlb_fill(struct mach_as *as, va_t start, va_t end, unsigned prot)
{
	live_lock(as->m, &tlb_lock);
	if (unlikely(tlb_any(start, end, TAG_STATE, TAG_GUARD)))
		tlb_runs(start, end, TAG_STATE, TAG_GUARD, tlb_guard_remove);
	/*
	 * Nothing to change, as far as we know: another thread was faster, or the host was changed by a call that we did not
	 * see. The second would fault for ever, and saying it once more costs next to nothing.
	 */
	if (!tlb_update(start, end, tag_open, prot))
		host_protect(start, end, prot);
	tlb_relieve(start, end);
	live_counts.fills++;
	live_unlock(as->m, &tlb_lock);
}

void live_tlb_restrict(struct mach_as *as, va_t start, va_t end, unsigned prot)
{
	live_lock(as->m, &tlb_lock);
	tlb_update(start, end, tag_and, prot);
	live_counts.restricts++;
	live_unlock(as->m, &tlb_lock);
}

bool live_allows(va_t va, unsigned prot)
{
	uint8_t tag;

	live_lock(NULL, &tlb_lock);
	tag = tag_at(page_down(va));
	live_unlock(NULL, &tlb_lock);
	if ((tag & TAG_STATE) == TAG_UNGOVERNED)
		return true;
	return (tag & TAG_STATE) == TAG_PLAIN && (tag & prot) == prot;
}

void live_locks_take(void)
{
	live_lock(NULL, &tlb_lock);
}

void live_locks_drop(void)
{
	live_unlock(NULL, &tlb_lock);
}
