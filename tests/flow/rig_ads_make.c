/* tests/flow/rig_ads_make: resources in the shape in which istiod sends them (the recorded ones in fixtures "plain" are the model), and whole services made of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/flow/rig_ads.h"

/* ---- protobuf ---- */

void pb_varint(struct sb *b, uint64_t v)
{
	for (; v >= 128; v >>= 7)
		sb_char(b, (char)(v | 128));
	sb_char(b, (char)v);
}

void pb_num(struct sb *b, uint32_t field, uint64_t v)
{
	pb_varint(b, (uint64_t)field << 3);
	pb_varint(b, v);
}

void pb_bytes(struct sb *b, uint32_t field, const void *p, size_t n)
{
	pb_varint(b, (uint64_t)field << 3 | 2);
	pb_varint(b, n);
	if (n)
		sb_add(b, p, n);
}

void pb_text(struct sb *b, uint32_t field, const char *z)
{
	pb_bytes(b, field, z, strlen(z));
}

void pb_sub(struct sb *b, uint32_t field, struct sb *taken)
{
	pb_bytes(b, field, taken->p, taken->n);
	sb_end(taken);
}

void pb_any(struct sb *b, uint32_t field, const char *type_url, struct sb *taken)
{
	struct sb any = {0};

	pb_text(&any, 1, type_url);
	pb_sub(&any, 2, taken);
	pb_sub(b, field, &any);
}

static void pb_wrapped(struct sb *b, uint32_t field, uint64_t v) /* google.protobuf.UInt32Value, BoolValue, Duration of v seconds */
{
	struct sb w = {0};

	if (v)
		pb_num(&w, 1, v);
	pb_sub(b, field, &w);
}

static void pb_struct_text(struct sb *b, uint32_t field, const char *key, const char *value) /* google.protobuf.Struct {key: value} */
{
	struct sb v = {0}, entry = {0}, st = {0};

	if (key) {
		pb_text(&v, 3, value);
		pb_text(&entry, 1, key);
		pb_sub(&entry, 2, &v);
		pb_sub(&st, 1, &entry);
	}
	pb_sub(b, field, &st);
}

static void pb_metadata(struct sb *meta, const char *filter, const char *key, const char *value)
{
	struct sb entry = {0};

	pb_text(&entry, 1, filter);
	pb_struct_text(&entry, 2, key, value);
	pb_sub(meta, 1, &entry);
}

/* ---- ClusterLoadAssignment ---- */

struct endpoint_text { char addr[128], zone[32]; uint32_t weight, health, priority; };

/* One word of the list. */
static void endpoint_read(const char *word, size_t n, struct endpoint_text *e)
{
	static const char *const health[] = {"unknown", "healthy", "unhealthy", "draining", "timeout", "degraded"};
	size_t at = strcspn(word, "*!@^ ");

	*e = (struct endpoint_text){.weight = 1};
	/* An abstract socket begins with '@', which is no zone. */
	if (strncmp(word, "unix:@", 6) == 0)
		at = 6 + strcspn(word + 6, "*!@^ ");
	snprintf(e->addr, sizeof(e->addr), "%.*s", (int)(at < n ? at : n), word);
	while (at < n) {
		char kind = word[at++];
		size_t len = strcspn(word + at, "*!@^ ");
		char text[32];
		snprintf(text, sizeof(text), "%.*s", (int)len, word + at);
		if (kind == '*')
			e->weight = (uint32_t)strtoul(text, NULL, 10);
		else if (kind == '^')
			e->priority = (uint32_t)strtoul(text, NULL, 10);
		else if (kind == '@')
			snprintf(e->zone, sizeof(e->zone), "%s", text);
		else
			for (uint32_t i = 0; i < 6; i++)
				if (strcmp(text, health[i]) == 0)
					e->health = i;
		at += len;
	}
}

static void endpoint_write(struct sb *locality, const struct endpoint_text *e, bool tls)
{
	struct sb lb = {0}, endpoint = {0}, address = {0}, where = {0}, meta = {0};

	if (strncmp(e->addr, "unix:", 5) == 0) {
		pb_text(&where, 1, e->addr + 5);
		pb_sub(&address, 2, &where);
	} else {
		struct str host;
		int port = 0;
		char ip[128];
		addr_split(str_of(e->addr), &host, &port);
		snprintf(ip, sizeof(ip), "%.*s", (int)host.n, host.p);
		pb_text(&where, 2, ip);
		pb_num(&where, 3, (uint64_t)port);
		pb_sub(&address, 1, &where);
	}
	pb_sub(&endpoint, 1, &address);
	pb_sub(&lb, 1, &endpoint);
	if (e->health)
		pb_num(&lb, 2, e->health);
	pb_metadata(&meta, "istio", "workload", "demo;default;demo;;Kubernetes");
	if (tls)
		pb_metadata(&meta, "envoy.transport_socket_match", "tlsMode", "istio");
	pb_sub(&lb, 3, &meta);
	pb_wrapped(&lb, 4, e->weight);
	pb_sub(locality, 2, &lb);
}

