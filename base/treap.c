/* SPDX-License-Identifier: MIT */
#include "base/treap.h"

#include "base/assert.h"

static uint64_t priority(const struct treap_node *n)
{
	uint64_t x = n->key + 0x9E3779B97F4A7C15u;

	x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
	x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
	return x ^ (x >> 31);
}

/* Everything below key goes to *lo, the rest to *hi. */
static void split(struct treap_node *n, uint64_t key, struct treap_node **lo, struct treap_node **hi)
{
	while (n) {
		if (n->key < key) {
			*lo = n;
			lo = &n->right;
			n = n->right;
		} else {
			*hi = n;
			hi = &n->left;
			n = n->left;
		}
	}
	*lo = *hi = NULL;
}

void treap_insert(struct treap *t, struct treap_node *n)
{
	struct treap_node **link = &t->root;
	uint64_t prio = priority(n);

	while (*link && priority(*link) >= prio) {
		ASSERT((*link)->key != n->key);
		link = n->key < (*link)->key ? &(*link)->left : &(*link)->right;
	}
	split(*link, n->key, &n->left, &n->right);
	*link = n;
	t->count++;
}

static struct treap_node *merge(struct treap_node *lo, struct treap_node *hi)
{
	struct treap_node *root = NULL, **link = &root;

	while (lo && hi) {
		if (priority(lo) >= priority(hi)) {
			*link = lo;
			link = &lo->right;
			lo = lo->right;
		} else {
			*link = hi;
			link = &hi->left;
			hi = hi->left;
		}
	}
	*link = lo ? lo : hi;
	return root;
}

void treap_remove(struct treap *t, struct treap_node *n)
{
	struct treap_node **link = &t->root;

	while (*link != n) {
		ASSERT(*link);
		link = n->key < (*link)->key ? &(*link)->left : &(*link)->right;
	}
	*link = merge(n->left, n->right);
	n->left = n->right = NULL;
	t->count--;
}

struct treap_node *treap_find_le(const struct treap *t, uint64_t key)
{
	struct treap_node *best = NULL;

	for (struct treap_node *n = t->root; n;) {
		if (n->key <= key) {
			best = n;
			n = n->right;
		} else {
			n = n->left;
		}
	}
	return best;
}

struct treap_node *treap_find_ge(const struct treap *t, uint64_t key)
{
	struct treap_node *best = NULL;

	for (struct treap_node *n = t->root; n;) {
		if (n->key >= key) {
			best = n;
			n = n->left;
		} else {
			n = n->right;
		}
	}
	return best;
}

static bool subtree_is_valid(const struct treap_node *n, uint64_t lo, uint64_t hi, size_t *count)
{
	if (!n)
		return true;
	if (n->key < lo || n->key > hi)
		return false;
	if ((n->left && priority(n->left) > priority(n)) || (n->right && priority(n->right) > priority(n)))
		return false;
	++*count;
	return (!n->left || (n->key > 0 && subtree_is_valid(n->left, lo, n->key - 1, count))) &&
	       (!n->right || (n->key < UINT64_MAX && subtree_is_valid(n->right, n->key + 1, hi, count)));
}

bool treap_is_valid(const struct treap *t)
{
	size_t count = 0;

	return subtree_is_valid(t->root, 0, UINT64_MAX, &count) && count == t->count;
}
