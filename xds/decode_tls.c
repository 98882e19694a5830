/* xds/decode_tls: how connections to a cluster's endpoints are encrypted: transport_socket and transport_socket_matches to a tls_want for each row and one for what no row speaks of.
 *
 * Every socket that is not raw_buffer protects: one that is not built becomes a want that fails with its type, never plaintext.
 *
 * Three rules are not the API's:
 *   - What nobody says of a newest version is TLS 1.3. (Envoy takes 1.2 for its clients; every server of a mesh speaks 1.3, and the oldest stays 1.2 for those that do not.)
 *   - A peer of Istio's mesh is offered "istio-h2,istio,h2" whatever the cluster lists: Envoy's list is for any protocol and is replaced for HTTP/2 by a filter that is not a cluster's; and
 *     "istio-peer-exchange" announces a preamble that we do not send (istio.md 3.3.3). Others are offered what we speak: HTTP/2.
 *   - In Istio's profiles the secrets "default" and "ROOTCA" are the app's own, wherever its clusters say that they come from ("sds-grpc" is a cluster of its proxy's bootstrap).
 *
 * Owner of wants: the spec; equal ones of a cluster are one. */
#include "xds/decode_tls.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"

enum { TLS_ROWS = 64, SNI_BYTES = 255, SECRET_NAME = 4096, PEM_MAX = 4 << 20, ALPN_WORD = 255, ALPN_BYTES = 1024 };
enum { TLS_1_0 = 1, TLS_1_1, TLS_1_2, TLS_1_3 }; /* TlsParameters.TlsProtocol */

/* ---- what both halves use ---- */

int tls_refuse(struct tls_reading *t, int code, const char *field, const char *fmt, ...)
{
	char text[256], path[192];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), "%s.%s", t->field, field);
	return cluster_refuse(t->r, code, path, "%s", text);
}

void tls_note(struct tls_reading *t, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!t->r->notes.n || !memmem(t->r->notes.p, t->r->notes.n, text, strlen(text)))
		cluster_note(t->r, "%s", text);
}

void tls_unbuilt(struct tls_reading *t, const char *fmt, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	tls_note(t, "%s is not built: connections fail", text);
	if (t->want->unbuilt)
		return;
	struct sb all = {0};
	sb_fmt(&all, "%s is not built", text);
	t->want->unbuilt = xstrndup(all.p, all.n);
	t->r->kept += all.n + 1;
	sb_end(&all);
}

int tls_data(struct tls_reading *t, const Pb__DataSource *d, const char *field, struct data *ret)
{
	*ret = (struct data){.kind = DATA_NONE};
	if (!d)
		return 0;
	switch (d->specifier_case) {
	case PB__DATA_SOURCE__SPECIFIER_FILENAME: *ret = (struct data){DATA_FILE, str_of(d->filename)}; break;
	case PB__DATA_SOURCE__SPECIFIER_INLINE_BYTES: *ret = (struct data){DATA_PEM, str_n((const char *)d->inline_bytes.data, d->inline_bytes.len)}; break;
	case PB__DATA_SOURCE__SPECIFIER_INLINE_STRING: *ret = (struct data){DATA_PEM, str_of(d->inline_string)}; break;
	case PB__DATA_SOURCE__SPECIFIER_ENVIRONMENT_VARIABLE: *ret = (struct data){DATA_OTHER, str_of(d->environment_variable)}; break;
	default: return tls_refuse(t, -EINVAL, field, "says no source");
	}
	if (!ret->text.n)
		return tls_refuse(t, -EINVAL, field, "empty");
	if (memchr(ret->text.p, '\0', ret->text.n) || (ret->kind == DATA_FILE && memchr(ret->text.p, '\n', ret->text.n)))
		return tls_refuse(t, -EINVAL, field, "a NUL or a line break");
	if (ret->text.n > (ret->kind == DATA_PEM ? (size_t)PEM_MAX : (size_t)SECRET_NAME))
		return tls_refuse(t, ERR_LIMIT, field, "%zu bytes", ret->text.n);
	return 0;
}

