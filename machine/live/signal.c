/* SPDX-License-Identifier: MIT */
/*
 * Signals: the engine's SIGSEGV (a TLB miss), and the program's handlers behind it.
 *
 * A handler of the program must not run while its thread is inside the engine: it may touch managed memory, fault, and find
 * a lock held by the very thread it interrupted. Masking signals around each section would cost two system calls.
 * Instead every handler of the program is installed behind a trampoline that looks at the interrupted instruction: engine
 * code lives in sections of its own (fl_engine_text; the build renames them), so if the thread is inside, the signal is
 * blocked in the interrupted context, sent again, and unblocked when the thread leaves the engine (live_engine_exit).
 * The one place where a thread may be interrupted inside is the sleep (fl_wait_text), where it holds nothing.
 */
#include "base/assert.h"
#include "machine/live/internal.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#define NR_SIGNALS 65

static struct live_signal_hooks hooks;
static struct mach_as *faults_go_to; /* NULL until live_signals_start */

/* What the program believes is installed. set: it said so through us. */
static struct {
	bool set;
	struct sigaction act;
} table[NR_SIGNALS];
static struct mach_lock table_lock;
static int table_pid; /* whose dispositions the table describes */

/* ---- where was the thread? ---------------------------------------------------------------------------------------------- */

extern const char __start_fl_engine_text[] __attribute__((weak, visibility("hidden")));
extern const char __stop_fl_engine_text[] __attribute__((weak, visibility("hidden")));

static bool in_engine(uintptr_t pc)
{
	return pc >= (uintptr_t)__start_fl_engine_text && pc < (uintptr_t)__stop_fl_engine_text;
}

/* ---- deferral -------------------------------------------------------------------------------------------------------------- */

uint32_t live_deferred;

#define MAX_DEFERRED 64
static struct deferred {
	uint32_t tid; /* 0: free */
	uint64_t signals;
} deferred[MAX_DEFERRED];

static uint64_t signal_bit(int sig)
{
	return (uint64_t)1 << (sig - 1);
}

static uint32_t my_tid(void)
{
	return (uint32_t)sys0(SYS_gettid);
}

/* This thread's record, or a free one when make is set. Only its own thread changes a record. */
static struct deferred *deferred_of(uint32_t tid, bool make)
{
	for (unsigned i = 0; i < MAX_DEFERRED; i++)
		if (__atomic_load_n(&deferred[i].tid, __ATOMIC_RELAXED) == tid)
			return &deferred[i];
	for (unsigned i = 0; make && i < MAX_DEFERRED; i++) {
		uint32_t none = 0;

		if (__atomic_compare_exchange_n(&deferred[i].tid, &none, tid, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			deferred[i].signals = 0;
			return &deferred[i];
		}
	}
	return NULL;
}

/* Block sig in the context that is about to be resumed, and send it again: it stays pending until the thread leaves. */
static bool defer(int sig, siginfo_t *info, ucontext_t *uc)
{
	struct deferred *d = deferred_of(my_tid(), true);

	if (!d)
		return false;
	if (!(d->signals & signal_bit(sig)))
		__atomic_fetch_add(&live_deferred, 1, __ATOMIC_SEQ_CST);
	d->signals |= signal_bit(sig);
	sigaddset(&uc->uc_sigmask, sig);
	sys4(SYS_rt_tgsigqueueinfo, getpid(), d->tid, sig, (long)info);
	return true;
}

/* Outside fl_engine_text: the signals run on this very system call, and must not be deferred again. */
__attribute__((section("fl_wait_text"), noinline)) static void unblock(uint64_t signals)
{
	sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&signals, 0, sizeof signals);
}

void live_deliver_deferred(void)
{
	struct deferred *d = deferred_of(my_tid(), false);
	uint64_t signals;

	if (!d)
		return;
	signals = d->signals;
	for (uint64_t left = signals; left; left &= left - 1)
		__atomic_fetch_sub(&live_deferred, 1, __ATOMIC_SEQ_CST);
	d->signals = 0;
	__atomic_store_n(&d->tid, 0, __ATOMIC_SEQ_CST);
	unblock(signals);
}

