/* sidecar/handover: see handover.h. */
#include "sidecar/handover.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

enum { VERSION = 1 };

/* ---- words ---- */

static void add_escaped(struct sb *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c <= ' ' || c >= 0x7f || c == '%')
			sb_fmt(out, "%%%02X", c);
		else
			sb_char(out, (char)c);
	}
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Into out, which has room for cap bytes and gets a NUL; false: broken, too long, or a NUL within. */
static bool unescape(struct str s, char *out, size_t cap, size_t *ret_n)
{
	size_t n = 0;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c == '%') {
			if (s.n - i < 3 || hex(s.p[i + 1]) < 0 || hex(s.p[i + 2]) < 0)
				return false;
			c = (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2]));
			i += 2;
		}
		if (!c || n + 1 >= cap)
			return false;
		out[n++] = c;
	}
	out[n] = '\0';
	*ret_n = n;
	return true;
}

static char *unescaped(struct str s)
{
	char *out = xalloc(s.n + 1);
	size_t n;
	if (unescape(s, out, s.n + 1, &n))
		return out;
	free(out);
	return NULL;
}

/* The next word of a line, "key=value"; false: no more. Words without '=' have an empty key. */
static bool next_word(struct str *line, struct str *ret_key, struct str *ret_value)
{
	while (line->n && *line->p == ' ')
		*line = str_cut(*line, 1, line->n);
	if (!line->n)
		return false;
	ptrdiff_t end = str_find(*line, ' ');
	struct str word = str_cut(*line, 0, end < 0 ? line->n : (size_t)end);
	*line = str_cut(*line, word.n, line->n);
	ptrdiff_t equals = str_find(word, '=');
	*ret_key = equals < 0 ? STR("") : str_cut(word, 0, (size_t)equals);
	*ret_value = equals < 0 ? word : str_cut(word, (size_t)equals + 1, word.n);
	return true;
}

static bool number(struct str s, uint64_t max, uint64_t *ret)
{
	uint64_t v;
	if (!str_u64(s, &v) || v > max)
		return false;
	*ret = v;
	return true;
}

/* ---- lines ---- */

static bool read_from(struct handover *h, struct str line)
{
	uint64_t pid = 0, upgrades = 0, failed = 0;
	bool good = true;
	for (struct str key, value; next_word(&line, &key, &value);) {
		if (str_is(key, "pid"))
			good &= number(value, INT_MAX, &pid);
		else if (str_is(key, "upgrades"))
			good &= number(value, UINT32_MAX, &upgrades);
		else if (str_is(key, "failed"))
			good &= number(value, UINT32_MAX, &failed);
	}
	if (!good)
		return false;
	h->pid = (pid_t)pid;
	h->upgrades = upgrades;
	h->failed = failed;
	return true;
}

/* A descriptor has one owner: a number that was named before would be closed twice. */
static bool is_named(const struct handover *h, int fd)
{
	for (uint32_t i = 0; i < h->ndoors; i++)
		if (h->doors[i].fd == fd || h->doors[i].lock_fd == fd)
			return true;
	return false;
}

static bool read_at(struct str value, struct addr *ret)
{
	char text[512];
	size_t n;
	return unescape(value, text, sizeof text, &n) && addr_parse(str_n(text, n), ret) == 0;
}

static bool read_door(struct handover *h, struct str line)
{
	struct handover_door d = {.fd = -1, .lock_fd = -1};
	uint64_t fd = 0, lock = 0;
	bool good = h->ndoors < HANDOVER_DOORS_MAX;
	for (struct str key, value; next_word(&line, &key, &value);) {
		size_t n;
		if (str_is(key, "fd"))
			good &= number(value, INT_MAX, &fd);
		else if (str_is(key, "lock"))
			good &= str_is(value, "-1") || number(value, INT_MAX, &lock);
		else if (str_is(key, "dev"))
			good &= number(value, UINT64_MAX, &d.dev);
		else if (str_is(key, "ino"))
			good &= number(value, UINT64_MAX, &d.ino);
		else if (str_is(key, "name"))
			good &= unescape(value, d.name, sizeof d.name, &n);
		else if (str_is(key, "at"))
			good &= read_at(value, &d.addr);
	}
	/* The standard streams are never handed over. */
	if (!good || fd < 3 || (lock && (lock < 3 || lock == fd)) || !d.addr.len)
		return false;
	d.fd = (int)fd;
	d.lock_fd = lock ? (int)lock : -1;
	if (is_named(h, d.fd) || (d.lock_fd >= 0 && is_named(h, d.lock_fd)))
		return false;
	h->doors = xrealloc(h->doors, (h->ndoors + 1) * sizeof *h->doors);
	h->doors[h->ndoors++] = d;
	return true;
}

