/* sidecar/local: answers of our own: a table of {method, path, handler}. A local answer is a struct stream (the UP end of an exchange), so deadlines,
 * back-pressure, access log and drain apply to it. Handlers run from a task of the loop, once the request's body has ended (its bytes are dropped). */
#pragma once
#include "net/loop.h"
#include "net/stream.h"
#include "sidecar/sidecar.h"

struct local_call {
	struct sidecar *sc;
	struct app *app;                /* NULL on the control socket */
	struct str method, path, query; /* of the request; path without query */
	const struct sock_cred *cred;   /* the caller's; known only on Unix sockets */
	bool read_only;                 /* the TCP twin of the control socket */
	int status;                     /* 200 */
	const char *type;               /* content-type; text/plain */
	struct sb body;
};
struct local_row { const char *method, *path; void (*fn)(struct local_call *c); bool changes; /* refused on a read-only door: 405 */ const char *help; };
extern const struct local_row local_app_rows[], local_control_rows[]; /* ended by a NULL path */

/* NULL: not a local path. A path that is there under another method gives a row that answers 405. */
const struct local_row *local_find(const struct local_row *rows, struct str method, struct str path);
/* The up end. cred: borrowed during the call; copied. */
struct stream *local_open(struct sidecar *sc, const struct local_row *row, struct app *app, const struct sock_cred *cred, bool read_only,
	const struct stream_events *ev, void *user);
/* Value of a query key: "level=debug&x=1". Empty when absent. */
struct str local_query(struct str query, const char *key);