/* Localities in the order in which they are first named. */
void make_assignment(struct sb *b, const char *cluster, const char *endpoints, bool tls)
{
	char done[64][40];
	uint32_t ndone = 0;

	pb_text(b, 1, cluster);
	for (const char *p = endpoints ? endpoints : ""; *p; p += strspn(p, " ")) {
		struct endpoint_text first;
		char key[40];
		size_t n = strcspn(p, " ");
		bool seen = false;
		endpoint_read(p, n, &first);
		p += n;
		snprintf(key, sizeof(key), "%s^%u", first.zone, first.priority);
		for (uint32_t i = 0; i < ndone && !seen; i++)
			seen = strcmp(done[i], key) == 0;
		if (seen || ndone == 64)
			continue;
		memcpy(done[ndone++], key, sizeof(key));
		struct sb group = {0}, locality = {0};
		uint64_t weight = 0;
		if (first.zone[0])
			pb_text(&locality, 2, first.zone);
		pb_sub(&group, 1, &locality);
		for (const char *q = p - n; *q; q += strspn(q, " ")) {
			struct endpoint_text e;
			size_t m = strcspn(q, " ");
			endpoint_read(q, m, &e);
			q += m;
			if (e.priority != first.priority || strcmp(e.zone, first.zone) != 0)
				continue;
			endpoint_write(&group, &e, tls);
			weight += e.weight;
		}
		pb_wrapped(&group, 3, weight);
		if (first.priority)
			pb_num(&group, 5, first.priority);
		pb_sub(b, 2, &group);
	}
}

/* ---- Cluster ---- */

static void cluster_extras(struct sb *b, const struct make_cluster *how)
{
	struct sb thresholds = {0}, breakers = {0}, common = {0}, h2 = {0}, explicit_h2 = {0}, options = {0}, any = {0}, entry = {0};

	for (uint32_t f = 2; f <= 5; f++)
		pb_wrapped(&thresholds, f, 4294967295u);
	pb_sub(&breakers, 1, &thresholds);
	pb_sub(b, 10, &breakers);
	struct sb none = {0};
	pb_sub(&common, 1, &none);
	pb_sub(b, 27, &common);
	pb_sub(&explicit_h2, 2, &h2);
	pb_sub(&options, 3, &explicit_h2);
	pb_text(&any, 1, "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions");
	pb_sub(&any, 2, &options);
	pb_text(&entry, 1, "envoy.extensions.upstreams.http.v3.HttpProtocolOptions");
	pb_sub(&entry, 2, &any);
	pb_sub(b, 36, &entry);
	if (!how->tls)
		return;
	for (int istio = 1; istio >= 0; istio--) {
		struct sb match = {0}, sock = {0}, tls = {0};
		pb_text(&match, 1, istio ? "tlsMode-istio" : "tlsMode-disabled");
		pb_struct_text(&match, 2, istio ? "tlsMode" : NULL, "istio");
		pb_text(&sock, 1, istio ? "envoy.transport_sockets.tls" : "envoy.transport_sockets.raw_buffer");
		pb_any(&sock, 3, istio ? "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext" :
			"type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", &tls);
		pb_sub(&match, 3, &sock);
		pb_sub(b, 43, &match);
	}
}

void make_cluster(struct sb *b, const char *name, const struct make_cluster *how)
{
	static const struct make_cluster usual = {.type = 3, .lb = 1};
	struct sb eds = {0}, source = {0}, ads = {0};

	how = how ? how : &usual;
	pb_text(b, 1, name);
	if (how->type)
		pb_num(b, 2, (uint64_t)how->type);
	if (how->type == 3) {
		pb_sub(&source, 3, &ads);
		if (!how->v2)
			pb_num(&source, 6, 2);
		pb_sub(&eds, 1, &source);
		pb_text(&eds, 2, name);
		pb_sub(b, 3, &eds);
	}
	if (!how->plain)
		pb_wrapped(b, 4, 10);
	if (how->lb)
		pb_num(b, 6, (uint64_t)how->lb);
	if (how->endpoints) {
		struct sb inner = {0};
		make_assignment(&inner, name, how->endpoints, false);
		pb_sub(b, 33, &inner);
	}
	if (!how->plain)
		cluster_extras(b, how);
}

/* ---- RouteConfiguration, Listener ---- */

