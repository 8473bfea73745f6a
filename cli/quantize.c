/* ingle quantize: a model file in another type. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "args.h"
#include "base/os.h"
#include "ingle.h"
#include "out.h"
#include "quant/quant.h"
#include "shop.h"
#include "verbs.h"

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signo)
{
    (void)signo;
    interrupted = 1;
}

typedef struct show_progress {
    size_t told; /* tensors that have had their line */
    uint64_t drawn_ns;
} show_progress;

static void shape_text(const ig_quantize_step *s, char out[64])
{
    size_t n = (size_t)snprintf(out, 64, "%" PRIu64 " x %" PRIu64, s->ne[0], s->ne[1]);
    if (s->ne[2] > 1 && n < 64) (void)snprintf(out + n, 64 - n, " x %" PRIu64, s->ne[2] * s->ne[3]);
}

/* The line of a tensor: all of them where there is no terminal to draw on, else only what a person must know. */
static void tell_tensor(const ig_quantize_step *s)
{
    char shape[64];
    shape_text(s, shape);
    cli_bar_end();
    if (s->wanted)
        cli_note("ingle: %.*s: rows of %" PRIu64 " weights do not fit %s, taking %s\n", IG_STR_ARG(s->name), s->ne[0],
                 s->wanted, s->to);
    if (!cli_bar_shows())
        cli_note("[%zu/%zu] %.*s  %s  %s -> %s\n", s->idx + 1, s->n, IG_STR_ARG(s->name), shape, s->from, s->to);
}

static bool on_progress(void *user, const ig_quantize_step *s)
{
    show_progress *p = user;
    uint64_t now = ig_now_ns();
    if (p->told <= s->idx) {
        p->told = s->idx + 1;
        tell_tensor(s);
    }
    if (cli_bar_shows() && now - p->drawn_ns > 50000000u) {
        char words[160];
        (void)snprintf(words, sizeof words, "%zu of %zu  %.*s  %s", s->idx + 1, s->n, IG_STR_ARG(s->name), s->to);
        cli_bar(s->all ? (double)s->done / (double)s->all : 1, words);
        p->drawn_ns = now;
    }
    return !interrupted;
}

/* ------------------------------------------------------------------------------------------------ result */

static double bits_per_weight(const ig_quantize_report *r)
{
    return r->n_weights ? 8 * (double)r->bytes_out / (double)r->n_weights : 0;
}

static void print_json(const cli_call *call, const ig_quantize_report *r, double seconds)
{
    json_t *types = json_object();
    for (uint32_t i = 0; i < IG_DTYPE_MAX; i++)
        if (r->n_by_type[i])
            json_object_set_new(types, ig_dtype_row(i)->name, json_integer((json_int_t)r->n_by_type[i]));
    json_t *j =
        json_pack("{s:s, s:I, s:o, s:I, s:I, s:f, s:I, s:f}", "type", r->type, "tensors", (json_int_t)r->n_tensors,
                  "tensors_by_type", types, "bytes_in", (json_int_t)r->bytes_in, "bytes_out", (json_int_t)r->bytes_out,
                  "bits_per_weight", bits_per_weight(r), "fallbacks", (json_int_t)r->n_fallback, "seconds", seconds);
    if (!j) return;
    /* a path may be any bytes, JSON is text */
    json_t *out = json_string(call->args[1]);
    if (out) json_object_set_new(j, "file", out);
    cli_out_json(j);
    json_decref(j);
}

static void print_text(const cli_call *call, const ig_quantize_report *r, double seconds)
{
    char in[16], out[16];
    cli_outf("%s: %s, %zu tensors, %s -> %s (%.2f bits a weight), %.1f s\n", call->args[1], r->type, r->n_tensors,
             cli_bytes(r->bytes_in, in), cli_bytes(r->bytes_out, out), bits_per_weight(r), seconds);
    const char *sep = "  ";
    for (uint32_t i = 0; i < IG_DTYPE_MAX; i++) {
        if (!r->n_by_type[i]) continue;
        cli_outf("%s%zu %s", sep, r->n_by_type[i], ig_dtype_row(i)->name);
        sep = ", ";
    }
    cli_outf("\n");
}

static void warn(const ig_quantize_report *r)
{
    if (r->n_fallback)
        cli_note("ingle: %zu of %zu tensors took another type, their rows do not fit the blocks of %s\n", r->n_fallback,
                 r->n_tensors, r->type);
    if (r->n_unweighed)
        cli_note("ingle: %zu of %zu tensors lie in layers but have no importance in the file given with --imatrix\n",
                 r->n_unweighed, r->n_tensors);
}

/* ------------------------------------------------------------------------------------------------ all together */

