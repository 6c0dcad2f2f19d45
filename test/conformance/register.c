/* SPDX-License-Identifier: MIT */
/* REGISTER, UNREGISTER and WAKE: rows 13 to 30, sections 2.2 to 2.4. */
#include "test/conformance/conform.h"
#include <sys/auxv.h>
#include <sys/shm.h>

#define BIT(nr) (1ull << (nr))
#define NEVER (1ull << 62)

/* The mask of table 2.2.2 for anonymous memory, less what the target does not have. */
static uint64_t anon_mask(uint64_t mode)
{
	return BIT(NR_WAKE) | BIT(NR_COPY) | BIT(NR_ZEROPAGE) | BIT(NR_POISON) |
	       (has(UFFD_FEATURE_MOVE) ? BIT(NR_MOVE) : 0) | (mode & WP ? BIT(NR_WRITEPROTECT) : 0);
}

static uint64_t shmem_mask(uint64_t mode)
{
	return anon_mask(mode) | (mode & MINOR ? BIT(NR_CONTINUE) : 0);
}

/* The page is not managed by anybody: COPY finds no context there and accesses are silent. */
static void is_plain(int fd, uint8_t *p)
{
	EQ(probe_copy(fd, p, 1), ENOENT);
	writes_freely(fd, p, 0x31);
}

static void misses(int fd, uint8_t *p)
{
	read_misses(fd, p, 0x42);
}

static uint8_t *file_map(int prot, int flags, int open_flags)
{
	char path[] = "/tmp/conformance.XXXXXX";
	int fd = mkstemp(path), again;
	uint8_t *p;

	CHECK(fd >= 0);
	EQ(ftruncate(fd, 4 * PAGE), 0);
	again = open(path, open_flags | O_CLOEXEC);
	CHECK(again >= 0);
	p = mmap(NULL, 4 * PAGE, prot, flags, again, 0);
	CHECK(p != MAP_FAILED);
	unlink(path);
	close(fd);
	close(again);
	return p;
}

/* A file that is not shmem: the program itself. */
static uint8_t *regular_map(int flags)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	uint8_t *p = mmap(NULL, PAGE, PROT_READ, flags, fd, 0);

	CHECK(fd >= 0);
	CHECK(p != MAP_FAILED);
	close(fd);
	return p;
}

ROW(row013_anon_modes)
{
	for (uint64_t mode = 1; mode < 8; mode++) {
		uint8_t *p = map_pages(2);
		int fd = uffd_new(0);
		uint64_t ioctls;

		EQ(try_register(fd, p, 2 * PAGE, mode, &ioctls), mode & MINOR ? EINVAL : 0);
		EQ(ioctls, mode & MINOR ? UNTOUCHED : anon_mask(mode));
		if (mode & MINOR)
			is_plain(fd, p);
		close(fd);
	}
}

