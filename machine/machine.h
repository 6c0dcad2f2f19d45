/* SPDX-License-Identifier: MIT */
/*
 * The contract with the hardware. The engine (mm/, uffd/) reaches shared state only through this header.
 *
 * Page tables are the truth; a machine caches translations and is told when one is withdrawn. Two machines answer to
 * this table of operations: machine/live (the host process is the TLB) and machine/sim (an explicit TLB per simulated
 * CPU). Others can be stacked on either: an operation may do its work and call the next machine's.
 *
 * Conventions
 *  - Results are 0 or -errno. No operation touches errno. No operation allocates unless it says so.
 *  - "Point: yes" means that the simulated machine may switch CPUs before the operation acts, and that the operation
 *    is recorded as an access to the object named. "Point: no" operations touch nothing that another CPU can reach.
 *  - Lock order, outermost first: mmap_lock, ctx locks of uffd/, ptl, the machine's own locks. An operation marked
 *    "no locks" may block for a monitor, so the caller must hold none.
 *  - On live every operation is async-signal-safe.
 */
#pragma once
#include "base/types.h"
#include "machine/pte.h"

struct machine;
struct mach_as;

/* What a translation, or a mapping, allows. The values are PROT_READ, PROT_WRITE and PROT_EXEC. */
#define MACH_PROT_NONE 0u
#define MACH_PROT_R 1u
#define MACH_PROT_W 2u
#define MACH_PROT_X 4u

/* ---- observation ------------------------------------------------------------------------------------------- */

/* The kinds of object that an access can be about; with the address (or page) they identify it exactly. */
enum mach_obj {
	MACH_OBJ_LOCK,	  /* a lock word */
	MACH_OBJ_PTE,	  /* one slot of a page table */
	MACH_OBJ_TLB,	  /* the translation of one page on one CPU */
	MACH_OBJ_COUNT,	  /* a counter, flag or state word read outside the lock that orders its writers */
	MACH_OBJ_QUEUE,	  /* a wait queue */
	MACH_OBJ_CONTENT, /* a word of a frame */
};

enum mach_mode {
	MACH_READ,
	MACH_UPDATE, /* commutes with other updates: a count changed without using its value */
	MACH_WRITE,
};

/* ---- locks -------------------------------------------------------------------------------------------------- */

/* Zeroed memory is an unlocked lock of either kind. The fields belong to the machine. */
struct mach_lock {
	uint32_t word;
	uint32_t holder; /* sim: simulated CPU + 1 of the holder */
};

struct mach_rwlock {
	uint32_t word;	  /* readers, or the writer's bit */
	uint32_t waiters; /* live: bumped at every release that may let someone in */
	uint32_t holder;  /* sim: simulated CPU + 1 of the writer */
	uint32_t want;	  /* writers waiting: new readers stay out */
};

/* ---- address spaces ------------------------------------------------------------------------------------------- */

enum fault_result {
	FAULT_DONE,	   /* the access can be tried again */
	FAULT_INTERRUPTED, /* a signal ended the wait: return to the program, the access is tried again after it */
	FAULT_MAPERR,	   /* SIGSEGV: nothing the engine manages is there */
	FAULT_ACCERR,	   /* SIGSEGV: the mapping forbids it */
	FAULT_SIGBUS,	   /* SIGBUS at the exact address */
	FAULT_POISON,	   /* the same, because the page is poisoned: EHWPOISON to whoever asked on the program's behalf */
	FAULT_OOM,
};

#define FAULT_WRITE 1u	/* the access is a store */
#define FAULT_USER 2u	/* the program's own access; clear: made by a system call on its behalf */
#define FAULT_EXEC 4u	/* an instruction fetch */
#define FAULT_NOWAIT 8u /* answer FAULT_SIGBUS rather than wait for a monitor */

/* Calls from the machine up to the engine. Called with no lock held. */
struct mach_as_upcalls {
	/* A translation was missing or narrower than the access. May wait for a monitor. */
	enum fault_result (*fault)(struct mach_as *as, va_t va, unsigned flags);
};

