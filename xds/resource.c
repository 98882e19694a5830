/* xds/resource: see the header. The bytes of one resource come between resource_begin and resource_end (struct reading); endpoints go through their
 * push parser, all else is gathered once, for its own decoder. */
#include "xds/resource.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/stats.h"
#include "xds/notes.h"

/* A set that is larger is not worth to be read at a start; its count tells before the work is done for nothing. */
enum { SAVE_SLICE = 64 << 10, SAVE_MAX = 4 << 20, SAVE_ENDPOINTS = 65536 };
enum { TRIM_FROM = 256 << 10 };
static const uint64_t save_after_ns = UINT64_C(1000000000);

enum { TOLD_MOST = 20, TOLD_PERIOD_MS = 10000 };

struct reading {
	bool on;
	enum xds_type type;
	char *buf;               /* charged */
	size_t n, at;
	struct eds_decoder *eds;
	struct str named;        /* what a delta answer calls it; borrowed until the end */
};
struct resources {
	struct resources_spec spec;
	struct sub *sub;
	struct map by_name[XDS_TYPES];
	struct reading reading;
	bool answered[XDS_TYPES]; /* whole, in this run */
	size_t answer_bytes;      /* of the answer that is being read, so far */
	bool marked;              /* archive_mark was called for the answer of CDS that is being read */
	bool in_answer;           /* one has begun, and is not over */
	struct log_every said_refused, said_notes; /* a control plane that changes its mind must not fill the log */
	struct list unsaved;
	struct timer save;
	struct { struct resource *r; struct eds_encoder at; struct sb out; } saving;
	struct task save_task;
	void (*on_state)(void *ctx, bool up, const char *why);
	void *state_ctx;
	void (*on_came)(void *ctx, enum xds_type t, struct str name);
	void *came_ctx;
	void (*on_answered)(void *ctx, enum xds_type t);
	void *answered_ctx;
};

/* ---- objects -------------------------------------------------------------------------------------------------------------- */

static void resource_clear(struct resource *q)
{
	listener_decoded_free(&q->listener);
	route_config_unref(&q->routes);
	cluster_decoded_free(&q->cluster);
	endpoints_unref(&q->endpoints);
	q->hash = 0;
}

static void saving_drop(struct resources *r)
{
	r->saving.r = NULL;
	sb_end(&r->saving.out);
}

static void resource_free(struct resource *q)
{
	struct resources *r = q->all;

	if (r->saving.r == q)
		saving_drop(r);
	list_del(&q->node);
	resource_clear(q);
	free(q->refused);
	free(q->notes);
	free(q->name);
	free(q);
}

struct resources *resources_new(const struct resources_spec *spec)
{
	struct resources *r = xnew(struct resources);

	r->spec = *spec;
	for (int t = 0; t < XDS_TYPES; t++)
		map_init_borrowed(&r->by_name[t], loop_random(spec->loop));
	list_init(&r->unsaved);
	return r;
}

static void reading_drop(struct resources *r)
{
	acct_free(r->spec.account, r->reading.buf);
	eds_decoder_free(&r->reading.eds);
	r->reading = (struct reading){0};
}

void resources_free(struct resources **resources)
{
	struct resources *r = *resources;
	struct str key;
	void *value;

	*resources = NULL;
	if (!r)
		return;
	reading_drop(r);
	timer_cancel(r->spec.loop, &r->save);
	loop_undefer(&r->save_task);
	for (int t = 0; t < XDS_TYPES; t++) {
		for (uint32_t i = 0; map_next(&r->by_name[t], &i, &key, &value);)
			resource_free(value);
		map_end(&r->by_name[t]);
	}
	saving_drop(r);
	free(r);
}

void resources_conf(struct resources *r, const struct conf_xds *conf)
{
	r->spec.conf = conf;
}

void resources_set_sub(struct resources *r, struct sub *sub)
{
	r->sub = sub;
}

void resources_on_state(struct resources *r, void (*fn)(void *ctx, bool up, const char *why), void *ctx)
{
	r->on_state = fn;
	r->state_ctx = ctx;
}

