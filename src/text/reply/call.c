/* Calls: from the marker that opens one to its end, whatever its family's way to write name and arguments. */
#include "base/hash.h"
#include "run.h"

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
static bool is_letter(char c)
{
    return ((c | 32) >= 'a' && (c | 32) <= 'z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80);
}

void rc_begin(ig_reply *r)
{
    rr_clear(&r->raw);
    rr_clear(&r->tok);
    rr_clear(&r->name);
    rr_clear(&r->id);
    rr_clear(&r->args);
    r->live = r->open = r->bare = r->expect = r->named = r->fence = r->has_args = r->list = false;
    r->n_args = 0;
    r->tool = NULL;
}

/* ------------------------------------------------------------------------------------------------ handing out */

/* Letters and digits that depend on the seed and the number of the call. */
static void make_id(ig_reply *r)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    char id[32];
    size_t n = r->f->flags & RP_IDS_9 ? 9 : 24, at = 0;
    if (r->f->flags & RP_ID_IS_NAME) {
        char number[16];
        int k = snprintf(number, sizeof number, ":%u", r->call);
        (void)rr_add(r, &r->id, "functions.", 10);
        (void)rr_add(r, &r->id, r->name.ptr, r->name.len);
        (void)rr_add(r, &r->id, number, (size_t)k);
        return;
    }
    if (n == 24) memcpy(id, "call_", at = 5);
    uint64_t h = ig_hash_u64(r->call + 1, r->seed ^ 0x696E676C65u);
    for (size_t i = 0; i < n; i++, h /= 62) {
        if (i % 8 == 0) h = ig_hash_u64(h + i, r->seed + 1);
        id[at++] = letters[h % 62];
    }
    (void)rr_add(r, &r->id, id, at);
}

static void give(ig_reply *r, const ig_piece *p)
{
    rr_flush(r);
    if (!r->stopped && r->fn) r->stopped = !r->fn(r->ctx, p);
}

static void arguments(ig_reply *r, const char *p, size_t n)
{
    if (!n) return;
    if (r->out.len && r->out_kind != IG_PIECE_ARGUMENTS) rr_flush(r);
    r->out_kind = IG_PIECE_ARGUMENTS, r->out_unparsed = false;
    (void)rr_add(r, &r->out, p, n);
}

static void go_live(ig_reply *r)
{
    rr_clear(&r->ws);
    if (!r->id.len) make_id(r);
    give(r, &(ig_piece){.kind = IG_PIECE_CALL, .call = r->call, .id = rr_str(&r->id), .name = rr_str(&r->name)});
    r->live = true;
    r->end.n_calls++;
    arguments(r, r->args.ptr, r->args.len);
    rr_clear(&r->args);
    rr_clear(&r->raw);
}

bool rc_live(ig_reply *r)
{
    if (r->live) return true;
    if (!r->open || r->whole || r->f->flags & RP_HOLD) return false;
    if (r->bare && !r->tool) return false;
    go_live(r);
    return true;
}

void rc_args(ig_reply *r, const char *p, size_t n)
{
    if (rc_live(r))
        arguments(r, p, n);
    else
        (void)rr_add(r, &r->args, p, n);
}

static void ended(ig_reply *r, bool whole)
{
    give(r, &(ig_piece){.kind = IG_PIECE_CALL_END, .call = r->call, .whole = whole});
    r->end.n_whole += whole;
    r->call++;
    r->said = r->unparsed = false;
    r->lead = true;
}

void rc_done(ig_reply *r)
{
    bool list = r->list, bare = r->bare;
    if (!r->live) go_live(r);
    ended(r, true);
    rc_begin(r);
    r->list = list, r->bare = bare;
    r->state = R_SECTION;
}

/* What has been read and is not handed out. */
static void rest(ig_reply *r)
{
    if (r->live && r->state == R_LOOSE) {
        if (r->loose.n_word) rr_say(r, IG_PIECE_TEXT, r->loose.word, r->loose.n_word);
    } else if (r->live) {
        rr_say(r, IG_PIECE_TEXT, r->tok.ptr, r->tok.len);
    } else {
        rr_say(r, IG_PIECE_TEXT, r->raw.ptr, r->raw.len);
    }
}

