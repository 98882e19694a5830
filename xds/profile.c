/* xds/profile: see the header. */
#include "xds/profile.h"

#include <errno.h>
#include <stdio.h>

#include "base/addr.h"

const struct profile profiles[] = {
	[PROFILE_ISTIO] = {.name = "istio", .rds = true, .cds = true, .cds_all = true, .empty_is_absent = true},
	[PROFILE_ISTIO_GRPC] = {.name = "istio-grpc", .lds = true, .rds = true, .cds = true, .empty_is_absent = true, .silence_is_absent = true},
	[PROFILE_GENERIC] = {.name = "generic", .lds = true, .rds = true, .cds = true},
	[PROFILE_TEMPLATE] = {.name = "template", .cds = true, .cds_all = true, .experimental = true},
	[PROFILE_CONSUL] = {.name = "consul", .lds = true, .rds = true, .cds = true, .cds_all = true, .lds_all = true, .experimental = true},
};

const char *xds_profile_name(enum xds_profile p)
{
	return profiles[p].name;
}

static int put(char *out, size_t cap, const char *fmt, struct str host, int port)
{
	int n = snprintf(out, cap, fmt, port, (int)host.n, host.p);

	return n < 0 || (size_t)n >= cap ? -ENAMETOOLONG : 0;
}

/* The i-th label of the host; empty behind the last. */
static struct str label(struct str host, int i)
{
	for (; i > 0; i--) {
		ptrdiff_t dot = str_find(host, '.');

		if (dot < 0)
			return STR("");
		host = str_cut(host, (size_t)dot + 1, host.n);
	}
	ptrdiff_t dot = str_find(host, '.');

	return dot < 0 ? host : str_cut(host, 0, (size_t)dot);
}

/* {host} {port} {app} {namespace}; the configuration has checked that no other word stands in braces. */
static int expand(const char *template, struct str host, int port, char *out, size_t cap)
{
	size_t n = 0;

	for (const char *p = template; *p;) {
		char number[16];
		struct str piece = str_n(p, 1);
		size_t skip = 1;

		if (str_starts(str_of(p), STR("{host}"))) {
			piece = host;
			skip = 6;
		} else if (str_starts(str_of(p), STR("{port}"))) {
			snprintf(number, sizeof number, "%d", port);
			piece = str_of(number);
			skip = 6;
		} else if (str_starts(str_of(p), STR("{app}"))) {
			piece = label(host, 0);
			skip = 5;
		} else if (str_starts(str_of(p), STR("{namespace}"))) {
			piece = label(host, 1);
			skip = 11;
		}
		if (n + piece.n >= cap)
			return -ENAMETOOLONG;
		memcpy(out + n, piece.p, piece.n);
		n += piece.n;
		p += skip;
	}
	out[n] = '\0';
	return 0;
}

int profile_names(const struct conf_xds *conf, struct str authority, struct profile_names *ret)
{
	struct str host;
	int port, err = 0;

	ret->lds[0] = ret->rds[0] = ret->cluster[0] = '\0';
	if (addr_split(authority, &host, &port) != 0 || port < 0)
		return -EINVAL;
	if (authority.n >= PROFILE_NAME)
		return -ENAMETOOLONG;
	switch (conf->profile) {
	case PROFILE_ISTIO:
		memcpy(ret->rds, authority.p, authority.n);
		ret->rds[authority.n] = '\0';
		err = put(ret->cluster, PROFILE_NAME, "outbound|%d||%.*s", host, port);
		break;
	case PROFILE_ISTIO_GRPC:
		memcpy(ret->lds, authority.p, authority.n);
		ret->lds[authority.n] = '\0';
		err = put(ret->rds, PROFILE_NAME, "outbound|%d||%.*s", host, port);
		memcpy(ret->cluster, ret->rds, PROFILE_NAME);
		break;
	case PROFILE_GENERIC:
		memcpy(ret->lds, authority.p, authority.n);
		ret->lds[authority.n] = '\0';
		break;
	case PROFILE_TEMPLATE:
		err = expand(conf->cluster_template ? conf->cluster_template : "outbound|{port}||{host}", host, port, ret->cluster, PROFILE_NAME);
		break;
	case PROFILE_CONSUL:
		snprintf(ret->lds, PROFILE_NAME, "%.*s", (int)label(host, 0).n, host.p);
		break;
	}
	return err;
}

bool profile_authority(struct str cluster, char *out, size_t cap)
{
	struct str port, rest;
	ptrdiff_t bar;

	if (!str_starts(cluster, STR("outbound|")))
		return false;
	rest = str_cut(cluster, 9, cluster.n);
	bar = str_find(rest, '|');
	if (bar <= 0)
		return false;
	port = str_cut(rest, 0, (size_t)bar);
	rest = str_cut(rest, (size_t)bar + 1, rest.n);
	if (rest.n < 2 || rest.p[0] != '|')
		return false; /* a subset: its routes name it */
	rest = str_cut(rest, 1, rest.n);
	int n = snprintf(out, cap, "%.*s:%.*s", (int)rest.n, rest.p, (int)port.n, port.p);
	return n > 0 && (size_t)n < cap;
}
