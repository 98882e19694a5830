/* tests/plane: the flow tests' control plane (tests/flow/rig_ads) as a process: kernel sockets, the real loop, told what to do by lines on stdin. The e2e cases and
 * the benchmark drive it (tests/e2e/plane.py).
 *
 *	plane [-k istio|generic|consul|nacos] ADDRESS          "127.0.0.1:15010", "unix:/run/x.sock", "unix:@name"
 *
 * First line out: "ready". Then one line out for each line in, "ok", "ok JSON" or "error WHY". What there is to say: `commands` below. It ends when stdin does, so
 * that nobody who dies leaves it behind.
 *
 * Objects: struct process, one. It owns the loop, the account and the plane. */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/flow/rig_ads.h"

enum { WORDS_MAX = 64 };

struct process {
	struct loop *loop;
	struct account account;
	struct plane *plane;
	struct sb in;       /* lines that are not whole yet */
	struct sb out;      /* JSON of the present answer */
	const char *error;  /* of the present command; NULL: it was done */
	char *refuse_text;  /* lent to the plane's quirks */
};

/* ---- JSON ---- */

static void json_texts(struct sb *out, char **list, uint32_t n)
{
	sb_char(out, '[');
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			sb_char(out, ',');
		sb_json(out, str_of(list[i]));
	}
	sb_char(out, ']');
}

/* ---- words of a line ---- */

struct line { char *word[WORDS_MAX + 1]; char *rest[WORDS_MAX + 1]; int n; }; /* rest[i]: all from word i on, as it stood */

/* Words are cut in a copy; the rest stays whole, because a list of endpoints is one argument with spaces in it. */
static void line_cut(struct line *l, char *words, char *whole)
{
	l->n = 0;
	for (char *p = words; *p && l->n < WORDS_MAX;) {
		p += strspn(p, " ");
		if (!*p)
			break;
		l->rest[l->n] = whole + (p - words);
		l->word[l->n++] = p;
		p += strcspn(p, " ");
		if (*p)
			*p++ = '\0';
	}
}

static const char *rest_of(const struct line *l, int i)
{
	return i < l->n ? l->rest[i] : "";
}

static uint32_t number_of(struct process *p, const struct line *l, int i, uint32_t otherwise)
{
	uint64_t v;

	if (i >= l->n)
		return otherwise;
	if (!str_u64(str_of(l->word[i]), &v) || v > UINT32_MAX) {
		p->error = "a number was expected";
		return otherwise;
	}
	return (uint32_t)v;
}

