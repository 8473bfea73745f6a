/* A trie over the texts of tokens, for models that want every token that begins at a place. Edges lie in one
 * open-addressing table, keyed by node and byte. */
#ifndef IG_TEXT_TOKEN_TRIE_H
#define IG_TEXT_TOKEN_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

typedef struct ig_tj_trie_edge {
    uint32_t from_byte; /* node * 256 + byte + 1, 0: empty */
    uint32_t to;
} ig_tj_trie_edge;

typedef struct ig_tj_trie { /* zero-initialised is empty */
    ig_tj_trie_edge *edges; /* [n_slots], owned */
    int32_t *ids;           /* [n_nodes] token that ends at the node, -1: none; owned */
    uint32_t n_nodes, cap_nodes;
    size_t n_slots, n_edges;
    uint64_t seed;
} ig_tj_trie;

enum { IG_TRIE_NODES_MAX = 1 << 24 };

/* The first token of several with one text stays. False without memory or above IG_TRIE_NODES_MAX nodes. */
bool ig_tj_trie_add(ig_tj_trie *t, ig_str text, int32_t id);
/* Node behind `node` on `byte`, 0: none (node 0 is the root, nothing leads to it). */
uint32_t ig_tj_trie_step(const ig_tj_trie *t, uint32_t node, uint8_t byte);
size_t ig_tj_trie_bytes(const ig_tj_trie *t);
void ig_tj_trie_fini(ig_tj_trie *t);

#endif
