/* net/tls_peer: what is told of a TLS connection: why it failed, what was agreed on, who the other side is.
 * The other side's names are taken out of its certificate when somebody asks first; a connection that nobody asks keeps none of them. A name with bytes in it that no URI has (NUL, blanks,
 * anything beyond ASCII) is no identity: it is not told, rather than told in part. */
#include <string.h>
#include "base/mem.h"
#include "net/tls_int.h"

enum { NAME_TEXT = 512 };

/* ---- the peer's names --------------------------------------------------------------------------------------------------------------- */

static bool is_identity(struct str s)
{
	if (s.n == 0 || s.n > TLS_URI_MAX)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= 0x20 || s.p[i] >= 0x7f)
			return false;
	return true;
}

struct reading { uint32_t nuris; size_t uris_n; char name[NAME_TEXT], subject[NAME_TEXT]; int rank; };

/* For people: the first URI, else DNS, else IP. */
static void take_name(const struct tls_lib *o, struct reading *r, const GENERAL_NAME *name)
{
	static const int ranks[] = {[GEN_URI] = 3, [GEN_DNS] = 2, [GEN_IPADD] = 1};
	int rank = name->type >= 0 && (size_t)name->type < sizeof(ranks) / sizeof(*ranks) ? ranks[name->type] : 0;
	struct str text;
	char ip[64];

	if (rank == 0 || !tls_name_text(o, name, ip, sizeof(ip), &text))
		return;
	if (name->type == GEN_URI && is_identity(text)) {
		r->nuris++;
		r->uris_n += text.n + 1;
	}
	if (rank > r->rank) {
		r->name[0] = 0;
		tls_add_clean(r->name, sizeof(r->name), text);
		r->rank = rank;
	}
}

static char *put(char **at, struct str s)
{
	char *p = *at;

	memcpy(p, s.p, s.n);
	p[s.n] = 0;
	*at += s.n + 1;
	return p;
}

static void put_uris(const struct tls_lib *o, char **at, const GENERAL_NAMES *names, int count)
{
	struct str text;
	char ip[64];

	for (int i = 0; i < count; i++) {
		const GENERAL_NAME *name = o->OPENSSL_sk_value((const OPENSSL_STACK *)names, i);
		if (name->type == GEN_URI && tls_name_text(o, name, ip, sizeof(ip), &text) && is_identity(text))
			put(at, text);
	}
}

static struct tls_told *told_make(struct tls_sock *k, X509 *leaf)
{
	const struct tls_lib *o = k->context->lib;
	GENERAL_NAMES *names = o->X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	int count = names ? o->OPENSSL_sk_num((const OPENSSL_STACK *)names) : 0;
	struct reading r = {.nuris = 0};

	for (int i = 0; i < count; i++)
		take_name(o, &r, o->OPENSSL_sk_value((const OPENSSL_STACK *)names, i));
	tls_subject(o, o->X509_get_subject_name(leaf), r.subject, sizeof(r.subject));
	size_t subject_n = strlen(r.subject), name_n = r.rank ? strlen(r.name) : subject_n;
	struct tls_told *t = acct_alloc(k->account, sizeof(*t) + r.uris_n + name_n + subject_n + 3);
	if (t) {
		char *at = (char *)(t + 1);
		t->nuris = r.nuris;
		t->uri = at;
		put_uris(o, &at, names, count);
		if (!r.nuris)
			put(&at, STR(""));
		t->name = put(&at, str_n(r.rank ? r.name : r.subject, name_n));
		t->subject = put(&at, str_n(r.subject, subject_n));
		t->hash[0] = 0;
	}
	o->GENERAL_NAMES_free(names);
	o->ERR_clear_error();
	return t;
}

static const struct tls_told *told(const struct sock *s)
{
	struct tls_sock *k = tls_sock_of(s);
	X509 *leaf = k && k->ssl && k->phase == TLS_OPEN ? k->context->lib->SSL_get0_peer_certificate(k->ssl) : NULL;

	if (leaf && !k->told)
		k->told = told_make(k, leaf);
	return k ? k->told : NULL;
}

