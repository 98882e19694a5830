/* net/secret_files: see secret_files.h.
 *
 *   sheet (one a secret) n --- 1..2 place (a folder, watched once for all files in it)
 *
 * The folder is watched, not the file: whoever renews a certificate replaces files, or a link on the way to them. What a sheet was read from is known by its stamps (inode, size,
 * times), so a sign of a change costs a stat, and only a change a read.
 *
 * Owner of sheets: struct secret_files, until their secret is gone; of places: their sheets, counted. */
#include "net/secret_files.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/err.h"
#include "net/transport_int.h"
#include "net/watch.h"

enum { FILE_MAX = 4 << 20, AGAIN_MAX_S = 30, POLL_S = 60 };
static const uint64_t second_ns = UINT64_C(1000000000);

struct place {
	struct list node;
	struct secret_files *all;
	char *folder;
	struct watch *watch;      /* NULL: there is none */
	struct watch *link;       /* where the folder is a symbolic link: of the link itself */
	uint32_t uses;
	bool silent;              /* changes by others are not told here: it is looked at each minute */
};
struct sheet {
	struct list node;
	struct secret_files *all;
	struct secret *secret;    /* borrowed: it says when it is gone; NULL: it is */
	char *key;                /* in by_name; NULL: filled by secret_files_fill */
	char *path[2];            /* chain and key, or roots and CRLs; [1] NULL: all is in one */
	struct place *place[2];
	struct file_stamp stamp[2]; /* of the last try */
	struct reading *reading;  /* asked for and not told yet; NULL: none */
	size_t charged;
	bool again_then;          /* there was another sign meanwhile: it is looked at once more behind it */
	bool broken, told, strays; /* strays: the path leads out of its folder */
	uint32_t tries;           /* of what lies there now */
	uint64_t broken_ns;       /* since when */
	struct timer again;
	struct grave grave;
};
struct secret_files {
	struct loop *loop;
	struct transports *transports;
	struct reader *reader;    /* borrowed */
	struct list sheets, places;
	struct map by_name;
	struct timer poll;
	uint64_t seed;
	bool seeded;
	void (*tell)(void *ctx, const struct secret *s, const char *why);
	void *tell_ctx;
};

/* ---- taking over -------------------------------------------------------------------------------------------------------------------------- */

struct bytes { char *p; size_t n; };

static void bytes_end(struct loop *l, struct bytes *b)
{
	if (b->p)
		explicit_bzero(b->p, b->n); /* a key may lie beside roots */
	acct_free(&l->memory, b->p);
	*b = (struct bytes){0};
}

/* Both files' texts one behind the other. */
static bool joined(struct loop *l, const struct bytes two[2], struct bytes *ret)
{
	ret->n = two[0].n + 1 + two[1].n;
	ret->p = acct_alloc(&l->memory, ret->n);
	if (!ret->p)
		return false;
	memcpy(ret->p, two[0].p, two[0].n);
	ret->p[two[0].n] = '\n';
	if (two[1].n)
		memcpy(ret->p + two[0].n + 1, two[1].p, two[1].n);
	return true;
}

/* One that cannot be shown now does not replace one that can: it may become good, or be replaced itself. */
static bool is_worse(const struct sheet *e, const struct tls_cert *fresh, const char *what, struct err *err)
{
	const struct loop *l = e->all->loop;
	int64_t now = (int64_t)(l->ops->wall_ns(l->ops_ctx) / 1000000000), from, to, old_from, old_to;
	char day[32];

	if (!e->secret->cert)
		return false;
	tls_cert_times(fresh, &from, &to);
	tls_cert_times(e->secret->cert, &old_from, &old_to);
	if (old_from > now || old_to < now || tls_cert_same(fresh, e->secret->cert))
		return false;
	if (to < now)
		err_add(err, what, 0, 0, "the certificate has expired (%s); the one in use has not and stays", tls_time_text(to, day));
	else if (from > now)
		err_add(err, what, 0, 0, "the certificate is not valid before %s; until then the one in use stays", tls_time_text(from, day));
	else
		return false;
	return true;
}

