/* sidecar/local: answers of our own: a table of {method, path, handler}. A local answer is a struct stream (the UP end of an exchange), so deadlines,
 * back-pressure, access log and drain apply to it. Handlers run from a task of the loop, once the request's body has ended, or after a second of it (its bytes are
 * dropped; on an app's own doors more than LOCAL_BODY_MAX of them are answered 413). */
#pragma once
#include "net/loop.h"
#include "net/stream.h"
#include "sidecar/sidecar.h"

enum { LOCAL_BODY_MAX = 65536 };
struct uds_client;
struct local_later;
struct local_call {
	struct sidecar *sc;
	struct app *app;                /* NULL on the control socket */
	struct str method, path, query; /* of the request; path without query */
	const struct sock_cred *cred;   /* the caller's; known only on Unix sockets */
	struct uds_client *client;      /* of an app's own door; NULL elsewhere */
	bool is_grpc;                   /* the request is gRPC's */
	bool as_grpc;                   /* set by a handler: the answer shall be one that gRPC understands: an empty message, or a status that says what `status` says with the body as its text */
	bool read_only;                 /* the TCP twin of the control socket */
	int status;                     /* 200 */
	const char *type;               /* content-type; text/plain */
	struct sb body;
	struct local_later *later;      /* local_call_defer's */
};
struct local_row { const char *method, *path; void (*fn)(struct local_call *c); bool changes; /* refused on a read-only door: 405 */ const char *help; };
extern const struct local_row local_app_rows[], local_control_rows[]; /* ended by a NULL path */

/* In a handler: the answer comes later, by local_call_answer. `cancelled` tells that nobody waits any more (the caller, his deadline or the drain's has ended the stream): nothing may be answered then. */
struct local_later *local_call_defer(struct local_call *c, void (*cancelled)(void *user), void *user);
/* fill makes the answer, as a handler does; the handle is gone then. */
void local_call_answer(struct local_later *later, void (*fill)(struct local_call *c, void *user), void *user);

/* NULL: not a local path. A path that is there under another method gives a row that answers 405. */
const struct local_row *local_find(const struct local_row *rows, struct str method, struct str path);
/* The up end. cred: borrowed during the call; copied. */
struct stream *local_open(struct sidecar *sc, const struct local_row *row, struct app *app, struct uds_client *client, const struct sock_cred *cred, bool read_only,
	const struct stream_events *ev, void *user);
/* The next pair of a query ("a=1&b"): a key without '=' has an empty value. False: there is none. */
bool local_query_next(struct str *query, struct str *ret_key, struct str *ret_value);
/* Value of a query key: "level=debug&x=1". Empty when absent. */
struct str local_query(struct str query, const char *key);