/* One address space, embedded in the engine's struct mm. `root` is the top-level table for a machine that walks. */
struct mach_as {
	struct machine *m;
	const struct mach_as_upcalls *up;
	pte_t *root;
	void *priv; /* the machine's own */
};

/* What the host says about memory that a program brought (place_query). */
struct mach_place {
	va_t start, end;
	unsigned prot;
	enum mach_place_kind {
		MACH_PLACE_ANON,    /* private anonymous, heap or stack */
		MACH_PLACE_SHARED,  /* anything shared: memfd, tmpfs, shared anonymous, file */
		MACH_PLACE_FILE,    /* private mapping of a file */
		MACH_PLACE_SPECIAL, /* vdso, vvar, device memory and the like */
	} kind;
	bool may_write; /* false: shared mapping of a descriptor that was not open for writing */
};

enum mach_wait_kind {
	MACH_WAIT_FAULT, /* a faulter waiting to be answered */
	MACH_WAIT_READ,	 /* a monitor waiting for a message */
	MACH_WAIT_OTHER,
};

typedef int (*mach_run_fn)(void *arg, va_t start, va_t end);

struct machine_ops {
	const char *name;

	/* -- engine memory ------------------------------------------------------------------------------------ */
	/*
	 * bytes (a multiple of PAGE_SIZE) of zeroed memory that no program can reach, aligned to align (a power of two
	 * >= PAGE_SIZE). NULL when there is none, or when failure injection says so. Allocates. Point: no.
	 */
	void *(*mem_alloc)(struct machine *m, size_t bytes, size_t align);
	void (*mem_free)(struct machine *m, void *p, size_t bytes);

	/* -- locks: blocking; not recursive. Acquire is a point (LOCK, write; read_lock: LOCK, read). Release is not. */
	void (*lock)(struct machine *m, struct mach_lock *l);
	void (*unlock)(struct machine *m, struct mach_lock *l);
	bool (*lock_is_held)(struct machine *m, const struct mach_lock *l);
	void (*read_lock)(struct machine *m, struct mach_rwlock *l);
	void (*read_unlock)(struct machine *m, struct mach_rwlock *l);
	void (*write_lock)(struct machine *m, struct mach_rwlock *l);
	void (*write_unlock)(struct machine *m, struct mach_rwlock *l);
	/* held by anyone (live) or by the current CPU (sim, writers); for assertions only */
	bool (*rw_is_held)(struct machine *m, const struct mach_rwlock *l, bool for_write);

	/* -- waiting ------------------------------------------------------------------------------------------ */
	/*
	 * Sleep while *word == expect, at most timeout_ns (negative: for ever; 0: not at all, but live may spin a little).
	 * 0: woken or the word differed; may be spurious. -EINTR: a signal handler of the program ran. -ETIMEDOUT. No
	 * locks. Point: yes (QUEUE word, read). live: spins adaptively before it sleeps.
	 */
	int (*wait)(struct machine *m, uint32_t *word, uint32_t expect, enum mach_wait_kind kind, int64_t timeout_ns);
	/* Wake up to n sleepers of word. The caller changed *word before. Best after unlocking. Point: yes (QUEUE). */
	void (*wake)(struct machine *m, uint32_t *word, int n);

	/* -- who and when --------------------------------------------------------------------------------------- */
	uint32_t (*thread_id)(struct machine *m); /* the program's own view: gettid; sim: CPU + 1. Point: no */
	uint64_t (*now_ns)(struct machine *m);	  /* monotonic; sim: the step count, so it is deterministic */

	/* -- the calling program's memory ------------------------------------------------------------------------- */
	/*
	 * Copy between engine memory and the program that made the request. -EFAULT when an address is not accessible.
	 * copy_in and copy_out may fault through the engine and wait for a monitor: no locks. copy_in_atomic never
	 * does: it answers -EFAULT instead, and may be called under any lock. Point: yes (CONTENT).
	 * sim: an address that is in no simulated address space is a pointer of the test program.
	 */
	int (*copy_in)(struct machine *m, void *dst, va_t src, size_t len);
	int (*copy_out)(struct machine *m, va_t dst, const void *src, size_t len);
	int (*copy_in_atomic)(struct machine *m, void *dst, va_t src, size_t len);

