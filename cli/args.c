#include "args.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static uint64_t count_max(const cli_flag *flag) { return flag->max >= 0x1p64 ? UINT64_MAX : (uint64_t)flag->max; }

/* What kind of value a flag takes, for messages: "a whole number from 1 to 1024". */
static void describe(const cli_flag *flag, char *out, size_t n)
{
    switch (flag->kind) {
    case CLI_SWITCH: (void)snprintf(out, n, "no value"); break;
    case CLI_COUNT: (void)snprintf(out, n, "a whole number from %.0f to %" PRIu64, flag->min, count_max(flag)); break;
    case CLI_REAL: (void)snprintf(out, n, "a number from %g to %g", flag->min, flag->max); break;
    case CLI_FILE: (void)snprintf(out, n, "a file name"); break;
    case CLI_CHOICE: (void)snprintf(out, n, "one of %s", flag->choices); break;
    case CLI_TEXT:
    case CLI_LIST: (void)snprintf(out, n, "%s", flag->arg); break;
    }
}

bool cli_parse_count(const char *text, size_t n, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (n == 0) return false;
    for (size_t i = 0; i < n; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        if (__builtin_mul_overflow(value, (uint64_t)10, &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value)) return false;
    }
    *out = value;
    return value <= max;
}

bool cli_parse_real(const char *text, bool infinity, double *out)
{
    char *end;
    if (infinity && (!strcmp(text, "inf") || !strcmp(text, "-inf"))) {
        *out = text[0] == '-' ? -INFINITY : INFINITY;
        return true;
    }
    if (!text[0] || text[strspn(text, "0123456789+-.eE")]) return false; /* no hexadecimal, no nan, no blanks */
    *out = strtod(text, &end);
    return !*end && end != text && isfinite(*out);
}

static bool is_choice(const char *choices, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = choices; n && *p;) {
        size_t len = strcspn(p, "|");
        if (len == n && !memcmp(p, word, n)) return true;
        p += len + (p[len] == '|');
    }
    return false;
}

static bool take(const cli_flag *flag, cli_value *value, const char *text)
{
    value->text = text;
    switch (flag->kind) {
    case CLI_SWITCH: return false;
    case CLI_COUNT:
        return cli_parse_count(text, strlen(text), count_max(flag), &value->count) &&
               value->count >= (uint64_t)flag->min;
    case CLI_REAL:
        return cli_parse_real(text, false, &value->real) && value->real >= flag->min && value->real <= flag->max;
    case CLI_CHOICE: return is_choice(flag->choices, text);
    case CLI_TEXT:
    case CLI_FILE: return text[0] != 0;
    case CLI_LIST: break;
    }
    const char **list = ig_realloc(value->list, value->n_list + 1, sizeof *list);
    if (!list) return false;
    value->list = list;
    list[value->n_list++] = text;
    return text[0] != 0;
}

/* Finds the flag that argv word `word` names; *attached is the value written behind it, or NULL. */
static const cli_flag *find(const cli_verb *verb, const char *word, const char **attached)
{
    bool is_long = word[1] == '-';
    size_t n = is_long ? strcspn(word + 2, "=") : 1;
    *attached = NULL;
    for (size_t i = 0; i < verb->n_flags; i++) {
        const cli_flag *f = &verb->flags[i];
        if (is_long ? strlen(f->name) == n && !strncmp(f->name, word + 2, n) : f->letter && f->letter == word[1]) {
            const char *rest = is_long ? word + 2 + n : word + 2;
            if (is_long && *rest == '=')
                *attached = rest + 1;
            else if (!is_long && *rest)
                *attached = rest;
            return f;
        }
    }
    return NULL;
}

/* Verbs that ask no service, and what to do where somebody means one. */
static const char *instead_of_host(const char *verb)
{
    static const char *const rows[][2] = {
        {"eval", "logits are not for a service to give; name the model's file"},
        {"quantize", "it reads and writes files of this computer"},
        {"imatrix", "it reads and writes files of this computer"},
        {"grammar", "a grammar is checked without a model"},
        {"reply", "an answer is read without a model's service; name its file or its template"},
        {"export", "type it where the service runs, for it reads the store itself"},
        {"import", "type it where the service runs, or send a file with ingle pull FILE NAME --host ADDRESS"},
        {"verify", "type it where the service runs, for it reads the store itself"},
        {"gc", "type it where the service runs; the service collects its garbage once a day"},
        {"df", "type it where the service runs, for it reads the store itself"},
        {"key", "type it where the service runs, for it writes the file of keys"},
        {"policy", "type it where the service runs, for it reads its configuration"},
        {"audit", "type it where the service runs, for it reads the log itself"},
        {"cost", "type it where the service runs, for it reads the ledger itself"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i][0], verb)) return rows[i][1];
    return "it works without one";
}

