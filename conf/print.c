/* conf/print: --print-conf: every row of conf.def with its default or a sample and its help, as a file that conf_load accepts and that means what
 * no file at all means (the embedded default). */
#include "conf/schema.h"

#include <stdio.h>

enum { HELP_COLUMN = 64, INDENT_MAX = 8, ALIVE = -1 };

/* LIST rows whose elements are no maps of rows: a sample, written behind the key; "#" in front: commented out. */
static const char *list_sample(const struct schema_row *row)
{
	switch (row->below) {
	case MAP_ENDPOINT:
		return "[\"127.0.0.1:50051\", \"127.0.0.1:50052\"]";
	case MAP_ALIAS:
		return "#{demo: demo.default.svc.cluster.local:50051}";
	case MAP_PATHS:
		return "#{org.apache.dubbo.demo.GreeterService: demo.default.svc.cluster.local:50051}";
	case MAP_IDS:
		return "#[1000]";
	case MAP_RETRY_ON:
		return "[connect-failure, refused-stream, unavailable, cancelled]";
	case MAP_STATUSES:
		return "#[503]";
	case MAP_SERVER:
		return "istiod.istio-system.svc:15010";
	case MAP_SERVERS:
		return "#[\"istiod-a.istio-system.svc:15010\", \"istiod-b.istio-system.svc:15010\"]";
	case MAP_SAN:
		return "#[istiod.istio-system.svc]";
	case MAP_HEADERS:
		return "#{clusterid: Kubernetes}";
	case MAP_METADATA:
		return "#{NETWORK: network1}";
	case MAP_PREFETCH:
		return "#[\"demo.default.svc.cluster.local:50051\"]";
	case MAP_APP_EXPECT:
		return "[\"200-399\"]";
	case MAP_EXPECT:
		return "[200]";
	case MAP_RETRIABLE:
		return "#[503]";
	case MAP_CHECK_FIELDS:
		return "#{x-check: \"1\"}";
	case MAP_CHECK_REMOVE:
		return "#[user-agent]";
	case MAP_PAYLOAD:
		return "#\"hex:50494e47\"";
	case MAP_RECEIVE:
		return "#[\"hex:504f4e47\"]";
	case MAP_TO:
		return "#127.0.0.1:8080";
	case MAP_TO_UNIX:
		return "#/run/shop/server.sock";
	case MAP_IDENTITY_DEFAULT:
		return "#{ca: {server: \"istiod.istio-system.svc:15012\", token_file: /var/run/secrets/tokens/istio-token, roots: /var/run/secrets/istio/root-cert.pem}}";
	case MAP_TRUST_DOMAINS:
		return "#[old.example]";
	case MAP_CA_SERVER:
		return "istiod.istio-system.svc:15012";
	case MAP_XDS_IDENTITY:
		return "#true";
	case MAP_SAN_RULES:
		return "#[demo.example.com, {prefix: \"spiffe://cluster.local/ns/default/\", on: uri}]";
	case MAP_PEER_IDS:
		return "[\"spiffe://cluster.local/ns/default/sa/*\"]";
	case MAP_PEER_PATHS:
		return "[/org.apache.dubbo.demo.GreeterService/*]";
	case MAP_HEALTH_NEEDS:
		return "#{\"demo.default.svc.cluster.local:50051\": 50}";
	case MAP_HEALTH_SERVICES:
		return "#[org.apache.dubbo.demo.GreeterService]";
	case MAP_ARGV:
		return "#[/usr/bin/test, -e, /run/shop/up]";
	default:
		return NULL;
	}
}

/* Maps that say something by being there: with any of their keys written, the file would mean more than no file. All of them are samples. */
static bool is_sample(enum schema_map map)
{
	return map == MAP_XDS || map == MAP_INBOUND || map == MAP_HEALTH_LISTEN;
}

/* lead: what stands before the key, of `depth` levels. */
static void print_line(struct sb *out, const char *lead, bool commented, const char *key, const char *value, const char *help)
{
	size_t start = out->n, width;

	sb_fmt(out, "%s%s%s:%s%s", lead, commented ? "# " : "", key, value && *value ? " " : "", value ? value : "");
	width = out->n - start;
	if (help && *help)
		sb_fmt(out, "%*s# %s", width < HELP_COLUMN ? (int)(HELP_COLUMN - width) : 1, "", help);
	sb_char(out, '\n');
}

