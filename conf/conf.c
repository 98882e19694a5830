/* conf/conf: from -c arguments to one struct conf: files and folders read in order, all problems told at once.
 *
 *   arguments --> files (of a folder: *.yaml by name) --> yaml trees --> schema_read into one struct conf --> conf_finish --> sorted problems, or the conf
 *
 * The trees and the bookkeeping die here; the conf and what hangs on it live by counted reference. */
#include "conf/conf.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "conf/schema.h"

/* ---- the struct --------------------------------------------------------------------------------------------------------- */

void conf_unref(struct conf **c)
{
	struct conf *old = *c;

	*c = NULL;
	if (!old || --old->refs > 0)
		return;
	for (uint32_t i = 0; i < old->napps; i++)
		conf_app_end(&old->apps[i]);
	for (uint32_t i = 0; i < old->nservices; i++)
		conf_service_end(&old->services[i]);
	for (uint32_t i = 0; i < old->nfolders; i++)
		free(old->folders[i]);
	free(old->apps);
	free(old->services);
	free(old->folders);
	free(old->control.unix_path);
	free(old->control.group);
	free(old->control.tcp_text);
	free(old->mesh_domain);
	free(old->snapshot_dir);
	conf_xds_end(&old->xds);
	conf_identity_end(&old->identity);
	conf_instances_end(&old->instances, &old->ninstances);
	free(old->log.file);
	free(old->log.access_file);
	free(old);
}

/* ---- one load ----------------------------------------------------------------------------------------------------------- */

struct load {
	struct schema schema;
	struct problems problems;
	char **files; /* names that problems borrow, until they are told */
	uint32_t nfiles, files_cap;
};

static void load_begin(struct load *l, yaml_env_fn *env, void *env_ctx)
{
	struct conf *c = xnew(struct conf);

	c->refs = 1;
	*l = (struct load){.schema = {.conf = c, .env = env, .env_ctx = env_ctx, .file = "thinmesh"}};
	l->schema.problems = &l->problems;
	/* The keys come from files that an operator writes: any seed will do. */
	map_init(&l->schema.apps, 1);
	map_init(&l->schema.services, 2);
	map_init(&l->schema.listens, 3);
	schema_init(&l->schema, MAP_ROOT, c);
}

static const char *load_file_name(struct load *l, const char *file)
{
	if (l->nfiles == l->files_cap) {
		l->files_cap = l->files_cap ? l->files_cap * 2 : 8;
		l->files = xrealloc(l->files, l->files_cap * sizeof(*l->files));
	}
	l->files[l->nfiles] = xstrdup(file);
	l->problems.order = l->nfiles;
	l->schema.file = l->files[l->nfiles];
	return l->files[l->nfiles++];
}

static void load_tree(struct load *l, struct yaml_doc *doc)
{
	if (doc->root)
		schema_read(&l->schema, MAP_ROOT, doc->root, l->schema.conf);
	yaml_end(doc);
}

static void load_file(struct load *l, const char *path)
{
	const char *file = load_file_name(l, path);
	struct yaml_doc doc;

	yaml_read_all(file, l->schema.env, l->schema.env_ctx, &l->problems, &doc);
	load_tree(l, &doc);
}

static void load_text(struct load *l, const char *name, const char *text)
{
	const char *file = load_file_name(l, name);
	struct yaml_doc doc;

	yaml_parse_all(file, text, strlen(text), l->schema.env, l->schema.env_ctx, &l->problems, &doc);
	load_tree(l, &doc);
}

static int is_yaml(const struct dirent *d)
{
	return d->d_name[0] != '.' && str_ends(str_of(d->d_name), STR(".yaml"));
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	/* Bytes, not the locale's order: two machines shall read the same. */
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* Fragments may come and go while we look: one that is gone was not there. */
static void load_folder(struct load *l, const char *path)
{
	struct conf *c = l->schema.conf;
	struct dirent **names;
	int n = scandir(path, &names, is_yaml, by_name);

	if (n < 0) {
		problems_add(&l->problems, load_file_name(l, path), 0, 0, "cannot be listed: %s", strerror(errno));
		return;
	}
	c->folders = xrealloc(c->folders, (c->nfolders + 1) * sizeof(*c->folders));
	c->folders[c->nfolders++] = xstrdup(path);
	if (n > CONF_FILES_MAX)
		problems_add(&l->problems, load_file_name(l, path), 0, 0, "%d files, expected at most %d", n, CONF_FILES_MAX);
	for (int i = 0; i < n; i++) {
		char *file = xasprintf("%s%s%s", path, str_ends(str_of(path), STR("/")) ? "" : "/", names[i]->d_name);
		struct stat st;

		/* A pipe in a folder would hang us; a name without a file (ENOENT) is an editor's. */
		if (n <= CONF_FILES_MAX && (stat(file, &st) < 0 ? errno != ENOENT : S_ISREG(st.st_mode)))
			load_file(l, file);
		free(file);
		free(names[i]);
	}
	free(names);
}

static struct conf *load_end(struct load *l, struct err *e)
{
	struct schema *s = &l->schema;
	struct conf *c = s->conf;

	/* A folder may be empty, its apps come later; a file without an app is a mistake: nobody could call. */
	if (c->napps == 0 && c->nfolders == 0 && l->problems.count == 0)
		problems_add(&l->problems, s->file, 0, 0, "apps: none is declared, expected at least one with a listen socket");
	conf_finish(s);
	if (l->problems.count) {
		problems_tell(&l->problems, e);
		conf_unref(&c);
	}
	map_end(&s->apps);
	map_end(&s->services);
	map_end(&s->listens);
	sb_end(&s->path);
	for (uint32_t i = 0; i < l->nfiles; i++)
		free(l->files[i]);
	free(l->files);
	return c;
}

struct conf *conf_load(char *const *paths, size_t count, yaml_env_fn *env, void *env_ctx, struct err *e)
{
	struct load l;

	load_begin(&l, env, env_ctx);
	if (count == 0)
		load_text(&l, "(embedded default)", conf_embedded());
	for (size_t i = 0; i < count; i++) {
		struct stat st;

		if (stat(paths[i], &st) == 0 && S_ISDIR(st.st_mode))
			load_folder(&l, paths[i]);
		else
			load_file(&l, paths[i]);
	}
	return load_end(&l, e);
}

struct conf *conf_load_text(const char *file, const char *text, yaml_env_fn *env, void *env_ctx, struct err *e)
{
	struct load l;

	load_begin(&l, env, env_ctx);
	load_text(&l, file, text);
	return load_end(&l, e);
}

/* ---- without a file ----------------------------------------------------------------------------------------------------- */

const char *conf_embedded(void)
{
	return "apps:\n"
	       "  - name: shop\n"
	       "    listen:\n"
	       "      - unix: /run/thinmesh/shop.sock\n"
	       "services:\n"
	       "  - name: demo.default.svc.cluster.local:50051\n"
	       "    endpoints: [\"127.0.0.1:50051\", \"127.0.0.1:50052\"]\n";
}

void conf_limits_default(struct limits *l)
{
	struct conf c = {0};
	struct problems none = {0};
	struct schema s = {.conf = &c, .problems = &none, .file = "defaults"};

	schema_init(&s, MAP_LIMITS, &c);
	sb_end(&s.path);
	*l = c.limits;
}
