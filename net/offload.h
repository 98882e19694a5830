/* net/offload: one helper for what may block: writing, fsync, rename. In a real loop it is one thread that starts with the first job and ends after
 * some seconds without one; in simulation a job runs inline, in a task of the loop, so that runs stay reproducible.
 *
 *   offload_run(o, job)      job->work(job)  in the helper: touches nothing but what the job owns, no loop, no accounts, no statistics; and no malloc if it can be
 *                                            helped (libc gives a second thread a heap of its own, which then stays)
 *                            job->done(job)  back in the loop, in the order in which the jobs were given
 *
 * Jobs run one after the other, in order. Owner of a job: its giver, who may not free it before done. Owner of the offload: sidecar. */
#pragma once
#include "net/loop.h"

struct offload;
struct offload_job { void (*work)(struct offload_job *j); void (*done)(struct offload_job *j); struct offload_job *next; };
struct offload *offload_new(struct loop *l);
/* Waits for the jobs that were given (at most OFFLOAD_END_NS, for this is the process's end), tells their `done`, ends the thread. A job that is stuck beyond that
 * keeps what it owns, and its done is never told. */
void offload_free(struct offload **o);
void offload_leave(struct offload **o);            /* the same without waiting */
void offload_run(struct offload *o, struct offload_job *j);
/* Waits here, without the loop, until all jobs (also those that `done` gives) are done and told; not from a `done`. False: max_ns were not enough, some are left. */
bool offload_drain(struct offload *o, uint64_t max_ns);
uint32_t offload_pending(const struct offload *o);
bool offload_is_awake(const struct offload *o);   /* a thread exists: tests ask */
void offload_set_idle(struct offload *o, uint64_t idle_ns); /* instead of OFFLOAD_IDLE_NS, from the next wait on */
#define OFFLOAD_IDLE_NS 10000000000u              /* without a job for so long, the thread ends */
#define OFFLOAD_END_NS 2000000000u
