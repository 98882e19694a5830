"""The process is stopped (SIGSTOP) and goes on (SIGCONT), as the containers of a FaaS platform do; and the freeze that a runtime announces."""
import os
import signal
import threading
import time

from h2raw import grpc_message
from harness import DEMO, GREETER, case, check, same, until
from providers import Provider, RawProvider

STOOD_S = 1.5


def stop(d, seconds=STOOD_S, meanwhile=None):
	"""The daemon stands still for so long, and really does."""
	os.kill(d.pid, signal.SIGSTOP)
	try:
		until(lambda: open("/proc/%d/stat" % d.pid).read().rsplit(")", 1)[1].split()[0] == "T", 5, "the daemon to be stopped")
		end = time.monotonic() + seconds
		if meanwhile:
			meanwhile()
		time.sleep(max(0, end - time.monotonic()))
	finally:
		os.kill(d.pid, signal.SIGCONT)


@case
def a_deadline_is_extended_by_the_time_that_was_lost(t):
	answer = threading.Event()

	def serve(c):
		while True:
			st = c.accept(60)
			c.wait(lambda: st.over, 5)
			answer.wait(60)
			if st.reset is None:
				c.answer(st.id, b"after the thaw")
	p = RawProvider(t, serve)
	d = t.daemon({DEMO: [p.address]})
	with t.h2(d) as c:
		# It proves something where the call took less than its time, but for the time that was lost; on a busy machine only a longer one does.
		for time_s in (1.4, 4, 12, 36):
			answer.clear()
			began, thaws = time.monotonic(), d.stat("thaws")
			sid = c.request(DEMO, GREETER, grpc_message(b"hello"), extra=[("grpc-timeout", "%dm" % (time_s * 1000))])
			until(lambda: d.active_calls() == 1 or c.pump(0) and c.stream(sid).over, 5, "the call to be under way")
			stop(d, time_s + 0.1)
			d.wait_stat("thaws", thaws + 1)
			answer.set() # by the wall's clock its time was over before that
			st = c.result(sid)
			if time.monotonic() - began - (time_s + 0.1) < time_s:
				break
		same(st.grpc_status, 0)
		same(c.goaways, [])


@case
def no_check_fails_and_connections_are_verified(t):
	p = Provider(t, "a")
	d = t.daemon({DEMO: {"endpoints": [p.address], "health": {"tcp": {}, "interval": "200ms", "timeout": "1s", "unhealthy_threshold": 1}}})
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).grpc_status, 0)
		d.wait_stat("health_check_success", 2)
		failed = d.stat("health_check_failure")
		stop(d)
		d.wait_stat("thaws")
		for _ in range(20):
			same(c.call(DEMO, GREETER).grpc_status, 0)
		d.wait_stat("health_check_success", d.stat("health_check_success") + 2)
		same(d.stat("health_check_failure"), failed)
		same(d.stat("calls_failed"), 0)
		same(d.stat("thaw_connections_lost"), 0)


@case
def no_call_after_the_thaw_fails_where_all_providers_are_others(t):
	old = [Provider(t, "old%d" % i) for i in range(3)]
	new = [Provider(t, "new%d" % i) for i in range(3)]
	plane = t.plane()
	plane.service(DEMO, *(p.address for p in old))
	d = t.daemon(xds={"server": plane.server})
	with t.h2(d) as c:
		for _ in range(30):
			same(c.call(DEMO, GREETER).grpc_status, 0)

		def replace():
			for p in old:
				p.stop()
			plane.endpoints(DEMO, *(p.address for p in new))
		stop(d, STOOD_S, replace)
		for _ in range(30):
			st = c.call(DEMO, GREETER)
			same((st.grpc_status, st.trailers["who"][:3]), (0, "new"))
		same(d.stat("calls_failed"), 0)
		same(d.stat("retry_budget_exhausted"), 0)


@case
def SIGCONT_is_heard_by_a_daemon_that_waits_for_nothing(t):
	p = Provider(t, "a")
	d = t.daemon({DEMO: [p.address]})
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).grpc_status, 0)
		before = d.stat("thaws")
		stop(d, 0.05)
		until(lambda: d.stat("thaws") > before, 5, "the thaw to be counted")
		same(c.call(DEMO, GREETER).grpc_status, 0)
		same(d.stat("calls_failed"), 0)


@case
def a_runtime_announces_freeze_and_thaw(t):
	p = Provider(t, "a")
	d = t.daemon({DEMO: [p.address]})
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).grpc_status, 0)
		reply = d.get("/freeze", "POST")
		same((reply.status, reply.json["frozen"], reply.json["again"]), (200, True, False))
		same(d.get("/freeze", "POST").json["again"], True)
		stop(d, 0.2)
		reply = d.get("/thaw", "POST")
		same((reply.status, reply.json["frozen"], reply.json["announced"]), (200, False, True))
		check(reply.json["stood_ms"] >= 200, reply.json)
		same(d.get("/thaw", "POST").json["announced"], False)
		same(c.call(DEMO, GREETER).grpc_status, 0)
		same(d.stat("freezes"), 1)
		same(d.get("/freeze").status, 405)