void resources_on_came(struct resources *r, void (*fn)(void *ctx, enum xds_type t, struct str name), void *ctx)
{
	r->on_came = fn;
	r->came_ctx = ctx;
}

void resources_on_answered(struct resources *r, void (*fn)(void *ctx, enum xds_type t), void *ctx)
{
	r->on_answered = fn;
	r->answered_ctx = ctx;
}

struct resource *resource_find(const struct resources *r, enum xds_type t, struct str name)
{
	return map_get(&r->by_name[t], name);
}

static const struct profile *profile_of(const struct resources *r)
{
	return &profiles[r->spec.conf->profile];
}

/* Of a type that comes whole no names are subscribed. */
static bool comes_whole(const struct resources *r, enum xds_type t)
{
	const struct profile *p = profile_of(r);

	return (t == XDS_CDS && p->cds_all) || (t == XDS_LDS && (p->lds_all || (p->lds && r->spec.conf->wildcard)));
}

/* Where listeners are found by what their name begins with ("demo:127.0.0.1:9191"), that is what they are called here. */
static struct str called(const struct resources *r, enum xds_type t, struct str name)
{
	ptrdiff_t colon = t == XDS_LDS && profile_of(r)->lds_all ? str_find(name, ':') : -1;

	return colon > 0 ? str_cut(name, 0, (size_t)colon) : name;
}

static void tell(struct resource *q)
{
	struct list now;

	list_init(&now);
	list_splice(&now, &q->deps);
	for (struct list *n; (n = list_pop(&now));) {
		struct dep *d = list_entry(n, struct dep, node);

		list_push(&q->deps, n);
		d->changed(d);
	}
}

/* ---- from bytes to what they say ------------------------------------------------------------------------------------------ */

static void set_present(struct resource *q, uint64_t hash, bool stale)
{
	q->state = RESOURCE_PRESENT;
	q->silent = false;
	q->hash = hash;
	q->stale = stale;
}

/* What will not be done as the control plane says, told when it begins to be so. */
static void note_effects(struct resource *q)
{
	const struct route_config *routes = q->routes ? q->routes : q->listener ? q->listener->inline_routes : NULL;
	struct resources *r = q->all;
	struct sb none = {0}, cannot = {0};

	if (routes)
		notes_of_routes(routes, &none, &cannot);
	else if (q->cluster && q->cluster->notes)
		sb_str(&none, q->cluster->notes);
	if (cannot.n)
		sb_fmt(&none, "%scalls that ask for %.*s are refused", none.n ? "; " : "", (int)cannot.n, cannot.p);
	char *now = none.n ? xstrndup(none.p, none.n) : NULL;

	if (now && (!q->notes || strcmp(now, q->notes) != 0) && log_every(r->spec.log, &r->said_notes, r->spec.loop->now_ns, TOLD_MOST, TOLD_PERIOD_MS))
		log_info(r->spec.log, "view '%s': %s '%s': without effect in this version: %s", r->spec.view, xds_type_name[q->type], q->name, now);
	free(q->notes);
	q->notes = now;
	sb_end(&none);
	sb_end(&cannot);
}

/* Replaces what the resource holds by what the bytes say; on refusal it stays as it was. */
static int decode_into(struct resource *q, const void *p, size_t n, struct sb *problems)
{
	struct resources *r = q->all;
	struct account *a = r->spec.account;
	int err = 0;

	switch (q->type) {
	case XDS_LDS: {
		struct listener_decoded *l = NULL;

		if ((err = decode_listener(p, n, a, &l, problems)) == 0) {
			resource_clear(q);
			q->listener = l;
		}
		break;
	}
	case XDS_RDS: {
		struct route_config *c = NULL;

		if ((err = decode_routes(p, n, a, &c, problems)) == 0) {
			resource_clear(q);
			q->routes = c;
		}
		break;
	}
	case XDS_CDS: {
		struct cluster_decoded *c = NULL;

		if ((err = decode_cluster(p, n, a, r->spec.metas, r->spec.conf->profile, &c, problems)) == 0) {
			resource_clear(q);
			c->spec->removal_hold_ns = r->spec.conf->removal_hold_ns;
			if (r->spec.conf->profile == PROFILE_ISTIO_GRPC && !c->has_panic) /* istiod says none to clients of gRPC, which know no panic (gRFC A27) */
				c->spec->panic_percent = 0;
			spec_seal(c->spec);
			q->cluster = c;
		}
		break;
	}
	default:
		err = -EINVAL;
	}
	if (!err)
		note_effects(q);
	return err;
}

