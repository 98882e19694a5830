/* xds/dump: /config_dump: what a view holds, as JSON for people and their tools: names with their routes, clusters with their endpoints, resources with
 * hash, state and the reason of the last refusal. Decoded content in our own words, not the control plane's bytes. */
#pragma once
#include "base/str.h"

struct view;
void dump_view(struct view *v, struct sb *out);
