/* SPDX-License-Identifier: MIT */
/* userfaultfd(2), /dev/userfaultfd and the UFFDIO_API handshake: rows 1 to 12, sections 1.1 to 1.4. */
#include "test/conformance/conform.h"
#include <sys/prctl.h>
#include <sys/resource.h>

#define NOBODY 65534
#define KERNEL_FEATURES 0x1ffffull
#define UNKNOWN_FEATURE (1ull << 40)

static bool all_zero(const void *p, size_t n)
{
	const uint8_t *b = p;

	while (n--)
		if (*b++)
			return false;
	return true;
}

/* errno of the handshake; the struct afterwards in *api */
static int handshake(int fd, uint64_t number, uint64_t features, struct uffdio_api *api)
{
	*api = (struct uffdio_api){.api = number, .features = features, .ioctls = UNTOUCHED};
	return ioctl(fd, UFFDIO_API, api) ? errno : 0;
}

ROW(row001_create_flags)
{
	static const int flags[] = {0, O_CLOEXEC, O_NONBLOCK, O_CLOEXEC | O_NONBLOCK};

	for (unsigned i = 0; i < 8; i++) {
		int f = flags[i / 2] | (i & 1 ? UFFD_USER_MODE_ONLY : 0), fd;

		if (!(i & 1) && !target.kernel_faults)
			continue;
		fd = uffd_create(f);
		CHECK(fd >= 0);
		EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | (f & O_NONBLOCK));
		EQ(fcntl(fd, F_GETFD), f & O_CLOEXEC ? FD_CLOEXEC : 0);
		EQ(close(fd), 0);
	}
}

ROW(row002_create_unknown_flag)
{
	need_kernel_faults();
	for (int bit = 1; bit < 31; bit++) {
		if ((1 << bit) == O_CLOEXEC || (1 << bit) == O_NONBLOCK)
			continue;
		EQ(uffd_create(1 << bit), -1);
		EQ(errno, EINVAL);
	}
}

static int sysctl_value(void)
{
	int fd = open("/proc/sys/vm/unprivileged_userfaultfd", O_RDONLY | O_CLOEXEC);
	char c = '?';

	if (fd < 0 || read(fd, &c, 1) != 1)
		row_skip("vm.unprivileged_userfaultfd cannot be read");
	close(fd);
	return c - '0';
}

static void become_nobody(void)
{
	if (geteuid() == 0) {
		EQ(setresgid(NOBODY, NOBODY, NOBODY), 0);
		EQ(setresuid(NOBODY, NOBODY, NOBODY), 0);
	}
}

/* Faultline needs no privilege: there the sysctl never applies. */
ROW(row003_create_unprivileged)
{
	bool refused = !target.engine && sysctl_value() == 0;
	int fd;

	become_nobody();
	fd = uffd_create(0);
	if (refused) {
		EQ(fd, -1);
		EQ(errno, EPERM);
	} else {
		CHECK(fd >= 0);
	}
	CHECK(uffd_create(UFFD_USER_MODE_ONLY) >= 0);
}

ROW(row004_create_unprivileged_unknown_flag)
{
	bool refused = !target.engine && sysctl_value() == 0;

	become_nobody();
	EQ(uffd_create(2), -1);
	EQ(errno, refused ? EPERM : EINVAL);
	EQ(uffd_create(UFFD_USER_MODE_ONLY | 2), -1);
	EQ(errno, EINVAL);
}

static int open_device(void)
{
	int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

	if (dev < 0 && errno == ENOENT)
		row_skip("this machine has no /dev/userfaultfd");
	if (dev < 0 && errno == EACCES && !target.engine)
		row_skip("this user may not open /dev/userfaultfd");
	CHECK(dev >= 0);
	return dev;
}

ROW(row005_device)
{
	int dev = open_device(), fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_NONBLOCK | O_CLOEXEC);

	CHECK(fd >= 0);
	EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	EQ(uffd_handshake(fd, 0), 0);
	EQ(ioctl(dev, USERFAULTFD_IOC_NEW, 2), -1);
	EQ(errno, EINVAL);
	EQ(ioctl(dev, USERFAULTFD_IOC_NEW + 1, 0), -1);
	EQ(errno, EINVAL);
}

ROW(row005_device_keeps_its_power)
{
	int dev = open_device(), fd;

	become_nobody();
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, 0);
	CHECK(fd >= 0);
	EQ(uffd_handshake(fd, 0), 0);
}

