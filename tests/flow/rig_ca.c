/* tests/flow/rig_ca: see rig_ca.h. The service; its papers are made in rig_ca_paper.c. */
#include "tests/flow/rig_ca.h"
#include <stdio.h>
#include <stdlib.h>
#include "net/grpc.h"

static const char service_path[] = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

struct ca_conn { struct list node, asks; struct ca *ca; struct h2_conn *h2; struct sock *sock; struct grave grave; };
struct ask { struct list node; struct ca *ca; struct ca_conn *conn; struct stream *stream; struct sb in; struct timer later; bool asked, allowed; int status; const char *text; struct grave grave; };

static void die(const char *what)
{
	fprintf(stderr, "rig_ca: %s\n", what);
	abort();
}

/* ---- bytes ---- */

static void put_varint(struct sb *b, uint64_t v)
{
	for (; v > 127; v >>= 7)
		sb_char(b, (char)(v | 128));
	sb_char(b, (char)v);
}

static void put_text(struct sb *b, uint32_t field, const char *text, size_t n)
{
	put_varint(b, field << 3 | 2);
	put_varint(b, n);
	sb_add(b, text, n);
}

struct reader { const uint8_t *p, *end; };

static uint64_t read_varint(struct reader *r)
{
	uint64_t v = 0;

	for (int shift = 0; r->p < r->end && shift < 64; shift += 7) {
		uint8_t byte = *r->p++;
		v |= (uint64_t)(byte & 127) << shift;
		if (!(byte & 128))
			return v;
	}
	die("a request is no protobuf");
	return 0;
}

static bool read_field(struct reader *r, uint32_t *field, struct str *text, uint64_t *number)
{
	if (r->p >= r->end)
		return false;
	uint64_t tag = read_varint(r);
	*field = (uint32_t)(tag >> 3);
	*text = STR("");
	*number = 0;
	if ((tag & 7) == 0) {
		*number = read_varint(r);
	} else if ((tag & 7) == 2) {
		uint64_t n = read_varint(r);
		if (n > (uint64_t)(r->end - r->p))
			die("a request is no protobuf");
		*text = str_n((const char *)r->p, n);
		r->p += n;
	} else {
		die("a request is no protobuf");
	}
	return true;
}

static struct str inner(struct str message, uint32_t wanted)
{
	struct reader r = {(const uint8_t *)message.p, (const uint8_t *)message.p + message.n};
	struct str text, found = STR("");
	uint32_t field;
	uint64_t number;

	while (read_field(&r, &field, &text, &number))
		if (field == wanted)
			found = text;
	return found;
}

/* ---- answers ---- */

static void ask_over(struct ask *k)
{
	k->stream = NULL;
	timer_cancel(k->ca->loop, &k->later);
}

static void finish(struct ask *k, int status, const char *text)
{
	struct fields *f;
	struct sb message = {0};
	char digits[16];

	if (!k->stream)
		return;
	f = fields_new(k->ca->loop->fields, k->ca->account);
	snprintf(digits, sizeof(digits), "%d", status);
	if (status) { /* trailers-only */
		fields_add(f, STR(":status"), STR("200"));
		fields_add(f, STR("content-type"), STR("application/grpc"));
	}
	fields_add(f, STR("grpc-status"), str_of(digits));
	grpc_message_encode(str_of(text), &message);
	fields_add(f, STR("grpc-message"), sb_view(&message));
	sb_end(&message);
	if (status)
		stream_send_head(k->stream, f, true);
	else
		stream_send_trailers(k->stream, f);
	fields_unref(&f);
	ask_over(k);
}

static void send_head(struct ask *k)
{
	struct fields *f = fields_new(k->ca->loop->fields, k->ca->account);

	fields_add(f, STR(":status"), STR("200"));
	fields_add(f, STR("content-type"), STR("application/grpc"));
	stream_send_head(k->stream, f, false);
	fields_unref(&f);
}

static void send_message(struct ask *k, const void *bytes, size_t n, size_t announced)
{
	uint8_t prefix[5] = {0, (uint8_t)(announced >> 24), (uint8_t)(announced >> 16), (uint8_t)(announced >> 8), (uint8_t)announced};
	struct chain data = CHAIN_INIT;

	if (chain_copy_in(&data, &k->ca->loop->bufs, k->ca->account, prefix, 5) != 0 || (n && chain_copy_in(&data, &k->ca->loop->bufs, k->ca->account, bytes, n) != 0))
		die("no chunk");
	stream_send_data(k->stream, &data, false);
}

