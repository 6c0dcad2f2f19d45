/* SPDX-License-Identifier: MIT */
/* What must be refused, and what a refusal must leave alone. */
#include "test/conformance/conform.h"

static const unsigned long commands[] = {
	UFFDIO_API,	 UFFDIO_REGISTER, UFFDIO_UNREGISTER, UFFDIO_WAKE,
	UFFDIO_COPY,	 UFFDIO_ZEROPAGE, UFFDIO_WRITEPROTECT, UFFDIO_POISON,
};
#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int make_armed(uint8_t **p, size_t n, uint64_t mode)
{
	int fd = uffd_new(0);

	*p = map_pages(n);
	arm(fd, *p, n, mode);
	return fd;
}

static int command(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? errno : 0;
}

/* Copy the arguments into a page that is made read-only: they can be read, the answer cannot be written. */
static void *read_only(const void *arg, size_t n)
{
	uint8_t *p = map_pages(1);

	memcpy(p, arg, n);
	EQ(mprotect(p, PAGE, PROT_READ), 0);
	return p;
}

/* The numbers and sizes of table 2.1. */
ROW(bad_ioctl_numbers_are_those_of_the_abi)
{
	EQ(UFFDIO_API, 0xC018AA3F);
	EQ(UFFDIO_REGISTER, 0xC020AA00);
	EQ(UFFDIO_UNREGISTER, 0x8010AA01);
	EQ(UFFDIO_WAKE, 0x8010AA02);
	EQ(UFFDIO_COPY, 0xC028AA03);
	EQ(UFFDIO_ZEROPAGE, 0xC020AA04);
	EQ(UFFDIO_WRITEPROTECT, 0xC018AA06);
	EQ(UFFDIO_CONTINUE, 0xC020AA07);
	EQ(UFFDIO_POISON, 0xC020AA08);
	EQ(USERFAULTFD_IOC_NEW, 0xAA00);
	EQ(sizeof(struct uffd_msg), 32);
}

ROW(bad_unknown_command)
{
	uint64_t arg[8] = {0};
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	EQ(command(fd, 0, arg), EINVAL);
	EQ(command(fd, _IO(UFFDIO, NR_REGISTER), arg), EINVAL); /* right number, wrong size */
	EQ(command(fd, _IOWR(UFFDIO, 0x20, uint64_t), arg), EINVAL);
	EQ(command(fd, _IOWR(UFFDIO, 0x3e, struct uffdio_api), arg), EINVAL);
	EQ(command(fd, _IOW(UFFDIO, NR_WAKE, struct uffdio_range), arg), EINVAL); /* wrong direction */
	EQ(command(fd, UFFDIO_WRITEPROTECT + 0x10000, arg), EINVAL);
	EQ(command(fd, ~0u, arg), EINVAL);
	read_misses(fd, p, 1);
}

/* Only the low 32 bits of a command reach the kernel. */
ROW(bad_command_is_truncated)
{
	struct uffdio_range r;
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	r = (struct uffdio_range){(uintptr_t)p, PAGE};
	EQ(command(fd, UFFDIO_WAKE | (1ul << 40), &r), 0);
}

ROW(bad_null_argument)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	for (size_t i = 0; i < NR_COMMANDS; i++)
		EQ(command(fd, commands[i], NULL), EFAULT);
	read_misses(fd, p, 1);
}

ROW(bad_unreadable_argument)
{
	uint8_t *p, *none = map_prot(1, PROT_NONE), *edge = map_pages(1);
	int fd = make_armed(&p, 1, MISS);

	EQ(munmap(edge + PAGE, PAGE), 0);
	for (size_t i = 0; i < NR_COMMANDS; i++) {
		EQ(command(fd, commands[i], none), EFAULT);
		EQ(command(fd, commands[i], (void *)~7ul), EFAULT);
		EQ(command(fd, commands[i], (void *)TASK_SIZE_4L), EFAULT);
		EQ(command(fd, commands[i], edge + PAGE - 8), EFAULT); /* begins in readable memory, goes on beyond */
	}
	read_misses(fd, p, 1);
}

/* An argument at the very end of a page, and an unaligned one, are fine. */
ROW(bad_argument_placement_is_free)
{
	uint8_t *p, *edge = map_pages(1);
	struct uffdio_range r;
	int fd = make_armed(&p, 1, MISS);

	r = (struct uffdio_range){(uintptr_t)p, PAGE};
	EQ(munmap(edge + PAGE, PAGE), 0);
	memcpy(edge + PAGE - sizeof(r), &r, sizeof(r));
	EQ(command(fd, UFFDIO_WAKE, edge + PAGE - sizeof(r)), 0);
	memcpy(edge + 3, &r, sizeof(r));
	EQ(command(fd, UFFDIO_WAKE, edge + 3), 0);
}