static void route_action(struct sb *route, const char *clusters)
{
	struct sb action = {0}, retry = {0};

	if (!strchr(clusters, ' ') && !strchr(clusters, '=')) {
		pb_text(&action, 1, clusters);
	} else {
		struct sb weighted = {0};
		for (const char *p = clusters; *p; p += strspn(p, " ")) {
			size_t n = strcspn(p, " "), name = 0;
			for (size_t i = 0; i < n; i++) /* the weight stands behind the last '=' */
				if (p[i] == '=')
					name = i;
			struct sb one = {0};
			pb_bytes(&one, 1, p, name ? name : n);
			pb_wrapped(&one, 2, name ? strtoul(p + name + 1, NULL, 10) : 1);
			pb_sub(&weighted, 1, &one);
			p += n;
		}
		pb_sub(&action, 3, &weighted);
	}
	pb_wrapped(&action, 8, 0);
	pb_text(&retry, 1, "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes");
	pb_wrapped(&retry, 2, 2);
	pb_num(&retry, 6, 5);
	pb_sub(&action, 9, &retry);
	pb_wrapped(&action, 23, 0);
	pb_sub(route, 2, &action);
}

void make_routes(struct sb *b, const char *name, const char *domains, const char *clusters)
{
	pb_text(b, 1, name);
	if (domains) {
		struct sb vhost = {0}, route = {0}, match = {0};
		pb_text(&vhost, 1, name);
		for (const char *p = domains; *p; p += strspn(p, " ")) {
			size_t n = strcspn(p, " ");
			pb_bytes(&vhost, 2, p, n);
			p += n;
		}
		pb_text(&match, 1, "/");
		pb_sub(&route, 1, &match);
		route_action(&route, clusters);
		pb_text(&route, 14, "default");
		pb_sub(&vhost, 3, &route);
		pb_num(&vhost, 14, 1);
		pb_sub(b, 2, &vhost);
	}
	pb_wrapped(b, 7, 0);
	pb_wrapped(b, 11, 1048576);
	pb_num(b, 14, 1);
}

static void http_manager(struct sb *hcm, const char *rds_name)
{
	struct sb rds = {0}, source = {0}, ads = {0}, filter = {0}, router = {0};

	pb_sub(&source, 3, &ads);
	pb_sub(&rds, 1, &source);
	pb_text(&rds, 2, rds_name);
	pb_sub(hcm, 3, &rds);
	pb_text(&filter, 1, "envoy.filters.http.router");
	pb_any(&filter, 4, "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router", &router);
	pb_sub(hcm, 5, &filter);
}

static void socket_address(struct sb *b, const char *ip, uint16_t port)
{
	struct sb address = {0}, where = {0};

	pb_text(&where, 2, ip);
	pb_num(&where, 3, port);
	pb_sub(&address, 1, &where);
	pb_sub(b, 2, &address);
}

#define HCM_URL "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

void make_listener(struct sb *b, const char *name, const char *rds_name)
{
	struct sb hcm = {0}, api = {0};
	const char *colon = strrchr(name, ':');

	pb_text(b, 1, name);
	socket_address(b, "0.0.0.0", colon ? (uint16_t)strtoul(colon + 1, NULL, 10) : 80);
	http_manager(&hcm, rds_name);
	pb_any(&api, 1, HCM_URL, &hcm);
	pb_sub(b, 19, &api);
}

void make_listener_http(struct sb *b, const char *name, uint16_t port, const char *rds_name)
{
	struct sb hcm = {0}, filter = {0}, chain = {0};

	pb_text(b, 1, name);
	socket_address(b, "127.0.0.1", port);
	http_manager(&hcm, rds_name);
	pb_text(&filter, 1, "envoy.filters.network.http_connection_manager");
	pb_any(&filter, 4, HCM_URL, &hcm);
	pb_sub(&chain, 3, &filter);
	pb_sub(b, 3, &chain);
}

/* ---- services ---- */

static void put(struct plane *p, enum plane_dialect d, enum xds_type t, const char *name, struct sb *taken)
{
	plane_put_in(p, d, t, name, taken->p, taken->n);
	sb_end(taken);
}

static void name_cluster(char out[300], const struct plane *p, const char *host, uint16_t port)
{
	if (p->kind == PLANE_NACOS)
		snprintf(out, 300, "outbound|%u||%.*s.DEFAULT-GROUP.public.nacos", port, (int)strcspn(host, "."), host);
	else
		snprintf(out, 300, "outbound|%u||%s", port, host);
}

