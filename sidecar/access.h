/* sidecar/access: one line a call, text or JSON, to stderr or a file; off costs one branch. Lines are gathered and written once a turn, without
 * blocking; what does not fit is dropped and counted. Owner: sidecar. */
#pragma once
#include "conf/conf.h"
#include "sidecar/exchange.h"

struct access;
struct access *access_new(struct sidecar *sc);
void access_apply(struct access *a, const struct conf *c);
void access_reopen(struct access *a);
void access_free(struct access **a);
static inline bool access_on(const struct access *a) { return *(const int *)a != ACCESS_OFF; } /* kind is the first member */
void access_line(struct access *a, const struct exchange *x);
