/* ingle catalogue: its actions, in two files: catalogue.c (who reads one) and catalogue_make.c (who makes one). */
#ifndef INGLE_CLI_CATALOGUE_H
#define INGLE_CLI_CATALOGUE_H

#include "args.h"
#include "store/author.h"

int catalogue_fail(const ig_error *err);
/* args[0] is the action. */
int catalogue_init(const cli_call *call);
int catalogue_add(const cli_call *call);
int catalogue_drop(const cli_call *call);
int catalogue_assign(const cli_call *call);
int catalogue_deny(const cli_call *call);
int catalogue_delegate(const cli_call *call);
int catalogue_sign(const cli_call *call);
int catalogue_publish(const cli_call *call);
int catalogue_rotate(const cli_call *call);
/* The draft of a working folder, or what an address or a published folder says (verified). */
ig_status catalogue_read(const cli_call *call, const char *at, ig_catalogue **out, ig_error *err);
/* The OpenSSF Model Signing bundle in a file against a public key in a file. */
struct ig_manifest;
ig_status catalogue_verify_bundle(const struct ig_manifest *m, const char *file, const char *key, ig_error *err);
bool catalogue_is_draft(const char *at);
/* The list of a flag that may be given again. */
ig_words catalogue_words(const cli_call *call, const char *flag);

#endif
