/* conf/endpoints_int: what endpoints.c, endpoints_build.c and endpoint_meta.c share, and nobody else.
 *
 * Owner of a block: the spans that name it. Owner of a set: its references. Both carry what they are charged with them, because clusters hold sets longer
 * than who built them lives. */
#pragma once
#include "base/str.h"
#include "conf/spec.h"

enum row_kind { ROW_V4 = 1, ROW_V6, ROW_ADDRS /* packed one after the other in `more` */, ROW_HOST /* a text with NUL in `more` */ };
struct endpoint_row {
	uint8_t kind, health;
	uint16_t port;            /* of the network */
	uint32_t weight, incarnation;
	uint16_t meta;            /* 1 + index in the block's metas; 0: none */
	uint16_t naddrs;          /* of ROW_ADDRS */
	uint8_t at[16];           /* the address, or a u32: where in `more` */
};
_Static_assert(sizeof(struct endpoint_row) == 32, "a set of 100,000 endpoints is counted by this");

struct endpoint_block {
	uint32_t refs;
	uint16_t count, nmetas;
	uint64_t content;         /* hash of all below */
	uint64_t weight;          /* of all its endpoints */
	bool has_names;
	uint32_t nmore;
	size_t size;
	struct charge charge;
	struct endpoint_meta **metas; /* counted; all of these lie behind the rows */
	uint8_t *more;
	struct endpoint_row rows[];
};
struct set_span { struct endpoint_block *block; uint64_t hash; /* of the wire; 0: not shared */ uint32_t first, group; };
struct set_group { struct locality locality; uint32_t first, count, span, spans; uint32_t region, zone, sub_zone; /* in texts */ };
struct endpoint_set {
	struct endpoint_set_head head;
	struct charge charge;
	size_t size;              /* charged for all but the blocks */
	uint32_t overprovisioning;
	struct set_span *spans; uint32_t nspans, spans_cap;
	struct set_group *groups; uint32_t ngroups, groups_cap;
	char *texts; uint32_t ntexts, texts_cap;
};
bool endpoint_row_ip(struct endpoint_row *r, const struct addr *a, uint32_t n); /* false: it does not fit into a row */
void endpoint_block_unref(struct endpoint_block *b);

uint64_t endpoint_meta_hash(const struct endpoint_meta *m);
