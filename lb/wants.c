/* lb/wants: the TLS that a cluster's endpoints want, alive: of each want that its spec declares (a few: transport_socket_matches, services[].tls) the transport, or why there is none.
 *
 *   endpoint's metadata --endpoint_want (conf/spec)--> want --wants_transport--> transport (net/transport; counted here) --> the key of its pool
 *
 * So an endpoint costs a look at its metadata and a host one pointer to compare. What cannot be had is not used: its endpoints are HOT_UNUSABLE, and a call that finds no others is told
 * why. Owner: the cluster. A list, for it has one or two entries. */
#include "lb/cluster_int.h"
#include <errno.h>
#include <stdlib.h>

struct want_row {
	struct tls_want *want;       /* counted: the spec's */
	char *alpn;                  /* a check offers this instead; NULL */
	struct transport *transport; /* counted; NULL: */
	char *why;
};
struct wants {
	uint32_t count;
	struct want_row rows[];
};

static void row_end(struct want_row *r)
{
	tls_want_unref(&r->want);
	free(r->alpn);
	transport_unref(&r->transport);
	free(r->why);
}

/* Whose, which and why: it is what a caller is told. */
static char *refusal(const struct cluster *c, const struct tls_want *want, const char *row, const char *why)
{
	struct sb text = {0};
	char *copy;

	sb_fmt(&text, "'%.200s' wants TLS", c->spec->name);
	if (row && *row)
		sb_fmt(&text, " ('%.80s')", row);
	if (want->cert.from != SECRET_NOWHERE)
		sb_fmt(&text, " with a certificate of ours (%s)", secret_from_name(want->cert.from));
	sb_fmt(&text, ": %.300s", why ? why : "it cannot be had");
	copy = xstrndup(text.p, text.n);
	sb_end(&text);
	return copy;
}

static void row_get(struct cluster *c, struct want_row *r, const char *row)
{
	const struct secret_space *space = r->want->unbuilt || !c->all->transports ? NULL : mesh_cluster_space(c->decl);
	struct tls_want *want = r->alpn ? spec_want_alpn(r->want, r->alpn) : tls_want_ref(r->want);
	const char *why = NULL;

	if (want->unbuilt)
		why = want->unbuilt;
	else if (!c->all->transports)
		why = "there is no TLS in this process";
	else if (!space)
		why = "this service's app has no identity";
	else
		r->transport = transport_get(c->all->transports, want, space, false, &why);
	if (!r->transport)
		r->why = refusal(c, want, row, why);
	tls_want_unref(&want);
}

/* The spec's own pointers: wants_respec sees to that. */
static bool row_is(const struct want_row *r, const struct tls_want *want, const char *alpn)
{
	if (r->want != want && !tls_want_eq(r->want, want))
		return false;
	return r->alpn && alpn ? strcmp(r->alpn, alpn) == 0 : r->alpn == alpn;
}

struct transport *wants_transport(struct cluster *c, struct tls_want *want, const char *alpn, const char *row, const char **why)
{
	uint32_t count = c->wants ? c->wants->count : 0;
	struct want_row *r = NULL;

	for (uint32_t i = 0; i < count && !r; i++)
		if (row_is(&c->wants->rows[i], want, alpn))
			r = &c->wants->rows[i];
	if (!r) {
		c->wants = xrealloc(c->wants, sizeof(*c->wants) + (count + 1) * sizeof(c->wants->rows[0]));
		c->wants->count = count + 1;
		r = &c->wants->rows[count];
		*r = (struct want_row){.want = tls_want_ref(want), .alpn = alpn ? xstrdup(alpn) : NULL};
		row_get(c, r, row);
	}
	*why = r->why;
	return r->transport;
}

int wants_of(struct cluster *c, const struct endpoint_meta *meta, struct transport **ret, const char **why)
{
	const char *row = NULL;
	struct tls_want *want;

	*ret = NULL;
	*why = NULL;
	if (!spec_wants_tls(c->spec))
		return 0;
	want = endpoint_want(c->spec, meta, &row);
	if (!want)
		return 0;
	*ret = wants_transport(c, want, NULL, row, why);
	return *ret ? 0 : -ENOKEY;
}

/* The one of the spec that asks for the same; NULL. */
static struct tls_want *spec_find(const struct cluster_spec *s, const struct tls_want *want)
{
	if (s->want && tls_want_eq(s->want, want))
		return s->want;
	for (uint32_t i = 0; i < s->ntls; i++)
		if (s->tls[i].want && tls_want_eq(s->tls[i].want, want))
			return s->tls[i].want;
	return NULL;
}

/* What cannot be had is asked for again: the reason may have gone meanwhile. */
void wants_respec(struct cluster *c)
{
	uint32_t kept = 0;

	if (!c->wants)
		return;
	for (uint32_t i = 0; i < c->wants->count; i++) {
		struct want_row *r = &c->wants->rows[i];
		struct tls_want *same = r->transport ? spec_find(c->spec, r->want) : NULL;

		if (!same) {
			row_end(r);
			continue;
		}
		tls_want_ref(same);
		tls_want_unref(&r->want);
		r->want = same;
		c->wants->rows[kept++] = *r;
	}
	c->wants->count = kept;
	if (!kept)
		wants_end(c);
}

bool wants_again(struct cluster *c)
{
	bool changed = false;

	for (uint32_t i = 0; c->wants && i < c->wants->count; i++) {
		struct want_row *r = &c->wants->rows[i], now = {.want = tls_want_ref(r->want), .alpn = r->alpn ? xstrdup(r->alpn) : NULL};

		row_get(c, &now, NULL);
		changed |= now.transport != r->transport;
		row_end(r);
		*r = now;
	}
	return changed;
}

void wants_end(struct cluster *c)
{
	for (uint32_t i = 0; c->wants && i < c->wants->count; i++)
		row_end(&c->wants->rows[i]);
	free(c->wants);
	c->wants = NULL;
}

const char *cluster_unusable(const struct cluster *c)
{
	for (uint32_t i = 0; c->wants && i < c->wants->count; i++)
		if (c->wants->rows[i].why)
			return c->wants->rows[i].why;
	return "the TLS that it wants cannot be had";
}
