/* sidecar/pages: see the header. */
#include "sidecar/pages.h"
#include <stdlib.h>
#include <string.h>

/* ---- what is asked for ---- */

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Names of a mesh have bars in them, which a path may not have as they are. */
static void unquote(struct str s, struct sb *out)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0) {
			sb_char(out, (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2])));
			i += 2;
		} else {
			sb_char(out, s.p[i]);
		}
	}
}

static bool page_query(struct local_call *c, struct page *p)
{
	struct str endpoints = local_query(c->query, "endpoints");
	uint64_t n;
	p->most = PAGE_ENDPOINTS;
	p->most_all = PAGE_ENDPOINTS_ALL;
	unquote(local_query(c->query, "service"), &p->word);
	if (!endpoints.n)
		return true;
	if (str_is(endpoints, "all"))
		n = UINT32_MAX;
	else if (!str_u64(endpoints, &n) || n > UINT32_MAX)
		return false;
	p->most = p->most_all = (uint32_t)n;
	return true;
}

static void page_take(void *ctx, struct cluster *c, const struct cluster_view *v)
{
	struct page *p = ctx;
	if (p->word.n && !memmem(v->name, strlen(v->name), p->word.p, p->word.n))
		return;
	if ((p->count & (p->count + 1)) == 0) /* full at 0, 1, 3, 7 ... */
		p->clusters = xrealloc(p->clusters, (2 * (size_t)p->count + 1) * sizeof *p->clusters);
	cluster_hold(c);
	p->clusters[p->count++] = c;
}

/* ---- slices ---- */

static void page_free(struct page *p)
{
	loop_undefer(&p->task);
	for (uint32_t i = 0; i < p->count; i++)
		cluster_release(&p->clusters[i]);
	mem_give(&p->sc->loop->memory, p->charged);
	free(p->clusters);
	sb_end(&p->word);
	sb_end(&p->body);
	free(p);
}

static void page_cancelled(void *user)
{
	page_free(user);
}

/* True: the page is whole. */
static bool page_goes(struct page *p)
{
	uint32_t left = PAGE_SLICE;
	while (p->at < p->count) {
		uint32_t cost;
		if (!left)
			return false;
		cost = p->kind->slice(p, p->clusters[p->at], left);
		left -= cost < left ? cost : left;
	}
	p->kind->end(p);
	return true;
}

static void page_fill(struct local_call *c, void *user)
{
	struct page *p = user;
	c->type = p->kind->type;
	c->body = p->body;
	p->body = (struct sb){0};
	page_free(p);
}

static void page_no_memory(struct local_call *c, void *user)
{
	page_free(user);
	c->status = 503;
	sb_str(&c->body, "there is no memory for a page of that size; ?service= and ?endpoints= ask for less\n");
}

static bool page_charge(struct page *p)
{
	size_t more = p->body.cap - p->charged;
	if (p->body.cap <= p->charged)
		return true;
	if (!mem_try(&p->sc->loop->memory, more))
		return false;
	p->charged += more;
	return true;
}

static void page_task(struct task *t)
{
	struct page *p = container_of(t, struct page, task);
	if (!page_charge(p))
		local_call_answer(p->later, page_no_memory, p);
	else if (page_goes(p))
		local_call_answer(p->later, page_fill, p);
	else
		loop_defer(p->sc->loop, &p->task, page_task);
}

void page_write(struct local_call *c, const struct page_kind *kind)
{
	struct page *p = xnew(struct page);
	p->sc = c->sc;
	p->kind = kind;
	if (!page_query(c, p)) {
		c->status = 400;
		sb_str(&c->body, "?endpoints=N or ?endpoints=all is expected\n");
		page_free(p);
		return;
	}
	clusters_each(p->sc->clusters, page_take, p);
	kind->begin(p);
	if (page_goes(p)) {
		page_fill(c, p);
		return;
	}
	p->later = local_call_defer(c, page_cancelled, p);
	loop_defer(p->sc->loop, &p->task, page_task);
}

bool page_hosts(struct page *p, struct cluster *c, uint32_t most, void (*fn)(void *ctx, const struct host_view *v), uint32_t *ret_told)
{
	uint32_t before = p->told, left = p->most > p->told ? p->most - p->told : 0, left_all = p->most_all > p->told_all ? p->most_all - p->told_all : 0;
	bool more = true;
	if (most > left)
		most = left;
	if (most > left_all)
		most = left_all;
	if (most)
		more = cluster_walk_hosts(c, &p->hosts, most, fn, p); /* fn counts p->told */
	*ret_told = p->told - before;
	p->told_all += *ret_told;
	return more && most && p->told < p->most && p->told_all < p->most_all;
}

void page_next(struct page *p)
{
	p->at++;
	p->told = 0;
	p->hosts = (struct host_walk){0};
}
