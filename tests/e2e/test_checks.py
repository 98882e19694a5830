"""Providers that are asked whether they are well: grpcio servers with grpc.health.v1, a plain web server, one that is killed, one that hangs, one that answers with nonsense."""
import http.server
import os
import threading

import grpc

from harness import DEMO, GREETER, case, check, same, until
from providers import Echo, Provider, ProviderProcess, RawProvider

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class Health(Echo):
	"""grpc.health.v1 beside Echo's methods; `status` is what it says, None: it has none."""

	def __init__(self, name, status=SERVING):
		super().__init__(name)
		self.status, self.asked, self.watching = status, 0, []

	def service(self, details):
		method = details.method.rpartition("/")[2]
		if not details.method.startswith("/grpc.health.v1.Health/"):
			return super().service(details)
		self.asked += method == "Check"
		if self.status is None:
			return None
		if method == "Check":
			return grpc.unary_unary_rpc_method_handler(lambda request, context: self.status)
		return grpc.unary_stream_rpc_method_handler(self.watch)

	def watch(self, request, context):
		changed = threading.Event()
		self.watching.append(changed)
		context.add_callback(changed.set)
		while context.is_active():
			yield self.status
			changed.wait()
			changed.clear()

	def say(self, status):
		self.status = status
		for w in self.watching:
			w.set()


def asked(t, name, status=SERVING):
	return Provider(t, name, handler=Health(name, status))


def healthy(d):
	return d.stat("health_check_healthy")


def service(providers, health):
	return {DEMO: {"lb": "round_robin", "endpoints": [p.address for p in providers], "retries": {"max": 0}, "health": health}}


# A peer that answers has time for it: what fails a check here is what it says, not what else the machine does.
FAST = {"interval": "200ms", "timeout": "20s", "no_traffic_interval": "200ms", "unhealthy_threshold": 1}


@case
def a_provider_that_says_not_serving_gets_no_calls_until_it_serves_again(t):
	a, b = asked(t, "a"), asked(t, "b")
	d = t.daemon(service([a, b], dict(FAST, grpc={})))
	until(lambda: healthy(d) == 2, what="both")
	call = t.channel(d).unary_unary(GREETER)
	a.echo.say(NOT_SERVING)
	until(lambda: healthy(d) == 1, what="one")
	before = len(a.calls)
	for _ in range(10):
		same(call(b"x", timeout=60), b"x")
	same(len(a.calls), before)
	a.echo.say(SERVING)
	until(lambda: healthy(d) == 2, what="both again")
	for _ in range(4):
		same(call(b"x", timeout=60), b"x")
	check(len(a.calls) > before)


@case
def a_killed_provider_costs_no_call_once_it_was_asked(t):
	a, b = ProviderProcess(t, "a"), ProviderProcess(t, "b")
	d = t.daemon(service([a, b], dict(FAST, tcp={})))
	until(lambda: healthy(d) == 2, what="both")
	a.kill()
	until(lambda: healthy(d) == 1, what="one")
	call = t.channel(d).unary_unary(GREETER)
	for _ in range(20):
		same(call(b"x", timeout=60), b"x")
	a.start()
	until(lambda: healthy(d) == 2, what="both again")


@case
def a_watch_tells_within_a_moment(t):
	a, b = asked(t, "a"), asked(t, "b")
	d = t.daemon(service([a, b], {"grpc": {}, "watch": True, "interval": "30s", "no_traffic_interval": "30s"}))
	until(lambda: healthy(d) == 2, what="both")
	a.echo.say(NOT_SERVING)
	until(lambda: healthy(d) == 1, what="one")
	a.echo.say(SERVING)
	until(lambda: healthy(d) == 2, what="both again")
	same((a.echo.asked, b.echo.asked), (0, 0))


@case
def one_without_watch_is_polled(t):
	a = asked(t, "a", None)
	d = t.daemon(service([a], dict(FAST, grpc={}, watch=True)))
	until(lambda: a.echo.asked >= 2, what="polls")
	same(healthy(d), 1)


@case
def a_web_page_makes_the_verdict(t):
	seen, status = [], [200]

	class Page(http.server.BaseHTTPRequestHandler):
		protocol_version = "HTTP/1.1"

		def do_GET(self):
			seen.append((self.path, self.headers["Host"], self.headers["User-Agent"]))
			body = b"all is well" if status[0] == 200 else b"no"
			self.send_response(status[0])
			self.send_header("Content-Length", str(len(body)))
			self.end_headers()
			self.wfile.write(body)

		def log_message(self, *args):
			pass
	web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
	t.after(web.server_close)
	t.after(web.shutdown)
	t.thread(web.serve_forever)
	d = t.daemon({DEMO: {"endpoints": ["127.0.0.1:%d" % web.server_port], "health": dict(FAST, http={"path": "/ready?deep=1", "receive": ["all", "well"]})}})
	until(lambda: healthy(d) == 1, what="well")
	same(seen[0], ("/ready?deep=1", DEMO, "thinmesh/HC"))
	status[0] = 503
	until(lambda: healthy(d) == 0, what="not well")
	status[0] = 200
	until(lambda: healthy(d) == 1, what="well again")


@case
def nonsense_silence_and_an_answer_without_end_count_as_failed_and_leave_nothing(t):
	stop = threading.Event()

	def nonsense(conn):
		conn.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n" * 10)
		conn.recv(65536)

	def silence(conn):
		stop.wait(200)

	def endless(conn):
		conn.recv(65536)
		conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
		try:
			while not stop.is_set():
				conn.sendall(b"x" * 65536)
		except OSError:
			pass
	peers = [RawProvider(t, fn, wrap=False) for fn in (nonsense, silence, endless)]
	t.after(stop.set)
	addresses = [p.address for p in peers]
	d = t.daemon({"h1.example:1": {"endpoints": addresses, "health": dict(FAST, timeout="300ms", http={})},
		"grpc.example:1": {"endpoints": addresses, "health": dict(FAST, timeout="300ms", grpc={})}, "tcp.example:1": {"endpoints": addresses, "health": dict(FAST, timeout="300ms", tcp={"receive": ["PONG"]})}})
	d.wait_stat("health_check_failure", 60, 10)
	same(d.stat("health_check_success"), 0)
	same(healthy(d), 0)
	check(d.stat("health_check_active") <= 9, d.stat("health_check_active"))
	check(len(os.listdir("/proc/%d/fd" % d.pid)) < 40)
