/* Seeded hash and a map from byte strings to u32: open addressing, linear probing, at most half full.
 * The seed is random per map (flooding: reliability.md J08, G05); iteration order is never used, so results do not
 * depend on it. */
#ifndef IG_BASE_HASH_H
#define IG_BASE_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

uint64_t ig_hash(const void *p, size_t n, uint64_t seed);
/* Mixes a 64-bit key with a seed. */
uint64_t ig_hash_u64(uint64_t key, uint64_t seed);

typedef struct ig_map {
    struct ig_map_slot *slots; /* owned */
    size_t n, n_slots;         /* n_slots: a power of two, 0 before init */
    uint64_t seed;
} ig_map;
/* Room for n_max keys is made at once; false without memory. */
bool ig_map_init(ig_map *map, size_t n_max);
/* Adds key (borrowed) -> value. Returns false and changes nothing when the key exists (*value_out, may be NULL, is set
 * to the stored value) or the map is full. */
bool ig_map_add(ig_map *map, ig_str key, uint32_t value, uint32_t *value_out);
bool ig_map_get(const ig_map *map, ig_str key, uint32_t *value);
void ig_map_fini(ig_map *map);

#endif
