/* conf/conf: the configuration of the daemon, read whole, immutable, counted.
 *
 * Rows of conf/conf.def drive parsing, errors ("FILE:LINE:COLUMN: key: what is wrong, what was expected", nearest known key for a typo),
 * --print-conf and the man page. A reload reads a new struct conf beside the old one; sidecar compares by `hash` what changed. What a
 * version cannot do yet it refuses with its place. */
#pragma once
#include "base/addr.h"
#include "base/err.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/map.h"
#include "conf/health.h"
#include "conf/route.h"
#include "conf/spec.h"
#include "conf/yaml.h"

struct conf_allow { uint32_t *ids; uint32_t count; };
struct conf_listen {
	bool is_unix;
	char *text;               /* as written: "/run/x.sock", "@name", "127.0.0.1:15051" */
	struct addr addr;
	uint32_t mode;            /* 0660 */
	char *group;              /* NULL: leave */
	struct conf_allow allow_uid, allow_gid; /* both empty: whoever can open it */
	bool trusted;             /* x-envoy-* obeyed; default: true on Unix sockets, false on TCP */
	char *default_authority;  /* NULL */
	char *place;              /* FILE:LINE, for messages */
};
struct conf_pair { char *from, *to; };    /* alias.from, and both `to`: cleaned authorities (conf/authority); paths.from: a service of a :path */
/* Who the app is in the mesh (apps[].identity). Exactly one of its kinds. */
enum identity_kind { IDENTITY_NONE, IDENTITY_FILES, IDENTITY_SDS, IDENTITY_CA };
struct conf_identity {
	enum identity_kind kind;
	uint64_t hash;                /* of all but place; 0 with NONE */
	char *service_account;        /* "default" */
	char *trust_domain;           /* NULL: that of the certificate; for a CSR "cluster.local" */
	char **aliases; uint32_t naliases;
	struct { char *cert, *key, *roots, *crl; } files;       /* roots NULL: the system's; crl NULL: none */
	struct { char *server; char *cert, *roots; } sds;       /* "unix:/path"; names of the two secrets: "default", "ROOTCA" */
	struct {
		char *server;             /* "istiod.istio-system.svc:15012", "unix:/path" */
		char *roots, *server_name; char **san; uint32_t nsan; /* how the CA itself is verified; roots NULL: the system's; server_name NULL: its host */
		char *token_file;         /* NULL: none, then cert and key are needed to begin with */
		char *cert, *key;         /* what is shown to the CA until the first answer, where there is no token (VMs); NULL */
		char *cluster_id;         /* metadata ClusterID: "Kubernetes" */
		char *signer;             /* CertSigner; NULL */
		uint64_t ttl_ns;          /* that is asked for: 24h */
		char *output;             /* folder for cert-chain.pem, key.pem (0600), root-cert.pem; NULL: nothing is written */
	} ca;
	char *place;                  /* NULL: it was not written, it is that of the bootstrap */
	unsigned wrote;               /* conf's own: which keys stand in its map */
};
/* A certificate provider of gRPC's bootstrap. Those that are no file_watcher have a plugin name and nothing else: they are not built. */
struct conf_instance { char *name, *plugin; char *cert, *key, *roots, *bundle_map; /* NULL: not named; bundle_map: spiffe_trust_bundle_map_file, not built */ };
/* Calls that come in encrypted (apps[].inbound[].tls), by the app's identity. */
enum inbound_tls { INBOUND_PLAIN, INBOUND_PERMISSIVE /* by the first byte */, INBOUND_STRICT };
struct conf_allow_peer { char **ids; uint32_t nids; char **paths; uint32_t npaths; }; /* ids: SPIFFE ids, "*" at the end (or alone) as prefix; paths likewise; empty: any */
/* Calls to the app: where they come in (any address: they are not the app's), and where its own server is. */
struct conf_inbound {
	bool is_unix; char *text; struct addr addr; uint32_t mode;   /* in */
	struct cluster_spec *spec; struct endpoint_set *endpoints; struct route_action *action; /* of `to`; owned refs; the cluster's name: "inbound|APP|TEXT" */
	enum inbound_tls tls; struct tls_want *want;                 /* want: what callers have to show; owned ref; NULL when plain */
	struct conf_allow_peer *allow; uint32_t nallow;              /* who may call what; none: everybody who was let in */
	char *place;
};
struct conf_need { char *name; uint32_t percent; };   /* a service as the app calls it; how many of its providers must be healthy for the app to be ready */
struct conf_app_health {
	struct conf_listen *listen; uint32_t listens;   /* for kubelet and remote checkers; any address */
	char **services; uint32_t nservices;            /* names under which grpc.health.v1 is asked there about the app; with those of `paths` */
	struct conf_need *needs; uint32_t nneeds;       /* in the order of the file */
	struct health_check *check;                     /* of the app itself; owned; NULL: none */
	char *check_place;                              /* FILE:LINE, for messages; NULL: none */
	struct conf_allow allow_uid, allow_gid;         /* who may post ok and fail; both empty: whoever may call */
	uint64_t gone_after_ns;                         /* the last connection of the app is gone for so long: it fails; 0: off */
	bool watch;                                     /* processes that carry calls are watched; true */
	bool passthrough;                               /* grpc.health.v1 goes to the provider */
	uint32_t posts;                                 /* a second, ok and fail together: beyond it 429 */
};
struct conf_app {
	uint64_t hash;
	char *name, *namespace_;
	struct conf_listen *listen; uint32_t listens;
	struct conf_pair *alias; uint32_t aliases;   /* sorted by from: conf_pair_find */
	struct conf_pair *paths; uint32_t npaths;
	struct conf_inbound *inbound; uint32_t ninbound;
	struct conf_app_health health;
	struct conf_identity identity;
	char *place;
};
char *conf_spiffe_id(const struct conf_app *a); /* "spiffe://cluster.local/ns/default/sa/shop", owned by the caller */
struct conf_service {
	uint64_t hash;
	char *name;               /* normalised: lower case, no trailing dot */
	struct cluster_spec *spec; struct endpoint_set *endpoints; struct route_action *action; /* owned refs */
	char *place;
};
/* The control plane (`xds:`). No servers: none. */
enum xds_profile { PROFILE_ISTIO, PROFILE_ISTIO_GRPC, PROFILE_GENERIC, PROFILE_TEMPLATE, PROFILE_CONSUL };
enum xds_protocol { PROTOCOL_AUTO, PROTOCOL_SOTW, PROTOCOL_DELTA };
struct conf_xds {
	char **servers; uint32_t nservers;      /* "host:port", "ip:port", "unix:/path"; in order */
	enum xds_profile profile;
	enum xds_protocol protocol;
	struct {
		bool on;                          /* TLS, but never to a unix: server. token_file alone and every server on this machine: off, the token is sent all the same */
		char *roots, *cert, *key;         /* files; NULL: the system's roots, none, none */
		char *token_file, *server_name;   /* server_name NULL: the server's host */
		char **san; uint32_t nsan;
		/* A certificate of an app's identity is shown: of identity_app, or (NULL) of the app that the view is of. Not demanded: a view whose app has none shows none. */
		bool identity, identity_demanded, identity_wrote;
		char *identity_app;
		/* All of this, sealed; owned refs; NULL where it is off. bare: the same with nothing of an identity shown (token first, or an app without one). The name to be found, where neither
		 * san nor server_name is written, is the server's host. */
		struct tls_want *want, *bare;
	} tls;
	bool bootstrap;                         /* the server is that of gRPC's bootstrap, and so is the identity of apps that have no other */
	struct conf_pair *headers; uint32_t nheaders; /* further metadata of the stream; names lower case */
	struct {
		char *id, *cluster, *region, *zone, *sub_zone; /* NULL: made from the environment */
		char *metadata;                   /* the map as JSON text; NULL: none */
	} node;
	char **prefetch; uint32_t nprefetch;    /* cleaned authorities with port */
	uint64_t idle_ns, removal_hold_ns;
	uint32_t names;                         /* that callers may make a view want at once */
	bool wildcard, cds;                     /* cds: off derives plain defaults (istio) */
	char *cluster_template;                 /* profile template: "outbound|{port}||{host}"; {host} {port} {app} (first label) {namespace} (second label) */
	bool template_eds_only;
	uint64_t connect_timeout_ns;
	uint64_t hash;                          /* of all */
};
enum access_kind { ACCESS_OFF, ACCESS_TEXT, ACCESS_JSON };
struct conf {
	uint32_t refs;
	struct conf_app *apps; uint32_t napps;
	struct conf_service *services; uint32_t nservices;
	struct { char *unix_path; uint32_t mode; char *group; bool has_tcp; struct addr tcp; char *tcp_text; } control; /* unix_path NULL: none */
	char *mesh_domain;
	struct { uint64_t time_ns; uint32_t calls; uint64_t bytes; } park; /* calls, bytes: of an app; of all four times as many */
	struct conf_xds xds;
	struct conf_identity identity;     /* of apps that say nothing else; kind NONE: none is written. Apps have theirs already: nobody else looks here */
	struct conf_instance *instances; uint32_t ninstances; /* of gRPC's bootstrap, where `xds` is written */
	char *snapshot_dir;                /* NULL: off */
	struct { uint64_t announce_ns, deadline_ns, takeover_ns; } drain;
	struct limits limits;
	struct { enum log_level level; enum access_kind access; char *file, *access_file; } log;
	char **folders; uint32_t nfolders; /* of -c DIR: watched */
	uint64_t hash;                     /* over all but apps, services and folders: what a reload cannot give to one app or service alone */
};
/* paths: -c arguments, files or folders (of a folder: *.yaml in name order). count 0: the embedded default. Always returns a whole struct or
 * NULL with every problem in e. */
struct conf *conf_load(char *const *paths, size_t count, yaml_env_fn *env, void *env_ctx, struct err *e);
struct conf *conf_load_text(const char *file, const char *text, yaml_env_fn *env, void *env_ctx, struct err *e);
static inline struct conf *conf_ref(struct conf *c) { c->refs++; return c; }
void conf_unref(struct conf **c);
const struct conf_instance *conf_instance_find(const struct conf *c, const char *name); /* NULL: none of that name */
const struct conf_pair *conf_pair_find(const struct conf_pair *sorted, uint32_t count, struct str from); /* NULL: none */
void conf_print_defaults(struct sb *out);   /* --print-conf: every key with its default and help, valid YAML */
void conf_limits_default(struct limits *l);
const char *conf_embedded(void);            /* the embedded default file: a static directory */
