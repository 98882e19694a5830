/* tests/sim/sim_life: one run of the simulation with life in it: providers that fall ill and recover, an app that says ok and fail and dies, containers that freeze, a daemon that goes; drawn
 * from a seed.
 *
 *   sim_life.c            draws: what is declared, the events, peace, the end; moves the clock
 *   sim_life_providers.c  providers and what they say when they are asked; a model of what active checks, ejections and the control plane must make of each, and so of each call
 *   sim_life_app.c        the app: its words, processes, check and server; a model of its state, and so of each call to it, of what the mesh and who watches are told
 *
 * The models are sure of a thing only when it has been so for as long as the declared numbers take; what follows is in the heads of the two. Owner of all: life_run's frame. */
#pragma once
#include "tests/flow/rig.h"
#include "tests/flow/rig_ads.h"

enum { LIFE_SERVICES = 3, LIFE_PROVIDERS = 5, LIFE_CALLERS = 4, LIFE_CALLS = 30000, LIFE_WAITS = 1024, LIFE_ASKED = 256, LIFE_MESH = 2 /* the service that the mesh declares */ };
enum life_check { ASKS_GRPC, ASKS_HTTP, ASKS_TCP };
enum life_says { P_SERVING, P_NO_SERVICE, P_NOT_SERVING, P_SILENT, P_GARBAGE, P_BREAKS };
enum life_conduct { DOES_WELL, DOES_UNAVAILABLE, DOES_RESET, DOES_CRASH, DOES_SAY_FAIL };

struct life_provider {
	struct provider *p;
	bool up, hung;
	enum life_says says;
	enum life_conduct conduct;
	uint64_t conduct_ns;                       /* when it last was anything but well */
	uint64_t shaky_ns;                         /* when calls last did to it what its checks see as well */
	struct served *asked[LIFE_ASKED]; uint32_t nasked; /* questions about its health that are open */
};
struct life_seen { bool good; uint64_t since_ns; };    /* what checks would find, and since when nothing has disturbed them */
struct life_service {
	char authority[64];
	bool checked, passive, watch, always_one;
	enum life_check check;
	const char *lb;
	uint32_t interval_ms, unhealthy_ms, unhealthy_edge_ms, healthy_edge_ms, no_traffic_ms, timeout_ms, jitter_ms, jitter_percent, fails, passes, retries;
	uint32_t base_ms, most_ms, outlier_ms, max_percent;
	uint32_t members, ordered;                 /* a bit a provider: declared; of these, not to be used by order of the control plane */
	struct life_seen seen[LIFE_PROVIDERS];
	uint64_t unsteady_ns;                      /* when it was last not clear of each of them */
	uint32_t sure, ill;                        /* bits, of the last look: well beyond doubt, ill beyond doubt */
	bool clear;                                /* at the last look */
};
struct life_call {
	struct call *call;
	int8_t service;                            /* -1: to the app */
	bool over, streams;
	uint32_t nserved;
	uint64_t deadline_ns, frozen_ns;           /* frozen_ns: how long all had stood still by its beginning */
	uint32_t left;                             /* of its body */
};
struct life_watcher { struct caller *from; struct call *call; int8_t service; uint64_t since_ns; };
struct life_wait_call { struct call *call; uint64_t until_ns; };
struct life_app {
	bool ok, gone, said, unsure;               /* what it said last; its processes ended after that; anything; nobody can know (two things came at once) */
	uint64_t settled_ns;                       /* the state is what is said here from then on */
	uint64_t unclear_ns, closed_ns;            /* when the model was last not sure; when the last inbound call ended */
	uint64_t lease_ns, lease_late_ns;          /* its end at the earliest and at the latest; 0: none */
	bool has_check, check_passes, check_ever; uint64_t check_ns; uint32_t check_code;
	uint32_t period_ms, fails, passes, announce_ms, deadline_ms;
	bool watch;                                /* whose connections carry calls are watched */
	struct provider *server; bool server_up; uint64_t server_ns;   /* when it last was anything but well */
	bool open, was_open;                       /* the gate after the last turn, and the one before it */
	uint64_t open_ns, shut_ns;                 /* when it was last seen to be so */
	struct caller *door;
	struct life_wait_call waits[LIFE_WAITS]; uint32_t nwaits, first_wait;
};
struct life_process {
	struct caller *caller;
	int pid;
	bool watched, perhaps;
	const struct call *word; bool moot; /* its last post; were it lost with the end of the last process, nothing would be different */
};
struct life_sim {
	struct rig *rig;
	struct plane *plane;
	struct life_service service[LIFE_SERVICES];
	struct life_provider provider[LIFE_PROVIDERS];
	struct life_process process[LIFE_CALLERS];
	struct life_app app;
	struct life_watcher watcher[LIFE_SERVICES + 1];
	struct caller *control;
	struct life_call *calls;
	uint32_t ncalls, first_open;
	uint64_t stood_ns, thawed_ns;              /* all the time of all freezes; the end of the last one */
	uint64_t plane_ns;                         /* when the plane was last not well */
	bool plane_ill, with_plane, stopping;
	uint64_t probes_mark, probes_mark_ns, probes_allowed;   /* questions that may be more than the intervals say, since the mark */
	struct sb yaml[2]; int yaml_turn;
	int next_pid;
	uint64_t end_ns;
	uint32_t ok, sure, failed, inbound, inbound_ok, sick, freezes, posts, looks, ejected;   /* told at the end */
};
void life_run(uint64_t seed, uint32_t minutes);
uint64_t life_below(struct life_sim *s, uint64_t n);
bool life_percent(struct life_sim *s, unsigned percent);
uint64_t life_between(struct life_sim *s, uint64_t least, uint64_t most);
uint64_t life_now(const struct life_sim *s);
void life_told(const struct life_sim *s, const char *what, int which);   /* SIM_LOG=1 */
struct life_call *life_call_of(struct life_sim *s, const struct served *v);
void life_watch_open(struct life_sim *s, struct life_watcher *w, const char *door, const char *authority);
int life_watch_says(const struct life_watcher *w);                       /* the last status it was told; -1: none yet */

