/* tests/health/fake: peers to be asked whether they are well, on a simulated network: one that says bytes by hand, and one that speaks HTTP/2.
 *
 *   fakes 1 --- n fake (a listener, and what it does) 1 --- n connections
 *
 * fakes owns all, until fakes_free, which looks that nothing is left: the process account at 0, no open end. What a fake does may be changed at any time. */
#pragma once
#include "base/str.h"
#include "health/probe.h"
#include "net/h2_conn.h"
#include "tests/sim/simnet.h"

#define MS UINT64_C(1000000)
#define SEC (1000 * MS)

struct fakes {
	struct simnet *net;
	struct loop *loop;
	struct limits lim;
	struct account account;        /* of the fakes */
	struct list all;
};
struct fake {
	struct list node;
	struct fakes *in;
	struct addr at;
	struct sock_listen *listen;    /* NULL: refused */
	bool h2;
	struct tls_context *tls;       /* borrowed; NULL: plaintext */
	struct tls_peer callers;       /* whom it accepts */
	/* by hand: say is sent once `after` has come (NULL: at once) */
	const char *after;
	struct str say;
	bool then_close, forever, keeps /* answers each `after` anew */;
	uint32_t drip_ms;              /* > 0: a byte each so many ms */
	/* HTTP/2: lines "name: value\n"; NULL trailers: the body ends the stream, NULL body and trailers: the head does */
	const char *head, *trailers;
	struct str body;
	bool hold;                     /* never answers */
	bool hold_end;                 /* head and body, and no end */
	bool reset; uint32_t code;
	bool cut;                      /* the connection ends at the request */
	bool goaway;                   /* says GOAWAY and answers all the same */
	/* what was seen */
	uint32_t accepted, requests, open, shaken;
	char alpn[64];                 /* agreed on by the last one with TLS */
	struct sb got;                 /* by hand: all bytes; HTTP/2: the last request's head as lines, then its body */
	struct list conns;
};
struct fakes *fakes_new(void);
void fakes_free(struct fakes **f);
struct fake *fake_new(struct fakes *f, const char *at, bool h2);
void fake_listen(struct fake *k, bool on);
uint32_t fake_cut(struct fake *k);         /* its connections die; how many */
void fake_goaway(struct fake *k);          /* on all of its connections, HTTP/2 */
/* HTTP/2: say it on each open stream (a watch): a message whole, with its five bytes. */
void fake_push(struct fake *k, const char *message, size_t n);
void fake_end(struct fake *k, const char *trailers);
/* A gRPC server that says this; the usual health service is fake_serves(k, 1). */
void fake_serves(struct fake *k, int status);
void fake_says_grpc(struct fake *k, const char *trailers); /* trailers-only */
void fakes_advance(struct fakes *f, uint64_t ns);