static bool read_life(struct handover *h, struct str line)
{
	struct handover_life l = {NULL, NULL};
	for (struct str key, value; next_word(&line, &key, &value);) {
		char **to = str_is(key, "app") ? &l.app : str_is(key, "text") ? &l.text : NULL;
		if (to && !*to)
			*to = unescaped(value);
	}
	if (!l.app || !l.text || h->nlives >= HANDOVER_LIVES_MAX) {
		free(l.app);
		free(l.text);
		return false;
	}
	h->lives = xrealloc(h->lives, (h->nlives + 1) * sizeof *h->lives);
	h->lives[h->nlives++] = l;
	return true;
}

static bool read_identity(struct handover *h, struct str line)
{
	char *app = NULL;
	for (struct str key, value; next_word(&line, &key, &value);)
		if (str_is(key, "app") && !app)
			app = unescaped(value);
	if (!app || h->nidentities >= HANDOVER_LIVES_MAX) {
		free(app);
		return false;
	}
	h->identities = xrealloc(h->identities, (h->nidentities + 1) * sizeof *h->identities);
	h->identities[h->nidentities++] = app;
	return true;
}

static const struct { const char *word; bool (*read)(struct handover *h, struct str line); } kinds[] = {
	{"from", read_from}, {"door", read_door}, {"life", read_life}, {"identity", read_identity},
};

static void read_line(struct handover *h, struct str line)
{
	ptrdiff_t end = str_find(line, ' ');
	struct str word = str_cut(line, 0, end < 0 ? line.n : (size_t)end);
	if (!line.n)
		return;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (str_is(word, kinds[i].word)) {
			h->bad += !kinds[i].read(h, str_cut(line, word.n, line.n));
			return;
		}
	h->unknown++;
}

static struct str next_line(struct str *text)
{
	ptrdiff_t end = str_find(*text, '\n');
	struct str line = str_cut(*text, 0, end < 0 ? text->n : (size_t)end);
	*text = str_cut(*text, end < 0 ? text->n : (size_t)end + 1, text->n);
	return line;
}

int handover_parse(struct handover *ret, struct str text)
{
	static const struct str magic = {"thinmesh-handover ", 18};
	struct str head;
	uint64_t version;
	*ret = (struct handover){0};
	if (text.n > HANDOVER_TEXT_MAX)
		return -EPROTO;
	head = next_line(&text);
	if (!str_starts(head, magic) || !str_u64(str_cut(head, magic.n, head.n), &version) || version != VERSION)
		return -EPROTO;
	while (text.n)
		read_line(ret, next_line(&text));
	return 0;
}

void handover_end(struct handover *h)
{
	for (uint32_t i = 0; i < h->nlives; i++) {
		free(h->lives[i].app);
		free(h->lives[i].text);
	}
	for (uint32_t i = 0; i < h->nidentities; i++)
		free(h->identities[i]);
	free(h->identities);
	free(h->lives);
	free(h->doors);
	*h = (struct handover){0};
}

/* ---- writing ---- */

void handover_write_head(struct sb *out, pid_t pid, uint64_t upgrades, uint64_t failed)
{
	sb_fmt(out, "thinmesh-handover %d\nfrom pid=%d upgrades=%llu failed=%llu\n", VERSION, (int)pid, (unsigned long long)upgrades, (unsigned long long)failed);
}

void handover_write_door(struct sb *out, const struct handover_door *d)
{
	char text[ADDR_TEXT];
	sb_fmt(out, "door fd=%d lock=%d dev=%llu ino=%llu name=", d->fd, d->lock_fd, (unsigned long long)d->dev, (unsigned long long)d->ino);
	add_escaped(out, str_of(d->name));
	sb_str(out, " at=");
	add_escaped(out, str_of(addr_text(&d->addr, text)));
	sb_char(out, '\n');
}

void handover_write_life(struct sb *out, const char *app, struct str text)
{
	sb_str(out, "life app=");
	add_escaped(out, str_of(app));
	sb_str(out, " text=");
	add_escaped(out, text);
	sb_char(out, '\n');
}

void handover_write_identity(struct sb *out, const char *app)
{
	sb_str(out, "identity app=");
	add_escaped(out, str_of(app));
	sb_char(out, '\n');
}
