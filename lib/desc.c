/* SPDX-License-Identifier: MIT */
/*
 * Descriptors. A userfaultfd is a real one, an eventfd, so that numbers, dup, close-on-exec, epoll and inheritance are the
 * kernel's business. The table maps numbers to open files; messages live in the context. The eventfd's count stands
 * for readiness only where somebody waits in the kernel (watched), which costs a system call a message.
 */
#include "base/assert.h"
#include "base/pool.h"
#include "lib/engine.h"
#include "machine/live/sys.h"
#include "uffd/abi.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef KCMP_FILES
#define KCMP_FILES 2
#endif

#define TABLE_SIZE ((size_t)1 << 20)

static struct mach_lock table_lock; /* guards the table and the pool, and orders lookups against closes */
static struct desc **table;	    /* by number; reserved address space, touched pages only */
static int highest;		    /* no larger number was ever in the table */
static struct pool pool;

static void *get_pages(void *arg, size_t bytes)
{
	return engine.m->ops->mem_alloc(engine.m, bytes, PAGE_SIZE);
}

static void put_pages(void *arg, void *p, size_t bytes)
{
	engine.m->ops->mem_free(engine.m, p, bytes);
}

static const struct pool_source source = {get_pages, put_pages, NULL};

void desc_locks_take(void)
{
	mach_lock(engine.m, &table_lock);
}

void desc_locks_drop(void)
{
	mach_unlock(engine.m, &table_lock);
}

/* table_lock held */
static bool table_ready(void)
{
	if (!table) {
		pool_init(&pool, &source, sizeof(struct desc));
		table = get_pages(NULL, TABLE_SIZE * sizeof *table);
	}
	return table;
}

static struct desc *peek(int fd)
{
	struct desc **t = __atomic_load_n(&table, __ATOMIC_ACQUIRE);

	return t && fd >= 0 && (size_t)fd < TABLE_SIZE ? __atomic_load_n(&t[fd], __ATOMIC_ACQUIRE) : NULL;
}

bool fl_is_uffd(int fd)
{
	struct desc *d = peek(fd);

	return d && d->ctx;
}

bool fl_owns(int fd)
{
	return peek(fd) != NULL;
}

bool fl_fd_is_private(int fd)
{
	return live_owns_fd(fd);
}

struct desc *desc_get(int fd)
{
	struct desc *d;

	if (!peek(fd))
		return NULL;
	mach_lock(engine.m, &table_lock);
	d = table[fd];
	if (d)
		__atomic_fetch_add(&d->refs, 1, __ATOMIC_RELAXED);
	mach_unlock(engine.m, &table_lock);
	return d;
}

