/* SPDX-License-Identifier: MIT */
/*
 * The engine: address spaces, their vmas and page tables, and what happens on a fault. All truth lives here.
 *
 * Lock key of the fields below:
 *   C constant after init   m mmap_lock (read to look, write to change)   p the table's ptl   A atomic accessor
 *   P pt_lock, a leaf lock that is held for a few instructions
 *
 * Every function returns 0 or -errno unless it says otherwise. Ranges are [start, end), page-aligned, in bytes.
 */
#pragma once
#include "base/list.h"
#include "base/pool.h"
#include "base/treap.h"
#include "machine/machine.h"
#include "mm/pte.h"

struct backing_ops;

/* One frame of the machine: who points to it. pfn 0 is the zero page and has no counts. */
struct frame {
	uint32_t refs;	    /* A: every pointer to it: mappings, pins, the allocator's own hand */
	uint32_t mapcount;  /* A: entries that map it */
	uint32_t exclusive; /* p of its one entry: an anonymous page known to belong to one mm (I4) */
	uint32_t pins;	    /* A: GUP_PIN references among refs: somebody reads or writes the frame behind the tables */
};

/* The memory of one machine, shared by all its address spaces. */
struct memory {
	struct machine *m;
	struct frame *frames; /* C, indexed by pfn; NULL on a machine without frames */
	uint64_t nr_frames;   /* C */
};

int memory_init(struct memory *mem, struct machine *m);
void memory_destroy(struct memory *mem);

/* ---- vmas --------------------------------------------------------------------------------------------------- */

/* The modes of an armed vma. The values are those of UFFDIO_REGISTER_MODE_*. */
#define VM_UFFD_MISSING 1u
#define VM_UFFD_WP 2u
#define VM_UFFD_MINOR 4u

/* The part of a userfaultfd context that mm needs to see; uffd embeds it in its own. */
struct vma_uffd {
	bool wp_unpopulated; /* C: WRITEPROTECT installs markers in empty anonymous entries */
};

struct vma {
	struct treap_node node; /* m: key = start */
	va_t end;		/* m */
	unsigned prot;		/* m: what the program asked for, MACH_PROT_* */
	unsigned modes;		/* m: VM_UFFD_* */
	struct vma_uffd *uffd;	/* m: NULL: not armed */
	const struct backing_ops *backing; /* C */
};

static inline va_t vma_start(const struct vma *v)
{
	return v->node.key;
}

/* ---- address spaces ------------------------------------------------------------------------------------------- */

enum fault_reason { REASON_MISSING, REASON_WP, REASON_MINOR };

/* A fault that a monitor must answer. */
struct userfault {
	struct mm *mm;
	struct vma_uffd *uffd;
	va_t va; /* exact */
	unsigned flags; /* FAULT_* */
	enum fault_reason reason;
};

struct mm_uffd_ops {
	/*
	 * Post the message, drop mmap_lock (held for reading on entry, dropped on return) and wait. FAULT_DONE: try the
	 * access again; FAULT_INTERRUPTED; FAULT_SIGBUS.
	 */
	enum fault_result (*userfault)(const struct userfault *uf);
	/* A fault whose page was there: only its translation was missing. May be NULL. Must only count. */
	void (*translated)(struct mm *mm);
};

struct mm {
	struct mach_as as;		     /* first: the machine calls up with it */
	struct memory *mem;		     /* C */
	const struct mm_uffd_ops *uffd_ops;  /* C */
	struct mach_rwlock mmap_lock;
	struct treap vmas;		     /* m */
	struct pool vma_pool;		     /* m */
	struct pool_source source;	     /* C */
	struct mach_lock pt_lock;	     /* guards the two below */
	struct pt_table *pt_free;	     /* P: tables ready for use, all entries none */
	struct pt_block *pt_blocks;	     /* P */
	uint32_t nr_tables;		     /* P: in use */
	uint32_t tlb_flush_pending;	     /* A: changes whose flush is still owed */
	bool soft_dirty_tracked;	     /* m: soft-dirty bits were cleared once: a page without one must fault to be written */
};

static inline struct mm *mm_of_as(struct mach_as *as)
{
	return container_of(as, struct mm, as);
}

static inline struct machine *mm_machine(const struct mm *mm)
{
	return mm->mem->m;
}

int mm_init(struct mm *mm, struct memory *mem, const struct mm_uffd_ops *uffd_ops);
/* No thread uses mm any more. Frees frames, tables, vmas; forgets places without touching them. */
void mm_destroy(struct mm *mm);

/* Map [start, end) with frames. -EINVAL: not aligned or empty; -EEXIST: something is there; -ENOMEM. */
int mm_map(struct mm *mm, va_t start, va_t end, unsigned prot);
/* Unmap whatever lies in [start, end). Holes are fine. -ENOMEM: a vma could not be split; nothing was changed. */
int mm_unmap(struct mm *mm, va_t start, va_t end);
/* -ENOMEM: a hole in the range (what comes before it was changed, as Linux does) or a vma could not be split. */
int mm_protect(struct mm *mm, va_t start, va_t end, unsigned prot);
/* Zap the pages of [start, end): MADV_DONTNEED. -ENOMEM: holes (all else was zapped, as Linux does). */
int mm_dontneed(struct mm *mm, va_t start, va_t end);

/* MADV_FREE's part of the engine: poison in [start, end) is gone. mmap_lock held for writing. */
void mm_clear_poison_locked(struct mm *mm, va_t start, va_t end);

/* The same three with mmap_lock held for writing. */
int mm_unmap_locked(struct mm *mm, va_t start, va_t end);
int mm_protect_locked(struct mm *mm, va_t start, va_t end, unsigned prot);
int mm_dontneed_locked(struct mm *mm, va_t start, va_t end);

