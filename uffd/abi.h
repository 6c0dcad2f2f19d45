/* SPDX-License-Identifier: MIT */
/*
 * The userfaultfd ABI: <linux/userfaultfd.h> and what an older copy of it lacks. Numbers and layouts are facts of the uapi.
 */
#pragma once
#include <stdint.h>

#include <linux/types.h>
#include <linux/userfaultfd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#endif

#define ABI_IOC_NEW 0xAA00u /* on /dev/userfaultfd; the flags are the argument itself */

#define ABI_IOCTL_API 0xC018AA3Fu
#define ABI_IOCTL_REGISTER 0xC020AA00u
#define ABI_IOCTL_UNREGISTER 0x8010AA01u
#define ABI_IOCTL_WAKE 0x8010AA02u
#define ABI_IOCTL_COPY 0xC028AA03u
#define ABI_IOCTL_ZEROPAGE 0xC020AA04u
#define ABI_IOCTL_WRITEPROTECT 0xC018AA06u
#define ABI_IOCTL_POISON 0xC020AA08u

#define ABI_BIT_WAKE ((uint64_t)1 << 0x02)
#define ABI_BIT_COPY ((uint64_t)1 << 0x03)
#define ABI_BIT_ZEROPAGE ((uint64_t)1 << 0x04)
#define ABI_BIT_WRITEPROTECT ((uint64_t)1 << 0x06)
#define ABI_BIT_POISON ((uint64_t)1 << 0x08)
#define ABI_API_IOCTLS ((uint64_t)1 << 0x3F | (uint64_t)1 << 0x00 | (uint64_t)1 << 0x01)

/* COPY, the widest; the others are prefixes of this shape with their output where the table says. */
struct abi_copy {
	uint64_t dst, src, len, mode;
	int64_t copy;
};

/* ZEROPAGE, POISON: start, len, mode, then a signed output; REGISTER: the same with a mask as output. */
struct abi_fill {
	uint64_t start, len, mode;
	int64_t done;
};

struct abi_range {
	uint64_t start, len;
};

struct abi_wp {
	uint64_t start, len, mode;
};

#define ABI_MODE_DONTWAKE 1u	/* COPY, ZEROPAGE, POISON */
#define ABI_COPY_MODE_WP 2u
#define ABI_WP_MODE_WP 1u
#define ABI_WP_MODE_DONTWAKE 2u

/* O_NONBLOCK and O_CLOEXEC on x86-64, POLLIN and POLLERR */
#define ABI_O_NONBLOCK 04000u
#define ABI_O_CLOEXEC 02000000u
#define ABI_POLLIN 1u
#define ABI_POLLERR 8u

#define ABI_MSG_SIZE 32u
_Static_assert(sizeof(struct uffd_msg) == ABI_MSG_SIZE, "32-byte messages");
