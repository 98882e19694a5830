/* health/life_int: what the files of health/life share; private to this floor.
 *
 *   life.c        what was said, and the state that follows from all of it
 *   life_procs.c  the processes that are watched
 *   life_check.c  the app's own check
 *   life_save.c   the line that a daemon which takes over reads */
#pragma once
#include "health/life.h"
#include "health/probe.h"

enum life_said { SAID_NOTHING, SAID_OK, SAID_FAIL };
enum life_checked { CHECKED_NONE /* no check is declared */, CHECKED_PENDING, CHECKED_PASSED, CHECKED_FAILED };
enum { LIFE_WHY = 160, LIFE_ENDED = 8 };
/* A watched process. Owner: its life, which pays for it (account). */
struct life_proc { struct list node; struct life *life; struct proc_watch *watch; pid_t pid; /* 0: of another PID namespace */ uint64_t key; };
struct life {
	struct life_spec spec;
	char *name;                    /* owned: a configuration goes, its app stays */
	enum life_state state;
	enum life_said said;           /* the last word; a lease that ran out and the last connection's end are one too */
	bool gone;                     /* the last watched process has ended; until ok is said, or, where nobody ever says anything, the check passes */
	bool leaving, announced;       /* the daemon goes; the mesh has heard of it */
	char why[LIFE_WHY];            /* of the state */
	char said_why[LIFE_WHY];       /* of SAID_FAIL and gone */
	uint64_t since_ns, since_wall_ns, transitions[LIFE_STATES];
	uint32_t uid; int pid; bool known;
	struct timer lease;            /* armed while ok is a lease */
	uint64_t gone_after_ns;
	struct timer lonely;           /* armed while the last connection is gone and gone_after runs */
	uint32_t connections; bool had_connections;
	uint32_t in_flight;
	struct list waits;             /* struct life_wait: borrowed, they unhook themselves */
	struct task idle_task;
	/* life_procs.c */
	struct list procs; uint32_t nprocs;
	bool watch, unwatchable_told;
	pid_t ended[LIFE_ENDED]; uint32_t nended; /* numbers of those that were watched and ended last, a ring; until ok is heard */
	/* life_check.c */
	enum life_checked checked;
	struct health_check check;     /* a copy; valid unless CHECKED_NONE */
	uint64_t check_hash;
	struct probe *probe;           /* in flight; NULL: none */
	struct probe_keep *keep;
	struct timer check_timer; uint64_t check_begun_ns;
	uint32_t passes, failures;     /* in a row */
	char check_why[LIFE_WHY];
};
/* Everything that may change the state ends here. by: who asked for it just now, or NULL. */
void life_settle(struct life *l, const struct sock_cred *by);
void life_gone(struct life *l, const char *why);              /* life_procs: the last watched process has ended */
void life_take_over(struct life *l, enum life_state s, uint64_t since_wall_ns, uint64_t lease_ns); /* life_restore's last step but the processes */
bool life_poster_ended(struct life *l, const struct sock_cred *by); /* it was watched, its end was seen, and nobody is watched any more */
void life_procs_free(struct life *l);
void life_procs_save(const struct life *l, struct sb *out);   /* " pids=..." */
void life_procs_restore(struct life *l, struct str pids);     /* those that are there still; none of many: gone */
void life_check_conf(struct life *l, const struct health_check *check);
void life_check_again(struct life *l);                        /* what it found out holds no more: from the beginning */
void life_check_free(struct life *l);
