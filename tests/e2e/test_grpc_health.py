"""grpc.health.v1 through the daemon's socket, asked by grpcio: one truth for a service, whichever of its providers live; a Watch that outlives them all."""
import threading

import grpc

from harness import DEMO, GREETER, PATIENCE, case, check, http1, same, until
from providers import Provider, ProviderProcess

CHECK, WATCH, LIST = ("/grpc.health.v1.Health/" + m for m in ("Check", "Watch", "List"))
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


def service(name):
	return b"\x0a" + bytes([len(name)]) + name.encode() if name else b""


def check_code(ch, **kw):
	"""The status that Check answers, or the name of the code it fails with."""
	try:
		return ch.unary_unary(CHECK)(b"", timeout=60, **kw)
	except grpc.RpcError as e:
		return e.code().name


class Watch:
	"""An open Watch and all that it was told."""

	def __init__(self, t, ch, name=""):
		self.told, self.ended = [], None
		self.call = ch.unary_stream(WATCH)(service(name))
		t.thread(self.run)

	def run(self):
		try:
			for status in self.call:
				self.told.append(status)
			self.ended = "OK"
		except grpc.RpcError as e:
			self.ended = e.code().name


@case
def a_check_says_whether_a_call_could_succeed(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address], "down:1": {"endpoints": []}})
	same(check_code(t.channel(d)), SERVING)
	same(check_code(t.channel(d, "down:1")), NOT_SERVING)
	same(check_code(t.channel(d, "nobody:1")), "NOT_FOUND")
	same(check_code(t.channel(d, "localhost")), SERVING)
	same(p.calls, [])


@case
def a_watch_lives_while_its_providers_are_killed_one_after_another_and_come_back(t):
	providers = [ProviderProcess(t, name) for name in "abc"]
	d = t.daemon({DEMO: [p.address for p in providers]})
	ch = t.channel(d)
	w = Watch(t, ch)
	until(lambda: w.told == [SERVING], PATIENCE, "the first status")
	call = ch.unary_unary(GREETER)
	for i, p in enumerate(providers):
		same(call(b"x", timeout=60), b"x")
		p.kill()
		if i < 2:
			same(call(b"x", timeout=60), b"x")
			same(w.told, [SERVING])

	def knocked():
		try:
			call(b"x", timeout=60)
		except grpc.RpcError:
			pass
		return NOT_SERVING in w.told
	until(knocked, PATIENCE, "the word that nobody is left")
	providers[1].start()

	def answered():
		try:
			return call(b"x", timeout=60) == b"x"
		except grpc.RpcError:
			return False
	until(answered, 20, "a call after the return")
	until(lambda: w.told[-1] == SERVING, PATIENCE, "the word that somebody is back")
	check(all(a != b for a, b in zip(w.told, w.told[1:])), "said twice:", w.told)
	same(w.ended, None)
	w.call.cancel()
	until(lambda: w.ended == "CANCELLED", PATIENCE, "the end")
	until(lambda: d.stat("health_watches") == 0, PATIENCE, "the end at the daemon")


@case
def a_reload_reaches_an_open_watch(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]})
	w = Watch(t, t.channel(d, "later:1"))
	until(lambda: w.told == [SERVICE_UNKNOWN], PATIENCE, "the first status")
	d.reload(t.config({DEMO: [p.address], "later.default.svc.cluster.local:1": [p.address]}))
	until(lambda: w.told == [SERVICE_UNKNOWN, SERVING], PATIENCE, "the new service")
	d.reload(t.config({DEMO: [p.address]}))
	until(lambda: w.told == [SERVICE_UNKNOWN, SERVING, SERVICE_UNKNOWN], PATIENCE, "its end")
	same(w.ended, None)


@case
def the_health_checking_of_a_grpc_client_works_through_the_socket(t):
	"""C-core's round_robin opens a Watch of its own and sends no call before it says SERVING."""
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]})
	config = '{"loadBalancingConfig":[{"round_robin":{}}],"healthCheckConfig":{"serviceName":"org.x.Any"}}'
	ch = t.channel(d, **{"grpc__service_config": config})
	same(ch.unary_unary(GREETER)(b"x", timeout=60), b"x")
	same(d.stat("health_watches"), 1)


@case
def two_hundred_watches_of_one_channel(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]}, limits={"streams_per_connection": 100})
	ch = t.channel(d)
	watches = [Watch(t, ch) for _ in range(90)]
	until(lambda: all(w.told == [SERVING] for w in watches), PATIENCE, "90 statuses")
	watches += [Watch(t, ch) for _ in range(110)]

	# C-core looks at streams that it has kept back because of our SETTINGS when another one begins or ends, not when it is told of more.
	def served():
		try:
			same(ch.unary_unary(GREETER)(b"x", timeout=0.5), b"x")
		except grpc.RpcError:
			return False         # kept back itself: the next one makes it look again
		return all(w.told == [SERVING] for w in watches)
	until(served, PATIENCE, "200 statuses")
	same(d.stat("limit_streams_per_connection"), 0)
	for w in watches:
		w.call.cancel()


@case
def what_is_no_grpc_is_told_415(t):
	d = t.daemon({DEMO: []})
	r = http1(d.sock, "POST", CHECK, body=b"{}", headers={"host": DEMO, "content-type": "application/json"})
	same(r.status, 415)


@case
def passthrough_leaves_it_to_the_provider(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]}, app={"health": {"passthrough": True}})
	same(t.channel(d).unary_unary(CHECK)(b"as it is", timeout=60), b"as it is")
	same(p.last.path, CHECK)


@case
def a_stopping_daemon_ends_its_watches(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]})
	w = Watch(t, t.channel(d))
	until(lambda: w.told == [SERVING], PATIENCE, "the first status")
	d.stop()
	until(lambda: w.ended == "UNAVAILABLE", PATIENCE, "the end")
