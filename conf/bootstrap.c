/* conf/bootstrap: see the header. Its other keys (authorities, listener templates, server_features) are for who speaks to several control planes or
 * serves; they are passed over, as gRPC passes over what it does not know. */
#include "conf/bootstrap.h"

#include <stdlib.h>

#include "base/mem.h"
#include "conf/schema.h"

static const struct yaml *map_at(const struct yaml *map, const char *key)
{
	const struct yaml *node = map ? yaml_get(map, key) : NULL;

	return node && node->kind == YAML_MAP ? node : NULL;
}

static const struct yaml *list_at(const struct yaml *map, const char *key)
{
	const struct yaml *node = map ? yaml_get(map, key) : NULL;

	return node && node->kind == YAML_SEQ ? node : NULL;
}

static char *text_at(const struct yaml *map, const char *key)
{
	const struct yaml *node = map ? yaml_get(map, key) : NULL;

	return node && node->kind == YAML_SCALAR && !yaml_is_null(node) && node->scalar.n ? xstrndup(node->scalar.p, node->scalar.n) : NULL;
}

static bool text_is(const struct yaml *map, const char *key, const char *text)
{
	const struct yaml *node = yaml_get(map, key);

	return node && node->kind == YAML_SCALAR && str_is(node->scalar, text);
}

static void take_files(const struct yaml *config, char **roots, char **cert, char **key)
{
	*roots = text_at(config, "ca_certificate_file");
	*cert = text_at(config, "certificate_file");
	*key = text_at(config, "private_key_file");
}

static void take_server(const struct yaml *root, struct bootstrap *b)
{
	const struct yaml *servers = list_at(root, "xds_servers"), *first = servers ? servers->first : NULL, *creds;

	if (!first || first->kind != YAML_MAP)
		return;
	b->server = text_at(first, "server_uri");
	creds = list_at(first, "channel_creds");
	/* The first that is known counts (gRFC A27); google_default is not. */
	for (const struct yaml *c = creds ? creds->first : NULL; c; c = c->next) {
		if (c->kind != YAML_MAP)
			continue;
		if (text_is(c, "type", "insecure"))
			break;
		if (text_is(c, "type", "tls")) {
			b->tls = true;
			take_files(map_at(c, "config"), &b->tls_roots, &b->tls_cert, &b->tls_key);
			break;
		}
	}
}

static void take_node(const struct yaml *node, struct bootstrap *b)
{
	const struct yaml *locality = map_at(node, "locality");

	b->id = text_at(node, "id");
	b->cluster = text_at(node, "cluster");
	b->metadata = map_at(node, "metadata");
	b->region = text_at(locality, "region");
	b->zone = text_at(locality, "zone");
	b->sub_zone = text_at(locality, "sub_zone");
}

static void take_identity(const struct yaml *root, struct bootstrap *b)
{
	const struct yaml *providers = map_at(root, "certificate_providers"), *chosen = map_at(providers, "default");

	for (const struct yaml *c = providers ? providers->first : NULL; c && !chosen; c = c->next)
		if (c->kind == YAML_MAP && text_is(c, "plugin_name", "file_watcher"))
			chosen = c;
	if (chosen)
		take_files(map_at(chosen, "config"), &b->roots, &b->cert, &b->key);
}

/* A plugin that we do not have is kept by its name, so that whoever asks for it can be told why not. */
static void take_instances(const struct yaml *providers, struct bootstrap *b)
{
	b->instances = providers ? xalloc((providers->count + 1) * sizeof(*b->instances)) : NULL;
	for (const struct yaml *c = providers ? providers->first : NULL; c && b->ninstances < CONF_INSTANCES_MAX; c = c->next) {
		struct conf_instance *i = &b->instances[b->ninstances];
		const struct yaml *config;

		if (c->kind != YAML_MAP || c->bad || !*c->key)
			continue;
		b->ninstances++;
		i->name = xstrdup(c->key);
		i->plugin = text_at(c, "plugin_name");
		if (!i->plugin)
			i->plugin = xstrdup("");
		config = map_at(c, "config");
		if (!config || strcmp(i->plugin, "file_watcher") != 0)
			continue;
		take_files(config, &i->roots, &i->cert, &i->key);
		i->bundle_map = text_at(config, "spiffe_trust_bundle_map_file");
	}
}

int bootstrap_read(yaml_env_fn *env, void *env_ctx, struct err *e, struct bootstrap *ret)
{
	const char *file = env ? env(env_ctx, "GRPC_XDS_BOOTSTRAP") : NULL, *text = env ? env(env_ctx, "GRPC_XDS_BOOTSTRAP_CONFIG") : NULL;
	struct bootstrap b = {0};
	int code;

	if (file && *file)
		code = yaml_read(file, yaml_literal, NULL, e, &b.doc);
	else if (text && *text)
		code = yaml_parse("GRPC_XDS_BOOTSTRAP_CONFIG", text, strlen(text), yaml_literal, NULL, e, &b.doc);
	else
		return 0;
	if (code < 0)
		return code;
	if (b.doc.root->kind != YAML_MAP) {
		err_add(e, b.doc.file, 1, 1, "no bootstrap of gRPC, expected a map with xds_servers and node");
		yaml_end(&b.doc);
		return ERR_MALFORMED;
	}
	take_server(b.doc.root, &b);
	take_node(map_at(b.doc.root, "node"), &b);
	take_identity(b.doc.root, &b);
	take_instances(map_at(b.doc.root, "certificate_providers"), &b);
	*ret = b;
	return 1;
}

void bootstrap_end(struct bootstrap *b)
{
	char *const texts[] = {b->server, b->tls_roots, b->tls_cert, b->tls_key, b->id, b->cluster, b->region, b->zone, b->sub_zone, b->roots, b->cert, b->key};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		free(texts[i]);
	conf_instances_end(&b->instances, &b->ninstances);
	yaml_end(&b->doc);
	*b = (struct bootstrap){0};
}