static struct endpoint_set *no_old_set(void *ctx, struct str name)
{
	(void)ctx, (void)name;
	return NULL;
}

static int decode_endpoints_into(struct resource *q, const void *p, size_t n, struct sb *problems)
{
	struct eds_decoder *d = eds_decoder_new(q->all->spec.account, q->all->spec.metas, no_old_set, NULL);
	struct endpoint_set *set = NULL;
	struct str name;
	int err;

	if (!d)
		return -ENOMEM;
	eds_decoder_bytes(d, p, n);
	err = eds_decoder_end(d, &set, &name, problems);
	if (!err) {
		resource_clear(q);
		q->endpoints = set;
	}
	eds_decoder_free(&d);
	return err;
}

/* What the archive has of it. True: it is present now, stale. */
static bool load(struct resource *q)
{
	struct resources *r = q->all;
	struct sb problems = {0};
	struct str name = str_of(q->name);
	uint64_t hash;
	void *p;
	size_t n;
	int err;

	if (!archive_has(r->spec.archive, q->type, name, &hash, &n) || archive_get(r->spec.archive, q->type, name, &p, &n) != 0)
		return false;
	err = q->type == XDS_EDS ? decode_endpoints_into(q, p, n, &problems) : decode_into(q, p, n, &problems);
	archive_got(r->spec.archive, p, n);
	if (err) {
		log_warn(r->spec.log, "view '%s': %s '%s': what the snapshot has of it is refused: %.*s", r->spec.view, xds_type_name[q->type], q->name,
			(int)problems.n, problems.n ? problems.p : "");
		archive_del(r->spec.archive, q->type, name);
	} else {
		/* Clusters of this run's CDS are as fresh as can be. */
		set_present(q, q->type == XDS_EDS ? endpoints_hash(q->endpoints) : hash, !(comes_whole(r, q->type) && r->answered[q->type]));
	}
	sb_end(&problems);
	return !err;
}

/* ---- needing -------------------------------------------------------------------------------------------------------------- */

static struct resource *resource_made(struct resources *r, enum xds_type t, struct str name)
{
	struct resource *q = xnew(struct resource);

	q->all = r;
	q->type = t;
	q->name = xstrndup(name.p, name.n);
	list_init(&q->deps);
	list_init(&q->node);
	map_put(&r->by_name[t], str_of(q->name), q);
	if (!load(q) && comes_whole(r, t) && r->answered[t])
		q->state = RESOURCE_ABSENT;
	if (!comes_whole(r, t))
		sub_want(r->sub, t, name);
	return q;
}

void resource_need(struct resources *r, struct dep *d, enum xds_type t, struct str name, void (*changed)(struct dep *d))
{
	struct resource *q = map_get(&r->by_name[t], name);

	if (d->resource && d->resource == q)
		return;
	if (!q)
		q = resource_made(r, t, name);
	resource_forget(d); /* it is called otherwise now: who names its resources by their version would fill the archive */
	d->resource = q;
	d->changed = changed;
	list_push(&q->deps, &d->node);
}

static void give_back(struct dep *d, bool forget)
{
	struct resource *q = d->resource;
	struct resources *r;

	if (!q)
		return;
	r = q->all;
	list_del(&d->node);
	d->resource = NULL;
	if (!list_empty(&q->deps))
		return;
	if (!comes_whole(r, q->type)) {
		sub_unwant(r->sub, q->type, str_of(q->name));
		if (forget)
			archive_del(r->spec.archive, q->type, str_of(q->name));
	}
	map_del(&r->by_name[q->type], str_of(q->name));
	resource_free(q);
}

