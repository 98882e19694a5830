/* Lists: the order of nodes, and that an object may unhook itself without knowing whether it is hooked. */
#include "base/list.h"
#include <string.h>
#include "tests/unit.h"

struct item { int id; struct list hook; };

static const char *text(struct list *head)
{
	static char out[64];
	size_t n = 0;
	list_each(at, tmp, head)
		out[n++] = (char)('a' + list_entry(at, struct item, hook)->id);
	out[n] = '\0';
	return out;
}

START_TEST(list_keeps_order_at_both_ends)
{
	struct list head = LIST_INIT(head);
	struct item item[4] = {{.id = 0}, {.id = 1}, {.id = 2}, {.id = 3}};
	ck_assert(list_empty(&head));
	list_push(&head, &item[1].hook);
	list_push(&head, &item[2].hook);
	list_push_front(&head, &item[0].hook);
	list_add_after(&item[2].hook, &item[3].hook);
	ck_assert_str_eq(text(&head), "abcd");
	ck_assert_ptr_eq(list_pop(&head), &item[0].hook);
	ck_assert_str_eq(text(&head), "bcd");
	for (int i = 0; i < 3; i++)
		list_pop(&head);
	ck_assert(list_empty(&head));
	ck_assert_ptr_null(list_pop(&head));
}
END_TEST

START_TEST(list_del_accepts_what_is_not_hooked)
{
	struct list head, zeroed = {0}, alone;
	struct item a = {.id = 0};
	list_init(&head);
	list_init(&alone);
	list_del(&zeroed);
	list_del(&alone);
	ck_assert(!list_linked(&zeroed));
	ck_assert(!list_linked(&alone));
	ck_assert_ptr_null(list_pop(&zeroed));
	ck_assert(list_empty(&zeroed));
	list_push(&head, &a.hook);
	ck_assert(list_linked(&a.hook));
	list_del(&a.hook);
	list_del(&a.hook);
	ck_assert(!list_linked(&a.hook));
	ck_assert(list_empty(&head));
}
END_TEST

START_TEST(list_each_goes_on_when_the_current_node_leaves)
{
	struct list head = LIST_INIT(head), other = LIST_INIT(other);
	struct item item[5];
	for (int i = 0; i < 5; i++) {
		item[i].id = i;
		list_push(&head, &item[i].hook);
	}
	list_each(at, tmp, &head) {
		if (list_entry(at, struct item, hook)->id % 2 == 0) {
			list_del(at);
			list_push(&other, at);
		}
	}
	ck_assert_str_eq(text(&head), "bd");
	ck_assert_str_eq(text(&other), "ace");
}
END_TEST

START_TEST(list_splice_appends_all_and_empties_the_source)
{
	struct list a = LIST_INIT(a), b = LIST_INIT(b);
	struct item item[4] = {{.id = 0}, {.id = 1}, {.id = 2}, {.id = 3}};
	list_splice(&a, &b);
	ck_assert(list_empty(&a));
	list_push(&b, &item[0].hook);
	list_push(&b, &item[1].hook);
	list_splice(&a, &b);
	ck_assert(list_empty(&b));
	list_push(&b, &item[2].hook);
	list_push(&b, &item[3].hook);
	list_splice(&a, &b);
	ck_assert_str_eq(text(&a), "abcd");
	list_del(&item[3].hook);
	ck_assert_str_eq(text(&a), "abc");
}
END_TEST

UNIT_SUITE("list", list_keeps_order_at_both_ends, list_del_accepts_what_is_not_hooked,
	   list_each_goes_on_when_the_current_node_leaves, list_splice_appends_all_and_empties_the_source)