/* The forking thread's deferred signals are blocked in the child too, but nothing is pending here. */
void live_signals_after_fork(uint32_t forking_tid)
{
	struct deferred *d = deferred_of(forking_tid, false);
	uint64_t signals = d ? d->signals : 0;

	memset(deferred, 0, sizeof deferred);
	live_deferred = 0;
	table_pid = (int)sys0(SYS_getpid);
	if (signals)
		unblock(signals);
}

/* ---- the program's handlers -------------------------------------------------------------------------------------------------- */

/* Calls into the program: nothing of the engine's may be held, and being interrupted here is the program's business. */
__attribute__((section("fl_wait_text"), noinline)) static void call_handler(const struct sigaction *act, int sig, siginfo_t *info,
									    void *uc)
{
	if (act->sa_flags & SA_SIGINFO)
		act->sa_sigaction(sig, info, uc);
	else
		act->sa_handler(sig);
}

static struct sigaction take_action(int sig)
{
	struct sigaction act;

	live_lock(NULL, &table_lock);
	act = table[sig].act;
	if (act.sa_flags & SA_RESETHAND)
		table[sig].act.sa_handler = SIG_DFL;
	live_unlock(NULL, &table_lock);
	return act;
}

static bool is_default(const struct sigaction *act)
{
	return !(act->sa_flags & SA_SIGINFO) && (act->sa_handler == SIG_DFL || act->sa_handler == SIG_IGN);
}

static bool mask_is_empty(const sigset_t *set)
{
	uint64_t bits;

	memcpy(&bits, set, sizeof bits);
	return bits == 0;
}

/* The mask its sa_mask asks for, while it runs; sigreturn restores the interrupted one. */
static void apply_mask(const struct sigaction *act)
{
	sigset_t mask = act->sa_mask;

	if (mask_is_empty(&mask))
		return;
	__atomic_fetch_add(&live_mask_changes, 1, __ATOMIC_RELAXED);
	sigdelset(&mask, SIGSEGV);
	sys4(SYS_rt_sigprocmask, SIG_BLOCK, (long)&mask, 0, 8);
}

/* The default action, with the signal and the core that the program would have had. */
static void die_of(int sig, siginfo_t *info, bool again_by_itself)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	uint64_t bit = signal_bit(sig);

	hooks.sigaction(sig, &dfl, NULL);
	if (again_by_itself)
		return; /* the instruction runs again and kills with a true register state */
	sys4(SYS_rt_tgsigqueueinfo, getpid(), my_tid(), sig, (long)info);
	sys4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&bit, 0, sizeof bit);
}

/* A synchronous fault that is the program's own to handle. */
static void deliver_fault(int sig, siginfo_t *info, ucontext_t *uc, bool again_by_itself)
{
	struct sigaction act = take_action(sig);

	if (is_default(&act)) {
		die_of(sig, info, again_by_itself);
		return;
	}
	apply_mask(&act);
	call_handler(&act, sig, info, uc);
}

static bool is_synchronous(int sig, const siginfo_t *info)
{
	return info->si_code > 0 && (sig == SIGILL || sig == SIGFPE || sig == SIGTRAP || sig == SIGSYS);
}

static void trampoline(int sig, siginfo_t *info, void *ucv)
{
	ucontext_t *uc = ucv;
	uintptr_t pc = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP], next;
	struct sigaction act;

	if (in_engine(pc) && !is_synchronous(sig, info) && defer(sig, info, uc))
		return;
	act = take_action(sig);
	if (is_default(&act))
		return;
	if (hooks.before_handler)
		hooks.before_handler((uintptr_t)uc->uc_mcontext.gregs[REG_RSP]);
	if (live_futex_interrupted(pc, &next)) {
		uc->uc_mcontext.gregs[REG_RIP] = (greg_t)next;
		uc->uc_mcontext.gregs[REG_RAX] = -EINTR;
	}
	live_engine_exit();
	call_handler(&act, sig, info, ucv);
}

/* ---- back to the program without a system call ------------------------------------------------------------------------------------ */

