/* SPDX-License-Identifier: MIT */
/* The userfaultfd ABI of Linux 6.18 for systems whose <linux/userfaultfd.h> is older. Numbers only; nothing else. */
#pragma once
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>

#ifndef USERFAULTFD_IOC
#define USERFAULTFD_IOC 0xAA
#define USERFAULTFD_IOC_NEW _IO(USERFAULTFD_IOC, 0x00)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
#endif

/* The command numbers, for masks and for struct-size checks against the table of the reference. */
#define NR_REGISTER 0x00
#define NR_UNREGISTER 0x01
#define NR_WAKE 0x02
#define NR_COPY 0x03
#define NR_ZEROPAGE 0x04
#define NR_MOVE 0x05
#define NR_WRITEPROTECT 0x06
#define NR_CONTINUE 0x07
#define NR_POISON 0x08
#define NR_API 0x3F

#ifndef UFFDIO_POISON
#define _UFFDIO_POISON NR_POISON
struct uffdio_poison {
	struct uffdio_range range;
#define UFFDIO_POISON_MODE_DONTWAKE ((__u64)1 << 0)
	__u64 mode;
	__s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, NR_POISON, struct uffdio_poison)
#endif

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef EHWPOISON
#define EHWPOISON 133
#endif
