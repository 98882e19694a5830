/* sidecar/check_files: see the header. */
#include "sidecar/check_files.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "net/tls.h"
#include "sidecar/advice.h"
#include "sidecar/group.h"

enum { FILE_MOST = 4 << 20 };
struct check {
	int64_t now_s;
	struct err *err;       /* borrowed */
	struct sb *warnings;   /* borrowed */
	const char *place;     /* of what names the files, borrowed: "thinmesh.yaml:3", "service 'demo'" */
	const char *path;      /* of the certificate that is judged; NULL: the configuration itself is */
};
struct text { char *p; size_t n; };

static void text_end(struct text *t)
{
	if (t->p)
		explicit_bzero(t->p, t->n); /* it may be a key */
	free(t->p);
	*t = (struct text){0};
}

static bool unjudged(const struct check *c, const char *path, const char *why)
{
	sb_fmt(c->warnings, "%s: warning: cannot be judged here: %s (%s)\n", path, why, c->place);
	return false;
}

static bool read_whole(const struct check *c, const char *path, struct text *ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	size_t at = 0;
	ssize_t got = 1;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int e = errno;
		if (fd >= 0)
			close(fd);
		return unjudged(c, path, strerror(e));
	}
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MOST) {
		close(fd);
		err_add(c->err, path, 0, 0, S_ISREG(st.st_mode) ? "is larger than 4 MiB (%s)" : "is not a file (%s)", c->place);
		return false;
	}
	ret->p = xalloc((size_t)st.st_size + 1);
	ret->n = (size_t)st.st_size;
	while (at < ret->n && (got = read(fd, ret->p + at, ret->n - at)) > 0)
		at += (size_t)got;
	close(fd);
	ret->n = at;
	return true;
}

static const char *day(int64_t at, char out[32])
{
	time_t t = (time_t)at;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, 32, "?");
	return out;
}

static void advised(void *ctx, const char *place, const char *whose, const char *text)
{
	const struct check *c = ctx;

	if (c->path)
		sb_fmt(c->warnings, "%s: warning: %s (%s)\n", c->path, text, place ? place : whose);
	else
		sb_fmt(c->warnings, "%s: warning: %s: %s\n", place ? place : "?", whose, text);
}

static void judge_times(const struct check *c, const char *path, const struct tls_cert *cert)
{
	int64_t from, to;
	char text[32];

	tls_cert_times(cert, &from, &to);
	if (to <= c->now_s)
		err_add(c->err, path, 0, 0, "the certificate '%s' has ended, %s (%s)", tls_cert_id(cert), day(to, text), c->place);
	else if (from > c->now_s)
		err_add(c->err, path, 0, 0, "the certificate '%s' is not valid before %s (%s)", tls_cert_id(cert), day(from, text), c->place);
	else if (to - c->now_s < (to - from) / 20)
		sb_fmt(c->warnings, "%s: warning: the certificate '%s' ends soon, %s (%s)\n", path, tls_cert_id(cert), day(to, text), c->place);
}

static void judge_name(struct check *c, const char *path, const struct tls_cert *cert, const struct conf_app *of)
{
	char *wanted = of ? conf_spiffe_id(of) : NULL;

	c->path = path;
	if (of)
		advice_cert(&of->identity, of->name, wanted, cert, &(struct advice){.say = advised, .ctx = c});
	c->path = NULL;
	free(wanted);
}

/* key NULL: in the same file. of: the app that shows it; NULL: it is no app's own. */
static void check_pair(struct check *c, const char *path, const char *key_path, const struct conf_app *of)
{
	struct text chain = {0}, key = {0};
	struct tls_cert *cert = NULL;
	struct err err = ERR_INIT;
	bool there = path && read_whole(c, path, &chain);

	there = (!key_path || read_whole(c, key_path, &key)) && there;
	if (there && tls_cert_new(path, str_n(chain.p, chain.n), key_path ? str_n(key.p, key.n) : (struct str){0}, &cert, &err) == 0) {
		judge_times(c, path, cert);
		judge_name(c, path, cert, of);
	} else if (there) {
		err_add(c->err, NULL, 0, 0, "%.*s (%s%s%s%s)", (int)strcspn(err_str(&err), "\n"), err_str(&err), key_path ? "key " : "", key_path ? key_path : "", key_path ? "; " : "", c->place);
	}
	tls_cert_unref(&cert);
	err_clear(&err);
	text_end(&chain);
	text_end(&key);
}

/* One that has ended beside others that stand is no problem yet. */
static void judge_roots(const struct check *c, const char *path, const struct tls_trust *trust)
{
	int64_t first = tls_trust_expires(trust);
	struct tls_last_root last;
	char text[32];

	if (tls_trust_last_root(trust, &last) && last.ends <= c->now_s)
		err_add(c->err, path, 0, 0, "every root in it has ended, the last one, '%s', %s (%s)", last.subject, day(last.ends, text), c->place);
	else if (first && first <= c->now_s)
		sb_fmt(c->warnings, "%s: warning: a root in it has ended, %s (%s)\n", path, day(first, text), c->place);
}

