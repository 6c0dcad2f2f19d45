/* SPDX-License-Identifier: MIT */
/*
 * syscall(2). A call that is not ours must reach libc's function exactly as it was made: some (clone with a new stack)
 * do not survive a stack frame in between. So the entry saves the arguments, asks run_take whether it took the
 * call, and otherwise restores them and jumps. Numbers that can never be ours do not even get there.
 */
#include "run/run.h"
#include <fcntl.h>
#include <sched.h>
#include <string.h>

/* Called by the entry with the number and the arguments: 1, and the result in regs[0], or 0 to make the real call. */
int run_take(long regs[7]);

/* The real function, for the entry. */
extern void *run_syscall_next __attribute__((visibility("hidden")));
void *run_syscall_next;

/* At entry: rdi number, rsi rdx rcx r8 r9 and 8(%rsp) arguments, as libc reads them. Seven pushes align the stack. */
__asm__(".text\n"
	".globl syscall\n"
	".type syscall, @function\n"
	"syscall:\n"
	"	.cfi_startproc\n"
	"	endbr64\n"
	"	pushq 8(%rsp)\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	pushq %r9\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	pushq %r8\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rcx\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rdx\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rsi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	pushq %rdi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	movq %rsp, %rdi\n"
	"	call run_take\n"
	"	popq %rdi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	popq %rsi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	popq %rdx\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	popq %rcx\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	popq %r8\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	popq %r9\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	leaq 8(%rsp), %rsp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	testl %eax, %eax\n"
	"	jz 1f\n"
	"	movq %rdi, %rax\n"
	"	ret\n"
	"1:	jmpq *run_syscall_next(%rip)\n"
	"	.cfi_endproc\n"
	"	.size syscall, . - syscall\n");

/* ---- signals: the kernel's structures ------------------------------------------------------------------------------- */

struct kernel_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

#define KERNEL_SA_RESTORER 0x04000000UL

static long raw_sigaction(int sig, const struct kernel_sigaction *act, struct kernel_sigaction *old)
{
	struct sigaction libc_act, libc_old;
	int ret;

	memset(&libc_act, 0, sizeof(libc_act));
	if (act) {
		libc_act.sa_handler = act->handler;
		libc_act.sa_flags = (int)(act->flags & ~KERNEL_SA_RESTORER);
		memcpy(&libc_act.sa_mask, &act->mask, sizeof(act->mask));
	}
	ret = fl_sigaction(sig, act ? &libc_act : NULL, &libc_old);
	if (ret == 0 && act)
		run_note_handler(sig, &libc_act);
	if (ret || !old)
		return ret;
	memset(old, 0, sizeof(*old));
	old->handler = libc_old.sa_handler;
	old->flags = (unsigned)libc_old.sa_flags;
	memcpy(&old->mask, &libc_old.sa_mask, sizeof(old->mask));
	return 0;
}

static bool maybe_readable(long p, size_t len)
{
	return !p || run_is_readable((void *)p, len);
}

/* glibc keeps 32 and 33 to itself. */
static bool take_sigaction(const long a[6], long *ret)
{
	size_t len = sizeof(struct kernel_sigaction);

	if (a[3] != 8 || a[0] <= 0 || a[0] >= NSIG || a[0] == 32 || a[0] == 33)
		return false;
	if (!maybe_readable(a[1], len) || !maybe_readable(a[2], len))
		return false;
	*ret = raw_sigaction((int)a[0], (void *)a[1], (void *)a[2]);
	return true;
}

/* A call with a kernel signal set in argument i: made with the engine's signals left out. */
static bool take_masked(long nr, const long a[6], int i, long *ret)
{
	long b[6];
	sigset_t set;

	if (!a[i] || !run_is_readable((void *)a[i], 8))
		return false;
	memset(&set, 0, sizeof(set));
	memcpy(&set, (void *)a[i], 8);
	fl_filter_mask(&set);
	memcpy(b, a, sizeof(b));
	b[i] = (long)&set;
	*ret = run_raw_args(nr, b);
	return true;
}

/* ---- processes ---------------------------------------------------------------------------------------------------------- */

static bool take_clone3(const long a[6], long *ret)
{
	const uint64_t *flags = (const uint64_t *)a[0];

	if (!flags || !run_is_readable(flags, sizeof(*flags)) || (*flags & CLONE_VM))
		return false;
	*ret = run_fork_raw(SYS_clone3, a);
	return true;
}

static bool take_fork(long nr, const long a[6], long *ret)
{
	if (nr == SYS_clone3)
		return take_clone3(a, ret);
	if (nr == SYS_clone && ((a[0] & CLONE_VM) || a[1]))
		return false;
	*ret = run_fork_raw(nr, a);
	return true;
}

