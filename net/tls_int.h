/* net/tls_int: what the three files of net/tls share: the files and sessions of a context (net/tls_context.c), the judgement of the peer's
 * certificate (net/tls_verify.c), the sock (net/tls.c).
 *
 *   tls_context 1 --- n tls_session (by server name, newest first, at most TLS_SESSIONS)
 *        ^ ref
 *   tls_sock 1 --- 1 SSL, 1 sock below it */
#pragma once
#include "base/list.h"
#include "net/tls.h"
#include "net/tls_lib.h"

/* A session is some KB (the ticket, the peer's chain). A ticket that is larger than any server in use makes it is not kept. */
enum { TLS_SESSIONS = 32, TLS_TICKET_MAX = 4096, TLS_WHY = 512, TLS_NAME_MAX = 255 };

struct tls_session { struct list node; char *name; SSL_SESSION *session; };
struct tls_context {
	uint32_t refs;
	struct tls_lib *lib;
	SSL_CTX *ssl;
	char **sans; size_t nsans;
	char *roots_file;        /* for texts; NULL: the system's */
	bool no_names, shows;    /* shows: a certificate of ours */
	int64_t expires;
	struct list sessions;    /* the one thing that changes: what servers gave us to come back with */
	uint32_t nsessions;
};
void tls_session_keep(struct tls_context *c, const char *name, SSL_SESSION *taken);
SSL_SESSION *tls_session_find(struct tls_context *c, const char *name, int64_t now); /* borrowed; NULL: none that is still good */
void tls_session_forget(struct tls_context *c, const char *name);
const char *tls_subject(const struct tls_lib *o, const X509_NAME *name, char *out, size_t cap); /* "CN=a,O=b", printable */
int64_t tls_time(const struct tls_lib *o, const ASN1_TIME *t); /* seconds since 1970 */

/* Called by OpenSSL for the chain of the peer: the chain first, then its names. What is wrong goes into why. */
struct tls_verify { struct tls_context *context; const char *server_name; int64_t now; char *why; size_t why_cap; };
bool tls_verify_chain(struct tls_verify *v, X509_STORE_CTX *x);
/* RFC 6125 6.4: is `wanted` what the certificate's DNS name `pattern` stands for? */
bool tls_dns_matches(struct str pattern, struct str wanted);

struct tls_verify *tls_verify_of(const struct tls_lib *o, SSL *ssl); /* net/tls.c: the verify of a connection under way */
