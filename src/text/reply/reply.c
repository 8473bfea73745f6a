/* A reply byte by byte: text, reasoning, headers, and the markers between them. What lies inside calls is call.c's. */
#include "base/hash.h"
#include "base/utf8.h"
#include "run.h"

enum { WS_MAX = 65536, PROMPT_MAX = 4096 };

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

bool rr_add(ig_reply *r, ig_buf *b, const char *p, size_t n)
{
    if (ig_buf_add(b, p, n)) return true;
    if (r->st == IG_OK) r->st = IG_NO_MEMORY;
    return false;
}

/* ------------------------------------------------------------------------------------------------ output */

void rr_flush(ig_reply *r)
{
    if (r->out.len && !r->stopped && r->fn) {
        ig_piece p = {.kind = r->out_kind, .text = rr_str(&r->out), .call = r->call, .unparsed = r->out_unparsed};
        r->stopped = !r->fn(r->ctx, &p);
    }
    rr_clear(&r->out);
}

static void out(ig_reply *r, ig_piece_kind kind, bool unparsed, const char *p, size_t n)
{
    if (r->out.len && (r->out_kind != kind || r->out_unparsed != unparsed)) rr_flush(r);
    r->out_kind = kind, r->out_unparsed = unparsed;
    (void)rr_add(r, &r->out, p, n);
}

void rr_say(ig_reply *r, ig_piece_kind kind, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (is_space(p[i])) {
            if (r->lead) continue;
            (void)rr_add(r, &r->ws, p + i, 1);
            if (r->ws.len < WS_MAX) continue;
        }
        r->lead = false;
        if (kind == IG_PIECE_TEXT) r->said = true;
        if (r->unparsed && kind == IG_PIECE_TEXT) r->end.unparsed = true;
        bool unparsed = r->unparsed && kind == IG_PIECE_TEXT;
        if (r->ws.len) out(r, kind, unparsed, r->ws.ptr, r->ws.len);
        rr_clear(&r->ws);
        if (!is_space(p[i])) out(r, kind, unparsed, p + i, 1);
    }
}

/* ------------------------------------------------------------------------------------------------ markers */

static void mark(ig_reply *r, ig_str text, unsigned kind, int which)
{
    if (!text.len || text.len >= MARK_BYTES || r->n_marks == MARKS_MAX) return;
    for (size_t i = 0; i < r->n_marks; i++)
        if (ig_str_eq(r->marks[i].text, text) && r->marks[i].which == which) {
            r->marks[i].kind |= kind;
            return;
        }
    r->marks[r->n_marks++] = (rp_marker){text, kind, which};
    r->first[(uint8_t)text.ptr[0]] = true;
}

static ig_str without_bracket(ig_str s)
{
    while (s.len > 1 && s.ptr[s.len - 1] == '[') s = rp_trim((ig_str){s.ptr, s.len - 1});
    return s;
}

static ig_str without_close(ig_str s)
{
    while (s.len && (s.ptr[0] == ']' && !(s.len > 1 && s.ptr[1] == '<' && s.len > 2 && s.ptr[2] == ']')))
        s = rp_trim((ig_str){s.ptr + 1, s.len - 1});
    return s;
}

/* The lines of what opens a call: the last one is followed by the call. */
static void mark_call(ig_reply *r, const char *call)
{
    for (size_t i = 0; rp_line(call, i).len; i++) {
        ig_str line = rp_line(call, i);
        unsigned kind = rp_line(call, i + 1).len ? MK_SECTION : MK_CALL;
        if (r->f->drop[0] && ig_str_is(line, r->f->drop[0])) continue;
        mark(r, line, kind | (rp_is_control(line) ? MK_HARD : 0u), -1);
    }
}

static void mark_end(ig_reply *r, const char *marker)
{
    for (size_t i = 0; rp_line(marker, i).len; i++) {
        ig_str line = without_close(rp_line(marker, i));
        while (line.len && line.ptr[0] == '`') line.ptr++, line.len--;
        if (line.len > 1) mark(r, line, MK_END, -1);
    }
}