void tls_secret(struct tls_reading *t, struct secret_ref *ref, enum secret_kind kind, enum secret_from from, struct str name)
{
	t->r->kept += name.n + 1;
	secret_ref_set(ref, kind, from, name);
}

/* Istio names files this way for its agent, which stands where we do (istio.md 3.2). */
static bool agents_file(struct tls_reading *t, struct str name, struct secret_ref *ref, enum secret_kind kind)
{
	struct str prefix = kind == SECRET_CERT ? STR("file-cert:") : STR("file-root:");
	if (!str_starts(name, prefix))
		return false;
	struct str path = str_cut(name, prefix.n, name.n);
	ptrdiff_t tilde = kind == SECRET_CERT ? str_find(path, '~') : 0;
	if (tilde < 0 || !path.n || memchr(path.p, '\n', path.n))
		return false;
	if (kind == SECRET_ROOTS) {
		bool all = str_is(path, "system");
		tls_secret(t, ref, kind, all ? SECRET_SYSTEM : SECRET_FILES, all ? STR("") : path);
		return true;
	}
	struct sb both = {0};
	sb_add(&both, path.p, path.n);
	both.p[tilde] = '\n';
	tls_secret(t, ref, kind, SECRET_FILES, sb_view(&both));
	sb_end(&both);
	return true;
}

int tls_secret_sds(struct tls_reading *t, const Pb__SdsSecretConfig *c, const char *field, struct secret_ref *ref, enum secret_kind kind)
{
	struct str name = str_of(c->name);
	const Pb__ConfigSource *source = c->sds_config;
	if (!name.n)
		return tls_refuse(t, -EINVAL, field, "name: empty");
	if (name.n > SECRET_NAME)
		return tls_refuse(t, ERR_LIMIT, field, "name: %zu bytes", name.n);
	if (source && (source->resource_api_version < 0 || source->resource_api_version > 2))
		return tls_refuse(t, -EINVAL, field, "sds_config.resource_api_version: %d", source->resource_api_version);
	if (t->istio && str_is(name, kind == SECRET_CERT ? "default" : "ROOTCA")) {
		*(kind == SECRET_CERT ? &t->own_cert : &t->own_roots) = true;
		tls_secret(t, ref, kind, SECRET_SDS, name);
		return 0;
	}
	bool ads = source && (source->config_source_specifier_case == PB__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_ADS ||
				     source->config_source_specifier_case == PB__CONFIG_SOURCE__CONFIG_SOURCE_SPECIFIER_SELF);
	if (t->istio && !ads && agents_file(t, name, ref, kind))
		return 0;
	tls_secret(t, ref, kind, ads ? SECRET_ADS : SECRET_SDS, name);
	return 0;
}

int tls_secret_instance(struct tls_reading *t, const Pb__CertificateProviderPluginInstance *i, const char *field, struct secret_ref *ref, enum secret_kind kind)
{
	struct str name = str_of(i->instance_name);
	if (!name.n)
		return tls_refuse(t, -EINVAL, field, "instance_name: empty");
	if (name.n > SECRET_NAME)
		return tls_refuse(t, ERR_LIMIT, field, "instance_name: %zu bytes", name.n);
	if (t->istio && str_is(str_of(i->certificate_name), kind == SECRET_CERT ? "default" : "ROOTCA")) /* how istiod says it to clients of gRPC (istio.md 1.6) */
		*(kind == SECRET_CERT ? &t->own_cert : &t->own_roots) = true;
	tls_secret(t, ref, kind, SECRET_INSTANCE, name);
	return 0;
}

/* ---- what is shown ---- */