/* ---- the map: only once there is a range ---------------------------------------------------------------------------------- */

static bool take_map(long nr, const long a[6], long *ret)
{
	if (likely(!fl_is_active()))
		return false;
	switch (nr) {
	case SYS_mmap:
		*ret = (long)fl_mmap((void *)a[0], a[1], (int)a[2], (int)a[3], (int)a[4], a[5]);
		return true;
	case SYS_munmap:
		*ret = fl_munmap((void *)a[0], a[1]);
		return true;
	case SYS_mprotect:
		*ret = fl_mprotect((void *)a[0], a[1], (int)a[2]);
		return true;
	case SYS_madvise:
		*ret = fl_madvise((void *)a[0], a[1], (int)a[2]);
		return true;
	default:
		*ret = (long)fl_mremap((void *)a[0], a[1], a[2], (int)a[3], (void *)a[4]);
		return true;
	}
}

/* ---- descriptors -------------------------------------------------------------------------------------------------------- */

/* Calls whose wrapper does all that the call does, so that it can be called whatever the descriptor is. */
static bool take_fd(long nr, const long a[6], long *ret)
{
	switch (nr) {
	case SYS_ioctl:
		*ret = run_ioctl((int)a[0], (unsigned long)a[1], (unsigned long)a[2]);
		return true;
	case SYS_close:
		*ret = run_close((int)a[0]);
		return true;
	case SYS_close_range:
		*ret = run_close_range((unsigned)a[0], (unsigned)a[1], (int)a[2]);
		return true;
	case SYS_dup:
		*ret = run_dup((int)a[0]);
		return true;
	case SYS_dup2:
		*ret = run_dup2((int)a[0], (int)a[1]);
		return true;
	case SYS_dup3:
		*ret = run_dup3((int)a[0], (int)a[1], (int)a[2]);
		return true;
	case SYS_open:
		*ret = run_open((const char *)a[0], (int)a[1], (mode_t)a[2]);
		return true;
	case SYS_openat:
		*ret = run_openat((int)a[0], (const char *)a[1], (int)a[2], (mode_t)a[3]);
		return true;
	case SYS_epoll_ctl:
		*ret = run_epoll_ctl((int)a[0], (int)a[1], (int)a[2], (void *)a[3]);
		return true;
	default:
		return false;
	}
}

/* Calls that are ours only when their descriptor is. */
static bool take_uffd(long nr, const long a[6], long *ret)
{
	if (likely(!fl_is_uffd((int)a[0])))
		return false;
	switch (nr) {
	case SYS_read:
		*ret = fl_read((int)a[0], (void *)a[1], (size_t)a[2]);
		return true;
	case SYS_readv:
		*ret = fl_readv((int)a[0], (void *)a[1], (int)a[2]);
		return true;
	case SYS_fcntl:
		*ret = fl_fcntl((int)a[0], (int)a[1], (unsigned long)a[2]);
		return true;
	case SYS_lseek:
		*ret = run_lseek((int)a[0], a[1], (int)a[2]);
		return true;
	default: /* the writes, and the transfers with a position */
		*ret = -1;
		errno = nr == SYS_write || nr == SYS_writev ? EBADF : ESPIPE;
		return true;
	}
}

static bool take_poll(long nr, const long a[6], long *ret)
{
	fd_set *r = (fd_set *)a[1], *w = (fd_set *)a[2], *e = (fd_set *)a[3];

	switch (nr) {
	case SYS_poll:
		if (!run_poll_has_uffd((void *)a[0], (nfds_t)a[1]))
			return false;
		*ret = fl_poll((void *)a[0], (nfds_t)a[1], (int)a[2]);
		return true;
	case SYS_ppoll:
		if (!run_poll_has_uffd((void *)a[0], (nfds_t)a[1]))
			return false;
		*ret = run_ppoll((void *)a[0], (nfds_t)a[1], (void *)a[2], (void *)a[3]);
		return true;
	case SYS_select:
		if (!run_set_has_uffd((int)a[0], r, w, e))
			return false;
		*ret = run_select((int)a[0], r, w, e, (void *)a[4]);
		return true;
	default: /* pselect6: the mask is behind a pointer to a pointer */
		if (!run_set_has_uffd((int)a[0], r, w, e))
			return false;
		*ret = run_pselect((int)a[0], r, w, e, (void *)a[4], a[5] ? *(sigset_t **)a[5] : NULL);
		return true;
	}
}

/* ---- the decision ------------------------------------------------------------------------------------------------------- */

