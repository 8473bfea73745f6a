/* Decoders: tokens back to text. Each step turns a list of strings into another; in the end they are joined. Bytes of
 * broken UTF-8 stay as they are, so that any text comes back whole. */
#include "base/utf8.h"
#include "text/token/tj.h"

/* ------------------------------------------------------------------------------------------------ reading */

static ig_status add(ig_vocab *v, ig_dec_step step, ig_dec_step **out, ig_error *err)
{
    ig_tj *tj = v->tj;
    if (tj->n_dec == IG_TJ_STEPS_MAX)
        return ig_fail(err, IG_TOO_LARGE, 0, "tokenizer.json: there are more than %d decoders", IG_TJ_STEPS_MAX);
    tj->dec[tj->n_dec] = step;
    if (out) *out = &tj->dec[tj->n_dec];
    tj->n_dec++;
    return IG_OK;
}

static ig_status read_byte_level(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    (void)o;
    return add(v, (ig_dec_step){.kind = IG_DEC_ALPHABET}, NULL, err);
}

static ig_status read_byte_fallback(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    (void)o;
    return add(v, (ig_dec_step){.kind = IG_DEC_BYTES}, NULL, err);
}

static ig_status read_fuse(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    (void)o;
    return add(v, (ig_dec_step){.kind = IG_DEC_FUSE}, NULL, err);
}

static ig_status read_replace(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    ig_dec_step *s = NULL;
    IG_TRY(add(v, (ig_dec_step){.kind = IG_DEC_REPLACE}, &s, err));
    IG_TRY(ig_tj_str(o, "decoder Replace", "content", true, &v->tj->arena, &s->content, err));
    return ig_tj_pattern(v, o, "decoder Replace", IG_SCANNERS_NONE, &s->pattern, err);
}

static ig_status read_strip(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    static const char where[] = "decoder Strip";
    ig_dec_step *s = NULL;
    IG_TRY(add(v, (ig_dec_step){.kind = IG_DEC_STRIP}, &s, err));
    IG_TRY(ig_tj_str(o, where, "content", true, &v->tj->arena, &s->text, err));
    IG_TRY(ig_tj_size(o, where, "start", true, IG_TJ_TEXT_MAX, &s->start, err));
    IG_TRY(ig_tj_size(o, where, "stop", true, IG_TJ_TEXT_MAX, &s->stop, err));
    if (s->text.len) return IG_OK;
    return ig_fail(err, IG_BAD_INPUT, 0, "tokenizer.json: %s: \"content\" is empty, expected a character", where);
}

static ig_status read_metaspace(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    ig_dec_step *s = NULL;
    IG_TRY(add(v, (ig_dec_step){.kind = IG_DEC_METASPACE, .text = IG_STR(IG_MARKER)}, &s, err));
    return ig_tj_metaspace(v, o, "decoder Metaspace", &s->text, &s->scheme, err);
}

static ig_status read_wordpiece(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    ig_dec_step *s = NULL;
    IG_TRY(add(v, (ig_dec_step){.kind = IG_DEC_WORDPIECE, .text = IG_STR("##"), .cleanup = true}, &s, err));
    IG_TRY(ig_tj_str(o, "decoder WordPiece", "prefix", false, &v->tj->arena, &s->text, err));
    return ig_tj_bool(o, "decoder WordPiece", "cleanup", &s->cleanup, err);
}

static ig_status read_bpe(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    ig_dec_step *s = NULL;
    IG_TRY(add(v, (ig_dec_step){.kind = IG_DEC_SUFFIX, .text = IG_STR("</w>")}, &s, err));
    return ig_tj_str(o, "decoder BPEDecoder", "suffix", false, &v->tj->arena, &s->text, err);
}

ig_status ig_tj_read_dec(ig_vocab *v, const ig_tj_json *o, ig_error *err)
{
    static const ig_tj_component table[] = {{"ByteLevel", read_byte_level},
                                            {"ByteFallback", read_byte_fallback},
                                            {"Fuse", read_fuse},
                                            {"Replace", read_replace},
                                            {"Strip", read_strip},
                                            {"Metaspace", read_metaspace},
                                            {"WordPiece", read_wordpiece},
                                            {"BPEDecoder", read_bpe},
                                            {NULL, NULL}};
    v->tj->has_decoder = true;
    return ig_tj_components(v, o, "decoder", "decoders", table, err);
}

/* ------------------------------------------------------------------------------------------------ running */

typedef struct token_list { /* strings one after the other */
    ig_buf text;
    ig_buf end; /* size_t: end of string i */
    ig_buf raw; /* uint8_t: string i is an added token, which stands for itself */
} token_list;

static void list_init(token_list *l)
{
    ig_buf_init(&l->text, UINT32_MAX);
    ig_buf_init(&l->end, SIZE_MAX / 2);
    ig_buf_init(&l->raw, SIZE_MAX / 2);
}

static void list_fini(token_list *l)
{
    ig_buf_fini(&l->text);
    ig_buf_fini(&l->end);
    ig_buf_fini(&l->raw);
}

