/* ingle catalogue init|add|drop|assign|deny|delegate|sign|publish|rotate: the authors' side. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os.h"
#include "catalogue.h"
#include "out.h"
#include "shop.h"

enum { PASSPHRASE_MAX = 1024, FILES_MAX = 4096 };

typedef struct desk {
    const cli_call *call;
    ig_author *a;
    ig_author_options o;
    char passphrase[PASSPHRASE_MAX];
} desk;

/* From a file of mode 600 or the environment; never from the command line, which others can read. */
static ig_status read_passphrase(desk *d, ig_error *err)
{
    const char *file = cli_text(d->call, "passphrase-file"), *env = getenv("INGLE_CATALOGUE_PASSPHRASE");
    struct stat sb;
    ig_buf text;
    if (!file) {
        if (env && strlen(env) >= sizeof d->passphrase)
            return ig_fail(err, IG_TOO_LARGE, 0, "INGLE_CATALOGUE_PASSPHRASE is too long");
        (void)snprintf(d->passphrase, sizeof d->passphrase, "%s", env ? env : "");
    } else {
        if (stat(file, &sb) == 0 && (sb.st_mode & 077))
            return ig_fail(err, IG_DENIED, 0, "others may read %.200s. Type: chmod 600 %.200s", file, file);
        ig_buf_init(&text, sizeof d->passphrase - 1);
        ig_status st = ig_file_read(file, &text, err);
        if (st == IG_OK)
            (void)snprintf(d->passphrase, sizeof d->passphrase, "%.*s", (int)text.len, text.ptr ? text.ptr : "");
        ig_buf_fini(&text);
        if (st != IG_OK) return st;
        d->passphrase[strcspn(d->passphrase, "\r\n")] = 0;
    }
    d->o.passphrase = d->passphrase[0] ? d->passphrase : NULL;
    return IG_OK;
}

static ig_status desk_open(const cli_call *call, bool open, desk *d, ig_error *err)
{
    *d = (desk){.call = call,
                .o = {.keys = cli_text(call, "keys"),
                      .dry_run = cli_set(call, "dry-run"),
                      .insecure = cli_set(call, "insecure")}};
    if (call->n_args < 2)
        return ig_fail(err, IG_BAD_INPUT, 0,
                       "catalogue %s needs the folder of the catalogue. Type: ingle catalogue --help", call->args[0]);
    IG_TRY(read_passphrase(d, err));
    return open ? ig_author_open(call->args[1], &d->o, &d->a, err) : IG_OK;
}

static int desk_close(desk *d, ig_status st, bool changed, const ig_error *err)
{
    ig_author_close(d->a);
    explicit_bzero(d->passphrase, sizeof d->passphrase);
    if (st != IG_OK) return catalogue_fail(err);
    if (cli_set(d->call, "json"))
        cli_outf("{\"changed\": %s}\n", changed ? "true" : "false");
    else if (!cli_set(d->call, "quiet"))
        cli_outf("%s%s\n", changed ? "changed" : "unchanged",
                 cli_set(d->call, "dry-run") ? " (nothing was written)" : "");
    return CLI_DONE;
}

int catalogue_init(const cli_call *call)
{
    desk d;
    ig_error err;
    const char *mode = cli_text(call, "default");
    ig_status st = desk_open(call, false, &d, &err);
    if (st == IG_OK && catalogue_is_draft(call->args[1])) return desk_close(&d, st, false, &err);
    if (st == IG_OK && !d.o.dry_run) st = ig_author_init(call->args[1], &d.o, !mode || !strcmp(mode, "denied"), &err);
    return desk_close(&d, st, true, &err);
}

/* ------------------------------------------------------------------------------------------------ models */

/* Files of a manifest as the catalogue has them. */
static ig_status take_files(const ig_manifest *m, ig_catalogue_file *files, ig_error *err)
{
    if (m->n_files > FILES_MAX) return ig_fail(err, IG_TOO_LARGE, 0, "%.100s has too many files", m->name.text);
    for (size_t i = 0; i < m->n_files; i++)
        files[i] = (ig_catalogue_file){ig_role_name(m->files[i].role), m->files[i].name, m->files[i].digest.hex,
                                       m->files[i].size};
    return IG_OK;
}

/* A licence that is a name; a whole text is no name. */
static const char *licence_name(const char *licence)
{
    return licence && strlen(licence) < 64 && !strpbrk(licence, " \n\t") ? licence : NULL;
}

static const char *either(const char *given, const char *own) { return given ? (*given ? given : NULL) : own; }

static ig_status read_template(const cli_call *call, ig_buf *text, const char **out, ig_error *err)
{
    const char *file = cli_text(call, "template");
    if (!file) return IG_OK;
    ig_status st = ig_file_read(file, text, err);
    if (st == IG_OK && ig_buf_add(text, "", 1)) *out = text->ptr;
    return st;
}

