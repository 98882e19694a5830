/* tests/sim/sim: one run of the simulation: what sim_main.c drives and sim_check.c watches. Owner: sim_run's frame. */
#pragma once
#include "tests/flow/rig.h"

enum { SERVICES = 4, PROVIDERS = 5, CALLERS = 4, CALLS_MAX = 4096 };
struct sim_service {
	bool declared, retries, by_name;
	uint32_t mask;                     /* its endpoints: a bit a provider */
	const char *lb;
	uint32_t timeout_ms;
	uint32_t removed_step[PROVIDERS];  /* the step in which the provider went from it */
};
struct sim_call {
	struct call *call;
	uint32_t step;                     /* in which it began */
	int service;                       /* -1: one that nobody declares */
	uint64_t left;                     /* body bytes to send */
	bool streaming, whole, deadline, retries, plain, over;
	uint32_t ran, refused;             /* how often providers saw it, and how often they said REFUSED_STREAM */
};
struct sim {
	struct rig *rig;
	struct sim_service service[SERVICES];
	struct provider *provider[PROVIDERS];
	bool stalled[PROVIDERS];
	struct caller *caller[CALLERS];
	bool stalled_caller[CALLERS];
	struct sim_call calls[CALLS_MAX];
	uint32_t ncalls, step, ok, failed, cancelled;
	bool second_app;
	struct sb yaml[2];                 /* the present one, and the one before: a reload borrows it */
	int yaml_turn;
};
uint64_t sim_below(struct sim *s, uint64_t n);
/* sim_check.c */
void sim_call_over(void *sim, void *call);
void sim_served(void *sim, void *served, int what /* 1: came, 2: ended */);
void sim_after_turn(void *sim);
