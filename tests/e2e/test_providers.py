"""Providers that come, go, refuse and are killed."""
import collections
import threading
import time

import grpc

from h2raw import GOAWAY, REFUSED_STREAM, grpc_message
from harness import DEMO, GREETER, case, check, same, until
from providers import Provider, ProviderProcess, RawProvider, echo_all


class Load:
	"""Unary calls, so many at a time, each with an id of its own, until it is told to stop; all outcomes are kept."""

	def __init__(self, t, channel, at_once=16, path=GREETER):
		self.call = channel.unary_unary(path)
		self.channel = channel
		self.stopping = False
		self.lock = threading.Lock()
		self.failed = []          # (id, code, text)
		self.done = collections.Counter()
		self.answered = set()
		self.next = 0
		self.threads = [t.thread(self.run) for _ in range(at_once)]
		t.after(self.stop)

	def run(self):
		while not self.stopping:
			with self.lock:
				self.next += 1
				me = str(self.next)
			try:
				_, call = self.call.with_call(me.encode(), timeout=60, metadata=[("call-id", me)])
				with self.lock:
					self.done[dict(call.trailing_metadata()).get("who")] += 1
					self.answered.add(me)
			except grpc.RpcError as e:
				with self.lock:
					self.failed.append((me, e.code().name, e.details()))

	def count(self):
		return sum(self.done.values())

	def more(self, n=50, timeout_s=10):
		had = self.count()
		until(lambda: self.count() >= had + n, timeout_s, "%d more answered calls; failed: %r" % (n, self.failed[:3]))

	def stop(self):
		self.stopping = True
		for th in self.threads:
			th.join(12)


@case
def three_providers_are_restarted_with_grace_under_load_and_no_call_fails(t):
	ps = [ProviderProcess(t, "p%d" % i) for i in range(3)]
	# C-core answers CANCELLED to what it had not begun when it was told to stop, so `retries` is what makes it a call that nobody misses.
	d = t.daemon({DEMO: {"endpoints": [p.address for p in ps], "lb": "round_robin", "retries": {"max": 2}}})
	load = Load(t, t.channel(d), 8)
	load.more(100)
	for _ in range(2):
		for p in ps:
			p.stop()
			load.more(30)
			p.start()
			had = load.done[p.name]
			until(lambda: load.done[p.name] > had, 5, "calls at the restarted " + p.name)
	load.stop()
	same(load.failed, [])
	same(set(load.done), {"p0", "p1", "p2"})
	ids = [i for p in ps for i in p.ids()]
	check(len(ids) == len(set(ids)), "ran twice:", [i for i, n in collections.Counter(ids).items() if n > 1][:10])


@case
def a_killed_provider_fails_only_its_calls_in_flight_and_none_runs_twice(t):
	ps = [ProviderProcess(t, "p%d" % i) for i in range(3)]
	d = t.daemon(dict({DEMO: {"endpoints": [p.address for p in ps], "lb": "round_robin"}}, **{p.name + ":1": [p.address] for p in ps}))
	load = Load(t, t.channel(d), 16, "/t.Echo/slow")
	load.more(100)
	for p in ps[:2]:
		before = len(load.failed)
		# One of which it is certain that it is in flight.
		held = t.channel(d, p.name + ":1").stream_stream("/t.Echo/hold")(iter(threading.Event().wait, None), timeout=60)
		same(next(held), b"here")
		p.kill()
		try:
			next(held)
			check(False, "the call goes on without its provider")
		except grpc.RpcError as e:
			same(e.code().name, "UNAVAILABLE")
		load.more(60)
		check(len(load.failed) - before <= 16, "what was in flight fails, and no more:", load.failed[before:][:20])
		p.start()
		had = load.done[p.name]
		until(lambda: load.done[p.name] > had, 5, "calls at the restarted " + p.name)
	load.stop()
	check({code for _, code, _ in load.failed} <= {"UNAVAILABLE"}, load.failed[:5])
	ids = collections.Counter(i for p in ps for i in p.ids())
	same([i for i, n in ids.items() if n > 1], [], "ran twice")
	began = set(ids)
	check(load.answered <= began, "answered but not begun:", list(load.answered - began)[:5])


@case
def round_robin_reaches_all_alike(t):
	ps = [Provider(t, "p%d" % i) for i in range(4)]
	d = t.daemon({DEMO: {"endpoints": [p.address for p in ps], "lb": "round_robin"}})
	with t.h2(d) as c:
		got = collections.Counter(c.call(DEMO, GREETER).trailers["who"] for _ in range(80))
	same(got, {"p0": 20, "p1": 20, "p2": 20, "p3": 20})


@case
def every_policy_reaches_every_provider(t):
	ps = [Provider(t, "p%d" % i) for i in range(3)]
	d = t.daemon({"%s:1" % lb: {"endpoints": [p.address for p in ps], "lb": lb} for lb in ("round_robin", "random", "least_request")})
	with t.h2(d) as c:
		for lb in ("round-robin", "random", "least-request"):
			got = collections.Counter(c.call(lb.replace("-", "_") + ":1", GREETER).trailers["who"] for _ in range(60))
			same(set(got), {"p0", "p1", "p2"}, lb)