enum taker { TAKE_NONE, TAKE_NEW, TAKE_FD, TAKE_UFFD, TAKE_POLL, TAKE_MAP, TAKE_FORK, TAKE_ACT, TAKE_MASK };

/* clang-format off */
static const uint8_t takers[] = {
	[SYS_userfaultfd] = TAKE_NEW,
	[SYS_ioctl] = TAKE_FD, [SYS_close] = TAKE_FD, [SYS_close_range] = TAKE_FD, [SYS_dup2] = TAKE_FD,
	[SYS_dup3] = TAKE_FD, [SYS_open] = TAKE_FD, [SYS_openat] = TAKE_FD, [SYS_epoll_ctl] = TAKE_FD,
	[SYS_read] = TAKE_UFFD, [SYS_readv] = TAKE_UFFD, [SYS_write] = TAKE_UFFD, [SYS_writev] = TAKE_UFFD,
	[SYS_pread64] = TAKE_UFFD, [SYS_pwrite64] = TAKE_UFFD, [SYS_preadv] = TAKE_UFFD, [SYS_pwritev] = TAKE_UFFD,
	[SYS_dup] = TAKE_FD, [SYS_fcntl] = TAKE_UFFD, [SYS_lseek] = TAKE_UFFD,
	[SYS_poll] = TAKE_POLL, [SYS_ppoll] = TAKE_POLL, [SYS_select] = TAKE_POLL, [SYS_pselect6] = TAKE_POLL,
	[SYS_mmap] = TAKE_MAP, [SYS_munmap] = TAKE_MAP, [SYS_mprotect] = TAKE_MAP, [SYS_madvise] = TAKE_MAP,
	[SYS_mremap] = TAKE_MAP,
	[SYS_fork] = TAKE_FORK, [SYS_clone] = TAKE_FORK, [SYS_clone3] = TAKE_FORK,
	[SYS_rt_sigaction] = TAKE_ACT, [SYS_rt_sigprocmask] = TAKE_MASK, [SYS_rt_sigsuspend] = TAKE_MASK,
};
/* clang-format on */

static bool take_signal_mask(long nr, const long a[6], long *ret)
{
	if (nr == SYS_rt_sigsuspend)
		return a[1] == 8 && take_masked(nr, a, 0, ret);
	return a[3] == 8 && a[0] != SIG_UNBLOCK && take_masked(nr, a, 1, ret);
}

/* Is the call ours? Then *ret is its result in libc's convention. */
static bool take(long nr, const long a[6], long *ret)
{
	bool raw;

	switch ((enum taker)takers[nr]) {
	case TAKE_NEW:
		*ret = run_userfaultfd((int)a[0]);
		return true;
	case TAKE_FD:
		return take_fd(nr, a, ret);
	case TAKE_UFFD:
		return take_uffd(nr, a, ret);
	case TAKE_POLL:
		return take_poll(nr, a, ret);
	case TAKE_MAP:
		return take_map(nr, a, ret);
	case TAKE_FORK:
		raw = take_fork(nr, a, ret);
		break;
	case TAKE_ACT:
		raw = take_sigaction(a, ret);
		break;
	case TAKE_MASK:
		raw = take_signal_mask(nr, a, ret);
		break;
	default:
		return false;
	}
	if (raw)
		*ret = run_errno(*ret);
	return raw;
}

/* With ranges about, a call with pointers is made here, so that it can be made again. */
static bool take_pointers(long nr, const long a[6], long *ret)
{
	if (likely(!fl_is_active()) || !run_has_pointers(nr))
		return false;
	run_prefault(nr, a);
	*ret = run_errno(run_raw_args(nr, a));
	if (*ret > 0 || (*ret == -1 && errno == EFAULT))
		*ret = run_retry(nr, a, *ret);
	return true;
}

/* False while the lookup itself is going on and something in it calls us. */
static bool find_next(void)
{
	void *fn = (void *)next()->syscall;

	if (!__atomic_load_n(&run_next_ready, __ATOMIC_ACQUIRE))
		return false;
	__atomic_store_n(&run_syscall_next, fn, __ATOMIC_RELAXED);
	return true;
}

int run_take(long regs[7])
{
	long nr = regs[0], ret = 0;

	if (unlikely(!__atomic_load_n(&run_syscall_next, __ATOMIC_RELAXED)) && !find_next()) {
		regs[0] = run_errno(run_raw_args(nr, regs + 1));
		return 1;
	}
	if (nr < 0 || (run_is_dead && nr != SYS_userfaultfd))
		return 0;
	if (!(nr < (long)ARRAY_LEN(takers) && take(nr, regs + 1, &ret)) && !take_pointers(nr, regs + 1, &ret))
		return 0;
	regs[0] = ret;
	return 1;
}
