/* ingle tokenize: text to ids on one line, or with --decode ids to bytes. */
#include "far.h"
#include "input.h"
#include "out.h"
#include "verbs.h"

static ingle_status print_ids(const ingle_model *model, const ig_buf *text, bool special, ingle_error *err)
{
    cli_ids ids;
    unsigned flags = special ? INGLE_ADD_SPECIAL | INGLE_PARSE_SPECIAL : INGLE_PARSE_ADDED;
    ingle_status st = input_tokenize(model, text->ptr, text->len, flags, &ids, err);
    for (size_t i = 0; st == INGLE_OK && i < ids.n; i++) cli_outf("%s%d", i ? " " : "", ids.ids[i]);
    if (st == INGLE_OK) cli_out("\n", 1);
    input_ids_fini(&ids);
    return st;
}

static ingle_status print_text(const ingle_model *model, const ig_buf *text, bool special, ingle_error *err)
{
    cli_ids ids;
    size_t n = 0;
    char *bytes = NULL;
    unsigned flags = special ? INGLE_WRITE_SPECIAL : INGLE_STRIP_SPECIAL;
    ingle_status st = input_ids(text->ptr, text->len, &ids, err);
    if (st == INGLE_OK) st = ingle_detokenize(model, ids.ids, ids.n, flags, NULL, 0, &n, err);
    if (st == INGLE_OK && n) {
        ig_error e;
        bytes = ig_alloc(n);
        if (bytes)
            st = ingle_detokenize(model, ids.ids, ids.n, flags, bytes, n, &n, err);
        else
            st = (ig_fail(&e, IG_NO_MEMORY, 0, "out of memory for %zu bytes of text", n), input_error(&e, err));
    }
    if (st == INGLE_OK && n) cli_out(bytes, n);
    ig_free(bytes);
    input_ids_fini(&ids);
    return st;
}

int cli_tokenize(const cli_call *call)
{
    const char *text = call->n_args > 1 ? call->args[1] : NULL, *file = cli_text(call, "file");
    ingle_model *model = NULL;
    ingle_error err;
    ig_buf input;
    if (text && file)
        return cli_usage("tokenize got TEXT and --file, expected one of them. Type: ingle tokenize --help");
    static const char *const local[] = {NULL};
    int code = CLI_DONE;
    far_choice where = far_choose_query(call, local, &code);
    if (where != FAR_HERE) return where == FAR_THERE ? far_tokenize(call) : code;
    ig_buf_init(&input, 0);
    ingle_status st = input_model(call->args[0], true, &model, &err);
    if (st == INGLE_OK) st = input_text(text, file, &input, &err);
    bool special = cli_set(call, "special");
    if (st == INGLE_OK)
        st = cli_set(call, "decode") ? print_text(model, &input, special, &err)
                                     : print_ids(model, &input, special, &err);
    ig_buf_fini(&input);
    ingle_model_close(model);
    return st == INGLE_OK ? CLI_DONE : cli_fail(err.text);
}