void rc_fail(ig_reply *r, bool plain)
{
    bool live = r->live;
    r->unparsed = !plain;
    if (live) {
        ended(r, false);
        r->unparsed = true;
        r->lead = false;
    } else {
        r->lead = false;
        rr_clear(&r->ws);
    }
    r->live = live;
    rest(r);
    r->live = false;
    r->n_hold = 0;
    if (plain) r->in_section = false;
    rc_begin(r);
    r->state = R_TEXT;
}

static void value_byte(ig_reply *r, char c);

/* The reply ends before the call has a name. Marks are no text, and behind other calls half a call is none either. */
static bool is_begun(const ig_reply *r, bool plain)
{
    if (plain || r->live || r->open) return false;
    return r->cut || r->end.n_calls > 0 || r->state == R_SECTION || (r->state == R_NAME && !r->tok.len);
}

void rc_cut(ig_reply *r)
{
    if (r->state == R_SECTION && !r->expect) return; /* after a call, before its closing marks */
    if (r->state == R_HEADER) {
        size_t n = r->n_given < r->tok.len ? r->n_given : r->tok.len;
        if (r->tok.len > n && r->tok.ptr[n] != '<') rr_say(r, IG_PIECE_TEXT, r->tok.ptr + n, r->tok.len - n);
        return;
    }
    if (r->state == R_BODY && r->has_args && !r->n_args) return rc_done(r);
    bool plain = r->bare && !r->tool;
    char held[MARK_BYTES];
    size_t n_held = r->n_hold;
    memcpy(held, r->hold, n_held);
    if (!plain) r->end.truncated_call = true;
    if (is_begun(r, plain)) return;
    if (!r->live && r->open && !plain) go_live(r);
    if (r->live) { /* the arguments as far as they came */
        r->n_hold = 0;
        for (size_t i = 0; r->state == R_VALUE && i < n_held; i++) value_byte(r, held[i]);
        if (r->state == R_VALUE) arguments(r, r->tok.ptr, r->tok.len);
        if (r->state == R_LOOSE) arguments(r, r->loose.word, r->loose.n_word);
        ended(r, false);
        return;
    }
    rc_fail(r, plain);
    rr_say(r, IG_PIECE_TEXT, held, n_held);
    if (!plain) r->end.unparsed = true;
}

/* ------------------------------------------------------------------------------------------------ names */

/* functions.NAME:NUMBER; or a tool's name alone. */
static bool id_is_name(ig_reply *r, ig_str id)
{
    size_t colon = id.len;
    ig_str name = id;
    while (colon && id.ptr[colon - 1] != ':') colon--;
    if (colon) {
        name.len = colon - 1;
        const char *dot = memchr(name.ptr, '.', name.len);
        if (dot) name = (ig_str){dot + 1, (size_t)(name.ptr + name.len - dot - 1)};
    } else if (!rp_tool_find(r->tools, name)) {
        return false;
    }
    return name.len && rr_add(r, &r->name, name.ptr, name.len) && (!colon || rr_add(r, &r->id, id.ptr, id.len));
}

bool rc_name(ig_reply *r, ig_str name)
{
    name = rp_trim(name);
    bool good = name.len && name.len <= NAME_BYTES;
    for (size_t i = 0; good && i < name.len; i++) good = (unsigned char)name.ptr[i] > 32 || name.ptr[i] == ' ';
    if (good && r->f->flags & RP_ID_IS_NAME)
        good = id_is_name(r, name);
    else if (good)
        good = rr_add(r, &r->name, name.ptr, name.len);
    if (!good) return rc_fail(r, r->bare), false;
    r->open = true;
    r->tool = rp_tool_find(r->tools, rr_str(&r->name));
    return true;
}

static bool ends_in(const ig_buf *b, ig_str end)
{
    return end.len && b->len >= end.len && !memcmp(b->ptr + b->len - end.len, end.ptr, end.len);
}

static void begin_loose(ig_reply *r, char open)
{
    rp_loose_start(&r->loose, open);
    r->state = R_LOOSE;
    r->has_args = true;
    rc_args(r, "{", 1);
}

/* A name that stands for text: what follows is said. */
static bool is_text_name(ig_reply *r, ig_str name)
{
    if (!r->f->text_name || !ig_str_is(rp_trim(name), r->f->text_name)) return false;
    rc_begin(r);
    r->in_section = false;
    r->lead = true;
    r->state = R_TEXT;
    return true;
}

