/* net/offload: jobs that may block run beside the loop, in order, and come back to it; in simulation they run inside. */
#include "tests/unit.h"

#include <pthread.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <signal.h>

#include "net/offload.h"
#include "tests/sim/simnet.h"

enum { JOBS = 200 };
struct ride {
	struct offload *o;
	int worked, told;         /* how many so far */
	pthread_t where;          /* of the last work */
	int again;                /* so many more jobs are given by `done` */
	struct job *last;
	sem_t go, begun;          /* for jobs that wait to be let go */
	sigset_t mask;
};
struct job {
	struct offload_job job;
	struct ride *ride;
	int nth, worked_as, told_as;
	bool waits;
};

static void work(struct offload_job *j)
{
	struct job *job = (struct job *)j;

	if (job->waits) {
		sem_post(&job->ride->begun);
		while (sem_wait(&job->ride->go) < 0)
			;
	}
	job->worked_as = job->ride->worked++;
	job->ride->where = pthread_self();
	pthread_sigmask(SIG_SETMASK, NULL, &job->ride->mask);
}

static void done(struct offload_job *j)
{
	struct job *job = (struct job *)j;
	struct ride *r = job->ride;

	job->told_as = r->told++;
	if (r->again-- > 0)
		offload_run(r->o, j);
}

static void give(struct ride *r, struct job *job, int nth)
{
	job->job = (struct offload_job){.work = work, .done = done};
	job->ride = r;
	job->nth = nth;
	offload_run(r->o, &job->job);
}

static struct loop *begin(struct ride *r)
{
	struct loop *l = loop_new_real(NULL);

	*r = (struct ride){.o = offload_new(l), .where = pthread_self()};
	sem_init(&r->go, 0, 0);
	sem_init(&r->begun, 0, 0);
	return l;
}

static void end(struct ride *r, struct loop *l)
{
	offload_free(&r->o);
	ck_assert_ptr_null(r->o);
	sem_destroy(&r->go);
	sem_destroy(&r->begun);
	loop_free(&l);
}

START_TEST(jobs_run_beside_the_loop_one_after_the_other_and_come_back_in_order)
{
	struct ride r;
	struct loop *l = begin(&r);
	struct job jobs[JOBS] = {0};

	ck_assert(!offload_is_awake(r.o));
	for (int i = 0; i < JOBS; i++)
		give(&r, &jobs[i], i);
	ck_assert(offload_is_awake(r.o));
	ck_assert_uint_eq(offload_pending(r.o), JOBS);
	ck_assert_int_eq(r.told, 0); /* never before the loop turns */
	while (r.told < JOBS)
		loop_turn(l, -1);
	ck_assert_uint_eq(offload_pending(r.o), 0);
	for (int i = 0; i < JOBS; i++) {
		ck_assert_int_eq(jobs[i].worked_as, i);
		ck_assert_int_eq(jobs[i].told_as, i);
	}
	ck_assert(!pthread_equal(r.where, pthread_self()));
	end(&r, l);
}
END_TEST

START_TEST(a_job_that_blocks_does_not_hold_the_loop)
{
	struct ride r;
	struct loop *l = begin(&r);
	struct job slow = {.waits = true}, next = {0};
	uint64_t turn;

	give(&r, &slow, 0);
	give(&r, &next, 1);
	while (sem_wait(&r.begun) < 0)
		;
	for (int i = 0; i < 50; i++)
		loop_turn(l, 0);
	ck_assert_int_eq(r.told, 0);
	turn = l->turn;
	ck_assert_uint_ge(turn, 50);
	sem_post(&r.go);
	while (r.told < 2)
		loop_turn(l, -1);
	ck_assert_int_lt(slow.told_as, next.told_as);
	end(&r, l);
}
END_TEST

START_TEST(the_helper_takes_no_signals)
{
	struct ride r;
	struct loop *l = begin(&r);
	struct job one = {0};

	give(&r, &one, 0);
	while (r.told < 1)
		loop_turn(l, -1);
	ck_assert_int_eq(sigismember(&r.mask, SIGTERM), 1);
	ck_assert_int_eq(sigismember(&r.mask, SIGHUP), 1);
	end(&r, l);
}
END_TEST