@case
def weights_share_the_calls(t):
	a, b = Provider(t, "a"), Provider(t, "b")
	d = t.daemon({DEMO: {"endpoints": [{"address": a.address, "weight": 3}, {"address": b.address, "weight": 1}], "lb": "round_robin"}})
	with t.h2(d) as c:
		got = collections.Counter(c.call(DEMO, GREETER).trailers["who"] for _ in range(80))
	check(58 <= got["a"] <= 62, got)


@case
def a_refused_connection_moves_the_call_to_another_provider(t):
	a = Provider(t, "a")
	dead = ["127.0.0.1:%d" % t.port() for _ in range(3)]
	d = t.daemon({DEMO: {"endpoints": dead + [a.address], "lb": "round_robin"}})
	with t.h2(d) as c:
		for _ in range(40):
			st = c.call(DEMO, GREETER)
			same((st.grpc_status, st.trailers["who"]), (0, "a"))
	check(d.stat("up_connect_failures") >= 1)


@case
def no_provider_that_listens_is_UNAVAILABLE_with_the_reason(t):
	dead = "127.0.0.1:%d" % t.port()
	d = t.daemon({DEMO: [dead]})
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same(st.grpc_status, 14)
		check(DEMO.split(":")[0] in st.grpc_message or dead in st.grpc_message, st.grpc_message)
		p = Provider(t, "late", address=dead)
		until(lambda: c.call(DEMO, GREETER).grpc_status == 0, 8, "the provider that came up")
		same(c.goaways, [])


@case
def a_service_without_endpoints_is_UNAVAILABLE(t):
	d = t.daemon({DEMO: []})
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).grpc_status, 14)


@case
def an_endpoint_by_host_name_is_resolved(t):
	p = Provider(t, "a")
	d = t.daemon({DEMO: ["localhost:" + p.address.split(":")[1]]})
	with t.h2(d) as c:
		st = c.call(DEMO, GREETER)
		same((st.grpc_status, st.grpc_message), (0, ""))


@case
def an_endpoint_on_a_Unix_socket_is_reached(t):
	p = Provider(t, "a", address="unix:" + t.path("provider.sock"))
	d = t.daemon({DEMO: ["unix:" + t.path("provider.sock")]})
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).trailers["who"], "a")


@case
def a_provider_on_IPv6_is_reached(t):
	p = Provider(t, "a", address="[::1]:%d" % t.port())
	d = t.daemon({DEMO: [p.address]})
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).trailers["who"], "a")


@case
def the_connections_to_a_provider_are_shared_by_all_callers(t):
	raw = RawProvider(t, echo_all)
	d = t.daemon({DEMO: [raw.address], "same:1": [raw.address]})
	for i in range(8):
		with t.h2(d) as c:
			same(c.call(DEMO if i % 2 else "same:1", GREETER).grpc_status, 0)
	same(len(raw.connections), 1)


@case
def a_provider_with_a_small_stream_limit_gets_more_connections(t):
	from h2raw import MAX_CONCURRENT_STREAMS
	gate = threading.Event()

	def serve(c):
		done = set()
		while c.is_silent(0.02):
			for sid in [i for i in c.order if gate.is_set() and i not in done and c.streams[i].over]:
				done.add(sid)
				c.answer(sid)
	raw = RawProvider(t, serve, settings={MAX_CONCURRENT_STREAMS: 5})
	d = t.daemon({DEMO: [raw.address]})
	with t.h2(d) as c:
		ids = [c.request(DEMO, GREETER, grpc_message(b"x")) for _ in range(20)]
		until(lambda: len(raw.connections) >= 4, 5, "four connections")
		gate.set()
		for sid in ids:
			same(c.result(sid, 10).grpc_status, 0)
	same(raw.errors, [])


@case
def more_calls_than_a_service_allows_are_refused_as_overflow(t):
	silent = RawProvider(t, lambda c: c.wait_closed(60))
	d = t.daemon({DEMO: {"endpoints": [silent.address], "limits": {"requests": 3}}})
	with t.h2(d) as c:
		held = [c.request(DEMO, GREETER, grpc_message(b"x")) for _ in range(3)]
		until(lambda: silent.connections and len(silent.connections[0].order) == 3, 3, "three calls at the provider")
		st = c.call(DEMO, GREETER)
		same(st.grpc_status, 14)
		same(c.stream(held[0]).over, False)


@case
def a_connection_that_never_comes_up_ends_at_the_connect_timeout(t):
	# Accepts, and never sends SETTINGS.
	mute = RawProvider(t, lambda s: [None for _ in iter(lambda: s.recv(65536), b"")], wrap=False)
	d = t.daemon({DEMO: {"endpoints": [mute.address], "connect_timeout": "150ms"}})
	with t.h2(d) as c:
		same(c.call(DEMO, GREETER).grpc_status, 14)
	check(d.stat("up_connect_failures") >= 1)