/* Ends of a name, by family: what follows it. */
enum { E_NAME, E_ID, E_JSON, E_KEY, E_CLOSE, E_LINE, E_OPEN, E_ENDS };
static ig_str name_end(const ig_reply *r, int which)
{
    const ig_reply_family *f = r->f;
    ig_str none = {"", 0};
    bool tags = f->syntax == RP_TAGS, marked = rp_line(f->name_end, 0).len > 0;
    switch (which) {
    case E_NAME: return rp_line(f->name_end, 0);
    case E_ID: return rp_mark(f->id_mark);
    case E_JSON: return f->syntax == RP_NAMED || f->syntax == RP_JSON ? IG_STR("{") : none;
    case E_KEY: return tags && !marked ? rp_mark(f->key) : none;
    case E_CLOSE: return tags && !marked ? rp_mark(f->call_end) : none;
    case E_LINE: return (tags && !marked) || (f->name_end && f->name_end[0] == '\n' && !marked) ? IG_STR("\n") : none;
    default: return f->syntax == RP_PYTHON ? IG_STR("(") : f->syntax == RP_LOOSE ? IG_STR("{") : none;
    }
}

static void after_name(ig_reply *r, int which)
{
    ig_str name = rr_str(&r->tok);
    ig_str fence = IG_STR("```json");
    name = rp_trim(name);
    if (ends_in(&(ig_buf){.ptr = (char *)(uintptr_t)name.ptr, .len = name.len}, fence)) name.len -= fence.len;
    if (r->open) { /* this was the id */
        name = rp_trim(name);
        if (r->f->flags & RP_IDS && name.len <= NAME_BYTES) (void)rr_add(r, &r->id, name.ptr, name.len);
    } else {
        if (is_text_name(r, name)) return;
        if (!rc_name(r, name)) return;
    }
    rr_clear(&r->tok);
    if (which == E_ID) return;
    if (r->f->syntax == RP_NESTED) return rn_begin(r);
    r->state = R_BODY;
    if (which == E_OPEN) begin_loose(r, r->f->syntax == RP_PYTHON ? '(' : '{');
    if (which == E_JSON) rr_step(r, '{');
    if (which == E_KEY) r->state = R_KEY;
    if (which == E_CLOSE) {
        rc_args(r, "{}", 2);
        rc_done(r);
    }
}

void rc_name_step(ig_reply *r, char c)
{
    if (!rr_add(r, &r->raw, &c, 1) || !rr_add(r, &r->tok, &c, 1)) return;
    if (is_space(c) && r->tok.len == 1) { /* before the name */
        rr_clear(&r->tok);
        return;
    }
    if (r->f->syntax == RP_NAMED && r->tok.len == 1 && (c == '[' || c == '{') && !r->open) { /* the older notation */
        r->state = R_SECTION, r->expect = true;
        r->raw.len--;
        rr_clear(&r->tok);
        return rc_section(r, c);
    }
    for (int i = 0; i < E_ENDS; i++) {
        ig_str end = name_end(r, i);
        if (!ends_in(&r->tok, end)) continue;
        r->tok.len -= end.len;
        if (i == E_LINE && !rp_trim(rr_str(&r->tok)).len) return;
        return after_name(r, i);
    }
    bool python = r->f->syntax == RP_PYTHON && !is_letter(c) && c != '.' && c != '-' && !is_space(c);
    bool words = r->f->syntax == RP_TAGS && !is_space(c) && r->tok.len > 1 && r->tok.ptr[r->tok.len - 2] == ' ' &&
                 c != '<' && memchr(r->tok.ptr, '<', r->tok.len) == NULL;
    if (python || words || r->tok.len > NAME_BYTES + MARK_BYTES) {
        rr_clear(&r->tok);
        rc_fail(r, r->bare);
    }
}

/* ------------------------------------------------------------------------------------------------ sections */

/* Hermes' tag with a name behind it is GLM's way; without tags in the template nobody said so. */
static bool other_family(ig_reply *r, char c)
{
    if (r->f->syntax != RP_JSON || !r->named || r->bare || !is_letter(c) || !r->f->call ||
        strncmp(r->f->call, "<tool_call>", 11) != 0)
        return false;
    for (size_t i = 0; i < rp_n_families; i++)
        if (!strcmp(rp_families[i].name, "glm47")) r->f = &rp_families[i];
    rr_marks(r);
    return true;
}

