/* health/life_save: an app's life in one line, for another process of this daemon that takes over (hot upgrade). Words "key=value", `why` last:
 *
 *   v1 state=ok said=ok gone=0 announced=0 since=WALL_NS lease=NS_LEFT pids=PID:WHICH,... why=TEXT
 *
 * A state that is taken over is no transition: it was logged and counted where it came about. */
#include "health/life_int.h"
#include <stdio.h>
#include <string.h>

static const char *const said_names[] = {"nothing", "ok", "fail"};

void life_save(const struct life *l, struct sb *out)
{
	uint64_t now = l->spec.loop->now_ns, lease = timer_armed(&l->lease) ? (l->lease.at_ns > now ? l->lease.at_ns - now : 1) : 0;
	sb_fmt(out, "v1 state=%s said=%s gone=%d announced=%d since=%llu lease=%llu", life_state_name(l->state), said_names[l->said], l->gone, l->announced,
		(unsigned long long)l->since_wall_ns, (unsigned long long)lease);
	life_procs_save(l, out);
	sb_fmt(out, " why=%s\n", l->said_why);
}

/* The value of `key=`, which must stand at *at. */
static bool word(struct str *at, const char *key, struct str *ret)
{
	size_t n = strlen(key);
	if (at->n < n || memcmp(at->p, key, n) != 0)
		return false;
	struct str rest = str_cut(*at, n, at->n);
	ptrdiff_t end = str_find(rest, ' ');
	if (end < 0)
		return false;
	*ret = str_cut(rest, 0, (size_t)end);
	*at = str_cut(rest, (size_t)end + 1, rest.n);
	return true;
}

static bool number(struct str *at, const char *key, uint64_t *ret)
{
	struct str v;
	return word(at, key, &v) && str_u64(v, ret);
}

static int name_index(struct str v, const char *(*name)(int i), int n)
{
	for (int i = 0; i < n; i++)
		if (str_is(v, name(i)))
			return i;
	return -1;
}

static const char *state_at(int i) { return life_state_name((enum life_state)i); }
static const char *said_at(int i) { return said_names[i]; }

bool life_restore(struct life *l, struct str text)
{
	struct str state, said, pids;
	uint64_t gone, announced, since, lease;
	text = str_cut(text, 0, text.n && text.p[text.n - 1] == '\n' ? text.n - 1 : text.n);
	if (!str_starts(text, STR("v1 ")))
		return false;
	text = str_cut(text, 3, text.n);
	if (!word(&text, "state=", &state) || !word(&text, "said=", &said) || !number(&text, "gone=", &gone) || !number(&text, "announced=", &announced) || !number(&text, "since=", &since) ||
		!number(&text, "lease=", &lease) || !word(&text, "pids=", &pids) || !str_starts(text, STR("why=")))
		return false;
	int s = name_index(state, state_at, LIFE_STATES), w = name_index(said, said_at, SAID_FAIL + 1);
	if (s < 0 || w < 0 || gone > 1 || announced > 1)
		return false;
	text = str_cut(text, 4, text.n);
	snprintf(l->said_why, sizeof l->said_why, "%.*s", (int)(text.n < LIFE_WHY ? text.n : LIFE_WHY - 1), text.p);
	l->said = (enum life_said)w;
	l->gone = gone;
	l->announced = announced;
	life_take_over(l, (enum life_state)s, since, lease);
	life_procs_restore(l, pids);
	return true;
}
