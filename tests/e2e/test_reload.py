"""Changing the configuration under traffic, and going away."""
import os
import signal
import threading

import grpc

from h2raw import grpc_message
from harness import DEMO, GREETER, case, check, http1, dial, same, until
from providers import Provider, RawProvider, echo_all


class Talk:
	"""A bidirectional stream that a case keeps open and says a word on whenever it wants."""

	def __init__(self, t, channel):
		self.words = []
		self.more = threading.Condition()
		self.ended = False
		self.call = channel.stream_stream("/t.Echo/chat")(self.feed(), timeout=60)
		self.said = 0
		t.after(self.end)

	def feed(self):
		while True:
			with self.more:
				while not self.words and not self.ended:
					self.more.wait(30)
				if not self.words:
					return
				word = self.words.pop(0)
			yield word

	def say(self):
		self.said += 1
		word = b"word %d" % self.said
		with self.more:
			self.words.append(word)
			self.more.notify()
		same(next(self.call), word)

	def end(self):
		with self.more:
			self.ended = True
			self.more.notify()


@case
def a_reload_adds_changes_and_removes_services_while_a_stream_goes_on(t):
	a, b, c = Provider(t, "a"), Provider(t, "b"), Provider(t, "c")
	d = t.daemon({"keep:1": [a.address], "change:1": [b.address], "go:1": [b.address]})
	talk = Talk(t, t.channel(d, "keep:1"))
	talk.say()
	opened = d.stat("up_connections_opened")
	d.reload(t.config({"keep:1": [a.address], "change:1": [c.address], "come:1": [b.address]}))
	talk.say()
	with t.h2(d) as h:
		same(h.call("change:1", GREETER).trailers["who"], "c")
		same(h.call("come:1", GREETER).trailers["who"], "b")
		same(h.call("go:1", GREETER).grpc_status, 12)
		same(h.call("keep:1", GREETER).trailers["who"], "a")
		same(h.goaways, [])
	talk.say()
	check(d.stat("up_connections_opened") <= opened + 2, "the untouched service was connected anew")
	talk.end()


@case
def a_stream_to_a_removed_service_may_finish(t):
	a = Provider(t, "a")
	d = t.daemon({"go:1": [a.address]})
	talk = Talk(t, t.channel(d, "go:1"))
	talk.say()
	d.reload(t.config({}))
	talk.say()
	with t.h2(d) as h:
		same(h.call("go:1", GREETER).grpc_status, 12)
	talk.end()
	same(list(talk.call), [])
	same(talk.call.code(), grpc.StatusCode.OK)


@case
def a_reload_adds_and_removes_an_app_while_the_other_keeps_its_connections(t):
	a = Provider(t, "a")
	d = t.daemon({DEMO: [a.address]})
	talk = Talk(t, t.channel(d))
	talk.say()
	two = t.config({DEMO: [a.address]})
	two["apps"].append({"name": "second", "listen": [{"unix": t.path("b.sock")}]})
	d.reload(two)
	d.wait_listening(t.path("b.sock"))
	with t.h2(t.path("b.sock")) as h:
		same(h.call(DEMO, GREETER).trailers["who"], "a")
	talk.say()
	d.reload(t.config({DEMO: [a.address]}))
	until(lambda: not os.path.exists(t.path("b.sock")), 3, "the removed app's socket to go")
	talk.say()
	talk.end()


@case
def the_mode_of_the_control_socket_follows_a_reload(t):
	d = t.daemon({DEMO: ["127.0.0.1:1"]})
	same(os.stat(t.path("c.sock")).st_mode & 0o777, 0o660)
	wider = t.config({DEMO: ["127.0.0.1:1"]})
	wider["control"]["mode"] = "0666"
	d.reload(wider)
	until(lambda: os.stat(t.path("c.sock")).st_mode & 0o777 == 0o666, 3, "the new mode")
	same(d.get("/ready").status, 200)