/* A byte between calls that belongs to no marker. */
static void between(ig_reply *r, char c)
{
    bool python = r->f->syntax == RP_PYTHON && !r->bare;
    if (r->expect || is_space(c)) (void)rr_add(r, &r->raw, &c, 1);
    if (r->fence && (is_letter(c) || c == '`')) return;
    r->fence = false;
    if (c == '`') {
        r->fence = true;
        return;
    }
    if (is_space(c) || c == ',' || c == ';') return;
    if (c == '[' && (r->expect || r->list)) {
        r->list = true;
        return;
    }
    if ((c == ']' || (c == '}' && !r->expect)) && (r->in_section || r->list)) {
        if (r->expect && c == ']') { /* an empty list of calls */
            r->expect = false;
            rr_clear(&r->raw);
        }
        return;
    }
    if (c == '{' && (r->expect || r->in_section || r->list || r->f->flags & RP_BARE)) {
        if (!r->expect) (void)rr_add(r, &r->raw, &c, 1);
        if (!r->in_section) r->bare = true;
        return ro_begin(r);
    }
    bool name = (r->expect && r->named && r->f->syntax != RP_JSON) || (python && (r->expect || r->in_section)) ||
                (r->expect && !r->bare && r->f->syntax == RP_JSON && r->f->name_end) || other_family(r, c) ||
                (r->bare && r->list && (r->f->flags & RP_BARE || r->f->syntax == RP_PYTHON) && is_letter(c));
    if (name && (is_letter(c) || r->f->syntax != RP_PYTHON)) {
        if (r->expect) r->raw.len--;
        if (r->bare && r->f->syntax == RP_JSON) { /* a list of calls in Python's notation */
            for (size_t i = 0; i < rp_n_families; i++)
                if (!strcmp(rp_families[i].name, "lfm2")) r->f = &rp_families[i];
        }
        rr_clear(&r->tok);
        r->expect = true;
        r->state = R_NAME;
        return rc_name_step(r, c);
    }
    if (r->expect) return rc_fail(r, r->bare);
    r->state = R_TEXT;
    rr_clear(&r->raw);
    rr_step(r, c);
}

void rc_section(ig_reply *r, char c)
{
    unsigned kinds = r->bare && r->expect ? 0u : MK_SECTION | MK_CALL | MK_END | MK_DROP | MK_HEADER | MK_OPEN;
    int at = rr_match(r, kinds, c, between);
    if (at < 0) return;
    const rp_marker *m = &r->marks[at];
    if (r->expect) (void)rr_add(r, &r->raw, m->text.ptr, m->text.len);
    if (m->kind & MK_CALL && r->expect) {
        r->named = true;
        r->fence = false;
        if ((r->f->name_end && r->f->syntax != RP_JSON) || r->f->syntax == RP_LOOSE) {
            rr_clear(&r->tok);
            r->state = R_NAME;
        }
        if (ig_str_is(m->text, "<function=") && r->f->syntax == RP_JSON) {
            for (size_t i = 0; i < rp_n_families; i++)
                if (!strcmp(rp_families[i].name, "qwen3_coder")) r->f = &rp_families[i];
            rr_marks(r);
            rr_clear(&r->tok);
            r->state = R_NAME;
        }
        return;
    }
    if (m->kind & MK_SECTION && r->expect) return;
    if (m->kind & (MK_SECTION | MK_CALL | MK_HEADER | MK_OPEN)) {
        r->state = R_TEXT; /* as if it stood in text */
        rr_clear(&r->raw);
        for (size_t i = 0; i < m->text.len; i++) rr_step(r, m->text.ptr[i]);
        return;
    }
    if (m->kind & MK_END && r->expect && r->named) return rc_fail(r, false); /* a call of nothing */
    if (m->kind & MK_END && r->expect) r->expect = false, rr_clear(&r->raw);
}

/* ------------------------------------------------------------------------------------------------ arguments */

static void no_more(ig_reply *r)
{
    if (r->n_args)
        rc_args(r, "}", 1);
    else
        rc_args(r, "{}", 2);
    rc_done(r);
}

