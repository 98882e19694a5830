/* base/log: one line is made on the stack, then goes to the ring and to the sink.
 *
 * The ring holds whole lines in one block of bytes: `at` is the oldest byte, `len` how many there are. A new line throws out
 * as many old ones as it needs. */
#include "base/log.h"
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/mem.h"

struct log_full {
	struct log head; /* first: what others hold is a pointer to it */
	log_sink_fn *sink;
	void *sink_ctx;
	uint64_t (*wall_ns)(void *);
	void *clock_ctx;
	uint64_t dropped;
	char *ring;      /* owned */
	size_t cap, at, len;
};

/* Index = enum log_level; short, because each line carries one. */
static const char *const level_names[] = {"off", "error", "warn", "info", "debug", "trace"};
enum { LEVELS = sizeof(level_names) / sizeof(level_names[0]) };

static struct log_full *full(const struct log *log)
{
	return (struct log_full *)log;
}

struct log *log_new(enum log_level level, size_t ring_bytes)
{
	struct log_full *f = xnew(struct log_full);
	f->head.level = level;
	f->cap = ring_bytes;
	f->ring = ring_bytes ? xalloc(ring_bytes) : NULL;
	return &f->head;
}

void log_free(struct log **log)
{
	if (!*log)
		return;
	free(full(*log)->ring);
	free(full(*log));
	*log = NULL;
}

void log_set_sink(struct log *log, log_sink_fn *sink, void *ctx)
{
	full(log)->sink = sink;
	full(log)->sink_ctx = ctx;
}

void log_set_clock(struct log *log, uint64_t (*wall_ns)(void *), void *ctx)
{
	full(log)->wall_ns = wall_ns;
	full(log)->clock_ctx = ctx;
}

void log_set_level(struct log *log, enum log_level level)
{
	log->level = level;
}

enum log_level log_get_level(const struct log *log)
{
	return log ? log->level : LOG_OFF;
}

enum log_level log_level_parse(const char *name)
{
	for (int i = 0; name && i < LEVELS; i++)
		if (strcmp(name, level_names[i]) == 0)
			return (enum log_level)i;
	return (enum log_level)-1;
}

const char *log_level_name(enum log_level level)
{
	return (unsigned)level < LEVELS ? level_names[level] : "unknown";
}

uint64_t log_dropped(const struct log *log)
{
	return log ? full(log)->dropped : 0;
}

/* ---- the ring ---- */

static size_t ring_wrap(const struct log_full *f, size_t at)
{
	return at >= f->cap ? at - f->cap : at;
}

/* How long the line is that begins `skip` bytes behind the oldest byte. */
static size_t ring_line(const struct log_full *f, size_t skip)
{
	size_t from = ring_wrap(f, f->at + skip), left = f->len - skip;
	size_t first = left < f->cap - from ? left : f->cap - from;
	const char *nl = memchr(f->ring + from, '\n', first);
	if (nl)
		return (size_t)(nl - (f->ring + from)) + 1;
	nl = memchr(f->ring, '\n', left - first);
	return nl ? first + (size_t)(nl - f->ring) + 1 : left;
}

static void ring_put(struct log_full *f, const char *line, size_t n)
{
	if (n > f->cap)
		return;
	while (f->cap - f->len < n) {
		size_t old = ring_line(f, 0);
		f->at = ring_wrap(f, f->at + old);
		f->len -= old;
	}
	size_t to = ring_wrap(f, f->at + f->len);
	size_t first = n < f->cap - to ? n : f->cap - to;
	memcpy(f->ring + to, line, first);
	memcpy(f->ring, line + first, n - first);
	f->len += n;
}

size_t log_ring_copy(const struct log *log, char *out, size_t cap)
{
	const struct log_full *f = log ? full(log) : NULL;
	size_t skip = 0;
	if (!f || !f->len)
		return 0;
	while (f->len - skip > cap) /* the newest lines that fit */
		skip += ring_line(f, skip);
	size_t n = f->len - skip, from = ring_wrap(f, f->at + skip);
	size_t first = n < f->cap - from ? n : f->cap - from;
	if (n) {
		memcpy(out, f->ring + from, first);
		memcpy(out + first, f->ring, n - first);
	}
	return n;
}

/* ---- a record ---- */

/* RFC 3339 in UTC with microseconds. */
static size_t put_time(char *out, size_t cap, uint64_t wall_ns)
{
	time_t s = (time_t)(wall_ns / 1000000000);
	struct tm tm;
	if (!gmtime_r(&s, &tm))
		return 0;
	size_t n = strftime(out, cap, "%Y-%m-%dT%H:%M:%S", &tm);
	return n + (size_t)snprintf(out + n, cap - n, ".%06uZ ", (unsigned)(wall_ns % 1000000000 / 1000));
}

/* Copies text into out as far as it fits, control bytes as \xNN. *ret_whole: did all of it fit? */
static size_t put_text(char *out, size_t cap, const char *text, size_t len, bool *ret_whole)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0, i = 0;
	for (; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c >= 0x20 && c != 0x7f) {
			if (n + 1 > cap)
				break;
			out[n++] = (char)c;
		} else {
			if (n + 4 > cap)
				break;
			out[n++] = '\\';
			out[n++] = 'x';
			out[n++] = hex[c >> 4];
			out[n++] = hex[c & 15];
		}
	}
	*ret_whole = i == len;
	return n;
}

void log_write(struct log *log, enum log_level level, const char *fmt, ...)
{
	if (!log_on(log, level))
		return;
	struct log_full *f = full(log);
	char text[LOG_LINE], line[LOG_LINE + 8], tail[64] = "";
	size_t n = 0, tail_n = 0;

	va_list ap;
	va_start(ap, fmt);
	int want = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (want < 0)
		want = 0;
	if (log->left_out) {
		tail_n = (size_t)snprintf(tail, sizeof(tail), " (%u like it were left out)", log->left_out);
		log->left_out = 0;
	}

	if (f->wall_ns)
		n += put_time(line, 64, f->wall_ns(f->clock_ctx));
	n += (size_t)snprintf(line + n, 16, "%s ", log_level_name(level));
	size_t len = strnlen(text, sizeof(text)), room = LOG_LINE - n - tail_n - 4; /* "..." and '\n' always fit */
	bool whole;
	n += put_text(line + n, room, text, len, &whole);
	if (!whole || (size_t)want > len) {
		memcpy(line + n, "...", 3);
		n += 3;
	}
	memcpy(line + n, tail, tail_n);
	n += tail_n;
	line[n++] = '\n';

	if (f->ring)
		ring_put(f, line, n);
	if (f->sink)
		f->sink(f->sink_ctx, level, line, n);
}

bool log_every(struct log *log, struct log_every *e, uint64_t now_ns, uint32_t burst, uint32_t period_ms)
{
	uint64_t period_ns = (uint64_t)period_ms * 1000000;
	bool first = e->said == 0 && e->skipped == 0;
	if (first || now_ns < e->window_start_ns || now_ns - e->window_start_ns >= period_ns) {
		e->window_start_ns = now_ns;
		e->said = 0;
	}
	if (e->said >= burst) {
		if (e->skipped < UINT32_MAX)
			e->skipped++;
		if (log)
			full(log)->dropped++;
		return false;
	}
	e->said++;
	if (log)
		log->left_out = e->skipped;
	e->skipped = 0;
	return true;
}
