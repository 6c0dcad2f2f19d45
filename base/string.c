/* SPDX-License-Identifier: MIT */
/*
 * The few byte functions that engine code needs, under names of its own. Compilers emit calls to memcpy and its like for plain C
 * too; the build renames all of those in engine objects to these, so that no engine code runs outside its section:
 * a signal handler that interrupted libc's memset with an engine lock held could not be told from one that interrupted the program.
 */
#include "base/string.h"

void *fl_memset(void *dst, int c, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return dst;
}

void *fl_memcpy(void *dst, const void *src, size_t n)
{
	void *d = dst;

	__asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(n) : : "memory");
	return dst;
}

void *fl_memmove(void *dst, const void *src, size_t n)
{
	char *d = dst;
	const char *s = src;

	if (d <= s || d >= s + n)
		return fl_memcpy(dst, src, n);
	while (n-- > 0)
		d[n] = *(const volatile char *)&s[n];
	return dst;
}

int fl_memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;

	for (size_t i = 0; i < n; i++)
		if (x[i] != y[i])
			return x[i] < y[i] ? -1 : 1;
	return 0;
}

void *fl_memchr(const void *p, int c, size_t n)
{
	const unsigned char *s = p;

	for (size_t i = 0; i < n; i++)
		if (s[i] == (unsigned char)c)
			return (void *)(uintptr_t)&s[i];
	return NULL;
}

size_t fl_strlen(const char *s)
{
	size_t n = 0;

	while (*(const volatile char *)&s[n])
		n++;
	return n;
}

int fl_strncmp(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (a[i] != b[i] || !a[i])
			return (unsigned char)a[i] - (unsigned char)b[i];
	return 0;
}