ROW(row006_handshake_wrong_api)
{
	struct uffdio_api api;
	int fd = uffd_raw(0);

	EQ(handshake(fd, 0xab, 0, &api), EINVAL);
	CHECK(all_zero(&api, sizeof(api)));
	EQ(handshake(fd, 0, 0, &api), EINVAL);
	CHECK(all_zero(&api, sizeof(api)));
	EQ(handshake(fd, UFFD_API, 0, &api), 0);
}

ROW(row006_handshake_unknown_feature)
{
	struct uffdio_api api;
	int fd = uffd_raw(0);

	for (int bit = 17; bit < 64; bit++) {
		EQ(handshake(fd, UFFD_API, 1ull << bit, &api), EINVAL);
		CHECK(all_zero(&api, sizeof(api)));
	}
	EQ(handshake(fd, UFFD_API, UNKNOWN_FEATURE | UFFD_FEATURE_THREAD_ID, &api), EINVAL);
	EQ(handshake(fd, UFFD_API, 0, &api), 0);
}

/* A feature that is not in the reply is refused as an unknown bit. */
ROW(row006_handshake_each_feature)
{
	for (int bit = 0; bit < 17; bit++) {
		bool fork_event = (1ull << bit) == UFFD_FEATURE_EVENT_FORK;
		struct uffdio_api api;
		int fd = uffd_raw(0), err = handshake(fd, UFFD_API, 1ull << bit, &api);

		if (has(1ull << bit) && fork_event && geteuid() != 0)
			continue; /* row 8 */
		EQ(err, has(1ull << bit) ? 0 : EINVAL);
		EQ(api.features, err ? 0 : target.features);
		close(fd);
	}
}

ROW(row007_handshake_twice)
{
	struct uffdio_api api;
	int fd = uffd_raw(0);

	EQ(handshake(fd, UFFD_API, UFFD_FEATURE_THREAD_ID, &api), 0);
	EQ(handshake(fd, UFFD_API, UFFD_FEATURE_THREAD_ID, &api), EINVAL);
	CHECK(all_zero(&api, sizeof(api)));
	EQ(handshake(fd, UFFD_API, 0, &api), EINVAL);
	CHECK(all_zero(&api, sizeof(api)));
	arm(fd, map_pages(1), 1, MISS); /* the first one still holds */
}

/* Without EVENT_FORK in the reply the bit is unknown to everybody. */
ROW(row008_event_fork_needs_privilege)
{
	int fd = uffd_raw(0), refused = has(UFFD_FEATURE_EVENT_FORK) && !target.engine ? EPERM : EINVAL;
	struct uffdio_api api;

	if (has(UFFD_FEATURE_EVENT_FORK) && target.engine)
		row_skip("Faultline grants EVENT_FORK to everybody");
	become_nobody();
	EQ(handshake(fd, UFFD_API, UFFD_FEATURE_EVENT_FORK, &api), refused);
	CHECK(all_zero(&api, sizeof(api)));
	EQ(handshake(fd, UFFD_API, UFFD_FEATURE_EVENT_FORK | UNKNOWN_FEATURE, &api), refused);
	CHECK(all_zero(&api, sizeof(api)));
	EQ(handshake(fd, UFFD_API, 0, &api), 0);
}

ROW(row009_handshake_reply)
{
	struct uffdio_api api;

	EQ(handshake(uffd_raw(0), UFFD_API, 0, &api), 0);
	EQ(api.api, UFFD_API);
	EQ(api.features, target.features);
	EQ(api.ioctls, 0x8000000000000003ull);
	EQ(handshake(uffd_raw(0), UFFD_API, UFFD_FEATURE_SIGBUS, &api), 0);
	EQ(api.features, target.features); /* all that there are, not the enabled ones */
	if (!target.engine)
		EQ(api.features & KERNEL_FEATURES, KERNEL_FEATURES);
}

ROW(row011_before_the_handshake)
{
	uint8_t *p = map_pages(1), *src = map_pages(1);
	int fd = uffd_raw(O_NONBLOCK);
	struct uffd_msg m;
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	int64_t out;

	EQ(try_register(fd, p, PAGE, MISS, NULL), EINVAL);
	EQ(try_unregister(fd, p, PAGE), EINVAL);
	EQ(try_wake(fd, p, PAGE), EINVAL);
	EQ(try_copy(fd, p, src, PAGE, 0, &out), EINVAL);
	EQ(out, UNTOUCHED);
	EQ(try_zeropage(fd, p, PAGE, 0, &out), EINVAL);
	EQ(out, UNTOUCHED);
	EQ(try_poison(fd, p, PAGE, 0, &out), EINVAL);
	EQ(out, UNTOUCHED);
	EQ(try_continue(fd, p, PAGE, 0, &out), EINVAL);
	EQ(out, UNTOUCHED);
	EQ(try_protect(fd, p, PAGE, UFFDIO_WRITEPROTECT_MODE_WP), EINVAL);
	EQ(ioctl(fd, UFFDIO_REGISTER, NULL), -1);
	EQ(errno, EINVAL); /* before the arguments are looked at */
	EQ(read(fd, &m, sizeof(m)), -1);
	EQ(errno, EINVAL);
	EQ(poll(&pfd, 1, 0), 1);
	EQ(pfd.revents, POLLERR);
}

