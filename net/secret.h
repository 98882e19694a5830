/* net/secret: a certificate with its key, or a bundle of roots, that changes with time: what there is now, who waits for it, who is told of the next one.
 *
 *   provider (files, SDS, CSR, ADS) --secret_put_cert, secret_put_trust, secret_fail--> secret --watches--> transport (contexts), CSR (renewal), pages
 *
 * A secret is made by its provider's space when somebody asks, and lives while somebody holds it. What it has stays until something better comes: a failing provider, an expired or
 * unreadable successor take nothing away (reliability: the last good one is used to its end). Counted; owner: whoever holds a ref. */
#pragma once
#include "base/list.h"
#include "net/loop.h"
#include "net/tls.h"
#include "net/tls_want.h"

struct transports;           /* net/transport.h: the process's; all secrets are listed there */
enum secret_state {
	SECRET_WAITING,      /* nothing has come yet, and it is being asked for: who needs it waits */
	SECRET_FAILING,      /* nothing has come yet, and the last try failed: who needs it fails with `why` */
	SECRET_READY,        /* there is one (perhaps with a `why`: its successor cannot be had) */
};
struct secret_watch { struct list node; void (*fn)(struct secret_watch *w); struct secret *secret; };
struct secret {
	uint32_t refs;
	enum secret_kind kind;
	enum secret_state state;
	char *name;                  /* for people, and what providers know it by: "default", "/etc/certs/cert-chain.pem" */
	char *asked;                 /* where its provider knows it by another one than people; NULL */
	char *source;                /* for people: "sds unix:/run/spire.sock", "files", "ca istiod:15012" */
	struct tls_cert *cert;       /* SECRET_CERT: counted; NULL: none yet */
	struct tls_trust *trust;     /* SECRET_ROOTS */
	uint64_t generation;         /* grows with each put of something else than before */
	uint64_t put_wall_ns;        /* when that was */
	uint64_t failures, puts;
	char *why;                   /* the last failure since the last put; NULL: none */
	uint8_t warned;              /* how much of its end people were told (sidecar/expiry); 0 with each new one */
	/* private */
	struct transports *all;
	struct list node, watches;
	struct tls_lib *guard;       /* SECRET_CERT: no core is dumped while somebody asks for one: its bytes are in buffers before they are a key */
	void (*gone)(void *ctx, struct secret *s);
	void *ctx;                   /* the provider's own */
};
/* refs 1, WAITING. gone: nobody holds it any more (called once, before it is freed); may be NULL. Texts copied. */
struct secret *secret_new(struct transports *all, enum secret_kind kind, const char *name, const char *source, void (*gone)(void *ctx, struct secret *s), void *ctx);
static inline struct secret *secret_ref(struct secret *s) { s->refs++; return s; }
void secret_unref(struct secret **s);        /* accepts NULL inside */
/* fn in the turn in which something was put, or the state changed, from inside of the provider's call; never from inside of secret_watch. May unwatch itself and others, and let go of the secret. */
void secret_watch(struct secret *s, struct secret_watch *w, void (*fn)(struct secret_watch *w));
void secret_unwatch(struct secret_watch *w); /* harmless when not watching */
/* For providers. Equal material (tls_cert_same, tls_trust_same) changes nothing and tells nobody but clears `why`. A certificate that has expired already, or begins later than clocks differ,
 * is refused where the one in use is still good: -EKEYEXPIRED with *why (static); to say so by secret_fail is the provider's. */
enum { SECRET_EARLY_S = 300 };               /* Istio's CA dates back by two minutes for it */
int secret_put_cert(struct secret *s, struct tls_cert *taken, const char **why);
int secret_put_trust(struct secret *s, struct tls_trust *taken, const char **why);
void secret_fail(struct secret *s, const char *why);
void secret_ask_as(struct secret *s, const char *name);       /* who fills it from now on knows it by this one; NULL: by its own */
/* The provider is another one from now on (a reload): source and its own; what there is stays. The one before is told gone: the secret is none of its any more. Where nothing had come yet, who
 * needs it waits for the new provider, whatever the old one had failed with. A provider that ends lets go of what it gave out by handing it to nobody (its own source, gone NULL), and is not told. */
void secret_hand(struct secret *s, const char *source, void (*gone)(void *ctx, struct secret *s), void *ctx);

/* All problems in one line, for secret_fail. */
enum { SECRET_WHY = 1000 };
const char *secret_why(const struct err *err, char out[SECRET_WHY]);

/* Where a name leads. One a view and one for static services; implemented by sidecar/identities (and by tests). */
struct secret_space {
	/* The secret, counted for the caller, made and asked for where it was not there. NULL with *why (lives as long as the space): there can be none. */
	struct secret *(*get)(void *ctx, const struct secret_ref *ref, const char **why);
	void *ctx;
	const char *trust_domain;                        /* NULL: that of the certificate that is shown */
	const char *const *aliases; uint32_t naliases;
};