void resource_unneed(struct dep *d)
{
	give_back(d, false);
}

void resource_forget(struct dep *d)
{
	give_back(d, true);
}

/* ---- the archive of endpoints ---------------------------------------------------------------------------------------------- */

static void save_slice(struct task *t);

static void save_next(struct resources *r)
{
	if (!r->saving.r && !list_empty(&r->unsaved)) {
		struct list *n = list_pop(&r->unsaved);

		r->saving.r = list_entry(n, struct resource, node);
		r->saving.r->unsaved = false;
		r->saving.at = (struct eds_encoder){0};
	}
	if (r->saving.r)
		loop_defer(r->spec.loop, &r->save_task, save_slice);
}

static void save_step(struct resources *r)
{
	struct resource *q = r->saving.r;

	if (q->state != RESOURCE_PRESENT || !q->endpoints) {
		saving_drop(r);
	} else if (endpoints_count(q->endpoints) > SAVE_ENDPOINTS) {
		archive_del(r->spec.archive, XDS_EDS, str_of(q->name));
		saving_drop(r);
	} else if (!endpoints_encode(q->endpoints, q->name, &r->saving.at, SAVE_SLICE, &r->saving.out)) {
		archive_put(r->spec.archive, XDS_EDS, str_of(q->name), q->hash, r->saving.out.p, r->saving.out.n);
		saving_drop(r);
	} else if (r->saving.out.n > SAVE_MAX) { /* more than is worth to be read at a start */
		archive_del(r->spec.archive, XDS_EDS, str_of(q->name));
		saving_drop(r);
	}
}

static void save_slice(struct task *t)
{
	struct resources *r = container_of(t, struct resources, save_task);

	if (r->saving.r)
		save_step(r);
	save_next(r);
}

bool resources_save_soon(struct resources *r)
{
	timer_cancel(r->spec.loop, &r->save);
	save_next(r);
	return !r->saving.r;
}

void resources_save(struct resources *r)
{
	timer_cancel(r->spec.loop, &r->save);
	for (save_next(r); r->saving.r; save_next(r))
		save_step(r);
	loop_undefer(&r->save_task);
}

static void save_due(struct timer *t)
{
	save_next(container_of(t, struct resources, save));
}

/* Endpoints are kept a second after their last change: a thousand pushes are a few writes. */
static void save_later(struct resource *q)
{
	struct resources *r = q->all;
	struct archive_info archive;

	if (r->saving.r == q)
		saving_drop(r);
	archive_info(r->spec.archive, &archive);
	if (!archive.on_disk) /* nobody would ever read it: the next process has no such memory */
		return;
	if (!q->unsaved) {
		q->unsaved = true;
		list_del(&q->node);
		list_push(&r->unsaved, &q->node);
	}
	if (!timer_armed(&r->save))
		timer_in(r->spec.loop, &r->save, save_after_ns, save_due);
}

/* ---- reading an answer ----------------------------------------------------------------------------------------------------- */

static struct endpoint_set *set_of(void *ctx, struct str name)
{
	struct resources *r = ctx;
	struct resource *q = map_get(&r->by_name[XDS_EDS], name);

	return q ? q->endpoints : NULL;
}

/* A full answer of clusters: what it does not name is gone at its end. */
static void cds_begins(struct resources *r)
{
	if (r->marked || !comes_whole(r, XDS_CDS))
		return;
	r->marked = true;
	archive_mark(r->spec.archive, XDS_CDS);
}