static int make_chain(struct ca *ca, const char *csr, struct sb *leaf)
{
	const struct ca_quirks *q = &ca->quirks;
	bool usual = !q->from_s && !q->to_s;
	struct sb uri = {0};
	int r;

	authority_set_now(ca->authority, (int64_t)(ca->loop->ops->wall_ns(ca->loop->ops_ctx) / 1000000000));
	r = authority_sign(ca->authority, csr, ca->identity, usual ? -120 : q->from_s, usual ? (int64_t)ca->last_validity_s : q->to_s, leaf, &uri);
	snprintf(ca->last_uri, sizeof(ca->last_uri), "%s", uri.n ? uri.p : "");
	sb_end(&uri);
	if (q->other_key) {
		struct sb key = {0};
		leaf->n = 0;
		authority_leaf(ca->authority, &(struct paper){.sans = "URI:spiffe://other"}, leaf, &key);
		sb_end(&key);
	}
	return r;
}

static void answer(struct ask *k)
{
	struct ca *ca = k->ca;
	const struct ca_quirks *q = &ca->quirks;
	struct str request = str_n(k->in.p + 5, k->in.n - 5), csr = inner(request, 1);
	char *pem = xstrndup(csr.p, csr.n);
	struct sb leaf = {0}, out = {0};
	struct reader r = {(const uint8_t *)request.p, (const uint8_t *)request.p + request.n};
	struct str text;
	uint32_t field;
	uint64_t number;

	while (read_field(&r, &field, &text, &number))
		if (field == 3)
			ca->last_validity_s = number;
	struct str entry = inner(inner(request, 4), 1), signer = inner(inner(entry, 2), 3);
	snprintf(ca->last_signer, sizeof(ca->last_signer), "%.*s=%.*s", (int)inner(entry, 1).n, inner(entry, 1).p, (int)signer.n, signer.p);
	ca->last_key_hash = str_hash(csr);
	int rc = make_chain(ca, pem, &leaf);
	free(pem);
	if (rc < 0) {
		finish(k, GRPC_INVALID_ARGUMENT, "CSR is not properly constructed");
		sb_end(&leaf);
		return;
	}
	send_head(k);
	if (!q->no_entry)
		put_text(&out, 1, leaf.p, leaf.n);
	if (*ca->above && !q->one_entry && !q->no_entry)
		put_text(&out, 1, ca->above, strlen(ca->above));
	if (q->no_roots)
		put_text(&out, 1, "no certificate", 14);
	else if (!q->one_entry && !q->no_entry)
		put_text(&out, 1, ca->roots, strlen(ca->roots));
	if (q->garbage)
		send_message(k, q->garbage, q->garbage_n, q->garbage_n);
	else if (q->huge)
		send_message(k, "", 0, q->huge);
	else if (!q->no_message)
		send_message(k, out.p, out.n, out.n);
	if (q->two_messages)
		send_message(k, out.p, out.n, out.n);
	if (!q->huge)
		finish(k, 0, "");
	ca->signed_n++;
	sb_end(&leaf);
	sb_end(&out);
}

static void later(struct timer *t)
{
	answer(container_of(t, struct ask, later));
}

/* ---- requests ---- */

static void on_head(void *user, struct fields *f, bool fin)
{
	(void)user, (void)f, (void)fin;
}

static void whole(struct ask *k)
{
	struct ca *ca = k->ca;

	if (k->asked)
		return;
	k->asked = true;
	if (k->status)
		finish(k, k->status, k->text);
	else if (ca->quirks.mute)
		return;
	else if (ca->delay_ms)
		timer_in(ca->loop, &k->later, (uint64_t)ca->delay_ms * 1000000, later);
	else
		answer(k);
}

static void on_data(void *user, struct chain *data, bool fin)
{
	struct ask *k = user;
	size_t n = data->bytes;

	if (!k->stream)
		return;
	for (struct slice *at = data->head; at; at = at->next)
		sb_add(&k->in, at->p, at->n);
	if (n)
		stream_credit(k->stream, n);
	if (fin && k->in.n >= 5)
		whole(k);
}

