/* Where a transfer may lead. The address that a person typed may be anything on https; what a server makes of it by
 * redirects, and what a client of the service names, is not trusted with the network that this machine stands in
 * (rules H34, H35). Hosts are judged before they are asked and addresses after they were resolved. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "source.h"

static ig_reach reach_4(uint32_t a)
{
    static const struct {
        uint32_t net, bits;
        ig_reach reach;
    } nets[] = {{0x7f000000, 8, IG_REACH_SELF},     {0x00000000, 8, IG_REACH_SELF},
                {0x0a000000, 8, IG_REACH_PRIVATE},  {0xac100000, 12, IG_REACH_PRIVATE},
                {0xc0a80000, 16, IG_REACH_PRIVATE}, {0x64400000, 10, IG_REACH_PRIVATE},
                {0xa9fe0000, 16, IG_REACH_LINK},    {0xe0000000, 3, IG_REACH_LINK}};
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++)
        if ((a ^ nets[i].net) >> (32 - nets[i].bits) == 0) return nets[i].reach;
    return IG_REACH_PUBLIC;
}

static uint32_t number_4(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static ig_reach reach_6(const unsigned char *p)
{
    static const unsigned char zero[16], mapped[12] = {[10] = 0xff, [11] = 0xff}, nat64[12] = {0, 0x64, 0xff, 0x9b};
    if (!memcmp(p, mapped, 12) || !memcmp(p, nat64, 12)) return reach_4(number_4(p + 12));
    if (p[0] == 0x20 && p[1] == 0x02) return reach_4(number_4(p + 2)); /* 6to4 */
    if (!memcmp(p, zero, 15)) return IG_REACH_SELF;                    /* :: and ::1 */
    if ((p[0] & 0xfe) == 0xfc) return IG_REACH_PRIVATE;
    if ((p[0] == 0xfe && (p[1] & 0xc0) == 0x80) || p[0] == 0xff) return IG_REACH_LINK;
    return IG_REACH_PUBLIC;
}

ig_reach ig_reach_of(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) return reach_4(ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr));
    if (a->sa_family == AF_INET6) return reach_6(((const struct sockaddr_in6 *)(const void *)a)->sin6_addr.s6_addr);
    return IG_REACH_LINK; /* nothing that a model is loaded over */
}

bool ig_url_has_origin(const char *url, const char *origin)
{
    char own[IG_URL_MAX];
    return ig_url_origin(url, own, sizeof own) && !strcasecmp(own, origin);
}

bool ig_url_proxied(void)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]) && *getenv(names[i])) return true;
    return false;
}

/* "host:port" of an address. */
static bool host_of(const char *url, char *out, size_t n)
{
    char origin[IG_URL_MAX];
    const char *p = ig_url_origin(url, origin, sizeof origin) ? strstr(origin, "://") : NULL;
    if (!p || strlen(p + 3) >= n) return false;
    (void)snprintf(out, n, "%s", p + 3);
    return true;
}

/* The host (with or without its port) is one of the list, separated by commas or blanks. */
static bool listed(const char *list, const char *host)
{
    size_t bare = strcspn(host, ":"), whole = strlen(host);
    for (const char *p = list; p && *p;) {
        size_t n = strcspn(p, ", ");
        if ((n == whole && !strncasecmp(p, host, n)) || (n == bare && n && !strncasecmp(p, host, n))) return true;
        p += n + strspn(p + n, ", ");
    }
    return false;
}

/* Named by who runs the service: INGLE_PULL_HOSTS, or as an endpoint. */
static bool named_by_owner(const char *url)
{
    static const char *const endpoints[] = {"HF_ENDPOINT", "INGLE_OLLAMA_REGISTRY", "INGLE_S3_ENDPOINT",
                                            "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"};
    char host[IG_URL_MAX], own[IG_URL_MAX];
    if (!host_of(url, host, sizeof host)) return false;
    for (size_t i = 0; i < sizeof endpoints / sizeof *endpoints; i++) {
        const char *e = getenv(endpoints[i]);
        if (e && host_of(e, own, sizeof own) && !strcasecmp(own, host)) return true;
    }
    return listed(getenv("INGLE_PULL_HOSTS"), host);
}

ig_status ig_guard_url(const ig_http_request *r, const char *url, unsigned hop, ig_error *err)
{
    char origin[IG_URL_MAX];
    if (!ig_url_origin(url, origin, sizeof origin))
        return hop ? ig_fail(err, IG_DENIED, 0, "%.200s leads to something that is no address of https", r->url)
                   : ig_fail(err, IG_BAD_INPUT, 0, "\"%.250s\" is no address of https", url);
    if (hop && !strncasecmp(r->url, "https:", 6) && strncasecmp(url, "https:", 6) != 0)
        return ig_fail(err, IG_DENIED, 0, "%.200s leads to an address without https", r->url);
    if (!r->insecure && !ig_url_is_secure(url))
        return hop ? ig_fail(err, IG_DENIED, 0, "%.200s leads to an address without https", r->url)
                   : ig_fail(err, IG_DENIED, 0,
                             "%.250s is not protected by https. Type: --insecure to fetch it all the same", r->url);
    const char *list = getenv("INGLE_PULL_HOSTS");
    if (r->guarded && hop == 0 && list && *list && !named_by_owner(url))
        return ig_fail(err, IG_DENIED, 0,
                       "this service pulls from the hosts of INGLE_PULL_HOSTS alone, not from %.200s", origin);
    return IG_OK;
}

ig_status ig_guard_address(const ig_http_request *r, const char *url, unsigned hop, ig_reach first, ig_reach here,
                           ig_error *err)
{
    if (hop && (here == IG_REACH_LINK || here > first))
        return ig_fail(err, IG_DENIED, 0, "%.200s leads to an address inside the network of this machine", r->url);
    if (r->guarded && (here == IG_REACH_LINK || (here != IG_REACH_PUBLIC && hop == 0 && !named_by_owner(url))))
        return ig_fail(err, IG_DENIED, 0,
                       "%.200s lies inside the network of this machine; who runs the service may allow its host in "
                       "INGLE_PULL_HOSTS",
                       r->url);
    return IG_OK;
}
