/* sidecar/freeze: the process stands still for a while (a FaaS container between two requests, a machine that is restored from a snapshot), and goes on as if nothing had been:
 *
 *   POST /freeze -----> loop_freeze: no timer runs, nothing is begun that would be lost         (net/loop.h says how a standstill is seen that nobody announced)
 *   POST /thaw, SIGCONT, the clock --> loop: timers are moved --> freeze_thaw, in this order: calls keep the time that they had left; connections to providers have to prove that they
 *                       live; checks are void and asked anew; DNS and the control plane are asked at once
 *
 * For a while then (`settling`) all providers may be others, and only the control plane knows: a call that nobody has begun and that finds nobody is held back and tried again,
 * without the retry budget, until it finds somebody or park.time is over. Owner of the state: struct sidecar. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct sidecar;
struct local_call;
struct freeze {
	uint64_t settling_until_ns;
	uint64_t at_wall_ns, at_boot_ns;  /* when /freeze came: by the wall's clock, and by the one that counts sleep */
	uint64_t stood_ns;                /* the last standstill, by the longest of the clocks */
};
void freeze_open(struct sidecar *sc);      /* SIGCONT is heard */
void freeze_thaw(struct sidecar *sc);      /* from loop.on_thaw */
bool freeze_is_settling(const struct sidecar *sc);
void freeze_page(struct local_call *c);    /* POST /freeze */
void freeze_page_thaw(struct local_call *c);