/* The last field is output: it is not read, so the structure may end where memory ends. */
ROW(bad_output_field_is_not_read)
{
	struct uffdio_zeropage z = {.mode = 0};
	uint8_t *p, *edge = map_pages(1);
	int fd = make_armed(&p, 2, MISS);

	EQ(munmap(edge + PAGE, PAGE), 0);
	z.range = (struct uffdio_range){(uintptr_t)p, PAGE};
	memcpy(edge + PAGE - 24, &z, 24);
	EQ(command(fd, UFFDIO_ZEROPAGE, edge + PAGE - 24), EFAULT); /* done, but the answer has no place */
	EQ(probe_copy(fd, p, 1), EEXIST);
	z.mode = 2;
	memcpy(edge + PAGE - 24, &z, 24);
	EQ(command(fd, UFFDIO_ZEROPAGE, edge + PAGE - 24), EINVAL); /* read well enough to be refused */
}

ROW(bad_answer_unwritable_register)
{
	uint8_t *p = map_pages(1);
	struct uffdio_register r = {{(uintptr_t)p, PAGE}, MISS, UNTOUCHED};
	int fd = uffd_new(0);

	EQ(command(fd, UFFDIO_REGISTER, read_only(&r, sizeof(r))), EFAULT);
	read_misses(fd, p, 1); /* the registration stays */
}

ROW(bad_answer_unwritable_copy)
{
	struct actor a = {0};
	uint8_t *p, *src = map_pages(1);
	int fd = make_armed(&p, 2, MISS);
	struct uffdio_copy c = {(uintptr_t)p, (uintptr_t)src, PAGE, 0, UNTOUCHED};

	touch(src, 1, 0x1d);
	start_read(&a, p);
	message(fd, MSG_READ, p);
	EQ(command(fd, UFFDIO_COPY, read_only(&c, sizeof(c))), EFAULT);
	still_blocked(&a); /* the page is there, nobody was woken */
	EQ(probe_copy(fd, p, 1), EEXIST);
	wake(fd, p, 1);
	finished(&a);
	EQ(a.value, 0x1d);
	c.dst = (uintptr_t)map_pages(1);
	EQ(command(fd, UFFDIO_COPY, read_only(&c, sizeof(c))), EFAULT); /* not ENOENT: the answer comes first */
}

ROW(bad_answer_unwritable_zeropage_and_poison)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);
	struct uffdio_zeropage z = {{(uintptr_t)p, PAGE}, 0, UNTOUCHED};

	EQ(command(fd, UFFDIO_ZEROPAGE, read_only(&z, sizeof(z))), EFAULT);
	EQ(probe_copy(fd, p, 1), EEXIST);
	z.range.start += PAGE;
	EQ(command(fd, UFFDIO_POISON, read_only(&z, sizeof(z))), EFAULT);
	EQ(access_read(p + PAGE, NULL), SIGBUS);
}

/* Commands that answer nothing do not mind. */
ROW(bad_read_only_argument_without_answer)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, WP);
	struct uffdio_writeprotect w = {{(uintptr_t)p, PAGE}, UFFDIO_WRITEPROTECT_MODE_WP};

	touch(p, 1, 1);
	EQ(command(fd, UFFDIO_WRITEPROTECT, read_only(&w, sizeof(w))), 0);
	write_traps(fd, p, 2);
	EQ(command(fd, UFFDIO_WAKE, read_only(&w.range, sizeof(w.range))), 0);
	EQ(command(fd, UFFDIO_UNREGISTER, read_only(&w.range, sizeof(w.range))), 0);
	EQ(probe_copy(fd, p, 1), ENOENT);
}

static void do_wake_from_memory(struct actor *a)
{
	a->err = command(a->fd, UFFDIO_WAKE, (void *)a->addr);
}

/* The argument itself lies in a missing page: it is faulted in like any other. */
ROW(bad_argument_in_a_missing_page)
{
	struct actor a = {0};
	uint8_t *p, *src = map_pages(1);
	struct uffdio_range r;
	int fd;

	need_kernel_faults();
	fd = make_armed(&p, 2, MISS);
	r = (struct uffdio_range){(uintptr_t)p, PAGE};
	memcpy(src + 64, &r, sizeof(r));
	a.fd = fd;
	a.addr = p + PAGE + 64;
	actor_start(&a, do_wake_from_memory);
	message(fd, MSG_READ, p + PAGE);
	EQ(try_copy(fd, p + PAGE, src, PAGE, 0, NULL), 0);
	finished(&a);
	EQ(a.err, 0);
}

