/* What was asked and answered, for the audit log of those whose policy says so ([audit] content = yes). Of each as much
 * as a record takes is kept; nothing of it goes anywhere else. */
#include <stdio.h>
#include <string.h>

#include "policy/audit.h"
#include "policy/policy.h"
#include "serve/front/fr.h"

enum {
    CONTENT_BYTES_MAX = IG_AUDIT_LINE_MAX / 16 + 1, /* one more than a record takes, so that it is marked as cut */
    CHOICES_MAX = 16                                /* of which the beginning is kept, each by itself */
};

typedef struct choice {
    size_t part;
    json_int_t number;
    ig_buf text;
} choice;

struct fr_content {
    ig_buf prompt, answer; /* answer: put together at the end */
    choice choices[CHOICES_MAX];
    size_t n_choices, bytes; /* of all choices */
};

bool fr_content_on(const fr_front *f)
{
    const ig_config *c = f->policy ? fr_policy_config(f) : NULL;
    return c && c->audit_content;
}

fr_content *fr_content_new(void)
{
    fr_content *c = ig_calloc(1, sizeof *c);
    if (!c) return NULL;
    ig_buf_init(&c->prompt, CONTENT_BYTES_MAX);
    ig_buf_init(&c->answer, CONTENT_BYTES_MAX);
    return c;
}

void fr_content_free(fr_content *c)
{
    if (!c) return;
    ig_buf_fini(&c->prompt);
    ig_buf_fini(&c->answer);
    for (size_t i = 0; i < c->n_choices; i++) ig_buf_fini(&c->choices[i].text);
    ig_free(c);
}

size_t fr_content_bytes(const fr_content *c) { return c ? c->prompt.len + c->bytes : 0; }

/* As much as has room, cut between bytes: the audit log makes broken UTF-8 sound. */
static bool add(ig_buf *b, const char *p, size_t n)
{
    size_t room = b->max_bytes - b->len;
    return ig_buf_add(b, p, n < room ? n : room) && n <= room;
}

static int on_piece(const char *p, size_t n, void *ctx) { return add(ctx, p, n) ? 0 : -1; }

void fr_content_ask(fr_content *c, const json_t *parts)
{
    static const char *const keys[] = {"messages", "prompt", "suffix", "input", "inputs", "text", "query", "documents"};
    const json_t *part;
    size_t i;
    if (!c || c->prompt.len) return;
    json_array_foreach(parts, i, part)
    {
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            const json_t *v = json_object_get(part, keys[k]);
            if (json_is_string(v))
                (void)add(&c->prompt, json_string_value(v), json_string_length(v));
            else if (v)
                (void)json_dump_callback(v, on_piece, &c->prompt, JSON_COMPACT | JSON_ENCODE_ANY);
            if (v) (void)add(&c->prompt, "\n", 1);
        }
    }
}

static choice *choice_of(fr_content *c, size_t part, json_int_t number)
{
    for (size_t i = 0; i < c->n_choices; i++)
        if (c->choices[i].part == part && c->choices[i].number == number) return &c->choices[i];
    if (c->n_choices == CHOICES_MAX) return NULL;
    choice *new = &c->choices[c->n_choices++];
    *new = (choice){.part = part, .number = number};
    ig_buf_init(&new->text, CONTENT_BYTES_MAX);
    return new;
}

static void add_text(fr_content *c, choice *to, const char *before, const json_t *v)
{
    size_t n = to->text.len;
    if (!json_is_string(v) || c->bytes >= CONTENT_BYTES_MAX) return;
    (void)add(&to->text, before, strlen(before));
    (void)add(&to->text, json_string_value(v), json_string_length(v));
    c->bytes += to->text.len - n;
}

void fr_content_delta(fr_content *c, size_t part, const json_t *body)
{
    choice *to = c ? choice_of(c, part, json_integer_value(json_object_get(body, "c"))) : NULL;
    if (!to) return;
    add_text(c, to, "\n[call] ", json_object_get(body, "name"));
    add_text(c, to, "", json_object_get(body, "args"));
    add_text(c, to, "", json_object_get(body, "t"));
}

ig_str fr_content_prompt(const fr_content *c) { return c ? (ig_str){c->prompt.ptr, c->prompt.len} : (ig_str){0}; }

ig_str fr_content_answer(fr_content *c)
{
    char mark[32];
    if (!c) return (ig_str){0};
    if (c->n_choices == 1) return (ig_str){c->choices[0].text.ptr, c->choices[0].text.len};
    for (size_t i = 0; i < c->n_choices; i++) {
        const ig_buf *text = &c->choices[i].text;
        int n = snprintf(mark, sizeof mark, "%s[%zu] ", i ? "\n" : "", i + 1);
        (void)add(&c->answer, mark, (size_t)n);
        if (text->len) (void)add(&c->answer, text->ptr, text->len);
    }
    return (ig_str){c->answer.ptr, c->answer.len};
}
