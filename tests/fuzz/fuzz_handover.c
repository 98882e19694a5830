/* A text that one process hands to the next. Whatever it is: descriptors are named once and are none of the standard streams, every address can be used, and what was read, written and read
 * again is the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sidecar/handover.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void insist(bool true_)
{
	if (!true_)
		abort();
}

static void write_again(struct sb *b, const struct handover *h)
{
	handover_write_head(b, h->pid, h->upgrades, h->failed);
	for (uint32_t i = 0; i < h->ndoors; i++)
		handover_write_door(b, &h->doors[i]);
	for (uint32_t i = 0; i < h->nlives; i++)
		handover_write_life(b, h->lives[i].app, str_of(h->lives[i].text));
}

/* Control characters in a path are shown as '?' by addr_text, and a scope may be written otherwise: such a door is not found again, which costs an upgrade and nothing else. */
static bool is_plain(const struct addr *a)
{
	struct addr again;
	char text[ADDR_TEXT];

	return addr_parse(str_of(addr_text(a, text)), &again) == 0 && addr_eq(a, &again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct handover h, again;
	struct sb b = {0};
	bool plain = true;

	if (handover_parse(&h, str_n((const char *)data, size)) != 0) {
		insist(h.ndoors == 0 && h.nlives == 0);
		handover_end(&h);
		return 0;
	}
	for (uint32_t i = 0; i < h.ndoors; i++) {
		const struct handover_door *d = &h.doors[i];
		insist(d->fd > 2 && (d->lock_fd == -1 || d->lock_fd > 2) && d->addr.len && memchr(d->name, 0, sizeof d->name));
		for (uint32_t k = 0; k < i; k++)
			insist(d->fd != h.doors[k].fd && d->fd != h.doors[k].lock_fd && (d->lock_fd < 0 || (d->lock_fd != h.doors[k].fd && d->lock_fd != h.doors[k].lock_fd)));
		plain &= is_plain(&d->addr);
	}
	write_again(&b, &h);
	insist(handover_parse(&again, sb_view(&b)) == 0);
	insist(again.unknown == 0 && again.nlives == h.nlives && again.upgrades == h.upgrades && again.pid == h.pid);
	insist(!plain || (again.bad == 0 && again.ndoors == h.ndoors));
	if (plain) {
		struct sb once_more = {0};
		write_again(&once_more, &again);
		insist(str_eq(sb_view(&b), sb_view(&once_more)));
		sb_end(&once_more);
	}
	handover_end(&again);
	handover_end(&h);
	sb_end(&b);
	return 0;
}