ROW(row013_shmem_modes)
{
	for (uint64_t mode = 1; mode < 8; mode++) {
		uint8_t *p = mmap(NULL, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		bool can = has(UFFD_FEATURE_MISSING_SHMEM) && (!(mode & WP) || has(UFFD_FEATURE_WP_HUGETLBFS_SHMEM)) &&
			   (!(mode & MINOR) || has(UFFD_FEATURE_MINOR_SHMEM));
		int fd = uffd_new(0);
		uint64_t ioctls;

		CHECK(p != MAP_FAILED);
		EQ(try_register(fd, p, 2 * PAGE, mode, &ioctls), can ? 0 : EINVAL);
		EQ(ioctls, can ? shmem_mask(mode) : UNTOUCHED);
		close(fd);
	}
}

ROW(row014_bad_mode)
{
	uint8_t *p = map_pages(1);
	int fd = uffd_new(0);
	uint64_t ioctls;

	EQ(try_register(fd, p, PAGE, 0, &ioctls), EINVAL);
	EQ(ioctls, UNTOUCHED);
	for (int bit = 3; bit < 64; bit++)
		EQ(try_register(fd, p, PAGE, MISS | (1ull << bit), NULL), EINVAL);
	is_plain(fd, p);
}

ROW(row014_bad_range)
{
	uint8_t *p = map_pages(4);
	int fd = uffd_new(0);
	uint64_t ioctls;

	EQ(try_register(fd, p + 1, PAGE, MISS, &ioctls), EINVAL);
	EQ(ioctls, UNTOUCHED);
	EQ(try_register(fd, p, PAGE + 8, MISS, NULL), EINVAL);
	EQ(try_register(fd, p, 1, MISS, NULL), EINVAL);
	EQ(try_register(fd, p, 0, MISS, NULL), EINVAL);
	EQ(try_register(fd, (void *)TASK_SIZE_4L, PAGE, MISS, NULL), EINVAL);
	EQ(try_register(fd, (void *)~(PAGE - 1), PAGE, MISS, NULL), EINVAL);
	EQ(try_register(fd, p, TASK_SIZE_4L, MISS, NULL), EINVAL);
	EQ(try_register(fd, p, -(uintptr_t)p, MISS, NULL), EINVAL);
	EQ(try_register(fd, p, -PAGE, MISS, NULL), EINVAL);
	EQ(try_register(fd, p, ~0xfffull - (uintptr_t)p + 2 * PAGE, MISS, NULL), EINVAL);
	is_plain(fd, p);
}

ROW(row014_no_vma)
{
	uint8_t *p = map_pages(3);
	int fd = uffd_new(0);
	uint64_t ioctls;

	EQ(munmap(p - PAGE, 5 * PAGE), 0);
	EQ(try_register(fd, p, 3 * PAGE, MISS, &ioctls), EINVAL);
	EQ(ioctls, UNTOUCHED);
	EQ(try_register(fd, p, 3 * PAGE, WP, NULL), EINVAL);
}

ROW(row015_hole_in_the_middle)
{
	uint8_t *p = map_pages(3);
	int fd = uffd_new(0);
	uint64_t ioctls;

	EQ(munmap(p + PAGE, PAGE), 0);
	EQ(try_register(fd, p, 3 * PAGE, MISS, &ioctls), 0);
	EQ(ioctls, anon_mask(MISS));
	misses(fd, p);
	misses(fd, p + 2 * PAGE);
}

ROW(row015_hole_at_start_and_end)
{
	uint8_t *p = map_pages(3);
	int fd = uffd_new(0);

	EQ(munmap(p, PAGE), 0);
	EQ(munmap(p + 2 * PAGE, PAGE), 0);
	EQ(try_register(fd, p, 3 * PAGE, MISS, NULL), 0);
	misses(fd, p + PAGE);
}

/* What is mapped later into a hole of the range is not armed. */
ROW(row015_hole_stays_plain)
{
	uint8_t *p = map_pages(3);
	int fd = uffd_new(0);

	EQ(munmap(p + PAGE, PAGE), 0);
	EQ(try_register(fd, p, 3 * PAGE, MISS, NULL), 0);
	CHECK(mmap(p + PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + PAGE);
	is_plain(fd, p + PAGE);
	misses(fd, p);
}

ROW(row016_anon_then_regular_file)
{
	int exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), fd = uffd_new(0);
	uint8_t *p = map_pages(2);

	CHECK(mmap(p + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, exe, 0) == p + PAGE);
	EQ(try_register(fd, p, 2 * PAGE, MISS, NULL), EINVAL);
	is_plain(fd, p);
}

ROW(row017_regular_file)
{
	int fd = uffd_new(0);

	EQ(try_register(fd, regular_map(MAP_PRIVATE), PAGE, MISS, NULL), EINVAL);
	EQ(try_register(fd, regular_map(MAP_PRIVATE), PAGE, WP, NULL), EINVAL);
	EQ(try_register(fd, regular_map(MAP_SHARED), PAGE, MISS, NULL), EINVAL);
	EQ(try_register(fd, regular_map(MAP_SHARED), PAGE, WP, NULL), EINVAL);
}

/* The compatibility check comes first, so where shared memory cannot be registered at all the answer is EINVAL. */
ROW(row018_shared_mapping_of_read_only_fd)
{
	int memfd = memfd_create("conformance", MFD_CLOEXEC), ro, fd = uffd_new(0);
	char path[64];
	uint8_t *p;

	CHECK(memfd >= 0);
	EQ(ftruncate(memfd, PAGE), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(ro >= 0);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 0);
	CHECK(p != MAP_FAILED);
	EQ(try_register(fd, p, PAGE, MISS, NULL), has(UFFD_FEATURE_MISSING_SHMEM) ? EPERM : EINVAL);
	p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, ro, 0);
	CHECK(p != MAP_FAILED);
	EQ(try_register(fd, p, PAGE, MISS, NULL), has(UFFD_FEATURE_MISSING_SHMEM) ? 0 : EINVAL);
}