static void take_cert(struct sheet *e, const char *what, const struct bytes two[2], struct err *err)
{
	struct tls_cert *cert = NULL;
	const char *why;

	if (tls_cert_new(what, str_n(two[0].p, two[0].n), str_n(two[1].p, two[1].n), &cert, err) < 0)
		return;
	if (is_worse(e, cert, what, err))
		tls_cert_unref(&cert);
	else if (secret_put_cert(e->secret, cert, &why) < 0)
		err_add(err, what, 0, 0, "%s", why);
}

static void take_roots(struct sheet *e, const char *what, const struct bytes two[2], struct err *err)
{
	struct bytes all = {0};
	struct tls_trust *trust = NULL;
	const char *why;

	if (!joined(e->all->loop, two, &all))
		err_add(err, what, 0, 0, "the memory limit is reached");
	else if (tls_trust_new(what, str_n(all.p, all.n), NULL, &trust, err) == 0 && secret_put_trust(e->secret, trust, &why) < 0)
		err_add(err, what, 0, 0, "%s", why);
	bytes_end(e->all->loop, &all);
}

/* What OpenSSL keeps of a text is of its size. What is there is kept until its successor is: for a moment both are charged. */
static void take(struct sheet *e, const char *what, const struct bytes two[2], struct err *err)
{
	struct account *a = &e->all->loop->memory;
	size_t n = two[0].n + two[1].n, old = e->charged;

	if (!mem_try(a, n)) {
		err_add(err, what, 0, 0, "the memory limit is reached");
		return;
	}
	e->charged = n;
	if (e->secret->kind == SECRET_CERT)
		take_cert(e, what, two, err);
	else
		take_roots(e, what, two, err);
	if (!err_any(err)) {
		mem_give(a, old);
		return;
	}
	mem_give(a, n);
	e->charged = old;
}

static void again_due(struct timer *t);
static bool place_settle(struct place *p, const struct file_read *f);
static void poll_arm(struct secret_files *f);

static void tell(struct sheet *e, const char *why)
{
	const struct secret_files *f = e->all;

	e->told = why != NULL;
	if (f->tell)
		f->tell(f->tell_ctx, e->secret, why);
}

