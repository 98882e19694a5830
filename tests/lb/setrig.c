/* tests/lb/setrig: see the header. Whatever goes wrong here is the test's own mistake: it aborts. */
#include "tests/lb/setrig.h"

#include <stdlib.h>

#include "base/str.h"

static void must(bool so)
{
	if (!so)
		abort();
}

struct words {
	struct str addr, weight, health, zone, share, priority, incarnation, tls, check;
};

static struct words words_of(struct str text)
{
	struct words w = {.weight = STR("1"), .share = STR("0"), .priority = STR("0"), .incarnation = STR("0")};
	struct str *into = &w.addr;
	size_t from = 0;

	for (size_t i = 0; i <= text.n; i++) {
		char c = i < text.n ? text.p[i] : '\0';
		struct str *next = c == '*' ? &w.weight
			: c == '!'          ? &w.health
			: c == '%'          ? &w.zone
			: c == '~'          ? &w.share
			: c == '^'          ? &w.priority
			: c == '#'          ? &w.incarnation
			: c == '+'          ? &w.tls
			: c == '='          ? &w.check
					    : NULL;

		if (!next && i < text.n)
			continue;
		*into = str_cut(text, from, i);
		into = next;
		from = i + 1;
	}
	return w;
}

static uint32_t number(struct str s)
{
	uint64_t n = 0;

	must(str_u64(s, &n) && n <= UINT32_MAX);
	return (uint32_t)n;
}

static uint8_t health_of(struct str s)
{
	static const char letters[] = "?hudg"; /* in the order of enum endpoint_health */

	must(s.n <= 1);
	return s.n ? (uint8_t)(strchr(letters, s.p[0]) - letters) : EP_UNKNOWN;
}

static void put(struct endpoints_builder *b, const struct words *w, struct endpoint_metas *metas)
{
	struct endpoint_item item = {.weight = number(w->weight), .health = health_of(w->health), .incarnation = number(w->incarnation)};
	struct str left = w->addr;
	struct addr addrs[4];

	if (w->tls.n) {
		const struct str pairs[] = {STR("tlsMode"), w->tls};

		must(metas && (item.meta = endpoint_meta_get(metas, pairs, 1)));
	}
	if (w->check.n) {
		const struct str pairs[] = {STR(ENDPOINT_CHECK_OFF), STR("1")};

		must(metas && str_eq(w->check, STR("off")) && (item.meta = endpoint_meta_get(metas, pairs, 1)));
	}
	if (left.p[0] >= 'a' && left.p[0] <= 'z' && !str_starts(left, STR("unix:"))) {
		int port;

		must(addr_split(left, &item.host, &port) == 0);
		item.port = (uint16_t)port;
		left.n = 0;
	}
	while (left.n) {
		ptrdiff_t comma = str_find(left, ',');

		must(item.naddrs < 4 && addr_parse(comma < 0 ? left : str_cut(left, 0, (size_t)comma), &addrs[item.naddrs++]) == 0);
		left = comma < 0 ? str_n(NULL, 0) : str_cut(left, (size_t)comma + 1, left.n);
	}
	item.addrs = addrs;
	must(endpoints_put(b, &item) == 0);
}

static struct str next_word(struct str *left)
{
	ptrdiff_t blank = str_find(*left, ' ');
	struct str word = blank < 0 ? *left : str_cut(*left, 0, (size_t)blank);

	*left = blank < 0 ? str_n(NULL, 0) : str_cut(*left, (size_t)blank + 1, left->n);
	return word;
}

static bool one_group(const struct words *a, const struct words *b)
{
	return str_eq(a->zone, b->zone) && str_eq(a->share, b->share) && str_eq(a->priority, b->priority);
}

struct endpoint_set *set_text(const char *text, struct endpoint_metas *metas, const struct endpoint_set *old)
{
	struct endpoints_builder *b = endpoints_build(NULL, old);
	struct str left = str_of(text);

	while (left.n) {
		const char *from = left.p;
		struct words first = words_of(next_word(&left)), w;
		struct str ahead = left;

		while (ahead.n && (w = words_of(next_word(&ahead)), one_group(&first, &w)))
			left = ahead;
		must(endpoints_group(b) == 0);
		size_t size = left.n ? (size_t)(left.p - from) : strlen(from);
		uint64_t hash = str_hash(str_n(from, size));
		if (!endpoints_share(b, hash)) {
			struct str group = str_n(from, size);

			must(endpoints_block(b, hash) == 0);
			while (group.n) {
				struct str word = next_word(&group);

				if (!word.n)
					continue;
				w = words_of(word);
				put(b, &w, metas);
			}
		}
		must(endpoints_group_end(b, STR(""), first.zone, STR(""), number(first.share), number(first.priority)) == 0);
	}
	return endpoints_done(&b, 0);
}

struct endpoint_set *set_range(uint32_t count, uint32_t but, const struct endpoint_set *old)
{
	enum { BLOCK = 128 };
	struct endpoints_builder *b = endpoints_build(NULL, old);
	struct endpoint_item item = {.naddrs = 1};
	struct addr a;

	must(addr_parse(STR("10.1.0.1:1"), &a) == 0);
	item.addrs = &a;
	must(endpoints_group(b) == 0);
	for (uint32_t i = 0; i < count; i++) {
		if (i % BLOCK == 0) {
			uint64_t hash = 1 + i + ((uint64_t)(but / BLOCK == i / BLOCK) << 40) +
				((uint64_t)(count - i < BLOCK ? count - i : BLOCK) << 48);

			if (endpoints_share(b, hash)) {
				i += BLOCK - 1;
				continue;
			}
			must(endpoints_block(b, hash) == 0);
		}
		a.in4.sin_port = htons((uint16_t)(i % 32768 + 1));
		a.in4.sin_addr.s_addr = htonl(0x0a010001 + i / 32768);
		item.weight = i == but ? 2 : 1;
		must(endpoints_put(b, &item) == 0);
	}
	must(endpoints_group_end(b, STR(""), STR(""), STR(""), 0, 0) == 0);
	return endpoints_done(&b, 0);
}