void desc_put(struct desc *d)
{
	if (__atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	if (d->ctx)
		uffd_release(d->ctx);
	mach_lock(engine.m, &table_lock);
	pool_put(&pool, d);
	mach_unlock(engine.m, &table_lock);
}

/* ---- making -------------------------------------------------------------------------------------------------------------- */

/* fd becomes a number of d. table_lock held. The number is new to us: whoever had it closed it behind our back. */
static struct desc *install(int fd, struct desc *d)
{
	struct desc *stale = table[fd];

	table[fd] = d;
	if (d && fd > highest)
		highest = fd;
	return stale;
}

static struct desc *desc_new(struct uffd_ctx *ctx, int fd, bool nonblock)
{
	struct desc *d = NULL, *stale = NULL;

	mach_lock(engine.m, &table_lock);
	if (table_ready() && (size_t)fd < TABLE_SIZE)
		d = pool_get(&pool);
	if (d) {
		d->refs = 1;
		d->ctx = ctx;
		d->event_fd = fd;
		d->nonblock = nonblock;
		if (ctx)
			ctx->owner = d;
		stale = install(fd, d);
	}
	mach_unlock(engine.m, &table_lock);
	if (stale)
		desc_put(stale);
	return d;
}

static int open_desc(struct uffd_ctx *ctx, bool cloexec, bool nonblock)
{
	int fd = (int)sys3(SYS_eventfd2, 0, EFD_NONBLOCK | (cloexec ? EFD_CLOEXEC : 0), 0);

	if (fd < 0)
		return fd;
	if (desc_new(ctx, fd, nonblock))
		return fd;
	sys3(SYS_close, fd, 0, 0);
	return -ENOMEM;
}

int desc_new_uffd(int flags)
{
	struct uffd_ctx *ctx;
	int r = fl_start();

	if (r == 0)
		r = uffd_create(&engine.uffds, &engine.mm, (unsigned)flags, &ctx);
	if (r)
		return r;
	r = open_desc(ctx, flags & O_CLOEXEC, flags & O_NONBLOCK);
	if (r < 0)
		uffd_release(ctx);
	return r;
}

int fl_userfaultfd(int flags)
{
	return (int)fl_result(desc_new_uffd(flags));
}

int fl_open_dev(int flags)
{
	int r = fl_start();

	return (int)fl_result(r ? r : open_desc(NULL, flags & O_CLOEXEC, flags & O_NONBLOCK));
}

/* ---- duplicating and closing ------------------------------------------------------------------------------------------------ */

/*
 * A vfork child shares our memory but has descriptors of its own: what it closes stays open here. A CLONE_VM|CLONE_FILES
 * process shares both.
 */
static bool table_is_ours(void)
{
	long pid = sys0(SYS_getpid);

	return pid == engine.pid || sys6(SYS_kcmp, pid, engine.pid, KCMP_FILES, 0, 0, 0) == 0;
}

/* Any number that still refers to d; -1: none. table_lock held. Only when the one we used is closed. */
static int another_number(const struct desc *d)
{
	for (int fd = 0; fd <= highest; fd++)
		if (table[fd] == d)
			return fd;
	return -1;
}

static struct desc *forget(int fd)
{
	struct desc *d = NULL;

	if (!peek(fd) || !table_is_ours())
		return NULL;
	mach_lock(engine.m, &table_lock);
	d = install(fd, NULL);
	if (d && d->event_fd == fd)
		__atomic_store_n(&d->event_fd, another_number(d), __ATOMIC_RELAXED);
	mach_unlock(engine.m, &table_lock);
	return d;
}

int fl_close(int fd)
{
	struct desc *d;
	long r;

	if (live_owns_fd(fd))
		return (int)fl_result(-EBADF);
	d = forget(fd);
	r = sys3(SYS_close, fd, 0, 0);
	if (d)
		desc_put(d);
	return (int)fl_result(r);
}

/* newfd refers to what oldfd does. */
static void share(struct desc *d, int newfd)
{
	struct desc *stale;

	mach_lock(engine.m, &table_lock);
	__atomic_fetch_add(&d->refs, 1, __ATOMIC_RELAXED);
	stale = install(newfd, d);
	mach_unlock(engine.m, &table_lock);
	if (stale)
		desc_put(stale);
}

int fl_dup(int fd)
{
	struct desc *d = desc_get(fd);
	long r = sys3(SYS_dup, fd, 0, 0);

	if (d && r >= 0)
		share(d, (int)r);
	if (d)
		desc_put(d);
	return (int)fl_result(r);
}

int fl_dup3(int fd, int newfd, int flags)
{
	struct desc *d = desc_get(fd), *replaced;
	long r;

	if (live_owns_fd(newfd))
		live_move_fd(newfd);
	r = sys3(SYS_dup3, fd, newfd, flags);
	if (r >= 0) {
		replaced = forget(newfd);
		if (d)
			share(d, newfd);
		if (replaced)
			desc_put(replaced);
	}
	if (d)
		desc_put(d);
	return (int)fl_result(r);
}

static long fcntl_desc(struct desc *d, int fd, int cmd, unsigned long arg)
{
	long r;

	switch (cmd) {
	case F_GETFL:
		return O_RDONLY | (__atomic_load_n(&d->nonblock, __ATOMIC_RELAXED) ? O_NONBLOCK : 0);
	case F_SETFL:
		__atomic_store_n(&d->nonblock, (arg & O_NONBLOCK) != 0, __ATOMIC_RELAXED);
		return 0;
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		r = sys3(SYS_fcntl, fd, cmd, (long)arg);
		if (r >= 0)
			share(d, (int)r);
		return r;
	default:
		return sys3(SYS_fcntl, fd, cmd, (long)arg);
	}
}

int fl_fcntl(int fd, int cmd, unsigned long arg)
{
	struct desc *d = desc_get(fd);
	long r = d ? fcntl_desc(d, fd, cmd, arg) : sys3(SYS_fcntl, fd, cmd, (long)arg);

	if (d)
		desc_put(d);
	return (int)fl_result(r);
}

/* ---- readiness -------------------------------------------------------------------------------------------------------------------- */

/* arrival: say so even if it is known that there are messages, since an edge-triggered waiter counts arrivals. */
static void bring_up_to_date(struct desc *d, bool arrival)
{
	int fd = __atomic_load_n(&d->event_fd, __ATOMIC_RELAXED);
	uint64_t one = 1, sink;
	bool want;

	if (fd < 0)
		return; /* closed: only a call in flight holds it */
	mach_lock(engine.m, &d->ready_lock);
	want = mach_load32(engine.m, &d->ctx->nr_pending) != 0;
	if (want && (arrival || !d->signalled))
		sys3(SYS_write, fd, (long)&one, sizeof one);
	else if (!want && d->signalled)
		sys3(SYS_read, fd, (long)&sink, sizeof sink);
	d->signalled = want;
	mach_unlock(engine.m, &d->ready_lock);
}

void desc_readiness(struct uffd_ctx *ctx)
{
	struct desc *d = ctx->owner;

	mach_full_barrier();
	if (d && __atomic_load_n(&d->watched, __ATOMIC_SEQ_CST))
		bring_up_to_date(d, true);
}

void desc_watch(struct desc *d)
{
	__atomic_fetch_add(&d->watched, 1, __ATOMIC_SEQ_CST);
	bring_up_to_date(d, false);
}

void desc_unwatch(struct desc *d)
{
	__atomic_fetch_sub(&d->watched, 1, __ATOMIC_SEQ_CST);
}

int fl_watch(int fd)
{
	struct desc *d = desc_get(fd);

	if (!d)
		return (int)fl_result(-EBADF);
	if (d->ctx)
		desc_watch(d);
	desc_put(d);
	return (int)fl_result(0);
}