void rr_marks(ig_reply *r)
{
    static const char *const headers[] = {"<|start|>", "<|channel|>"};
    static const char *const ends[] = {"<|end|>", "<|return|>", "<|call|>", "<|eom|>", "<|eot|>"};
    const ig_reply_family *f = r->f;
    bool tool_call = f->call && !strncmp(f->call, "<tool_call>", 11);
    ig_str section = without_bracket(rp_line(f->section, 0));
    if (!r->no_calls) mark(r, section, MK_SECTION | (rp_is_control(section) ? MK_HARD : 0u), -1);
    if (f->syntax != RP_HARMONY && !r->no_calls) mark_call(r, f->call);
    mark_end(r, f->call_end);
    mark_end(r, f->section_end);
    for (size_t i = 0; i < 3; i++) mark(r, rp_mark(f->drop[i]), MK_DROP, -1);
    for (size_t i = 1; rp_line(f->name_end, i).len; i++) mark(r, rp_line(f->name_end, i), MK_DROP, -1);
    if (f->syntax == RP_NESTED) mark(r, rp_mark(f->key), MK_TAG, -1);
    if (f->syntax == RP_TAGS) mark(r, rp_mark(f->key), MK_KEY, -1);
    mark(r, rp_mark(f->value), MK_VALUE, -1);
    mark(r, rp_mark(f->value_end), MK_STOP, -1);
    if (f->value_end && f->value_end[0] == '\n') mark(r, ig_str_from(f->value_end), MK_STOP, -1);
    for (size_t i = 0; f->flags & RP_HEADERS && i < 2; i++) mark(r, ig_str_from(headers[i]), MK_HEADER, -1);
    for (size_t i = 0; f->flags & RP_HEADERS && i < 5; i++) mark(r, ig_str_from(ends[i]), MK_DROP | MK_END, -1);
    if (!tool_call || r->no_calls) return;
    mark(r, IG_STR("<function="), MK_CALL, -1);
    mark(r, IG_STR("</function>"), MK_END, -1);
}

/* Whether the marker stands for something where r is. */
static bool counts(const ig_reply *r, const rp_marker *m, unsigned kinds)
{
    if (!(m->kind & kinds)) return false;
    if (r->state == R_THINK && m->kind & kinds & MK_CLOSE) return m->which == r->think;
    if (r->state == R_TEXT && m->kind & (MK_OPEN | MK_CLOSE)) return !r->said || rp_is_control(m->text);
    /* Without its family's <tool_call> around it, <function= could be anything. */
    return true;
}

int rr_match(ig_reply *r, unsigned kinds, char c, void (*other)(ig_reply *, char))
{
    if (!r->n_hold && !r->first[(uint8_t)c]) return other(r, c), -1;
    r->hold[r->n_hold++] = c;
    while (r->n_hold) {
        bool longer = false;
        int found = -1;
        for (size_t i = 0; i < r->n_marks; i++) {
            const rp_marker *m = &r->marks[i];
            size_t n = r->n_hold < m->text.len ? r->n_hold : m->text.len;
            if (!counts(r, m, kinds) || memcmp(m->text.ptr, r->hold, n) != 0) continue;
            if (m->text.len == r->n_hold && (found < 0 || m->kind & MK_CLOSE)) found = (int)i;
            longer = longer || m->text.len > r->n_hold;
        }
        if (longer) return -1;
        if (found >= 0) return r->n_hold = 0, found;
        char first = r->hold[0], rest[MARK_BYTES];
        rp_state was = r->state;
        size_t n = r->n_hold - 1;
        memcpy(rest, r->hold + 1, n);
        r->n_hold = 0; /* `other` may lead to a state that looks for marks itself */
        other(r, first);
        if (r->state == was && !r->n_hold) {
            memcpy(r->hold, rest, r->n_hold = n);
            continue;
        }
        for (size_t i = 0; i < n; i++) rr_step(r, rest[i]);
        return -1;
    }
    return -1;
}

/* ------------------------------------------------------------------------------------------------ text */

static void keep_ws(ig_reply *r)
{
    (void)rr_add(r, &r->raw, r->ws.ptr, r->ws.len);
    rr_clear(&r->ws);
}

static void to_section(ig_reply *r, const rp_marker *m)
{
    rc_begin(r);
    keep_ws(r);
    (void)rr_add(r, &r->raw, m->text.ptr, m->text.len);
    r->in_section = r->expect = true;
    r->unparsed = false;
    r->named = (m->kind & MK_CALL) != 0;
    r->state = R_SECTION;
    if (ig_str_is(m->text, "<function=") && r->f->syntax == RP_JSON) {
        for (size_t i = 0; i < rp_n_families; i++)
            if (!strcmp(rp_families[i].name, "qwen3_coder")) r->f = &rp_families[i];
        rr_marks(r);
    }
    if (r->named && r->f->name_end && r->f->syntax != RP_JSON) r->state = R_NAME, rr_clear(&r->tok);
    if (r->named && r->f->syntax == RP_LOOSE) r->state = R_NAME, rr_clear(&r->tok);
}

