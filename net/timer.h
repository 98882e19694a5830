/* net/timer: the wheel behind timer_set, as the loop sees it. Owner: loop. Users of timers include net/loop.h only. */
#pragma once
#include "net/loop.h"

struct wheel;
struct wheel *wheel_new(uint64_t now_ns);
void wheel_free(struct wheel **w);
uint64_t wheel_next_ns(struct wheel *w);                /* when to look again, no later than the first timer; UINT64_MAX: no timer is armed */
void wheel_run(struct wheel *w, uint64_t now_ns);       /* runs what is due; what is armed meanwhile for the past waits for the next run */
void wheel_shift(struct loop *l, uint64_t gap_ns);     /* the clock jumped: all timers keep the time they had left */
uint32_t wheel_armed(const struct wheel *w);
