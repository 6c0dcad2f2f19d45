/* SPDX-License-Identifier: MIT */
/*
 * What a simulation owns: engine memory and RAM. Both allocators are first fit from the lowest page, so the same run
 * gets the same addresses (relative to the base), both count towards failure injection, and both fill what is freed
 * with a pattern, so that a use after free or a page that nobody zeroed (I11) is seen.
 */
#include "machine/sim/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define ARENA_ALIGN ((size_t)2 << 20)
#define FREED_BYTE 0x5A
#define FRESH_BYTE 0xA5

bool sim_alloc_fails(struct sim *s)
{
	s->allocs++;
	return s->allocs == s->fail_at;
}

/* ---- engine memory --------------------------------------------------------------------------------------------- */

static void *map_anonymous(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	ASSERT((va_t)(uintptr_t)p >= SIM_VA_LIMIT);
	return p;
}

static int arena_create(struct sim_arena *a, size_t bytes)
{
	uintptr_t at;

	a->nr_pages = bytes >> PAGE_SHIFT;
	a->map_len = bytes + ARENA_ALIGN;
	a->map = map_anonymous(a->map_len);
	a->run = map_anonymous(a->nr_pages * sizeof(*a->run));
	a->taken = map_anonymous(a->nr_pages);
	if (!a->map || !a->run || !a->taken)
		return -ENOMEM;
	at = ((uintptr_t)a->map + ARENA_ALIGN - 1) & ~(ARENA_ALIGN - 1);
	a->base = (char *)at;
	return 0;
}

static void unmap(void *p, size_t len)
{
	if (p)
		munmap(p, len);
}

static void arena_destroy(struct sim_arena *a)
{
	unmap(a->map, a->map_len);
	unmap(a->run, a->nr_pages * sizeof(*a->run));
	unmap(a->taken, a->nr_pages);
}

/* Free pages from `at` on, at most n. */
static size_t arena_free_run(const struct sim_arena *a, size_t at, size_t n)
{
	size_t i = 0;

	while (i < n && !a->taken[at + i])
		i++;
	return i;
}

/* The first page of n free ones at an aligned place; nr_pages: there are none. */
static size_t arena_find(const struct sim_arena *a, size_t n, size_t step)
{
	for (size_t at = 0; at + n <= a->nr_pages; at += step)
		if (arena_free_run(a, at, n) == n)
			return at;
	return a->nr_pages;
}

void *sim_mem_alloc(struct machine *m, size_t bytes, size_t align)
{
	struct sim *s = sim_of(m);
	struct sim_arena *a = &s->arena;
	size_t n = bytes >> PAGE_SHIFT, at;

	ASSERT(bytes > 0 && is_page_aligned(bytes));
	ASSERT(align >= PAGE_SIZE && align <= ARENA_ALIGN && (align & (align - 1)) == 0);
	if (sim_alloc_fails(s))
		return NULL;
	at = arena_find(a, n, align >> PAGE_SHIFT);
	if (at == a->nr_pages)
		return NULL;
	memset(a->taken + at, 1, n);
	a->run[at] = (uint32_t)n;
	a->pages_in_use += n;
	return memset(a->base + at * PAGE_SIZE, 0, bytes);
}

void sim_mem_free(struct machine *m, void *p, size_t bytes)
{
	struct sim_arena *a = &sim_of(m)->arena;
	size_t at = (size_t)((char *)p - a->base) >> PAGE_SHIFT;
	size_t n = bytes >> PAGE_SHIFT;

	ASSERT((char *)p >= a->base && is_page_aligned((uintptr_t)p) && is_page_aligned(bytes));
	ASSERT(at < a->nr_pages && a->taken[at]); /* else freed twice, or never allocated */
	ASSERT(a->run[at] == n);		  /* the whole allocation, nothing else */
	memset(p, FREED_BYTE, bytes);
	memset(a->taken + at, 0, n);
	a->run[at] = 0;
	a->pages_in_use -= n;
}

/* ---- frames ---------------------------------------------------------------------------------------------------- */

static int frames_create(struct sim_ram *r, uint64_t n)
{
	r->nr_frames = n;
	r->base = map_anonymous(n * PAGE_SIZE);
	r->taken = map_anonymous(n);
	if (!r->base || !r->taken)
		return -ENOMEM;
	/* The zero page: reads as zeroes, and the host itself catches whoever writes to it. */
	if (mprotect(r->base, PAGE_SIZE, PROT_READ))
		return -ENOMEM;
	r->taken[0] = 1;
	r->hint = 1;
	return 0;
}