static ig_status add_from(desk *d, const ig_manifest *m, ig_catalogue_file *files, bool *changed, ig_error *err)
{
    const cli_call *call = d->call;
    ig_buf template;
    ig_words origins = catalogue_words(call, "origin");
    const char *source = m->source;
    ig_catalogue_target t = {.name = either(cli_text(call, "as"), m->name.text),
                             .format = m->format,
                             .licence = either(cli_text(call, "license"), licence_name(m->licence)),
                             .base = either(cli_text(call, "base"), m->base),
                             .publisher = cli_text(call, "publisher"),
                             .origins = origins.n || !source ? origins : (ig_words){&source, 1},
                             .labels = catalogue_words(call, "label"),
                             .adapters = catalogue_words(call, "adapter"),
                             .context_max = cli_count(call, "context", 0),
                             .output_max = cli_count(call, "output", 0),
                             .day_tokens_max = cli_count(call, "day-tokens", 0),
                             .parameters = either(cli_text(call, "parameters"), m->parameters),
                             .messages = m->messages,
                             .template = m->template,
                             .system = either(cli_text(call, "system"), m->system),
                             .files = files,
                             .n_files = m->n_files};
    ig_buf_init(&template, 1 << 20);
    ig_status st = take_files(m, files, err);
    if (st == IG_OK) st = read_template(call, &template, &t.template, err);
    if (st == IG_OK) st = ig_author_add(d->a, &t, cli_text(call, "role"), changed, err);
    if (st == IG_OK && !t.licence)
        cli_note("ingle: warning: %s has no licence that is known. Type: --license SPDX-ID\n", t.name);
    else if (st == IG_OK && !ig_licence_known(t.licence))
        cli_note("ingle: warning: \"%s\" is no common SPDX licence id\n", t.licence);
    if (st == IG_OK && t.adapters.n)
        cli_note("ingle: warning: this version cannot apply adapters: machines refuse %s until one does\n", t.name);
    if (st == IG_OK && t.origins.n == 0) cli_note("ingle: warning: %s has no origin, nobody can pull it\n", t.name);
    ig_buf_fini(&template);
    return st;
}

/* A model that carries the publisher's signature is offered only where it holds. */
static ig_status check_bundle(const cli_call *call, const ig_manifest *m, ig_error *err)
{
    const char *bundle = cli_text(call, "signature"), *signer = cli_text(call, "signer");
    if (!bundle && !signer) return IG_OK;
    if (!bundle || !signer)
        return ig_fail(err, IG_BAD_INPUT, 0, "--signature and --signer go together: FILE.sig and the key, PUBLIC.pem");
    return catalogue_verify_bundle(m, bundle, signer, err);
}

int catalogue_add(const cli_call *call)
{
    desk d;
    ig_error err;
    ig_store *store = NULL;
    ig_manifest *m = NULL;
    bool changed = false;
    ig_catalogue_file *files = calloc(FILES_MAX, sizeof *files);
    ig_status st = desk_open(call, true, &d, &err);
    if (st == IG_OK && call->n_args != 3)
        st = ig_fail(&err, IG_BAD_INPUT, 0,
                     "catalogue add needs a folder and a model of the store. Type: ingle catalogue add DIR NAME");
    if (st == IG_OK && !files) st = ig_fail(&err, IG_NO_MEMORY, 0, "out of memory");
    if (st == IG_OK) st = shop_open(true, &store, &err);
    if (st == IG_OK) st = ig_store_find(store, call->args[2], &m, &err);
    if (st == IG_OK) st = check_bundle(call, m, &err);
    if (st == IG_OK) st = add_from(&d, m, files, &changed, &err);
    ig_manifest_free(m);
    ig_store_close(store);
    free(files);
    return desk_close(&d, st, changed, &err);
}

int catalogue_drop(const cli_call *call)
{
    desk d;
    ig_error err;
    bool changed = false;
    ig_status st = desk_open(call, true, &d, &err);
    if (st == IG_OK && call->n_args != 3)
        st = ig_fail(&err, IG_BAD_INPUT, 0, "catalogue drop needs a folder and a model of the catalogue");
    if (st == IG_OK) st = ig_author_drop(d.a, call->args[2], &changed, &err);
    return desk_close(&d, st, changed, &err);
}

/* ------------------------------------------------------------------------------------------------ rules */