static void body_byte(ig_reply *r, char c)
{
    if (!r->live) (void)rr_add(r, &r->raw, &c, 1);
    if (r->fence && (is_letter(c) || c == '`')) return;
    r->fence = c == '`';
    if (is_space(c) || c == '`') return;
    if (c == '"' && !r->n_args && !r->live && r->f->syntax == RP_NAMED) {
        rp_json_start(&r->json);
        r->quoted = true;
        r->state = R_ARGS;
        rr_clear(&r->tok);
        r->raw.len--;
        return rc_json(r, c);
    }
    if (c == '{' && !r->n_args) {
        rp_json_start(&r->json);
        r->has_args = true;
        r->quoted = false;
        r->state = R_ARGS;
        (void)rc_live(r);
        size_t n;
        char escaped[8];
        (void)rp_json_step(&r->json, c, escaped, &n);
        return rc_args(r, &c, 1);
    }
    if (r->live) (void)rr_add(r, &r->tok, &c, 1);
    rc_fail(r, r->bare);
    rr_clear(&r->tok);
}

void rc_body(ig_reply *r, char c)
{
    int at = rr_match(r, MK_KEY | MK_END | MK_CALL | MK_SECTION | MK_DROP | MK_HEADER, c, body_byte);
    if (at < 0) return;
    const rp_marker *m = &r->marks[at];
    if (!r->live) (void)rr_add(r, &r->raw, m->text.ptr, m->text.len);
    if (m->kind & MK_KEY) {
        rr_clear(&r->tok);
        r->state = R_KEY;
        return;
    }
    if (m->kind & MK_END) return no_more(r);
    if (m->kind & (MK_CALL | MK_SECTION | MK_HEADER)) {
        char again[MARK_BYTES];
        size_t n = m->text.len;
        memcpy(again, m->text.ptr, n);
        no_more(r);
        for (size_t i = 0; i < n; i++) rr_step(r, again[i]);
    }
}

/* The name of an argument; DSML says beside it whether the value is a string. */
static void begin_value(ig_reply *r)
{
    ig_str key = rr_str(&r->tok);
    const char *quote = memchr(key.ptr, '"', key.len);
    r->typed = -1;
    if (quote) {
        ig_str more = {quote, (size_t)(key.ptr + key.len - quote)};
        if (r->f->flags & RP_TYPED)
            r->typed = rp_has(more, "string=\"true\"") ? 1 : rp_has(more, "string=\"false\"") ? 0 : -1;
        key.len = (size_t)(quote - key.ptr);
    }
    key = rp_trim(key);
    const json_t *root = r->tool ? r->tool->schema : NULL;
    r->schema = root ? rp_property(root, root, key.ptr, key.len) : NULL;
    r->types = r->schema ? rp_types(root, r->schema) : RP_ANY;
    rc_args(r, r->n_args ? ", \"" : "{\"", r->n_args ? 3 : 2);
    ig_buf name;
    ig_buf_init(&name, RAW_BYTES);
    if (!rp_escape(&name, key)) r->st = IG_NO_MEMORY;
    rc_args(r, name.ptr, name.len);
    ig_buf_fini(&name);
    rc_args(r, "\": ", 3);
    r->n_args++;
    r->stream = r->typed == 1 || (r->typed < 0 && r->types == RP_STRING);
    if (r->stream) rc_args(r, "\"", 1);
    r->json_value = false;
    r->skip_line = r->f->key_end && r->f->key_end[strlen(r->f->key_end) - 1] == '\n' && !r->f->value;
    rr_clear(&r->tok);
    r->state = r->f->value ? R_OPEN : R_VALUE;
}

void rc_key(ig_reply *r, char c)
{
    ig_str end = rp_line(r->f->key_end, 0);
    if (end.len > 1 && end.ptr[0] == '"') end.ptr++, end.len--; /* attributes may stand before > */
    if (!r->live) (void)rr_add(r, &r->raw, &c, 1);
    if (!rr_add(r, &r->tok, &c, 1)) return;
    if (ends_in(&r->tok, end)) {
        r->tok.len -= end.len;
        return begin_value(r);
    }
    if (r->tok.len > NAME_BYTES + MARK_BYTES) rc_fail(r, r->bare), rr_clear(&r->tok);
}

static void open_byte(ig_reply *r, char c)
{
    if (r->state == R_OPEN && is_space(c)) {
        if (!r->live) (void)rr_add(r, &r->raw, &c, 1);
        return;
    }
    r->state = R_VALUE; /* the marker was forgotten */
    rr_step(r, c);
}

void rc_open(ig_reply *r, char c)
{
    int at = rr_match(r, MK_VALUE, c, open_byte);
    if (at < 0) return;
    if (!r->live) (void)rr_add(r, &r->raw, r->marks[at].text.ptr, r->marks[at].text.len);
    r->state = R_VALUE;
}

