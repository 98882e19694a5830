/* base/list: intrusive doubly linked lists (a ring with a head). An unlinked node points to itself or is zeroed; both
 * are accepted by list_del, so an object can unhook itself without knowing whether it is hooked. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct list { struct list *next, *prev; };

#define container_of(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
#define LIST_INIT(name) ((struct list){&(name), &(name)})
static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l || l->next == NULL; }
static inline bool list_linked(const struct list *l) { return l->next != NULL && l->next != l; }
static inline void list_add_after(struct list *at, struct list *n) { n->next = at->next; n->prev = at; at->next->prev = n; at->next = n; }
static inline void list_push(struct list *head, struct list *n) { list_add_after(head->prev, n); }       /* at the end */
static inline void list_push_front(struct list *head, struct list *n) { list_add_after(head, n); }
static inline void list_del(struct list *n)
{
	if (!n->next)
		return;
	n->next->prev = n->prev;
	n->prev->next = n->next;
	n->next = n->prev = n;
}
static inline struct list *list_pop(struct list *head) /* NULL when empty */
{
	struct list *n = head->next;
	if (n == head || !n)
		return NULL;
	list_del(n);
	return n;
}
/* Moves all nodes of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}
#define list_entry(ptr, type, member) container_of(ptr, type, member)
/* Safe against removal of the current node only. */
#define list_each(pos, tmp, head) for (struct list *pos = (head)->next, *tmp = pos->next; pos != (head); pos = tmp, tmp = pos->next)
