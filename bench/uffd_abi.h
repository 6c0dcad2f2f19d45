/* SPDX-License-Identifier: MIT */
/* linux/userfaultfd.h, and the constants that the headers of older distributions lack. */
#pragma once
#include <linux/userfaultfd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1ULL << 13)
#endif
