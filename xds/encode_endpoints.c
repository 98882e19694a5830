/* xds/encode_endpoints: a set back to a ClusterLoadAssignment, for the snapshot. What was dropped when it was read (names of workloads, fields that nobody reads)
 * does not come back, but decoding gives an equal set: each block goes out whole, marked with the hash that it had (FIELD_BLOCK), so that borders stay and a set
 * that was read back shares its blocks with the same set from the control plane.
 *
 * Sliced: a message's length stands before it, and nobody wants to measure 100,000 endpoints in one turn. So every block is a LocalityLbEndpoints of its own;
 * all but the last of a group say that the group goes on (FIELD_GOES_ON).
 *
 *   eds_encoder: group 0: nothing is written yet; n: group n - 1 is being written; at: spans that are. */
#include "xds/decode_int.h"

/* ---- one endpoint ---- */

static void put_u32_value(struct sb *out, uint32_t number, uint32_t v)
{
	wire_put_head(out, number, 1 + wire_varint_size(v));
	wire_put_varint(out, 1, v);
}

/* Writes `in` as field `number` and empties it. */
static void put_message(struct sb *out, uint32_t number, struct sb *in)
{
	wire_put_bytes(out, number, sb_view(in));
	in->n = 0;
}

/* field: 1 of Endpoint.address and AdditionalAddress.address, 3 of HealthCheckConfig.address */
static void put_socket_address(struct sb *out, uint32_t field, struct str host, uint16_t port)
{
	size_t n = wire_bytes_size(2, host.n) + 1 + wire_varint_size(port);
	wire_put_head(out, field, wire_bytes_size(1, n));
	wire_put_head(out, 1, n);
	wire_put_bytes(out, 2, host);
	wire_put_varint(out, 3, port);
}

/* Not by addr_text, which is for people: it writes odd bytes of a path in another way. */
static void put_pipe(struct sb *out, uint32_t field, const struct addr *a)
{
	char path[sizeof(a->un.sun_path)];
	size_t n = a->len - offsetof(struct sockaddr_un, sun_path);
	memcpy(path, a->un.sun_path, n);
	if (path[0] == '\0')
		path[0] = '@';
	else
		n--; /* its NUL */
	wire_put_head(out, field, wire_bytes_size(2, wire_bytes_size(1, n)));
	wire_put_head(out, 2, wire_bytes_size(1, n));
	wire_put_bytes(out, 1, str_n(path, n));
}

static void put_address(struct sb *out, uint32_t field, const struct addr *a)
{
	char text[ADDR_TEXT];
	struct str all = str_of(addr_text(a, text)), host;
	int port;
	if (addr_is_unix(a))
		put_pipe(out, field, a);
	else if (addr_split(all, &host, &port) == 0)
		put_socket_address(out, field, host, (uint16_t)port);
}

static void put_text_field(struct sb *out, struct str key, struct str value)
{
	size_t text = wire_bytes_size(3, value.n);
	wire_put_head(out, 1, wire_bytes_size(1, key.n) + wire_bytes_size(2, text)); /* Struct.fields */
	wire_put_bytes(out, 1, key);
	wire_put_head(out, 2, text);
	wire_put_bytes(out, 3, value);
}

static void put_namespace(struct sb *out, struct str name, struct str fields)
{
	wire_put_head(out, 1, wire_bytes_size(1, name.n) + wire_bytes_size(2, fields.n)); /* Metadata.filter_metadata */
	wire_put_bytes(out, 1, name);
	wire_put_bytes(out, 2, fields);
}

static void put_metadata(struct sb *out, const struct endpoint_item *e)
{
	struct str pairs[2 * ENDPOINT_META_PAIRS], prefix = STR(PAIRS_LB_PREFIX);
	uint32_t n = endpoint_meta_pairs(e->meta, pairs, ENDPOINT_META_PAIRS);
	struct sb match = {0}, lb = {0};
	for (uint32_t i = 0; i < n && i < ENDPOINT_META_PAIRS; i++) {
		if (pairs[2 * i].n && pairs[2 * i].p[0] == '\001')
			continue; /* fields of the Endpoint: put_check_config */
		if (str_starts(pairs[2 * i], prefix))
			put_text_field(&lb, str_cut(pairs[2 * i], prefix.n, pairs[2 * i].n), pairs[2 * i + 1]);
		else
			put_text_field(&match, pairs[2 * i], pairs[2 * i + 1]);
	}
	if (match.n)
		put_namespace(out, STR("envoy.transport_socket_match"), sb_view(&match));
	if (lb.n)
		put_namespace(out, STR("envoy.lb"), sb_view(&lb));
	if (e->incarnation) {
		double number = e->incarnation;
		uint64_t bits;
		memcpy(&bits, &number, sizeof(bits));
		match.n = 0;
		wire_put_head(&match, 1, wire_bytes_size(1, sizeof(METADATA_INCARNATION) - 1) + 11);
		wire_put_bytes(&match, 1, STR(METADATA_INCARNATION));
		wire_put_head(&match, 2, 9);
		wire_put_fixed64(&match, 2, bits);
		put_namespace(out, STR(METADATA_OWN), sb_view(&match));
	}
	sb_end(&match);
	sb_end(&lb);
}

