/* tests/bench/bench_eds: what an assignment costs to decode, as JSON lines: in one piece and in the pieces that a stream brings, when all of it is new, when
 * nothing and when one endpoint has changed since the last one.
 *
 *	{"bench": "eds", "what": "new", "endpoints": 100000, "piece": 16384, "wire_bytes": 13200000, "ms": 12.1, "ns_each": 121.0, "held_bytes_each": 33.5}
 *
 * Endpoints as istiod sends them: IPv4, port, weight, health, tlsMode and workload in the metadata. The best of seven rounds is printed: what disturbs a round is not
 * the decoder's. Linked with the library and tests/xds/edsrig.c. With `once new` or `once changed` as arguments one round of that is made:
 * for callgrind (`--toggle-collect=eds_decoder_bytes`; `changed` has the set before to make as well). */
#include "tests/xds/edsrig.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ENDPOINTS = 100000, ROUNDS = 7 };

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static struct sb message(uint32_t n, uint32_t changed)
{
	struct sb m = {0}, g = {0};

	eds_put_name(&m, "outbound|50051||demo.default.svc.cluster.local");
	eds_put_locality(&g, "region", "zone", "");
	for (uint32_t i = 0; i < n; i++)
		eds_put_usual(&g, i, i == changed);
	eds_put_weight(&g, n);
	eds_put_group(&m, &g);
	return m;
}

static struct endpoint_set *find(void *ctx, struct str name)
{
	(void)name;
	return ctx;
}

static struct endpoint_set *decode(struct account *a, struct endpoint_metas *metas, const struct sb *m, size_t piece, struct endpoint_set *old)
{
	struct endpoint_set *set = NULL;
	struct str name;
	struct sb problems = {0};
	struct eds_decoder *d = eds_decoder_new(a, metas, find, old);

	for (size_t at = 0; at < m->n; at += piece)
		eds_decoder_bytes(d, m->p + at, m->n - at < piece ? m->n - at : piece);
	if (eds_decoder_end(d, &set, &name, &problems) < 0) {
		fprintf(stderr, "%.*s\n", (int)problems.n, problems.p);
		exit(1);
	}
	eds_decoder_free(&d);
	return set;
}

static void row(const char *what, struct account *a, struct endpoint_metas *metas, const struct sb *m, size_t piece, struct endpoint_set *old, int rounds)
{
	double best = 1e9, held = 0;

	for (int i = 0; i < rounds; i++) {
		size_t before = a->used;
		double start = now_ms();
		struct endpoint_set *set = decode(a, metas, m, piece, old);
		double ms = now_ms() - start;

		held = (double)(a->used - before) / endpoints_count(set);
		best = ms < best ? ms : best;
		endpoints_unref(&set);
	}
	printf("{\"bench\": \"eds\", \"what\": \"%s\", \"endpoints\": %d, \"piece\": %zu, \"wire_bytes\": %zu, \"ms\": %.2f, \"ns_each\": %.1f, \"held_bytes_each\": %.1f}\n",
		what, ENDPOINTS, piece, m->n, best, best * 1e6 / ENDPOINTS, held);
}

int main(int argc, char **argv)
{
	bool once = argc > 2 && !strcmp(argv[1], "once");
	int rounds = once ? 1 : ROUNDS;
	struct account a;
	struct sb first = message(ENDPOINTS, UINT32_MAX), second = message(ENDPOINTS, ENDPOINTS / 2);

	account_init(&a, NULL, "bench", SIZE_MAX);
	struct endpoint_metas *metas = endpoint_metas_new(&a, 1);
	if (!once)
		row("new", &a, metas, &first, first.n, NULL, rounds);
	if (!once || !strcmp(argv[2], "new"))
		row("new", &a, metas, &first, 16384, NULL, rounds);
	if (!once || !strcmp(argv[2], "changed")) {
		struct endpoint_set *old = decode(&a, metas, &first, first.n, NULL);

		if (!once)
			row("equal", &a, metas, &first, 16384, old, rounds);
		row("one changed", &a, metas, &second, 16384, old, rounds);
		endpoints_unref(&old);
	}
	endpoint_metas_free(&metas);
	account_end(&a);
	sb_end(&first);
	sb_end(&second);
	return 0;
}