ROW(row018_any_protection)
{
	int fd = uffd_new(0);
	uint8_t *none = map_prot(1, PROT_NONE), *ro = map_prot(1, PROT_READ), *rx = map_prot(1, PROT_READ | PROT_EXEC);

	arm(fd, none, 1, MISS | WP);
	arm(fd, ro, 1, MISS | WP);
	arm(fd, rx, 1, MISS);
	misses(fd, ro);
	misses(fd, rx);
	EQ(mprotect(none, PAGE, RW), 0);
	misses(fd, none);
}

ROW(row019_partly_owned_by_another)
{
	uint8_t *p = map_pages(3);
	int a = uffd_new(0), b = uffd_new(0);
	uint64_t ioctls;

	arm(a, p + PAGE, 1, MISS);
	EQ(try_register(b, p, 3 * PAGE, WP, &ioctls), EBUSY);
	EQ(ioctls, UNTOUCHED);
	EQ(try_register(b, p, 3 * PAGE, MISS, &ioctls), EBUSY);
	is_plain(b, p);
	is_plain(b, p + 2 * PAGE);
	misses(a, p + PAGE);
	arm(b, p, 1, MISS | WP); /* the parts that nobody owns can be had */
	arm(b, p + 2 * PAGE, 1, MISS);
}

ROW(row020_vdso_and_vvar)
{
	uint8_t *vdso = (uint8_t *)getauxval(AT_SYSINFO_EHDR);
	int fd = uffd_new(0);

	if (!vdso)
		row_skip("no vdso here");
	EQ(try_register(fd, vdso, PAGE, MISS, NULL), EINVAL);
	EQ(try_register(fd, vdso, PAGE, WP, NULL), EINVAL);
	EQ(try_register(fd, vdso - PAGE, PAGE, MISS, NULL), EINVAL);
}

ROW(row020_sysv_shared_memory)
{
	int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600), fd = uffd_new(0);
	void *p;

	if (id < 0)
		row_skip("shmget: %s", strerror(errno));
	p = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	CHECK(p != (void *)-1);
	EQ(try_register(fd, p, PAGE, MISS, NULL), EINVAL);
	EQ(try_register(fd, p, PAGE, WP, NULL), EINVAL);
}

ROW(row020_droppable)
{
	void *p = mmap(NULL, PAGE, RW, MAP_DROPPABLE | MAP_ANONYMOUS, -1, 0);
	int fd = uffd_new(0);

	if (target.engine)
		row_skip("droppable memory does not show from outside: see CAVEATS");
	if (p == MAP_FAILED)
		row_skip("MAP_DROPPABLE: %s", strerror(errno));
	EQ(try_register(fd, p, PAGE, MISS, NULL), EINVAL);
	EQ(try_register(fd, p, PAGE, WP, NULL), EINVAL);
}

ROW(row020_memfd_secret)
{
	int secret = syscall(SYS_memfd_secret, O_CLOEXEC), fd = uffd_new(0);
	void *p;

	if (secret < 0)
		row_skip("memfd_secret: %s", strerror(errno));
	EQ(ftruncate(secret, PAGE), 0);
	p = mmap(NULL, PAGE, RW, MAP_SHARED, secret, 0);
	if (p == MAP_FAILED)
		row_skip("memfd_secret mapping: %s", strerror(errno));
	EQ(try_register(fd, p, PAGE, MISS, NULL), EINVAL);
}

