/* conf/schema: reads YAML nodes into structs by the rows of conf/conf.def, and tells what is wrong in the words of a person's file.
 *
 *   schema_read(map, node)   the map's rows --> values at their places; keys that no row has, and values that a row cannot take, are told
 *   conf_take_*              (conf/declare_*.c) what is more than a value: lists, and what must fit together
 *
 * One struct schema a load; it lives on conf_load's stack. Nothing here stops at the first problem. */
#pragma once
#include "conf/conf.h"

enum schema_map {
	MAP_ROOT, MAP_CONTROL, MAP_MESH, MAP_APP, MAP_LISTEN, MAP_ALLOW, MAP_SERVICE, MAP_ENDPOINT, MAP_RETRIES, MAP_BACKOFF, MAP_BREAKERS, MAP_PARK,
	MAP_DRAIN, MAP_SNAPSHOT, MAP_LIMITS, MAP_LOG,
	MAP_XDS, MAP_XDS_TLS, MAP_NODE, MAP_LOCALITY,
	MAP_INBOUND, MAP_APP_HEALTH, MAP_HEALTH_LISTEN, MAP_HEALTH_ALLOW, MAP_APP_CHECK, MAP_APP_HTTP, MAP_APP_GRPC,
	MAP_CHECK, MAP_CHECK_GRPC, MAP_CHECK_HTTP, MAP_CHECK_TCP, MAP_OUTLIER,
	MAP_IDENTITY, MAP_IDENTITY_SDS, MAP_IDENTITY_CA, MAP_INBOUND_TLS, MAP_INBOUND_ALLOW, MAP_SERVICE_TLS,
	/* Below a LIST row, but no maps with rows of their own: --print-conf writes what schema_sample gives. */
	MAP_SCALARS, MAP_ALIAS = MAP_SCALARS, MAP_PATHS, MAP_IDS, MAP_RETRY_ON, MAP_STATUSES,
	MAP_SERVER, MAP_SERVERS, MAP_SAN, MAP_HEADERS, MAP_METADATA, MAP_PREFETCH,
	MAP_TO, MAP_TO_UNIX, MAP_ARGV, MAP_APP_EXPECT, MAP_EXPECT, MAP_RETRIABLE, MAP_CHECK_FIELDS, MAP_CHECK_REMOVE, MAP_PAYLOAD, MAP_RECEIVE,
	MAP_IDENTITY_DEFAULT, MAP_TRUST_DOMAINS, MAP_CA_SERVER, MAP_XDS_IDENTITY, MAP_SAN_RULES, MAP_PEER_IDS, MAP_PEER_PATHS, MAP_HEALTH_SERVICES, MAP_HEALTH_NEEDS,
};
enum schema_kind { KIND_SECTION, KIND_LIST, KIND_TAKEN, KIND_LATER, KIND_TEXT, KIND_WORD, KIND_BOOL, KIND_FLAG, KIND_COUNT, KIND_BYTES, KIND_BYTES64, KIND_TIME, KIND_MODE, KIND_PERCENT };
enum schema_initial { INITIAL_NONE, INITIAL_IS, INITIAL_SHOW, INITIAL_ASK };

struct schema;
typedef void schema_take_fn(struct schema *s, const struct yaml *node, void *base);
/* Texts by their place among all of them, not by pointer: a table of pointers is relocated at each start and is then memory of this process alone (14 KiB of it). */
struct schema_row {
	uint8_t map, kind, below, how; /* enums schema_map, schema_kind, schema_map, schema_initial */
	uint16_t at;                   /* offset of the value in the struct of its map */
	uint16_t key, initial, help;   /* schema_row_text() of them; "" where there is none */
	uint16_t low, high;            /* bounds, written as a person would; WORD: low is the list of words */
};
extern const struct schema_row schema_rows[];
extern const uint32_t schema_row_count;
const char *schema_row_text(uint16_t place);

/* What is read before it is judged. Owned by the conf_take_ function on whose stack it lies. */
struct draft_listen { char *unix_path, *tcp, *group, *default_authority; uint32_t mode; int trusted; struct conf_allow uid, gid; };
struct draft_inbound { char *tcp, *unix_path, *to; uint32_t mode; int tls_mode, client_certificate; struct conf_inbound *in; /* borrowed: takes tls and allow */ };
struct draft_identity { struct conf_identity of; char *token; };
struct draft_tls { char *roots, *crl, *sni, *identity, *alpn; int min, max; bool insecure; struct tls_want *want; };
struct draft_endpoint { char *address, *zone; uint32_t weight; };
struct draft_service { char *name; struct cluster_spec spec; struct retry_policy retry; uint64_t timeout_ns; struct endpoint_set *endpoints; struct tls_want *want; };
/* A draft's spec.checks and spec.outlier are its own until the service's spec takes them. */

