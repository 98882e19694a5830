/* sidecar/pages: pages of the control socket that grow with the mesh: /status, /clusters, /stats. Services and endpoints are written in slices, at most PAGE_SLICE of them a turn, so
 * that calls never wait for somebody who looks; a page that fits into one slice is answered at once.
 *
 *   page_write(call, kind, more) --> begin --> slice, slice, ... (a task a turn) --> end --> the answer
 *
 * The page holds the clusters that were there when it began (cluster_hold), so none of them ends under it; what comes meanwhile is not in it. Its text is charged to the process from the
 * second slice on: a refusal is answered 503. Owner of a page: itself, until it is answered or nobody waits any more. */
#pragma once
#include "lb/cluster.h"
#include "sidecar/local.h"

enum {
	PAGE_SLICE = 256,          /* services and endpoints; some 500 us */
	PAGE_ENDPOINTS = 1000,     /* of a service, where nothing else is asked for (?endpoints=N, ?endpoints=all) */
	PAGE_ENDPOINTS_ALL = 20000 /* of all services, likewise */
};
struct page;
struct page_kind {
	void (*begin)(struct page *p);
	/* Writes of the service at p->at, and moves it on when that is done; returns what it has cost in services and endpoints, at least 1. */
	uint32_t (*slice)(struct page *p, struct cluster *c, uint32_t most);
	void (*end)(struct page *p);
	const char *type;
};
struct page {
	struct sidecar *sc;            /* borrowed */
	const struct page_kind *kind;
	struct sb body;
	struct cluster **clusters; uint32_t count; /* held; those that were asked for (?service=) */
	uint32_t at;                   /* the present one */
	struct host_walk hosts;        /* within it */
	uint32_t told, told_all;       /* endpoints of it; of all */
	uint32_t most, most_all;       /* bounds of these */
	uint32_t round;                /* slice's own: the page may go through the services more than once */
	struct sb word;                /* ?service=: what a name has to have in it; empty: all */
	struct local_later *later;     /* NULL: the first slice */
	size_t charged;
	struct task task;
};
void page_write(struct local_call *c, const struct page_kind *kind);
/* For slices: tells the next endpoints of the present service, as far as `most` and the page's bounds allow. False: that was the last, or there may be no more. */
bool page_hosts(struct page *p, struct cluster *c, uint32_t most, void (*fn)(void *ctx, const struct host_view *v), uint32_t *ret_told);
void page_next(struct page *p);    /* moves on to the next service */
