#include "text/token/trie.h"

#include "base/hash.h"
#include "base/mem.h"
#include "base/os.h"

_Static_assert((uint64_t)IG_TRIE_NODES_MAX * 256 <= (uint64_t)UINT32_MAX + 1, "a node and a byte fit 32 bits");

static size_t slot_of(const ig_tj_trie *t, uint32_t key)
{
    return (size_t)ig_hash_u64(key, t->seed) & (t->n_slots - 1);
}

static ig_tj_trie_edge *find(const ig_tj_trie *t, uint32_t key)
{
    size_t i = slot_of(t, key);
    while (t->edges[i].from_byte && t->edges[i].from_byte != key) i = (i + 1) & (t->n_slots - 1);
    return &t->edges[i];
}

/* The last node's last byte would wrap to 0, which means empty; IG_TRIE_NODES_MAX - 1 nodes are made at most. */
static uint32_t key_of(uint32_t node, uint8_t byte) { return node * 256u + byte + 1; }

uint32_t ig_tj_trie_step(const ig_tj_trie *t, uint32_t node, uint8_t byte)
{
    return t->n_slots ? find(t, key_of(node, byte))->to : 0;
}

static bool grow_edges(ig_tj_trie *t)
{
    ig_tj_trie old = *t;
    if (t->n_slots && t->n_edges < t->n_slots / 2) return true;
    size_t n = t->n_slots ? t->n_slots * 2 : 1024;
    ig_tj_trie_edge *p = ig_calloc(n, sizeof *p);
    if (!p) return false;
    if (!old.n_slots) ig_random(&t->seed, sizeof t->seed);
    t->edges = p;
    t->n_slots = n;
    for (size_t i = 0; i < old.n_slots; i++)
        if (old.edges[i].from_byte) *find(t, old.edges[i].from_byte) = old.edges[i];
    ig_free(old.edges);
    return true;
}

static bool add_node(ig_tj_trie *t, uint32_t *node)
{
    if (t->n_nodes == t->cap_nodes) {
        uint32_t cap = t->cap_nodes ? t->cap_nodes * 2 : 1024;
        int32_t *p = cap > IG_TRIE_NODES_MAX ? NULL : ig_realloc(t->ids, cap, sizeof *p);
        if (!p) return false;
        t->ids = p;
        t->cap_nodes = cap;
    }
    if (t->n_nodes >= IG_TRIE_NODES_MAX - 1) return false;
    t->ids[t->n_nodes] = -1;
    *node = t->n_nodes++;
    return true;
}

bool ig_tj_trie_add(ig_tj_trie *t, ig_str text, int32_t id)
{
    uint32_t node = 0;
    if (t->n_nodes == 0 && !add_node(t, &node)) return false;
    for (size_t i = 0; i < text.len; i++) {
        uint32_t next = ig_tj_trie_step(t, node, (uint8_t)text.ptr[i]);
        if (!next) {
            if (!grow_edges(t) || !add_node(t, &next)) return false;
            uint32_t key = key_of(node, (uint8_t)text.ptr[i]);
            *find(t, key) = (ig_tj_trie_edge){key, next};
            t->n_edges++;
        }
        node = next;
    }
    if (t->ids[node] < 0) t->ids[node] = id;
    return true;
}

size_t ig_tj_trie_bytes(const ig_tj_trie *t) { return t->n_slots * sizeof *t->edges + t->cap_nodes * sizeof *t->ids; }

void ig_tj_trie_fini(ig_tj_trie *t)
{
    ig_free(t->edges);
    ig_free(t->ids);
    *t = (ig_tj_trie){0};
}
