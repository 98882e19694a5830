/* An assignment from bytes: whole and in pieces (whose lengths the bytes choose) it is the same set or the same refusal; decoded again beside itself it shares all
 * blocks; encoded and decoded it is the same set; and all memory comes back. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "xds/decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool true_)
{
	if (!true_)
		abort();
}

static struct endpoint_set *find(void *ctx, struct str name)
{
	insist(name.n > 0);
	return ctx;
}

struct decoded { struct endpoint_set *set; int code; char why[512]; char name[128]; };

static struct decoded decode(struct account *a, struct endpoint_metas *metas, const uint8_t *data, size_t size, uint32_t pieces, struct endpoint_set *old)
{
	struct decoded r = {0};
	struct sb problems = {0};
	struct str name;
	struct eds_decoder *d = eds_decoder_new(a, metas, find, old);

	for (size_t at = 0, n; at < size; at += n) {
		pieces = pieces * 1664525 + 1013904223;
		n = pieces ? 1 + (pieces >> 24) % 40 : size;
		n = n > size - at || !old ? size - at : n;
		eds_decoder_bytes(d, data + at, n);
	}
	r.code = eds_decoder_end(d, &r.set, &name, &problems);
	insist((r.code == 0) == (r.set != NULL) && (r.code == 0) == (problems.n == 0));
	snprintf(r.why, sizeof(r.why), "%.*s", (int)problems.n, problems.n ? problems.p : "");
	snprintf(r.name, sizeof(r.name), "%.*s", (int)name.n, name.p);
	sb_end(&problems);
	eds_decoder_free(&d);
	return r;
}

static void look(const struct endpoint_set *s)
{
	struct addr addrs[ENDPOINT_ADDRS];
	struct endpoint e;

	for (uint32_t i = 0; i < endpoints_count(s); i++) {
		endpoint_get(s, i, &e);
		insist(e.weight && e.health <= EP_DEGRADED && e.priority <= 128 && e.locality && (e.naddrs > 0) == !e.host);
		insist(endpoint_addrs(s, i, addrs, ENDPOINT_ADDRS) == e.naddrs);
	}
}

static void back(struct account *a, struct endpoint_metas *metas, const struct endpoint_set *s)
{
	struct sb out = {0};
	struct eds_encoder state = {0};

	while (endpoints_encode(s, "demo", &state, 100, &out)) {
	}
	struct decoded again = decode(a, metas, (const uint8_t *)out.p, out.n, 0, NULL);
	insist(again.set && endpoints_hash(again.set) == endpoints_hash(s));
	endpoints_unref(&again.set);
	sb_end(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct account a;

	account_init(&a, NULL, "fuzz", SIZE_MAX);
	struct endpoint_metas *metas = endpoint_metas_new(&a, 1);
	struct decoded first = decode(&a, metas, data, size, 0, NULL);
	/* find may answer anything: an empty set is what makes the second one come in pieces where the first was refused */
	struct endpoints_builder *b = endpoints_build(&a, NULL);
	struct endpoint_set *empty = endpoints_done(&b, 0);
	struct decoded second = decode(&a, metas, data, size, size ? 1 + data[size - 1] : 1, first.set ? first.set : empty);

	insist(first.code == second.code && !strcmp(first.why, second.why) && !strcmp(first.name, second.name));
	if (first.set) {
		insist(endpoints_hash(first.set) == endpoints_hash(second.set));
		look(first.set);
		back(&a, metas, first.set);
	}
	endpoints_unref(&empty);
	endpoints_unref(&first.set);
	endpoints_unref(&second.set);
	endpoint_metas_free(&metas);
	insist(a.used == 0);
	account_end(&a);
	return 0;
}
