/* SPDX-License-Identifier: MIT */
/* The live machine's table of operations, and memory for the engine itself. */
#include "base/assert.h"
#include "machine/live/internal.h"

#include <errno.h>
#include <sys/mman.h>

/* Private anonymous memory with its start aligned: map more, give the edges back. */
void *live_mem_alloc(struct machine *m, size_t bytes, size_t align)
{
	size_t extra = align > PAGE_SIZE ? align - PAGE_SIZE : 0;
	long at = sys6(SYS_mmap, 0, (long)(bytes + extra), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t start = (uintptr_t)at, aligned = (start + align - 1) & ~(uintptr_t)(align - 1);

	if (at < 0 && at > -4096)
		return NULL;
	__atomic_fetch_add(&live_counts.bytes, bytes, __ATOMIC_RELAXED);
	if (aligned > start)
		sys3(SYS_munmap, (long)start, (long)(aligned - start), 0);
	if (start + extra > aligned)
		sys3(SYS_munmap, (long)(aligned + bytes), (long)(start + extra - aligned), 0);
	return (void *)aligned;
}

void live_mem_free(struct machine *m, void *p, size_t bytes)
{
	if (!p)
		return;
	__atomic_fetch_sub(&live_counts.bytes, bytes, __ATOMIC_RELAXED);
	sys3(SYS_munmap, (long)p, (long)bytes, 0);
}

/* Asked anew each time: a clone(CLONE_VM) child shares its parent's thread-local storage, so nothing may be cached there. */
static uint32_t live_thread_id(struct machine *m)
{
	return (uint32_t)sys0(SYS_gettid);
}

static const struct machine_ops live_ops = {
	.name = "live",
	.mem_alloc = live_mem_alloc,
	.mem_free = live_mem_free,
	.lock = live_lock,
	.unlock = live_unlock,
	.lock_is_held = live_lock_is_held,
	.read_lock = live_read_lock,
	.read_unlock = live_read_unlock,
	.write_lock = live_write_lock,
	.write_unlock = live_write_unlock,
	.rw_is_held = live_rw_is_held,
	.wait = live_wait,
	.wake = live_wake,
	.thread_id = live_thread_id,
	.now_ns = live_now_ns,
	.copy_in = live_copy_in,
	.copy_out = live_copy_out,
	.copy_in_atomic = live_copy_in_atomic,
	.as_create = live_as_create,
	.as_destroy = live_as_destroy,
	.tlb_fill = live_tlb_fill,
	.tlb_restrict = live_tlb_restrict,
	.place_query = live_place_query,
	.place_attach = live_place_attach,
	.place_detach = live_place_detach,
	.place_forget = live_place_forget,
	.place_is_intact = live_place_is_intact,
	.place_scan = live_place_scan,
	.place_hide_absent = live_place_hide_absent,
	.place_write = live_place_write,
	.place_discard = live_place_discard,
};

struct machine *live_machine(const char **why)
{
	static struct machine machine;
	static struct mach_lock lock;
	static const char *reason = "not started";
	const char *answer;

	live_lock(NULL, &lock);
	if (!machine.ops && live_proc_open(&reason) == 0)
		machine.ops = &live_ops;
	answer = machine.ops ? NULL : reason;
	live_unlock(NULL, &lock);
	if (why)
		*why = answer;
	return answer ? NULL : &machine;
}
