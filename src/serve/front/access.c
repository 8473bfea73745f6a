/* Who may ask: hosts and origins, keys, management. */
#include <unistd.h>

#include "serve/front/fr.h"

/* Anybody may ask whether the service lives. */
bool fr_is_public(const ig_match *match)
{
    return match->route &&
           (match->route->op == IG_OP_HEALTH || match->route->op == IG_OP_READY || match->route->op == IG_OP_ROOT);
}

/* Keys are asked of callers that the kernel does not know, where there are keys; of everybody who comes over TCP, where
 * the administrator wants it. A unix socket's caller is known, and its file's mode says who may connect. */
static bool wants_key(const fr_front *f, const ig_identity *who)
{
    if (f->config->require_keys) return who->transport != IG_TRANSPORT_UNIX;
    return fr_keys_exist(f) && !who->known;
}

bool fr_admit(fr_front *f, const ig_incoming *in, const ig_match *match, ig_problem *p)
{
    ig_error err;
    if (ig_access_check(&f->access, in->who, in->port, in->head, NULL, &err) != IG_OK) {
        const ig_problem_kind kind = err.status == IG_DENIED        ? IG_P_DENIED
                                     : err.status == IG_UNSUPPORTED ? IG_P_MEDIA
                                                                    : IG_P_BAD_REQUEST;
        return ig_problem_set(p, kind, NULL, "%.480s", err.text);
    }
    unsigned wait_s = 0;
    bool wanted = wants_key(f, in->who);
    fr_key_state key = fr_policy_key(f, in, wanted, &wait_s);
    if (key == FR_KEY_WAIT)
        return ig_problem_set(p, IG_P_OVERLOADED, NULL, "too many wrong keys came from here; wait %u s", wait_s);
    if (key == FR_KEY_GOOD || fr_is_public(match) || (!wanted && key != FR_KEY_WRONG)) return true;
    return ig_problem_set(p, IG_P_NO_AUTH, NULL,
                          "this service asks for a key; send it as `Authorization: Bearer KEY` or `x-api-key: KEY` "
                          "(ingle key add makes one)");
}

bool fr_still_there(const ig_exchange *ex, ig_problem *p)
{
    const ig_identity *who = ig_exchange_request(ex)->who;
    if (!who->known || ig_exchange_recheck(ex)) return true; /* who is not known has shown a key, or has no rights */
    return ig_problem_set(p, IG_P_DENIED, NULL, "whoever asked for this has closed the connection; nothing was changed");
}

bool fr_may_manage(const fr_front *f, const ig_identity *who)
{
    (void)f;
    return who->loopback && who->known && (who->uid == 0 || who->uid == getuid());
}
