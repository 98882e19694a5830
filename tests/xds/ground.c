#include "tests/xds/ground.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit.h"

#define MS UINT64_C(1000000)

static void on_log(void *ctx, enum log_level level, const char *line, size_t n)
{
	struct ground *g = ctx;

	(void)level;
	sb_add(&g->logged, line, n);
	if (getenv("RIG_LOG"))
		fwrite(line, 1, n, stderr);
}

void ground_begin(struct ground *g)
{
	g->net = simnet_new(7);
	g->loop = simnet_loop(g->net);
	g->log = log_new(LOG_INFO, 0);
	log_set_sink(g->log, on_log, g);
	g->loop->log = g->log;
	g->dns = dns_new_table(g->loop, 5 * MS);
	account_init(&g->account, NULL, "servers", SIZE_MAX);
	conf_limits_default(&g->limits);
	g->transports = transports_new(g->loop);
	g->authority = authority_new("mesh", ground_now_s(g));
}

void ground_end(struct ground *g)
{
	transports_free(&g->transports);
	dns_free(&g->dns);
	ground_advance(g, 0);
	ck_assert_uint_eq(g->loop->memory.used, 0);
	ck_assert_uint_eq(g->account.used, 0);
	ck_assert_int_eq(simnet_open(g->net), 0);
	account_end(&g->account);
	authority_free(&g->authority);
	g->loop->log = NULL;
	simnet_free(&g->net);
	log_free(&g->log);
	sb_end(&g->logged);
}

void ground_advance(struct ground *g, uint64_t ms)
{
	simnet_advance(g->net, ms * MS);
}

bool ground_logged(const struct ground *g, const char *text)
{
	return g->logged.n && strstr(g->logged.p, text);
}

uint64_t ground_stat(const struct ground *g, enum stat_id id)
{
	return stat_get(&g->loop->stats, id);
}

int64_t ground_now_s(const struct ground *g)
{
	return (int64_t)(g->loop->ops->wall_ns(g->loop->ops_ctx) / 1000000000);
}