static void do_zeropage_from_memory(struct actor *a)
{
	a->err = command(a->fd, UFFDIO_ZEROPAGE, (void *)a->addr);
}

/* The answer goes to a protected page: the write asks its monitor. */
ROW(bad_answer_to_a_protected_page)
{
	struct actor a = {0};
	struct uffdio_zeropage *z;
	uint8_t *p;
	int fd;

	need_kernel_faults();
	fd = make_armed(&p, 2, MISS | WP);
	zeropage(fd, p + PAGE, 1);
	z = (void *)(p + PAGE);
	*z = (struct uffdio_zeropage){{(uintptr_t)p, PAGE}, 0, UNTOUCHED};
	protect(fd, p + PAGE, 1);
	a.fd = fd;
	a.addr = p + PAGE;
	actor_start(&a, do_zeropage_from_memory);
	message(fd, MSG_WP, p + PAGE);
	resolve(fd, p + PAGE, 1);
	finished(&a);
	EQ(a.err, 0);
	EQ(z->zeropage, PAGE);
}

/* ---- descriptors ---------------------------------------------------------------------------------------------------------- */

ROW(bad_foreign_descriptor)
{
	uint8_t *p = map_pages(1);
	int fds[2], file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct uffdio_api api = {.api = UFFD_API};

	pipe_pair(fds);
	EQ(command(file, UFFDIO_API, &api), ENOTTY);
	EQ(command(fds[0], UFFDIO_API, &api), ENOTTY);
	EQ(try_register(fds[0], p, PAGE, MISS, NULL), ENOTTY);
	EQ(try_register(file, p, PAGE, MISS, NULL), ENOTTY);
	EQ(try_copy(fds[1], p, p, PAGE, 0, NULL), ENOTTY);
	EQ(try_wake(file, p, PAGE), ENOTTY);
}

ROW(bad_closed_descriptor)
{
	struct uffd_msg m;
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	EQ(close(fd), 0);
	EQ(close(fd), -1);
	EQ(errno, EBADF);
	EQ(try_register(fd, p, PAGE, MISS, NULL), EBADF);
	EQ(try_wake(fd, p, PAGE), EBADF);
	EQ(try_copy(fd, p, p, PAGE, 0, NULL), EBADF);
	EQ(read(fd, &m, sizeof(m)), -1);
	EQ(errno, EBADF);
	EQ(try_wake(-1, p, PAGE), EBADF);
	EQ(access_read(p, NULL), 0);
}

/* The number is given to another file: no trace of the context may stick to it. */
ROW(bad_reused_descriptor_number)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS), fds[2];
	struct pollfd pfd;
	char c;

	EQ(close(fd), 0);
	pipe_pair(fds);
	CHECK(fds[0] == fd || fds[1] == fd);
	EQ(try_wake(fd, p, PAGE), ENOTTY);
	EQ(write(fds[1], "y", 1), 1);
	pfd = (struct pollfd){.fd = fds[0], .events = POLLIN};
	EQ(poll(&pfd, 1, 0), 1);
	EQ(pfd.revents, POLLIN);
	EQ(read(fds[0], &c, 1), 1);
	EQ(c, 'y');
}

