/* SPDX-License-Identifier: MIT */
/* What happens when an invariant is broken: one line on standard error and abort, or the hook of a machine. */
#include "base/assert.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static fl_violation_fn violation_hook;

/* One line, assembled without stdio: this can run in a signal handler, on any stack, with any lock held. */
struct line {
	char text[512];
	size_t len;
};

static void line_add(struct line *l, const char *s)
{
	size_t room = sizeof(l->text) - l->len;
	size_t n = strlen(s);

	if (n > room)
		n = room;
	memcpy(l->text + l->len, s, n);
	l->len += n;
}

static void line_add_number(struct line *l, int value)
{
	char digits[12];
	char *p = digits + sizeof(digits) - 1;
	unsigned v = value < 0 ? 0u : (unsigned)value;

	*p = '\0';
	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	line_add(l, p);
}

void fl_violation_hook(fl_violation_fn fn)
{
	__atomic_store_n(&violation_hook, fn, __ATOMIC_RELEASE);
}

void fl_violation(const char *expr, const char *file, int line)
{
	fl_violation_fn fn = __atomic_load_n(&violation_hook, __ATOMIC_ACQUIRE);
	struct line l = {.len = 0};
	ssize_t written;

	if (fn)
		fn(expr, file, line);
	line_add(&l, "faultline: broken invariant: ");
	line_add(&l, expr);
	line_add(&l, " at ");
	line_add(&l, file);
	line_add(&l, ":");
	line_add_number(&l, line);
	if (l.len == sizeof(l.text))
		l.len--;
	l.text[l.len++] = '\n';
	written = write(STDERR_FILENO, l.text, l.len);
	(void)written; /* nothing is left to do when the report itself fails */
	abort();
}