static bool on_begin(void *ctx, enum xds_type t, struct str name, size_t n, struct sb *problems)
{
	struct resources *r = ctx;

	reading_drop(r);
	r->answer_bytes += n;
	if (t == XDS_CDS)
		cds_begins(r);
	if (name.n && !comes_whole(r, t) && !map_get(&r->by_name[t], name))
		return false; /* an answer to what was asked a moment ago */
	r->reading.type = t;
	r->reading.named = name;
	if (t == XDS_EDS) {
		r->reading.eds = eds_decoder_new(r->spec.account, r->spec.metas, set_of, r);
	} else {
		r->reading.buf = acct_alloc(r->spec.account, n ? n : 1);
		r->reading.n = n;
	}
	if (!r->reading.eds && !r->reading.buf) {
		sb_fmt(problems, "%s%.*s: no memory for its %zu bytes", problems->n ? "; " : "", (int)name.n, name.n ? name.p : "", n);
		reading_drop(r);
		return false;
	}
	r->reading.on = true;
	return true;
}

static void on_bytes(void *ctx, const void *p, size_t n)
{
	struct resources *r = ctx;

	if (!r->reading.on)
		return;
	if (r->reading.eds) {
		eds_decoder_bytes(r->reading.eds, p, n);
		return;
	}
	if (n > r->reading.n - r->reading.at)
		n = r->reading.n - r->reading.at;
	memcpy(r->reading.buf + r->reading.at, p, n);
	r->reading.at += n;
}

/* "NAME: " before what the decoder says, "; " between two. */
static size_t problem_begin(struct sb *problems, struct str name)
{
	if (problems->n)
		sb_str(problems, "; ");
	size_t at = problems->n;
	sb_add(problems, name.n ? name.p : "?", name.n ? (name.n < 256 ? name.n : 256) : 1);
	sb_str(problems, ": ");
	return at;
}

static void note_refused(struct resource *q, const struct sb *problems, size_t from)
{
	struct resources *r = q->all;
	char *was = q->refused;

	q->refused = xstrndup(problems->p + from, problems->n - from < 512 ? problems->n - from : 512);
	if ((!was || strcmp(was, q->refused) != 0) && log_every(r->spec.log, &r->said_refused, r->spec.loop->now_ns, TOLD_MOST, TOLD_PERIOD_MS))
		log_warn(r->spec.log, "view '%s': %s '%s' is refused, %s: %s", r->spec.view, xds_type_name[q->type], q->name,
			q->state == RESOURCE_PRESENT ? "its last good version stays" : "it stays unknown", q->refused);
	free(was);
	tell(q);
}

static int end_endpoints(struct resources *r, struct sb *problems)
{
	struct endpoint_set *set = NULL;
	struct str name = STR("");
	struct sb why = {0};
	int err = eds_decoder_end(r->reading.eds, &set, &name, &why);
	struct resource *q = name.n ? map_get(&r->by_name[XDS_EDS], name) : NULL;

	if (err) {
		size_t from = problem_begin(problems, name.n ? name : r->reading.named);

		sb_add(problems, why.n ? why.p : "malformed", why.n ? why.n : 9);
		if (q)
			note_refused(q, problems, from);
	} else if (q) {
		bool same = q->state == RESOURCE_PRESENT && q->hash == endpoints_hash(set), was_stale = q->stale;

		q->seen = true;
		free(q->refused);
		q->refused = NULL;
		if (same) {
			q->stale = false;
			endpoints_unref(&set);
		} else {
			resource_clear(q);
			q->endpoints = set;
			set_present(q, endpoints_hash(set), false);
			save_later(q);
		}
		if (!same || was_stale)
			tell(q);
	} else {
		endpoints_unref(&set);
	}
	sb_end(&why);
	return err;
}

/* A cluster that nobody needs goes to the archive as it is. */
static int end_unneeded_cluster(struct resources *r, struct str name, uint64_t hash, struct sb *problems)
{
	int err = 0;

	if (!archive_keep(r->spec.archive, XDS_CDS, name, hash))
		err = archive_put(r->spec.archive, XDS_CDS, name, hash, r->reading.buf, r->reading.at);
	if (err) {
		problem_begin(problems, name);
		sb_str(problems, "no room to keep it");
		return err;
	}
	if (r->on_came)
		r->on_came(r->came_ctx, XDS_CDS, name);
	struct resource *q = map_get(&r->by_name[XDS_CDS], name);
	if (q) /* wanted just now, because of this answer: which is not to say at its end that it lacks it */
		q->seen = true;
	return 0;
}

