/* health/probe_exec: a program says it by its exit code: 0 is well. See health/probe_int.h and net/proc.h: no shell, nothing of ours is inherited, killed at the timeout. */
#include <errno.h>
#include "base/err.h"
#include "health/probe_int.h"

static void exec_done(void *user, int code)
{
	struct probe *p = user;

	p->child = NULL;
	if (code == 0)
		probe_finish(p, PROBE_PASSED, "%s", "");
	else if (code > 0)
		probe_finish(p, PROBE_BAD, "exit code %d", code);
	else if (code == -ETIMEDOUT)
		probe_finish(p, PROBE_FAILED, "%s", "the program did not end in time and was killed");
	else if (code == -ECHILD)
		probe_finish(p, PROBE_FAILED, "%s", "the program was ended by a signal");
	else
		probe_finish(p, probe_verdict_of(code), "the program cannot be started: %s", err_text(code));
}

void probe_exec_start(struct probe *p)
{
	int r = proc_run(p->loop, p->check->argv, p->check->timeout_ns, exec_done, p, &p->child);

	if (r == -EAGAIN)
		probe_finish(p, PROBE_VOID, "%s", "too many programs run already");
	else if (r < 0)
		probe_finish(p, probe_verdict_of(r), "the program cannot be started: %s", err_text(r));
}
