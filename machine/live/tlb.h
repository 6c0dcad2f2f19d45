/* SPDX-License-Identifier: MIT */
/*
 * What the host's address space allows now, page by page: the tag store of the TLB that this process is. A host
 * mapping is split wherever neighbours differ, and the host allows only so many, so their number is counted here and
 * chunks of translations are given up (evicted) when it comes near the limit. Nothing here is truth: it can all be
 * thrown away as long as the host is brought in line.
 *
 * Every governed page is in one chunk of 2 MiB. A chunk whose pages are all alike is one byte in the directory.
 */
#pragma once
#include "base/list.h"
#include "machine/live/internal.h"

/* One byte a page: bits 0-2 the host mapping's protection, bits 3-4 the state, bits 5-7 a saved protection. */
#define TAG_PROT 7u
#define TAG_STATE (3u << 3)
#define TAG_PLAIN (0u << 3)
#define TAG_EMPTY (1u << 3)	 /* no access, and known to hold no content: a guard may replace the protection */
#define TAG_GUARD (2u << 3)	 /* empty, hidden by a guard; the protection is what its neighbours have */
#define TAG_UNGOVERNED (3u << 3) /* not ours */
#define TAG_SAVED_SHIFT 5

typedef uint8_t (*tag_fn)(uint8_t tag, unsigned arg);

struct chunk {
	struct list link; /* on the eviction queue while bounds > 0 */
	va_t base;
	uint32_t bounds; /* neighbours whose protection differs: host mappings this chunk costs beyond one */
	bool seeded;	 /* the host has a page table here: a forced write can't allocate a huge page */
	bool no_guards;	 /* the host refused a guard here (locked memory) */
	uint8_t tag[PTRS_PER_TABLE];
};

extern struct mach_lock tlb_lock;

/* All below: tlb_lock held. */

/*
 * Change the tags of [start, end) by fn and bring the host's protection in line, in as few calls as possible. False: the
 * host had it all already.
 */
bool tlb_update(va_t start, va_t end, tag_fn fn, unsigned arg);
/* -ENOMEM: there is no memory for the tags. */
int tlb_attach(va_t start, va_t end, unsigned prot);
void tlb_forget(va_t start, va_t end);
/* Does any page of the range satisfy (tag & mask) == value? */
bool tlb_any(va_t start, va_t end, uint8_t mask, uint8_t value);
/* The first page with (tag & mask) == value, or end. */
va_t tlb_first(va_t start, va_t end, uint8_t mask, uint8_t value);
/* Is prot what the host's mapping of this page should have? True for a page that is not governed. */
bool tlb_has_prot(va_t va, unsigned prot);
/* Call fn(start, end) for each run of pages with (tag & mask) == value. */
void tlb_runs(va_t start, va_t end, uint8_t mask, uint8_t value, void (*fn)(va_t start, va_t end));
/* Make sure that one forced write can't allocate a huge page, and that split mappings can merge again. */
void tlb_seed(va_t start, va_t end);
/* Chunks of the range that cost too many mappings for their empty pages get guards instead. */
void tlb_relieve(va_t start, va_t end);
/* Guards for all empty pages of the range, however few mappings they cost. */
void tlb_guard_all(va_t start, va_t end);
void tlb_guard_remove(va_t start, va_t end);

uint8_t tag_to_empty(uint8_t tag, unsigned arg);
uint8_t tag_close(uint8_t tag, unsigned arg);
uint8_t tag_reopen(uint8_t tag, unsigned arg);
