/* SPDX-License-Identifier: MIT */
/*
 * Objects of one size from pages that a source hands out: a free list, no malloc, safe in a signal handler. Memory
 * goes back to the source only when the pool is emptied as a whole. Not thread-safe: the caller's lock orders it.
 */
#pragma once
#include "base/types.h"

struct pool_source {
	void *(*get)(void *arg, size_t bytes); /* zeroed, page-aligned; NULL: none */
	void (*put)(void *arg, void *p, size_t bytes);
	void *arg;
};

struct pool {
	const struct pool_source *source;
	size_t object_size; /* multiple of 8 */
	void *free;	    /* first word of a free object links to the next */
	void *blocks;	    /* first word of a block links to the next */
	size_t in_use;
};

void pool_init(struct pool *p, const struct pool_source *source, size_t object_size);
/* Zeroed, 8-byte aligned; NULL: the source has nothing left. */
void *pool_get(struct pool *p);
void pool_put(struct pool *p, void *object);
/* Give every block back. Nothing may be in use. */
void pool_empty(struct pool *p);
