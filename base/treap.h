/* SPDX-License-Identifier: MIT */
/*
 * An ordered tree of non-overlapping things keyed by a number (a vma's start). Nodes are embedded; nothing is
 * allocated. Shape depends on the keys only (priorities are a hash of the key), so it is the same in every run.
 * Not thread-safe: the caller's lock orders everything.
 */
#pragma once
#include "base/types.h"

struct treap_node {
	struct treap_node *left, *right;
	uint64_t key;
};

struct treap {
	struct treap_node *root;
	size_t count;
};

/* n->key is not in the tree yet. */
void treap_insert(struct treap *t, struct treap_node *n);
/* n is in the tree. */
void treap_remove(struct treap *t, struct treap_node *n);
/* The node with the largest key <= key; NULL: none. */
struct treap_node *treap_find_le(const struct treap *t, uint64_t key);
/* The node with the smallest key >= key; NULL: none. */
struct treap_node *treap_find_ge(const struct treap *t, uint64_t key);
/* Order, heap and count hold. For whole-structure checks. */
bool treap_is_valid(const struct treap *t);