static void went_wrong(struct sheet *e, const struct err *err)
{
	uint64_t wait_s = UINT64_C(1) << (e->tries < 5 ? e->tries : 5);
	struct loop *l = e->all->loop;
	struct secret *s = secret_ref(e->secret); /* who is told may let go of it */
	char why[SECRET_WHY];

	if (!e->broken)
		e->broken_ns = l->now_ns;
	e->broken = true;
	e->tries++;
	if (e->path[0])
		timer_in(l, &e->again, (wait_s < AGAIN_MAX_S ? wait_s : AGAIN_MAX_S) * second_ns, again_due);
	secret_fail(s, secret_why(err, why));
	if (!e->told && (l->now_ns - e->broken_ns >= second_ns || s->state != SECRET_READY))
		tell(e, why);
	secret_unref(&s);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------------------- */

static void sheet_ask(struct sheet *e, bool only_changed);

static void fault_add(struct err *err, const struct file_read *f)
{
	char why[96];

	if (f->fault == FILE_LARGE)
		err_add(err, f->path, 0, 0, "is larger than 4 MiB");
	else if (f->fault != FILE_OK)
		err_add(err, f->path, 0, 0, "%s", file_why(f, why));
}

static void sheet_take(struct sheet *e, const struct reading *g)
{
	struct bytes two[2] = {{0}};
	struct err err = ERR_INIT;
	char *what = e->path[1] ? xasprintf("%s with %s", e->path[0], e->path[1]) : xstrdup(e->path[0]);

	for (uint32_t i = 0; i < g->nfiles; i++) {
		fault_add(&err, &g->files[i]);
		two[i] = (struct bytes){g->files[i].p, g->files[i].n};
	}
	if (!err_any(&err))
		take(e, what, two, &err);
	free(what);
	if (!e->secret) { /* it was let go of when it was told */
	} else if (err_any(&err)) {
		went_wrong(e, &err);
	} else {
		e->broken = false;
		e->tries = 0;
		if (e->told)
			tell(e, NULL);
	}
	err_clear(&err);
}

/* True: somebody watches that did not before, and what happened in between was told to nobody. */
static bool sheet_note(struct sheet *e, const struct reading *g)
{
	bool changed = false, fresh = false;

	e->strays = false;
	for (uint32_t i = 0; i < g->nfiles; i++) {
		const struct file_read *f = &g->files[i];
		if (f->fault == FILE_LATE) /* nothing is known */
			continue;
		changed |= !file_stamp_eq(&f->stamp, &e->stamp[i]);
		e->stamp[i] = f->stamp;
		e->strays |= f->strays;
		fresh |= place_settle(e->place[i], f);
	}
	if (changed)
		e->tries = 0;
	return fresh;
}

static void sheet_read(void *user, const struct reading *g)
{
	struct sheet *e = user;
	struct secret_files *f = e->all;
	bool again = sheet_note(e, g) || e->again_then;

	e->reading = NULL;
	e->again_then = false;
	if (!g->same)
		sheet_take(e, g);
	if (e->secret && again)
		sheet_ask(e, true);
	poll_arm(f);
}

/* One reading at a time; a sign that comes meanwhile may be of what it has passed already. */
static void sheet_ask(struct sheet *e, bool only_changed)
{
	struct secret_files *f = e->all;

	if (e->reading) {
		e->again_then = true;
		return;
	}
	if (!only_changed)
		timer_cancel(f->loop, &e->again);
	struct reading_spec spec = {.paths = {e->path[0], e->path[1]}, .most = FILE_MAX, .known = only_changed ? e->stamp : NULL, .told = sheet_read, .user = e};
	e->reading = reader_ask(f->reader, &spec);
}

static void sheet_read_inline(struct sheet *e, const char *text)
{
	struct bytes two[2] = {{.p = (char *)(uintptr_t)text, .n = strlen(text)}, {0}};
	struct err err = ERR_INIT;

	take(e, "inline PEM", two, &err);
	if (e->secret && err_any(&err))
		went_wrong(e, &err);
	err_clear(&err);
}

static void again_due(struct timer *t)
{
	sheet_ask(container_of(t, struct sheet, again), false);
}

/* Something may have changed. */
static void sheet_look(struct sheet *e)
{
	if (e->path[0])
		sheet_ask(e, !e->broken);
}

/* ---- places -------------------------------------------------------------------------------------------------------------------------------- */

/* Whoever is told of one sheet may let go of any other: they are taken off before they are looked at. */
static void sheets_look(struct secret_files *f, bool (*concerned)(const struct sheet *e, const void *ctx), const void *ctx)
{
	struct list left = LIST_INIT(left);

	list_splice(&left, &f->sheets);
	for (struct list *n; (n = list_pop(&left));) {
		struct sheet *e = list_entry(n, struct sheet, node);
		list_push(&f->sheets, n);
		if (concerned(e, ctx))
			sheet_look(e);
	}
}

static bool lies_in(const struct sheet *e, const void *ctx)
{
	return e->place[0] == ctx || e->place[1] == ctx;
}

static void place_changed(void *user)
{
	struct place *p = user;

	sheets_look(p->all, lies_in, p);
}

static void link_changed(void *user);

/* What is known of the folder since one of its files was read. Where it may hang it is not even watched: to lay a watch is to ask it, too. True: it is watched from now on. */
static bool place_settle(struct place *p, const struct file_read *f)
{
	struct loop *l = p->all->loop;
	bool may = f->folder.is_there && !f->folder.may_hang, fresh = false;

	if (!p->watch && may)
		fresh = watch_new(l, p->folder, place_changed, p, &p->watch) == 0;
	if (!p->link && may && f->folder.is_link)
		fresh |= watch_new_entry(l, p->folder, link_changed, p, &p->link) == 0;
	p->silent = !p->watch || (f->folder.is_link && !p->link) || !f->folder.tells;
	return fresh;
}

/* It leads to another folder now. */
static void link_changed(void *user)
{
	struct place *p = user;

	watch_free(&p->watch);
	p->silent = true; /* until it was looked at */
	place_changed(p);
}

static struct place *place_enter(struct secret_files *f, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder = !slash ? xstrdup(".") : slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));

	list_each(at, next, &f->places) {
		struct place *p = list_entry(at, struct place, node);
		if (strcmp(p->folder, folder) == 0) {
			free(folder);
			p->uses++;
			return p;
		}
	}
	struct place *p = xnew(struct place);
	p->all = f;
	p->folder = folder;
	p->uses = 1;
	p->silent = true; /* until it was looked at */
	list_push(&f->places, &p->node);
	return p;
}

