/* SPDX-License-Identifier: MIT */
#include "base/pool.h"

#include "base/assert.h"

#include <string.h>

#define BLOCK_BYTES (4 * PAGE_SIZE)
#define BLOCK_HEADER 16

void pool_init(struct pool *p, const struct pool_source *source, size_t object_size)
{
	*p = (struct pool){.source = source, .object_size = (object_size + 7) & ~(size_t)7};
	ASSERT(p->object_size <= BLOCK_BYTES - BLOCK_HEADER);
}

static void push(struct pool *p, void *object)
{
	*(void **)object = p->free;
	p->free = object;
}

static bool grow(struct pool *p)
{
	char *block = p->source->get(p->source->arg, BLOCK_BYTES);

	if (!block)
		return false;
	*(void **)block = p->blocks;
	p->blocks = block;
	for (size_t at = BLOCK_HEADER; at + p->object_size <= BLOCK_BYTES; at += p->object_size)
		push(p, block + at);
	return true;
}

void *pool_get(struct pool *p)
{
	void *object;

	if (!p->free && !grow(p))
		return NULL;
	object = p->free;
	p->free = *(void **)object;
	p->in_use++;
	memset(object, 0, p->object_size);
	return object;
}

void pool_put(struct pool *p, void *object)
{
	ASSERT(p->in_use > 0);
	p->in_use--;
	push(p, object);
}

void pool_empty(struct pool *p)
{
	ASSERT(p->in_use == 0);
	while (p->blocks) {
		void *block = p->blocks;

		p->blocks = *(void **)block;
		p->source->put(p->source->arg, block, BLOCK_BYTES);
	}
	p->free = NULL;
}
