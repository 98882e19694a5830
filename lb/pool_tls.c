/* lb/pool_tls: what TLS adds to a pool: the transport by which its connections are made, what becomes of them when the roots change, and who answers. Only pools with TLS have this part;
 * for what none can be had it is all there is (pool_none).
 *
 *   other roots (or CRLs) --> idle connections close; busy ones are stale: a replacement is dialled, and when it is up, or has failed, they retire
 *   anything that changed --> the back-off ends: a call that failed for want of a certificate finds it
 *
 * A new certificate of ours alone is for connections to come: those that stand are left alone. Owner of a pool_tls: its pool. */
#include "lb/pool_int.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 256 }; /* of what is kept: reasons and identities come from others */

static char *kept(char **at, const char *text)
{
	char *copy = xstrndup(text, strnlen(text, TEXT_MAX)); /* first: it may be the old one */

	free(*at);
	return *at = copy;
}

const char *pool_tls_why(struct pool *p, const char *why)
{
	return why ? kept(&p->tls->why, why) : NULL;
}

/* ---- for whom ------------------------------------------------------------------------------------------------------------------ */

/* One is named, or two; a mesh may have hundreds of clusters on one address. */
void pool_asker(const void *pool, struct sb *out)
{
	const struct pool *p = pool;
	const char *names[2] = {NULL, NULL};
	uint32_t more = 0;

	list_each(n, tmp, &p->watches)
	{
		const char *name = p->pools->whose ? p->pools->whose(list_entry(n, struct pool_watch, node)) : NULL;

		if (!name || (names[0] && strcmp(names[0], name) == 0) || (names[1] && strcmp(names[1], name) == 0))
			continue;
		if (!names[0] || !names[1])
			names[names[0] != NULL] = name;
		else
			more++;
	}
	if (!names[0])
		return;
	sb_fmt(out, names[1] ? "services '%.200s'" : "service '%.200s'", names[0]);
	if (names[1])
		sb_fmt(out, ", '%.200s'", names[1]);
	if (more)
		sb_str(out, " and others");
}

/* ---- other roots ------------------------------------------------------------------------------------------------------------ */

static void retire_stale(struct pool *p, const struct pool_conn *but)
{
	list_each(n, tmp, &p->conns)
	{
		struct pool_conn *c = list_entry(n, struct pool_conn, node);

		if (c != but && c->stale)
			conn_retire(c);
	}
}

/* True: calls are on one of them. One that is still being made is begun again by its dial, which is told, too: it will be judged by the roots of now. */
static bool mark_stale(struct pool *p)
{
	bool in_use = false;

	list_each(n, tmp, &p->conns)
	{
		struct pool_conn *c = list_entry(n, struct pool_conn, node);

		if (c->state == CONN_RETIRING || c->state == CONN_CONNECTING)
			continue;
		c->stale = true;
		if (h2_conn_streams(c->h2))
			in_use = true;
		else
			conn_retire(c);
	}
	return in_use;
}

/* Those in use go on until another one is up: the next call shall not wait for it. */
static void pool_renew(struct pool *p)
{
	bool in_use = mark_stale(p);

	if (in_use && p->pools->draining)
		retire_stale(p, NULL);
	else if (in_use && !p->opening)
		pool_dial(p);
	pool_tell(p);
	pool_grow(p); /* who waited for a PING of one that closes now */
}

static void transport_changed(struct transport_watch *w, bool drain)
{
	struct pool *p = container_of(w, struct pool_tls, watch)->pool;

	p->refs++;
	pool_forgive(p);
	if (drain)
		pool_renew(p);
	pool_unref(&p);
}

void pool_tls_up(struct pool_conn *c)
{
	struct pool *p = c->pool;
	struct pool_tls *t = p->tls;
	const struct sock *s = h2_conn_sock(c->h2);

	kept(&t->identity, tls_peer_name(s));
	snprintf(t->version, sizeof(t->version), "%s", tls_version(s));
	t->resumed = tls_resumed(s);
	retire_stale(p, c);
}

/* By the new roots nobody was found who may be trusted, and those that stand are not trusted any more. */
void pool_tls_failed(struct pool *p)
{
	retire_stale(p, NULL);
}

/* ---- the beginning and the end ---------------------------------------------------------------------------------------------- */

void pool_tls_begin(struct pool *p, struct transport *transport, const char *host, const char *unusable)
{
	struct pool_tls *t = p->tls = xnew(struct pool_tls);

	t->pool = p;
	t->host = host ? xstrdup(host) : NULL;
	t->unusable = unusable ? xstrdup(unusable) : NULL;
	if (!transport)
		return;
	t->transport = transport_ref(transport);
	transport_watch(transport, &t->watch, transport_changed);
}

void pool_tls_end(struct pool *p)
{
	struct pool_tls *t = p->tls;

	p->tls = NULL;
	if (!t)
		return;
	if (t->transport)
		transport_unwatch(&t->watch);
	transport_unref(&t->transport);
	free(t->host);
	free(t->unusable);
	free(t->why);
	free(t->identity);
	free(t);
}

/* ---- views ------------------------------------------------------------------------------------------------------------------ */

struct transport *pool_transport(const struct pool *p)
{
	return p->tls ? p->tls->transport : NULL;
}

const char *pool_host(const struct pool *p)
{
	return p->tls ? p->tls->host : NULL;
}

const char *pool_unusable(const struct pool *p)
{
	return p->tls ? p->tls->unusable : NULL;
}

void pool_peer(const struct pool *p, struct pool_peer *ret)
{
	const struct pool_tls *t = p->tls;

	*ret = (struct pool_peer){.kind = "plain", .identity = "", .version = ""};
	if (!t || !t->transport)
		return;
	ret->kind = transport_shows(t->transport) ? "mtls" : "tls";
	ret->identity = t->identity ? t->identity : "";
	ret->version = t->version;
	ret->resumed = t->resumed;
}