static bool list_close(token_list *l, uint8_t raw)
{
    return ig_buf_add(&l->end, &l->text.len, sizeof l->text.len) && ig_buf_add(&l->raw, &raw, 1);
}

static size_t list_end(const token_list *l, size_t i) { return ((const size_t *)(const void *)l->end.ptr)[i]; }

static ig_str list_at(const token_list *l, size_t i)
{
    size_t at = i ? list_end(l, i - 1) : 0;
    return (ig_str){l->text.ptr ? l->text.ptr + at : "", list_end(l, i) - at}; /* no text at all: no buffer */
}

typedef struct decoder {
    ig_tj_regex_work regex;
    bool alone; /* one token of a longer text: rules for the first and the last do not hold */
} decoder;

static bool from_alphabet(ig_str t, ig_buf *out)
{
    size_t start = out->len;
    for (size_t i = 0; i < t.len;) {
        uint32_t cp;
        size_t n = ig_utf8_decode(t.ptr + i, t.len - i, &cp);
        int byte = n ? ig_char_to_byte(cp) : -1;
        char c = (char)byte;
        if (byte < 0) { /* not in the alphabet: the token stands for itself */
            out->len = start;
            return ig_buf_add(out, t.ptr, t.len);
        }
        if (!ig_buf_add(out, &c, 1)) return false;
        i += n;
    }
    return true;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

static bool byte_or_text(ig_str t, ig_buf *out)
{
    int hi = -1, lo = -1;
    if (t.len == 6 && !memcmp(t.ptr, "<0x", 3) && t.ptr[5] == '>') {
        hi = hex(t.ptr[3]);
        lo = hex(t.ptr[4]);
    }
    char c = (char)(hi * 16 + lo);
    return hi < 0 || lo < 0 ? ig_buf_add(out, t.ptr, t.len) : ig_buf_add(out, &c, 1);
}

static bool ends_with(ig_str t, ig_str with)
{
    return t.len >= with.len && !memcmp(t.ptr + t.len - with.len, with.ptr, with.len);
}

static bool strip(const ig_dec_step *s, ig_str t, ig_buf *out)
{
    for (size_t i = 0; i < s->start && ig_str_starts(t, s->text); i++)
        t = (ig_str){t.ptr + s->text.len, t.len - s->text.len};
    for (size_t i = 0; i < s->stop && ends_with(t, s->text); i++) t.len -= s->text.len;
    return ig_buf_add(out, t.ptr, t.len);
}

/* Replaces `from` by the no longer `to` in b from `start` on. */
static void shrink(ig_buf *b, size_t start, const char *from, const char *to)
{
    size_t n_from = strlen(from), n_to = strlen(to), at = start, done = start;
    for (;;) {
        char *hit = b->len > done ? memmem(b->ptr + done, b->len - done, from, n_from) : NULL;
        size_t next = hit ? (size_t)(hit - b->ptr) : b->len;
        if (at != done && next > done) memmove(b->ptr + at, b->ptr + done, next - done);
        at += next - done;
        if (!hit) break;
        memcpy(b->ptr + at, to, n_to);
        at += n_to;
        done = next + n_from;
    }
    b->len = at;
}

static void clean_up(ig_buf *b, size_t start, bool word)
{
    static const char *const pairs[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                           {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                           {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if (word || pairs[i][0][1] != 'd') shrink(b, start, pairs[i][0], pairs[i][1]);
}

static bool wordpiece(const ig_dec_step *s, ig_str t, bool first, ig_buf *out)
{
    size_t start = out->len;
    if (!first && s->text.len && ig_str_starts(t, s->text))
        t = (ig_str){t.ptr + s->text.len, t.len - s->text.len};
    else if (!first && !ig_buf_add(out, " ", 1))
        return false;
    if (!ig_buf_add(out, t.ptr, t.len)) return false;
    if (s->cleanup) clean_up(out, start, true);
    return true;
}

static ig_status replace(const ig_dec_step *s, ig_str text, ig_str content, decoder *d, ig_str t, ig_buf *out,
                         ig_error *err)
{
    ig_pattern literal = {.text = text};
    return ig_tj_replace(text.len ? &literal : &s->pattern, &d->regex, t, content, out, err);
}

/* String i of n. */
static ig_status run_one(const ig_dec_step *s, decoder *d, ig_str t, bool raw, size_t i, size_t n, ig_buf *out,
                         ig_error *err)
{
    bool first = i == 0 && !d->alone, last = i + 1 == n && !d->alone, ok;
    switch (s->kind) {
    case IG_DEC_ALPHABET: ok = raw ? ig_buf_add(out, t.ptr, t.len) : from_alphabet(t, out); break;
    case IG_DEC_BYTES: ok = byte_or_text(t, out); break;
    case IG_DEC_STRIP: ok = strip(s, t, out); break;
    case IG_DEC_WORDPIECE: ok = wordpiece(s, t, first, out); break;
    case IG_DEC_REPLACE: return replace(s, (ig_str){NULL, 0}, s->content, d, t, out, err);
    case IG_DEC_SUFFIX: return replace(s, s->text, last ? IG_STR("") : IG_STR(" "), d, t, out, err);
    case IG_DEC_METASPACE:
        return replace(s, s->text, first && s->scheme != IG_SCHEME_NEVER ? IG_STR("") : IG_STR(" "), d, t, out, err);
    default: ok = ig_buf_add(out, t.ptr, t.len);
    }
    return ok ? IG_OK : ig_tj_no_memory(err);
}

static ig_status run_step(const ig_dec_step *s, decoder *d, const token_list *in, token_list *out, ig_error *err)
{
    size_t n = in->raw.len;
    out->text.len = out->end.len = out->raw.len = 0;
    for (size_t i = 0; i < n; i++) {
        bool raw = in->raw.ptr[i] != 0;
        IG_TRY(run_one(s, d, list_at(in, i), raw, i, n, &out->text, err));
        if (s->kind != IG_DEC_FUSE && !list_close(out, raw)) return ig_tj_no_memory(err);
    }
    if (s->kind == IG_DEC_FUSE && n && !list_close(out, 0)) return ig_tj_no_memory(err);
    return IG_OK;
}

static ig_status run(const ig_tj *tj, decoder *d, token_list *a, token_list *b, ig_error *err)
{
    bool fused = false;
    for (size_t i = 0; i < tj->n_dec; i++) {
        const ig_dec_step *s = &tj->dec[i];
        fused = fused || s->kind == IG_DEC_FUSE;
        if (d->alone && fused) continue; /* behind a fuse the steps mean the whole text */
        IG_TRY(run_step(s, d, a, b, err));
        token_list swap = *a;
        *a = *b;
        *b = swap;
    }
    return IG_OK;
}

static bool hidden(const ig_vocab *v, int32_t id)
{
    return v->types[id] == IG_TOKEN_CONTROL || v->types[id] == IG_TOKEN_UNKNOWN;
}

static bool add_token(const ig_vocab *v, int32_t id, bool special, token_list *l)
{
    ig_str t = v->tokens[id];
    if (v->types[id] == IG_TOKEN_UNUSED || (!special && hidden(v, id))) return true;
    return ig_buf_add(&l->text, t.ptr, t.len) && list_close(l, v->tj->is_added[id]);
}

typedef struct lists {
    token_list a, b;
    decoder d;
} lists;

static void lists_init(lists *l, bool alone)
{
    *l = (lists){.d.alone = alone};
    list_init(&l->a);
    list_init(&l->b);
}

static void lists_fini(lists *l)
{
    ig_tj_regex_work_fini(&l->d.regex);
    list_fini(&l->a);
    list_fini(&l->b);
}

static ig_status decode(const ig_vocab *v, lists *l, const int32_t *ids, size_t n, bool special, ig_buf *out,
                        ig_error *err)
{
    bool ok = true, spaced = !v->tj->has_decoder;
    l->a.text.len = l->a.end.len = l->a.raw.len = 0;
    for (size_t i = 0; ok && i < n; i++) ok = add_token(v, ids[i], special, &l->a);
    if (!ok) return ig_tj_no_memory(err);
    IG_TRY(run(v->tj, &l->d, &l->a, &l->b, err));
    if (!spaced) ok = ig_buf_add(out, l->a.text.ptr, l->a.text.len);
    for (size_t i = 0; ok && spaced && i < l->a.raw.len; i++) {
        ig_str t = list_at(&l->a, i);
        ok = ((i == 0 && !l->d.alone) || ig_buf_add(out, " ", 1)) && ig_buf_add(out, t.ptr, t.len);
    }
    return ok ? IG_OK : ig_tj_no_memory(err);
}

ig_status ig_tj_decode(const ig_vocab *v, const int32_t *ids, size_t n, bool special, ig_buf *out, ig_error *err)
{
    size_t start = out->len;
    lists l;
    lists_init(&l, false);
    ig_status st = decode(v, &l, ids, n, special, out, err);
    lists_fini(&l);
    if (st == IG_OK && v->tj->clean_up && out->len > start) clean_up(out, start, false);
    return st;
}

ig_status ig_tj_make_pieces(ig_vocab *v, ig_error *err)
{
    ig_tj *tj = v->tj;
    lists l;
    ig_status st = IG_OK;
    tj->piece_end = ig_calloc(v->n, sizeof *tj->piece_end);
    if (!tj->piece_end) return ig_tj_no_memory(err);
    ig_buf_init(&tj->pieces, UINT32_MAX);
    lists_init(&l, true);
    for (size_t i = 0; st == IG_OK && i < v->n; i++) {
        int32_t id = (int32_t)i;
        st = decode(v, &l, &id, 1, true, &tj->pieces, err);
        tj->piece_end[i] = (uint32_t)tj->pieces.len;
    }
    lists_fini(&l);
    return st;
}

bool ig_tj_piece(const ig_vocab *v, int32_t id, bool special, ig_buf *out)
{
    const ig_tj *tj = v->tj;
    if (!special && hidden(v, id)) return true;
    size_t at = id ? tj->piece_end[id - 1] : 0;
    return ig_buf_add(out, tj->pieces.ptr + at, tj->piece_end[id] - at);
}