	/* -- address spaces ---------------------------------------------------------------------------------------- */
	int (*as_create)(struct machine *m, struct mach_as *as); /* as->m, up and root are set by the caller */
	void (*as_destroy)(struct mach_as *as);

	/* -- translations ------------------------------------------------------------------------------------------ */
	/*
	 * From now on translations of [start, end) may allow prot. Only a hint: a machine that fills on demand ignores
	 * it. Call with the ptl of the range held and the entries already stored, so that a fill cannot outlive its
	 * entry. Point: yes (TLB). live: opens the addresses (mprotect).
	 */
	void (*tlb_fill)(struct mach_as *as, va_t start, va_t end, unsigned prot);
	/*
	 * On return no CPU holds a translation of a page in [start, end) that allows more than prot. Pages may be left
	 * narrower. The entries were changed before. Point: yes, one for each CPU that is told (TLB, write).
	 */
	void (*tlb_restrict)(struct mach_as *as, va_t start, va_t end, unsigned prot);

	/* -- frames: content that the engine owns. NULL table entries: this machine has none yet. --------------------- */
	/* -ENOMEM when none is left. The content is undefined (I11: the engine overwrites it first). Point: no. */
	int (*frame_alloc)(struct machine *m, uint64_t *pfn);
	void (*frame_free)(struct machine *m, uint64_t pfn);
	void (*frame_zero)(struct machine *m, uint64_t pfn);			      /* Point: CONTENT, write */
	void (*frame_copy)(struct machine *m, uint64_t dst, uint64_t src);	      /* Point: CONTENT, word by word */
	void (*frame_write)(struct machine *m, uint64_t pfn, const void *page);	      /* Point: CONTENT, write */
	uint64_t (*frame_count)(struct machine *m);				      /* pfns are 1 .. count-1; 0 is the zero page */

	/* -- places: memory that a program brought, governed where it is. NULL on a machine without a host. ------------- */
	/*
	 * Describe each host mapping that intersects [start, end), in address order, clipped to it. fn returns non-zero
	 * to stop, which is returned. Point: no.
	 */
	int (*place_query)(struct mach_as *as, va_t start, va_t end, int (*fn)(void *arg, const struct mach_place *p),
			   void *arg);
	/* Begin to govern [start, end), one mapping's worth, whose translations all allow base now. May fail: -ENOMEM. */
	int (*place_attach)(struct mach_as *as, va_t start, va_t end, unsigned base);
	/* Stop: every address allows base again and content is untouched. */
	void (*place_detach)(struct mach_as *as, va_t start, va_t end, unsigned base);
	/* Forget [start, end): the program unmapped it, or is about to map something else there. */
	void (*place_forget)(struct mach_as *as, va_t start, va_t end);
	/*
	 * Is what the host has at [start, end) still what was left there? False: the program unmapped or replaced it by a
	 * call that the engine did not see (libc's free of a large block). A sample, not a proof. Point: no.
	 */
	bool (*place_is_intact)(struct mach_as *as, va_t start, va_t end);
	/* Report each run of pages that hold content (resident or swapped), in order. */
	int (*place_scan)(struct mach_as *as, va_t start, va_t end, mach_run_fn fn, void *arg);
	/*
	 * Withdraw every translation of pages that hold no content, and report the runs that do, in any order. On return
	 * a page was either reported or is hidden and empty, whatever the program's threads did meanwhile.
	 */
	int (*place_hide_absent)(struct mach_as *as, va_t start, va_t end, mach_run_fn fn, void *arg);
	/*
	 * Give hidden, empty pages content, without opening them: [start, end) from page-sized source, or zeroes when src
	 * is 0. *done counts bytes, whole pages. -EFAULT: the source is not resident (retry from a copy); -ENOMEM. ptl held.
	 */
	int (*place_write)(struct mach_as *as, va_t start, va_t end, va_t src, uint64_t *done);
	/* Throw the content of [start, end) away. hide: leave the pages hidden and empty; else they read as zeroes. */
	int (*place_discard)(struct mach_as *as, va_t start, va_t end, bool hide);
};

