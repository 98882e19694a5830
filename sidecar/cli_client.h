/* sidecar/cli_client: one request and its answer, for the commands. A loop, a dial and a stream that live as long as cli_exchange runs; the caller
 * gives a loop of its own (a test: one where the other side lives, too). */
#pragma once
#include "net/loop.h"
#include "net/stream.h"

struct cli_field { struct str name, value; };
struct cli_request {
	struct addr to;
	const char *socket;                      /* the same in words; borrowed, as all of these */
	const char *method;
	struct str authority, path;              /* authority empty: none is sent */
	const struct cli_field *fields;
	size_t nfields;
	struct str body;                         /* empty: the head ends the request */
	uint64_t timeout_ns;                     /* for all of it; 0: for ever */
	const bool *stop;                        /* looked at after each turn: true ends it; NULL: nobody does */
};
struct cli_events {
	void (*on_head)(void *user, struct fields *head);
	bool (*on_bytes)(void *user, const char *p, size_t n); /* false: that is enough, the call is cancelled */
	void (*on_trailers)(void *user, struct fields *trailers);
};
/* 0: the answer came whole (or on_bytes had enough); else -1 and a sentence in why, with what to try. */
int cli_exchange(struct loop *l, const struct cli_request *rq, const struct cli_events *ev, void *user, struct sb *why);

/* A page of ours: its HTTP status, body appended to ret_body (at most CLI_BODY_MAX); negative: why is filled. */
int cli_fetch(struct loop *l, const struct cli_request *rq, struct sb *ret_body, struct sb *why);
/* The same in a loop of its own: its HTTP status, body appended to ret_body (at most CLI_BODY_MAX). Negative: told on stderr already. */
enum { CLI_BODY_MAX = 64 << 20 };
int cli_ask(const char *command, const char *socket, const struct addr *to, const char *method, const char *path, uint64_t timeout_ns, struct sb *ret_body);
