/* tests/flow/rig_ca: an authority (a key and its certificate), the papers that it gives, and a CA service of Istio's kind on the in-memory network that signs what it is asked.
 *
 *   a = authority_new("mesh", now_s);  authority_leaf(a, &how, &chain, &key);           papers as PEM text
 *   ca = ca_new(net, account, "10.9.0.9:15012", a, tls server context);                 istio.v1.auth.IstioCertificateService/CreateCertificate (istio.md 3.1)
 *
 * The service takes tokens (ca.token) and client certificates, gives the name of who asks (ca.identity) or else the one of the request, and can be wrong in all the ways of struct ca_quirks.
 * Knows a loop and an account, not the rig. Owner: whoever made it; the authority outlives the service. */
#pragma once
#include "base/map.h"
#include "net/h2_conn.h"
#include "net/tls.h"
#include "tests/sim/simnet.h"

/* ---- papers ---- */
struct authority;
struct authority *authority_new(const char *cn, int64_t now_s);                         /* its certificate: ten years around now */
struct authority *authority_below(struct authority *above, const char *cn);            /* an intermediate; borrows nothing */
void authority_free(struct authority **a);
const char *authority_pem(const struct authority *a);                                  /* its own certificate */
enum { PAPER_BOTH, PAPER_CLIENT, PAPER_SERVER, PAPER_CODE /* neither role of TLS */ };
struct paper {
	const char *sans;      /* "URI:spiffe://a/b,DNS:x,IP:10.0.0.1"; NULL: none */
	int64_t from_s, to_s;  /* relative to the authority's now; 0, 0: two minutes ago, a day */
	int usage;             /* PAPER_BOTH ... */
	bool rsa;
};
/* Appends PEM: the leaf (and not the authority's own), and its new key. */
void authority_leaf(struct authority *a, const struct paper *how, struct sb *chain, struct sb *key);
/* Of a request (PEM): 0; -1 what it holds is none, or is not signed by its key. uri: instead of the request's own SAN; NULL: that. ret_uri: the request's, appended. */
int authority_sign(struct authority *a, const char *csr_pem, const char *uri, int64_t from_s, int64_t to_s, struct sb *chain, struct sb *ret_uri);
void authority_set_now(struct authority *a, int64_t now_s);

/* ---- the service ---- */
struct ca_quirks {
	int refuse; const char *refuse_text;   /* grpc-status for every request */
	bool mute;                             /* takes the request, answers nothing */
	bool one_entry, no_entry;              /* of cert_chain */
	bool other_key;                        /* signs another key than the request's */
	bool no_message;                       /* OK without one */
	bool two_messages;
	const char *garbage; uint32_t garbage_n; /* this message instead */
	uint32_t huge;                         /* announces a message of so many bytes */
	int64_t from_s, to_s;                  /* of what it gives, relative to now; 0, 0: two minutes ago, the time that was asked for */
	bool no_roots;                         /* the last entry is no certificate */
};
struct ca {
	struct loop *loop;
	struct account *account;
	struct limits lim;
	struct addr at;
	struct authority *authority;           /* borrowed; who signs */
	const char *above;                     /* PEM between the leaf and the roots; "" */
	const char *roots;                     /* PEM; what it sends as the last entry */
	struct tls_context *tls;               /* counted; NULL: plain text */
	struct tls_want *clients;              /* whom TLS accepts: anybody with a chain to the context's trust, or without a certificate */
	struct sock_listen *listen;
	struct list conns;
	struct ca_quirks quirks;
	const char *token;                     /* that it takes; NULL: any */
	bool stalled;                          /* takes connections, and says and hears nothing on them */
	bool demands;                          /* a token or a client certificate is needed */
	const char *identity;                  /* of who asks; NULL: whatever the request says */
	uint32_t delay_ms;
	/* what it saw */
	uint32_t requests, accepted, signed_n;
	char last_token[256], last_uri[512], last_peer[512], last_cluster[64], last_signer[64], last_head[2048];
	uint64_t last_validity_s;
	uint64_t last_key_hash;                /* of the request's text: a new key each time */
};
struct ca *ca_new(struct loop *loop, struct account *account, const char *at, struct authority *authority, struct tls_context *tls);
void ca_listen(struct ca *ca, bool on);
void ca_cut(struct ca *ca);
void ca_end(struct ca *ca);                /* closes all; what dies needs some turns */
void ca_free(struct ca **ca);
/* The context of a server for it: a paper of `a` for sans; clients: who signs theirs, NULL: nobody is asked. */
struct tls_context *ca_tls(struct authority *a, const char *sans, const char *client_roots_pem);