@case
def the_health_state_of_an_app_outlives_a_reload(t):
	d = t.daemon({DEMO: ["127.0.0.1:1"]})
	http1(d.sock, "POST", "/healthcheck/fail")
	# Failing, and drained as soon as everybody has heard, which is a moment later.
	until(lambda: http1(d.sock, "GET", "/healthcheck").json["state"] == "drained", 5, "the app to be drained")
	failing = http1(d.sock, "GET", "/healthcheck")
	d.reload(t.config({"other:1": ["127.0.0.1:1"]}))
	again = http1(d.sock, "GET", "/healthcheck")
	same((again.status, again.json["state"]), (failing.status, failing.json["state"]))


@case
def a_changed_listener_is_opened_and_the_old_one_closed(t):
	a = Provider(t, "a")
	d = t.daemon({DEMO: [a.address]})
	old = t.h2(d)
	same(old.call(DEMO, GREETER).grpc_status, 0)
	d.reload(t.config({DEMO: [a.address]}, listen=[{"unix": t.path("new.sock")}]))
	d.wait_listening(t.path("new.sock"))
	until(lambda: not os.path.exists(d.sock), 3, "the old socket to go")
	with t.h2(t.path("new.sock")) as h:
		same(h.call(DEMO, GREETER).grpc_status, 0)


@case
def a_broken_file_changes_nothing_and_is_told(t):
	a = Provider(t, "a")
	d = t.daemon({DEMO: [a.address]})
	talk = Talk(t, t.channel(d))
	talk.say()
	d.expect_error("thinmesh.yaml|reload|configuration")
	d.reload("apps:\n  - nmae: shop\n", refused=True)
	d.wait_log(r"thinmesh\.yaml:2:\d+: .*name")
	talk.say()
	with t.h2(d) as h:
		same(h.call(DEMO, GREETER).trailers["who"], "a")
	same(d.get("/ready").status, 200)
	d.reload(t.config({DEMO: [a.address], "more:1": [a.address]}))
	with t.h2(d) as h:
		same(h.call("more:1", GREETER).trailers["who"], "a")
	talk.end()


@case
def a_watched_folder_takes_up_new_changed_and_removed_fragments(t):
	a, b = Provider(t, "a"), Provider(t, "b")
	t.write("conf.d/00-app.yaml", "control: {unix: %s}\napps:\n  - name: shop\n    listen: [{unix: %s}]\n" % (t.path("c.sock"), t.path("s.sock")))
	d = t.daemon(args=["-c", t.path("conf.d")], conf="", wait=[t.path("s.sock"), t.path("c.sock")])
	h = t.h2(d)
	same(h.call("demo:1", GREETER).grpc_status, 12)
	t.write("conf.d/10-demo.yaml", 'services:\n  - name: "demo:1"\n    endpoints: ["%s"]\n' % a.address)
	until(lambda: h.call("demo:1", GREETER).grpc_status == 0, 5, "the new fragment")
	t.write("conf.d/10-demo.yaml", 'services:\n  - name: "demo:1"\n    endpoints: ["%s"]\n' % b.address)
	until(lambda: h.call("demo:1", GREETER).trailers.get("who") == "b", 5, "the changed fragment")
	os.unlink(t.path("conf.d/10-demo.yaml"))
	until(lambda: h.call("demo:1", GREETER).grpc_status == 12, 5, "the fragment to be gone")
	same(h.goaways, [])


@case
def a_broken_fragment_keeps_the_last_good_configuration(t):
	a = Provider(t, "a")
	t.write("conf.d/00.yaml", "control: {unix: %s}\napps:\n  - name: shop\n    listen: [{unix: %s}]\nservices:\n  - name: %s\n    endpoints: [\"%s\"]\n"
		% (t.path("c.sock"), t.path("s.sock"), DEMO, a.address))
	d = t.daemon(args=["-c", t.path("conf.d")], conf="", wait=[t.path("s.sock"), t.path("c.sock")])
	d.expect_error("10-bad.yaml|reload|configuration")
	t.write("conf.d/10-bad.yaml", "services: [\n")
	d.wait_stat("reloads_failed")
	with t.h2(d) as h:
		same(h.call(DEMO, GREETER).trailers["who"], "a")


# ---- going away ----------------------------------------------------------------------------------------------------------

def long_drain(t, services, **kw):
	return t.daemon(services, drain={"deadline": "120s"}, **kw)