static int end_needed(struct resource *q, uint64_t hash, struct sb *problems)
{
	struct resources *r = q->all;
	bool was_stale = q->stale;

	q->seen = true;
	if (q->state == RESOURCE_PRESENT && q->hash == hash) {
		/* Where it could not be kept before, it is now: without it a name that comes back from being idle would find no cluster. */
		if (comes_whole(r, q->type) && !archive_keep(r->spec.archive, q->type, str_of(q->name), hash))
			archive_put(r->spec.archive, q->type, str_of(q->name), hash, r->reading.buf, r->reading.at);
		q->stale = false;
		free(q->refused);
		q->refused = NULL;
		if (was_stale)
			tell(q);
		return 0;
	}
	size_t was = problems->n, from = problem_begin(problems, str_of(q->name));
	int err = decode_into(q, r->reading.buf, r->reading.at, problems);
	if (err) {
		if (comes_whole(r, q->type)) /* the archive's is the last good one: not to be swept */
			archive_keep(r->spec.archive, q->type, str_of(q->name), q->hash);
		note_refused(q, problems, from);
		return err;
	}
	problems->n = was;
	free(q->refused);
	q->refused = NULL;
	set_present(q, hash, false);
	archive_put(r->spec.archive, q->type, str_of(q->name), hash, r->reading.buf, r->reading.at);
	tell(q);
	if (r->on_came && comes_whole(r, q->type))
		r->on_came(r->came_ctx, q->type, str_of(q->name));
	return 0;
}

static int on_end(void *ctx, struct sb *problems)
{
	struct resources *r = ctx;
	struct str name;
	int err = 0;

	if (!r->reading.on)
		return 0;
	if (r->reading.eds) {
		err = end_endpoints(r, problems);
	} else if (!decode_name(r->reading.buf, r->reading.at, &name) || !name.n) {
		problem_begin(problems, r->reading.named);
		sb_str(problems, "name: it has none");
		err = -EINVAL;
	} else {
		uint64_t hash = str_hash(str_n(r->reading.buf, r->reading.at));
		name = called(r, r->reading.type, name);
		struct resource *q = map_get(&r->by_name[r->reading.type], name);

		if (q)
			err = end_needed(q, hash, problems);
		else if (comes_whole(r, r->reading.type) && r->reading.type == XDS_CDS)
			err = end_unneeded_cluster(r, name, hash, problems);
		else if (comes_whole(r, r->reading.type))
			err = end_needed(resource_made(r, r->reading.type, name), hash, problems);
	}
	reading_drop(r);
	return err;
}

static void on_cut(void *ctx)
{
	struct resources *r = ctx;

	reading_drop(r);
}

/* Resources that were seen in an answer that was cut off may be missing in this one. */
static void on_answer_begins(void *ctx)
{
	struct resources *r = ctx;
	struct str key;
	void *value;

	for (int t = 0; r->in_answer && t < XDS_TYPES; t++)
		for (uint32_t i = 0; map_next(&r->by_name[t], &i, &key, &value);)
			((struct resource *)value)->seen = false;
	r->in_answer = true;
	r->marked = false;
	r->answer_bytes = 0;
}

static void set_absent(struct resource *q)
{
	struct resources *r = q->all;

	bool was_silent = q->silent;

	q->silent = false;
	if (q->state == RESOURCE_ABSENT) {
		if (was_silent)
			tell(q);
		return;
	}
	if (r->saving.r == q)
		saving_drop(r);
	resource_clear(q);
	q->state = RESOURCE_ABSENT;
	q->stale = false;
	archive_del(r->spec.archive, q->type, str_of(q->name));
	if (list_empty(&q->deps) && comes_whole(r, q->type)) { /* nobody asked for it: it came with all the others */
		map_del(&r->by_name[q->type], str_of(q->name));
		resource_free(q);
	} else {
		tell(q);
	}
}

