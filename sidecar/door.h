/* sidecar/door: a set of doors of an app through which others come in: callers of the app (sidecar/inbound), who asks about its health (sidecar/health_door). What the two have in
 * common: which lines of the configuration are open, what a reload keeps, and how a door leaves.
 *
 *   door_set 1 --- n door 1 --- 1 uds_listener 1 --- n client
 *
 * A line that did not change keeps its door, connections included; how callers are encrypted is no part of that: it changes under an open door, for connections to come. A door that leaves gives its address up at once, tells its connections to go (HTTP/2: two-phase GOAWAY, HTTP/1 closes) and
 * is closed when the last of them has ended. Owner of a set: the room that has it; of a door: its set. */
#pragma once
#include "sidecar/app.h"

struct door_set;
/* A line of the configuration. Texts are borrowed from it: the set holds the configuration as long. */
struct door_line {
	const void *line;              /* struct conf_inbound, struct conf_listen: what door->line will be */
	const char *text, *place, *group; /* group NULL: leave */
	bool is_unix;
	struct addr addr;
	uint32_t mode;
	const struct conf_allow *uids, *gids; /* NULL: whoever can open it */
};
struct door {
	struct door_set *set;
	struct uds_listener *listener;
	const void *line;              /* in `whole` */
	const char *text;
	struct conf *whole;            /* counted */
	uint64_t key;                  /* of all that is fixed when it is opened */
	struct list node;              /* among those that leave */
	struct task end_task;
};
struct door_kind {
	const char *what;              /* "calls to it", for the log: "app 'shop': takes calls to it on '0.0.0.0:20880'" */
	struct uds_events ev;          /* on_request's user: struct door; on_idle = door_idle */
	bool asks;                     /* who comes asks about the app, and may do so with more memory in use than who calls it */
	void (*closed)(struct door_set *s, const struct door *d); /* it is out of the set, and freed behind this; may be NULL */
	/* How callers of a line are encrypted: a server's transport, counted for the caller, and whether plaintext comes in as well. NULL: plaintext; with *why: it should be, and cannot. NULL: plaintext. */
	struct transport *(*transport)(struct door_set *s, const void *line, bool *permissive, const char **why);
};
struct door_set {
	struct app *app;               /* borrowed: owner of the owner */
	const struct door_kind *kind;
	struct door **doors; uint32_t count; /* between apply and open with holes */
	struct door_line *lines; uint32_t nlines;
	struct conf *whole;            /* counted: the lines lie in it */
	struct list leaving;
};
void door_set_init(struct door_set *s, struct app *a, const struct door_kind *kind);
void door_set_apply(struct door_set *s, struct conf *whole, struct door_line *lines_taken, uint32_t n); /* as app_apply: leaves what is not listed any more */
void door_set_open(struct door_set *s, struct err *err);
void door_set_drain(struct door_set *s);     /* no new connections; those that are there are told to go */
void door_set_send_off(struct door_set *s);  /* those that are there are told to go; new ones are welcome */
void door_set_close(struct door_set *s);     /* ends connections now */
void door_set_end(struct door_set *s);       /* after close */
uint32_t door_set_clients(const struct door_set *s); /* of those that leave too */
bool door_set_is_idle(const struct door_set *s);     /* nobody is connected, and none leaves any more */
bool door_set_each(const struct door_set *s, bool (*fn)(void *ctx, const struct door *d), void *ctx); /* until fn says true; those that leave too */
void door_set_json(const struct door_set *s, struct sb *out); /* {"address": ..., "connections": ..., "tls": ...}, ... of those that are open */
void door_idle(void *user);
