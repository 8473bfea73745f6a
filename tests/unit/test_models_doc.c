/* docs/models.md is made from the architecture table: this program prints it (--print) or compares the file with what
 * the table says (the test). `make docs` writes it. */
#include "base/mem.h"
#include "kernel/kernel.h"
#include "model/arch.h"
#include "tests/tap.h"

static const char *const ropes[] = {"-", "pairs", "halves", "halves, sections", "halves, interleaved sections"};
static const char *const blocks[] = {"pre-norm", "sandwich norms", "post-norm", "parallel", "post-layernorm", "one mixer a layer"};
static const char *const mixers[] = {"", "", "short convolution", "Mamba", "Mamba 2", "gated delta rule", "Kimi delta attention", "RWKV 7"};
static const char *const acts[] = {"SiLU", "GELU", "GELU", "GELU", "ReLU", "squared ReLU", "SwiGLU-OAI", "", "", "xIELU"};

typedef struct part_row {
    uint64_t part;
    const char *words;
} part_row;
static const part_row parts[] = {
    {IG_PART_MLA, "latent attention"},
    {IG_PART_BLOCK_INDEXER, "block-sparse attention"},
    {IG_PART_TOKEN_INDEXER, "sparse attention by tokens"},
    {IG_PART_ALIBI, "ALiBi"},
    {IG_PART_POSITIONS, "learned positions"},
    {IG_PART_ENCODER, "encoder: embeddings only"},
    {IG_PART_ATTENTION_TOO, "beside attention"},
    {IG_PART_TEMPERATURE, "attention temperature"},
};

static void cell(ig_buf *out, bool *any, const char *words)
{
    if (!*words) return;
    (void)ig_buf_printf(out, "%s%s", *any ? ", " : "", words);
    *any = true;
}

static void row(ig_buf *out, const ig_arch *a)
{
    bool any = false;
    (void)ig_buf_printf(out, "| `%s`", a->name);
    if (a->n_layers) (void)ig_buf_printf(out, " with %u layers", a->n_layers);
    if (a->n_experts) (void)ig_buf_printf(out, " with %u experts", a->n_experts);
    (void)ig_buf_printf(out, " | %s | %s, %s | %s | ", a->families, blocks[a->block],
                        a->norm == IG_NORM_RMS ? "RMS" : a->norm == IG_NORM_LAYER ? "layer norm" : "norm by key",
                        ropes[a->rope]);
    (void)ig_buf_printf(out, "%s%s | ", acts[a->act], a->parts & IG_PART_PLAIN_FFN ? ", no gate" : "");
    cell(out, &any, mixers[a->mixer]);
    if (a->window_every > 1) cell(out, &any, "windows");
    if (a->qk_norm) cell(out, &any, "q/k norms");
    if (a->gate) cell(out, &any, "gated attention");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (a->parts & parts[i].part) cell(out, &any, parts[i].words);
    (void)ig_buf_printf(out, " |\n");
}

static void print(ig_buf *out)
{
    size_t n = 0;
    while (ig_arch_at(n)) n++;
    (void)ig_buf_printf(out,
                        "# Models that run\n\n"
                        "Made from the table in `src/model/arch.c` by `make docs`; a test compares. The name is what a file says under\n"
                        "`general.architecture` (`ingle show FILE` prints it). Experts (dense or routed) and biases are parts of any row\n"
                        "by the tensors of the file.\n\n"
                        "| architecture | models | block | rotation | FFN | besides |\n|---|---|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) row(out, ig_arch_at(i));
    (void)ig_buf_printf(out, "\n## Weight types\n\n| type | weights a block | bytes a block | bits a weight |\n|---|---|---|---|\n");
    ig_error err;
    const ig_kernels *k = ig_kernels_get("ref", &err);
    for (uint32_t t = 0; t < IG_DTYPE_MAX; t++) {
        const ig_dtype_info *d = ig_dtype_row(t);
        if (d && k->type[t].mul)
            (void)ig_buf_printf(out, "| %s | %u | %u | %.4g |\n", d->name, d->block_elems, d->block_bytes,
                                8.0 * d->block_bytes / d->block_elems);
    }
    (void)ig_buf_printf(out, "\n## Files\n\nGGUF 2 and 3, in one file or split; Hugging Face directories (config.json with safetensors, F32, F16 or\n"
                             "BF16) of the types llama, mistral, qwen2, qwen3, qwen3_moe, gemma2, gemma3, gemma3_text, phi3, minimax_m2 and bert.\n");
}

int main(int argc, char **argv)
{
    ig_buf out;
    size_t n = 0;
    ig_buf_init(&out, 1 << 20);
    print(&out);
    if (argc > 1 && !strcmp(argv[1], "--print")) {
        fwrite(out.ptr, 1, out.len, stdout);
        ig_buf_fini(&out);
        return 0;
    }
    char path[1100];
    (void)snprintf(path, sizeof path, "%s/../../docs/models.md", tap_data());
    char *have = tap_read(path, &n);
    tap_ok(have && n == out.len && !memcmp(have, out.ptr, n), "docs/models.md is what the table says (else: make docs)");
    free(have);
    ig_buf_fini(&out);
    return tap_done();
}
