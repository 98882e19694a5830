/* tests/xds/edsrig: see the header. */
#include "tests/xds/edsrig.h"
#include <stdio.h>

static void put_message(struct sb *out, uint32_t number, struct sb *in)
{
	wire_put_bytes(out, number, sb_view(in));
	sb_end(in);
}

static void put_address(struct sb *out, const char *address, uint32_t port)
{
	struct sb a = {0}, in = {0};
	bool pipe = address[0] == '/' || address[0] == '@';
	wire_put_bytes(&in, pipe ? 1 : 2, str_of(address));
	if (!pipe && port)
		wire_put_varint(&in, 3, port);
	put_message(&a, pipe ? 2 : 1, &in);
	put_message(out, 1, &a);
}

static void put_struct(struct sb *metadata, const char *name, const char *key, const char *value)
{
	struct sb v = {0}, field = {0}, message = {0}, entry = {0};
	wire_put_bytes(&v, 3, str_of(value));
	wire_put_bytes(&field, 1, str_of(key));
	put_message(&field, 2, &v);
	put_message(&message, 1, &field);
	wire_put_bytes(&entry, 1, str_of(name));
	put_message(&entry, 2, &message);
	put_message(metadata, 1, &entry);
}

void eds_ep_write(struct sb *out, const struct eds_ep *e)
{
	struct sb ep = {0}, metadata = {0};
	if (e->address)
		put_address(&ep, e->address, e->port);
	if (e->also) {
		struct sb more = {0};
		put_address(&more, e->also, e->port);
		put_message(&ep, 4, &more);
	}
	put_message(out, 1, &ep);
	if (e->health)
		wire_put_varint(out, 2, e->health);
	if (e->tls_mode)
		put_struct(&metadata, "envoy.transport_socket_match", "tlsMode", e->tls_mode);
	if (e->lb_key)
		put_struct(&metadata, "envoy.lb", e->lb_key, e->lb_value);
	if (e->workload)
		put_struct(&metadata, "istio", "workload", e->workload);
	if (metadata.n)
		put_message(out, 3, &metadata);
	sb_end(&metadata);
	if (e->weight) {
		struct sb w = {0};
		wire_put_varint(&w, 1, e->weight);
		put_message(out, 4, &w);
	}
}

void eds_put_locality(struct sb *group, const char *region, const char *zone, const char *sub_zone)
{
	struct sb l = {0};
	wire_put_bytes(&l, 1, str_of(region));
	wire_put_bytes(&l, 2, str_of(zone));
	wire_put_bytes(&l, 3, str_of(sub_zone));
	put_message(group, 1, &l);
}

void eds_put_ep(struct sb *group, const struct eds_ep *e)
{
	struct sb ep = {0};
	eds_ep_write(&ep, e);
	put_message(group, 2, &ep);
}

void eds_put_weight(struct sb *group, uint32_t weight)
{
	struct sb w = {0};
	wire_put_varint(&w, 1, weight);
	put_message(group, 3, &w);
}

void eds_put_priority(struct sb *group, uint32_t priority)
{
	wire_put_varint(group, 5, priority);
}

void eds_put_group(struct sb *message, struct sb *group)
{
	put_message(message, 2, group);
}

void eds_put_name(struct sb *message, const char *name)
{
	wire_put_bytes(message, 1, str_of(name));
}

void eds_put_usual(struct sb *group, uint32_t i, uint32_t revision)
{
	char address[32], workload[64];
	snprintf(address, sizeof(address), "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
	snprintf(workload, sizeof(workload), "demo-%u-%u;default;demo;v1;Kubernetes", i, revision);
	eds_put_ep(group, &(struct eds_ep){.address = address, .port = 50051, .weight = 1, .health = 1, .workload = workload, .tls_mode = "istio"});
}
