"""Calls that come in for the app, and what others ask about it: a grpcio client, the daemon, and a grpcio server on a Unix socket; checkers as kubelet and Envoy are, by curl."""
import re
import subprocess
import threading

import grpc

from harness import GREETER, PATIENCE, Failed, case, check, http1, same, until
from providers import Provider
from test_upgrade import Callers, Chat, follow, service

P = "/t.Echo/"
MARK = "x-envoy-immediate-health-check-fail"
# What C-core says of a call that crossed the GOAWAY twice: it tries once more by itself, and may do so before it has left that connection.
NOT_BEGUN = re.compile("GOAWAY received|RST_STREAM with error code 7")


class Shop:
	"""A daemon with one app that has an inbound door and a health door, and the app's own server behind it."""

	def __init__(self, t, server=True, daemon=None, **kw):
		self.t, self.port, self.ask = t, t.port(), t.port()
		self.socket = t.path("server.sock")
		self.server = Provider(t, address="unix:" + self.socket) if server else None
		self.d = (daemon or t.daemon)({}, app={"inbound": [{"tcp": "127.0.0.1:%d" % self.port, "to": "unix:" + self.socket}],
			"health": {"listen": [{"tcp": "127.0.0.1:%d" % self.ask}]}}, **kw)

	def says(self, word):
		done = self.t.cli(word, "-s", self.d.sock)
		same(done.returncode, 0, "thinmesh %s: %s" % (word, done.stderr))

	def channel(self):
		"""As gRPC makes them by default: a call that crosses the GOAWAY of a failing app is not begun, and C-core takes it to the next connection by itself."""
		return self.t.channel("127.0.0.1:%d" % self.port, authority="shop.example:20880", grpc__enable_retries=1)

	def curl(self, *args, port=None):
		"""(status, lower-cased head, body)."""
		done = subprocess.run(["curl", "-sS", "-i", "--max-time", "50", *args[:-1], "http://127.0.0.1:%d%s" % (port or self.ask, args[-1])], capture_output=True, text=True, timeout=60)
		same(done.returncode, 0, "curl: " + done.stderr)
		head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
		return int(head.split(" ")[1]), head.lower(), body


def fails(call):
	try:
		got = call()
	except grpc.RpcError as e:
		return e
	raise Failed("the call came back with %r" % (got,))


@case
def a_real_client_reaches_the_apps_server_in_all_shapes(t):
	shop = Shop(t)
	ch = shop.channel()
	shop.says("ok")
	same(ch.unary_unary(GREETER)(b"hello", timeout=60), b"hello")
	same(ch.stream_unary(P + "upload")((bytes(3000) for _ in range(100)), timeout=60), b"300000 100")
	same(sum(len(m) for m in ch.unary_stream(P + "download")(b"100 5000", timeout=60)), 500000)
	same(list(ch.stream_stream(P + "chat")(iter((b"1", b"2", b"3")), timeout=60)), [b"1", b"2", b"3"])
	e = fails(lambda: ch.unary_unary(P + "unary")(b"", timeout=60, metadata=(("fail-code", "5"),)))
	same(e.code().name, "NOT_FOUND")
	same(shop.d.stat("inbound_calls"), 5)


@case
def the_gate_follows_what_the_app_says_and_the_same_channel_goes_on(t):
	shop = Shop(t)
	ch = shop.channel()
	for _ in range(3):
		def answered():
			e = fails(lambda: ch.unary_unary(GREETER)(b"x", timeout=60))
			same(e.code().name, "UNAVAILABLE")
			return not NOT_BEGUN.search(e.details()) and e
		e = until(answered, 5, "an answer of the daemon")
		check("app 'shop'" in e.details(), e.details())
		same(dict(e.trailing_metadata() or ()).get(MARK) or dict(e.initial_metadata() or ()).get(MARK), "true")
		status, head, body = shop.curl("-X", "POST", "-d", "x", GREETER, port=shop.port)
		same(status, 503)
		check(MARK + ": true" in head and '"flag":"LH"' in body, head, body)
		shop.says("ok")
		same(ch.unary_unary(GREETER)(b"y", timeout=60, wait_for_ready=True), b"y")
		shop.says("fail")
	same(len(shop.server.calls), 3)


@case
def a_conversation_goes_on_after_fail_and_ends_in_order(t):
	shop = Shop(t)
	shop.says("ok")
	ch = shop.channel()
	ask, asked = threading.Semaphore(0), []

	def questions():
		for i in range(20):
			ask.acquire()
			asked.append(b"%d" % i)
			yield asked[-1]
	answers = ch.stream_stream(P + "chat")(questions(), timeout=60)
	for i in range(10):
		ask.release()
		same(next(answers), b"%d" % i)
	shop.says("fail")
	same(fails(lambda: shop.channel().unary_unary(GREETER)(b"x", timeout=60)).code().name, "UNAVAILABLE")
	for i in range(10, 20):
		ask.release()
		same(next(answers), b"%d" % i)
	same(list(answers), [])
	same(answers.code().name, "OK")