ROW(row011_read_before_the_handshake_blocking)
{
	struct uffd_msg m;
	int fd = uffd_raw(0);

	EQ(read(fd, &m, sizeof(m)), -1); /* does not wait */
	EQ(errno, EINVAL);
	EQ(read(fd, &m, 0), -1);
	EQ(errno, EINVAL);
}

ROW(row012_no_feature_gates_wp)
{
	uint8_t *p = map_pages(2);
	int fd = uffd_new(0);
	uint64_t ioctls;

	EQ(try_register(fd, p, 2 * PAGE, WP, &ioctls), 0);
	CHECK(ioctls & (1 << NR_WRITEPROTECT));
	touch(p, 2, 7);
	protect(fd, p, 1);
	write_traps(fd, p, 8);
	writes_freely(fd, p + PAGE, 9);
}

ROW(row012_no_feature_gates_poison)
{
	uint8_t *p = map_pages(1);
	int fd = uffd_new(0);

	arm(fd, p, 1, MISS);
	poison(fd, p, 1);
	EQ(access_read(p, NULL), SIGBUS);
}

/* MINOR and shared memory answer as on a kernel without them until the reply announces them. */
ROW(row012_no_feature_gates_minor_and_shmem)
{
	uint8_t *p = mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fd = uffd_new(0);

	CHECK(p != MAP_FAILED);
	EQ(try_register(fd, p, PAGE, MISS, NULL), has(UFFD_FEATURE_MISSING_SHMEM) ? 0 : EINVAL);
	EQ(try_unregister(fd, p, PAGE), has(UFFD_FEATURE_MISSING_SHMEM) ? 0 : EINVAL);
	EQ(try_register(fd, p, PAGE, MINOR, NULL), has(UFFD_FEATURE_MINOR_SHMEM) ? 0 : EINVAL);
}

ROW(s11_write_and_seek)
{
	int fd = uffd_new(0);
	uint64_t v = 1;

	EQ(write(fd, &v, sizeof(v)), -1);
	EQ(errno, EBADF);
	EQ(lseek(fd, 5, SEEK_SET), 0);
	EQ(lseek(fd, 0, SEEK_CUR), 0);
}

ROW(s11_nonblock_can_be_toggled)
{
	int fd = uffd_new_blocking(0);
	struct uffd_msg m;

	EQ(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
	EQ(read(fd, &m, sizeof(m)), -1);
	EQ(errno, EAGAIN);
}

ROW(s11_descriptor_limit)
{
	struct rlimit rl = {3, 3};
	int fd;

	EQ(setrlimit(RLIMIT_NOFILE, &rl), 0);
	fd = uffd_create(UFFD_USER_MODE_ONLY);
	EQ(fd, -1);
	EQ(errno, EMFILE);
}

ROW(s14_handshake_bad_pointer)
{
	int fd = uffd_raw(0);

	EQ(ioctl(fd, UFFDIO_API, NULL), -1);
	EQ(errno, EFAULT);
	EQ(ioctl(fd, UFFDIO_API, map_prot(1, PROT_NONE)), -1);
	EQ(errno, EFAULT);
	EQ(uffd_handshake(fd, 0), 0);
}

/* The reply cannot be written: the handshake did not happen. */
ROW(s14_handshake_reply_unwritable)
{
	struct uffdio_api *api = (void *)map_pages(1);
	int fd = uffd_raw(0);

	*api = (struct uffdio_api){.api = UFFD_API};
	EQ(mprotect(api, PAGE, PROT_READ), 0);
	EQ(ioctl(fd, UFFDIO_API, api), -1);
	EQ(errno, EFAULT);
	EQ(api->api, UFFD_API);
	EQ(try_register(fd, map_pages(1), PAGE, MISS, NULL), EINVAL);
	EQ(uffd_handshake(fd, 0), 0);
}