/*
 * The access [va, flags) found no good enough translation: find out why and mend it, waiting for a monitor if the
 * page belongs to one. No locks held.
 */
enum fault_result mm_fault(struct mm *mm, va_t va, unsigned flags);

/* ---- duplicating, pinning, tracking: frames only ------------------------------------------------------------------- */

/*
 * Duplicate parent into child (fresh from mm_init over the same memory). Pages become shared, copy-on-write; an exclusive
 * page that is pinned is copied at once and stays the parent's own. The child's vmas are not armed (no EVENT_FORK):
 * uffd_wp and its markers do not arrive, poison and guards do; the parent's entries keep their bits. Memory in place is not
 * the engine's to copy and is left out. -ENOMEM: child holds a part and wants mm_destroy; parent is as it was, but for pages
 * that lost their exclusiveness.
 */
int mm_fork(struct mm *child, struct mm *parent);

#define GUP_WRITE 1u	/* the holder will store through the reference */
#define GUP_PIN 2u	/* a DMA-like pin (FOLL_PIN): the page must stay the program's; without: a mere reference (FOLL_GET) */

/*
 * A reference to the frame that va shows, faulting it in as the access would (which may wait for a monitor; flags as
 * for a fault made on the program's behalf). A GUP_PIN read of a page that is not exclusive gets a private copy first
 * (unshare), which carries uffd_wp and soft-dirty. -EFAULT: no such access; -EHWPOISON; -EINTR; -ENOMEM. No locks.
 */
int mm_gup(struct mm *mm, va_t va, unsigned flags, uint64_t *pfn);
/* Give the reference back. flags as it was taken with. */
void mm_gup_put(struct mm *mm, uint64_t pfn, unsigned flags);

/* Start recording writes anew: every soft-dirty bit is cleared, and what was writable faults once. */
void mm_clear_soft_dirty(struct mm *mm);

#define PM_PRESENT 1u
#define PM_UFFD_WP 2u
#define PM_SOFT_DIRTY 4u
#define PM_EXCLUSIVE 8u
#define PM_ZERO 16u
/* What the entry of va says, PM_*; 0 for an empty one. For tests and views. */
unsigned mm_pagemap(struct mm *mm, va_t va);

/* ---- for uffd ------------------------------------------------------------------------------------------------- */

/* The vma that contains va, or the first one after it; NULL: none. mmap_lock held. */
struct vma *vma_find(const struct mm *mm, va_t va);
/* The first vma that intersects [start, end). */
struct vma *vma_first_in(const struct mm *mm, va_t start, va_t end);
struct vma *vma_next(const struct mm *mm, const struct vma *v);

/*
 * Arm [start, end) for uffd with modes. Takes over host mappings (in place) that no vma covers yet. check is asked
 * about each vma before anything is changed; its first non-zero answer is returned. mmap_lock held for writing.
 * -EINVAL: nothing is mapped there, or memory of a kind that can't be armed; -EPERM: a shared mapping that may
 * not be written; -ENOMEM: a prefix may have been armed.
 */
int mm_arm(struct mm *mm, va_t start, va_t end, struct vma_uffd *uffd, unsigned modes);

/*
 * Disarm [start, end) of whatever belongs to uffd: -EINVAL when nothing is mapped there, when another's vma is met, or memory
 * that can never be armed; nothing was changed then. For each vma that had MISSING, wake(arg, start, end) is called
 * before it changes. mmap_lock held for writing.
 */
int mm_disarm(struct mm *mm, va_t start, va_t end, struct vma_uffd *uffd, void (*wake)(void *, va_t, va_t), void *arg);

/* Disarm every vma of uffd (release). NULL: of every context (a forked child). mmap_lock held for writing. */
void mm_disarm_all(struct mm *mm, struct vma_uffd *uffd);
/*
 * mremap without EVENT_REMAP, around the host's own move. mmap_lock held for writing.
 *
 * mm_move_begin: every page of [start, end) is open to the host; the entries still stand. -ENOMEM: a vma could not be
 * split. mm_move_end: what was there is forgotten, and its poison stands at `to` (trap 20), which is not armed. With
 * keep the old range stays mapped and armed, and is empty (MREMAP_DONTUNMAP).
 */
int mm_move_begin(struct mm *mm, va_t start, va_t end);
int mm_move_end(struct mm *mm, va_t start, va_t end, va_t to, bool keep);

enum fill_kind { FILL_COPY, FILL_ZERO, FILL_POISON };

struct fill_req {
	enum fill_kind kind;
	va_t start, end;
	va_t src; /* FILL_COPY: the source in the calling program */
	bool wp;  /* leave the page write-protected */
	const uint32_t *changing; /* A: while non-zero, answer -EAGAIN */
};

/* Fill [start, end). *done: bytes filled, also on error. Errors: the fill family's (reference 2.5). No locks. */
int mm_fill(struct mm *mm, const struct fill_req *req, uint64_t *done);

/* Protect or resolve. *changed counts entries. -EAGAIN, -ENOENT, -ENOMEM as reference 2.7. No locks. */
int mm_wp_range(struct mm *mm, va_t start, va_t end, bool protect, const uint32_t *changing, uint64_t *changed);

/* Would a fault at va, for this reason, still have to wait? Reads the entry without its ptl. mmap_lock held. */
bool mm_must_wait(struct mm *mm, va_t va, enum fault_reason reason);

/* ---- checks --------------------------------------------------------------------------------------------------- */

/* Every invariant that can be read off the structures. 0, or -EINVAL after calling complain(arg, text) for each. */
int mm_check(struct mm *mm, void (*complain)(void *arg, const char *text, va_t va), void *arg);
