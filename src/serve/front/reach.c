/* Who may reach what, in words: for `ingle status`, and for what is said at the start. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/policy.h"
#include "serve/front/fr.h"

static bool starts(const char *z, const char *with) { return !strncmp(z, with, strlen(with)); }

/* Without a look into the name service, which may take its time. */
static void name_of(uid_t uid, char *out, size_t n)
{
    if (uid)
        snprintf(out, n, "%s uid %u", uid == getuid() ? "the service's user," : "the user with", (unsigned)uid);
    else
        snprintf(out, n, "root");
}

/* Who may open the socket, by the mode of its file. */
static void socket_users(const char *path, char *out, size_t n)
{
    struct stat sb;
    char name[64];
    if (stat(path, &sb)) {
        snprintf(out, n, "nobody: the socket's file is gone");
        return;
    }
    name_of(sb.st_uid, name, sizeof name);
    if (sb.st_mode & S_IWOTH)
        snprintf(out, n, "every user of this computer who gets into the socket's folder");
    else if (sb.st_mode & S_IWGRP)
        snprintf(out, n, "%s and the socket's group (gid %u)", name, (unsigned)sb.st_gid);
    else
        snprintf(out, n, sb.st_uid ? "%s and root" : "%s alone", name);
}

static void callers(const fr_front *f, const char *address, char *out, size_t n)
{
    if (starts(address, "unix:"))
        socket_users(address + 5, out, n);
    else if (f->config->require_keys)
        snprintf(out, n, "who has a key (ingle key list)");
    else if (starts(address, "http://127.") || starts(address, "http://[::1]"))
        snprintf(out, n, "every user of this computer");
    else if (starts(address, "https://127.") || starts(address, "https://[::1]"))
        snprintf(out, n, "every user of this computer");
    else
        snprintf(out, n, "who has a key (ingle key list), from other computers, too");
}

static json_t *names(const char *const *list, size_t n)
{
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(all, json_string(list[i]));
    return all;
}

json_t *fr_reach(fr_front *f)
{
    json_t *all = json_array();
    char who[300], own[64], change[300];
    for (size_t i = 0; i < ig_server_n_listeners(f->server); i++) {
        const char *address = ig_server_address(f->server, i);
        callers(f, address, who, sizeof who);
        json_array_append_new(all, json_pack("{s:s, s:s}", "address", address, "who", who));
    }
    const bool policy = fr_config(f)->policy.configured;
    name_of(getuid(), own, sizeof own);
    snprintf(change, sizeof change, getuid() ? "root and %s" : "root", own);
    return json_pack(
        "{s:o, s:s, s:s, s:o, s:o}", "callers", all, "models",
        policy ? "whom the policy allows it (ingle policy explain USER MODEL)" : "every caller, all models", "changes",
        policy ? "whom the policy allows it" : change, "hosts", names(f->access.hosts, f->access.n_hosts), "origins",
        names(f->access.origins, f->access.n_origins));
}

/* Where the command line looks without being told. */
static bool is_standard(const char *address)
{
    char own[1100] = "";
    const char *run = getenv("XDG_RUNTIME_DIR");
    if (run) snprintf(own, sizeof own, "unix:%.1024s/ingle/ingle.sock", run);
    return !strcmp(address, "http://127.0.0.1:11434") || !strcmp(address, "unix:/run/ingle/ingle.sock") ||
           !strcmp(address, own);
}

/* "" or " --host ADDRESS", so that what is said can be typed as it stands. */
static void host_flag(const fr_front *f, char *out, size_t n)
{
    const char *best = NULL;
    *out = 0;
    for (size_t i = 0; i < ig_server_n_listeners(f->server); i++) {
        const char *address = ig_server_address(f->server, i);
        if (is_standard(address)) return;
        if (!best || (starts(best, "unix:") && starts(address, "http://"))) best = address;
    }
    if (best) snprintf(out, n, " --host %s", best);
}

/* The web address that curl can take as it stands, or NULL. */
static const char *web_address(const fr_front *f)
{
    for (size_t i = 0; i < ig_server_n_listeners(f->server); i++)
        if (starts(ig_server_address(f->server, i), "http://")) return ig_server_address(f->server, i);
    return NULL;
}

void fr_reach_say(fr_front *f)
{
    ig_problem unused;
    char host[600], name[300];
    const char *model = f->entries ? f->entries->name : NULL, *web = web_address(f);
    size_t n = model ? strlen(model) : 0;
    host_flag(f, host, sizeof host);
    const char *standard = f->config->default_model;
    fr_entry *e = standard ? fr_catalog_find(f, standard, false, &unused) : NULL;
    if (standard && !e) fr_say(f, "the default model %s is not here yet", standard);
    fr_entry_unref(e);
    if (n > 7 && !strcmp(model + n - 7, ":latest")) n -= 7;
    snprintf(name, sizeof name, "%.*s", (int)(n < 256 ? n : 256), model ? model : "");
    if (!model) {
        fr_say(f, "there is no model yet; three things to try:");
        fr_say(f, "  ingle pull FILE.gguf NAME%s    (or hf://ORG/REPO:QUANT for FILE.gguf)", host);
        fr_say(f, "  ingle run NAME \"Hello\"%s", host);
    } else {
        fr_say(f, "three things to try:");
        fr_say(f, "  ingle run %s \"Hello\"%s", name, host);
        if (web)
            fr_say(
                f,
                "  curl %s/api/chat -d '{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'",
                web, name);
        else
            fr_say(f, "  ingle chat %s%s", name, host);
    }
    fr_say(f, "  ingle status%s    (who may reach what; more: ingle help serve)", host);
}
