/* lb/members: how the endpoints of a set lie in a cluster's hot records: by priority, in the order of the set; and what is counted of them.
 *
 * Where localities have weights (and the cluster asks for that), each locality is a bucket with a policy of its own; otherwise a priority is one. In the
 * usual case (one priority) hot record i is endpoint i and there is one bucket. */
#include "lb/cluster_int.h"
#include <errno.h>
#include <stdlib.h>

void members_end(struct cluster *c, struct members *m)
{
	struct account *a = &c->all->account;

	for (uint32_t i = 0; i < m->bucket_count; i++)
		policy_free(&m->buckets[i].policy);
	acct_free(a, m->buckets);
	acct_free(a, m->levels);
	acct_free(a, m->group_hot);
	acct_free(a, m->places);
	acct_free(a, m->hot);
	endpoints_unref(&m->set);
	*m = (struct members){0};
}

uint32_t members_endpoint(const struct members *m, uint32_t index)
{
	uint32_t low = 0, high = m->place_count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (m->places[middle].hot <= index)
			low = middle;
		else
			high = middle;
	}
	return m->places[low].set + (index - m->places[low].hot);
}

struct bucket *members_bucket(const struct members *m, uint32_t index)
{
	uint32_t low = 0, high = m->bucket_count;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (m->buckets[middle].first <= index)
			low = middle;
		else
			high = middle;
	}
	if (!high || index - m->buckets[low].first >= m->buckets[low].count)
		return NULL;
	return &m->buckets[low];
}

void cluster_flag(struct cluster *c, uint32_t index, uint32_t set, uint32_t clear)
{
	struct hot *hot = &c->m.hot[index];
	uint32_t was = hot->flags, now = flags_settled((was | set) & ~clear);
	struct bucket *b;

	if (now == was)
		return;
	hot->flags = now;
	b = members_bucket(&c->m, index);
	members_count(&c->m, b, was, UINT32_MAX); /* one less */
	members_count(&c->m, b, now, 1);
	c->m.stale = true;
	cluster_changed(c);
}

/* ---- the layout: three walks over the groups, each of which stops when its work is used up --------------------------------- */

enum { LAYOUT_PRIORITIES, LAYOUT_COUNT, LAYOUT_PLACE, LAYOUT_DONE };

static uint32_t level_at(const struct layout *y, uint32_t priority)
{
	uint32_t low = 0, high = y->levels;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (y->priorities[middle] < priority)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void see_priority(struct layout *y, uint32_t priority)
{
	uint32_t at = level_at(y, priority);

	if (at == LEVELS_MAX || (at < y->levels && y->priorities[at] == priority))
		return;
	if (y->levels == LEVELS_MAX)
		y->levels--;
	memmove(&y->priorities[at + 1], &y->priorities[at], (y->levels - at) * sizeof(y->priorities[0]));
	y->priorities[at] = priority;
	y->levels++;
}

/* What is beyond the last level belongs to it. */
static uint32_t level_of(const struct layout *y, uint32_t priority)
{
	uint32_t at = level_at(y, priority);

	return at < y->levels ? at : y->levels - 1;
}

static bool by_locality(const struct cluster *c, const struct layout *y, uint32_t level)
{
	return c->spec->locality_weighted && y->of[level].weighted > 0;
}

static int layout_alloc(struct cluster *c, struct members *m, struct layout *y)
{
	struct account *a = &c->all->account;
	uint32_t hot = 0, place = 0, buckets = 0, groups = endpoints_groups(m->set);

	for (uint32_t i = 0; i < y->levels; i++)
		buckets += by_locality(c, y, i) ? y->of[i].weighted : 1;
	m->hot = acct_alloc(a, m->count * sizeof(*m->hot));
	m->places = acct_alloc(a, groups * sizeof(*m->places));
	m->group_hot = acct_alloc(a, groups * sizeof(*m->group_hot));
	m->levels = acct_alloc(a, y->levels * sizeof(*m->levels));
	m->buckets = acct_alloc(a, buckets * sizeof(*m->buckets));
	if (!m->hot || !m->places || !m->group_hot || !m->levels || !m->buckets)
		return -ENOMEM;
	memset(m->buckets, 0, buckets * sizeof(*m->buckets));
	for (uint32_t i = 0; i < y->levels; i++) {
		bool many = by_locality(c, y, i);

		m->levels[i] =
			(struct level){.priority = y->priorities[i], .first = m->bucket_count, .count = many ? y->of[i].weighted : 1};
		if (!many)
			m->buckets[m->bucket_count] = (struct bucket){.first = hot, .count = y->of[i].endpoints, .weight = 1};
		y->of[i].hot = hot;
		y->of[i].place = place;
		y->of[i].bucket = m->bucket_count;
		hot += y->of[i].endpoints;
		place += y->of[i].groups;
		m->bucket_count += m->levels[i].count;
	}
	m->level_count = y->levels;
	m->place_count = place;
	return 0;
}

static void layout_place(struct cluster *c, struct members *m, struct layout *y, uint32_t group, const struct endpoint_group *g)
{
	uint32_t level = level_of(y, g->locality.priority);

	m->group_hot[group] = y->of[level].hot;
	m->places[y->of[level].place++] = (struct place){y->of[level].hot, g->first, g->count};
	if (by_locality(c, y, level) && g->locality.weight)
		m->buckets[y->of[level].bucket++] =
			(struct bucket){.first = y->of[level].hot, .count = g->count, .weight = g->locality.weight};
	y->of[level].hot += g->count;
}

/* Neighbours that lie in the same order are one: mostly all of them. */
static void places_merge(struct members *m)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < m->place_count; i++) {
		struct place *last = kept ? &m->places[kept - 1] : NULL;

		if (last && last->set + last->count == m->places[i].set)
			last->count += m->places[i].count;
		else
			m->places[kept++] = m->places[i];
	}
	m->place_count = kept;
}

static int layout_next(struct cluster *c, struct members *m, struct layout *y)
{
	y->at = 0;
	if (y->phase == LAYOUT_COUNT) {
		int err = layout_alloc(c, m, y);

		if (err < 0)
			return err;
	} else if (y->phase == LAYOUT_PLACE) {
		places_merge(m);
	}
	y->phase++;
	return y->phase < LAYOUT_DONE;
}

int layout_step(struct cluster *c, struct members *m, struct layout *y, uint32_t *work)
{
	uint32_t groups = endpoints_groups(m->set);
	int err = y->phase < LAYOUT_DONE && m->count;

	while (err > 0 && *work) {
		for (; y->at < groups && *work; y->at++, --*work) {
			struct endpoint_group g = endpoints_group_at(m->set, y->at);
			uint32_t level;

			if (!g.count)
				continue;
			if (y->phase == LAYOUT_PRIORITIES) {
				see_priority(y, g.locality.priority);
			} else if (y->phase == LAYOUT_COUNT) {
				level = level_of(y, g.locality.priority);
				y->of[level].endpoints += g.count;
				y->of[level].groups++;
				y->of[level].weighted += g.locality.weight > 0;
			} else {
				layout_place(c, m, y, y->at, &g);
			}
		}
		if (y->at == groups)
			err = layout_next(c, m, y);
	}
	return err;
}