void tls_told_free(struct tls_sock *k)
{
	if (k->told)
		acct_free(k->account, k->told);
	k->told = NULL;
}

const char *tls_peer_uri(const struct sock *s)
{
	const struct tls_told *t = told(s);

	return t ? t->uri : "";
}

uint32_t tls_peer_uris(const struct sock *s)
{
	const struct tls_told *t = told(s);

	return t ? t->nuris : 0;
}

const char *tls_peer_name(const struct sock *s)
{
	const struct tls_told *t = told(s);

	return t ? t->name : "";
}

const char *tls_peer_subject(const struct sock *s)
{
	const struct tls_told *t = told(s);

	return t ? t->subject : "";
}

/* Not made with the names: only a server passes it on, and encoding the certificate anew takes longer than all of them. */
static void hash_leaf(const struct tls_sock *k)
{
	const struct tls_lib *o = k->context->lib;
	unsigned char md[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (o->X509_digest(o->SSL_get0_peer_certificate(k->ssl), o->EVP_sha256(), md, &n) == 1 && 2 * n < sizeof(k->told->hash)) {
		for (unsigned i = 0; i < n; i++) {
			k->told->hash[2 * i] = "0123456789abcdef"[md[i] >> 4];
			k->told->hash[2 * i + 1] = "0123456789abcdef"[md[i] & 15];
		}
		k->told->hash[2 * n] = 0;
	}
	o->ERR_clear_error();
}

const char *tls_peer_hash(const struct sock *s)
{
	const struct tls_told *t = told(s);
	const struct tls_sock *k = tls_sock_of(s);

	if (t && !t->hash[0] && k->ssl && k->phase == TLS_OPEN)
		hash_leaf(k);
	return t ? t->hash : "";
}

/* ---- the connection ------------------------------------------------------------------------------------------------------------------- */

bool tls_is(const struct sock *s)
{
	return tls_sock_of(s) != NULL;
}

const char *tls_why(const struct sock *s)
{
	const struct tls_sock *k = tls_sock_of(s);

	return k ? k->why : "";
}

enum tls_reason tls_reason(const struct sock *s)
{
	const struct tls_sock *k = tls_sock_of(s);

	return !k || !k->why[0] ? TLS_FINE : k->verify.reason ? k->verify.reason : TLS_PROTOCOL;
}

bool tls_resumed(const struct sock *s)
{
	const struct tls_sock *k = tls_sock_of(s);

	return k && k->resumed;
}

const char *tls_version(const struct sock *s)
{
	const struct tls_sock *k = tls_sock_of(s);

	return k && k->ssl ? k->context->lib->SSL_get_version(k->ssl) : "";
}

const char *tls_alpn(const struct sock *s)
{
	struct tls_sock *k = tls_sock_of(s);
	const unsigned char *name = NULL;
	unsigned n = 0;

	if (k && k->ssl)
		k->context->lib->SSL_get0_alpn_selected(k->ssl, &name, &n);
	if (n == 0 || n >= sizeof(k->alpn))
		return "";
	memcpy(k->alpn, name, n);
	k->alpn[n] = 0;
	return k->alpn;
}

const char *tls_own_uri(const struct sock *s)
{
	const struct tls_sock *k = tls_sock_of(s);

	return k && k->context && k->context->cert && k->showed ? k->context->cert->uri : "";
}

const char *tls_kind(const struct sock *s)
{
	const struct tls_sock *k = tls_sock_of(s);

	if (!k)
		return "plain";
	if (k->server)
		return k->ssl && k->phase == TLS_OPEN && k->context->lib->SSL_get0_peer_certificate(k->ssl) ? "mtls" : "tls";
	return k->showed && k->phase == TLS_OPEN ? "mtls" : "tls";
}
