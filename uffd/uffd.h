/* SPDX-License-Identifier: MIT */
/*
 * A userfaultfd context: what stands behind one descriptor, without the descriptor (lib/ owns those).
 *
 * Lock key: C constant after init, q ctx->lock, A atomic accessor. ctx->lock is taken inside mmap_lock and holds no
 * other lock; nothing sleeps under it. Results are 0 or -errno unless said otherwise.
 */
#pragma once
#include "mm/mm.h"

/* What the engine supports now; the handshake's answer. */
#define UFFD_SUPPORTED                                                                                       \
	((uint32_t)UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_SIGBUS | UFFD_FEATURE_THREAD_ID |           \
	 UFFD_FEATURE_EXACT_ADDRESS | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_POISON)
#define UFFD_INITIALISED ((uint32_t)1 << 31)

struct uffd_ctx;

/* Things worth counting; the order is that of struct fl_stats. */
enum uffd_count {
	COUNT_CONTEXTS,
	COUNT_RANGES,
	COUNT_FAULT_MISSING,
	COUNT_FAULT_WP,
	COUNT_FAULT_MINOR,
	COUNT_FAULT_SIGBUS,
	COUNT_FAULT_SPURIOUS,
	COUNT_COPIED,
	COUNT_ZEROED,
	COUNT_PROTECTED,
	COUNT_RESOLVED,
	COUNT_POISONED,
	COUNT_MESSAGES_READ,
	COUNT_WAKEUPS,
	COUNT_NR,
};

/* All contexts over one machine: what is shared between them. */
struct uffd_system {
	struct machine *m;	/* C */
	struct mach_lock lock;	/* guards the three below */
	struct list contexts;	/* by uffd_ctx.link */
	struct pool pool;	/* of struct uffd_ctx */
	struct pool waiter_pool;
	struct pool_source source; /* C */
	/* Called after messages arrived or the last one was read; may be NULL. No locks held. */
	void (*readiness)(struct uffd_ctx *ctx);
	/* What happened, for counters; may be NULL. Any lock may be held: it must only count. */
	void (*count)(enum uffd_count what, uint64_t n);
};

enum waiter_state { WAITER_FREE, WAITER_WAITING, WAITER_WOKEN, WAITER_CANCELLED };

/* One blocked fault. From a pool, never on a stack: a signal handler may leave the faulting frame by longjmp. */
struct uffd_waiter {
	struct list link;      /* q: on ctx->pending or ctx->delivered, or on none */
	struct uffd_ctx *ctx;  /* C while in use; holds a reference */
	va_t va;	       /* C while in use: as reported, exact or masked */
	uint32_t state;	       /* A: enum waiter_state; the word it sleeps on */
	uint32_t tid;	       /* C while in use; 0 unless the context reports thread ids */
	uintptr_t frame;       /* C while in use: the waiting frame's address */
	uint32_t msg_flags;    /* C while in use: UFFD_PAGEFAULT_FLAG_* */
};

struct uffd_ctx {
	struct vma_uffd vma;   /* first: mm knows a context by it */
	struct uffd_system *sys; /* C */
	struct mm *mm;	       /* C */
	struct list link;      /* sys->lock */
	uint32_t refs;	       /* A: descriptors' one and each waiter's */
	uint32_t features;     /* A: 0 until the handshake, then requested | UFFD_INITIALISED */
	uint32_t flags;	       /* C: O_CLOEXEC, O_NONBLOCK, UFFD_USER_MODE_ONLY as created */
	uint32_t released;     /* A */
	uint32_t mm_gone;      /* A: this process is a forked child; the memory is its parent's */
	uint32_t mmap_changing; /* A: fills answer -EAGAIN while it is not zero */
	struct mach_lock lock;
	struct list pending;   /* q: faults nobody read yet, oldest first */
	struct list delivered; /* q: read, not yet answered */
	uint32_t nr_pending;   /* A, written under q */
	uint32_t nr_waiters;   /* A, written under q: on either list */
	uint32_t arrivals;     /* A: bumped at each message; readers sleep on it */
	void *owner;	       /* lib's: the descriptor side */
};

extern const struct mm_uffd_ops uffd_mm_ops;

int uffd_system_init(struct uffd_system *sys, struct machine *m);
void uffd_system_destroy(struct uffd_system *sys);

/* flags: O_CLOEXEC, O_NONBLOCK, UFFD_USER_MODE_ONLY; others -EINVAL. */
int uffd_create(struct uffd_system *sys, struct mm *mm, unsigned flags, struct uffd_ctx **out);
/* The last descriptor is gone: memory becomes ordinary, every waiter runs on. No locks. */
void uffd_release(struct uffd_ctx *ctx);

/*
 * One UFFDIO_ command. arg is a user pointer to its structure. Validation order and outputs as the reference. -EINVAL:
 * unknown command, or any but UFFDIO_API before the handshake. No locks; may wait for a monitor (COPY's source).
 */
int uffd_ioctl(struct uffd_ctx *ctx, unsigned long cmd, va_t arg);

/* Whole messages into buf. Bytes read (> 0) or -errno: -EINVAL, -EAGAIN, -EINTR, -EFAULT. No locks. */
int64_t uffd_read(struct uffd_ctx *ctx, va_t buf, uint64_t count, bool nonblock);

/* poll's view: bits of POLLIN (1) and POLLERR (8). */
unsigned uffd_poll(struct uffd_ctx *ctx, bool nonblock);
/* Sleep until a message may have arrived since `seen`. As machine_ops.wait. */
int uffd_wait_readable(struct uffd_ctx *ctx, uint32_t seen, int64_t timeout_ns);

/*
 * A handler of the program is about to run on the thread whose stack was interrupted at sp: if a fault waits there it
 * leaves the queue, so that the access is made again afterwards. Threads are told apart by their stacks: asking the
 * kernel for an id would cost every fault a system call. The thread is asleep, so it holds no lock.
 */
void uffd_cancel_frame(struct uffd_system *sys, uintptr_t sp);
/* True when no fault waits anywhere: nothing to cancel. */
bool uffd_is_quiet(struct uffd_system *sys);

/* In a forked child, with every lock taken before the fork: contexts still stand for the parent's memory. */
void uffd_after_fork(struct uffd_system *sys);

/* Wake this context's waiters whose address lies in [start, end). */
void uffd_wake_range(struct uffd_ctx *ctx, va_t start, va_t end);
