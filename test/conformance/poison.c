/* SPDX-License-Identifier: MIT */
/* POISON: rows 55 to 58. */
#include "test/conformance/conform.h"

static int make_armed(uint8_t **p, size_t n, uint64_t mode)
{
	int fd = uffd_new(0);

	*p = map_pages(n);
	arm(fd, *p, n, mode);
	return fd;
}

static void is_poisoned(uint8_t *p)
{
	EQ(access_read(p, NULL), SIGBUS);
	EQ(access_write(p, 1, NULL), SIGBUS);
}

ROW(row055_poison)
{
	uint8_t *p;
	int fd = make_armed(&p, 3, MISS);
	siginfo_t info;
	int64_t out;

	fill(fd, p, 1);
	fill(fd, p + 2 * PAGE, 3);
	EQ(try_poison(fd, p + PAGE, PAGE, 0, &out), 0);
	EQ(out, PAGE);
	EQ(access_read(p + PAGE + 77, &info), SIGBUS);
	CHECK(info.si_addr == p + PAGE + 77);
	CHECK(info.si_code == BUS_ADRERR || info.si_code == BUS_MCEERR_AR); /* by the kernel's configuration */
	EQ(access_write(p + PAGE + 4095, 1, &info), SIGBUS);
	CHECK(info.si_addr == p + PAGE + 4095);
	CHECK(page_is(p, 1) && page_is(p + 2 * PAGE, 3));
	no_message(fd);
}

ROW(row055_poison_answers_a_fault)
{
	struct actor reader = {0}, writer = {0};
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);

	start_read(&reader, p + 9);
	message(fd, MSG_READ, p);
	start_write(&writer, p + PAGE + 9, 1);
	message(fd, MSG_WRITE, p + PAGE);
	poison(fd, p, 2);
	finished_by(&reader, SIGBUS);
	finished_by(&writer, SIGBUS);
	CHECK(reader.sig_addr == p + 9);
	CHECK(writer.sig_addr == p + PAGE + 9);
	no_message(fd);
}

ROW(row055_poison_many)
{
	uint8_t *p;
	int fd = make_armed(&p, 100, MISS | WP);
	int64_t out;

	EQ(try_poison(fd, p + PAGE, 98 * PAGE, 0, &out), 0);
	EQ(out, 98 * PAGE);
	for (int i = 1; i < 99; i++)
		EQ(access_read(p + i * PAGE, NULL), SIGBUS);
	read_misses(fd, p, 1);
	read_misses(fd, p + 99 * PAGE, 1);
}

ROW(row056_poison_on_present)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);
	int64_t out;

	fill(fd, p, 1);
	zeropage(fd, p + PAGE, 1);
	EQ(try_poison(fd, p, PAGE, 0, &out), EEXIST);
	EQ(out, -EEXIST);
	EQ(try_poison(fd, p + PAGE, PAGE, 0, &out), EEXIST);
	CHECK(page_is(p, 1) && page_is(p + PAGE, 0));
}

ROW(row056_poison_on_markers)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(UFFD_FEATURE_WP_UNPOPULATED);
	int64_t out;

	arm(fd, p, 2, WP);
	protect(fd, p, 1);
	EQ(try_poison(fd, p, PAGE, 0, &out), EEXIST);
	EQ(out, -EEXIST);
	poison(fd, p + PAGE, 1);
	EQ(try_poison(fd, p + PAGE, PAGE, 0, &out), EEXIST); /* again */
	EQ(out, -EEXIST);
	EQ(try_zeropage(fd, p + PAGE, PAGE, 0, &out), EEXIST);
	EQ(out, -EEXIST);
	is_poisoned(p + PAGE);
	write_traps(fd, p, 1);
}

ROW(row057_system_call_into_poison)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS), fds[2];

	need_kernel_faults();
	poison(fd, p, 1);
	pipe_pair(fds);
	pipe_tell(fds);
	EQ(read(fds[0], p, 1), -1);
	EQ(errno, EFAULT);
	EQ(write(fds[1], p, 1), -1);
	EQ(errno, EFAULT);
	no_message(fd);
}