enum {
	CONF_APPS_MAX = 1000, CONF_SERVICES_MAX = 10000, CONF_ENDPOINTS_MAX = 100000, CONF_LISTENS_MAX = 64 /* an app */, CONF_PAIRS_MAX = 10000 /* an app */,
	CONF_IDS_MAX = 1024, CONF_FILES_MAX = 10000, CONF_SECTIONS_MAX = 32,
	CONF_XDS_SERVERS_MAX = 16, CONF_XDS_HEADERS_MAX = 64, CONF_XDS_SANS_MAX = 64, CONF_XDS_PREFETCH_MAX = 10000, CONF_INBOUND_MAX = 64 /* an app */,
	CONF_ALIASES_MAX = 64 /* trust domains */, CONF_RULES_MAX = 64 /* names of a certificate */, CONF_ALLOW_MAX = 1024 /* an inbound socket */, CONF_INSTANCES_MAX = 64,
	CONF_HEALTH_SERVICES_MAX = 64 /* an app; few enough for one answer of Health/List */, CONF_HEALTH_SERVICE_BYTES = 256, CONF_HEALTH_NEEDS_MAX = 64 /* an app */,
};
struct schema_place { const char *file; uint32_t order; int line, column; }; /* file NULL: nowhere */
struct schema {
	struct conf *conf;               /* being filled */
	struct problems *problems;
	const char *file;                /* being read */
	yaml_env_fn *env;
	void *env_ctx;
	struct sb path;                  /* "apps[0].listen[1].unix" */
	struct map apps, services, listens; /* name or address -> place, borrowed from conf: who is defined twice */
	uint32_t endpoints;              /* of all services so far */
	uint32_t apps_cap, services_cap; /* of conf's arrays */
	struct schema_place sections[CONF_SECTIONS_MAX]; /* by row of MAP_ROOT: where it was set first */
};

/* Defaults of all rows of the map and of the sections below it. */
void schema_init(struct schema *s, enum schema_map map, void *base);
void schema_read(struct schema *s, enum schema_map map, const struct yaml *node, void *base);
/* A value of a list, in the row's own words; false: told. */
bool schema_count(struct schema *s, const struct yaml *node, uint64_t low, uint64_t high, uint64_t *ret);
bool schema_text(struct schema *s, const struct yaml *node, struct str *ret);
bool schema_is_list(struct schema *s, const struct yaml *node, const char *of);

/* The path that messages carry: pushing gives the mark that popping takes. */
size_t schema_push(struct schema *s, const char *key);
size_t schema_push_index(struct schema *s, size_t i);
void schema_pop(struct schema *s, size_t mark);
void schema_problem(struct schema *s, const struct yaml *at, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void schema_section_problem(struct schema *s, const char *section, const char *fmt, ...) __attribute__((format(printf, 3, 4))); /* wherever it was set */
char *schema_place(const struct schema *s, const struct yaml *node); /* "FILE:LINE", owned by the caller */
/* "; did you mean 'x'?" for the nearest of the names (next(ctx, i): the i-th, NULL behind the last), or "". */
const char *schema_nearest(struct str word, const char *(*next)(void *ctx, uint32_t i), void *ctx, char *buf, size_t cap);

/* conf/declare_app.c, conf/declare_service.c, conf/declare_xds.c */
schema_take_fn conf_take_apps, conf_take_listens, conf_take_alias, conf_take_paths, conf_take_uids, conf_take_gids, conf_take_services, conf_take_endpoints,
	conf_take_retry_on, conf_take_statuses, conf_take_xds_server, conf_take_xds_servers, conf_take_xds_san, conf_take_xds_headers, conf_take_xds_prefetch,
	conf_take_node_metadata, conf_check_xds;
/* conf/declare_health.c, conf/declare_check.c */
schema_take_fn conf_take_inbound, conf_take_health_listens, conf_take_health_services, conf_take_health_needs, conf_take_health_uids, conf_take_health_gids, conf_take_app_check, conf_take_app_http, conf_take_app_grpc,
	conf_take_app_tcp, conf_take_app_unix, conf_take_exec, conf_take_expect, conf_take_retriable, conf_take_check, conf_take_check_grpc, conf_take_check_http,
	conf_take_check_tcp, conf_take_check_fields, conf_take_check_remove, conf_take_send, conf_take_receive, conf_take_outlier;
/* conf/declare_identity.c, conf/declare_tls.c */
schema_take_fn conf_take_identity, conf_take_default_identity, conf_take_identity_sds, conf_take_identity_ca, conf_take_trust_domains, conf_take_ca_server, conf_take_ca_san,
	conf_take_service_tls, conf_take_san_rules, conf_take_inbound_tls, conf_take_inbound_allow, conf_take_peer_ids, conf_take_peer_paths, conf_take_xds_identity;
void conf_identity_end(struct conf_identity *id);
void conf_identity_finish(struct schema *s);     /* parts of conf_finish: who has which identity; what asks for one */
void conf_tls_finish(struct schema *s);
void conf_inbound_tls_settle(struct schema *s, const struct yaml *node, const struct conf_inbound *in);   /* all keys of the door have been read, and were right */
void conf_inbound_tls_end(struct conf_inbound *in);
uint64_t conf_inbound_tls_hash(const struct conf_inbound *in, uint64_t seed);
void conf_instances_end(struct conf_instance **list, uint32_t *count);
void conf_app_end(struct conf_app *a);
void conf_listen_end(struct conf_listen *l);
/* conf/declare_health.c: of inbound and health, parts of conf_app_end and of an app's hash */
void conf_app_health_end(struct conf_app *a);
void conf_app_health_settle(struct conf_app *a); /* what needs the app's name; before its hash */
uint64_t conf_app_health_hash(const struct conf_app *a, uint64_t seed);
void conf_inbound_finish(struct schema *s);      /* part of conf_finish */
void conf_service_end(struct conf_service *v);
void conf_xds_end(struct conf_xds *x);
uint64_t conf_xds_hash(const struct conf_xds *x);
/* What must fit together across sections and files, once all are read. */
void conf_finish(struct schema *s);