/*
 * sigreturn restores registers, vector state and the mask. Our SIGSEGV handler is entered with the mask unchanged
 * (SA_NODEFER, empty sa_mask), so unless somebody changed it since, all that is left can be done here: XRSTOR of the saved
 * vector state, registers, and IRETQ, which takes stack pointer, flags and instruction pointer in one go and, unlike a jump,
 * needs nothing of the program's red zone. It lies in fl_wait_text, where no signal is deferred; one that was deferred
 * on the way here is left to the real sigreturn.
 */
void fl_return_fast(const greg_t *regs, const void *vector_state, uint64_t components);

__asm__(".pushsection fl_wait_text,\"ax\",@progbits\n"
	".hidden fl_return_fast\n"
	".globl fl_return_fast\n"
	".type fl_return_fast, @function\n"
	"fl_return_fast:\n"
	"	cmpl $0, live_deferred(%rip)\n"
	"	jne 1f\n"
	"	mov %edx, %eax\n"
	"	shr $32, %rdx\n"
	"	xrstor64 (%rsi)\n"
	"	pushq $0x2b\n"		/* SS of a 64-bit program */
	"	pushq 120(%rdi)\n"	/* RSP */
	"	pushq 136(%rdi)\n"	/* EFLAGS */
	"	pushq $0x33\n"		/* CS */
	"	pushq 128(%rdi)\n"	/* RIP */
	"	mov 0(%rdi), %r8\n"
	"	mov 8(%rdi), %r9\n"
	"	mov 16(%rdi), %r10\n"
	"	mov 24(%rdi), %r11\n"
	"	mov 32(%rdi), %r12\n"
	"	mov 40(%rdi), %r13\n"
	"	mov 48(%rdi), %r14\n"
	"	mov 56(%rdi), %r15\n"
	"	mov 72(%rdi), %rsi\n"
	"	mov 80(%rdi), %rbp\n"
	"	mov 88(%rdi), %rbx\n"
	"	mov 96(%rdi), %rdx\n"
	"	mov 104(%rdi), %rax\n"
	"	mov 112(%rdi), %rcx\n"
	"	mov 64(%rdi), %rdi\n"
	"	iretq\n"
	"1:	ret\n"
	".size fl_return_fast, . - fl_return_fast\n"
	".popsection\n");

_Static_assert(REG_R8 == 0 && REG_RDI == 8 && REG_RAX == 13 && REG_RSP == 15 && REG_RIP == 16 && REG_EFL == 17, "offsets above");

#define USER_CS 0x33
#define ARCH_SHSTK_STATUS 0x5005
#define XSTATE_MAGIC 0x46505853u

/* What the kernel says about the saved vector state, in the bytes that FXSAVE leaves to software. */
struct xstate_note {
	uint32_t magic, extended_size;
	uint64_t components;
};
#define XSTATE_NOTE_OFFSET 464

static bool fast_return_works; /* no shadow stack, which an IRETQ would leave behind */

static void probe_fast_return(void)
{
	uint64_t shadow_stack = 0;
	long r = sys3(SYS_arch_prctl, ARCH_SHSTK_STATUS, (long)&shadow_stack, 0);

	fast_return_works = r != 0 || shadow_stack == 0;
}

static void return_fast(const ucontext_t *uc)
{
	const char *state = (const char *)uc->uc_mcontext.fpregs;
	struct xstate_note note;

	if (!fast_return_works || !state || (uint16_t)uc->uc_mcontext.gregs[REG_CSGSFS] != USER_CS)
		return;
	memcpy(&note, state + XSTATE_NOTE_OFFSET, sizeof note);
	if (note.magic == XSTATE_MAGIC)
		fl_return_fast(uc->uc_mcontext.gregs, state, note.components);
}

uint32_t live_mask_changes;

/* ---- SIGSEGV and SIGBUS -------------------------------------------------------------------------------------------------------- */

#define ERR_WRITE 2u
#define ERR_FETCH 16u

static unsigned access_flags(const ucontext_t *uc)
{
	uint64_t err = (uint64_t)uc->uc_mcontext.gregs[REG_ERR];

	return (err & ERR_WRITE ? FAULT_WRITE : 0) | (err & ERR_FETCH ? FAULT_EXEC : 0);
}