/* Part of a split model, or the same file by another name: writing OUT would destroy what is read. */
static bool same_file(const char *a, const char *b)
{
    struct stat sa, sb;
    if (!strcmp(a, b)) return true;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

/* NAME-00001-of-00003.gguf: the length of NAME, or 0. */
static size_t split_stem(const char *path)
{
    size_t n = strlen(path);
    unsigned no, count;
    int used = 0;
    if (n <= 20 || sscanf(path + n - 20, "-%5u-of-%5u.gguf%n", &no, &count, &used) != 2 || used != 20) return 0;
    return n - 20;
}

static bool overwrites_input(const cli_call *call)
{
    const char *in = call->args[0], *out = call->args[1], *imatrix = cli_text(call, "imatrix");
    size_t stem = split_stem(in);
    if (same_file(in, out) || (imatrix && same_file(imatrix, out))) return true;
    return stem && stem == split_stem(out) && !memcmp(in, out, stem);
}

static int check(const cli_call *call)
{
    ig_error err;
    char names[320];
    ig_quantize_types(names, sizeof names);
    if (!ig_quantize_knows(call->args[2])) {
        ig_fail(&err, IG_BAD_INPUT, 0, "\"%.40s\" is no type to quantise to, expected one of %s", call->args[2], names);
        return cli_usage(err.text);
    }
    if (!overwrites_input(call)) return CLI_DONE;
    ig_fail(&err, IG_BAD_INPUT, 0,
            "%.300s is read and cannot be written at the same time, expected another name for OUT", call->args[1]);
    return cli_usage(err.text);
}

/* The tokenizer of a directory in GGUF's own form; note [NOTE_MAX] gets a line where that says less, to be told when
 * all is done. What cannot be read goes along as it is, or is told by the quantiser. */
enum { NOTE_MAX = 700 };
static void convert_vocabulary(ingle_vocab_form *form, ig_quantize_options *o, char *note)
{
    const char *in = o->in;
    static const char along[] = "ingle reads the tokenizer.json, which goes along";
    const ingle_model_options only = {.size = sizeof only, .vocab_only = true};
    ingle_model *model = NULL;
    ingle_model_info info;
    ingle_error err;
    struct stat s;
    *form = (ingle_vocab_form){.fit = INGLE_VOCAB_SAME};
    ingle_status st = ingle_model_open(in, &only, &model, &err);
    if (st == INGLE_OK) ingle_model_describe(model, &info);
    if (st == INGLE_OK && info.has_vocab) st = ingle_vocab_convert(model, form, &err);
    ingle_model_close(model);
    o->vocabulary = form->data;
    o->n_vocabulary = form->n;
    o->drop_json = form->data && form->fit == INGLE_VOCAB_SAME;
    if (st != INGLE_OK) {
        if (stat(in, &s) == 0 && S_ISDIR(s.st_mode))
            (void)snprintf(note, NOTE_MAX, "the tokenizer goes along as it is: %s", err.text);
    } else if (form->fit == INGLE_VOCAB_NEAR)
        (void)snprintf(note, NOTE_MAX, "other engines will read some texts as other tokens: %s; %s", form->why, along);
    else if (form->fit == INGLE_VOCAB_NONE)
        (void)snprintf(note, NOTE_MAX, "other engines will find no vocabulary: %s; %s", form->why, along);
}

int cli_quantize(const cli_call *call)
{
    ingle_vocab_form form;
    char note[NOTE_MAX] = "";
    show_progress p = {0};
    ig_quantize_report report;
    ig_error err;
    int code = check(call);
    if (code != CLI_DONE) return code;
    shop_folder model = {0};
    if (shop_is_name(call->args[0]) && shop_folder_init(&model, call->args[0], &err) != IG_OK) return shop_fail(&err);
    ig_quantize_options o = {.in = model.folder[0] ? model.path : call->args[0],
                             .out = call->args[1],
                             .type = call->args[2],
                             .importance = cli_text(call, "imatrix"),
                             .n_threads = cli_count(call, "threads", 0),
                             .requantize = cli_set(call, "requantize"),
                             .progress = on_progress,
                             .user = &p};
    /* The first signal removes the unfinished file, the second ends the process at once. */
    const int ends[] = {SIGINT, SIGTERM};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        sigaction(ends[i], &(struct sigaction){.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND}, NULL);
    convert_vocabulary(&form, &o, note);
    ig_status st = ig_quantize_file(&o, &report, &err);
    ingle_vocab_form_free(&form);
    shop_folder_fini(&model);
    cli_bar_end();
    if (st == IG_CANCELLED) return cli_fail(err.text), CLI_INTERRUPTED;
    if (st != IG_OK) return cli_fail(err.text);
    double seconds = (double)(ig_now_ns() - call->start_ns) / 1e9;
    warn(&report);
    if (note[0]) cli_note("ingle: %s\n", note);
    if (cli_set(call, "json"))
        print_json(call, &report, seconds);
    else
        print_text(call, &report, seconds);
    return CLI_DONE;
}
