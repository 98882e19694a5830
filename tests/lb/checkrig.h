/* tests/lb/checkrig: stands in for health/checker: keeps what it is given at each host, counts what it is told, and says what the test wants it to say.
 * Owner: the test; it lives until lb_rig_free has returned (clusters tell it of their end). */
#pragma once
#include "tests/lb/lbrig.h"

struct check_rig {
	struct lb_rig *rig;
	uint32_t switched, ended, gone, failed_now, traffic;
	uint32_t hosts;              /* that it checks now */
	enum host_check at_once;     /* what it says of one that is PENDING as soon as it comes; PENDING: nothing */
	bool fails_now;              /* x-envoy-immediate-health-check-fail is believed */
};
void check_rig_begin(struct check_rig *k, struct lb_rig *r);   /* k is zero */
struct cluster_spec *check_rig_spec(void);                     /* lb_rig_spec with a check; sealed */
struct host *check_rig_host(struct lb_rig *r, const char *text); /* held ones too; NULL: not there */
void check_rig_say(struct lb_rig *r, const char *text, enum host_check check); /* of all that are there, where text is NULL */
uint32_t check_rig_picks(struct lb_rig *r, const char *text, uint32_t n);      /* of n picks those of text; NULL: those that found anybody */
