/* Arguments as nested tags, each behind a mark of its own (MiniMax M3). What is a list and what a text, the schema says;
 * where it does not, a tag named item makes a list. */
#include "run.h"

static const json_t *root_of(const ig_reply *r) { return r->tool ? r->tool->schema : NULL; }

void rn_begin(ig_reply *r)
{
    r->nest = (rp_nest){.depth = 1};
    r->nest.level[0].schema = root_of(r);
    r->nest.level[0].kind = '{';
    r->state = R_NEST;
    r->has_args = true;
    rr_clear(&r->tok);
    rc_args(r, "{", 1);
}

static void quoted(ig_reply *r, ig_str text, const char *after)
{
    ig_buf b;
    ig_buf_init(&b, RAW_BYTES);
    if (!ig_buf_add(&b, "\"", 1) || !rp_escape(&b, text) || !ig_buf_add(&b, after, strlen(after))) r->st = IG_NO_MEMORY;
    rc_args(r, b.ptr, b.len);
    ig_buf_fini(&b);
}

static unsigned types_of(const ig_reply *r, unsigned level)
{
    const json_t *s = r->nest.level[level].schema;
    return s ? rp_types(root_of(r), s) : RP_ANY;
}

/* The first child of a value: it is a list or an object. */
static void first_child(ig_reply *r, unsigned at, ig_str tag)
{
    unsigned types = types_of(r, at);
    bool list = ig_str_is(tag, "item") && types & RP_LIST;
    if (list && types & RP_OBJECT && r->nest.level[at].schema)
        list = !rp_property(root_of(r), r->nest.level[at].schema, "item", 4);
    r->nest.level[at].kind = list ? '[' : '{';
    rc_args(r, list ? "[" : "{", 1);
}

static bool open_tag(ig_reply *r, ig_str tag)
{
    rp_nest *s = &r->nest;
    unsigned at = s->depth - 1;
    if (s->depth == NEST_MAX || !tag.len) return false;
    bool first = at == 0 ? r->n_args == 0 : s->level[at].kind == 0;
    if (at && first) first_child(r, at, tag);
    if (!first) rc_args(r, ", ", 2);
    if (at == 0) r->n_args++;
    bool list = s->level[at].kind == '[';
    if (!list) quoted(r, tag, "\": ");
    const json_t *root = root_of(r), *schema = s->level[at].schema;
    s->level[s->depth].schema = !schema ? NULL : list ? rp_items(root, schema) : rp_property(root, schema, tag.ptr, tag.len);
    s->level[s->depth].kind = 0;
    s->depth++;
    return true;
}

static void close_tag(ig_reply *r, ig_str text)
{
    unsigned at = --r->nest.depth;
    char kind = r->nest.level[at].kind;
    if (kind) {
        rc_args(r, kind == '[' ? "]" : "}", 1);
        return;
    }
    unsigned types = types_of(r, at);
    if (!rp_trim(text).len && types == RP_LIST) return rc_args(r, "[]", 2);
    if (!rp_trim(text).len && types == RP_OBJECT) return rc_args(r, "{}", 2);
    ig_buf b;
    ig_buf_init(&b, RAW_BYTES);
    if (!rp_value(text, types, -1, &b)) r->st = IG_NO_MEMORY;
    rc_args(r, b.ptr, b.len);
    ig_buf_fini(&b);
}

/* The mark of a tag: the text before it is a value's, or white space between tags. */
static void nest_byte(ig_reply *r, char c)
{
    if (!r->live) (void)rr_add(r, &r->raw, &c, 1);
    (void)rr_add(r, &r->tok, &c, 1);
    if (!r->nest.tag || c != '>') return;
    /* tok: text, then a NUL where the mark stood, then the tag */
    const char *at = memchr(r->tok.ptr, 0, r->tok.len);
    ig_str text = {r->tok.ptr, (size_t)(at - r->tok.ptr)}, tag = {at + 1, r->tok.len - text.len - 1};
    r->nest.tag = false;
    bool ok = tag.len > 2 && tag.ptr[0] == '<';
    if (ok) tag = (ig_str){tag.ptr + 1, tag.len - 2};
    bool closes = ok && tag.ptr[0] == '/';
    if (ok && closes && r->nest.depth == 1) {
        if (ig_str_is(tag, "/invoke")) {
            rr_clear(&r->tok);
            rc_args(r, "}", 1);
            return rc_done(r);
        }
        ok = false;
    }
    if (ok && closes) close_tag(r, text);
    if (ok && !closes) ok = open_tag(r, tag);
    if (!ok) rc_fail(r, false);
    rr_clear(&r->tok);
}

void rn_step(ig_reply *r, char c)
{
    if (c == 0) return nest_byte(r, ' '); /* NUL separates below */
    int at = rr_match(r, MK_TAG, c, nest_byte);
    if (at < 0) return;
    if (!r->live) (void)rr_add(r, &r->raw, r->marks[at].text.ptr, r->marks[at].text.len);
    if (r->nest.tag) return; /* a mark inside a tag: ignored */
    r->nest.tag = true;
    (void)rr_add(r, &r->tok, "", 1);
}
