/* SPDX-License-Identifier: MIT */
/*
 * The harness of the conformance rows. A row is written against the plain userfaultfd ABI and expects what Linux 6.18
 * answers, so the same program runs on the kernel and under `faultline run`. Each row has its own child process and a
 * time limit; a failed check ends the child. Rows are named after their number in the list of cases ("row033_..."),
 * or after the table of the reference that they come from ("s25_..." is section 2.5).
 */
#pragma once
#include "test/conformance/abi.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096ul
#define TASK_SIZE_4L 0x7ffffffff000ul
#define UNTOUCHED 0x5ead5ead5ead /* an output field that nobody wrote */
#define PROMPT_MS 5000		 /* something that must happen has this long */
#define ABSENT_MS 50		 /* something that must not happen is watched this long */

#define MISS UFFDIO_REGISTER_MODE_MISSING
#define WP UFFDIO_REGISTER_MODE_WP
#define MINOR UFFDIO_REGISTER_MODE_MINOR

/* ---- rows ------------------------------------------------------------------------------------------------------ */

struct row {
	const char *name;
	void (*fn)(void);
	struct row *next;
};

void row_add(struct row *r);

#define ROW(name)                                                                                                      \
	static void name(void);                                                                                        \
	static struct row name##_row = {#name, name, NULL};                                                            \
	__attribute__((constructor)) static void name##_add(void)                                                      \
	{                                                                                                              \
		row_add(&name##_row);                                                                                  \
	}                                                                                                              \
	static void name(void)

/* What is being tested, found out once in main(). */
struct target {
	uint64_t features; /* of the handshake's reply */
	bool engine;	   /* run by Faultline; else the kernel's own */
	bool kernel_faults; /* contexts that serve accesses made by system calls can be had */
};
extern struct target target;

static inline bool has(uint64_t features)
{
	return (target.features & features) == features;
}

/* ---- checks ---------------------------------------------------------------------------------------------------- */

__attribute__((noreturn, format(printf, 3, 4))) void check_failed(const char *file, int line, const char *fmt, ...);
void check_passed(const char *file, int line); /* for the report of a hang */
__attribute__((noreturn, format(printf, 1, 2))) void row_skip(const char *fmt, ...);

#define CHECK(cond)                                                                                                    \
	do {                                                                                                           \
		if (!(cond))                                                                                           \
			check_failed(__FILE__, __LINE__, "%s is false", #cond);                                        \
		check_passed(__FILE__, __LINE__);                                                                      \
	} while (0)

#define EQ(expr, expected)                                                                                             \
	do {                                                                                                           \
		long long got_ = (long long)(expr), want_ = (long long)(expected);                                     \
		if (got_ != want_)                                                                                     \
			check_failed(__FILE__, __LINE__, "%s: expected %lld (%#llx), got %lld (%#llx)", #expr, want_,  \
				     want_, got_, got_);                                                               \
		check_passed(__FILE__, __LINE__);                                                                      \
	} while (0)

/* Skip unless a context can serve accesses that system calls make (an unprivileged user of the kernel has none). */
void need_kernel_faults(void);

/* Install a guard in an armed range. Skips where the host has none, or where the engine refuses them. */
void guard_install(void *p, size_t len);

/* ---- descriptors ------------------------------------------------------------------------------------------------ */

int uffd_create(int flags);		 /* the bare system call: fd or -1 */
int uffd_raw(int flags);		 /* without the handshake; adds USER_MODE_ONLY where nothing else is to be had */
int uffd_handshake(int fd, uint64_t features); /* errno, or 0 */
int uffd_new(uint64_t features);	 /* O_NONBLOCK, ready for use */
int uffd_new_blocking(uint64_t features);

/* ---- ioctls: errno, or 0. out: the output field, UNTOUCHED if nobody wrote it ------------------------------------- */

int try_register(int fd, void *p, size_t len, uint64_t mode, uint64_t *ioctls);
int try_unregister(int fd, void *p, size_t len);
int try_wake(int fd, void *p, size_t len);
int try_copy(int fd, void *dst, const void *src, size_t len, uint64_t mode, int64_t *out);
int try_zeropage(int fd, void *p, size_t len, uint64_t mode, int64_t *out);
int try_poison(int fd, void *p, size_t len, uint64_t mode, int64_t *out);
int try_continue(int fd, void *p, size_t len, uint64_t mode, int64_t *out);
int try_protect(int fd, void *p, size_t len, uint64_t mode);

/* The same for pages that must work. */
#define arm(fd, p, n, mode) EQ(try_register(fd, p, (n) * PAGE, mode, NULL), 0)
#define disarm(fd, p, n) EQ(try_unregister(fd, p, (n) * PAGE), 0)
#define wake(fd, p, n) EQ(try_wake(fd, p, (n) * PAGE), 0)
#define protect(fd, p, n) EQ(try_protect(fd, p, (n) * PAGE, UFFDIO_WRITEPROTECT_MODE_WP), 0)
#define resolve(fd, p, n) EQ(try_protect(fd, p, (n) * PAGE, 0), 0)
#define poison(fd, p, n) EQ(try_poison(fd, p, (n) * PAGE, 0, NULL), 0)
#define zeropage(fd, p, n) EQ(try_zeropage(fd, p, (n) * PAGE, 0, NULL), 0)
#define fill(fd, p, byte) fill_mode(__FILE__, __LINE__, fd, p, byte, 0)
void fill_mode(const char *file, int line, int fd, void *p, int byte, uint64_t mode); /* one page of byte */

/* What COPY of one page says about the page: 0 was empty (it is filled with byte now), EEXIST, ENOENT (not armed). */
int probe_copy(int fd, void *p, int byte);

/* ---- memory ------------------------------------------------------------------------------------------------------ */

#define RW (PROT_READ | PROT_WRITE)
uint8_t *map_pages(size_t n);		 /* private anonymous, RW, between two inaccessible mappings */
uint8_t *map_prot(size_t n, int prot);
void touch(void *p, size_t n, int byte); /* fill n pages */
bool page_is(const void *p, int byte);	 /* every byte of the page */

/* ---- other threads ----------------------------------------------------------------------------------------------- */

/* A thread that makes one access or call, which may block. */
struct actor {
	void (*fn)(struct actor *);
	volatile uint8_t *addr;
	uint8_t value; /* to write, or what was read */
	int fd;
	uint64_t arg[4];
	long ret; /* of fn's call */
	int err;
	int sig, code; /* the fatal signal that ended it, 0: none */
	void *sig_addr;
	pthread_t thread;
	int done_fd;
	_Atomic pid_t tid;
};

void actor_start(struct actor *a, void (*fn)(struct actor *));
void start_read(struct actor *a, const void *addr);
void start_write(struct actor *a, void *addr, int value);
void actor_finish(const char *file, int line, struct actor *a, int sig); /* must end promptly, with that signal */
void actor_still_blocked(const char *file, int line, struct actor *a);
void actor_wait_asleep(struct actor *a); /* returns when the thread sleeps in what it was started for */

#define finished(a) actor_finish(__FILE__, __LINE__, a, 0)
#define finished_by(a, sig) actor_finish(__FILE__, __LINE__, a, sig)
#define still_blocked(a) actor_still_blocked(__FILE__, __LINE__, a)

/* An access by the calling thread: the signal it raised, or 0. Never use it where a monitor would be needed. */
int access_read(const void *p, siginfo_t *info);
int access_write(void *p, int value, siginfo_t *info);

/* ---- messages ---------------------------------------------------------------------------------------------------- */

/* Take the next message within PROMPT_MS and compare every byte (ptid excepted: returned). */
uint32_t msg_take(const char *file, int line, int fd, uint64_t flags, const void *addr);
void msg_absent(const char *file, int line, int fd);
bool msg_pending(int fd); /* waits up to PROMPT_MS for poll to say POLLIN */

#define message(fd, flags, addr) msg_take(__FILE__, __LINE__, fd, flags, addr)
#define no_message(fd) msg_absent(__FILE__, __LINE__, fd)

/* Message kinds as the reference numbers them. */
#define MSG_READ 0
#define MSG_WRITE 1
#define MSG_WP 3

/* A write by another thread passes without a message; the write must trap as a protection fault and is then let go. */
#define writes_freely(fd, p, byte) check_writes_freely(__FILE__, __LINE__, fd, p, byte)
#define write_traps(fd, p, byte) check_write_traps(__FILE__, __LINE__, fd, p, byte)
/* A read by another thread sends message 0; it is filled with byte. */
#define read_misses(fd, p, byte) check_read_misses(__FILE__, __LINE__, fd, p, byte)
void check_writes_freely(const char *file, int line, int fd, void *p, int byte);
void check_write_traps(const char *file, int line, int fd, void *p, int byte);
void check_read_misses(const char *file, int line, int fd, void *p, int byte);

/* ---- processes --------------------------------------------------------------------------------------------------- */

pid_t fork_child(void);	   /* dies with its parent */
int wait_child(pid_t pid); /* wait status, within PROMPT_MS */
#define child_ok(pid) EQ(wait_child(pid), 0)
void pipe_pair(int fds[2]);
void pipe_tell(int fds[2]);  /* one byte */
void pipe_await(int fds[2]); /* one byte, within PROMPT_MS */
