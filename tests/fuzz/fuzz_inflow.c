/* Any bytes as an answer of a control plane: taken whole, byte by byte and in pieces that the input itself chooses, they must mean the same events in the same order; every
 * begin that is wanted has one end at most and exactly the bytes that it announced; what is gathered stays within its bound.
 *
 * The first byte: bit 0 delta, bit 1 refuses every second resource; the rest seeds the pieces. */
#include <assert.h>
#include <stdlib.h>
#include "xds/inflow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct play { struct sb told; bool refuses, open; uint32_t n; size_t announced, came; };

static void tell(struct play *p, const char *what, struct str s)
{
	sb_fmt(&p->told, "%s %zu:", what, s.n);
	sb_add(&p->told, s.p ? s.p : "", s.n);
}

static bool on_begin(void *ctx, struct str url, struct str name, size_t n)
{
	struct play *p = ctx;

	assert(!p->open);
	tell(p, "begin", url);
	tell(p, "name", name);
	sb_fmt(&p->told, "n %zu ", n);
	if (p->refuses && p->n++ % 2)
		return false;
	p->open = true;
	p->announced = n;
	p->came = 0;
	return true;
}

static void on_bytes(void *ctx, const void *bytes, size_t n)
{
	struct play *p = ctx;

	assert(p->open && n > 0);
	p->came += n;
	assert(p->came <= p->announced);
	sb_add(&p->told, bytes, n);
}

static void on_end(void *ctx, struct str name, struct str version)
{
	struct play *p = ctx;

	assert(p->open && p->came == p->announced && name.n <= INFLOW_NAME_MAX && version.n <= INFLOW_NAME_MAX);
	p->open = false;
	tell(p, "end", name);
	tell(p, "version", version);
}

static void on_removed(void *ctx, struct str name)
{
	assert(name.n > 0 && name.n <= INFLOW_NAME_MAX);
	tell(ctx, "removed", name);
}

static const struct inflow_events events = {on_begin, on_bytes, on_end, on_removed};

/* seed 0: whole; 1: byte by byte; else pieces. */
static struct sb play(const uint8_t *bytes, size_t n, uint8_t flags, uint32_t seed)
{
	struct play p = {.refuses = flags & 2};
	struct inflow *f = inflow_new(flags & 1, &events, &p);
	struct inflow_result result;
	const char *why = NULL;
	size_t at = 0;
	int r;

	inflow_begin(f, (uint32_t)n);
	do {
		size_t piece = n - at;
		if (seed == 1)
			piece = piece ? 1 : 0;
		else if (seed) {
			seed = seed * 1103515245u + 12345u;
			piece = piece ? 1 + (seed >> 16) % (piece < 9 ? piece : 9) : 0;
		}
		r = inflow_bytes(f, bytes + at, piece, at + piece == n, &result, &why);
		at += piece;
	} while (r == 0 && at < n);
	if (r == 0) {
		assert(!p.open);
		tell(&p, "version", result.version);
		tell(&p, "nonce", result.nonce);
		tell(&p, "type", result.type_url);
		sb_fmt(&p.told, "of %u", result.resources);
	} else {
		assert(why);
		sb_str(&p.told, why);
	}
	inflow_free(&f);
	return p.told;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sb whole, bytewise, pieces;

	if (size < 1 || size > 200000)
		return 0;
	whole = play(data + 1, size - 1, data[0], 0);
	bytewise = play(data + 1, size - 1, data[0], 1);
	pieces = play(data + 1, size - 1, data[0], 2 + data[0]);
	assert(str_eq(sb_view(&whole), sb_view(&bytewise)));
	assert(str_eq(sb_view(&whole), sb_view(&pieces)));
	sb_end(&whole);
	sb_end(&bytewise);
	sb_end(&pieces);
	return 0;
}
