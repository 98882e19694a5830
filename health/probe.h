/* health/probe: one question, one verdict: is this address well? HTTP/1.1 and HTTP/2, gRPC Check and Watch, TCP, Unix, a program. Knows neither clusters nor apps: health/checker
 * asks of providers, health/life of the app itself, and both decide what follows.
 *
 *   probe_start --> (a lent connection | its own: dial, h1_client, sock, a child) --> done(verdict, why), exactly once, never before probe_start returned
 *
 * Owner of a probe: who started it; after done, or once probe_cancel returned, it is gone (its own connection too, unless `keep` took it over). The timeout is kept here.
 * Whatever the other side says is hostile: at most response_buffer bytes of a body are kept, at most 64 KiB of head are read, garbage is PROBE_BAD. */
#pragma once
#include "base/limits.h"
#include "conf/health.h"
#include "net/dial.h"
#include "net/loop.h"
#include "net/transport.h"

enum probe_verdict {
	PROBE_PASSED,
	PROBE_DEGRADED,      /* passed, with x-envoy-degraded */
	PROBE_FAILED,        /* could not connect, lost, timed out, a retriable status: counts against the threshold */
	PROBE_BAD,           /* a definite bad answer (status, NOT_SERVING, wrong payload, garbage): fails at once */
	PROBE_VOID,          /* says nothing: GOAWAY before it was processed, the lent connection went away, the clock jumped meanwhile: ask again at once */
	PROBE_ALIVE,         /* gRPC: no health service there (UNIMPLEMENTED, 404), and check.unimplemented says that this is alive */
};
struct probe;
struct h1_client;
/* A connection of a probe's own, kept between two (check.reuse_connection); either may go at any time. Of TLS: neither outlives the roots that its peer was judged by. */
struct probe_keep { struct h2_conn *h2; struct h1_client *h1; struct transport *transport; /* counted; NULL: plaintext */ struct transport_watch watch;
	char *tls_host; /* by which it was asked for; NULL: by none, or it does not matter */ };
struct probe_spec {
	struct loop *loop;                     /* borrowed, all */
	const struct limits *limits;
	struct account *account;
	const struct health_check *check;      /* lives as long as the probe */
	const struct addr *addrs; uint32_t naddrs; /* copied */
	const char *host;                      /* :authority, where the check says none: the cluster's name */
	const char *endpoint_host;             /* the endpoint's own (health_check_config.hostname): wins over what the check says; NULL: it has none */
	struct transport *transport;           /* of its own connection: TLS by it (a ref is taken; it waits for secrets that have not come); NULL: plaintext */
	const char *tls_host;                  /* with it: the endpoint's own name, as net/dial's host_name; NULL */
	struct transport_asker asker;          /* for whom, as net/dial's; its ctx lives as long as the probe */
	struct h2_conn *lent;                  /* gRPC and HTTP/2: a connection that stands already; NULL: its own */
	struct probe_keep **keep;              /* NULL: its own connection is closed. Else where it is kept (NULL at first), owned by the caller: probe_keep_close */
};
typedef void probe_done_fn(void *user, enum probe_verdict v, const char *why /* "": passed; a sentence; valid in fn only */);
/* NULL: no memory (done is not called); counts as a void one. */
struct probe *probe_start(const struct probe_spec *spec, probe_done_fn *done, void *user);
void probe_cancel(struct probe **p);       /* accepts NULL; no event follows */
void probe_keep_close(struct probe_keep **k);
bool probe_keep_fits(const struct probe_keep *k, const struct probe_spec *spec); /* a probe by this one may use it: the same transport, the same name where that matters */
/* gRPC Health/Watch: stays open, on a connection of its own (on a lent one it would keep that from being verified, retired and closed); changed is called with each status: PROBE_PASSED
 * or PROBE_BAD. It is gone after PROBE_FAILED (lost, refused, silent: a PING each interval must be answered within the timeout), PROBE_VOID (GOAWAY) and PROBE_ALIVE (there is no such
 * method: to be asked by probe_start, whose check says what follows). */
struct probe *probe_watch(const struct probe_spec *spec, probe_done_fn *changed, void *user);
