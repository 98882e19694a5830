/* sidecar/page_status: GET /status (JSON: what `thinmesh status` shows) and GET /clusters (the same of services and endpoints as text). Written in slices (sidecar/pages); of a large
 * service those endpoints come first that are not well, and endpoints_total says how many there are. ?service=WORD: services whose name has it; ?endpoints=N or all. */
#pragma once
struct local_call;
void page_status(struct local_call *c);
void page_clusters(struct local_call *c);
