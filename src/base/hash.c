#include "base/hash.h"

#include "base/mem.h"
#include "base/os.h"

struct ig_map_slot {
    const char *ptr;
    uint32_t len, value;
    uint32_t tag; /* upper hash bits, never 0: 0 marks an empty slot */
};

uint64_t ig_hash_u64(uint64_t key, uint64_t seed)
{
    /* 64x64 -> 128 multiply folded, as in wyhash (public domain): every input bit reaches every output bit. */
    __extension__ typedef unsigned __int128 u128;
    u128 m = (u128)(key ^ seed ^ 0x9E3779B97F4A7C15u) * (0xD6E8FEB86659FD93u ^ seed);
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

uint64_t ig_hash(const void *p, size_t n, uint64_t seed)
{
    const unsigned char *u = p;
    uint64_t h = ig_hash_u64(n, seed);
    while (n >= 8) {
        uint64_t v;
        memcpy(&v, u, 8);
        h = ig_hash_u64(v ^ h, seed);
        u += 8;
        n -= 8;
    }
    uint64_t tail = 0;
    if (n) memcpy(&tail, u, n);
    return ig_hash_u64(tail ^ h, seed);
}

bool ig_map_init(ig_map *map, size_t n_max)
{
    size_t n_slots = 16;
    while (n_slots / 2 < n_max) {
        if (n_slots > SIZE_MAX / 64) return false;
        n_slots *= 2;
    }
    *map = (ig_map){.slots = ig_calloc(n_slots, sizeof *map->slots), .n_slots = n_slots};
    if (!map->slots) {
        map->n_slots = 0;
        return false;
    }
    ig_random(&map->seed, sizeof map->seed);
    return true;
}

/* Slot that holds key, or the empty one where it belongs. */
static struct ig_map_slot *find(const ig_map *map, ig_str key, uint32_t *tag)
{
    uint64_t h = ig_hash(key.ptr, key.len, map->seed);
    *tag = (uint32_t)(h >> 32) | 1;
    for (size_t i = (size_t)h & (map->n_slots - 1);; i = (i + 1) & (map->n_slots - 1)) {
        struct ig_map_slot *s = &map->slots[i];
        if (s->tag == 0) return s;
        if (s->tag == *tag && s->len == key.len && (key.len == 0 || !memcmp(s->ptr, key.ptr, key.len))) return s;
    }
}

bool ig_map_add(ig_map *map, ig_str key, uint32_t value, uint32_t *value_out)
{
    uint32_t tag;
    if (map->n_slots == 0 || key.len > UINT32_MAX) return false;
    struct ig_map_slot *s = find(map, key, &tag);
    if (s->tag) {
        if (value_out) *value_out = s->value;
        return false;
    }
    if (map->n >= map->n_slots / 2) return false;
    *s = (struct ig_map_slot){key.ptr, (uint32_t)key.len, value, tag};
    map->n++;
    return true;
}

bool ig_map_get(const ig_map *map, ig_str key, uint32_t *value)
{
    uint32_t tag;
    if (map->n_slots == 0 || key.len > UINT32_MAX) return false;
    const struct ig_map_slot *s = find(map, key, &tag);
    if (s->tag == 0) return false;
    *value = s->value;
    return true;
}

void ig_map_fini(ig_map *map)
{
    ig_free(map->slots);
    *map = (ig_map){0};
}
