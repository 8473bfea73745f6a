/* Fuzz target of importance files, both forms: what is accepted must give weights in (0, 1] for every tensor it names.
 */
#include <stdlib.h>

#include "quant/quant.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COLS_MAX = 4096 };

/* Asks for names that the seeds have, with shapes from the input. */
static void ask(const ig_importance *imp, const char *name, uint64_t cols, uint64_t matrices)
{
    static float w[COLS_MAX];
    bool found = false;
    ig_error err = {0};
    ig_tensor t = {.name = ig_str_from(name), .n_dims = 3, .ne = {cols, 1, matrices, 1}};
    ig_status st = ig_importance_prepare(imp, &t, matrices - 1, w, &found, &err);
    if (st != IG_OK && err.text[0] == 0) abort();
    for (uint64_t i = 0; st == IG_OK && found && i < cols; i++)
        if (!(w[i] > 0 && w[i] <= 1)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ig_importance *imp = NULL;
    ig_error err = {0};
    ig_status st = ig_importance_read_memory("fuzz", data, size, &imp, &err);
    if (st != IG_OK) {
        if (imp || err.text[0] == 0 || st == IG_BUG) abort();
        return 0;
    }
    if (ig_importance_n(imp) == 0) abort();
    if (ig_importance_dataset(imp).len > size) abort();
    const uint64_t cols = 1 + (size ? data[size - 1] : 0), matrices = 1 + data[size / 2] % 8;
    static const char *const names[] = {"a", "ab", "a.weight", "e.weight", "blk.0.attn_q.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        ask(imp, names[i], cols, matrices);
        for (uint64_t n = 1; n <= 8; n++) ask(imp, names[i], n, 1 + n % 3);
    }
    ig_importance_free(imp);
    return 0;
}