static ig_status put_rule(desk *d, ig_assigned state, bool *changed, ig_error *err)
{
    const cli_call *call = d->call;
    const char *name = call->n_args > 2 ? call->args[2] : NULL, *remove = cli_text(call, "remove");
    ig_catalogue_rule r = {.id = cli_text(call, "id"),
                           .state = state,
                           .users = catalogue_words(call, "user"),
                           .groups = catalogue_words(call, "group"),
                           .machines = catalogue_words(call, "machine"),
                           .models = catalogue_words(call, "model"),
                           .licences = catalogue_words(call, "with-license"),
                           .publishers = catalogue_words(call, "with-publisher")};
    bool more = false, wide = r.models.n || r.licences.n || r.publishers.n;
    const char *mode = cli_text(call, "default");
    *changed = false;
    if (mode) IG_TRY(ig_author_default(d->a, !strcmp(mode, "denied"), changed, err));
    if (remove) return ig_author_remove_rule(d->a, name, remove, changed, err);
    if (mode && !name && !wide && !r.users.n && !r.groups.n && !r.machines.n) return IG_OK;
    if (!name && !wide && !r.users.n && !r.groups.n && !r.machines.n)
        return ig_fail(
            err, IG_BAD_INPUT, 0,
            "a rule needs a model, or --model, --with-license, --with-publisher, --user, --group or --machine");
    if (name && wide)
        return ig_fail(
            err, IG_BAD_INPUT, 0,
            "--model, --with-license and --with-publisher are for rules of the whole catalogue: leave the name out");
    ig_status st = ig_author_rule(d->a, name, &r, &more, err);
    *changed |= more;
    return st;
}

static int rule_verb(const cli_call *call, ig_assigned state)
{
    desk d;
    ig_error err;
    bool changed = false;
    ig_status st = desk_open(call, true, &d, &err);
    if (st == IG_OK) st = put_rule(&d, state, &changed, &err);
    return desk_close(&d, st, changed, &err);
}

int catalogue_assign(const cli_call *call)
{
    return rule_verb(call, cli_set(call, "required") ? IG_ASSIGNED_REQUIRED : IG_ASSIGNED_AVAILABLE);
}
int catalogue_deny(const cli_call *call) { return rule_verb(call, IG_ASSIGNED_DENIED); }

/* ------------------------------------------------------------------------------------------------ roles */

int catalogue_delegate(const cli_call *call)
{
    desk d;
    ig_error err;
    bool changed = false;
    ig_status st = desk_open(call, true, &d, &err);
    if (st == IG_OK && call->n_args != 3)
        st = ig_fail(&err, IG_BAD_INPUT, 0, "catalogue delegate needs a folder and the name of a role");
    if (st == IG_OK)
        st = ig_author_delegate(d.a, call->args[2], catalogue_words(call, "path"), cli_set(call, "terminating"),
                                catalogue_words(call, "key"), cli_count(call, "threshold", 0), &changed, &err);
    return desk_close(&d, st, changed, &err);
}

int catalogue_rotate(const cli_call *call)
{
    desk d;
    ig_error err;
    ig_status st = desk_open(call, true, &d, &err);
    if (st == IG_OK && call->n_args != 3)
        st = ig_fail(&err, IG_BAD_INPUT, 0, "catalogue rotate needs a folder and a role");
    if (st == IG_OK)
        st = ig_author_rotate(d.a, call->args[2], catalogue_words(call, "key"), cli_count(call, "threshold", 0), &err);
    return desk_close(&d, st, true, &err);
}

typedef struct tally {
    bool quiet, fresh, short_of;
} tally;

static void tell(void *ctx, const ig_author_report *r)
{
    tally *t = ctx;
    t->fresh |= r->fresh;
    t->short_of |= r->n_signed < r->threshold;
    if (!t->quiet)
        cli_note("%-12s version %llu, %u of %u signatures%s\n", r->role, (unsigned long long)r->version, r->n_signed,
                 r->threshold, r->fresh ? "" : ", unchanged");
}

int catalogue_sign(const cli_call *call)
{
    desk d;
    ig_error err;
    tally t = {.quiet = cli_set(call, "quiet")};
    ig_status st = desk_open(call, true, &d, &err);
    if (st == IG_OK) st = ig_author_sign(d.a, tell, &t, &err);
    int code = desk_close(&d, st, t.fresh, &err);
    return code == CLI_DONE && t.short_of ? CLI_NO : code;
}

int catalogue_publish(const cli_call *call)
{
    desk d;
    ig_error err;
    char root[4200] = "";
    tally t = {.quiet = cli_set(call, "quiet")};
    ig_status st = desk_open(call, true, &d, &err);
    if (st == IG_OK) st = ig_author_publish(d.a, call->n_args > 2 ? call->args[2] : NULL, tell, &t, &err);
    if (st == IG_OK && !t.quiet && ig_author_root_path(d.a, root, sizeof root, NULL) == IG_OK)
        cli_note("clients trust %s\n", root);
    return desk_close(&d, st, t.fresh, &err);
}