/* Endpoint.hostname and .health_check_config, of the pairs under keys of ours. */
static void put_check_config(struct sb *out, struct sb *scratch, const struct endpoint_meta *m)
{
	const char *port = endpoint_meta_value(m, ENDPOINT_CHECK_PORT), *host = endpoint_meta_value(m, ENDPOINT_CHECK_HOST);
	const char *address = endpoint_meta_value(m, ENDPOINT_CHECK_ADDRESS), *name = endpoint_meta_value(m, ENDPOINT_HOSTNAME);
	uint64_t number;
	struct addr a;
	scratch->n = 0;
	if (port && str_u64(str_of(port), &number))
		wire_put_varint(scratch, 1, number);
	if (host)
		wire_put_bytes(scratch, 2, str_of(host));
	if (address && addr_parse(str_of(address), &a) == 0)
		put_address(scratch, 3, &a);
	if (endpoint_meta_value(m, ENDPOINT_CHECK_OFF))
		wire_put_varint(scratch, 4, 1);
	if (scratch->n)
		put_message(out, 2, scratch);
	if (name)
		wire_put_bytes(out, 3, str_of(name));
}

/* endpoint_health to core.v3.HealthStatus */
static uint32_t health_number(uint8_t health) { return health == EP_DEGRADED ? 5 : health; }

static void put_endpoint(struct sb *out, struct sb *scratch, const struct endpoint_item *e)
{
	struct sb *in = &scratch[0], *one = &scratch[1];
	in->n = one->n = 0;
	if (e->naddrs == 0)
		put_socket_address(in, 1, e->host, e->port);
	for (uint32_t i = 0; i < e->naddrs; i++) {
		put_address(i == 0 ? in : one, 1, &e->addrs[i]);
		if (i > 0)
			put_message(in, 4, one);
	}
	if (e->meta)
		put_check_config(in, one, e->meta);
	put_message(out, 1, in);
	if (e->health)
		wire_put_varint(out, 2, health_number(e->health));
	put_metadata(in, e);
	if (in->n)
		put_message(out, 3, in);
	if (e->weight != 1)
		put_u32_value(out, 4, e->weight);
}

/* ---- one block ---- */

static void put_block(struct sb *out, const struct endpoint_set *s, const struct endpoint_span *span)
{
	struct addr addrs[ENDPOINT_ADDRS];
	struct endpoint_item item;
	struct sb scratch[2] = {{0}}, one = {0};
	if (span->hash) {
		wire_put_head(out, FIELD_BLOCK, 9 + 1 + wire_varint_size(span->count));
		wire_put_fixed64(out, 1, span->hash);
		wire_put_varint(out, 2, span->count);
	}
	for (uint32_t i = 0; i < span->count; i++) {
		one.n = 0;
		endpoint_item(s, span->first + i, addrs, ENDPOINT_ADDRS, &item);
		put_endpoint(&one, scratch, &item);
		wire_put_bytes(out, 2, sb_view(&one));
	}
	sb_end(&scratch[0]);
	sb_end(&scratch[1]);
	sb_end(&one);
}

static void put_locality(struct sb *out, const struct locality *l)
{
	struct str text[3] = {str_of(l->region), str_of(l->zone), str_of(l->sub_zone)};
	struct sb in = {0};
	for (uint32_t i = 0; i < 3; i++)
		if (text[i].n)
			wire_put_bytes(&in, i + 1, text[i]);
	wire_put_bytes(out, 1, sb_view(&in));
	if (l->weight)
		put_u32_value(out, 3, l->weight);
	if (l->priority)
		wire_put_varint(out, 5, l->priority);
	sb_end(&in);
}

/* ---- all of it ---- */

enum { PRIORITIES = 129 };

/* A set has no groups without endpoints, but their priorities may be what closes a gap. */
static void put_gaps(struct sb *out, const struct endpoint_set *s)
{
	bool there[PRIORITIES] = {false};
	uint32_t most = 0;
	for (uint32_t i = 0; i < endpoints_groups(s); i++) {
		uint32_t p = endpoints_group_at(s, i).locality.priority;
		if (p < PRIORITIES)
			there[p] = true;
		if (p > most)
			most = p;
	}
	for (uint32_t p = 0; p < most && p < PRIORITIES; p++)
		if (!there[p]) {
			wire_put_head(out, 2, 1 + wire_varint_size(p));
			wire_put_varint(out, 5, p);
		}
}

static void put_head(struct sb *out, const struct endpoint_set *s, const char *name)
{
	wire_put_bytes(out, 1, str_of(name));
	uint32_t over = endpoints_overprovisioning(s);
	if (over) {
		size_t n = 1 + wire_varint_size(over);
		wire_put_head(out, 4, wire_bytes_size(3, n));
		put_u32_value(out, 3, over);
	}
	put_gaps(out, s);
}

bool endpoints_encode(const struct endpoint_set *s, const char *name, struct eds_encoder *state, size_t max, struct sb *out)
{
	size_t until = out->n + max;
	struct sb block = {0};
	if (state->group == 0) {
		put_head(out, s, name);
		state->group = 1;
	}
	while (state->group <= endpoints_groups(s) && out->n < until) {
		struct endpoint_group g = endpoints_group_at(s, state->group - 1);
		if (state->at == g.span + g.spans) {
			state->group++;
			continue;
		}
		struct endpoint_span span = endpoints_span(s, state->at++);
		block.n = 0;
		put_block(&block, s, &span);
		if (state->at < g.span + g.spans)
			wire_put_varint(&block, FIELD_GOES_ON, 1);
		else
			put_locality(&block, &g.locality);
		wire_put_bytes(out, 2, sb_view(&block));
	}
	sb_end(&block);
	return state->group <= endpoints_groups(s);
}
