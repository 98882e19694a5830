/* sidecar/cli_status_int: what the parts of `thinmesh status` share: cli_status_page.c (the daemon, the order of things), _apps.c, _services.c, _planes.c. Each reads its part of the page
 * front to back with sidecar/cli_json; keys that this version does not know are skipped, so that an older client may look at a newer daemon. */
#pragma once
#include "sidecar/cli_json.h"
#include "sidecar/cli_rates.h"
#include "sidecar/cli_status.h"
#include "sidecar/cli_table.h"

enum { STATUS_NAME_MOST = 46 }; /* so that a row of the services' table fits into 100 columns beside its numbers */

struct status {
	struct json r;
	struct sb key, text, value; /* scratch: the key just read, a text, another */
	struct sb *out;             /* borrowed */
	struct rates *rates;        /* borrowed; NULL: one page knows none */
	uint64_t now_ms;
	bool colour;
};
static inline bool status_key(struct status *s) { return json_key(&s->r, &s->key); }
static inline bool status_key_is(const struct status *s, const char *name) { return str_is(sb_view(&s->key), name); }
/* A text cut back to 0 bytes still has its old ones: n says whether there is any. */
static inline const char *status_z(const struct sb *b) { return b->p && b->n ? b->p : ""; }
void status_span(struct sb *out, uint64_t s);                       /* "1h 2m" */
void status_note(struct sb *out, const char *before, const char *text); /* one more, behind a comma */
enum cli_tone status_tone(struct str state);
/* A line of its own below a row. */
void status_below(struct cli_table *t, enum cli_tone tone, const char *text);
/* Goes back to where `at` stood (an object or a list that was skipped), reads it by fn, and comes back. */
void status_again(struct status *s, struct json at, void (*fn)(struct status *s, void *user), void *user);

void status_apps(struct status *s);
void status_services(struct status *s);
void status_planes(struct status *s);
