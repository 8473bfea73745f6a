/* What the parts of policy share: the providers of the directory, and what they collect. Private to src/policy. */
#ifndef IG_POLICY_INNER_H
#define IG_POLICY_INNER_H

#include <stdarg.h>

#include "base/mem.h"
#include "policy/policy.h"

/* What the providers have found out about one person. Groups that come twice (same id, or same name without id) count
 * once. */
typedef struct ig_finding {
    ig_arena arena;
    bool exists, disabled, has_uid;
    uint32_t uid;
    char account[IG_ACCOUNT_MAX];
    const ig_group **groups; /* [n_groups] in the arena */
    size_t n_groups, cap;
    char notes[256];
} ig_finding;
void ig_finding_init(ig_finding *f);
void ig_finding_fini(ig_finding *f);
/* False when there are too many groups or no memory. Texts are copied; id may be "". */
bool ig_finding_group(ig_finding *f, const char *name, const char *id);
void ig_finding_note(ig_finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Providers. account "" or has_uid false: not known; they fill in what they learn, so that the next one knows it. An
 * account that is not there is IG_OK without `exists`. */
ig_status ig_system_find(ig_finding *f, ig_error *err);
ig_status ig_groups_file_find(const char *path, ig_finding *f, ig_error *err);
/* deadline_ns: of ig_now_ns; last: index of the server that answered last, kept by the caller, atomic. */
ig_status ig_ldap_find(const ig_ldap_config *config, uint64_t deadline_ns, _Atomic unsigned *last, ig_finding *f,
                       ig_error *err);

/* Writes the file so that it is the old or the new content whole, for us alone (mode 0600); on failure errno tells. */
bool ig_policy_write(const char *path, const void *p, size_t n);

/* ldap_text.c: pure functions on what a server says or is told. */

/* Appends the value of a filter as RFC 4515 wants it escaped. */
void ig_filter_value(ig_buf *out, const char *p, size_t n);
/* The first RDN's value of a DN, unescaped (RFC 4514), into out; false where it is none. */
bool ig_dn_first(const char *dn, char *out, size_t n);
/* True when dn is base or lies below it: ASCII case and blanks after commas aside. */
bool ig_dn_below(const char *dn, const char *base);
/* "member;range=0-1499" against "member": 1: the attribute, whole; 2: a range, *from, *to (UINT32_MAX: to the end);
 * 0: another; -1: a range that cannot be. */
int ig_range_read(const char *attribute, const char *wanted, uint32_t *from, uint32_t *to);
/* Changes the last part of a binary SID (objectSid) of n bytes, as primary groups need it; false where it is none. */
bool ig_sid_replace(unsigned char *sid, size_t n, uint32_t rid);

#endif