static void on_trailers(void *user, struct fields *f)
{
	(void)f;
	whole(user);
}

static void on_sent(void *user, size_t n)
{
	(void)user, (void)n;
}

static void on_end(void *user, const struct stream_end *end)
{
	(void)end;
	ask_over(user);
}

static const struct stream_events stream_events = {on_head, on_data, on_trailers, on_sent, on_end};

static void keep(char *out, size_t n, struct str s)
{
	snprintf(out, n, "%.*s", (int)s.n, s.n ? s.p : "");
}

static void judge(struct ask *k, const char *token, const char *peer)
{
	struct ca *ca = k->ca;
	bool good = !strncmp(token, "Bearer ", 7) && (!ca->token || strcmp(token + 7, ca->token) == 0);

	if (ca->quirks.refuse) {
		k->status = ca->quirks.refuse;
		k->text = ca->quirks.refuse_text ? ca->quirks.refuse_text : "refused";
	} else if (ca->demands && !good && !*peer) {
		k->status = GRPC_UNAUTHENTICATED;
		k->text = "request authenticate failure";
	}
}

static void on_request(void *owner, struct stream *stream, struct fields *head, bool fin, const char *refuse)
{
	struct ca_conn *c = owner;
	struct ca *ca = c->ca;
	struct ask *k = xnew(struct ask);
	struct sb lines = {0};

	(void)refuse, (void)fin;
	k->ca = ca;
	k->conn = c;
	k->stream = stream;
	list_push(&c->asks, &k->node);
	stream->ev = &stream_events;
	stream->user = k;
	ca->requests++;
	ca->last_token[0] = ca->last_cluster[0] = 0;
	fields_each(e, head) {
		struct str name = str_n(e->name, e->name_len), value = str_n(e->value, e->value_len);
		if (str_is(name, "authorization"))
			keep(ca->last_token, sizeof(ca->last_token), value);
		if (str_is(name, "clusterid"))
			keep(ca->last_cluster, sizeof(ca->last_cluster), value);
		sb_fmt(&lines, "%.*s: %.*s\n", (int)name.n, name.p, (int)value.n, value.p);
	}
	keep(ca->last_head, sizeof(ca->last_head), sb_view(&lines));
	sb_end(&lines);
	snprintf(ca->last_peer, sizeof(ca->last_peer), "%s", ca->tls ? tls_peer_uri(c->sock) : "");
	if (!str_is(fields_value(head, FIELD_PATH), service_path)) {
		k->status = GRPC_UNIMPLEMENTED;
		k->text = "unknown method";
	} else {
		judge(k, ca->last_token, ca->last_peer);
	}
}

/* ---- connections ---- */

static void conn_bury(struct grave *g)
{
	free(container_of(g, struct ca_conn, grave));
}

static void ask_bury(struct grave *g)
{
	struct ask *k = container_of(g, struct ask, grave);

	sb_end(&k->in);
	free(k);
}

static void conn_forget(struct ca_conn *c)
{
	list_del(&c->node);
	list_each(n, tmp, &c->asks) {
		struct ask *k = list_entry(n, struct ask, node);
		ask_over(k);
		list_del(&k->node);
		loop_bury(c->ca->loop, &k->grave, ask_bury);
	}
	loop_bury(c->ca->loop, &c->grave, conn_bury);
}

static void conn_closed(void *owner, int err)
{
	(void)err;
	conn_forget(owner);
}

static const struct stream_server server_events = {on_request, conn_closed};

static void conn_speak(struct ca_conn *c)
{
	c->h2 = h2_conn_server(c->ca->loop, c->sock, &c->ca->lim, c->ca->account, &server_events, c, NULL, 0);
	if (!c->h2)
		die("no connection");
}

static void shaken(void *user, int err)
{
	struct ca_conn *c = user;

	if (!err) {
		conn_speak(c);
		return;
	}
	sock_close(&c->sock);
	conn_forget(c);
}

static void nothing(void *user)
{
	(void)user;
}