static void think(ig_reply *r, int which)
{
    rr_clear(&r->ws);
    r->state = R_THINK, r->think = which, r->lead = true;
}

static void text(ig_reply *r)
{
    rr_clear(&r->ws);
    r->state = R_TEXT, r->lead = true, r->think = -1;
}

static void header(ig_reply *r, const rp_marker *m)
{
    if (r->state == R_TEXT || r->state == R_THINK) rr_flush(r);
    rr_clear(&r->ws);
    rr_clear(&r->tok);
    r->n_given = 0;
    if (m) (void)rr_add(r, &r->tok, m->text.ptr, m->text.len);
    r->state = R_HEADER;
}

static void act(ig_reply *r, const rp_marker *m)
{
    if (m->kind & MK_HEADER && r->f->flags & RP_HEADERS) return header(r, m);
    if (r->state == R_THINK && m->kind & MK_CLOSE && m->which == r->think) return text(r);
    if (m->kind & (MK_SECTION | MK_CALL)) return to_section(r, m);
    if (m->kind & MK_OPEN && r->state == R_TEXT) return think(r, m->which);
    if (m->kind & (MK_END | MK_DROP)) {
        rr_clear(&r->ws);
        if (m->kind & MK_END) r->unparsed = false;
        r->lead = true;
    }
}

static void say_text(ig_reply *r, char c)
{
    bool start = !r->said && (c == '{' || c == '[') && r->f->flags & RP_BARE && r->tools && r->tools->n && !r->unparsed;
    if (!start) return rr_say(r, IG_PIECE_TEXT, &c, 1);
    rc_begin(r);
    keep_ws(r);
    (void)rr_add(r, &r->raw, &c, 1);
    r->bare = true, r->expect = true, r->named = false;
    r->list = c == '[';
    r->state = R_SECTION;
    if (c == '{') ro_begin(r);
}

static void say_think(ig_reply *r, char c) { rr_say(r, IG_PIECE_REASONING, &c, 1); }

static void step_text(ig_reply *r, char c)
{
    unsigned kinds = MK_OPEN | MK_CLOSE | MK_SECTION | MK_CALL | MK_DROP | MK_HEADER | (r->in_section ? MK_END : 0u);
    int m = rr_match(r, kinds, c, say_text);
    if (m >= 0) act(r, &r->marks[m]);
}

static void step_think(ig_reply *r, char c)
{
    int m = rr_match(r, MK_CLOSE | MK_HARD | (r->f->flags & RP_HEADERS ? MK_HEADER | MK_DROP : 0u), c, say_think);
    if (m >= 0) act(r, &r->marks[m]);
}

/* ------------------------------------------------------------------------------------------------ headers */

static ig_str word_after(ig_str s, const char *what)
{
    const char *at = memmem(s.ptr, s.len, what, strlen(what));
    ig_str w = {"", 0};
    if (!at) return w;
    w.ptr = at + strlen(what);
    while (w.ptr + w.len < s.ptr + s.len && !is_space(w.ptr[w.len]) && w.ptr[w.len] != '<') w.len++;
    return w;
}

/* A whole header: who speaks to whom. The recipient may stand in the role or in the channel. */
static void read_header(ig_reply *r)
{
    ig_str h = rr_str(&r->tok), to = word_after(h, "to="), channel = word_after(h, "<|channel|>");
    static const char prefix[] = "functions.";
    bool function = to.len > sizeof prefix - 1 && !memcmp(to.ptr, prefix, sizeof prefix - 1);
    if (function) to.ptr += sizeof prefix - 1, to.len -= sizeof prefix - 1;
    if (r->f->syntax == RP_HARMONY && to.len && (function || rp_tool_find(r->tools, to))) {
        char name[HEADER_BYTES];
        memcpy(name, to.ptr, to.len);
        ig_str copy = {name, to.len};
        rc_begin(r);
        (void)rr_add(r, &r->raw, h.ptr, h.len);
        (void)rr_add(r, &r->raw, "<|message|>", 11);
        r->in_section = true;
        if (rc_name(r, copy)) r->state = R_BODY;
        return;
    }
    if (ig_str_is(channel, "analysis") || ig_str_is(to, "self")) return think(r, -1);
    text(r);
}

