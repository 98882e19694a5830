/* net/h1_client: one HTTP/1.1 request and its answer, for health probes (and nothing else: calls go over HTTP/2). Reads a head of at most 64 KiB, content-length, chunked and
 * until-close bodies; what is kept of a body is its owner's matter. Strict: any doubt is -EBADMSG. Keep-alive where both sides allow it.
 * Owner: who opened it. */
#pragma once
#include "net/fields.h"
#include "net/sock.h"

struct h1_client;
struct h1_client_events {
	void (*on_head)(void *user, int status, struct fields *head);
	void (*on_body)(void *user, const char *p, size_t n);
	/* Exactly once a request. err: 0: whole; -EBADMSG, ERR_LIMIT: what came is no answer, or too large a head (why says it, static text); else the connection was lost. */
	void (*on_done)(void *user, int err, const char *why, bool reusable);
};
/* Takes the connected sock over. NULL: the account refused; the sock is closed. */
struct h1_client *h1_client_new(struct loop *l, struct sock *taken, struct account *a);
/* One at a time; no event before it returns. 0; -EINVAL; -ENOMEM; ERR_CLOSED where it is not open. on_head is told once (1xx are swallowed), it and the rest may close. method, target, host and fields (name: value, no CR LF: checked, -EINVAL) are borrowed for the call. */
int h1_client_send(struct h1_client *c, const char *method, const char *target, const char *host, const struct str (*fields)[2], uint32_t nfields, const void *body, size_t n,
	const struct h1_client_events *ev, void *user);
bool h1_client_is_open(const struct h1_client *c); /* between two requests: the other side has neither closed nor said anything unasked */
void h1_client_close(struct h1_client **c);   /* no event follows; accepts NULL */