ROW(row057_populate_poison)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	need_kernel_faults();
	poison(fd, p, 1);
	EQ(madvise(p, PAGE, MADV_POPULATE_READ), -1);
	EQ(errno, EHWPOISON);
	EQ(madvise(p, PAGE, MADV_POPULATE_WRITE), -1);
	EQ(errno, EHWPOISON);
	no_message(fd);
}

ROW(row058_poison_survives_fork)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);
	pid_t pid;

	poison(fd, p, 1);
	pid = fork_child();
	if (pid == 0) {
		is_poisoned(p);
		EQ(access_read(p + PAGE, NULL), 0);
		_exit(0);
	}
	child_ok(pid);
	is_poisoned(p);
}

ROW(row058_poison_survives_mremap)
{
	uint8_t *p, *to = map_pages(2);
	int fd = make_armed(&p, 2, MISS);

	poison(fd, p, 1);
	CHECK(mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	is_poisoned(to);
	EQ(access_read(to + PAGE, NULL), 0);
	EQ(access_read(p, NULL), SIGSEGV);
}

ROW(row058_poison_survives_mprotect)
{
	uint8_t *p;
	int fd = make_armed(&p, 1, MISS);

	poison(fd, p, 1);
	EQ(mprotect(p, PAGE, PROT_NONE), 0);
	EQ(access_read(p, NULL), SIGSEGV);
	EQ(mprotect(p, PAGE, PROT_READ), 0);
	EQ(access_read(p, NULL), SIGBUS);
	EQ(access_write(p, 1, NULL), SIGSEGV);
	EQ(mprotect(p, PAGE, RW), 0);
	is_poisoned(p);
}

ROW(row058_poison_survives_wp)
{
	uint8_t *p = map_pages(1);
	int fd = uffd_new(UFFD_FEATURE_WP_UNPOPULATED);

	arm(fd, p, 1, MISS | WP);
	poison(fd, p, 1);
	protect(fd, p, 1);
	is_poisoned(p);
	resolve(fd, p, 1);
	is_poisoned(p);
	no_message(fd);
}

ROW(row058_poison_survives_unregister_and_close)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);

	poison(fd, p, 2);
	disarm(fd, p, 1);
	is_poisoned(p);
	EQ(close(fd), 0);
	is_poisoned(p);
	is_poisoned(p + PAGE);
	fd = uffd_new(0);
	arm(fd, p, 2, MISS);
	is_poisoned(p);
	fill(fd, p, 8); /* and a later context can heal it */
	CHECK(page_is(p, 8));
}

ROW(row058_dontneed_removes_poison)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);

	poison(fd, p, 2);
	EQ(madvise(p, PAGE, MADV_DONTNEED), 0);
	read_misses(fd, p, 1);
	is_poisoned(p + PAGE);
	disarm(fd, p, 2);
	EQ(madvise(p + PAGE, PAGE, MADV_DONTNEED), 0); /* in plain memory, too */
	EQ(access_read(p + PAGE, NULL), 0);
}

ROW(row058_madv_free_removes_poison)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);

	poison(fd, p, 2);
	EQ(madvise(p, PAGE, MADV_FREE), 0);
	read_misses(fd, p, 1);
	is_poisoned(p + PAGE);
}

ROW(row058_munmap_removes_poison)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, MISS);

	poison(fd, p, 2);
	EQ(munmap(p, PAGE), 0);
	CHECK(mmap(p, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p);
	EQ(access_read(p, NULL), 0);
	CHECK(mmap(p + PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + PAGE);
	EQ(access_write(p + PAGE, 1, NULL), 0);
}

/* Poison in a WP-only registration: nobody is asked, SIGBUS all the same. */
ROW(s25_poison_in_wp_only)
{
	uint8_t *p;
	int fd = make_armed(&p, 2, WP);

	poison(fd, p, 1);
	is_poisoned(p);
	writes_freely(fd, p + PAGE, 1);
	no_message(fd);
}