static void frames_destroy(struct sim_ram *r)
{
	unmap(r->base, r->nr_frames * PAGE_SIZE);
	unmap(r->taken, r->nr_frames);
}

bool sim_frame_is_usable(const struct sim *s, uint64_t pfn)
{
	return pfn < s->ram.nr_frames && s->ram.taken[pfn];
}

static void assert_may_write(const struct sim *s, uint64_t pfn)
{
	ASSERT(pfn != 0); /* the zero page */
	ASSERT(sim_frame_is_usable(s, pfn));
}

int sim_frame_alloc(struct machine *m, uint64_t *pfn)
{
	struct sim *s = sim_of(m);
	struct sim_ram *r = &s->ram;
	uint64_t i = r->hint;

	if (sim_alloc_fails(s))
		return -ENOMEM;
	while (i < r->nr_frames && r->taken[i])
		i++;
	r->hint = i;
	if (i == r->nr_frames)
		return -ENOMEM;
	r->taken[i] = 1;
	r->in_use++;
	memset(sim_frame_addr(s, i), FRESH_BYTE, PAGE_SIZE);
	*pfn = i;
	return 0;
}

void sim_frame_free(struct machine *m, uint64_t pfn)
{
	struct sim *s = sim_of(m);
	struct sim_ram *r = &s->ram;

	assert_may_write(s, pfn);
	ASSERT(!sim_tlb_maps_frame(s, pfn)); /* I6: a flush is still owed for it */
	r->taken[pfn] = 0;
	r->in_use--;
	r->hint = min_u64(r->hint, pfn);
	memset(sim_frame_addr(s, pfn), FREED_BYTE, PAGE_SIZE);
}

void sim_frame_zero(struct machine *m, uint64_t pfn)
{
	struct sim *s = sim_of(m);

	assert_may_write(s, pfn);
	sim_point(m, MACH_OBJ_CONTENT, MACH_WRITE, sim_frame_addr(s, pfn));
	memset(sim_frame_addr(s, pfn), 0, PAGE_SIZE);
}

/* Word by word: a store by another CPU can fall between any two of them. */
void sim_frame_copy(struct machine *m, uint64_t dst, uint64_t src)
{
	struct sim *s = sim_of(m);
	uint64_t *to = (uint64_t *)sim_frame_addr(s, dst);
	const uint64_t *from = (const uint64_t *)sim_frame_addr(s, src);

	assert_may_write(s, dst);
	ASSERT(sim_frame_is_usable(s, src) && src != dst);
	for (unsigned i = 0; i < PAGE_SIZE / sizeof(*to); i++) {
		uint64_t word;

		sim_point(m, MACH_OBJ_CONTENT, MACH_READ, &from[i]);
		word = from[i];
		sim_point(m, MACH_OBJ_CONTENT, MACH_WRITE, &to[i]);
		to[i] = word;
	}
}

void sim_frame_write(struct machine *m, uint64_t pfn, const void *page)
{
	struct sim *s = sim_of(m);

	assert_may_write(s, pfn);
	sim_point(m, MACH_OBJ_CONTENT, MACH_WRITE, sim_frame_addr(s, pfn));
	memcpy(sim_frame_addr(s, pfn), page, PAGE_SIZE);
}

uint64_t sim_frame_count(struct machine *m)
{
	return sim_of(m)->ram.nr_frames;
}

/* ---- both ------------------------------------------------------------------------------------------------------ */

int sim_ram_create(struct sim *s)
{
	int r = arena_create(&s->arena, s->cfg.mem_bytes);

	return r ? r : frames_create(&s->ram, s->cfg.nr_frames);
}

void sim_ram_destroy(struct sim *s)
{
	arena_destroy(&s->arena);
	frames_destroy(&s->ram);
}

void sim_fail_alloc_at(uint64_t n)
{
	struct sim *s = sim_get();

	s->fail_at = n ? s->allocs + n : 0;
}

uint64_t sim_alloc_count(void)
{
	return sim_get()->allocs;
}

size_t sim_mem_in_use(void)
{
	return sim_get()->arena.pages_in_use * PAGE_SIZE;
}

uint64_t sim_frames_in_use(void)
{
	return sim_get()->ram.in_use;
}

bool sim_frame_is_allocated(uint64_t pfn)
{
	return sim_frame_is_usable(sim_get(), pfn);
}

const void *sim_frame_ptr(uint64_t pfn)
{
	ASSERT(sim_frame_is_usable(sim_get(), pfn));
	return sim_frame_addr(sim_get(), pfn);
}