ROW(row022_missing_to_wp)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);
	uint64_t ioctls;

	arm(fd, p, 2, MISS);
	EQ(try_register(fd, p, 2 * PAGE, WP, &ioctls), 0);
	EQ(ioctls, anon_mask(WP));
	writes_freely(fd, p, 1); /* no longer missing */
	protect(fd, p, 1);
	write_traps(fd, p, 2);
}

ROW(row022_wp_to_both)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);
	uint64_t ioctls;

	arm(fd, p, 2, WP);
	touch(p, 1, 1);
	protect(fd, p, 2);
	EQ(try_register(fd, p, 2 * PAGE, MISS | WP, &ioctls), 0);
	EQ(ioctls, anon_mask(WP));
	write_traps(fd, p, 2);
	misses(fd, p + PAGE);
}

/* A subset of what is registered changes nothing, though the reply is that of the request. */
ROW(row022_subset_is_a_no_op)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);
	uint64_t ioctls;

	arm(fd, p, 2, MISS | WP);
	EQ(try_register(fd, p, 2 * PAGE, MISS, &ioctls), 0);
	EQ(ioctls, anon_mask(MISS));
	fill(fd, p, 1);
	protect(fd, p, 1);
	write_traps(fd, p, 2);
	EQ(try_register(fd, p, 2 * PAGE, WP, &ioctls), 0);
	EQ(ioctls, anon_mask(WP));
	misses(fd, p + PAGE);
}

ROW(row022_same_mode_again)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);

	arm(fd, p, 2, WP);
	touch(p, 2, 1);
	protect(fd, p, 2);
	arm(fd, p, 2, WP);
	arm(fd, p, 1, WP);
	write_traps(fd, p, 2);
	write_traps(fd, p + PAGE, 2);
}

ROW(row023_bits_survive_a_missing_interlude)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);

	arm(fd, p, 2, WP);
	touch(p, 2, 1);
	protect(fd, p, 2);
	arm(fd, p, 2, MISS);
	writes_freely(fd, p, 2); /* the bit is inert, and a write that passes does not lift it */
	EQ(try_protect(fd, p, PAGE, 0), ENOENT);
	arm(fd, p, 2, WP);
	write_traps(fd, p + PAGE, 3);
}

ROW(row024_partial_unregister)
{
	uint8_t *p = map_pages(3);
	int fd = uffd_new(0);

	arm(fd, p, 3, MISS);
	disarm(fd, p + PAGE, 1);
	is_plain(fd, p + PAGE);
	misses(fd, p);
	misses(fd, p + 2 * PAGE);
	EQ(try_copy(fd, p, p, 3 * PAGE, 0, NULL), ENOENT); /* three mappings now */
}

ROW(row024_merge_on_reregister)
{
	uint8_t *p = map_pages(3), *src = map_pages(3);
	int fd = uffd_new(0);
	int64_t out;

	touch(src, 3, 5);
	arm(fd, p, 3, MISS);
	disarm(fd, p + PAGE, 1);
	arm(fd, p + PAGE, 1, MISS);
	EQ(try_copy(fd, p, src, 3 * PAGE, 0, &out), 0); /* one mapping again */
	EQ(out, 3 * PAGE);
	CHECK(page_is(p, 5) && page_is(p + PAGE, 5) && page_is(p + 2 * PAGE, 5));
}

ROW(row024_no_merge_across_contexts)
{
	uint8_t *p = map_pages(2), *src = map_pages(2);
	int a = uffd_new(0), b = uffd_new(0);
	int64_t out;

	touch(src, 2, 5);
	arm(a, p, 1, MISS);
	arm(b, p + PAGE, 1, MISS);
	EQ(try_copy(a, p, src, 2 * PAGE, 0, &out), ENOENT);
	EQ(out, -ENOENT);
	misses(a, p);
	misses(b, p + PAGE);
}

ROW(row024_different_modes_do_not_merge)
{
	uint8_t *p = map_pages(2), *src = map_pages(2);
	int fd = uffd_new(0);

	touch(src, 2, 5);
	arm(fd, p, 1, MISS);
	arm(fd, p + PAGE, 1, MISS | WP);
	EQ(try_copy(fd, p, src, 2 * PAGE, 0, NULL), ENOENT);
	fill(fd, p, 1);
	fill(fd, p + PAGE, 1);
}