/* A copy of ours met a bad or absent page. False: the pc is no copy. */
static bool fix_copy(ucontext_t *uc, va_t va)
{
	uintptr_t fixup;
	bool may_wait;

	if (!live_uaccess_fixup((uintptr_t)uc->uc_mcontext.gregs[REG_RIP], &may_wait, &fixup))
		return false;
	if (!may_wait || faults_go_to->up->fault(faults_go_to, va, access_flags(uc)) > FAULT_INTERRUPTED)
		uc->uc_mcontext.gregs[REG_RIP] = (greg_t)fixup;
	return true;
}

/* True: nothing but registers is to be restored. */
static bool answer(enum fault_result result, siginfo_t *info, ucontext_t *uc)
{
	uint32_t changes = __atomic_load_n(&live_mask_changes, __ATOMIC_RELAXED);
	uint64_t before, after;

	if (result <= FAULT_INTERRUPTED)
		return true;
	memcpy(&before, &uc->uc_sigmask, sizeof before);
	if (result == FAULT_ACCERR || result == FAULT_MAPERR) {
		if (result == FAULT_ACCERR)
			info->si_code = SEGV_ACCERR;
		deliver_fault(SIGSEGV, info, uc, true);
	} else {
		info->si_signo = SIGBUS;
		info->si_code = BUS_ADRERR;
		deliver_fault(SIGBUS, info, uc, false);
	}
	memcpy(&after, &uc->uc_sigmask, sizeof after);
	return hooks.masks_are_watched && before == after && changes == __atomic_load_n(&live_mask_changes, __ATOMIC_RELAXED);
}

/*
 * Nothing the engine manages is there, yet the program may have faulted on something that was managed a moment ago (a
 * close or unregister came in between), or has become managed since (a register). If anything changed while we looked, or
 * the host allows the access now, let it be made again. A second fault of the same instruction at the same address, with
 * no change in between, is the program's own.
 */
static bool try_again(va_t va, unsigned flags, const ucontext_t *uc, uint32_t generation)
{
	static uint64_t last[16]; /* by thread; a collision costs one more try */
	uint32_t tid = my_tid();
	uint64_t me = ((uint64_t)tid << 32 ^ va ^ (uint64_t)uc->uc_mcontext.gregs[REG_RIP] << 8 ^ (uint64_t)generation << 48) | 1;
	uint64_t *l = &last[tid % ARRAY_LEN(last)];
	bool again = __atomic_load_n(l, __ATOMIC_RELAXED) != me && live_host_permits(va, flags);

	__atomic_store_n(l, again ? me : 0, __ATOMIC_RELAXED);
	return again || __atomic_load_n(&live_generation, __ATOMIC_SEQ_CST) != generation;
}

static void on_segv(int sig, siginfo_t *info, void *ucv)
{
	va_t va = (va_t)(uintptr_t)info->si_addr;
	ucontext_t *uc = ucv;
	enum fault_result result;
	uint32_t generation = __atomic_load_n(&live_generation, __ATOMIC_SEQ_CST);
	uint64_t start;
	bool fast;

	if (info->si_code <= 0 || info->si_code == SI_KERNEL) { /* sent by somebody, or a general protection fault */
		deliver_fault(SIGSEGV, info, uc, info->si_code == SI_KERNEL);
		return;
	}
	if (fix_copy(uc, va))
		return;
	start = hooks.fault_done ? live_ticks() : 0;
	result = faults_go_to->up->fault(faults_go_to, va, access_flags(uc) | FAULT_USER);
	if (result == FAULT_MAPERR && try_again(va, access_flags(uc), uc, generation))
		result = FAULT_DONE;
	if (hooks.fault_done)
		hooks.fault_done(result, live_ticks_to_ns(live_ticks() - start));
	fast = answer(result, info, uc);
	live_engine_exit();
	/* Called by the kernel, its frame right above ours? A sanitizer's wrapper wants to be returned to. */
	if (fast && (char *)ucv == (char *)__builtin_frame_address(0) + 2 * sizeof(void *))
		return_fast(uc);
}

