/* sidecar/access: see access.h. Text: one line of key=value words, in a fixed order; JSON: the same keys. Durations in microseconds. */
#include "sidecar/access.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "sidecar/app.h"
#include "sidecar/sidecar.h"
#include "sidecar/stderr.h"

enum { ACCESS_BUFFER = 65536 };

struct access {
	int kind;                    /* first: access_on reads it */
	struct sidecar *sc;
	int fd;                      /* the file, or stderr's; -1: not open */
	char *file;
	struct sb pending;           /* what was not written yet, at most ACCESS_BUFFER */
	struct task task;
};

struct access *access_new(struct sidecar *sc)
{
	struct access *a = xnew(struct access);
	a->sc = sc;
	a->fd = -1;
	return a;
}

static void access_close(struct access *a)
{
	if (a->fd > STDERR_FILENO)
		close(a->fd);
	a->fd = -1;
}

static void access_flush(struct access *a)
{
	size_t done = 0;
	while (done < a->pending.n && a->fd >= 0) {
		ssize_t w = write(a->fd, a->pending.p + done, a->pending.n - done);
		if (w <= 0)
			break;
		done += (size_t)w;
	}
	if (done && done < a->pending.n)
		memmove(a->pending.p, a->pending.p + done, a->pending.n - done);
	a->pending.n -= done;
}

static void access_task(struct task *t) { access_flush(container_of(t, struct access, task)); }

void access_reopen(struct access *a)
{
	access_flush(a);
	access_close(a);
	if (a->kind == ACCESS_OFF)
		return;
	if (a->file) {
		a->fd = open(a->file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK, 0640);
		if (a->fd < 0)
			log_error(a->sc->log, "access log '%s': %s; lines go to stderr", a->file, strerror(errno));
	}
	if (a->fd < 0)
		a->fd = stderr_open();
}

void access_apply(struct access *a, const struct conf *c)
{
	a->kind = c->log.access;
	free(a->file);
	a->file = c->log.access_file ? xstrdup(c->log.access_file) : NULL;
	access_reopen(a);
}

void access_free(struct access **access)
{
	struct access *a = *access;
	if (!a)
		return;
	*access = NULL;
	access_flush(a);
	loop_undefer(&a->task);
	access_close(a);
	free(a->file);
	sb_end(&a->pending);
	free(a);
}

/* Text values are the caller's: blanks, quotes and controls must not make up fields of their own. */
static void text_value(struct sb *b, const char *key, struct str v)
{
	sb_fmt(b, " %s=", key);
	if (!v.n)
		sb_char(b, '-');
	for (size_t i = 0; i < v.n && i < 512; i++) {
		unsigned char ch = (unsigned char)v.p[i];
		if (ch <= ' ' || ch == '"' || ch == '=' || ch >= 0x7f)
			sb_fmt(b, "%%%02X", ch);
		else
			sb_char(b, (char)ch);
	}
}

static void json_value(struct sb *b, const char *key, struct str v)
{
	sb_fmt(b, ",\"%s\":", key);
	sb_json(b, str_n(v.p, v.n < 512 ? v.n : 512));
}

static void access_time(struct access *a, char out[40])
{
	uint64_t wall = a->sc->loop->ops->wall_ns(a->sc->loop->ops_ctx);
	time_t s = (time_t)(wall / 1000000000);
	struct tm tm;
	gmtime_r(&s, &tm);
	size_t n = strftime(out, 24, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, 40 - n, ".%03uZ", (unsigned)(wall / 1000000 % 1000));
}

void access_line(struct access *a, const struct exchange *x)
{
	struct loop *l = a->sc->loop;
	uint64_t now = l->ops->now_ns(l->ops_ctx), all = now - x->begun_ns;
	/* A provider that has not answered kept the call until now. */
	uint64_t last = x->up_last_ns > x->up_open_ns ? x->up_last_ns : now, there = x->up_open_ns && x->attempts ? last - x->up_open_ns : 0;
	struct { const char *key; struct str v; } words[] = {
		{"app", str_of(x->app ? x->app->conf->name : "control")},
		{"direction", str_of(x->inbound ? "inbound" : x->is_local || x->health || !x->app ? "local" : "outbound")},
		{"method", fields_value(x->head, FIELD_METHOD)},
		{"authority", fields_value(x->head, FIELD_AUTHORITY)},
		{"path", fields_value(x->head, FIELD_PATH)},
		{"flag", str_of(x->flag)},
		{"upstream_host", str_of(x->host)},
		{"consumer", fields_value(x->head, FIELD_TRI_CONSUMER_APPNAME)},
		{"caller", str_of(x->caller && x->caller->nuris ? x->caller->uris[0] : NULL)},
	};
	struct { const char *key; long long v; } numbers[] = {
		{"status", x->http_status}, {"grpc_status", x->grpc_status}, {"attempts", x->attempts}, {"bytes_in", (long long)x->received}, {"bytes_out", (long long)x->answered},
		{"duration_us", (long long)(all / 1000)}, {"upstream_us", (long long)(there / 1000)}, {"added_us", (long long)((all > there ? all - there : 0) / 1000)},
	};
	struct sb *b = &a->pending;
	if (b->n > ACCESS_BUFFER) {
		stat_inc(&l->stats, STAT_ACCESS_DROPPED);
		return;
	}
	char time[40];
	access_time(a, time);
	bool json = a->kind == ACCESS_JSON;
	sb_fmt(b, json ? "{\"time\":\"%s\"" : "%s", time);
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		(json ? json_value : text_value)(b, words[i].key, words[i].v);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		sb_fmt(b, json ? ",\"%s\":%lld" : " %s=%lld", numbers[i].key, numbers[i].v);
	if (x->fault || x->why) {
		struct str why = str_of(x->why ? x->why : fault_row(x->fault)->text);
		(json ? json_value : text_value)(b, "why", why);
	}
	sb_str(b, json ? "}\n" : "\n");
	loop_defer(l, &a->task, access_task);
}
