/* SPDX-License-Identifier: MIT */
/* /dev/userfaultfd: the node makes descriptors, and they work after the node is closed. */
#include "test/programs/prog.h"

static void serve_page(int fd)
{
	char *mem = map_pages(1);
	struct monitor m;

	uffd_handshake(fd, 0);
	arm(fd, mem, 1, UFFDIO_REGISTER_MODE_MISSING);
	monitor_start(&m, fd, 'v');
	CHECK(mem[9] == 'v');
	monitor_stop(&m);
	CHECK(m.nr_missing == 1);
}

int main(void)
{
	int dev, fd, second;

	alarm(LIMIT);
	dev = uffd_or_skip(open("/dev/userfaultfd", O_RDWR | O_CLOEXEC));
	CHECK(fcntl(dev, F_GETFD) == FD_CLOEXEC);
	CHECK(ioctl(dev, USERFAULTFD_IOC_NEW, 0x40000000) == -1 && errno == EINVAL);
	CHECK(ioctl(dev, USERFAULTFD_IOC_NEW + 1, 0) == -1 && errno == EINVAL);
	fd = ioctl(dev, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	second = ioctl(dev, USERFAULTFD_IOC_NEW, O_NONBLOCK);
	CHECK(fd >= 0 && second >= 0 && fd != second);
	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC && fcntl(second, F_GETFD) == 0);
	CHECK(close(dev) == 0);
	serve_page(fd);
	serve_page(second);
	CHECK(open("/dev/userfaultfd-", O_RDWR) == -1 && errno == ENOENT);
	dev = openat(AT_FDCWD, "/dev/userfaultfd", O_RDWR);
	CHECK(dev >= 0 && fcntl(dev, F_GETFD) == 0);
	CHECK(close(dev) == 0);
	return done("dev_userfaultfd");
}