static int given_cert(struct tls_reading *t, const Pb__TlsCertificate *c)
{
	static const char field[] = "common_tls_context.tls_certificates";
	struct data chain, key;
	if (c->pkcs12 || c->password || c->private_key_provider) {
		tls_unbuilt(t, "tls_certificates.%s", c->pkcs12 ? "pkcs12" : c->password ? "password" : "private_key_provider");
		return 0;
	}
	int code = tls_data(t, c->certificate_chain, "common_tls_context.tls_certificates.certificate_chain", &chain);
	if (code == 0)
		code = tls_data(t, c->private_key, "common_tls_context.tls_certificates.private_key", &key);
	if (code < 0)
		return code;
	if (chain.kind == DATA_NONE || key.kind == DATA_NONE)
		return tls_refuse(t, -EINVAL, field, "without %s", chain.kind ? "private_key" : "certificate_chain");
	if (chain.kind == DATA_OTHER || chain.kind != key.kind) {
		tls_unbuilt(t, "tls_certificates: %s", chain.kind == DATA_OTHER || key.kind == DATA_OTHER ? "environment_variable" : "the chain and the key from different kinds of sources");
		return 0;
	}
	struct sb both = {0};
	sb_add(&both, chain.text.p, chain.text.n);
	sb_char(&both, '\n');
	sb_add(&both, key.text.p, key.text.n);
	tls_secret(t, &t->want->cert, SECRET_CERT, chain.kind == DATA_FILE ? SECRET_FILES : SECRET_INLINE, sb_view(&both));
	explicit_bzero(both.p, both.n);
	sb_end(&both);
	if (key.kind == DATA_PEM) /* the tree's copy */
		explicit_bzero((char *)(uintptr_t)key.text.p, key.text.n);
	return 0;
}

static int shown(struct tls_reading *t, const Pb__CommonTlsContext *c)
{
	if (c->n_tls_certificate_sds_secret_configs + c->n_tls_certificates > 1)
		tls_note(t, "tls_certificates: the first one is shown");
	if (c->n_tls_certificate_sds_secret_configs)
		return tls_secret_sds(t, c->tls_certificate_sds_secret_configs[0], "common_tls_context.tls_certificate_sds_secret_configs", &t->want->cert, SECRET_CERT);
	if (c->n_tls_certificates)
		return given_cert(t, c->tls_certificates[0]);
	if (c->tls_certificate_provider_instance)
		return tls_secret_instance(t, c->tls_certificate_provider_instance, "common_tls_context.tls_certificate_provider_instance", &t->want->cert, SECRET_CERT);
	if (c->tls_certificate_certificate_provider_instance)
		return tls_secret_instance(t, c->tls_certificate_certificate_provider_instance, "common_tls_context.tls_certificate_certificate_provider_instance",
			&t->want->cert, SECRET_CERT);
	if (c->tls_certificate_certificate_provider)
		tls_unbuilt(t, "tls_certificate_certificate_provider");
	return 0;
}

/* ---- parameters ---- */

static int params(struct tls_reading *t, const Pb__TlsParameters *p)
{
	if (!p)
		return 0;
	if (p->tls_minimum_protocol_version < 0 || p->tls_minimum_protocol_version > TLS_1_3)
		return tls_refuse(t, -EINVAL, "common_tls_context.tls_params.tls_minimum_protocol_version", "%d is none", p->tls_minimum_protocol_version);
	if (p->tls_maximum_protocol_version < 0 || p->tls_maximum_protocol_version > TLS_1_3)
		return tls_refuse(t, -EINVAL, "common_tls_context.tls_params.tls_maximum_protocol_version", "%d is none", p->tls_maximum_protocol_version);
	if (p->tls_maximum_protocol_version && p->tls_maximum_protocol_version < p->tls_minimum_protocol_version)
		return tls_refuse(t, -EINVAL, "common_tls_context.tls_params", "the newest version is older than the oldest");
	if (p->n_compliance_policies > 1)
		return tls_refuse(t, -EINVAL, "common_tls_context.tls_params.compliance_policies", "more than one");
	t->want->min = p->tls_minimum_protocol_version == TLS_1_3 ? 0x0304 : 0x0303;
	if (p->tls_minimum_protocol_version == TLS_1_0 || p->tls_minimum_protocol_version == TLS_1_1)
		tls_note(t, "tls_minimum_protocol_version: TLS 1.2");
	if (p->tls_maximum_protocol_version == TLS_1_2 || p->tls_maximum_protocol_version == TLS_1_3)
		t->want->max = p->tls_maximum_protocol_version == TLS_1_2 ? 0x0303 : 0x0304;
	else if (p->tls_maximum_protocol_version)
		tls_unbuilt(t, "tls_maximum_protocol_version: TLS 1.%d", p->tls_maximum_protocol_version - TLS_1_0);
	if (p->n_cipher_suites || p->n_ecdh_curves || p->n_signature_algorithms || p->n_compliance_policies)
		tls_note(t, "tls_params: ciphers, curves and signatures are those of the TLS library");
	return 0;
}

