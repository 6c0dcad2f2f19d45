/* SPDX-License-Identifier: MIT */
/*
 * A fault changes nothing but the page: every general register, the flags, the vector registers, MXCSR and the red zone
 * are after the access what they were before, whether a monitor answered or a SIGBUS handler that clobbers all it can.
 */
#include "test/programs/prog.h"

#define N 64

struct state {
	uint64_t gpr[14]; /* rax rbx rcx rdx rsi rbp r8-r15 */
	uint64_t flags;
	uint64_t red_zone;
	uint64_t xmm[16][2];
	uint32_t mxcsr, pad;
};

void load_fault_store(volatile char *p, const struct state *in, struct state *out);

/* rdi = page, kept; rsi, rdx in and out, saved on the stack while the registers hold the test's values. */
__asm__(".text\n"
	".globl load_fault_store\n"
	".type load_fault_store, @function\n"
	"load_fault_store:\n"
	"	push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
	"	push %rdx\n"
	"	ldmxcsr 384(%rsi)\n"
	"	movdqu 128(%rsi), %xmm0\n movdqu 144(%rsi), %xmm1\n movdqu 160(%rsi), %xmm2\n movdqu 176(%rsi), %xmm3\n"
	"	movdqu 192(%rsi), %xmm4\n movdqu 208(%rsi), %xmm5\n movdqu 224(%rsi), %xmm6\n movdqu 240(%rsi), %xmm7\n"
	"	movdqu 256(%rsi), %xmm8\n movdqu 272(%rsi), %xmm9\n movdqu 288(%rsi), %xmm10\n movdqu 304(%rsi), %xmm11\n"
	"	movdqu 320(%rsi), %xmm12\n movdqu 336(%rsi), %xmm13\n movdqu 352(%rsi), %xmm14\n movdqu 368(%rsi), %xmm15\n"
	"	mov 120(%rsi), %rax\n mov %rax, -64(%rsp)\n" /* the red zone */
	"	pushq 112(%rsi)\n popfq\n"
	"	mov 0(%rsi), %rax\n mov 8(%rsi), %rbx\n mov 16(%rsi), %rcx\n mov 24(%rsi), %rdx\n mov 40(%rsi), %rbp\n"
	"	mov 48(%rsi), %r8\n mov 56(%rsi), %r9\n mov 64(%rsi), %r10\n mov 72(%rsi), %r11\n mov 80(%rsi), %r12\n"
	"	mov 88(%rsi), %r13\n mov 96(%rsi), %r14\n mov 104(%rsi), %r15\n mov 32(%rsi), %rsi\n"
	"	movb $1, (%rdi)\n" /* the fault; a store changes no flag */
	"	mov %rsi, -72(%rsp)\n mov (%rsp), %rsi\n" /* out */
	"	mov %rax, 0(%rsi)\n mov %rbx, 8(%rsi)\n mov %rcx, 16(%rsi)\n mov %rdx, 24(%rsi)\n mov %rbp, 40(%rsi)\n"
	"	mov %r8, 48(%rsi)\n mov %r9, 56(%rsi)\n mov %r10, 64(%rsi)\n mov %r11, 72(%rsi)\n mov %r12, 80(%rsi)\n"
	"	mov %r13, 88(%rsi)\n mov %r14, 96(%rsi)\n mov %r15, 104(%rsi)\n"
	"	mov -72(%rsp), %rax\n mov %rax, 32(%rsi)\n"
	"	mov -64(%rsp), %rax\n mov %rax, 120(%rsi)\n"
	"	pushfq\n popq 112(%rsi)\n cld\n"
	"	stmxcsr 384(%rsi)\n"
	"	movdqu %xmm0, 128(%rsi)\n movdqu %xmm1, 144(%rsi)\n movdqu %xmm2, 160(%rsi)\n movdqu %xmm3, 176(%rsi)\n"
	"	movdqu %xmm4, 192(%rsi)\n movdqu %xmm5, 208(%rsi)\n movdqu %xmm6, 224(%rsi)\n movdqu %xmm7, 240(%rsi)\n"
	"	movdqu %xmm8, 256(%rsi)\n movdqu %xmm9, 272(%rsi)\n movdqu %xmm10, 288(%rsi)\n movdqu %xmm11, 304(%rsi)\n"
	"	movdqu %xmm12, 320(%rsi)\n movdqu %xmm13, 336(%rsi)\n movdqu %xmm14, 352(%rsi)\n movdqu %xmm15, 368(%rsi)\n"
	"	pop %rdx\n"
	"	pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
	"	ret\n"
	".size load_fault_store, . - load_fault_store\n");

