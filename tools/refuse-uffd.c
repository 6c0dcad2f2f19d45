/* SPDX-License-Identifier: MIT */
/*
 * refuse-uffd PROGRAM [ARG...]: run PROGRAM where the kernel answers EPERM to userfaultfd(2), as a container's seccomp
 * profile does, whatever this kernel would have said. So a test that passes under it owes nothing to the kernel.
 * refuse-uffd --probe: say what the kernel answers to this user. 0: it allows userfaultfd; 3: only for faults from user
 * mode (UFFD_USER_MODE_ONLY); 1: it refuses.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define USER_MODE_ONLY 1 /* UFFD_USER_MODE_ONLY, which old headers lack */

static int probe(void)
{
	if (syscall(SYS_userfaultfd, O_CLOEXEC) >= 0) {
		puts("allowed");
		return 0;
	}
	if (syscall(SYS_userfaultfd, O_CLOEXEC | USER_MODE_ONLY) >= 0) {
		puts("allowed for faults from user mode only");
		return 3;
	}
	printf("refused: %s\n", strerror(errno));
	return 1;
}

static int refuse(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 2),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
	};
	struct sock_fprog prog = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: refuse-uffd PROGRAM [ARG...] | --probe\n");
		return 2;
	}
	if (!strcmp(argv[1], "--probe"))
		return probe();
	if (refuse()) {
		fprintf(stderr, "refuse-uffd: cannot install a seccomp filter: %s\n", strerror(errno));
		return 125;
	}
	execvp(argv[1], argv + 1);
	fprintf(stderr, "refuse-uffd: %s: %s\n", argv[1], strerror(errno));
	return 127;
}