/* What we do not speak is not offered: a server that chose it would not understand us. */
static bool is_foreign(const char *protocol)
{
	return strncmp(protocol, "http/", 5) == 0 || strcmp(protocol, "h3") == 0 || strcmp(protocol, "istio-peer-exchange") == 0;
}

static int alpn(struct tls_reading *t, const Pb__CommonTlsContext *c)
{
	bool mesh = t->own_cert, h2 = false;
	struct sb list = {0};
	for (size_t i = 0; i < c->n_alpn_protocols; i++) {
		const char *p = c->alpn_protocols[i];
		if (!p[0] || strlen(p) > ALPN_WORD || strchr(p, ',') || list.n + strlen(p) > ALPN_BYTES) {
			sb_end(&list);
			return tls_refuse(t, -EINVAL, "common_tls_context.alpn_protocols", "'%.40s' is no protocol's name, or the list is too long", p);
		}
		mesh |= strcmp(p, "istio") == 0 || strncmp(p, "istio-", 6) == 0;
		h2 |= strcmp(p, "h2") == 0;
		if (is_foreign(p))
			continue;
		sb_fmt(&list, "%s%s", list.n ? "," : "", p);
	}
	free(t->want->alpn);
	if (mesh)
		t->want->alpn = xstrdup("istio-h2,istio,h2");
	else if (h2 || !list.n)
		t->want->alpn = list.n ? xstrndup(list.p, list.n) : xstrdup("h2");
	else {
		struct sb first = {0};
		sb_fmt(&first, "h2,%.*s", (int)list.n, list.p);
		t->want->alpn = xstrndup(first.p, first.n);
		sb_end(&first);
	}
	if (!mesh && !h2 && c->n_alpn_protocols)
		tls_note(t, "alpn_protocols: h2 is offered first");
	t->r->kept += strlen(t->want->alpn) + 1;
	sb_end(&list);
	return 0;
}

/* "outbound|50051|v1|demo.default.svc.cluster.local" as servers of Istio's mesh know it: "outbound_.50051_.v1_.demo.default.svc.cluster.local". */
static bool mesh_sni(const char *cluster, char out[SNI_BYTES + 1])
{
	size_t n = 0;
	for (const char *p = cluster; *p; p++) {
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f || n + 2 > SNI_BYTES)
			return false;
		out[n++] = *p == '|' ? '_' : *p;
		if (*p == '|')
			out[n++] = '.';
	}
	out[n] = '\0';
	return n > 0;
}

static int sni(struct tls_reading *t, const Pb__UpstreamTlsContext *u)
{
	char own[SNI_BYTES + 1];
	bool mesh = strcmp(t->want->alpn, "istio-h2,istio,h2") == 0;
	if (strlen(u->sni) > SNI_BYTES)
		return tls_refuse(t, -EINVAL, "sni", "longer than %d bytes", SNI_BYTES);
	if (u->sni[0])
		t->want->sni = cluster_keep(t->r, u->sni);
	else if (mesh && mesh_sni(t->r->pb->name, own))
		t->want->sni = cluster_keep(t->r, own);
	t->want->host_sni = u->auto_host_sni;
	if (u->auto_sni_san_validation && !u->sni[0] && !u->auto_host_sni)
		tls_note(t, "auto_sni_san_validation: without an sni the endpoint's own name or address counts");
	return 0;
}

/* ---- a context ---- */

