/* net/tls_int: what the files of net/tls share.
 *
 *   tls_lib (the process's) <--ref-- tls_cert, tls_trust <--ref-- tls_context 1 --- n tls_session (what servers gave us to come back with)
 *                                                                   ^ ref
 *                                                                tls_sock 1 --- 1 SSL, 1 sock below it
 *
 *   tls_pem      PEM texts, and what people read of certificates     tls_cert, tls_trust  material
 *   tls_context  a SSL_CTX of both          tls_session  resumption  tls_verify  is the peer who we think it is?   tls_names  one name, one rule
 *   tls          the sock                   tls_peer     what is told of a connection                               tls_csr    our own key */
#pragma once
#include <string.h>
#include "base/list.h"
#include "net/tls.h"
#include "net/tls_lib.h"

enum {
	TLS_WHY = 512, TLS_NAME_MAX = 255, TLS_TEXT_MAX = 200,
	TLS_PEM_MAX = 4 << 20, TLS_CERTS_MAX = 4096, TLS_CHAIN_MAX = 32,
	TLS_DEPTH_MAX = 16,        /* intermediates of a peer's chain; meshes have one or two */
	TLS_SANS_MAX = 1000,       /* of a peer; what browsers trust has a hundred, meshes one */
	TLS_MESSAGE_MAX = 65536,   /* of certificates that a peer shows: TLS_DEPTH_MAX of RSA 8192 */
	TLS_KEPT_MAX = 16384,      /* of certificates in a session that is kept */
	TLS_NOISE_MAX = 131072,    /* of what comes after the handshake and brings nothing (tickets, key updates) */
	TLS_URI_MAX = 2048,        /* SPIFFE-ID 2.3 */
	TLS_SESSIONS = 512,        /* of a context; one is some KB (the ticket, the peer's certificate), most of which a connection that is open shares */
	TLS_SESSION_LISTS = 64,    /* they are found by their key's */
	TLS_SESSIONS_EACH = 2,     /* of one peer: a server that is left by two connections at once is come back to by both */
	TLS_TICKET_MAX = 4096,     /* no server in use makes a larger one */
};

/* ---- tls_pem ---- */
/* The next block of PEM, cut out of *left; label: "CERTIFICATE". False: no further one. Texts of keys are copied nowhere. */
bool tls_pem_next(struct str *left, struct str *label, struct str *block);
const char *tls_pem_reason(const struct tls_lib *o);            /* what OpenSSL found wrong last */
const char *tls_subject(const struct tls_lib *o, const X509_NAME *name, char *out, size_t cap); /* "CN=a,O=b", printable */
int64_t tls_time(const struct tls_lib *o, const ASN1_TIME *t);  /* seconds since 1970 */
void tls_add_clean(char *out, size_t cap, struct str s);        /* appends what somebody wrote: printable ASCII only, cut with "..." */
/* SHA-256 of the whole: what tells material apart is compared by it, for whoever makes material can make two of one short hash. */
struct tls_id { unsigned char sha[32]; };
static inline bool tls_id_eq(const struct tls_id *a, const struct tls_id *b) { return memcmp(a->sha, b->sha, sizeof(a->sha)) == 0; }
struct tls_id tls_x509_id(const struct tls_lib *o, const X509 *x);
static inline uint64_t tls_id_hash(const struct tls_id *id)
{
	uint64_t h;

	memcpy(&h, id->sha, sizeof(h));
	return h;
}
static inline struct str tls_asn1_text(const struct tls_lib *o, const ASN1_STRING *s)
{
	int n = o->ASN1_STRING_length(s);
	return str_n((const char *)o->ASN1_STRING_get0_data(s), n > 0 ? (size_t)n : 0);
}
/* Encrypted files would make OpenSSL ask at the terminal: a pem_password_cb that says no, and notes in its bool that it was asked. */
int tls_pem_no_password(char *buf, int size, int writing, void *asked);

/* ---- material ---- */
struct tls_cert {
	uint32_t refs;
	struct tls_lib *lib;
	X509 *leaf;
	X509 *chain[TLS_CHAIN_MAX]; uint32_t nchain;  /* behind the leaf */
	EVP_PKEY *key;
	struct tls_id id_of_all;     /* of leaf and chain */
	int64_t not_before, not_after;
	char *id;                    /* tls_cert_id */
	char *uri;                   /* its first URI SAN; "" */
};
/* A CRL, and whose key has signed it (SHA-256 of that key): signatures are looked at once, for a CRL may be megabytes. */
struct tls_crl { X509_CRL *crl; struct tls_id id; unsigned char signer[32]; bool signer_known; };
struct tls_bundle {
	char *domain;                /* NULL: any peer */
	X509_STORE **stores; uint32_t nstores; /* the first has all roots but those of a name that it has already: see net/tls_trust */
	X509 **certs; uint32_t ncerts;
	struct tls_crl *crls; uint32_t ncrls;
	struct tls_id *ids;          /* of certs */
};
struct tls_trust {
	uint32_t refs;
	struct tls_lib *lib;
	char *what;                  /* for texts */
	struct tls_bundle *bundles; uint32_t nbundles;
	uint64_t hash;
	bool system;                 /* what is in it is on a disk */
	int64_t expires;             /* the first root that ends, */
	int64_t until;               /* and when somebody is trusted by nothing any more; 0: unknown */
	const X509 *last;            /* which ends then, borrowed from its bundle */
	const char *last_domain;
};
/* "spiffe://TD/..." or "spiffe://TD": TD; else empty. */
struct str tls_uri_domain(struct str uri);

