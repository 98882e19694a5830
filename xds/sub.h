/* xds/sub: what is subscribed at one control plane, and the two protocol forms over it (state of the world, delta: small ops in sub_sotw.c, sub_delta.c).
 *
 *   store --sub_want(type, name)--> sub --requests, once a turn--> ads --> server
 *   store <--sub_events------------ sub <--inflow (resource by resource)-- ads <-- server
 *
 * Names of a type are gathered in a turn and go out together. An answer is acknowledged when its last resource was taken (ACK), or refused with all
 * the reasons in one text (NACK); valid resources of a refused answer are kept (per resource accept). Rules: envoy.md 1h, istio.md 1.3 and 1.8.
 * Owner: a view of xds/xds. */
#pragma once
#include "base/err.h"
#include "conf/conf.h"
#include "net/loop.h"

struct ads;
struct sub;
enum xds_type { XDS_LDS, XDS_RDS, XDS_CDS, XDS_EDS, XDS_SDS /* secrets: named only, and never in resources, archive or dump */, XDS_TYPES };
extern const char *const xds_type_url[XDS_TYPES];    /* "type.googleapis.com/envoy.config.listener.v3.Listener" ... */
extern const char *const xds_type_name[XDS_TYPES];   /* "LDS" ... */
int xds_type_of(struct str url);                      /* -1: none of them */

struct sub_events {
	/* An answer begins. One before it that was not `answered` was cut off, or was nobody's: what it brought stays, what it lacked says nothing. */
	void (*begins)(void *ctx);
	/* One resource: begin, its bytes in pieces as they come (Any.value), end. name: what delta says, empty in state of the world. n: bytes of the whole.
	 * false: not wanted, its bytes are skipped (too large for the memory that is left: say so in problems). */
	bool (*resource_begin)(void *ctx, enum xds_type t, struct str name, size_t n, struct sb *problems);
	void (*resource_bytes)(void *ctx, const void *p, size_t n);
	/* Accepted: 0. Refused: negative, and "name: field: reason" appended to problems (separated by "; "). ret_name: what the resource is called. */
	int (*resource_end)(void *ctx, struct sb *problems);
	/* The stream ended in the middle of a resource, or it comes twice in its answer: forget it. */
	void (*resource_cut)(void *ctx);
	void (*removed)(void *ctx, enum xds_type t, struct str name);          /* delta: removed_resources */
	/* All of an answer was seen. full: it is the whole state of its type (state of the world, LDS and CDS; in the istio profile also the first one of a wildcard over delta, where no
	 * versions are known): what was not in it is gone; but a wanted name for which sub_is_answered is false was perhaps asked too late for it. refused: it was NACKed. */
	void (*answered)(void *ctx, enum xds_type t, bool full, bool refused, struct str version);
	/* A wanted name got no answer within 15 s after it was asked (envoy.md 1h 7), or was missing in a full answer that may have crossed its request, and still is 250 ms later.
	 * Never in the istio profile, where the answer always comes. */
	void (*silent)(void *ctx, enum xds_type t, struct str name);
	/* The stream is up (its first answer came) or not (why: static or ads' own text). Once a transition. */
	void (*state)(void *ctx, bool up, const char *why);
};
struct sub_spec {
	struct loop *loop; struct log *log; struct ads *ads;  /* borrowed; sub is the ads' only user */
	const struct conf_xds *conf;                          /* borrowed; replaced by sub_conf */
	const void *node; size_t node_n;                      /* the serialised Node (xds/node), for the first message of each stream; copied */
	const char *view;                                     /* for log lines */
};
/* Takes the ads' events and says which RPC it calls; before ads_start. */
struct sub *sub_new(const struct sub_spec *spec, const struct sub_events *ev, void *ctx);
/* Answers of that type, and the stream's state, go (also) there: resource_*, removed, answered, silent; state. Before anything of the type is wanted; ev NULL: to where all the others go. */
void sub_route(struct sub *s, enum xds_type t, const struct sub_events *ev, void *ctx);
void sub_free(struct sub **s);     /* before its ads, which tells nobody from then on */
/* Another configuration or node: for the streams to come (ads_conf makes one). */
void sub_conf(struct sub *s, const struct conf_xds *conf, const void *node, size_t node_n);
const char *sub_protocol(const struct sub *s);   /* "delta", "sotw" */
/* Counted: a name stays subscribed until it was unwanted as often. */
void sub_want(struct sub *s, enum xds_type t, struct str name);
void sub_unwant(struct sub *s, enum xds_type t, struct str name);
/* Everything of the type ("*"; state of the world: the empty list as first word). Once asked it stays for the stream. */
void sub_wildcard(struct sub *s, enum xds_type t, bool on);
/* State of the world: all of the type is asked for once more, and the next answer is the whole. For servers whose pushes are only what changed (Nacos). */
void sub_again(struct sub *s, enum xds_type t);
/* Has the name been answered on the present stream (resource, removal, or by absence)? */
bool sub_is_answered(const struct sub *s, enum xds_type t, struct str name);
/* For initial_resource_versions (delta) and ACKs: the version that was accepted last is kept here, by type and name. */
/* One message outside of the four types (HealthInformation): goes out after the first ordinary request of the stream, in the same turn where there was one; again after a reconnect. */
/* type_url NULL: nothing is to be said any more. */
void sub_say(struct sub *s, const char *type_url, int error_code /* 0: none */, const char *error_text);
/* It waits for a request of this type besides; -1: any will do. For what stands between us and the server (istio.md 2.1.6). */
void sub_say_after(struct sub *s, int type);
/* taken: the kernel has what was said last. Not: the stream that carried it is gone, and had never answered: nobody may have heard it. */
void sub_on_said(struct sub *s, void (*fn)(void *ctx, bool taken), void *ctx);
/* ignored: answers of the type that nobody had asked for on their stream. */
struct sub_info { uint32_t wanted; bool wildcard; char version[64]; uint64_t success, rejected, bytes, ignored; char last_reject[160]; };
void sub_info(const struct sub *s, enum xds_type t, struct sub_info *ret);
