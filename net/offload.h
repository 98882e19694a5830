/* net/offload: one helper for what may block: writing, fsync, rename. In a real loop it is one thread that starts with the first job and ends after
 * some seconds without one; in simulation a job runs inline, in a task of the loop, so that runs stay reproducible.
 *
 *   offload_run(o, job)      job->work(job)  in the helper: touches nothing but what the job owns, no loop, no accounts, no statistics
 *                            job->done(job)  back in the loop, in the order in which the jobs were given
 *
 * Jobs run one after the other, in order. Owner of a job: its giver, who may not free it before done. Owner of the offload: sidecar. */
#pragma once
#include "net/loop.h"

struct offload;
struct offload_job { void (*work)(struct offload_job *j); void (*done)(struct offload_job *j); struct offload_job *next; };
struct offload *offload_new(struct loop *l);
/* Waits for the jobs that were given (at most a second or two at process end), tells their `done`, ends the thread. */
void offload_free(struct offload **o);
void offload_run(struct offload *o, struct offload_job *j);
uint32_t offload_pending(const struct offload *o);
