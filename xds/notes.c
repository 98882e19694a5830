/* xds/notes: see the header. */
#include "xds/notes.h"

#include <string.h>

enum { NOTES_MAX = 480 };

/* Takes the first word off the list. */
static struct str next_word(struct str *list)
{
	const char *end = list->n ? memmem(list->p, list->n, "; ", 2) : NULL;
	size_t n = end ? (size_t)(end - list->p) : list->n;
	struct str word = str_cut(*list, 0, n);

	*list = end ? str_cut(*list, n + 2, list->n) : STR("");
	return word;
}

static bool has_word(const struct sb *b, struct str word)
{
	struct str rest = sb_view(b);

	while (rest.n)
		if (str_eq(next_word(&rest), word))
			return true;
	return false;
}

static void add_word(struct sb *b, struct str word)
{
	if (!word.n || has_word(b, word) || has_word(b, STR("...")))
		return;
	if (b->n)
		sb_str(b, "; ");
	if (b->n + word.n > NOTES_MAX)
		word = STR("...");
	sb_add(b, word.p, word.n);
}

static void add_words(struct sb *b, const char *words)
{
	struct str rest = str_of(words ? words : "");

	while (b && rest.n)
		add_word(b, next_word(&rest));
}

void notes_of_routes(const struct route_config *c, struct sb *without_effect, struct sb *unsupported)
{
	for (uint32_t i = 0; i < route_config_hosts(c); i++) {
		const struct route_table *t = route_config_host(c, i);

		for (uint32_t k = 0; k < t->count; k++) {
			const struct route_action *a = t->routes[k].action;

			add_words(without_effect, a->notes);
			if (a->kind == ROUTE_UNSUPPORTED)
				add_words(unsupported, a->unsupported);
		}
	}
}
