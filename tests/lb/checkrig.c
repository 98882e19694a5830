/* tests/lb/checkrig: see the header. */
#include "tests/lb/checkrig.h"
#include <stdlib.h>
#include "conf/health.h"

static void take_host(struct check_rig *k, struct host *h)
{
	if (h->check == HOST_UNCHECKED || h->checks)
		return;
	h->checks = xalloc(1); /* that it is given back is what the leak sanitizer sees to */
	k->hosts++;
	if (h->check == HOST_PENDING && k->at_once != HOST_PENDING)
		host_set_check(h, k->at_once, false);
}

static void switched(void *ctx, struct cluster *c)
{
	struct check_rig *k = ctx;

	k->switched++;
	for (uint32_t i = 0; cluster_spec(c)->nchecks && i < cluster_endpoints(c); i++) {
		struct host *h = cluster_host_at(c, i);

		if (h)
			take_host(k, h);
	}
}

static void ended(void *ctx, struct cluster *c)
{
	(void)c;
	((struct check_rig *)ctx)->ended++;
}

static void host_gone(void *ctx, struct host *h)
{
	struct check_rig *k = ctx;

	k->gone++;
	k->hosts--;
	free(h->checks);
}

static void failed_now(void *ctx, struct host *h)
{
	struct check_rig *k = ctx;

	k->failed_now++;
	if (k->fails_now)
		host_set_check(h, HOST_FAILED, false);
}

static void traffic(void *ctx, struct cluster *c)
{
	(void)c;
	((struct check_rig *)ctx)->traffic++;
}

static const struct clusters_events events = {switched, ended, host_gone, failed_now, traffic};

void check_rig_begin(struct check_rig *k, struct lb_rig *r)
{
	k->rig = r;
	k->at_once = HOST_PENDING;
	clusters_set_events(r->clusters, &events, k);
}

struct cluster_spec *check_rig_spec(void)
{
	struct cluster_spec *s = lb_rig_spec();

	s->checks = xnew(struct health_check);
	s->nchecks = 1;
	health_check_default(s->checks);
	health_check_settle(s->checks);
	spec_seal(s);
	return s;
}

struct wanted {
	const char *text;
	struct host *found;
};

static void look(void *ctx, const struct host_view *v)
{
	struct wanted *w = ctx;

	if (v->host && strcmp(v->text, w->text) == 0)
		w->found = (struct host *)v->host;
}

struct host *check_rig_host(struct lb_rig *r, const char *text)
{
	struct wanted w = {.text = text};

	cluster_each_host(r->cluster, look, &w);
	return w.found;
}

void check_rig_say(struct lb_rig *r, const char *text, enum host_check check)
{
	for (uint32_t i = 0; !text && i < cluster_endpoints(r->cluster); i++)
		if (cluster_host_at(r->cluster, i))
			host_set_check(cluster_host_at(r->cluster, i), check, false);
	if (text)
		host_set_check(check_rig_host(r, text), check, false);
}

uint32_t check_rig_picks(struct lb_rig *r, const char *text, uint32_t n)
{
	uint32_t hits = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct host *h;

		if (cluster_pick(r->cluster, 0, NULL, &h) != PICK_OK)
			continue;
		hits += !text || strcmp(h->text, text) == 0;
		host_done(&h, HOST_OK);
	}
	return hits;
}
