/* tests/sim/sim_mesh: one run of the simulation with a control plane: an hour of the mesh's life, drawn from a seed.
 *
 *   sim_mesh.c   draws: services, endpoints, routes, troubles of the plane and of the providers, calls; moves the clock
 *   sim_model.c  knows for each call whether its name had a provider for all of the call's life, whatever the sidecar may have heard of the mesh by then; judges its end
 *
 * Owner of all: mesh_run's frame. */
#pragma once
#include "tests/flow/rig.h"
#include "tests/flow/rig_ads.h"

enum { MESH_SERVICES = 6, MESH_PROVIDERS = 8, MESH_CALLS = 24000, MESH_WINDOW = 96, MESH_PORT = 7000 };
enum mesh_set { SET_OWN, SET_V1, SET_V2, MESH_SETS };   /* the clusters of a service: its own, and two that its route may name instead */
enum mesh_route { ROUTE_ABSENT, ROUTE_OWN, ROUTE_SPLIT };
/* What the plane said of a thing since then. */
struct mesh_said { uint64_t since_ns, frozen_ns /* of that */; uint32_t named, usable; enum mesh_route route; };
/* All that the sidecar may believe now: the newest last. Shrinks to that one when the plane was well for long enough. */
struct mesh_window { struct mesh_said at[MESH_WINDOW]; uint32_t n; };
struct mesh_service {
	char host[64], authority[80], cluster[MESH_SETS][96];
	enum mesh_route route;
	uint32_t named[MESH_SETS], sick[MESH_SETS];           /* the plane's store: a bit a provider; sick: said to be unhealthy */
	uint64_t refill_ns;                                   /* its own set was emptied by mistake: when that is noticed; 0: it was not */
	bool lied;                                            /* something of it in the store is nonsense */
	struct mesh_window routes, sets[MESH_SETS];
	uint64_t named_ns[MESH_PROVIDERS];                    /* when the provider was last in a set that may be believed */
	uint64_t unsure_ns;                                   /* when a call to it was last not sure of a provider */
	uint64_t absent_ns, exists_ns;                        /* when it was last believable that it does not exist; that it does */
	char text[MESH_SETS][320];                            /* endpoints as the plane was told them */
	uint64_t used_ns;                                     /* when it was called last */
	uint64_t forgot_ns;
	bool known;                                           /* a call was served by it since it was last forgotten */
	bool had_own;                                         /* and by the set that is its own */
};
struct mesh_provider { struct provider *p; bool up; uint64_t since_ns, hazard_ns; };
struct mesh_call {
	struct call *call;
	uint8_t service;
	uint64_t left, deadline_ns;
	bool whole, over, streaming;
	uint32_t served_by;           /* bits */
	struct served *served[4];
	uint32_t nserved;
};
struct mesh_sim {
	struct rig *rig;
	struct plane *plane;
	const struct mesh_kind *kind;
	struct mesh_service service[MESH_SERVICES];
	struct mesh_provider provider[MESH_PROVIDERS];
	struct caller *caller[3];
	struct mesh_call *calls;
	uint32_t ncalls, first_open;
	uint64_t idle_ns, hold_ns;
	uint64_t end_ns;
	bool trouble;                 /* the plane is not what it should be */
	uint64_t phase_until_ns, settled_ns, freeze_ns; /* settled: when the sidecar will know what the plane says, if all stays well; freeze: the last one's end */
	bool was_mute, zones, may_lie_clusters;
	struct plane_quirks usual;
	uint64_t busy;                /* services that are called in this phase, a bit each */
	struct sb yaml[2]; int yaml_turn, reloads;
	/* told at the end */
	uint32_t ok, sure, excused, absent, troubles, changes, deaths;
};
struct mesh_kind { const char *name, *conf; enum plane_kind plane; bool lds, cds_named, panics; };

void mesh_run(uint64_t seed, uint32_t minutes);
uint64_t mesh_below(struct mesh_sim *s, uint64_t n);
/* sim_model.c */
void model_say_set(struct mesh_sim *s, struct mesh_service *v, enum mesh_set set);   /* the store was changed: from now on the sidecar may believe it */
void model_say_route(struct mesh_sim *s, struct mesh_service *v);
void model_freeze(struct mesh_sim *s, uint64_t ns);       /* all will stand still for so long: what was so long ago is not that much longer ago */
void model_tick(struct mesh_sim *s);                      /* after each event and each piece of time */
bool model_settled(const struct mesh_sim *s);             /* the plane is well for so long that the sidecar knows what it says */
bool model_sure(const struct mesh_sim *s, const struct mesh_service *v);
void model_call_over(void *sim, void *call);
void model_served(void *sim, void *served, int what);
void model_after_turn(void *sim);
uint64_t model_now(const struct mesh_sim *s);
