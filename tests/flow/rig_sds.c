/* tests/flow/rig_sds: see rig_sds.h. */
#include "tests/flow/rig_sds.h"
#include <stdio.h>
#include <stdlib.h>
#include "net/grpc.h"

static const char secret_url[] = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/* What a stream asked for lies in the list of one of the types that it has no use for. */
static struct plane_names *asked(struct plane_stream *t)
{
	return &t->watch[XDS_LDS].names;
}

/* ---- what it says ---- */

static void add_secret(struct sds_server *s, struct sb *message, const char *name)
{
	const struct sb *bytes = map_get(&s->secrets, str_of(name));
	struct sb any = {0};

	if (!bytes)
		return;
	pb_text(&any, 1, secret_url);
	if (s->as) { /* the last name that a message gives is the one that counts */
		struct sb other = {0};
		sb_add(&other, bytes->p, bytes->n);
		pb_text(&other, 1, s->as);
		pb_sub(&any, 2, &other);
	} else {
		pb_bytes(&any, 2, bytes->p, bytes->n);
	}
	pb_sub(message, 2, &any);
}

static void answer(struct sds_server *s, struct plane_stream *t)
{
	struct sb message = {0};
	char text[32];

	if (s->mute)
		return;
	snprintf(text, sizeof(text), "v%llu", (unsigned long long)s->version);
	pb_text(&message, 1, text);
	for (uint32_t i = 0; i < asked(t)->n; i++)
		add_secret(s, &message, asked(t)->name[i]);
	pb_text(&message, 4, secret_url);
	snprintf(text, sizeof(text), "n%llu", (unsigned long long)++s->nonces);
	pb_text(&message, 5, text);
	plane_send(t, PLANE_OTHER, &message);
}

void sds_server_say(struct sds_server *s, const char *name)
{
	list_each(at, tmp, &s->plane->streams) {
		struct plane_stream *t = list_entry(at, struct plane_stream, node);
		if (t->stream && plane_names_has(asked(t), name))
			answer(s, t);
	}
}

/* ---- what it hears ---- */

static void acknowledged(struct sds_server *s, const struct plane_request *q)
{
	if (!q->has_error) {
		s->acks++;
		return;
	}
	s->nacks++;
	snprintf(s->last_error, sizeof(s->last_error), "%s", q->error_text);
}

static void heard(void *ctx, struct plane_stream *t, struct plane_request *q)
{
	struct sds_server *s = ctx;
	char text[512];

	t->has_node |= q->has_node && *q->node_id;
	if (!t->has_node && !s->spire) {
		plane_finish(t, GRPC_INVALID_ARGUMENT, "missing node information");
		return;
	}
	if (*q->nonce) {
		acknowledged(s, q);
		return;
	}
	plane_names_clear(asked(t));
	for (uint32_t i = 0; i < q->nsub; i++) {
		if (!map_get(&s->secrets, str_of(q->sub[i]))) {
			snprintf(text, sizeof(text), s->spire ? "workload is not authorized for the requested identities [\"%s\"]" : "failed to generate secret for %s", q->sub[i]);
			plane_finish(t, s->spire ? GRPC_INVALID_ARGUMENT : GRPC_UNKNOWN, text);
			return;
		}
		plane_names_add(asked(t), q->sub[i]);
	}
	if (!q->nsub && s->spire) {
		struct str name;
		void *value;
		for (uint32_t i = 0; map_next(&s->secrets, &i, &name, &value);) {
			char *copy = xstrndup(name.p, name.n);
			plane_names_add(asked(t), copy);
			free(copy);
		}
	}
	if (asked(t)->n) /* istio-agent: nothing asked, nothing said */
		answer(s, t);
}

uint32_t sds_server_streams(const struct sds_server *s, const char *name)
{
	uint32_t n = 0;

	list_each(at, tmp, &s->plane->streams) {
		struct plane_stream *t = list_entry(at, struct plane_stream, node);
		n += t->stream && plane_names_has(asked(t), name);
	}
	return n;
}

/* ---- secrets ---- */

static void forget(struct sds_server *s, const char *name)
{
	struct sb *was = map_del(&s->secrets, str_of(name));

	if (!was)
		return;
	sb_end(was);
	free(was);
}

void sds_server_bytes(struct sds_server *s, const char *name, const void *secret, size_t n)
{
	struct sb *b = xnew(struct sb);

	forget(s, name);
	sb_add(b, secret, n);
	map_put(&s->secrets, str_of(name), b);
	s->version++;
	sds_server_say(s, name);
}

static void inline_bytes(struct sb *out, uint32_t field, const char *pem)
{
	struct sb source = {0};

	pb_text(&source, 2, pem);
	pb_sub(out, field, &source);
}

static void put(struct sds_server *s, const char *name, uint32_t field, struct sb *taken)
{
	struct sb secret = {0};

	pb_text(&secret, 1, name);
	pb_sub(&secret, field, taken);
	sds_server_bytes(s, name, secret.p, secret.n);
	sb_end(&secret);
}

void sds_server_cert(struct sds_server *s, const char *name, const char *chain, const char *key)
{
	struct sb cert = {0};

	inline_bytes(&cert, 1, chain);
	inline_bytes(&cert, 2, key);
	put(s, name, 2, &cert);
}

void sds_server_leaf(struct sds_server *s, const char *name, struct authority *by, const struct paper *how)
{
	struct sb chain = {0}, key = {0};

	authority_leaf(by, how, &chain, &key);
	sb_char(&chain, '\0');
	sb_char(&key, '\0');
	sds_server_cert(s, name, chain.p, key.p);
	sb_end(&chain);
	sb_end(&key);
}

void sds_server_roots(struct sds_server *s, const char *name, const char *pem)
{
	struct sb context = {0};

	inline_bytes(&context, 1, pem);
	put(s, name, 4, &context);
}

void sds_server_bundles(struct sds_server *s, const char *name, const char *const *of)
{
	struct sb config = {0}, typed = {0}, context = {0};

	for (; *of; of += 2) {
		struct sb domain = {0};
		pb_text(&domain, 1, of[0]);
		inline_bytes(&domain, 2, of[1]);
		pb_sub(&config, 1, &domain);
	}
	pb_text(&typed, 1, "envoy.tls.cert_validator.spiffe");
	pb_any(&typed, 2, "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig", &config);
	pb_sub(&context, 12, &typed);
	put(s, name, 4, &context);
}

/* ---- a life ---- */

static struct sds_server *server_of(struct plane *taken)
{
	struct sds_server *s = xnew(struct sds_server);

	map_init(&s->secrets, 3);
	s->plane = taken;
	s->plane->serves = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets";
	s->plane->heard = heard;
	s->plane->ctx = s;
	return s;
}

struct sds_server *sds_server_new(struct simnet *net, struct account *account, const char *at)
{
	return server_of(plane_new(net, account, at, PLANE_GENERIC));
}

struct sds_server *sds_server_on(struct loop *loop, struct account *account, const struct addr *at)
{
	struct plane *p = plane_on(loop, account, at, PLANE_GENERIC);

	return p ? server_of(p) : NULL;
}

void sds_server_end(struct sds_server *s)
{
	plane_end(s->plane);
}

void sds_server_free(struct sds_server **ps)
{
	struct sds_server *s = *ps;
	struct str name;
	void *value;

	if (!s)
		return;
	*ps = NULL;
	plane_free(&s->plane);
	for (uint32_t i = 0; map_next(&s->secrets, &i, &name, &value);) {
		struct sb *b = value;
		sb_end(b);
		free(b);
	}
	map_end(&s->secrets);
	free(s);
}
