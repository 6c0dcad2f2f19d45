/* SPDX-License-Identifier: MIT */
/*
 * Copies between the engine and the calling program, at addresses that may be bad or may be pages that a monitor must fill.
 * One instruction does each copy; the SIGSEGV handler knows its address (live_uaccess_fixup) and either has the page
 * filled and lets the instruction go on, or sends it to the exit that answers -EFAULT.
 */
#include "machine/live/internal.h"

#include <errno.h>

long fl_uaccess_wait(void *dst, const void *src, size_t len);
long fl_uaccess_atomic(void *dst, const void *src, size_t len);
extern const char fl_uaccess_wait_at[], fl_uaccess_wait_bad[], fl_uaccess_atomic_at[], fl_uaccess_atomic_bad[];

#define COPY_ROUTINE(name)                                                                                         \
	__asm__(".pushsection fl_wait_text,\"ax\",@progbits\n"                                                      \
		".hidden " #name ", " #name "_at, " #name "_bad\n"                                                  \
		".globl " #name ", " #name "_at, " #name "_bad\n"                                                   \
		".type " #name ", @function\n" #name ":\n"                                                          \
		"	mov %rdx, %rcx\n" #name "_at:\n"                                                                   \
		"	rep movsb\n"                                                                                       \
		"	xor %eax, %eax\n"                                                                                  \
		"	ret\n" #name "_bad:\n"                                                                             \
		"	mov $-14, %rax\n"                                                                                  \
		"	ret\n"                                                                                             \
		".size " #name ", . - " #name "\n"                                                                  \
		".popsection\n")

COPY_ROUTINE(fl_uaccess_wait);
COPY_ROUTINE(fl_uaccess_atomic);

bool live_uaccess_fixup(uintptr_t pc, bool *may_wait, uintptr_t *fixup)
{
	*may_wait = pc == (uintptr_t)fl_uaccess_wait_at;
	*fixup = (uintptr_t)(*may_wait ? fl_uaccess_wait_bad : fl_uaccess_atomic_bad);
	return *may_wait || pc == (uintptr_t)fl_uaccess_atomic_at;
}

/* Addresses that no program can own are refused before they are touched: they fault without an address. */
static bool in_user_space(va_t va, size_t len)
{
	return va < TASK_SIZE && len <= TASK_SIZE - va;
}

int live_copy_in(struct machine *m, void *dst, va_t src, size_t len)
{
	return in_user_space(src, len) ? (int)fl_uaccess_wait(dst, (const void *)(uintptr_t)src, len) : -EFAULT;
}

int live_copy_out(struct machine *m, va_t dst, const void *src, size_t len)
{
	return in_user_space(dst, len) ? (int)fl_uaccess_wait((void *)(uintptr_t)dst, src, len) : -EFAULT;
}

int live_copy_in_atomic(struct machine *m, void *dst, va_t src, size_t len)
{
	return in_user_space(src, len) ? (int)fl_uaccess_atomic(dst, (const void *)(uintptr_t)src, len) : -EFAULT;
}