/* ---- sim_life_providers.c ---- */
void providers_make(struct life_sim *s);
void services_draw(struct life_sim *s);
void services_yaml(struct life_sim *s, struct sb *b, bool checks);
void services_anew(struct life_sim *s, bool checks);                     /* a reload: other checks, or none */
void providers_event(struct life_sim *s);
void providers_mend(struct life_sim *s);
void mesh_event(struct life_sim *s);
void mesh_mend(struct life_sim *s);
void providers_froze(struct life_sim *s, uint64_t ns);
void providers_look(struct life_sim *s);                                 /* what must hold now */
void providers_served(struct life_sim *s, struct served *v, bool ended);
void providers_asked(struct life_sim *s, struct served *v, bool ended);
bool is_question(const struct served *v);
bool call_must_succeed(struct life_sim *s, const struct life_call *k);
uint64_t service_settles_ns(const struct life_service *v);               /* after so long of nothing new all is clear */

/* ---- sim_life_app.c ---- */
#define LIFE_IN "10.9.0.1:20880"
#define LIFE_ASK "10.9.0.1:15021"
void app_draw(struct life_sim *s);
void app_yaml(struct life_sim *s, struct sb *b, bool check);
void app_make(struct life_sim *s);
void app_event(struct life_sim *s);
void app_mend(struct life_sim *s);
void app_processes_mend(struct life_sim *s);
void app_froze(struct life_sim *s, uint64_t ns);
void app_look(struct life_sim *s);
void app_after_turn(struct life_sim *s);
void app_served(struct life_sim *s, struct served *v);
void app_call(struct life_sim *s, uint32_t n);
void app_call_over(struct life_sim *s, struct life_call *k);
bool app_is_open(struct life_sim *s, bool *ret_sure);                    /* what the model says */
void app_word(struct life_sim *s, bool ok, const char *query);
