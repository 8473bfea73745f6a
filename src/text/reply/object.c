/* The JSON object that holds name and arguments of a call, in any order and under the names that families use. */
#include "run.h"

enum { O_FIRST, O_KEY, O_KEY_TEXT, O_COLON, O_VALUE, O_TEXT, O_ARGS, O_ARGS_TEXT, O_SKIP, O_AFTER };
enum { K_NAME, K_ID, K_ARGS, K_FUNCTION, K_OTHER, K_IS_NAME };

static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

void ro_begin(ig_reply *r)
{
    r->object = (rp_object){.state = O_FIRST, .depth = 1};
    r->state = R_OBJECT;
    rr_clear(&r->tok);
}

static uint8_t role_of(const ig_reply *r, ig_str key)
{
    static const struct {
        const char *key;
        uint8_t role;
    } rows[] = {{"name", K_NAME},         {"tool_name", K_NAME},  {"arguments", K_ARGS}, {"parameters", K_ARGS},
                {"args", K_ARGS},         {"id", K_ID},           {"tool_call_id", K_ID}, {"call_id", K_ID},
                {"function", K_FUNCTION}, {"type", K_OTHER}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (ig_str_is(key, rows[i].key)) return rows[i].role;
    return !r->open && rp_tool_find(r->tools, key) ? K_IS_NAME : K_OTHER;
}

static bool known_key(ig_str key)
{
    static const char *const keys[] = {"name",         "tool_name", "arguments", "parameters", "id",
                                       "tool_call_id", "function",  "type",      "args"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (ig_str_is(key, keys[i])) return true;
    return false;
}

static void bad(ig_reply *r, char c)
{
    if (r->live) rr_clear(&r->tok), (void)rr_add(r, &r->tok, &c, 1);
    rc_fail(r, r->bare);
    rr_clear(&r->tok);
}

bool ro_decode(ig_str quoted, ig_buf *out)
{
    json_t *v = json_loadb(quoted.ptr, quoted.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    bool ok = json_is_string(v) && ig_buf_add(out, json_string_value(v), json_string_length(v));
    json_decref(v);
    return ok;
}

static void end_key(ig_reply *r, char c)
{
    rp_object *o = &r->object;
    ig_str key = {o->key, o->n_key};
    o->role = role_of(r, key);
    o->state = O_COLON;
    bool first = r->bare && !r->open && !r->has_args && o->role == K_OTHER && !known_key(key);
    if (first) bad(r, c);
}

/* The string that is a name or an id. */
static void end_text(ig_reply *r, char c)
{
    ig_buf text;
    ig_buf_init(&text, RAW_BYTES);
    bool ok = ro_decode(rr_str(&r->tok), &text);
    rr_clear(&r->tok);
    if (r->object.role == K_ID) {
        if (ok && r->f->flags & RP_IDS && !r->id.len && !r->live) (void)rr_add(r, &r->id, text.ptr, text.len);
    } else if (!r->open) {
        ok = ok && rc_name(r, rr_str(&text));
        if (!ok && r->state == R_OBJECT) bad(r, c);
        if (ok && r->bare && !r->tool) bad(r, c);
    }
    ig_buf_fini(&text);
    r->object.state = O_AFTER;
}

static void begin_args(ig_reply *r, char c)
{
    r->object.state = O_ARGS;
    r->has_args = true;
    (void)rc_live(r);
    rc_args(r, &c, 1);
}

static void begin_value(ig_reply *r, char c)
{
    rp_object *o = &r->object;
    size_t n;
    char escaped[8];
    if (is_space(c)) return;
    rp_json_start(&r->json);
    if (o->role == K_FUNCTION && c == '{' && o->depth == 1) {
        o->depth = 2, o->state = O_FIRST;
        return;
    }
    if (rp_json_step(&r->json, c, escaped, &n) != RP_MORE) return bad(r, c);
    if ((o->role == K_NAME || o->role == K_ID || o->role == K_FUNCTION) && c == '"') {
        o->state = O_TEXT;
        rr_clear(&r->tok);
        (void)rr_add(r, &r->tok, &c, 1);
        return;
    }
    o->state = O_SKIP;
    if (o->role == K_IS_NAME && c == '{' && !r->open && !r->has_args) {
        if (rc_name(r, (ig_str){o->key, o->n_key})) begin_args(r, c);
        return;
    }
    if (o->role != K_ARGS || r->has_args) return;
    if (c == '{') return begin_args(r, c);
    if (c != '"') return; /* null and the like are no arguments */
    o->state = O_ARGS_TEXT;
    rr_clear(&r->tok);
    (void)rr_add(r, &r->tok, &c, 1);
}

/* Arguments that are a string with JSON in it. */
static void end_args_text(ig_reply *r, char c)
{
    ig_buf text;
    ig_buf_init(&text, RAW_BYTES);
    bool ok = ro_decode(rr_str(&r->tok), &text);
    ig_str json = rp_trim(rr_str(&text));
    ok = ok && (!json.len || (json.ptr[0] == '{' && rp_json_valid(json)));
    rr_clear(&r->tok);
    if (ok) {
        r->has_args = true;
        if (json.len)
            rc_args(r, json.ptr, json.len);
        else
            rc_args(r, "{}", 2);
        r->object.state = O_AFTER;
    } else {
        bad(r, c);
    }
    ig_buf_fini(&text);
}

static void end_object(ig_reply *r, char c)
{
    if (!r->open || (r->bare && !r->tool)) return bad(r, c);
    if (!r->has_args) rc_args(r, "{}", 2);
    rc_done(r);
}

static void after(ig_reply *r, char c)
{
    rp_object *o = &r->object;
    if (is_space(c)) return;
    if (c == ',') {
        o->state = O_KEY;
        return;
    }
    if (c == '}') {
        if (--o->depth == 0) end_object(r, c);
        return;
    }
    /* Models forget the last brace: the call is there all the same. */
    if ((c != '<' && c != ']' && c != '[') || !r->open || !r->has_args || r->bare) return bad(r, c);
    end_object(r, c);
    rr_step(r, c);
}

static void follow(ig_reply *r, char c)
{
    rp_object *o = &r->object;
    char escaped[8];
    size_t n;
    rp_step s = rp_json_step(&r->json, c, escaped, &n);
    if (s == RP_BEFORE) {
        o->state = O_AFTER;
        return after(r, c);
    }
    if (s == RP_BAD) return bad(r, c);
    const char *p = n ? escaped : &c;
    size_t len = n ? n : 1;
    if (o->state == O_ARGS) rc_args(r, p, len);
    if (o->state == O_TEXT || o->state == O_ARGS_TEXT) (void)rr_add(r, &r->tok, p, len);
    if (s != RP_DONE) return;
    if (o->state == O_TEXT) return end_text(r, c);
    if (o->state == O_ARGS_TEXT) return end_args_text(r, c);
    o->state = O_AFTER;
}

static void key_text(ig_reply *r, char c)
{
    rp_object *o = &r->object;
    if (c == '"' && !o->escape) return end_key(r, c);
    o->escape = c == '\\' && !o->escape;
    if ((unsigned char)c < 32) return bad(r, c);
    if (o->n_key < sizeof o->key) o->key[o->n_key++] = c;
}

void ro_step(ig_reply *r, char c)
{
    rp_object *o = &r->object;
    if (!r->live) (void)rr_add(r, &r->raw, &c, 1);
    switch (o->state) {
    case O_FIRST:
    case O_KEY:
        if (is_space(c)) return;
        if (c == '}' && o->depth == 1 && o->state == O_FIRST) return bad(r, c);
        if (c == '}') return o->state = O_AFTER, after(r, c);
        if (c != '"') return bad(r, c);
        o->n_key = 0, o->escape = false, o->state = O_KEY_TEXT;
        return;
    case O_KEY_TEXT: return key_text(r, c);
    case O_COLON:
        if (is_space(c)) return;
        if (c != ':') return bad(r, c);
        o->state = O_VALUE;
        return;
    case O_VALUE: return begin_value(r, c);
    case O_AFTER: return after(r, c);
    default: follow(r, c);
    }
}