ROW(row025_unregister_what_is_not)
{
	uint8_t *p = map_pages(4);
	int fd = uffd_new(0);

	disarm(fd, p, 4); /* never registered */
	arm(fd, p + PAGE, 1, MISS);
	disarm(fd, p, 4); /* partly */
	is_plain(fd, p + PAGE);
	EQ(munmap(p + 2 * PAGE, PAGE), 0);
	EQ(try_register(fd, p, 4 * PAGE, MISS, NULL), 0);
	disarm(fd, p, 4); /* with a hole */
	is_plain(fd, p);
	is_plain(fd, p + 3 * PAGE);
	disarm(fd, p, 4);
}

ROW(row026_unregister_another_contexts_range)
{
	uint8_t *p = map_pages(2);
	int a = uffd_new(0), b = uffd_new(0);

	arm(a, p, 2, MISS);
	EQ(try_unregister(b, p, 2 * PAGE), EINVAL);
	EQ(try_unregister(b, p, PAGE), EINVAL);
	misses(a, p);
	misses(a, p + PAGE);
}

/* The whole range is checked before any of it is touched. */
ROW(row026_unregister_mixed_owners)
{
	uint8_t *p = map_pages(2);
	int a = uffd_new(0), b = uffd_new(0);

	arm(a, p, 1, MISS);
	arm(b, p + PAGE, 1, MISS);
	EQ(try_unregister(a, p, 2 * PAGE), EINVAL);
	misses(a, p);
	misses(b, p + PAGE);
}

ROW(row026_unregister_bad_range)
{
	uint8_t *p = map_pages(3);
	int fd = uffd_new(0);

	arm(fd, p, 1, MISS);
	EQ(try_unregister(fd, p + 1, PAGE), EINVAL);
	EQ(try_unregister(fd, p, PAGE + 1), EINVAL);
	EQ(try_unregister(fd, p, 0), EINVAL);
	EQ(try_unregister(fd, (void *)TASK_SIZE_4L, PAGE), EINVAL);
	EQ(try_unregister(fd, p, -PAGE), EINVAL);
	EQ(try_unregister(fd, p, TASK_SIZE_4L), EINVAL);
	misses(fd, p);
	EQ(munmap(p - PAGE, 5 * PAGE), 0);
	EQ(try_unregister(fd, p, 3 * PAGE), EINVAL); /* no VMA */
}

ROW(row026_unregister_regular_file)
{
	int fd = uffd_new(0);

	EQ(try_unregister(fd, regular_map(MAP_PRIVATE), PAGE), EINVAL);
	EQ(try_unregister(fd, (void *)getauxval(AT_SYSINFO_EHDR), PAGE), EINVAL);
}

ROW(row027_unregister_frees_missing_waiter)
{
	struct actor reader = {0}, writer = {0};
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);

	arm(fd, p, 2, MISS);
	start_read(&reader, p);
	message(fd, MSG_READ, p);
	start_write(&writer, p + PAGE, 9);
	message(fd, MSG_WRITE, p + PAGE);
	disarm(fd, p, 1);
	finished(&reader);
	EQ(reader.value, 0);
	still_blocked(&writer); /* outside of the range */
	disarm(fd, p, 2);
	finished(&writer);
	EQ(p[PAGE], 9);
	no_message(fd);
}

ROW(row027_unregister_leaves_wp_waiter)
{
	struct actor writer = {0};
	uint8_t *p = map_pages(1);
	int fd = uffd_new(0);

	arm(fd, p, 1, WP);
	touch(p, 1, 1);
	protect(fd, p, 1);
	start_write(&writer, p, 9);
	message(fd, MSG_WP, p);
	disarm(fd, p, 1);
	still_blocked(&writer);
	wake(fd, p, 1);
	finished(&writer);
	EQ(p[0], 9);
	EQ(p[1], 1);
	no_message(fd);
}

