/* tests/xds/xdsrig: an ads and a sub against control planes in memory (tests/flow/rig_ads.h), and what the sub told, as text. Owner: the test. */
#pragma once
#include "net/dns.h"
#include "net/reader.h"
#include "tests/flow/rig_ads.h"
#include "tests/flow/rig_ca.h"
#include "tests/unit.h"
#include "xds/ads.h"
#include "xds/sub.h"

#define MS UINT64_C(1000000)
#define SEC (1000 * MS)
#define ISTIOD "10.9.0.1:15010"
#define DEMO "demo.default.svc.cluster.local"
#define ECHO "echo.default.svc.cluster.local"
#define DEMO_CLUSTER "outbound|50051||" DEMO
#define ECHO_CLUSTER "outbound|50051||" ECHO

struct xdsrig {
	struct simnet *net;
	struct loop *loop;
	struct log *log;
	struct dns *dns;
	struct reader *reader;         /* of tokens */
	struct account account;        /* of the planes */
	struct limits limits;
	struct conf_xds conf;
	char *servers[4];
	struct plane *plane, *other;   /* other: a second one, NULL until xdsrig_other */
	struct ads *ads;
	struct sub *sub;
	/* TLS, where xdsrig_tls was called */
	struct transports *transports;
	struct authority *authority;
	struct tls_context *server;    /* the plane's, by the name istiod.istio-system.svc and 10.9.0.1 */
	struct tls_want *clients;
	struct secret_space space;     /* SECRET_IDENTITY: cert; SECRET_FILES: roots */
	struct secret *cert, *roots;   /* cert waits; NULL it, and there is no identity */
	/* what was told since the last xdsrig_told: "+EDS name" a resource, "-CDS name" removed, "EDS ok", "CDS ok full", "EDS refused", "silent EDS name", "up", "down", "cut" */
	struct sb told, last_told, logged;
	/* the resource that is being read */
	enum xds_type type;
	struct sb bytes;
	bool reading;
	const char *refuse;            /* a name that resource_end refuses; NULL: none */
	const char *reason;            /* of it */
	const char *wants_then;        /* an EDS name that is wanted inside of the next `answered`, once */
	bool refuse_begin;             /* resource_begin says no, with a reason */
	struct { enum xds_type type; char name[64]; uint64_t hash; } last[64]; uint32_t nlast; /* the newest bytes of short names */
	uint64_t taken;                /* bytes */
	uint32_t resources;
};
/* One plane at ISTIOD and the configuration for it; nothing runs yet. */
struct xdsrig *xdsrig_new(enum plane_kind kind, enum xds_profile profile, enum xds_protocol protocol);
struct xdsrig *xdsrig_new_seeded(enum plane_kind kind, enum xds_profile profile, enum xds_protocol protocol, uint64_t seed);
void xdsrig_start(struct xdsrig *r);                    /* makes ads and sub as r->conf says, and connects */
void xdsrig_free(struct xdsrig **r);                    /* and nothing is left */
struct plane *xdsrig_other(struct xdsrig *r, const char *at, enum plane_kind kind);
/* Before the start: xds.tls is on, the plane speaks it; roots are there, our certificate is not. */
void xdsrig_tls(struct xdsrig *r);
void xdsrig_put_cert(struct xdsrig *r, const char *uri);
void xdsrig_put_cert_for(struct xdsrig *r, const char *uri, int64_t life_s);
void xdsrig_put_roots(struct xdsrig *r, const char *pem);
struct tls_want *xdsrig_want_tls(bool identity);        /* as conf/ makes it */
void xdsrig_advance(struct xdsrig *r, uint64_t ms);
void xdsrig_settle(struct xdsrig *r);
const char *xdsrig_told(struct xdsrig *r);              /* and forgets it; "; " between */
void xdsrig_want(struct xdsrig *r, enum xds_type t, const char *name);
void xdsrig_unwant(struct xdsrig *r, enum xds_type t, const char *name);
uint64_t xdsrig_hash(const struct xdsrig *r, enum xds_type t, const char *name); /* str_hash of the newest bytes of it; 0: none came */
bool xdsrig_answered(struct xdsrig *r, enum xds_type t, const char *name);