static void step_header(ig_reply *r, char c)
{
    static const char end[] = "<|message|>";
    (void)rr_add(r, &r->tok, &c, 1);
    size_t n = sizeof end - 1;
    if (r->tok.len >= n && !memcmp(r->tok.ptr + r->tok.len - n, end, n)) {
        r->tok.len -= n;
        return read_header(r);
    }
    if (r->tok.len < HEADER_BYTES && c != '\n') return;
    r->state = R_TEXT; /* a model that writes no headers */
    r->lead = true;
    ig_str tok = rr_str(&r->tok);
    rr_say(r, IG_PIECE_TEXT, tok.ptr + r->n_given, tok.len - r->n_given);
    rr_clear(&r->tok);
}

/* ------------------------------------------------------------------------------------------------ face */

static void (*const steps[])(ig_reply *, char) = {
    [R_TEXT] = step_text,    [R_THINK] = step_think, [R_HEADER] = step_header, [R_SECTION] = rc_section,
    [R_NAME] = rc_name_step, [R_BODY] = rc_body,     [R_KEY] = rc_key,         [R_OPEN] = rc_open,
    [R_VALUE] = rc_value,    [R_ARGS] = rc_json,     [R_LOOSE] = rc_loose,     [R_OBJECT] = ro_step,
    [R_NEST] = rn_step,
};

void rr_step(ig_reply *r, char c) { steps[r->state](r, c); }

/* Where the prompt leaves the model: thinking, in a header, before a name. */
static void begin(ig_reply *r, ig_str prompt)
{
    static const char start[] = "<|start|>", message[] = "<|message|>";
    if (!prompt.len) prompt = IG_STR("");
    if (prompt.len > PROMPT_MAX) prompt = (ig_str){prompt.ptr + prompt.len - PROMPT_MAX, PROMPT_MAX};
    int open = rp_think_open(prompt);
    ig_str trimmed = rp_trim(prompt), call = {"", 0};
    if (open >= 0) think(r, open);
    if (r->f->flags & RP_HEADERS) {
        const char *at = NULL, *next = prompt.ptr, *end = prompt.ptr + prompt.len;
        while (prompt.len && (next = memmem(next, (size_t)(end - next), start, sizeof start - 1))) at = next++;
        if (at && end - at < HEADER_BYTES / 2) {
            const char *done = memmem(at, (size_t)(end - at), message, sizeof message - 1);
            header(r, NULL);
            (void)rr_add(r, &r->tok, at, (size_t)((done ? done : end) - at));
            r->n_given = r->tok.len;
            if (done) read_header(r);
        } else if (!prompt.len) {
            header(r, NULL);
        }
    }
    if (!r->f->text_name) return;
    for (size_t i = 0; rp_line(r->f->call, i).len; i++) call = rp_line(r->f->call, i);
    if (trimmed.len < call.len || memcmp(trimmed.ptr + trimmed.len - call.len, call.ptr, call.len) != 0) return;
    to_section(r, &(rp_marker){{"", 0}, MK_CALL, -1});
}

ig_status ig_reply_open(const ig_reply_options *o, ig_reply **out_r, ig_error *err)
{
    *out_r = NULL;
    ig_reply *r = ig_calloc(1, sizeof *r);
    if (!r) return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a reply");
    r->f = o->family ? o->family : &rp_families[rp_n_families - 1];
    r->tools = o->tools, r->seed = o->seed, r->whole = o->whole, r->think = -1, r->no_calls = o->no_calls;
    ig_buf *const bufs[] = {&r->ws, &r->raw, &r->tok, &r->name, &r->id, &r->args, &r->out};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) ig_buf_init(bufs[i], RAW_BYTES);
    rr_marks(r);
    for (size_t i = 0; i < rp_n_thinks; i++) {
        if (!rp_think_used(i, o->source)) continue;
        r->thinks = r->thinks || rp_has(o->source, rp_thinks[i].close);
        mark(r, ig_str_from(rp_thinks[i].open), MK_OPEN, (int)i);
        mark(r, ig_str_from(rp_thinks[i].close), MK_CLOSE, (int)i);
    }
    begin(r, o->prompt);
    if (r->st != IG_OK) {
        ig_reply_close(r);
        return ig_fail(err, IG_NO_MEMORY, 0, "out of memory for a reply");
    }
    *out_r = r;
    return IG_OK;
}