/* Where MISSING is registered too, its waiters are woken whatever they wait for. */
ROW(row027_unregister_frees_wp_waiter_of_both_modes)
{
	struct actor writer = {0};
	uint8_t *p = map_pages(1);
	int fd = uffd_new(0);

	arm(fd, p, 1, MISS | WP);
	fill_mode(__FILE__, __LINE__, fd, p, 1, UFFDIO_COPY_MODE_WP);
	start_write(&writer, p, 9);
	message(fd, MSG_WP, p);
	disarm(fd, p, 1);
	finished(&writer);
	EQ(p[0], 9);
}

ROW(row028_unregister_clears_bits_keeps_data)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);

	arm(fd, p, 2, WP);
	touch(p, 2, 0x77);
	protect(fd, p, 2);
	disarm(fd, p, 2);
	CHECK(page_is(p, 0x77) && page_is(p + PAGE, 0x77));
	writes_freely(fd, p, 1);
	arm(fd, p, 2, WP); /* starts clean */
	writes_freely(fd, p + PAGE, 2);
}

ROW(row028_unregister_clears_markers)
{
	uint8_t *p = map_pages(1);
	int fd = uffd_new(UFFD_FEATURE_WP_UNPOPULATED);

	arm(fd, p, 1, WP);
	protect(fd, p, 1);
	disarm(fd, p, 1);
	arm(fd, p, 1, WP);
	writes_freely(fd, p, 2);
}

ROW(row028_unregister_keeps_poison)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);

	arm(fd, p, 2, MISS | WP);
	poison(fd, p, 1);
	disarm(fd, p, 2);
	EQ(access_read(p, NULL), SIGBUS);
	EQ(access_write(p, 1, NULL), SIGBUS);
	EQ(access_read(p + PAGE, NULL), 0);
	arm(fd, p, 2, MISS);
	EQ(access_read(p, NULL), SIGBUS);
}

ROW(row029_wake_errors)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);

	EQ(try_wake(fd, p + 1, PAGE), EINVAL);
	EQ(try_wake(fd, p, 7), EINVAL);
	EQ(try_wake(fd, p, 0), EINVAL);
	EQ(try_wake(fd, (void *)TASK_SIZE_4L, PAGE), EINVAL);
	EQ(try_wake(fd, p, TASK_SIZE_4L), EINVAL);
	EQ(try_wake(fd, p, -PAGE), EINVAL);
	wake(fd, p, 2); /* not registered */
	EQ(try_wake(fd, NULL, PAGE), 0);
	EQ(try_wake(fd, (void *)(TASK_SIZE_4L - PAGE), PAGE), 0);
	EQ(try_wake(fd, NULL, TASK_SIZE_4L), 0);
	EQ(munmap(p, 2 * PAGE), 0);
	wake(fd, p, 2);
}

ROW(row030_wake_without_resolving)
{
	struct actor reader = {0};
	uint8_t *p = map_pages(1);
	int fd = uffd_new(0);

	arm(fd, p, 1, MISS);
	start_read(&reader, p + 17);
	for (int i = 0; i < 3; i++) {
		message(fd, MSG_READ, p);
		wake(fd, p, 1);
	}
	message(fd, MSG_READ, p);
	fill(fd, p, 5);
	finished(&reader);
	EQ(reader.value, 5);
	no_message(fd);
}

ROW(s24_wake_is_for_its_own_context_and_range)
{
	struct actor reader = {0};
	uint8_t *p = map_pages(2);
	int a = uffd_new(0), b = uffd_new(0);

	arm(a, p, 2, MISS);
	start_read(&reader, p + PAGE);
	message(a, MSG_READ, p + PAGE);
	wake(b, p, 2);
	wake(a, p, 1);
	no_message(a);
	still_blocked(&reader);
	wake(a, p + PAGE, 1);
	message(a, MSG_READ, p + PAGE);
	zeropage(a, p + PAGE, 1);
	finished(&reader);
}

/* An unread fault is woken too: its message goes away with it and the retry sends another. */
ROW(s24_wake_before_the_message_was_read)
{
	struct actor reader = {0};
	uint8_t *p = map_pages(1);
	int fd = uffd_new(0);

	arm(fd, p, 1, MISS);
	start_read(&reader, p);
	CHECK(msg_pending(fd));
	wake(fd, p, 1);
	message(fd, MSG_READ, p);
	no_message(fd);
	fill(fd, p, 1);
	finished(&reader);
}

