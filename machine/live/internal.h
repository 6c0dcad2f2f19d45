/* SPDX-License-Identifier: MIT */
/* What crosses files inside machine/live/ only. */
#pragma once
#include "machine/live/live.h"
#include "machine/live/sys.h"

/* lock.c */
void live_lock(struct machine *m, struct mach_lock *l);
void live_unlock(struct machine *m, struct mach_lock *l);
bool live_lock_is_held(struct machine *m, const struct mach_lock *l);
void live_read_lock(struct machine *m, struct mach_rwlock *l);
void live_read_unlock(struct machine *m, struct mach_rwlock *l);
void live_write_lock(struct machine *m, struct mach_rwlock *l);
void live_write_unlock(struct machine *m, struct mach_rwlock *l);
bool live_rw_is_held(struct machine *m, const struct mach_rwlock *l, bool for_write);

/* wait.c */
int live_wait(struct machine *m, uint32_t *word, uint32_t expect, enum mach_wait_kind kind, int64_t timeout_ns);
void live_wake(struct machine *m, uint32_t *word, int n);
uint64_t live_now_ns(struct machine *m);
uint64_t live_ticks(void);
uint64_t live_ticks_to_ns(uint64_t ticks);
/* A handler of the program interrupted a sleep at pc that is not to be made again: where to go on, with -EINTR. */
bool live_futex_interrupted(uintptr_t pc, uintptr_t *next);

/* uaccess.c: copies that survive a bad address. 0 or -EFAULT. */
int live_copy_in(struct machine *m, void *dst, va_t src, size_t len);
int live_copy_out(struct machine *m, va_t dst, const void *src, size_t len);
int live_copy_in_atomic(struct machine *m, void *dst, va_t src, size_t len);
/* Is pc inside a copy, and may that one wait? The pc to go on at when the address is bad. */
bool live_uaccess_fixup(uintptr_t pc, bool *may_wait, uintptr_t *fixup);

/* proc.c: what the kernel says about this process */
int live_proc_open(const char **why);
/* Forced write, through protection. Bytes, or -errno: -EFAULT source, -EIO destination. */
long live_force_write(va_t dst, va_t src, uint64_t len);
int live_query(va_t start, va_t end, int (*fn)(void *arg, const struct mach_place *p), void *arg);
int live_scan(va_t start, va_t end, mach_run_fn fn, void *arg);
/* Is there a guard at this page? */
bool live_is_guard(va_t va);
uint64_t live_max_map_count(void);
extern bool live_has_guards;
/* Does the host's mapping at va permit the access, FAULT_* flags? */
bool live_host_permits(va_t va, unsigned flags);

/* tlb.c */
int live_as_create(struct machine *m, struct mach_as *as);
void live_as_destroy(struct mach_as *as);
void live_tlb_fill(struct mach_as *as, va_t start, va_t end, unsigned prot);
void live_tlb_restrict(struct mach_as *as, va_t start, va_t end, unsigned prot);

/* place.c */
int live_place_query(struct mach_as *as, va_t start, va_t end, int (*fn)(void *arg, const struct mach_place *p), void *arg);
int live_place_attach(struct mach_as *as, va_t start, va_t end, unsigned base);
void live_place_detach(struct mach_as *as, va_t start, va_t end, unsigned base);
bool live_place_is_intact(struct mach_as *as, va_t start, va_t end);
void live_place_forget(struct mach_as *as, va_t start, va_t end);
int live_place_scan(struct mach_as *as, va_t start, va_t end, mach_run_fn fn, void *arg);
int live_place_hide_absent(struct mach_as *as, va_t start, va_t end, mach_run_fn fn, void *arg);
int live_place_write(struct mach_as *as, va_t start, va_t end, va_t src, uint64_t *done);
int live_place_discard(struct mach_as *as, va_t start, va_t end, bool hide);

/* A: bumped whenever memory begins or ceases to be governed. */
extern uint32_t live_generation;

/* live.c */
void *live_mem_alloc(struct machine *m, size_t bytes, size_t align);
void live_mem_free(struct machine *m, void *p, size_t bytes);