void ig_reply_close(ig_reply *r)
{
    if (!r) return;
    ig_buf *const bufs[] = {&r->ws, &r->raw, &r->tok, &r->name, &r->id, &r->args, &r->out};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) ig_buf_fini(bufs[i]);
    ig_free(r);
}

static void feed(ig_reply *r, const char *p, size_t n)
{
    for (size_t i = 0; i < n && r->st == IG_OK; i++) rr_step(r, p[i]);
}

/* Collects whole characters; what is none becomes U+FFFD. */
static void take_byte(ig_reply *r, char c)
{
    uint32_t cp;
    r->utf8[r->n_utf8++] = c;
    while (r->n_utf8) {
        size_t n = ig_utf8_decode(r->utf8, r->n_utf8, &cp);
        if (n == r->n_utf8) {
            feed(r, r->utf8, n);
            r->n_utf8 = 0;
            return;
        }
        if (!n && ig_utf8_whole(r->utf8, r->n_utf8) == 0) return; /* more bytes are to come */
        feed(r, n ? r->utf8 : "\xEF\xBF\xBD", n ? n : 3);
        n = n ? n : 1;
        memmove(r->utf8, r->utf8 + n, r->n_utf8 - n);
        r->n_utf8 -= n;
    }
}

static ig_status status(const ig_reply *r, ig_error *err)
{
    return r->st == IG_OK ? IG_OK : ig_fail(err, r->st, 0, "out of memory for a reply");
}

ig_status ig_reply_push(ig_reply *r, const char *text_in, size_t n, ig_piece_fn fn, void *ctx, ig_error *err)
{
    r->fn = fn, r->ctx = ctx;
    for (size_t i = 0; i < n && r->st == IG_OK; i++) take_byte(r, text_in[i]);
    rr_flush(r);
    r->fn = NULL;
    return status(r, err);
}

void ig_reply_cut_off(ig_reply *r) { r->cut = true; }

/* The reply ends within a marker that opens a call. "<" alone may be anything. */
static bool holds_call(const ig_reply *r)
{
    enum { LEAST = 3 };
    for (size_t i = 0; r->n_hold >= LEAST && i < r->n_marks; i++) {
        const rp_marker *m = &r->marks[i];
        if (m->kind & (MK_SECTION | MK_CALL) && m->text.len > r->n_hold && !memcmp(m->text.ptr, r->hold, r->n_hold))
            return true;
    }
    return false;
}

ig_status ig_reply_finish(ig_reply *r, ig_piece_fn fn, void *ctx, ig_reply_end *end, ig_error *err)
{
    r->fn = fn, r->ctx = ctx;
    /* Half a character: in text it is shown as what it is; a call is cut off anyway. */
    if (r->n_utf8 && (r->state == R_TEXT || r->state == R_THINK)) feed(r, "\xEF\xBF\xBD", 3);
    r->n_utf8 = 0;
    if (r->state == R_TEXT || r->state == R_THINK) {
        ig_piece_kind kind = r->state == R_TEXT ? IG_PIECE_TEXT : IG_PIECE_REASONING;
        bool ends = r->n_hold && r->in_section && r->state == R_TEXT && !r->said; /* half a mark after a call */
        if (ends && memchr(r->hold, '<', 1)) r->n_hold = 0;
        if (r->cut && r->state == R_TEXT && holds_call(r)) {
            r->n_hold = 0;
            r->end.truncated_call = true;
        }
        rr_say(r, kind, r->hold, r->n_hold);
        /* White space at the end belongs to the text, unless a call came before. */
        if (r->ws.len && r->state == R_TEXT && r->said) out(r, kind, false, r->ws.ptr, r->ws.len);
    } else {
        rc_cut(r);
    }
    rr_flush(r);
    r->fn = NULL;
    if (end) *end = r->end;
    return status(r, err);
}

bool ig_reply_is_reasoning(const ig_reply *r) { return r->state == R_THINK; }

/* Vocabularies differ in what they call a control token: <think> and <tool_call> are ones in some. */
bool ig_reply_wants_control(const ig_reply *r) { return r->f->needs[0] != NULL || r->thinks; }