static void on_bus(int sig, siginfo_t *info, void *ucv)
{
	ucontext_t *uc = ucv;
	uintptr_t fixup;
	bool may_wait;

	if (info->si_code > 0 && live_uaccess_fixup((uintptr_t)uc->uc_mcontext.gregs[REG_RIP], &may_wait, &fixup))
		uc->uc_mcontext.gregs[REG_RIP] = (greg_t)fixup;
	else
		deliver_fault(SIGBUS, info, uc, info->si_code > 0);
}

/* ---- installing ------------------------------------------------------------------------------------------------------------------ */

static int install_own(int sig, void (*fn)(int, siginfo_t *, void *))
{
	struct sigaction act = {.sa_sigaction = fn, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER}, old;

	if (hooks.sigaction(sig, &act, &old))
		return -errno;
	if (!table[sig].set)
		table[sig].act = old;
	table[sig].set = true;
	return 0;
}

/* The starting thread may have its own stack governed: its faults need another stack, unless it has one. */
static void need_alternate_stack(void)
{
	stack_t now, mine = {.ss_size = 64 * 1024};

	if (sys3(SYS_sigaltstack, 0, (long)&now, 0) || !(now.ss_flags & SS_DISABLE))
		return;
	mine.ss_sp = live_mem_alloc(NULL, mine.ss_size, PAGE_SIZE);
	if (mine.ss_sp)
		sys3(SYS_sigaltstack, (long)&mine, 0, 0);
}

int live_signals_start(struct mach_as *as, const struct live_signal_hooks *h)
{
	int r;

	hooks = *h;
	faults_go_to = as;
	need_alternate_stack();
	probe_fast_return();
	r = install_own(SIGSEGV, on_segv);
	return r ? r : install_own(SIGBUS, on_bus);
}

static bool is_ours(int sig)
{
	return faults_go_to && (sig == SIGSEGV || sig == SIGBUS);
}

/* The kernel's side of what the program asked for: its handler behind the trampoline, SIGSEGV never masked. */
static int install_theirs(int sig, const struct sigaction *act)
{
	struct sigaction k = *act;

	if (is_default(act) || sig == SIGSEGV || sig == SIGBUS)
		return hooks.sigaction(sig, &k, NULL) ? -errno : 0;
	k.sa_sigaction = trampoline;
	k.sa_flags |= SA_SIGINFO;
	sigdelset(&k.sa_mask, SIGSEGV);
	return hooks.sigaction(sig, &k, NULL) ? -errno : 0;
}

#define KCMP_SIGHAND 4

/*
 * A vfork child shares our memory but not our dispositions: what it sets (SIG_DFL before an exec, mostly) must not reach the
 * table. A CLONE_VM|CLONE_SIGHAND process shares both.
 */
static bool table_is_ours(void)
{
	int pid = (int)sys0(SYS_getpid);

	if (table_pid == 0)
		table_pid = pid;
	return pid == table_pid || sys6(SYS_kcmp, pid, table_pid, KCMP_SIGHAND, 0, 0, 0) == 0;
}

static int borrowed_sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	if (hooks.sigaction(sig, act, old))
		return -errno;
	if (old && (old->sa_sigaction == trampoline || old->sa_sigaction == on_segv || old->sa_sigaction == on_bus))
		*old = table[sig].act;
	return 0;
}

int live_sigaction(const struct live_signal_hooks *h, int sig, const struct sigaction *act, struct sigaction *old)
{
	struct sigaction now = act ? *act : (struct sigaction){0}, was;
	int r = 0;

	if (!hooks.sigaction)
		hooks.sigaction = h->sigaction;
	if (sig < 1 || sig >= NR_SIGNALS || sig == SIGKILL || sig == SIGSTOP)
		return hooks.sigaction(sig, act, old) ? -errno : 0;
	if (!table_is_ours())
		return borrowed_sigaction(sig, act, old);
	if (!table[sig].set && hooks.sigaction(sig, NULL, &was))
		return -errno;
	live_lock(NULL, &table_lock);
	if (table[sig].set)
		was = table[sig].act;
	if (act) {
		table[sig].act = now; /* before the kernel's, so that a signal in between finds it */
		table[sig].set = true;
	}
	live_unlock(NULL, &table_lock);
	if (act && !is_ours(sig))
		r = install_theirs(sig, &now);
	if (r == 0 && old)
		*old = was;
	return r;
}