static void on_removed(void *ctx, enum xds_type t, struct str name)
{
	struct resources *r = ctx;
	struct resource *q = map_get(&r->by_name[t], called(r, t, name));

	if (q)
		set_absent(q);
	else
		archive_del(r->spec.archive, t, name);
}

/* It was not in a full answer: gone. One that was asked too late for this answer is sub's to doubt (sub_events.silent). */
static void missing(struct resources *r, struct resource *q)
{
	if (q->state == RESOURCE_ABSENT) /* what was silence stays silence */
		return;
	if (comes_whole(r, q->type) || sub_is_answered(r->sub, q->type, str_of(q->name)))
		set_absent(q);
}

static void on_answered(void *ctx, enum xds_type t, bool full, bool refused, struct str version)
{
	struct resources *r = ctx;
	struct str key;
	void *value;

	(void)version;
	/* Delta says what is gone by itself. A refused answer may have lacked what it could not carry. */
	if (t == XDS_CDS && r->marked) {
		if (full && !refused)
			archive_sweep(r->spec.archive, XDS_CDS, NULL, NULL);
		r->marked = false;
	}
	r->answered[t] = true;
	bool doubt = false;
	r->in_answer = false;
	/* What a large answer took on its way lies in libc's free lists, between what stays: back to the kernel with it, once things are calm. */
	if (r->answer_bytes >= TRIM_FROM)
		loop_trim_soon(r->spec.loop);
	r->answer_bytes = 0;
	for (uint32_t i = 0; map_next(&r->by_name[t], &i, &key, &value);) {
		struct resource *q = value;
		bool seen = q->seen;

		q->seen = false;
		doubt |= !seen && q->state == RESOURCE_PRESENT;
		if (!seen && !q->refused && full && !(refused && q->state == RESOURCE_PRESENT))
			missing(r, q);
	}
	/* It may be what changed (Nacos), or all that there is (others): an answer to a question is. */
	if (doubt && !full && t == XDS_CDS && r->spec.conf->profile == PROFILE_TEMPLATE)
		sub_again(r->sub, t);
	if (r->on_answered)
		r->on_answered(r->answered_ctx, t);
}

static void on_silent(void *ctx, enum xds_type t, struct str name)
{
	struct resources *r = ctx;
	struct resource *q = map_get(&r->by_name[t], name);

	if (q && q->state != RESOURCE_ABSENT && (q->state != RESOURCE_PRESENT || q->stale)) {
		set_absent(q); /* who is told acts in a task */
		q->silent = true;
	}
}

static void on_state(void *ctx, bool up, const char *why)
{
	struct resources *r = ctx;

	if (!up)
		on_cut(r);
	if (r->on_state)
		r->on_state(r->state_ctx, up, why);
}

const struct sub_events resources_events = {
	.begins = on_answer_begins,
	.resource_begin = on_begin,
	.resource_bytes = on_bytes,
	.resource_end = on_end,
	.resource_cut = on_cut,
	.removed = on_removed,
	.answered = on_answered,
	.silent = on_silent,
	.state = on_state,
};

/* ---- for people ------------------------------------------------------------------------------------------------------------ */

void resources_each(struct resources *r, enum xds_type t, void (*fn)(void *ctx, struct resource *q), void *ctx)
{
	struct str key;
	void *value;

	for (uint32_t i = 0; map_next(&r->by_name[t], &i, &key, &value);)
		fn(ctx, value);
}

uint32_t resources_count(const struct resources *r, enum xds_type t, uint32_t *ret_present)
{
	struct str key;
	void *value;

	*ret_present = 0;
	for (uint32_t i = 0; map_next(&r->by_name[t], &i, &key, &value);)
		*ret_present += ((struct resource *)value)->state == RESOURCE_PRESENT;
	return map_count(&r->by_name[t]);
}