static ig_status unknown_flag(const cli_verb *verb, const char *word, ig_error *err)
{
    if (!strcmp(word, "--host") || !strncmp(word, "--host=", 7))
        return ig_fail(err, IG_BAD_INPUT, 0, "ingle %s asks no service, leave --host away: %s", verb->name,
                       instead_of_host(verb->name));
    const cli_flag *near = word[1] == '-' ? cli_nearest_flag(verb, word + 2) : NULL;
    int n = (int)strcspn(word, "=");
    if (near)
        return ig_fail(err, IG_BAD_INPUT, 0, "%s has no flag %.*s, did you mean --%s? Type: ingle %s --help",
                       verb->name, n > 60 ? 60 : n, word, near->name, verb->name);
    return ig_fail(err, IG_BAD_INPUT, 0, "%s has no flag %.*s, expected one of its own. Type: ingle %s --help",
                   verb->name, n > 60 ? 60 : n, word, verb->name);
}

static ig_status take_flag(cli_call *call, const cli_flag *flag, const char *text, ig_error *err)
{
    cli_value *value = &call->values[flag - call->verb->flags];
    char expected[128];
    value->set = true;
    describe(flag, expected, sizeof expected);
    if (flag->kind == CLI_SWITCH) {
        if (!text) return IG_OK;
        return ig_fail(err, IG_BAD_INPUT, 0, "--%s takes no value. Type: ingle %s --help", flag->name,
                       call->verb->name);
    }
    if (!text)
        return ig_fail(err, IG_BAD_INPUT, 0, "--%s needs a value, expected %s. Type: ingle %s --help", flag->name,
                       expected, call->verb->name);
    if (take(flag, value, text)) return IG_OK;
    return cli_bad_value(call, flag->name, expected, err);
}

ig_status cli_bad_value(const cli_call *call, const char *flag, const char *expected, ig_error *err)
{
    const char *text = cli_get(call, flag)->text;
    return ig_fail(err, IG_BAD_INPUT, 0, "--%s got \"%.80s\", expected %s. Type: ingle %s --help", flag,
                   text ? text : "", expected, call->verb->name);
}

/* The words of a prompt are never repeated in a message. */
static ig_status check_args(const cli_call *call, size_t n_given, ig_error *err)
{
    const cli_verb *v = call->verb;
    if (n_given > v->n_args_max)
        return ig_fail(err, IG_BAD_INPUT, 0, "%s got %zu arguments, expected %s%s. Type: ingle %s --help", v->name,
                       n_given, v->args[0] ? v->args : "none",
                       v->n_args_max > 1 ? " (put a text of several words in quotes)" : "", v->name);
    if (n_given < v->n_args_min)
        return ig_fail(err, IG_BAD_INPUT, 0, "%s needs an argument, expected %s. Type: ingle %s --help", v->name,
                       v->args, v->name);
    return IG_OK;
}

ig_status cli_parse(cli_call *call, const cli_verb *verb, int argc, char **argv, ig_error *err)
{
    bool only_args = false;
    size_t n_given = 0;
    assert(verb->n_flags <= sizeof call->values / sizeof *call->values);
    *call = (cli_call){.verb = verb};
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i], *attached;
        if (only_args || word[0] != '-' || !word[1]) {
            if (n_given < sizeof call->args / sizeof *call->args) call->args[n_given] = word;
            n_given++;
        } else if (!strcmp(word, "--")) {
            only_args = true;
        } else if (!strcmp(word, "-h") || !strcmp(word, "--help")) {
            call->help = true;
            return IG_OK;
        } else {
            const cli_flag *flag = find(verb, word, &attached);
            if (!flag) return unknown_flag(verb, word, err);
            if (!attached && flag->kind != CLI_SWITCH && i + 1 < argc) attached = argv[++i];
            IG_TRY(take_flag(call, flag, attached, err));
        }
    }
    call->n_args = n_given;
    return check_args(call, n_given, err);
}

void cli_call_fini(cli_call *call)
{
    for (size_t i = 0; i < sizeof call->values / sizeof *call->values; i++) ig_free(call->values[i].list);
    *call = (cli_call){0};
}

const cli_value *cli_get(const cli_call *call, const char *name)
{
    for (size_t i = 0; i < call->verb->n_flags; i++)
        if (!strcmp(call->verb->flags[i].name, name)) return &call->values[i];
    abort(); /* a flag that is not in the table: our own mistake */
}

bool cli_set(const cli_call *call, const char *name) { return cli_get(call, name)->set; }

uint32_t cli_count(const cli_call *call, const char *name, uint32_t standard)
{
    const cli_value *v = cli_get(call, name);
    return v->set ? (uint32_t)v->count : standard;
}

float cli_real(const cli_call *call, const char *name, float standard)
{
    const cli_value *v = cli_get(call, name);
    return v->set ? (float)v->real : standard;
}

const char *cli_text(const cli_call *call, const char *name)
{
    const cli_value *v = cli_get(call, name);
    return v->set ? v->text : NULL;
}