ROW(bad_duplicated_descriptor_works)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS), copy = dup(fd);

	read_misses(copy, p, 1);
	disarm(copy, p, 2);
	EQ(probe_copy(fd, p + PAGE, 1), ENOENT);
	arm(copy, p, 2, MISS);
	read_misses(fd, p + PAGE, 1);
	EQ(dup2(fd, 90), 90);
	EQ(fcntl(90, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	EQ(fcntl(90, F_GETFD), 0);
	EQ(dup3(fd, 91, O_CLOEXEC), 91);
	EQ(fcntl(91, F_GETFD), FD_CLOEXEC);
	EQ(try_wake(91, p, PAGE), 0);
}

/* ---- ranges ---------------------------------------------------------------------------------------------------------------- */

/* Every range command refuses the same ranges, whatever is registered. */
ROW(bad_ranges_everywhere)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS | WP);
	struct {
		uint64_t start, len;
	} bad[] = {
		{(uintptr_t)p + 8, PAGE},
		{(uintptr_t)p, 12},
		{(uintptr_t)p, 0},
		{0, 0},
		{TASK_SIZE_4L, PAGE},
		{TASK_SIZE_4L - PAGE, 2 * PAGE},
		{~(PAGE - 1), PAGE},
		{~(PAGE - 1), 2 * PAGE},
		{(uintptr_t)p, ~(PAGE - 1)},
		{(uintptr_t)p, 1ul << 63},
		{1ul << 63, PAGE},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		void *at = (void *)bad[i].start;
		int64_t out;

		EQ(try_register(fd, at, bad[i].len, MISS, NULL), EINVAL);
		EQ(try_unregister(fd, at, bad[i].len), EINVAL);
		EQ(try_wake(fd, at, bad[i].len), EINVAL);
		EQ(try_copy(fd, at, p, bad[i].len, 0, &out), EINVAL);
		EQ(out, UNTOUCHED);
		EQ(try_zeropage(fd, at, bad[i].len, 0, &out), EINVAL);
		EQ(out, UNTOUCHED);
		EQ(try_poison(fd, at, bad[i].len, 0, &out), EINVAL);
		EQ(out, UNTOUCHED);
		EQ(try_protect(fd, at, bad[i].len, UFFDIO_WRITEPROTECT_MODE_WP), EINVAL);
	}
	read_misses(fd, p, 1);
	read_misses(fd, p + PAGE, 1);
	writes_freely(fd, p, 2);
}

/* Page zero and the last page are legal addresses with nothing behind them. */
ROW(bad_empty_ends_of_the_address_space)
{
	uint8_t *src = map_pages(1);
	int fd = uffd_new(0);
	void *ends[] = {NULL, (void *)(TASK_SIZE_4L - PAGE)};

	for (int i = 0; i < 2; i++) {
		int64_t out;

		EQ(try_register(fd, ends[i], PAGE, MISS, NULL), EINVAL);
		EQ(try_unregister(fd, ends[i], PAGE), EINVAL);
		EQ(try_wake(fd, ends[i], PAGE), 0);
		EQ(try_copy(fd, ends[i], src, PAGE, 0, &out), ENOENT);
		EQ(out, -ENOENT);
		EQ(try_protect(fd, ends[i], PAGE, UFFDIO_WRITEPROTECT_MODE_WP), ENOENT);
	}
}

/* A source that overlaps its own destination: whatever is missing there makes a message, nothing breaks. */
static void do_copy_up(struct actor *a)
{
	int64_t out;

	a->err = try_copy(a->fd, (void *)(a->addr + PAGE), (void *)a->addr, 2 * PAGE, 0, &out);
	a->ret = out;
}

ROW(bad_overlapping_copy)
{
	struct actor a = {0};
	uint8_t *p;
	int fd = make_armed(&p, 3, MISS);

	fill(fd, p, 0x5e);
	a.fd = fd;
	a.addr = p;
	actor_start(&a, do_copy_up); /* page 0 to page 1, then page 1 to page 2 */
	finished(&a);
	EQ(a.err, 0);
	EQ(a.ret, 2 * PAGE);
	CHECK(page_is(p + PAGE, 0x5e) && page_is(p + 2 * PAGE, 0x5e));
}

/* A failed call in the midst of good ones leaves the context as it was. */
ROW(bad_calls_between_good_ones)
{
	struct actor a = {0};
	uint8_t *p, *src = map_pages(2);
	int fd = make_armed(&p, 2, MISS | WP), other = uffd_new(0);

	start_read(&a, p);
	message(fd, MSG_READ, p);
	EQ(try_copy(fd, p, map_prot(1, PROT_NONE), PAGE, 0, NULL), EFAULT);
	EQ(try_copy(fd, p, src, 3 * PAGE, 0, NULL), ENOENT);
	EQ(try_copy(fd, p, src, PAGE, 1ull << 7, NULL), EINVAL);
	EQ(try_register(fd, p, 2 * PAGE, MINOR, NULL), EINVAL);
	EQ(try_register(other, p, PAGE, MISS, NULL), EBUSY);
	EQ(try_unregister(other, p, PAGE), EINVAL);
	EQ(try_unregister(fd, p, 1), EINVAL);
	EQ(try_protect(fd, p, 2 * PAGE, 3), EINVAL);
	EQ(uffd_handshake(fd, 0), EINVAL);
	EQ(command(fd, _IO(UFFDIO, 0x3d), src), EINVAL);
	still_blocked(&a);
	no_message(fd);
	EQ(try_copy(fd, p, src, 2 * PAGE, 0, NULL), 0);
	finished(&a);
	EQ(a.value, 0);
}
