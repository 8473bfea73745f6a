/* Pinned models: loaded when the service starts, never let go for another, until somebody unpins them. Their names lie
 * in state/pins.json of the store. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os.h"
#include "policy/policy.h"
#include "serve/front/fr.h"

enum { PINS_BYTES_MAX = 1 << 20, PINS_MAX = 1000 };

static bool place(const fr_front *f, char *out, size_t n)
{
    if (!f->config->store || snprintf(out, n, "%s/state", f->config->store) >= (int)n) return false;
    if (mkdir(out, 0700) && errno != EEXIST) return false;
    return snprintf(out, n, "%s/state/pins.json", f->config->store) < (int)n;
}

/* What is damaged is no list of pins, and is said. */
static json_t *read_pins(fr_front *f)
{
    char path[4200];
    ig_buf text;
    ig_error err;
    json_error_t error;
    json_t *pins = NULL;
    ig_buf_init(&text, PINS_BYTES_MAX);
    ig_status st = place(f, path, sizeof path) ? ig_file_read(path, &text, &err) : IG_NOT_FOUND;
    if (st == IG_OK) pins = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &error);
    ig_buf_fini(&text);
    if (json_is_object(pins)) return pins;
    if (st == IG_OK) fr_say(f, "%s is damaged; no model is pinned", path);
    json_decref(pins);
    return json_object();
}

static bool save(fr_front *f)
{
    char path[4200];
    ig_error err;
    char *text = json_dumps(f->pins, JSON_INDENT(1));
    ig_status st = text && place(f, path, sizeof path) ? ig_file_write_atomic(path, text, strlen(text), &err)
                                                       : ig_fail(&err, IG_IO, 0, "there is no store to keep it in");
    free(text);
    if (st != IG_OK) fr_say(f, "pinned models are forgotten when the service ends: %s", err.text);
    return st == IG_OK;
}

bool fr_is_pinned(const fr_front *f, const fr_entry *e) { return json_object_get(f->pins, e->name) != NULL; }

void fr_pins_open(fr_front *f) { f->pins = read_pins(f); }

void fr_pins_load(fr_front *f)
{
    for (fr_entry *e = f->entries; e && !f->stopping; e = e->next) {
        ig_problem p;
        if (fr_is_pinned(f, e) && !fr_pool_find(f, e) && !fr_pool_want(f, e, &p)) fr_say(f, "%s", p.message);
    }
}

/* What pinned models but this one use; their names into text [n]. */
static uint64_t pinned_bytes(const fr_front *f, const fr_entry *but, char *names, size_t n)
{
    uint64_t sum = 0;
    size_t at = 0;
    *names = 0;
    for (const fr_worker *w = f->workers; w; w = w->next) {
        bool counts = w->pinned && w->entry != but && (w->state == FR_LOADING || w->state == FR_READY);
        if (!counts) continue;
        if (!ig_add_u64(sum, w->need_bytes, &sum)) sum = UINT64_MAX;
        int len = at < n ? snprintf(names + at, n - at, "%s%.60s", at ? ", " : "", w->entry->name) : 0;
        at += len > 0 ? (size_t)len : 0;
    }
    return sum;
}

uint64_t fr_pins_bytes(const fr_front *f, const fr_entry *but)
{
    char names[4];
    return pinned_bytes(f, but, names, sizeof names);
}

bool fr_pins_leave_room(const fr_front *f, const fr_entry *e, uint64_t need_bytes, char *why, size_t n)
{
    static const double gib = 1 << 30;
    char names[160];
    uint64_t pinned = pinned_bytes(f, e, names, sizeof names), sum;
    if (!pinned || (ig_add_u64(pinned, need_bytes, &sum) && sum <= f->memory_max)) return true;
    snprintf(why, n,
             "model %.100s needs about %.2f GiB of memory; all models together may use %.2f GiB, and pinned ones hold "
             "%.2f GiB of it (%s); type: ingle unpin MODEL",
             e->name, (double)need_bytes / gib, (double)f->memory_max / gib, (double)pinned / gib, names);
    return false;
}

/* ------------------------------------------------------------------------------------------------ the request */

static void apply(fr_front *f, fr_entry *e, bool pinned)
{
    fr_worker *w = fr_pool_find(f, e);
    if (!w) return;
    w->pinned = pinned;
    if (!pinned) fr_hold_drop(w, NULL);
    fr_worker_touch(w);
    fr_events_model(f, w);
}

/* With a policy those whom it allows; without one those who may manage. */
static bool may_pin(fr_front *f, const ig_incoming *in, const fr_entry *e, ig_problem *p)
{
    if (fr_policy_on(f)) return fr_may(f, &(fr_request_facts){.action = IG_MAY_PIN, .entry = e}, p);
    return fr_may_manage(f, in->who) ||
           ig_problem_set(p, IG_P_DENIED, NULL,
                          "pinning models is for root and the user of the service; [rule] with actions = pin allows "
                          "others");
}

static bool set_pin(fr_front *f, const ig_incoming *in, const json_t *body, json_t **out, ig_problem *p)
{
    const char *name = json_string_value(json_object_get(body, "model"));
    const json_t *wanted = json_object_get(body, "pinned");
    fr_entry *e = NULL;
    char why[500];
    if (!name || !*name || !json_is_boolean(wanted))
        return ig_problem_set(p, IG_P_BAD_REQUEST, "model", "expected {\"model\": NAME, \"pinned\": true or false}");
    e = fr_catalog_find(f, name, false, p);
    if (!e) return false;
    bool pin = json_is_true(wanted), fine = may_pin(f, in, e, p);
    fr_worker *w = fr_pool_find(f, e);
    if (fine && pin && json_object_size(f->pins) >= PINS_MAX)
        fine = ig_problem_set(p, IG_P_CONFLICT, NULL, "%d models are pinned already", PINS_MAX);
    if (fine && pin && w && !fr_pins_leave_room(f, e, w->need_bytes, why, sizeof why))
        fine = ig_problem_set(p, IG_P_CONFLICT, "model", "%s", why);
    if (fine) {
        if (pin)
            json_object_set_new(f->pins, e->name, json_true());
        else
            json_object_del(f->pins, e->name);
        bool kept = save(f);
        apply(f, e, pin);
        if (pin) fr_pins_load(f);
        fr_say(f, "%s is %s", e->name, pin ? "pinned" : "no longer pinned");
        *out = json_pack("{s:s, s:b, s:b}", "model", e->name, "pinned", (int)pin, "kept", (int)kept);
    }
    fr_entry_unref(e);
    return fine;
}

void fr_pins_request(fr_front *f, ig_exchange *ex, const ig_incoming *in)
{
    json_error_t error;
    ig_problem p;
    json_t *out = NULL;
    json_t *body = in->body.len ? json_loadb(in->body.ptr, in->body.len, JSON_REJECT_DUPLICATES, &error) : NULL;
    bool fine = fr_still_there(ex, &p) && set_pin(f, in, body, &out, &p);
    json_decref(body);
    if (fine)
        fr_answer_json(f, ex, 200, out);
    else
        fr_answer_problem(f, ex, NULL, &p);
}