static void check_roots(const struct check *c, const char *path)
{
	struct text pem = {0};
	struct tls_trust *trust = NULL;
	struct err err = ERR_INIT;

	if (!path || !read_whole(c, path, &pem))
		return;
	if (tls_trust_new(path, str_n(pem.p, pem.n), NULL, &trust, &err) < 0)
		err_add(c->err, NULL, 0, 0, "%.*s (%s)", (int)strcspn(err_str(&err), "\n"), err_str(&err), c->place);
	else
		judge_roots(c, path, trust);
	tls_trust_unref(&trust);
	err_clear(&err);
	text_end(&pem);
}

/* A token may be written later, and is read anew each time. */
static void check_token(const struct check *c, const char *path)
{
	if (path && access(path, R_OK) != 0)
		(void)unjudged(c, path, strerror(errno));
}

static void check_ref(struct check *c, const struct secret_ref *ref)
{
	if (ref->from != SECRET_FILES || !ref->name)
		return;
	const char *cut = strchr(ref->name, '\n');
	char *first = cut ? xstrndup(ref->name, (size_t)(cut - ref->name)) : xstrdup(ref->name);
	if (ref->kind == SECRET_CERT)
		check_pair(c, first, cut ? cut + 1 : NULL, NULL);
	else
		check_roots(c, first);
	free(first);
}

static void check_app(struct check *c, const struct conf_app *a)
{
	const struct conf_identity *id = &a->identity;

	c->place = id->place ? id->place : a->name;
	if (id->kind == IDENTITY_FILES) {
		check_pair(c, id->files.cert, id->files.key, a);
		check_roots(c, id->files.roots);
	} else if (id->kind == IDENTITY_CA) {
		check_roots(c, id->ca.roots);
		check_token(c, id->ca.token_file);
		if (id->ca.cert)
			check_pair(c, id->ca.cert, id->ca.key, NULL);
	}
}

/* Where the daemon will run there may be one; it does not start without. */
static void check_group(struct check *c, const char *name, const char *place)
{
	struct err none = ERR_INIT;
	int64_t gid;

	if (group_find(name, place, &gid, &none) != 0)
		sb_fmt(c->warnings, "%s: warning: no group is named '%s' on this machine; where that is so, nothing starts\n", place, name);
	err_clear(&none);
}

static void check_doors(struct check *c, const struct conf_listen *l, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		check_group(c, l[i].group, l[i].place);
}

/* As the daemon would find it (net/proc_real: posix_spawnp, with the environment that it was given). NULL: it can be started. */
static const char *program_misses(const char *name)
{
	const char *path = strchr(name, '/') ? "" : getenv("PATH");
	int e = ENOENT;

	if (!path)
		path = "/bin:/usr/bin";
	for (const char *at = path; at; at = strchr(at, ':') ? strchr(at, ':') + 1 : NULL) {
		int n = (int)strcspn(at, ":");
		char *one = xasprintf("%.*s%s%s", n, at, n ? "/" : "", name);
		struct stat st;
		bool there = stat(one, &st) == 0;
		bool can = there && S_ISREG(st.st_mode) && access(one, X_OK) == 0;
		int why = !there ? errno : S_ISREG(st.st_mode) ? EACCES : EISDIR;

		free(one);
		if (can)
			return NULL;
		if (why != ENOENT && why != ENOTDIR)
			e = why;
	}
	return e == EISDIR ? "it is no file" : strerror(e);
}

/* Where the daemon will run it may be there: in another container, for another user. */
static void check_program(struct check *c, const struct conf_app *a)
{
	const struct health_check *own = a->health.check;
	const char *why = own && own->kind == CHECK_EXEC && own->nargv ? program_misses(own->argv[0]) : NULL;

	if (why)
		sb_fmt(c->warnings, "%s: warning: the check of app '%s' cannot start '%s' on this machine: %s; where that is so, the app is never ok\n", a->health.check_place, a->name, own->argv[0], why);
}

void check_files(const struct conf *conf, int64_t now_s, struct err *err, struct sb *warnings)
{
	struct check c = {.now_s = now_s, .err = err, .warnings = warnings, .place = ""};

	advice_conf(conf, &(struct advice){.say = advised, .ctx = &c});
	for (uint32_t i = 0; i < conf->napps; i++)
		if (i == 0 || conf->apps[i].identity.hash != conf->apps[i - 1].identity.hash) /* `identity:` for all of them is looked at once */
			check_app(&c, &conf->apps[i]);
	for (uint32_t i = 0; i < conf->nservices; i++) {
		const struct tls_want *w = conf->services[i].spec ? conf->services[i].spec->want : NULL;
		c.place = conf->services[i].place ? conf->services[i].place : conf->services[i].name;
		if (w && !w->unbuilt) {
			check_ref(&c, &w->roots);
			check_ref(&c, &w->cert);
		}
	}
	c.place = "xds.tls";
	if (conf->xds.tls.on) {
		check_roots(&c, conf->xds.tls.roots);
		if (conf->xds.tls.cert)
			check_pair(&c, conf->xds.tls.cert, conf->xds.tls.key, NULL);
	}
	check_token(&c, conf->xds.tls.token_file);
	check_group(&c, conf->control.group, "control.group");
	for (uint32_t i = 0; i < conf->napps; i++) {
		check_program(&c, &conf->apps[i]);
		check_doors(&c, conf->apps[i].listen, conf->apps[i].listens);
		check_doors(&c, conf->apps[i].health.listen, conf->apps[i].health.listens);
	}
}