static void without_effect(struct tls_reading *t, const Pb__UpstreamTlsContext *u, const Pb__CommonTlsContext *c)
{
	if (u->allow_renegotiation)
		tls_note(t, "allow_renegotiation: never");
	if (u->max_session_keys)
		tls_note(t, "max_session_keys: as many as net/tls keeps");
	if (u->enforce_rsa_key_usage)
		tls_note(t, "enforce_rsa_key_usage: key usage is looked at in any case");
	if (c && c->key_log)
		tls_note(t, "key_log: never");
}

static int common(struct tls_reading *t, const Pb__CommonTlsContext *c, bool server_name)
{
	if (c->custom_handshaker)
		tls_unbuilt(t, "custom_handshaker '%.64s'", c->custom_handshaker->name);
	if (c->custom_tls_certificate_selector)
		tls_unbuilt(t, "custom_tls_certificate_selector '%.64s'", c->custom_tls_certificate_selector->name);
	int code = params(t, c->tls_params);
	if (code == 0)
		code = shown(t, c);
	if (code == 0)
		code = tls_peer_read(t, c, server_name);
	return code < 0 ? code : alpn(t, c);
}

static int context(struct tls_reading *t, const Pb__Any *any)
{
	static const Pb__CommonTlsContext nothing = PB__COMMON_TLS_CONTEXT__INIT;
	int code = 0;
	Pb__UpstreamTlsContext *u = cluster_unpack(t->r, &pb__upstream_tls_context__descriptor, any, t->field, &code);
	if (!u)
		return code;
	without_effect(t, u, u->common_tls_context);
	code = common(t, u->common_tls_context ? u->common_tls_context : &nothing, u->auto_sni_san_validation);
	if (code == 0)
		code = sni(t, u);
	guard_free(&t->r->guard, u);
	return code;
}

static struct tls_want *equal_to_one(struct cluster_reading *r, struct tls_want *w)
{
	struct tls_want *found = r->spec->want && tls_want_eq(r->spec->want, w) ? r->spec->want : NULL;
	for (uint32_t i = 0; !found && i < r->spec->ntls; i++)
		if (r->spec->tls[i].want && tls_want_eq(r->spec->tls[i].want, w))
			found = r->spec->tls[i].want;
	if (!found)
		return w;
	tls_want_ref(found);
	tls_want_unref(&w);
	return found;
}

/* 0, and what the socket wants (NULL: plaintext); negative: refused. */
static int socket_read(struct cluster_reading *r, const Pb__TransportSocket *s, const char *field, struct tls_want **ret)
{
	struct tls_reading t = {.r = r, .field = field, .istio = r->profile == PROFILE_ISTIO || r->profile == PROFILE_ISTIO_GRPC};
	int code = 0;
	if (!s->name[0])
		return cluster_refuse(r, -EINVAL, field, "name: empty");
	if (s->typed_config ? cluster_any_is(s->typed_config, "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer") :
			      str_is(str_of(s->name), "envoy.transport_sockets.raw_buffer"))
		return 0;
	t.want = tls_want_new();
	r->kept += sizeof(*t.want);
	if (cluster_any_is(s->typed_config, "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"))
		code = context(&t, s->typed_config);
	else
		tls_unbuilt(&t, "the transport socket '%.64s'%s%.96s%s", s->name, s->typed_config ? " (" : "", s->typed_config ? s->typed_config->type_url : "", s->typed_config ? ")" : "");
	if (code < 0) {
		tls_want_unref(&t.want);
		return code;
	}
	tls_want_seal(t.want);
	*ret = equal_to_one(r, t.want);
	return 0;
}

/* ---- rows ---- */