@case
def SIGTERM_lets_an_open_stream_finish_and_ends_with_0(t):
	a = Provider(t, "a")
	d = long_drain(t, {DEMO: [a.address]})
	talk = Talk(t, t.channel(d))
	talk.say()
	d.signal(signal.SIGTERM)
	until(lambda: not os.path.exists(d.sock), 3, "the socket to go")
	talk.say()
	talk.say()
	talk.end()
	same(list(talk.call), [])
	same(talk.call.code(), grpc.StatusCode.OK)
	same(d.exit_code(), 0)


@case
def SIGTERM_with_nothing_open_ends_at_once(t):
	d = long_drain(t, {DEMO: ["127.0.0.1:1"]})
	same(d.stop(3), 0)


@case
def SIGTERM_says_goodbye_to_an_idle_app_in_two_steps(t):
	a = Provider(t, "a")
	d = long_drain(t, {DEMO: [a.address]})
	h = t.h2(d)
	same(h.call(DEMO, GREETER).grpc_status, 0)
	d.signal(signal.SIGTERM)
	h.wait_closed(5)
	same(d.exit_code(), 0)
	check(len(h.goaways) == 2, h.goaways)
	same([(g[0], g[1]) for g in h.goaways], [(0x7fffffff, 0), (1, 0)])


@case
def the_drain_ends_at_its_deadline(t):
	a = Provider(t, "a")
	d = t.daemon({DEMO: [a.address]}, drain={"deadline": "200ms"})
	talk = Talk(t, t.channel(d))
	talk.say()
	same(d.stop(5), 0)
	try:
		next(talk.call)
		check(False, "the stream goes on without a daemon")
	except grpc.RpcError as e:
		check(e.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED), e.code())


@case
def a_second_SIGTERM_ends_now(t):
	a = Provider(t, "a")
	d = long_drain(t, {DEMO: [a.address]})
	talk = Talk(t, t.channel(d))
	talk.say()
	d.signal(signal.SIGTERM)
	until(lambda: not os.path.exists(d.sock), 3, "the socket to go")
	d.signal(signal.SIGTERM)
	d.judge_exit = False
	code = d.exit_code(3)
	check(code in (0, 1, -signal.SIGTERM), code)


@case
def calls_that_come_while_it_drains_are_answered_or_refused_but_never_lost(t):
	raw = RawProvider(t, echo_all)
	a = Provider(t, "a")
	d = long_drain(t, {DEMO: [a.address], "raw:1": [raw.address]})
	h = t.h2(d)
	held = h.request(DEMO, "/t.Echo/sleep", grpc_message(b"x"))
	until(lambda: a.calls, 3, "the call at the provider")
	d.signal(signal.SIGTERM)
	h.wait(lambda: h.goaways, 3)
	late = h.request("raw:1", GREETER, grpc_message(b"x"))
	st = h.stream(late)
	h.wait(lambda: st.over or h.goaways[-1][0] < late)     # TimeoutError: neither answered nor refused
	check(not st.over or st.reset == 7 or st.grpc_status is not None, st)
	a.echo.release.set()
	same(h.result(held, 5).grpc_status, 0)
	h.close()
	same(d.exit_code(), 0)


@case
def SIGUSR1_reopens_the_log_files(t):
	a = Provider(t, "a")
	d = t.daemon({DEMO: [a.address]}, log={"level": "info", "file": t.path("log"), "access": "text", "access_file": t.path("access")})
	with t.h2(d) as h:
		h.call(DEMO, GREETER)
		until(lambda: os.path.exists(t.path("access")) and open(t.path("access")).read(), 3, "an access line")
		os.rename(t.path("access"), t.path("access.1"))
		os.rename(t.path("log"), t.path("log.1"))
		d.signal(signal.SIGUSR1)
		until(lambda: os.path.exists(t.path("access")) and os.path.exists(t.path("log")), 3, "the new files")
		h.call(DEMO, "/second.Call/m")
		until(lambda: "/second.Call/m" in open(t.path("access")).read(), 3, "the line in the new file")
	check("/second.Call/m" not in open(t.path("access.1")).read())
	check(os.path.exists(t.path("log")))
