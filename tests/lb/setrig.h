/* tests/lb/setrig: endpoint sets in one line of text.
 *
 *	"10.0.0.1:1 10.0.0.2:1*50!d%b~3^1#7+tls host.example:1"
 *
 * Blanks between endpoints; behind the address (or alternates, by commas): *weight, !u unhealthy, !d draining, !g degraded, !h healthy, %zone,
 * ~weight of the zone, ^priority, #incarnation, +value of the metadata's tlsMode, =off not to be checked. Neighbours of one zone, weight and priority are one group. */
#pragma once
#include "conf/spec.h"

/* metas: only needed where a + or = is in the text. old: gives its blocks where they are equal (each group is one, named by its text); NULL: none. */
struct endpoint_set *set_text(const char *text, struct endpoint_metas *metas, const struct endpoint_set *old);
/* count endpoints of weight 1, 10.1.0.1:1 and on, in blocks of 128 that an old set shares; `but` (UINT32_MAX: none) has another weight. */
struct endpoint_set *set_range(uint32_t count, uint32_t but, const struct endpoint_set *old);