static void place_leave(struct place **at)
{
	struct place *p = *at;

	*at = NULL;
	if (!p || --p->uses > 0)
		return;
	list_del(&p->node);
	watch_free(&p->watch);
	watch_free(&p->link);
	free(p->folder);
	free(p);
}

/* ---- where nothing is told ----------------------------------------------------------------------------------------------------------------- */

static bool is_polled(const struct sheet *e, const void *ctx)
{
	(void)ctx;
	return e->path[0] && (e->strays || e->place[0]->silent || (e->place[1] && e->place[1]->silent));
}

static void poll_due(struct timer *t)
{
	struct secret_files *f = container_of(t, struct secret_files, poll);

	sheets_look(f, is_polled, NULL);
	poll_arm(f);
}

/* It runs only while somebody needs it: an idle daemon sleeps. */
static void poll_arm(struct secret_files *f)
{
	bool needed = false;

	list_each(at, next, &f->sheets)
		needed |= is_polled(list_entry(at, struct sheet, node), NULL);
	if (!needed)
		timer_cancel(f->loop, &f->poll);
	else if (!timer_armed(&f->poll))
		timer_set_loose(f->loop, &f->poll, f->loop->now_ns + POLL_S * second_ns, poll_due);
}

/* ---- sheets ------------------------------------------------------------------------------------------------------------------------------------ */

static void sheet_bury(struct grave *g)
{
	free(container_of(g, struct sheet, grave));
}

static void sheet_gone(void *ctx, struct secret *s)
{
	struct sheet *e = ctx;
	struct secret_files *f = e->all;

	(void)s;
	e->secret = NULL;
	list_del(&e->node);
	timer_cancel(f->loop, &e->again);
	reading_forget(&e->reading);
	if (e->key)
		map_del(&f->by_name, str_of(e->key));
	for (int i = 0; i < 2; i++) {
		place_leave(&e->place[i]);
		free(e->path[i]);
		e->path[i] = NULL;
	}
	mem_give(&f->loop->memory, e->charged);
	e->charged = 0;
	free(e->key);
	e->key = NULL;
	loop_bury(f->loop, &e->grave, sheet_bury);
}

/* "A\nB", or "A". */
static void paths_of(struct sheet *e, const char *name)
{
	struct str all = str_of(name);
	ptrdiff_t nl = str_find(all, '\n');
	size_t first = nl < 0 ? all.n : (size_t)nl;

	e->path[0] = xstrndup(name, first);
	if (nl >= 0 && first + 1 < all.n)
		e->path[1] = xstrndup(name + first + 1, all.n - first - 1);
	for (int i = 0; i < 2 && e->path[i]; i++)
		e->place[i] = place_enter(e->all, e->path[i]);
}