static bool accepted(void *user, struct sock *taken)
{
	static const struct sock_events events = {.connected = shaken, .readable = nothing, .writable = nothing};
	struct ca *ca = user;
	struct ca_conn *c = xnew(struct ca_conn);
	struct tls_peer peer = {.want = ca->clients};

	c->ca = ca;
	list_init(&c->asks);
	list_push(&ca->conns, &c->node);
	ca->accepted++;
	c->sock = taken;
	if (ca->stalled) {
		sock_set(taken, &events, c);
		sock_want(taken, false, false);
		return true;
	}
	if (!ca->tls) {
		conn_speak(c);
		return true;
	}
	c->sock = NULL;
	if (tls_server(ca->loop, ca->tls, taken, &peer, NULL, 0, ca->account, &events, c, &c->sock) < 0)
		die("no TLS");
	return true;
}

static const struct sock_listen_events listen_events = {accepted};

/* ---- a life ---- */

struct tls_context *ca_tls(struct authority *a, const char *sans, const char *client_roots_pem)
{
	struct sb chain = {0}, key = {0};
	struct err err = ERR_INIT;
	struct tls_cert *cert;
	struct tls_trust *trust = NULL;
	struct tls_context *c;

	authority_leaf(a, &(struct paper){.sans = sans}, &chain, &key);
	if (tls_cert_new("the CA's", sb_view(&chain), sb_view(&key), &cert, &err) < 0 || (client_roots_pem && tls_trust_new("its clients'", str_of(client_roots_pem), NULL, &trust, &err) < 0)
		|| tls_context_new(&(struct tls_spec){.cert = cert, .trust = trust, .alpn = "h2", .server = true, .no_client_cert = true}, &c, &err) < 0)
		die(err_str(&err));
	tls_cert_unref(&cert);
	tls_trust_unref(&trust);
	sb_end(&chain);
	sb_end(&key);
	return c;
}

void ca_listen(struct ca *ca, bool on)
{
	if (!on)
		sock_listen_close(&ca->listen);
	else if (!ca->listen)
		sock_listen(ca->loop, -1, &ca->at, &listen_events, ca, &ca->listen);
}

struct ca *ca_new(struct loop *loop, struct account *account, const char *at, struct authority *authority, struct tls_context *tls)
{
	struct ca *ca = xnew(struct ca);

	ca->loop = loop;
	ca->account = account;
	ca->at = simnet_addr(at);
	ca->authority = authority;
	ca->above = "";
	ca->roots = authority_pem(authority);
	ca->tls = tls ? tls_context_ref(tls) : NULL;
	ca->clients = tls_want_new();
	ca->clients->no_client_cert = true;
	tls_want_seal(ca->clients);
	ca->lim = (struct limits){.streams_per_connection = 1000, .header_bytes = 1 << 20, .field_count = 1000, .header_wire_bytes = 1 << 20, .continuations = 1000,
		.header_budget = 1 << 30, .premature_resets = 1 << 20, .control_frames = 1 << 20, .empty_frames = 1000, .outbound_queue = 1 << 20, .window_down = 65535,
		.window_up = 65535, .window_down_conn = 1 << 20, .window_up_conn = 1 << 20, .replay_bytes = 65536, .stall_ns = UINT64_C(1000000000000000),
		.stall_bytes = 1024, .preface_time_ns = UINT64_C(1000000000000000), .header_time_ns = UINT64_C(1000000000000000)};
	list_init(&ca->conns);
	ca_listen(ca, true);
	if (!ca->listen)
		die("a CA cannot listen");
	return ca;
}

void ca_cut(struct ca *ca)
{
	list_each(n, tmp, &ca->conns) {
		struct ca_conn *c = list_entry(n, struct ca_conn, node);
		if (c->h2) {
			h2_conn_close(c->h2, 0);
			continue;
		}
		sock_close(&c->sock);
		conn_forget(c);
	}
}

void ca_end(struct ca *ca)
{
	ca_listen(ca, false);
	ca_cut(ca);
}

void ca_free(struct ca **pca)
{
	struct ca *ca = *pca;

	if (!ca)
		return;
	*pca = NULL;
	if (!list_empty(&ca->conns))
		die("ca_free before its connections died: ca_end, then some turns");
	tls_context_unref(&ca->tls);
	tls_want_unref(&ca->clients);
	free(ca);
}
