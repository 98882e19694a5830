/* sidecar/page_stats: GET /stats, Prometheus text in Envoy's vocabulary. A metric of a service or of an app is a row of a table here; those without labels are rows of base/stats.def. */
#pragma once
struct local_call;
struct sb;
void page_stats(struct local_call *c);
void page_label(struct sb *b, const char *key, const char *value); /* key="value", escaped */
