/* xds/notes: what routes say that has no effect in this version, and what they ask for that cannot be done: each word once, for the log and /config_dump. Pure. */
#pragma once
#include "conf/route.h"

/* Appended, "; " between two; cut (with "...") where they grow beyond what a line of the log may hold. Either may be NULL. */
void notes_of_routes(const struct route_config *c, struct sb *without_effect, struct sb *unsupported);