static int type_of(const char *word)
{
	static const struct { const char *word; int type; } rows[] = {{"LDS", XDS_LDS}, {"RDS", XDS_RDS}, {"CDS", XDS_CDS}, {"EDS", XDS_EDS}, {"SDS", XDS_SDS}, {"OTHER", PLANE_OTHER}, {"ANY", PLANE_ANY}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (strcmp(word, rows[i].word) == 0)
			return rows[i].type;
	return -1;
}

/* ---- what the mesh is ---- */

static void do_service(struct process *p, const struct line *l)
{
	plane_service(p->plane, l->word[1], (uint16_t)number_of(p, l, 2, 0), rest_of(l, 3));
}

static void do_endpoints(struct process *p, const struct line *l)
{
	plane_endpoints(p->plane, l->word[1], (uint16_t)number_of(p, l, 2, 0), rest_of(l, 3));
}

static void do_gone(struct process *p, const struct line *l)
{
	plane_service_gone(p->plane, l->word[1], (uint16_t)number_of(p, l, 2, 0));
}

static void do_route(struct process *p, const struct line *l)
{
	plane_route(p->plane, l->word[1], (uint16_t)number_of(p, l, 2, 0), l->n > 3 ? l->rest[3] : NULL);
}

static void do_cluster(struct process *p, const struct line *l)
{
	plane_cluster(p->plane, l->word[1], rest_of(l, 2));
}

/* bulk COUNT PORT ENDPOINTS: svc-00000.bulk.svc.cluster.local and so on. */
static void do_bulk(struct process *p, const struct line *l)
{
	uint32_t count = number_of(p, l, 1, 0), port = number_of(p, l, 2, 50051);
	bool held = p->plane->held;

	plane_hold(p->plane, true);
	for (uint32_t i = 0; i < count; i++) {
		char host[64];
		snprintf(host, sizeof(host), "svc-%05u.bulk.svc.cluster.local", i);
		plane_service(p->plane, host, (uint16_t)port, rest_of(l, 3));
		/* Each change is looked up among those that wait; where nobody listens there is nobody to tell. */
		if (i % 64 == 0 && !plane_open(p->plane))
			plane_forget_changes(p->plane);
	}
	plane_hold(p->plane, held);
}

/* One endpoint as istiod sends it: IPv4, health, the workload's identity, weight. */
static void big_endpoint(struct sb *group, uint32_t i, uint32_t weight)
{
	static const char *const workload[] = {"demo-v1;default;demo;v1;Kubernetes", "demo-v2;default;demo;v2;Kubernetes", "demo-canary;default;demo;canary;Kubernetes"};
	struct sb where = {0}, address = {0}, endpoint = {0}, lb = {0}, value = {0}, field = {0}, fields = {0}, entry = {0}, meta = {0}, w = {0};
	char ip[32];

	snprintf(ip, sizeof(ip), "127.%u.%u.%u", 1 + (i >> 16), i >> 8 & 255, i & 255);
	pb_text(&where, 2, ip);
	pb_num(&where, 3, 50051);
	pb_sub(&address, 1, &where);
	pb_sub(&endpoint, 1, &address);
	pb_sub(&lb, 1, &endpoint);
	pb_num(&lb, 2, 1);
	pb_text(&value, 3, workload[i % 3]);
	pb_text(&field, 1, "workload");
	pb_sub(&field, 2, &value);
	pb_sub(&fields, 1, &field);
	pb_text(&entry, 1, "istio");
	pb_sub(&entry, 2, &fields);
	pb_sub(&meta, 1, &entry);
	pb_sub(&lb, 3, &meta);
	pb_num(&w, 1, weight);
	pb_sub(&lb, 4, &w);
	pb_sub(group, 2, &lb);
}

/* big CLUSTER COUNT [CHANGED]: its assignment; the weight of endpoint CHANGED is another one. Says how many bytes it is. */
static void do_big(struct process *p, const struct line *l)
{
	uint32_t count = number_of(p, l, 2, 0), changed = number_of(p, l, 3, UINT32_MAX);
	struct sb b = {0}, group = {0}, locality = {0}, w = {0};

	if (count > 8000000) {
		p->error = "too many";
		return;
	}
	pb_text(&b, 1, l->word[1]);
	pb_text(&locality, 1, "eu");
	pb_text(&locality, 2, "eu-1");
	pb_sub(&group, 1, &locality);
	for (uint32_t i = 0; i < count; i++)
		big_endpoint(&group, i, i == changed ? 50 : 100);
	pb_num(&w, 1, count);
	pb_sub(&group, 3, &w);
	pb_sub(&b, 2, &group);
	plane_put(p->plane, XDS_EDS, l->word[1], b.p, b.n);
	sb_fmt(&p->out, "{\"bytes\":%zu}", b.n);
	sb_end(&b);
}

/* In each dialect in which there is one of that name, or else in both: in one answer a name must not come twice. */
static void put_over(struct plane *p, enum xds_type type, const char *name, const void *bytes, size_t n)
{
	bool there = false;

	for (int d = 0; d < DIALECTS; d++)
		if (map_get(&p->resources[d][type], str_of(name))) {
			plane_put_in(p, (enum plane_dialect)d, type, name, bytes, n);
			there = true;
		}
	if (!there)
		plane_put(p, type, name, bytes, n);
}

/* bytes TYPE NAME HEX: a resource as it stands, for what no sane control plane says. */
static void do_bytes(struct process *p, const struct line *l)
{
	int type = type_of(l->word[1]);
	size_t n = strlen(l->word[3]) / 2;
	struct sb b = {0};

	if (type < 0 || type >= XDS_TYPES) {
		p->error = "LDS, RDS, CDS or EDS was expected";
		return;
	}
	for (size_t i = 0; i < n; i++) {
		unsigned byte;
		if (sscanf(l->word[3] + 2 * i, "%2x", &byte) != 1) {
			p->error = "hex digits were expected";
			break;
		}
		sb_char(&b, (char)byte);
	}
	if (!p->error)
		put_over(p->plane, (enum xds_type)type, l->word[2], n ? b.p : "", n);
	sb_end(&b);
}

static void do_hold(struct process *p, const struct line *l)
{
	(void)l;
	plane_hold(p->plane, true);
}

static void do_release(struct process *p, const struct line *l)
{
	(void)l;
	plane_hold(p->plane, false);
}

/* ---- what it is like ---- */

#define QUIRK(kind, name) {#name, kind, offsetof(struct plane_quirks, name)}
enum quirk_kind { FLAG, NUMBER };
static const struct { const char *name; enum quirk_kind kind; size_t at; } quirks[] = {
	QUIRK(FLAG, mute), QUIRK(FLAG, deaf), QUIRK(NUMBER, slow_ms), QUIRK(NUMBER, debounce_ms), QUIRK(NUMBER, refuse), QUIRK(NUMBER, refusals),
	QUIRK(FLAG, no_delta), QUIRK(FLAG, no_sotw), QUIRK(NUMBER, max_age_ms), QUIRK(NUMBER, grace_ms), QUIRK(FLAG, no_stale_check), QUIRK(FLAG, no_partial),
	QUIRK(FLAG, no_absent), QUIRK(FLAG, no_force_eds), QUIRK(FLAG, no_churn), QUIRK(FLAG, no_forget), QUIRK(FLAG, no_spellings), QUIRK(FLAG, no_type_check),
	QUIRK(FLAG, no_node_check), QUIRK(FLAG, silent_absent), QUIRK(FLAG, wrap), QUIRK(FLAG, twice), QUIRK(FLAG, no_nonce),
};

static void set_quirk(struct process *p, const char *word)
{
	struct str name = str_n(word, strcspn(word, "="));
	const char *value = word[name.n] ? word + name.n + 1 : "1";
	uint64_t v;

	for (size_t i = 0; i < sizeof(quirks) / sizeof(*quirks); i++) {
		char *at = (char *)&p->plane->quirks + quirks[i].at;
		if (!str_is(name, quirks[i].name))
			continue;
		if (!str_u64(str_of(value), &v) || v > INT32_MAX)
			p->error = "a number was expected";
		else if (quirks[i].kind == FLAG)
			*(bool *)at = v != 0;
		else
			*(uint32_t *)at = (uint32_t)v;
		return;
	}
	p->error = "no such quirk";
}

/* quirk NAME[=VALUE]...; refuse_text=ALL THE REST */
static void do_quirk(struct process *p, const struct line *l)
{
	for (int i = 1; i < l->n && !p->error; i++) {
		if (strncmp(l->word[i], "refuse_text=", 12) == 0) {
			free(p->refuse_text);
			p->refuse_text = xstrdup(l->rest[i] + 12);
			p->plane->quirks.refuse_text = p->refuse_text;
			return;
		}
		set_quirk(p, l->word[i]);
	}
}

static void do_listen(struct process *p, const struct line *l)
{
	(void)l;
	plane_listen(p->plane, true);
	if (!p->plane->listen)
		p->error = "somebody else listens there";
}

static void do_close(struct process *p, const struct line *l)
{
	(void)l;
	plane_listen(p->plane, false);
}

static void do_cut(struct process *p, const struct line *l)
{
	(void)l;
	plane_cut(p->plane);
}

static void do_kill(struct process *p, const struct line *l)
{
	(void)l;
	plane_kill(p->plane);
}

static void do_goaway(struct process *p, const struct line *l)
{
	(void)l;
	plane_goaway(p->plane);
}

static void do_end(struct process *p, const struct line *l)
{
	plane_end_streams(p->plane, (int)number_of(p, l, 1, 0), rest_of(l, 2));
}

/* ---- what it has seen ---- */

static void do_stats(struct process *p, const struct line *l)
{
	struct plane *at = p->plane;
	static const char *const name[XDS_TYPES] = {[XDS_LDS] = "LDS", [XDS_RDS] = "RDS", [XDS_CDS] = "CDS", [XDS_EDS] = "EDS", [XDS_SDS] = "SDS"};
	uint32_t conns = 0;

	(void)l;
	for (struct list *n = at->conns.next; n != &at->conns; n = n->next)
		conns++;
	sb_fmt(&p->out, "{\"accepted\":%u,\"connections\":%u,\"streams\":%u,\"open\":%u,\"requests\":%u,\"acks\":%u,\"nacks\":%u,\"pushes\":%u,\"bytes\":%llu,\"types\":{",
		at->accepted, conns, at->nstreams, plane_open(at), at->nrequests, at->acks, at->nacks, at->pushes, (unsigned long long)at->bytes);
	for (int t = 0; t < XDS_TYPES; t++)
		sb_fmt(&p->out, "%s\"%s\":%u", t ? "," : "", name[t], plane_count(at, t));
	sb_str(&p->out, "}}");
}

/* requests TYPE [FROM]: all of a type (or ANY) from number FROM on. */
static void do_requests(struct process *p, const struct line *l)
{
	int type = type_of(l->word[1]);
	uint32_t from = number_of(p, l, 2, 0), seen = 0, told = 0;

	if (type < 0) {
		p->error = "LDS, RDS, CDS, EDS, OTHER or ANY was expected";
		return;
	}
	sb_char(&p->out, '[');
	for (struct list *n = p->plane->requests.next; n != &p->plane->requests; n = n->next) {
		struct plane_request *q = list_entry(n, struct plane_request, node);
		if ((type != PLANE_ANY && q->type != type) || seen++ < from)
			continue;
		sb_fmt(&p->out, "%s{\"at_ns\":%llu,\"stream\":%u,\"delta\":%s,\"type\":", told++ ? "," : "", (unsigned long long)q->at_ns, q->stream->number,
			q->stream->delta ? "true" : "false");
		sb_json(&p->out, str_of(q->type_url));
		sb_str(&p->out, ",\"version\":");
		sb_json(&p->out, str_of(q->version));
		sb_str(&p->out, ",\"nonce\":");
		sb_json(&p->out, str_of(q->nonce));
		sb_str(&p->out, ",\"names\":");
		json_texts(&p->out, q->sub, q->nsub);
		sb_str(&p->out, ",\"unsubscribe\":");
		json_texts(&p->out, q->unsub, q->nunsub);
		sb_str(&p->out, ",\"have\":");
		json_texts(&p->out, q->have, q->nhave);
		sb_str(&p->out, ",\"node\":");
		sb_json(&p->out, str_of(q->node_id));
		sb_fmt(&p->out, ",\"error_code\":%d,\"error\":", q->error_code);
		sb_json(&p->out, str_of(q->has_error ? q->error_text : ""));
		sb_char(&p->out, '}');
	}
	sb_char(&p->out, ']');
}

/* heads: the header lines of every stream that ever was, oldest first. */
static void do_heads(struct process *p, const struct line *l)
{
	uint32_t told = 0;

	(void)l;
	sb_char(&p->out, '[');
	for (struct list *n = p->plane->streams.next; n != &p->plane->streams; n = n->next) {
		struct plane_stream *s = list_entry(n, struct plane_stream, node);
		if (told++)
			sb_char(&p->out, ',');
		sb_json(&p->out, str_of(s->head.p ? s->head.p : ""));
	}
	sb_char(&p->out, ']');
}

/* life: what was said of the app's health (HealthInformation), and when (CLOCK_MONOTONIC, of the turn that read it). early: said before anything was asked for, and so not heard. */
static void do_life(struct process *p, const struct line *l)
{
	struct plane *at = p->plane;

	(void)l;
	sb_fmt(&p->out, "{\"count\":%u,\"early\":%u,\"ok\":%s,\"at_ns\":%llu,\"stream\":%u,\"text\":", at->health.count, at->health.early, at->health.ok ? "true" : "false",
		(unsigned long long)at->health.at_ns, at->health.stream);
	sb_json(&p->out, str_of(at->health.text));
	sb_char(&p->out, '}');
}

static const struct { const char *name; int words; void (*fn)(struct process *p, const struct line *l); const char *help; } commands[] = {
	{"service", 3, do_service, "HOST PORT [ENDPOINT...]: all of a service, or what differs of it"},
	{"endpoints", 3, do_endpoints, "HOST PORT [ENDPOINT...]: its assignment alone"},
	{"route", 3, do_route, "HOST PORT [CLUSTER=WEIGHT...]: to other clusters, or to its own again"},
	{"cluster", 2, do_cluster, "NAME [ENDPOINT...]: a cluster and its assignment (a subset)"},
	{"gone", 3, do_gone, "HOST PORT: the service is deleted"},
	{"bulk", 3, do_bulk, "COUNT PORT [ENDPOINT...]: services svc-NNNNN.bulk.svc.cluster.local"},
	{"big", 3, do_big, "CLUSTER COUNT [CHANGED]: an assignment of so many endpoints"},
	{"bytes", 4, do_bytes, "TYPE NAME HEX: a resource as it stands"},
	{"hold", 1, do_hold, "changes wait"},
	{"release", 1, do_release, "and go out together"},
	{"quirk", 2, do_quirk, "NAME[=VALUE]... (tests/flow/rig_ads.h)"},
	{"listen", 1, do_listen, "connections are accepted"},
	{"close", 1, do_close, "they are refused; those that are there stay"},
	{"cut", 1, do_cut, "those that are there end, as by kill -9"},
	{"kill", 1, do_kill, "close and cut; the store stays"},
	{"goaway", 1, do_goaway, "to all connections"},
	{"end", 2, do_end, "STATUS [TEXT]: all streams"},
	{"stats", 1, do_stats, ""},
	{"requests", 2, do_requests, "TYPE|ANY [FROM]"},
	{"heads", 1, do_heads, "the header fields of all streams"},
	{"life", 1, do_life, "what was heard of the app's health, and when"},
};

/* ---- the process ---- */

static void say(const char *text, size_t n)
{
	while (n) {
		ssize_t w = write(1, text, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return; /* who has asked is gone; the end of stdin follows */
		text += w;
		n -= (size_t)w;
	}
}

static void obey(struct process *p, char *whole)
{
	char *words = xstrdup(whole);
	struct line l;
	size_t i = 0, n = sizeof(commands) / sizeof(*commands);
	struct sb answer = {0};

	line_cut(&l, words, whole);
	p->error = NULL;
	while (i < n && (!l.n || strcmp(l.word[0], commands[i].name) != 0))
		i++;
	if (i == n)
		p->error = "no such command";
	else if (l.n < commands[i].words)
		p->error = commands[i].help;
	else
		commands[i].fn(p, &l);
	if (p->error)
		sb_fmt(&answer, "error %s\n", p->error);
	else
		sb_fmt(&answer, "ok%s%s\n", p->out.n ? " " : "", p->out.n ? p->out.p : "");
	say(answer.p, answer.n);
	sb_end(&answer);
	sb_end(&p->out);
	free(words);
}

static void heard(void *user, int fd, int what)
{
	struct process *p = user;
	char piece[65536];
	ssize_t n = read(fd, piece, sizeof(piece));

	(void)what;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0) {
		loop_stop(p->loop);
		return;
	}
	sb_add(&p->in, piece, (size_t)n);
	for (char *end; p->in.n && (end = memchr(p->in.p, '\n', p->in.n));) {
		size_t used = (size_t)(end - p->in.p) + 1;
		*end = '\0';
		obey(p, p->in.p);
		memmove(p->in.p, p->in.p + used, p->in.n - used);
		p->in.n -= used;
	}
}

static enum plane_kind kind_of(const char *word)
{
	static const struct { const char *word; enum plane_kind kind; } rows[] = {
		{"istio", PLANE_ISTIO}, {"generic", PLANE_GENERIC}, {"consul", PLANE_CONSUL}, {"nacos", PLANE_NACOS}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (strcmp(word, rows[i].word) == 0)
			return rows[i].kind;
	fprintf(stderr, "plane: -k istio, generic, consul or nacos\n");
	exit(2);
}

int main(int argc, char **argv)
{
	struct process p = {0};
	struct loop_fd *in = NULL;
	struct addr at;
	enum plane_kind kind = PLANE_ISTIO;
	int option;

	while ((option = getopt(argc, argv, "k:")) != -1)
		if (option == 'k')
			kind = kind_of(optarg);
		else
			return 2;
	if (optind + 1 != argc || addr_parse(str_of(argv[optind]), &at) < 0) {
		fprintf(stderr, "usage: plane [-k istio|generic|consul|nacos] ADDRESS\n");
		for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
			fprintf(stderr, "  %-10s %s\n", commands[i].name, commands[i].help);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	p.loop = loop_new_real(NULL);
	if (!p.loop)
		return 1;
	account_init(&p.account, &p.loop->memory, "plane", SIZE_MAX);
	p.plane = plane_on(p.loop, &p.account, &at, kind);
	if (!p.plane || loop_fd_add(p.loop, 0, 1, heard, &p, &in) < 0) {
		fprintf(stderr, "plane: %s: cannot listen there, or stdin is no pipe\n", argv[optind]);
		return 1;
	}
	say("ready\n", 6);
	loop_run(p.loop);
	loop_fd_del(&in);
	plane_end(p.plane);
	for (int i = 0; i < 100 && !list_empty(&p.plane->conns); i++)
		loop_turn(p.loop, 1000000);
	if (list_empty(&p.plane->conns)) {
		plane_free(&p.plane);
		loop_turn(p.loop, 0);
		account_end(&p.account);
		loop_free(&p.loop);
	}
	free(p.refuse_text);
	sb_end(&p.in);
	return 0;
}