/* The short forms of a host that a client of the same namespace may use (istio.md 1.4, 1.6): with the port as well in the grpc dialect. */
static void domains_of(struct sb *b, const char *host, uint16_t port)
{
	sb_fmt(b, "%s %s:%u %s. %s.:%u", host, host, port, host, host, port);
	for (const char *dot = strchr(host, '.'), *cut = dot; cut; cut = strchr(cut + 1, '.')) {
		int n = (int)(cut - host);
		sb_fmt(b, " %.*s %.*s:%u", n, host, n, host, port);
		if (strncmp(cut, ".svc", 4) == 0 && strchr(cut + 1, '.'))
			sb_fmt(b, " %.*s.svc %.*s.svc:%u", n, host, n, host, port);
		if (strncmp(cut, ".svc", 4) == 0)
			break;
	}
}

void plane_route(struct plane *p, const char *host, uint16_t port, const char *clusters)
{
	char own[300], name[300];
	struct sb side = {0}, grpc = {0}, domains = {0};

	name_cluster(own, p, host, port);
	snprintf(name, sizeof(name), "%s:%u", host, port);
	domains_of(&domains, host, port);
	if (p->kind == PLANE_ISTIO) {
		make_routes(&side, name, "*", clusters ? clusters : own);
		put(p, DIALECT_SIDECAR, XDS_RDS, name, &side);
	}
	make_routes(&grpc, own, domains.p, clusters ? clusters : own);
	put(p, p->kind == PLANE_ISTIO ? DIALECT_GRPC : DIALECT_BOTH, XDS_RDS, own, &grpc);
	sb_end(&domains);
}

void plane_endpoints(struct plane *p, const char *host, uint16_t port, const char *endpoints)
{
	char name[300];
	struct sb b = {0};

	name_cluster(name, p, host, port);
	make_assignment(&b, name, endpoints, false);
	put(p, DIALECT_BOTH, XDS_EDS, name, &b);
}

void plane_cluster(struct plane *p, const char *name, const char *endpoints)
{
	struct sb side = {0}, grpc = {0}, eds = {0};

	make_cluster(&side, name, NULL);
	make_cluster(&grpc, name, &(struct make_cluster){.type = 3, .plain = true, .v2 = p->kind == PLANE_NACOS});
	make_assignment(&eds, name, endpoints, false);
	if (p->kind == PLANE_ISTIO)
		put(p, DIALECT_SIDECAR, XDS_CDS, name, &side);
	put(p, p->kind == PLANE_ISTIO ? DIALECT_GRPC : DIALECT_BOTH, XDS_CDS, name, &grpc);
	put(p, DIALECT_BOTH, XDS_EDS, name, &eds);
	sb_end(&side);
}

/* The three that every sidecar has (istio.md 1.4): not EDS, and of no use here. */
static void specials(struct plane *p)
{
	static const struct { const char *name; int type; } special[] = {{"BlackHoleCluster", 0}, {"PassthroughCluster", 4}, {"InboundPassthroughCluster", 4}};

	for (size_t i = 0; i < 3; i++) {
		struct sb b = {0};
		if (map_get(&p->resources[DIALECT_SIDECAR][XDS_CDS], str_of(special[i].name)))
			continue;
		make_cluster(&b, special[i].name, &(struct make_cluster){.type = special[i].type, .plain = true});
		put(p, DIALECT_SIDECAR, XDS_CDS, special[i].name, &b);
	}
}

void plane_service(struct plane *p, const char *host, uint16_t port, const char *endpoints)
{
	char cluster[300], name[300], bare[16], bind[32];
	struct sb listener = {0}, side = {0};

	name_cluster(cluster, p, host, port);
	plane_cluster(p, cluster, endpoints);
	if (p->kind == PLANE_NACOS)
		return;
	if (p->kind == PLANE_ISTIO) {
		specials(p);
		snprintf(bind, sizeof(bind), "127.0.0.1_%u", port);
		snprintf(bare, sizeof(bare), "%u", port);
		make_listener_http(&side, bind, port, bare);
		put(p, DIALECT_SIDECAR, XDS_LDS, bind, &side);
	}
	snprintf(name, sizeof(name), "%s:%u", host, port);
	make_listener(&listener, name, cluster);
	put(p, p->kind == PLANE_ISTIO ? DIALECT_GRPC : DIALECT_BOTH, XDS_LDS, name, &listener);
	plane_route(p, host, port, NULL);
}

void plane_service_gone(struct plane *p, const char *host, uint16_t port)
{
	char cluster[300], name[300];

	name_cluster(cluster, p, host, port);
	snprintf(name, sizeof(name), "%s:%u", host, port);
	plane_del(p, XDS_LDS, name);
	plane_del(p, XDS_RDS, name);
	plane_del(p, XDS_RDS, cluster);
	plane_del(p, XDS_CDS, cluster);
	plane_del(p, XDS_EDS, cluster);
}