struct tls_verify;
/* ---- sessions ---- */
struct tls_session { struct list node /* of its key's list */, by_age; uint64_t key; int64_t ends; bool once, showed; SSL_SESSION *session; };
struct tls_context {
	uint32_t refs;
	struct tls_lib *lib;
	SSL_CTX *ssl;
	struct tls_cert *cert;
	struct tls_trust *trust;
	bool server, no_client_cert, expired_ok;
	unsigned char alpn[256]; uint32_t alpn_n; /* as on the wire */
	struct list sessions[TLS_SESSION_LISTS], by_age; /* newest last: the one thing that changes */
	uint32_t nsessions;
};
void tls_session_begin(struct tls_context *c);
/* key: of the peer's rules, its name and its address. showed: a certificate of ours is in it. */
void tls_session_keep(struct tls_context *c, uint64_t key, bool showed, SSL_SESSION *session, const struct tls_verify *v);
SSL_SESSION *tls_session_take(struct tls_context *c, uint64_t key, int64_t now, bool *ret_showed, int64_t *ret_ends); /* owned by the caller; NULL: none that is still good */
void tls_session_forget(struct tls_context *c, uint64_t key);

/* ---- tls_verify, tls_names ---- */
struct tls_verify { struct tls_context *context; struct tls_peer peer; int64_t now, ends /* of the chain that was judged, now or for the session; INT64_MAX: never */; char *why; size_t why_cap; enum tls_reason reason; /* of why; TLS_FINE: of the protocol, where there is a why */ };
/* Called by OpenSSL for the chain of the peer: the chain first, then its names and pins. What is wrong goes into why. */
bool tls_verify_chain(struct tls_verify *v, X509_STORE_CTX *x, SSL *ssl);
/* Of a resumed connection, whose chain was judged under the same context: everything that may have become different since. leaf NULL: it showed none. */
bool tls_verify_again(struct tls_verify *v, X509 *leaf);
/* RFC 6125 6.4: is `wanted` what the certificate's DNS name `pattern` stands for? */
bool tls_dns_matches(struct str pattern, struct str wanted);
bool tls_name_is(const struct tls_lib *o, const GENERAL_NAME *name, struct str wanted);
bool tls_rule_fits(const struct tls_lib *o, const struct tls_want *want, const struct tls_rule *rule, const GENERAL_NAME *name);
bool tls_name_text(const struct tls_lib *o, const GENERAL_NAME *name, char *ip_text, size_t cap, struct str *ret); /* DNS, URI, email, IP; false: another kind */
void tls_rule_say(const struct tls_rule *rule, char *out, size_t cap); /* appends "DNS suffix 'x'" */

int tls_session_came(SSL *ssl, SSL_SESSION *session);        /* net/tls.c, called by OpenSSL: the server of a connection gave a session */
struct tls_verify *tls_verify_of(const struct tls_lib *o, SSL *ssl); /* net/tls.c: the verify of a connection under way */

/* ---- the sock ---- */
enum tls_phase { TLS_SHAKING, TLS_OPEN, TLS_OVER };
struct tls_told { char *uri /* the first; all others behind it, each with its NUL */; uint32_t nuris; char *name, *subject; char hash[65]; };   /* of the peer's leaf; made when somebody asks, one charged block */
enum { TLS_PIECES = 4, TLS_RECORD_MAX = 16384 };
struct tls_piece { uint32_t end, plain; };
struct tls_sock {
	struct sock s;
	struct sock *under;          /* owned */
	struct tls_context *context; /* a ref */
	struct account *account;     /* borrowed */
	SSL *ssl;
	BIO *rbio, *wbio;            /* the SSL's */
	BUF_MEM feed;                /* what rbio reads: in, or a buffer of whoever is reading right now */
	char *in, *out;              /* charged; NULL: nothing */
	size_t out_n, out_at, out_cap;
	/* Records in out whose plaintext is not taken yet: where each ends there, and how much plaintext it has. */
	struct tls_piece pieces[TLS_PIECES];
	uint32_t npieces;
	size_t done;                 /* plaintext that is out, and was not told as taken yet */
	struct tls_verify verify;
	uint64_t session_key;
	char *server_name;           /* "" where there is none */
	struct tls_told *told;       /* charged; NULL: nobody has asked */
	uint32_t noise;              /* bytes that came and brought nothing */
	int write_err;               /* what the sock below said to a write; 0: nothing yet */
	int end;                     /* what recv says from now on, where ended */
	enum tls_phase phase;
	bool server;
	bool ended, more, closed, started, resumed, write_waits_for_read;
	bool showed;                 /* our certificate went to the peer, now or in the session that was resumed */
	bool heard;                  /* something that was not TLS's own came */
	bool drained;                /* nothing is there to be read below: the last read was short */
	bool held;                   /* out is the end of a client's handshake, which waits for the user's first bytes; release: until then */
	struct task start, retell;
	struct dirty release;
	struct grave grave;
	char alpn[64];               /* tls_alpn's text */
	char why[TLS_WHY];
};
struct tls_sock *tls_sock_of(const struct sock *s); /* NULL: not TLS */
void tls_told_free(struct tls_sock *k);              /* net/tls_peer */