ROW(s24_wake_with_exact_address)
{
	struct actor reader = {0};
	uint8_t *p = map_pages(1);
	int fd = uffd_new(UFFD_FEATURE_EXACT_ADDRESS);

	arm(fd, p, 1, MISS);
	start_read(&reader, p + 0x123);
	message(fd, MSG_READ, p + 0x123);
	wake(fd, p, 1);
	message(fd, MSG_READ, p + 0x123);
	fill(fd, p, 1);
	finished(&reader);
}

ROW(s223_reregister_leaves_the_waiter_of_a_dropped_mode)
{
	struct actor reader = {0};
	uint8_t *p = map_pages(1);
	int fd = uffd_new(0);

	arm(fd, p, 1, MISS);
	start_read(&reader, p);
	message(fd, MSG_READ, p);
	arm(fd, p, 1, WP);
	still_blocked(&reader);
	wake(fd, p, 1);
	finished(&reader);
	EQ(reader.value, 0);
}

ROW(s22_register_populated_memory)
{
	uint8_t *p = map_pages(4);
	int fd = uffd_new(0);

	touch(p, 1, 1);
	touch(p + 2 * PAGE, 1, 3);
	arm(fd, p, 4, MISS);
	EQ(access_read(p, NULL), 0); /* what is there does not miss */
	CHECK(page_is(p, 1) && page_is(p + 2 * PAGE, 3));
	misses(fd, p + PAGE);
	misses(fd, p + 3 * PAGE);
	EQ(probe_copy(fd, p, 9), EEXIST);
	no_message(fd);
}

/* Memory that was only read holds the zero page: present. */
ROW(s22_register_read_memory)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);

	EQ(access_read(p, NULL), 0);
	arm(fd, p, 2, MISS);
	EQ(probe_copy(fd, p, 9), EEXIST);
	writes_freely(fd, p, 4);
	misses(fd, p + PAGE);
}

ROW(s22_register_stack)
{
	uint8_t stack[4 * PAGE], *p = (uint8_t *)(((uintptr_t)stack + PAGE) & ~(PAGE - 1));
	int fd = uffd_new(0);

	touch(p, 1, 1);
	arm(fd, p, 1, MISS);
	EQ(probe_copy(fd, p, 9), EEXIST);
	disarm(fd, p, 1);
	CHECK(page_is(p, 1));
}

ROW(s22_register_heap)
{
	uint8_t *block = malloc(64 * PAGE), *p = (uint8_t *)(((uintptr_t)block + PAGE) & ~(PAGE - 1));
	int fd = uffd_new(0);

	CHECK(block != NULL);
	touch(p, 1, 1);
	arm(fd, p, 62, MISS | WP);
	misses(fd, p + 40 * PAGE);
	protect(fd, p, 62);
	write_traps(fd, p, 2);
	disarm(fd, p, 62);
	free(block);
}

ROW(s22_register_private_tmpfs_or_disk_file)
{
	uint8_t *p = file_map(RW, MAP_PRIVATE, O_RDWR);
	int fd = uffd_new(0), err = try_register(fd, p, PAGE, MISS, NULL);

	if (!has(UFFD_FEATURE_MISSING_SHMEM))
		EQ(err, EINVAL);
	else
		CHECK(err == 0 || err == EINVAL); /* tmpfs or not: both are right, by where /tmp is */
}

/* Sub-ranges with different modes, registered over one mapping. */
ROW(s22_register_sub_ranges)
{
	uint8_t *p = map_pages(4);
	int fd = uffd_new(0);

	arm(fd, p + PAGE, 1, MISS);
	arm(fd, p + 2 * PAGE, 1, WP);
	writes_freely(fd, p, 1);
	writes_freely(fd, p + 3 * PAGE, 1);
	writes_freely(fd, p + 2 * PAGE, 1);
	protect(fd, p + 2 * PAGE, 1);
	write_traps(fd, p + 2 * PAGE, 2);
	misses(fd, p + PAGE);
	EQ(try_protect(fd, p + PAGE, PAGE, UFFDIO_WRITEPROTECT_MODE_WP), ENOENT);
}