static void value_byte(ig_reply *r, char c)
{
    if (!r->live) (void)rr_add(r, &r->raw, &c, 1);
    if (r->skip_line && c == '\n') {
        r->skip_line = false;
        return;
    }
    r->skip_line = false;
    if (!r->stream) {
        char escaped[8];
        size_t n;
        bool begins = !r->tok.len && (c == '{' || c == '[');
        (void)rr_add(r, &r->tok, &c, 1);
        if (begins) rp_json_start(&r->json);
        if (begins) r->json_value = true;
        if (r->json_value) r->json_value = rp_json_step(&r->json, c, escaped, &n) == RP_MORE;
        return;
    }
    char room[16];
    ig_buf escaped = {.ptr = room, .cap = sizeof room, .max_bytes = sizeof room};
    (void)rp_escape(&escaped, (ig_str){&c, 1});
    rc_args(r, escaped.ptr, escaped.len);
}

void rc_value(ig_reply *r, char c)
{
    /* Inside a string of JSON the marker is text. */
    if (r->json_value && !r->n_hold && rp_json_in_string(&r->json)) return value_byte(r, c);
    int at = rr_match(r, MK_STOP, c, value_byte);
    if (at < 0) return;
    if (!r->live) (void)rr_add(r, &r->raw, r->marks[at].text.ptr, r->marks[at].text.len);
    if (r->stream) {
        rc_args(r, "\"", 1);
    } else {
        ig_buf json;
        ig_buf_init(&json, RAW_BYTES);
        if (!rp_value(rr_str(&r->tok), r->types, r->typed, &json)) r->st = IG_NO_MEMORY;
        rc_args(r, json.ptr, json.len);
        ig_buf_fini(&json);
    }
    rr_clear(&r->tok);
    r->state = R_BODY;
}

/* Arguments that came as a string. */
static void unquote(ig_reply *r)
{
    ig_buf text;
    ig_buf_init(&text, RAW_BYTES);
    bool ok = ro_decode(rr_str(&r->tok), &text);
    ig_str json = rp_trim(rr_str(&text));
    rr_clear(&r->tok);
    r->quoted = false;
    if (ok && json.len && json.ptr[0] == '{' && rp_json_valid(json)) {
        r->has_args = true;
        rc_args(r, json.ptr, json.len);
        rc_done(r);
    } else {
        rc_fail(r, r->bare);
    }
    ig_buf_fini(&text);
}

void rc_json(ig_reply *r, char c)
{
    char escaped[8];
    size_t n;
    rp_step s = rp_json_step(&r->json, c, escaped, &n);
    if (s == RP_BAD) {
        if (!r->live) (void)rr_add(r, &r->raw, &c, 1);
        (void)rr_add(r, &r->tok, &c, 1);
        rc_fail(r, r->bare);
        rr_clear(&r->tok);
        return;
    }
    if (!r->live) (void)rr_add(r, &r->raw, &c, 1);
    if (r->quoted) {
        (void)rr_add(r, &r->tok, n ? escaped : &c, n ? n : 1);
        if (s == RP_DONE) unquote(r);
        return;
    }
    rc_args(r, n ? escaped : &c, n ? n : 1);
    if (s == RP_DONE) rc_done(r);
}

void rc_loose(ig_reply *r, char c)
{
    bool first =
        r->loose.state == 1 && r->loose.depth == 1 && !r->loose.any; /* JSON, braces and all, in the brackets */
    if (first && c == '{' && r->f->syntax == RP_LOOSE) {
        char escaped[8];
        size_t n;
        rp_json_start(&r->json);
        (void)rp_json_step(&r->json, c, escaped, &n);
        r->quoted = false;
        r->state = R_ARGS;
        if (!r->live) (void)rr_add(r, &r->raw, &c, 1);
        return;
    }
    ig_buf json;
    ig_buf_init(&json, 4096);
    rp_step s = rp_loose_step(&r->loose, c, &json);
    if (!r->live) (void)rr_add(r, &r->raw, &c, 1);
    rc_args(r, json.ptr, json.len);
    ig_buf_fini(&json);
    if (s == RP_DONE) return rc_done(r);
    if (s == RP_MORE) return;
    bool live = r->live;
    rc_fail(r, r->bare);
    if (live) rr_say(r, IG_PIECE_TEXT, &c, 1);
}
