/* SPDX-License-Identifier: MIT */
/* Byte functions inside the engine; see string.c for why they are its own. Semantics are those of <string.h>. */
#pragma once
#include "base/types.h"

void *fl_memset(void *dst, int c, size_t n);
void *fl_memcpy(void *dst, const void *src, size_t n);
void *fl_memmove(void *dst, const void *src, size_t n);
int fl_memcmp(const void *a, const void *b, size_t n);
void *fl_memchr(const void *p, int c, size_t n);
size_t fl_strlen(const char *s);
int fl_strncmp(const char *a, const char *b, size_t n);
