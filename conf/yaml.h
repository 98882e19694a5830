/* conf/yaml: libyaml events to a node tree with places. The only room that includes yaml.h. Reads JSON too (YAML 1.1 superset).
 * Refused with their place: aliases and anchors, tags, duplicate keys, more than 1 MiB, deeper than 32, several documents.
 * `${NAME}` and `${NAME:-default}` in scalars are taken from the environment given; an unset one without default is an error.
 * Owner of the tree: the caller (one arena; yaml_end frees all). */
#pragma once
#include "base/err.h"
#include "base/str.h"
#include "conf/problem.h"

enum yaml_kind { YAML_SCALAR, YAML_MAP, YAML_SEQ };
struct yaml {
	enum yaml_kind kind;
	bool quoted;            /* a quoted scalar is never null, number or bool */
	bool expanded;          /* something of it came from the environment: in `{a: "${N}"}` quotes are needed and say nothing about the type */
	bool bad;               /* its problem is told already; the value means nothing */
	int line, column;       /* 1-based */
	const char *key;        /* in a map: this node's key */
	int key_line, key_column;
	struct str scalar;      /* NUL-terminated */
	struct yaml *first, *next; /* children in order; siblings */
	size_t count;
};
struct yaml_doc { struct yaml *root; char *file; void *mem; };
typedef const char *yaml_env_fn(void *ctx, const char *name); /* NULL: not set */
/* As env: nothing is expanded, ${ stays what it is. For texts that are not our configuration: JSON of the environment, of gRPC's bootstrap. */
yaml_env_fn yaml_literal;
/* 0 and *ret; or ERR_MALFORMED with lines in e. file: only for the messages. An empty text gives an empty map. */
int yaml_parse(const char *file, const char *text, size_t n, yaml_env_fn *env, void *env_ctx, struct err *e, struct yaml_doc *ret);
int yaml_read(const char *file, yaml_env_fn *env, void *env_ctx, struct err *e, struct yaml_doc *ret); /* opens and reads; errno cases told in e */
/* The same, for who goes on looking: problems go to the list, and *ret is the tree as far as it can be trusted (nodes that cannot are `bad`);
 * root is NULL where the grammar was broken. */
void yaml_parse_all(const char *file, const char *text, size_t n, yaml_env_fn *env, void *env_ctx, struct problems *p, struct yaml_doc *ret);
void yaml_read_all(const char *file, yaml_env_fn *env, void *env_ctx, struct problems *p, struct yaml_doc *ret);
/* Not yaml_free: libyaml exports one, and ours would take its place inside of libyaml. */
void yaml_end(struct yaml_doc *d);
/* Nothing was written, or `~` or `null`: the default is meant. */
bool yaml_is_null(const struct yaml *node);
/* ${NAME} (an error when not set), ${NAME:-default} (also for an empty one, as in a shell), $${ for a literal ${. Adds to out, at most YAML_EXPANDED_MAX.
 * NULL, or what is wrong: a text that the caller frees. */
enum { YAML_TEXT_MAX = 1 << 20, YAML_DEPTH_MAX = 32, YAML_NODES_MAX = 200000, YAML_EXPANDED_MAX = 4 << 20 };
char *yaml_expand(struct str text, yaml_env_fn *env, void *env_ctx, struct sb *out);
const struct yaml *yaml_get(const struct yaml *map, const char *key);