static int fd;

static void fill_at(uintptr_t addr)
{
	struct uffdio_zeropage z = {.range = {addr & ~(uintptr_t)(PAGE - 1), PAGE}};

	CHECK(ioctl(fd, UFFDIO_ZEROPAGE, &z) == 0);
}

/* Everything that a handler may leave behind it. */
static void clobber(void)
{
	uint32_t mxcsr = 0x1f80;

	__asm__ volatile("pcmpeqd %%xmm0, %%xmm0; movdqa %%xmm0, %%xmm1; movdqa %%xmm0, %%xmm7; movdqa %%xmm0, %%xmm15;"
			 "xor %%eax, %%eax; xor %%ecx, %%ecx; xor %%edx, %%edx; xor %%r8d, %%r8d; xor %%r15d, %%r15d; cld;"
			 "ldmxcsr %0"
			 : : "m"(mxcsr)
			 : "rax", "rcx", "rdx", "r8", "r15", "cc", "xmm0", "xmm1", "xmm7", "xmm15");
}

static void on_bus(int sig, siginfo_t *si, void *uc)
{
	(void)sig;
	(void)uc;
	fill_at((uintptr_t)si->si_addr);
	clobber();
}

static void *monitor(void *arg)
{
	struct uffd_msg msg;
	int n = *(int *)arg;

	while (n-- > 0) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		CHECK(poll(&p, 1, -1) == 1);
		CHECK(read(fd, &msg, sizeof(msg)) == sizeof(msg));
		fill_at(msg.arg.pagefault.address);
	}
	return NULL;
}

#define CF 1u
#define DF 0x400u
#define OF 0x800u

static void touch_and_compare(volatile char *mem)
{
	for (unsigned i = 0; i < N; i++) {
		struct state in, out;

		memset(&out, 0, sizeof(out));
		for (size_t k = 0; k < sizeof(in) / 8; k++)
			((uint64_t *)&in)[k] = (k + 1) * 0x9E3779B97F4A7C15u + i;
		in.flags = 0x202 | (i & 1 ? CF : 0) | (i & 2 ? DF : 0) | (i & 4 ? OF : 0);
		in.mxcsr = 0x1f80 | (i & 3) << 13; /* rounding */
		in.pad = 0;
		load_fault_store(mem + i * PAGE + i, &in, &out);
		__asm__ volatile("ldmxcsr %0" : : "m"((uint32_t){0x1f80}));
		CHECK(memcmp(&in, &out, sizeof(in)) == 0);
		CHECK(mem[i * PAGE + i] == 1);
	}
}

int main(void)
{
	struct sigaction act = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
	int n = N;
	pthread_t t;
	char *mem;

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, 0);
	mem = map_pages(N);
	arm(fd, mem, N, UFFDIO_REGISTER_MODE_MISSING);
	CHECK(pthread_create(&t, NULL, monitor, &n) == 0);
	touch_and_compare(mem);
	CHECK(pthread_join(t, NULL) == 0);
	CHECK(close(fd) == 0);

	fd = uffd_open(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_SIGBUS);
	mem = map_pages(N);
	arm(fd, mem, N, UFFDIO_REGISTER_MODE_MISSING);
	CHECK(sigaction(SIGBUS, &act, NULL) == 0);
	touch_and_compare(mem);
	return done("registers");
}
