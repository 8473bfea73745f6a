#include "priv.h"
ig_status ig_reply_grammar(const ig_reply_rule *rule, ig_grammar **out, ig_error *err)
{
    (void)rule;
    *out = NULL;
    return ig_fail(err, IG_UNSUPPORTED, 0, "not yet");
}
ig_status ig_reply_grammar_source(const ig_reply_rule *rule, ig_buf *gbnf, ig_buf *schemas, ig_error *err)
{
    (void)rule, (void)gbnf, (void)schemas;
    return ig_fail(err, IG_UNSUPPORTED, 0, "not yet");
}