int cluster_pairs(struct cluster_reading *r, const char *field, const ProtobufCBinaryData *bytes, struct tls_pair **ret, uint32_t *ret_n)
{
	struct pairs p;
	p.n = p.left_out = 0;
	p.used = p.bytes = 0;
	int code = pairs_add_struct(&p, (struct str){0}, str_n((const char *)bytes->data, bytes->len));
	if (code == ERR_LIMIT)
		return cluster_refuse(r, code, field, "more than %d texts, or too long", PAIRS_MAX);
	if (code < 0)
		return cluster_refuse(r, code, field, "malformed");
	if (p.left_out) /* a row that matches more than it says might choose plaintext where TLS was meant */
		return cluster_refuse(r, -ENOTSUP, field, "a list or a struct as value");
	*ret = p.n ? xalloc(p.n * sizeof(**ret)) : NULL;
	for (uint32_t i = 0; i < p.n; i++)
		(*ret)[i] = (struct tls_pair){xstrndup(p.kv[2 * i].p, p.kv[2 * i].n), xstrndup(p.kv[2 * i + 1].p, p.kv[2 * i + 1].n)};
	*ret_n = p.n;
	r->kept += p.n * sizeof(**ret) + p.bytes;
	return 0;
}

static int row_read(struct cluster_reading *r, const Pb__Cluster__TransportSocketMatch *m)
{
	struct tls_row *row = &r->spec->tls[r->spec->ntls++];
	struct tls_want *want = NULL;
	if (!m->name[0])
		return cluster_refuse(r, -EINVAL, "transport_socket_matches.name", "empty");
	row->name = cluster_keep(r, m->name);
	int code = cluster_pairs(r, "transport_socket_matches.match", &m->match, &row->pairs, &row->npairs);
	if (code == 0 && m->transport_socket)
		code = socket_read(r, m->transport_socket, "transport_socket_matches.transport_socket", &want);
	row->want = want;
	return code;
}

void decode_mesh_tls(struct cluster_spec *spec)
{
	char sni_text[SNI_BYTES + 1];
	struct tls_row *row = spec->tls = xalloc(sizeof(*row));
	spec->ntls = 1;
	*row = (struct tls_row){.name = xstrdup("tlsMode-istio"), .pairs = xalloc(sizeof(*row->pairs)), .npairs = 1};
	row->pairs[0] = (struct tls_pair){xstrdup("tlsMode"), xstrdup("istio")};
	row->want = tls_want_mesh(mesh_sni(spec->name, sni_text) ? sni_text : NULL);
	tls_want_seal(row->want);
}

int cluster_sockets(struct cluster_reading *r)
{
	const Pb__Cluster *c = r->pb;
	if (c->transport_socket_matcher) { /* a tree of matchers above all rows, which nobody walks here */
		struct tls_reading t = {.r = r, .want = tls_want_new()};
		r->kept += sizeof(*t.want);
		tls_unbuilt(&t, "transport_socket_matcher");
		tls_want_seal(t.want);
		r->spec->want = t.want;
		r->spec->tls_name = cluster_keep(r, "transport_socket_matcher");
		return 0;
	}
	if (c->transport_socket) {
		struct tls_want *want = NULL;
		int code = socket_read(r, c->transport_socket, "transport_socket", &want);
		if (code < 0)
			return code;
		r->spec->want = want;
		if (want)
			r->spec->tls_name = cluster_keep(r, c->transport_socket->name);
	}
	if (c->n_transport_socket_matches > TLS_ROWS)
		return cluster_refuse(r, ERR_LIMIT, "transport_socket_matches", "%zu, more than %d", c->n_transport_socket_matches, TLS_ROWS);
	if (c->n_transport_socket_matches) {
		r->spec->tls = xalloc(c->n_transport_socket_matches * sizeof(*r->spec->tls));
		r->kept += c->n_transport_socket_matches * sizeof(*r->spec->tls);
	}
	for (size_t i = 0; i < c->n_transport_socket_matches; i++) {
		int code = row_read(r, c->transport_socket_matches[i]);
		if (code < 0)
			return code;
	}
	/* istiod says nothing of TLS to clients of gRPC unless a rule does, but marks the endpoints that have a proxy in front all the same (istio.md 1.6). */
	if (r->profile == PROFILE_ISTIO_GRPC && !c->transport_socket && !c->n_transport_socket_matches) {
		decode_mesh_tls(r->spec);
		r->kept += sizeof(struct tls_row) + sizeof(struct tls_pair) + sizeof(struct tls_want) + 2 * strlen(c->name) + 128;
	}
	return 0;
}
