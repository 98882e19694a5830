/* An UpstreamTlsContext (the first byte is the profile of the control plane that says it) inside of a cluster, as its transport_socket and as a row's: refused with one reason, or two equal
 * wants which are one; never plaintext; what is in them is whole; never more memory than twice the wire and a mebibyte; all of it comes back. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xds/decode.h"
#include "xds/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLACK = 4 * MEM_GRANULE, PROFILES = PROFILE_CONSUL + 1 };

static void insist(bool true_)
{
	if (!true_)
		abort();
}

static void put(struct sb *out, uint32_t field, struct sb *taken)
{
	wire_put_bytes(out, field, sb_view(taken));
	sb_end(taken);
}

static void put_socket(struct sb *out, uint32_t field, struct str context)
{
	struct sb any = {0}, socket = {0};

	wire_put_bytes(&any, 1, STR("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"));
	wire_put_bytes(&any, 2, context);
	wire_put_bytes(&socket, 1, STR("tls"));
	put(&socket, 3, &any);
	put(out, field, &socket);
}

static void cluster(struct sb *out, struct str context)
{
	struct sb row = {0};

	wire_put_bytes(out, 1, STR("outbound|50051||demo.default.svc.cluster.local"));
	put_socket(out, 24, context);
	wire_put_bytes(&row, 1, STR("row"));
	put_socket(&row, 3, context);
	put(out, 43, &row);
}

static void is_sound(const struct tls_want *w)
{
	insist(w->hash && w->refs && w->cert.name && w->roots.name && w->cert.kind == SECRET_CERT && w->roots.kind == SECRET_ROOTS);
	insist(w->alpn && w->alpn[0] && !strstr(w->alpn, ",,") && (strstr(w->alpn, "h2") != NULL));
	insist(!w->sni || (w->sni[0] && strlen(w->sni) <= 255));
	insist(w->names <= TLS_NAMES_ANY && w->min <= 0x0304 && w->max <= 0x0304);
	/* names that nobody vouches for are none */
	insist(w->names != TLS_NAMES_RULES || w->roots.from != SECRET_NOWHERE || w->unbuilt);
	for (uint32_t i = 0; i < w->nrules; i++) {
		insist(w->rules[i].text && w->rules[i].on <= TLS_NAME_EMAIL && w->rules[i].kind <= TLS_REGEX);
		insist((w->rules[i].kind == TLS_REGEX) == (w->rules[i].regex != NULL));
		if (w->rules[i].regex)
			w->regex_match(w->rules[i].regex, STR("spiffe://cluster.local/ns/default/sa/demo"));
	}
	for (uint32_t i = 0; i < w->npins; i++)
		insist(strncmp(w->pins[i], "sha256:", 7) == 0 ? strlen(w->pins[i]) == 71 : strlen(w->pins[i]) == 69);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct account a;
	struct cluster_decoded *c = NULL;
	struct sb m = {0}, problems = {0};

	if (!size)
		return 0;
	account_init(&a, NULL, "fuzz", SIZE_MAX);
	struct endpoint_metas *metas = endpoint_metas_new(&a, 1);
	size_t before = a.used;
	cluster(&m, str_n((const char *)data + 1, size - 1));
	a.peak = before;
	int code = decode_cluster(m.p, m.n, &a, metas, (enum xds_profile)(data[0] % PROFILES), &c, &problems);
	insist(code <= 0 && (code == 0) == (c != NULL) && (code == 0) == (problems.n == 0));
	insist(a.peak - before <= 2 * m.n + 1024 * 1024 + SLACK);
	if (c) {
		insist(c->spec->want && c->spec->ntls == 1 && c->spec->tls[0].want == c->spec->want && c->spec->want->refs == 2);
		is_sound(c->spec->want);
	}
	cluster_decoded_free(&c);
	sb_end(&m);
	sb_end(&problems);
	endpoint_metas_free(&metas);
	insist(a.used == 0);
	account_end(&a);
	return 0;
}
