/* sidecar/cli_rates: calls and errors a second, from two pages of one daemon: what `thinmesh status --watch` keeps. Time is the daemon's own. Another process (a restart, a hot upgrade)
 * counts from 0: the first page of it has no rates. Owner: whoever watches. */
#pragma once
#include "base/map.h"

struct rates {
	struct map before, now;         /* name -> struct rate_counts, owned */
	uint64_t before_ms, now_ms, pid;
	bool fits;                      /* the page before is of the same process, and older */
};
void rates_init(struct rates *r);
void rates_end(struct rates *r);
void rates_begin(struct rates *r, uint64_t pid, uint64_t uptime_ms);  /* a new page */
/* Keeps these for the next page. True: both rates are known. */
bool rates_take(struct rates *r, struct str name, uint64_t calls, uint64_t errors, double *ret_calls, double *ret_errors);
void rates_text(struct sb *out, double a_second);                     /* "0", "0.5", "120" */