static void print_map(struct sb *out, enum schema_map map, int depth, bool in_list, int dead);

/* An element of endpoints as a map, beside the short form: where its keys are told. */
static void print_endpoint_keys(struct sb *out, const char *lead)
{
	sb_fmt(out, "%s# or maps:\n", lead);
	for (uint32_t i = 0; i < schema_row_count; i++) {
		const struct schema_row *row = &schema_rows[i];
		char text[40];

		if (row->map != MAP_ENDPOINT)
			continue;
		snprintf(text, sizeof(text), "%s%s", row == &schema_rows[0] || (row - 1)->map != MAP_ENDPOINT ? "  - " : "    ", schema_row_text(row->key));
		print_line(out, lead, true, text, schema_row_text(row->initial), schema_row_text(row->help));
	}
}

static void print_row(struct sb *out, const struct schema_row *row, const char *lead, int depth, int dead)
{
	const char *sample = list_sample(row);
	const bool grave = row->kind == KIND_TAKEN || is_sample(row->below);

	/* A section of another's keys is told by a sample, too. */
	if (sample && row->kind == KIND_TAKEN) {
		print_line(out, lead, dead == ALIVE, schema_row_text(row->key), sample + (*sample == '#'), schema_row_text(row->help));
		return;
	}
	switch ((enum schema_kind)row->kind) {
	case KIND_SECTION:
	case KIND_TAKEN:
		/* Inside of what is commented out there is no second sign. All keys of an `allow` are samples: with nothing in it, it means what its absence means. */
		print_line(out, lead, dead == ALIVE && (grave || row->below == MAP_ALLOW || row->below == MAP_HEALTH_ALLOW), schema_row_text(row->key), NULL, schema_row_text(row->help));
		print_map(out, row->below, depth + 1, false, dead == ALIVE && grave ? depth : dead);
		break;
	case KIND_LIST:
		if (sample) {
			print_line(out, lead, *sample == '#', schema_row_text(row->key), sample + (*sample == '#'), schema_row_text(row->help));
			if (row->below == MAP_ENDPOINT)
				print_endpoint_keys(out, lead);
			break;
		}
		print_line(out, lead, dead == ALIVE && grave, schema_row_text(row->key), NULL, schema_row_text(row->help));
		print_map(out, row->below, depth + 1, true, dead == ALIVE && grave ? depth : dead);
		break;
	case KIND_LATER:
		break;
	default:
		print_line(out, lead, row->how == INITIAL_ASK, schema_row_text(row->key), schema_row_text(row->initial), schema_row_text(row->help));
	}
}

static int columns(int depth)
{
	return 2 * (depth < INDENT_MAX ? depth : INDENT_MAX);
}

/* The first key of a list's element carries its dash. dead: all of it is commented out, with the sign at that depth; or ALIVE. */
static void print_map(struct sb *out, enum schema_map map, int depth, bool in_list, int dead)
{
	char lead[4 * INDENT_MAX + 1] = "";

	for (uint32_t i = 0; i < schema_row_count; i++) {
		const struct schema_row *row = &schema_rows[i];

		if (row->map != map || row->kind == KIND_LATER)
			continue;
		if (dead == ALIVE)
			snprintf(lead, sizeof(lead), "%*s%s", columns(depth), "", in_list ? "- " : "");
		else
			snprintf(lead, sizeof(lead), "%*s# %*s%s", columns(dead), "", columns(depth) - columns(dead), "", in_list ? "- " : "");
		print_row(out, row, lead, depth, dead);
		if (in_list) {
			in_list = false;
			depth++;
		}
	}
}

void conf_print_defaults(struct sb *out)
{
	sb_str(out,
		"# thinmesh: every key of this version with its default. Without a file, this is what thinmesh runs with.\n"
		"# Commented keys have no default: what stands there is a sample. ${NAME} and ${NAME:-default} are taken from the environment\n"
		"# (inside {...} and [...] within quotes); $${ is a literal ${. Windows of connections stay away from 2^31-1.\n");
	print_map(out, MAP_ROOT, 0, false, ALIVE);
}