struct machine {
	const struct machine_ops *ops;
	/*
	 * Announces an access before it is made; NULL where nothing observes (live). obj is the address of the lock,
	 * slot, word or queue. The simulated machine may switch CPUs here.
	 */
	void (*point)(struct machine *m, enum mach_obj kind, enum mach_mode mode, const volatile void *obj);
};

/* ---- accessors: the only way to touch what another CPU can reach ----------------------------------------------------- */

static inline void mach_point(struct machine *m, enum mach_obj kind, enum mach_mode mode, const volatile void *obj)
{
	if (unlikely(m->point != NULL))
		m->point(m, kind, mode, obj);
}

/* Entry load, acquire. Legal with or without the ptl; a value read without it must be checked again under it (I2). */
static inline pte_t mach_pte_load(struct machine *m, const pte_t *slot)
{
	mach_point(m, MACH_OBJ_PTE, MACH_READ, slot);
	return (pte_t){__atomic_load_n(&slot->v, __ATOMIC_ACQUIRE)};
}

/* Do all n entries have these values in the bits of mask? Loads each; the ptl is held. */
static inline bool mach_pte_all(struct machine *m, const pte_t *slots, unsigned n, uint64_t mask, uint64_t value)
{
	uint64_t differ = 0;

	for (unsigned i = 0; i < n; i++) {
		mach_point(m, MACH_OBJ_PTE, MACH_READ, &slots[i]);
		differ |= (__atomic_load_n(&slots[i].v, __ATOMIC_RELAXED) ^ value) & mask;
	}
	return differ == 0;
}

/* Entry store, release. The table's ptl is held: callers go through mm's pte_set(), which asserts it (I2). */
static inline void mach_pte_store(struct machine *m, pte_t *slot, pte_t e)
{
	mach_point(m, MACH_OBJ_PTE, MACH_WRITE, slot);
	__atomic_store_n(&slot->v, e.v, __ATOMIC_RELEASE);
}

static inline uint32_t mach_load32(struct machine *m, const uint32_t *p)
{
	mach_point(m, MACH_OBJ_COUNT, MACH_READ, p);
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void mach_store32(struct machine *m, uint32_t *p, uint32_t v)
{
	mach_point(m, MACH_OBJ_COUNT, MACH_WRITE, p);
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

/* Add without using the value: commutes with other adds. */
static inline void mach_add32(struct machine *m, uint32_t *p, uint32_t delta)
{
	mach_point(m, MACH_OBJ_COUNT, MACH_UPDATE, p);
	__atomic_fetch_add(p, delta, __ATOMIC_ACQ_REL);
}

/* Add and return the new value. */
static inline uint32_t mach_add_return32(struct machine *m, uint32_t *p, uint32_t delta)
{
	mach_point(m, MACH_OBJ_COUNT, MACH_WRITE, p);
	return __atomic_add_fetch(p, delta, __ATOMIC_ACQ_REL);
}

static inline bool mach_cas32(struct machine *m, uint32_t *p, uint32_t old, uint32_t new_value)
{
	mach_point(m, MACH_OBJ_COUNT, MACH_WRITE, p);
	return __atomic_compare_exchange_n(p, &old, new_value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

/* Orders an entry's change before a look at the queues (resolver) and an enqueue before a look at the entry (waiter). */
static inline void mach_full_barrier(void)
{
#ifdef __SANITIZE_THREAD__ /* knows no fences, only operations */
	static uint32_t here;

	__atomic_fetch_add(&here, 1, __ATOMIC_SEQ_CST);
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static inline void mach_lock(struct machine *m, struct mach_lock *l)
{
	m->ops->lock(m, l);
}

static inline void mach_unlock(struct machine *m, struct mach_lock *l)
{
	m->ops->unlock(m, l);
}

static inline void mach_read_lock(struct machine *m, struct mach_rwlock *l)
{
	m->ops->read_lock(m, l);
}

static inline void mach_read_unlock(struct machine *m, struct mach_rwlock *l)
{
	m->ops->read_unlock(m, l);
}

static inline void mach_write_lock(struct machine *m, struct mach_rwlock *l)
{
	m->ops->write_lock(m, l);
}

static inline void mach_write_unlock(struct machine *m, struct mach_rwlock *l)
{
	m->ops->write_unlock(m, l);
}