START_TEST(the_thread_ends_when_it_is_idle_and_the_next_job_starts_another)
{
	struct ride r;
	struct loop *l = begin(&r);
	struct job one = {0}, two = {0};

	offload_set_idle(r.o, 1000000);
	for (int round = 0; round < 5; round++) {
		give(&r, round & 1 ? &two : &one, round);
		while (r.told <= round || offload_is_awake(r.o))
			loop_turn(l, -1);
	}
	ck_assert_int_eq(r.worked, 5);
	end(&r, l);
}
END_TEST

/* The thread may be ending at the very moment at which a job is given: none may be lost. */
START_TEST(a_job_that_meets_the_ending_thread_is_not_lost)
{
	struct ride r;
	struct loop *l = begin(&r);
	struct job one = {0};

	offload_set_idle(r.o, 0);
	for (int round = 0; round < 2000; round++) {
		give(&r, &one, round);
		while (r.told <= round)
			loop_turn(l, -1);
	}
	ck_assert_int_eq(r.worked, 2000);
	end(&r, l);
}
END_TEST

START_TEST(ending_waits_for_what_was_given_and_tells_it)
{
	struct ride r;
	struct loop *l = begin(&r);
	struct job jobs[JOBS] = {0};

	r.again = 3;
	for (int i = 0; i < JOBS; i++)
		give(&r, &jobs[i], i);
	end(&r, l);
	ck_assert_int_eq(r.worked, JOBS + 3);
	ck_assert_int_eq(r.told, JOBS + 3);
}
END_TEST

START_TEST(draining_gives_up_when_its_time_is_over)
{
	struct ride r;
	struct loop *l = begin(&r);
	struct job slow = {.waits = true};

	give(&r, &slow, 0);
	while (sem_wait(&r.begun) < 0)
		;
	ck_assert(!offload_drain(r.o, 1));
	ck_assert_uint_eq(offload_pending(r.o), 1);
	sem_post(&r.go);
	ck_assert(offload_drain(r.o, 60000000000));
	ck_assert_int_eq(r.told, 1);
	ck_assert(offload_drain(r.o, 0));
	end(&r, l);
}
END_TEST

START_TEST(without_a_descriptor_or_a_thread_jobs_run_in_the_loop)
{
	struct ride r;
	struct loop *l = begin(&r);
	struct job jobs[3] = {0};
	struct rlimit before, none;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	for (int i = 0; i < 3; i++)
		give(&r, &jobs[i], i);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	ck_assert(!offload_is_awake(r.o));
	ck_assert_int_eq(r.worked, 0);
	loop_turn(l, 0);
	ck_assert_int_eq(r.told, 3);
	ck_assert(pthread_equal(r.where, pthread_self()));
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(jobs[i].told_as, i);
	/* And beside it again once there is one. */
	give(&r, &jobs[0], 3);
	ck_assert(offload_is_awake(r.o));
	end(&r, l);
}
END_TEST

START_TEST(in_simulation_jobs_run_in_the_turn_and_no_thread_is_made)
{
	struct simnet *n = simnet_new(1);
	struct ride r = {.o = offload_new(simnet_loop(n)), .again = 2};
	struct job jobs[3] = {0};

	for (int i = 0; i < 3; i++)
		give(&r, &jobs[i], i);
	ck_assert_int_eq(r.worked, 0);
	simnet_advance(n, 0);
	ck_assert_int_eq(r.told, 5);
	ck_assert(!offload_is_awake(r.o));
	ck_assert(pthread_equal(r.where, pthread_self()));
	ck_assert_uint_eq(simnet_now_ns(n), simnet_loop(n)->now_ns);
	give(&r, &jobs[0], 4);
	offload_free(&r.o);
	ck_assert_int_eq(r.told, 6);
	simnet_free(&n);
}
END_TEST

UNIT_SUITE("offload", jobs_run_beside_the_loop_one_after_the_other_and_come_back_in_order, a_job_that_blocks_does_not_hold_the_loop,
	the_helper_takes_no_signals, the_thread_ends_when_it_is_idle_and_the_next_job_starts_another,
	a_job_that_meets_the_ending_thread_is_not_lost, ending_waits_for_what_was_given_and_tells_it, draining_gives_up_when_its_time_is_over,
	without_a_descriptor_or_a_thread_jobs_run_in_the_loop, in_simulation_jobs_run_in_the_turn_and_no_thread_is_made)
