/* The functions behind the verbs, one file each. All return the exit code of the process. */
#ifndef INGLE_CLI_VERBS_H
#define INGLE_CLI_VERBS_H

#include "table.h"

int cli_run(const cli_call *call);
int cli_chat(const cli_call *call);
int cli_show(const cli_call *call);
int cli_embed(const cli_call *call);
int cli_imatrix(const cli_call *call);
int cli_tokenize(const cli_call *call);
int cli_template(const cli_call *call);
int cli_eval(const cli_call *call);
int cli_bench(const cli_call *call);
int cli_quantize(const cli_call *call);
int cli_grammar(const cli_call *call);
int cli_completion(const cli_call *call);
int cli_help(const cli_call *call);
int cli_version(const cli_call *call);

#endif
