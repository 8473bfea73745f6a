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
int cli_serve(const cli_call *call);
int cli_ps(const cli_call *call);
int cli_status(const cli_call *call);
int cli_doctor(const cli_call *call);
int cli_stop(const cli_call *call);
int cli_pull(const cli_call *call);
int cli_list(const cli_call *call);
int cli_rm(const cli_call *call);
int cli_cp(const cli_call *call);
int cli_push(const cli_call *call);
int cli_export(const cli_call *call);
int cli_import(const cli_call *call);
int cli_verify(const cli_call *call);
int cli_policy(const cli_call *call);
int cli_key(const cli_call *call);
int cli_gc(const cli_call *call);
int cli_df(const cli_call *call);
int cli_catalogue(const cli_call *call);
int cli_audit(const cli_call *call);
int cli_cost(const cli_call *call);
int cli_reply(const cli_call *call);
int cli_completion(const cli_call *call);
int cli_help(const cli_call *call);
int cli_version(const cli_call *call);
int cli_worker(const cli_call *call);
int cli_bridge(void);
int cli_pin(const cli_call *call);
int cli_unpin(const cli_call *call);

#endif