/* Equal refs have equal keys. What is inline may be long, and secret: of that two hashes, of which one nobody can foresee. */
static char *key_of(const struct secret_files *f, const struct secret_ref *ref)
{
	struct str name = str_of(ref->name);

	if (ref->from == SECRET_FILES)
		return xasprintf("%d/%s", (int)ref->kind, ref->name);
	return xasprintf("%d:%016llx%016llx:%zu", (int)ref->kind, (unsigned long long)str_hash(name), (unsigned long long)str_hash_seeded(name, f->seed), name.n);
}

static struct sheet *sheet_new(struct secret_files *f, const struct secret_ref *ref)
{
	struct sheet *e = xnew(struct sheet);

	e->all = f;
	list_push(&f->sheets, &e->node);
	if (ref->from == SECRET_FILES)
		paths_of(e, ref->name);
	return e;
}

static void sheet_begin(struct sheet *e, const struct secret_ref *ref)
{
	if (e->path[0])
		sheet_ask(e, false);
	else
		sheet_read_inline(e, ref->name);
}

static const char *source_of(const struct sheet *e)
{
	return e->path[0] ? "files" : "inline";
}

struct secret *secret_files_get(struct secret_files *f, const struct secret_ref *ref)
{
	if (!f->seeded) { /* chance is drawn once files are asked for: a seed's run without them stays what it was */
		f->seeded = true;
		f->seed = loop_random(f->loop);
		map_init(&f->by_name, loop_random(f->loop));
	}
	char *key = key_of(f, ref);
	struct sheet *e = map_get(&f->by_name, str_of(key));

	if (e) {
		free(key);
		return secret_ref(e->secret);
	}
	e = sheet_new(f, ref);
	e->key = key;
	struct secret *made = secret_new(f->transports, ref->kind, e->path[0] ? e->path[0] : "PEM", source_of(e), sheet_gone, e);
	e->secret = made;
	map_put(&f->by_name, str_of(key), e);
	sheet_begin(e, ref);
	return made;
}

void secret_files_fill(struct secret_files *f, const struct secret_ref *ref, struct secret *s)
{
	struct sheet *e = sheet_new(f, ref);

	e->secret = s;
	secret_hand(s, source_of(e), sheet_gone, e);
	sheet_begin(e, ref);
}

static bool all_of_them(const struct sheet *e, const void *ctx)
{
	(void)e, (void)ctx;
	return true;
}

void secret_files_look(struct secret_files *f)
{
	sheets_look(f, all_of_them, NULL);
}

struct secret_files *secret_files_new(struct loop *l, struct transports *t, struct reader *r)
{
	struct secret_files *f = xnew(struct secret_files);

	f->loop = l;
	f->transports = t;
	f->reader = r;
	list_init(&f->sheets);
	list_init(&f->places);
	map_init(&f->by_name, 0); /* secret_files_get gives it its seed */
	return f;
}

void secret_files_free(struct secret_files **at)
{
	struct secret_files *f = *at;

	*at = NULL;
	if (!f)
		return;
	f->tell = NULL;
	while (!list_empty(&f->sheets)) {
		struct sheet *e = list_entry(f->sheets.next, struct sheet, node);
		struct secret *s = secret_ref(e->secret);
		sheet_gone(e, s);
		secret_hand(s, s->source, NULL, NULL);
		if (s->state != SECRET_READY)
			secret_fail(s, "nobody reads it any more");
		secret_unref(&s);
	}
	timer_cancel(f->loop, &f->poll);
	map_end(&f->by_name);
	free(f);
}

void secret_files_set_tell(struct secret_files *f, void (*fn)(void *ctx, const struct secret *s, const char *why), void *ctx)
{
	f->tell = fn;
	f->tell_ctx = ctx;
}