@case
def calls_under_way_when_the_app_fails_end_well_and_no_call_is_lost(t):
	shop = Shop(t)
	shop.says("ok")
	ch = shop.channel()
	fine, closed, other, stop = [0], [0], [], threading.Event()
	lock = threading.Lock()

	def caller():
		while not stop.is_set():
			try:
				ch.unary_unary(P + "slow")(b"x", timeout=60)
				with lock:
					fine[0] += 1
			except grpc.RpcError as e:
				with lock:
					if e.code().name == "UNAVAILABLE" and "app 'shop'" in e.details():
						closed[0] += 1
					elif e.code().name == "UNAVAILABLE" and NOT_BEGUN.search(e.details()):
						pass    # as far as its caller knows; and the app's own count says the same below
					else:
						other.append((e.code().name, e.details()))
	callers = [t.thread(caller) for _ in range(8)]
	until(lambda: fine[0] >= 20, 5, "calls")
	for _ in range(3):
		before = closed[0]
		shop.says("fail")
		until(lambda: closed[0] > before, 5, "a refused call")
		before = fine[0]
		shop.says("ok")
		until(lambda: fine[0] > before, 5, "a call that goes through again")
	stop.set()
	for c in callers:
		c.join(10)
	same(other, [])
	same(len(shop.server.calls), fine[0]) # what the app did, the callers know of


@case
def a_server_that_starts_after_the_first_call_gets_it(t):
	shop = Shop(t, server=False)
	shop.says("ok")
	ch = shop.channel()
	early = ch.unary_unary(GREETER).future(b"early", timeout=60)
	until(lambda: shop.d.stat("up_connect_failures") >= 2, 5, "dials")
	server = Provider(t, address="unix:" + shop.socket)
	same(early.result(60), b"early")
	server.stop()
	e = fails(lambda: ch.unary_unary(GREETER)(b"late", timeout=60))
	same(e.code().name, "UNAVAILABLE")
	check("own server is not there" in e.details(), e.details())


@case
def the_end_of_the_daemon_lets_a_call_end(t):
	shop = Shop(t, drain={"deadline": "120s"})
	shop.says("ok")
	ch = shop.channel()
	call = ch.unary_unary(P + "sleep").future(b"z", timeout=60)
	until(lambda: shop.server.calls, 5, "the call")
	shop.d.signal(15)

	def refused():
		try:
			http1(("127.0.0.1", shop.port), "GET", "/")
		except OSError:
			return True
	until(refused, 5, "the door to be closed")
	shop.server.echo.release.set()
	same(call.result(60), b"z")
	same(shop.d.exit_code(), 0)


@case
def checkers_get_what_they_know_from_envoy_and_kubelet(t):
	shop = Shop(t)
	rows = (("/healthz/ready", 503, 200), ("/ready", 503, 200), ("/healthz/live", 200, 200), ("/live", 200, 200), ("/", 503, 200), ("/app/health?full", 503, 200))
	for version in ("--http1.1", "--http2-prior-knowledge"):
		for word, column in ((None, 1), ("ok", 2), ("fail", 1), ("ok", 2), ("fail", 1)):
			if word:
				shop.says(word)
			for row in rows:
				for method in ((), ("-I",)):
					status, head, body = shop.curl(version, *method, row[0])
					same(status, row[column], "%s %s after %s" % (version, row[0], word))
					same(MARK + ": true" in head, column == 1, head)
					check("x-envoy-upstream-healthchecked-cluster: shop.default" in head, head)
					same(bool(body), not method, row[0])
	status, head, body = shop.curl("-X", "POST", "/healthcheck/ok")
	same(status, 503)
	same(shop.curl("/ready")[0], 503)
	check('"why":' in shop.curl("/ready")[2])


@case
def a_health_door_outlives_a_flood_of_questions(t):
	shop = Shop(t)
	shop.says("ok")
	memory = shop.d.rss_kib()
	for _ in range(300):
		same(http1(("127.0.0.1", shop.ask), "GET", "/ready").status, 200)
	until(lambda: shop.d.stat("down_connections") <= 2, 5, "connections to end")
	shop.d.check_growth(memory, 2048)


@case
def a_hot_upgrade_fails_no_call_that_comes_in_and_asks_the_app_nothing(t):
	shop = Shop(t, daemon=lambda *a, **kw: service(t, *a, **kw), drain={"deadline": "120s"})
	shop.says("ok")
	at = "127.0.0.1:%d" % shop.port
	callers, chat = Callers(t, at), Chat(t, at)
	callers.more()
	for _ in range(2):
		old = follow(shop.d)
		callers.more(50)
		chat.say(b"still here")
		same(shop.curl("/ready")[0], 200) # what the app has said went along
		chat.end()
		same(old.wait(5 * PATIENCE), 0)
		chat = Chat(t, at)
	chat.end()
	callers.more()
	callers.stop()
	same(callers.failed, [])
