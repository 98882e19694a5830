"""Providers for the cases: grpcio servers that take any method as bytes, in this process or (to be killed) in one of their own,
and providers that speak HTTP/2 by hand.

Provider         grpcio, in this process. What a method does is told by its last path element: see Echo.
ProviderProcess  the same in a child: can be killed; its calls are written to a file, one id a line.
RawProvider      a listening socket; each connection is given to a function together with its own thread.
"""
import os
import signal
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import concurrent.futures
import grpc

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.max_metadata_size", 1 << 17), ("grpc.so_reuseport", 0)]


class Seen:
	"""One call as the provider saw it."""

	def __init__(self, path, metadata, remaining_s):
		self.path, self.metadata, self.remaining_s = path, metadata, remaining_s
		self.messages = 0
		self.cancelled = threading.Event()   # the call ended before the provider had answered


class Echo(grpc.GenericRpcHandler):
	"""Every path is served. The last element chooses the shape:

	unary, sayHello   the request comes back           upload    the number of bytes and messages of a client stream
	download          "COUNT SIZE": so many messages   chat      each message of a stream comes back
	sleep             answers once `release` is set    endless   messages until the caller goes
	slow              the request comes back after 20 ms: there is always a call in progress
	early             answers a client stream at once, without reading it
	Metadata give orders: initial-KEY and trailing-KEY come back as KEY, fail-code and fail-text-bin end the call so.
	"""

	def __init__(self, name, journal=None):
		self.name, self.journal = name, journal
		self.calls = []
		self.release = threading.Event()
		self.lock = threading.Lock()

	def service(self, details):
		last = details.method.rpartition("/")[2]
		if last == "missing":
			return None
		shapes = {"upload": (self.upload, grpc.stream_unary_rpc_method_handler), "download": (self.download, grpc.unary_stream_rpc_method_handler),
			"chat": (self.chat, grpc.stream_stream_rpc_method_handler), "sleep": (self.sleep, grpc.unary_unary_rpc_method_handler),
			"endless": (self.endless, grpc.unary_stream_rpc_method_handler), "early": (self.early, grpc.stream_unary_rpc_method_handler),
			"slow": (self.slow, grpc.unary_unary_rpc_method_handler),
			"hold": (self.hold, grpc.stream_stream_rpc_method_handler)}
		fn, make = shapes.get(last, (self.unary, grpc.unary_unary_rpc_method_handler))
		return make(lambda request, context: fn(request, self.begin(details.method, context), context))

	def begin(self, path, context):
		metadata = list(context.invocation_metadata())
		seen = Seen(path, metadata, context.time_remaining())
		context.add_callback(lambda: seen.cancelled.set() if not getattr(seen, "answered", False) else None)
		with self.lock:
			self.calls.append(seen)
		if self.journal:
			for k, v in metadata:
				if k == "call-id":
					os.write(self.journal, (v + "\n").encode())
		initial = [(k[len("initial-"):], v) for k, v in metadata if k.startswith("initial-")]
		trailing = [(k[len("trailing-"):], v) for k, v in metadata if k.startswith("trailing-")]
		if initial:
			context.send_initial_metadata(initial)
		context.set_trailing_metadata([("who", self.name)] + trailing)
		order = dict(metadata)
		if "fail-code" in order:
			seen.answered = True
			text = order.get("fail-text-bin", b"")
			code = next(c for c in grpc.StatusCode if c.value[0] == int(order["fail-code"]))
			context.abort(code, text.decode("utf-8"))
		return seen

	def unary(self, request, seen, context):
		seen.messages, seen.answered = 1, True
		return request

	def slow(self, request, seen, context):
		time.sleep(0.02)
		seen.messages, seen.answered = 1, True
		return request

	def upload(self, requests, seen, context):
		total = 0
		for r in requests:
			total += len(r)
			seen.messages += 1
		seen.answered = True
		return b"%d %d" % (total, seen.messages)

	def download(self, request, seen, context):
		count, size = map(int, request.split())
		for i in range(count):
			yield bytes([i % 251]) * size
		seen.answered = True

	def chat(self, requests, seen, context):
		for r in requests:
			seen.messages += 1
			yield r
		seen.answered = True

	def hold(self, requests, seen, context):
		"""A chat that sends its first word before it reads, so that a test knows that it stands."""
		yield b"here"
		yield from self.chat(requests, seen, context)

	def sleep(self, request, seen, context):
		end = time.monotonic() + 120
		while context.is_active() and time.monotonic() < end:
			if self.release.wait(0.01):
				seen.answered = True
				return request
		return b""

	def endless(self, request, seen, context):
		while context.is_active():
			seen.messages += 1
			yield request

	def early(self, requests, seen, context):
		seen.answered = True
		return b"enough"


class Provider:
	def __init__(self, t, name="a", address=None, threads=24, handler=None):
		self.name = name
		self.echo = handler or Echo(name)
		self.threads = threads
		# Its own also while it is stopped: it comes back there.
		self.address = address or (t and "127.0.0.1:%d" % t.port())
		self.server = None
		self.start()
		if t is not None:
			t.after(lambda: self.stop(0))

	def start(self):
		self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(self.threads), handlers=[self.echo], options=OPTIONS)
		wanted = self.address or "127.0.0.1:0"
		port = self.server.add_insecure_port(wanted)
		if not port:
			raise OSError("no provider at " + wanted)
		if self.address is None:
			self.address = "127.0.0.1:%d" % port
		self.server.start()

	def stop(self, grace_s=0):
		self.echo.release.set()
		if self.server is not None:
			self.server.stop(grace_s).wait()
			self.server = None

	def restart(self):
		self.echo.release.clear()
		self.start()

	@property
	def calls(self):
		return self.echo.calls

	@property
	def last(self):
		return self.echo.calls[-1]


class ProviderProcess:
	"""A provider in a process of its own. Its journal holds the call-id of each call that it began."""

	def __init__(self, t, name, port=None):
		self.t, self.name, self.port = t, name, port or t.port()
		self.journal = t.path("journal-" + name)
		self.child = None
		self.start()

	@property
	def address(self):
		return "127.0.0.1:%d" % self.port

	def start(self):
		self.child = self.t.spawn([sys.executable, os.path.abspath(__file__), self.name, str(self.port), self.journal], stdout=subprocess.PIPE,
			stderr=subprocess.DEVNULL)
		if b"ready" not in self.child.stdout.readline():
			raise AssertionError("provider %s did not come up" % self.name)

	def kill(self):
		self.child.kill()
		self.child.wait()

	def stop(self):
		"""SIGTERM: stops with grace, as an orderly provider does."""
		self.child.send_signal(signal.SIGTERM)
		self.child.wait(60)

	def ids(self):
		try:
			with open(self.journal) as f:
				return f.read().split()
		except FileNotFoundError:
			return []


class RawProvider:
	"""Gives each accepted connection, as an H2 in the server role, to serve(h2) in a thread. wrap=False: the bare socket."""

	def __init__(self, t, serve, wrap=True, backlog=64, **h2):
		self.serve, self.wrap, self.h2_options = serve, wrap, h2
		self.listener = socket.socket()
		self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		self.listener.bind(("127.0.0.1", t.port()))
		self.listener.listen(backlog)
		self.port = self.listener.getsockname()[1]
		self.address = "127.0.0.1:%d" % self.port
		self.connections = []
		self.errors = []
		self.threads = []
		self.stopping = False
		t.after(self.stop)
		self.acceptor = t.thread(self.accept)

	def accept(self):
		from h2raw import H2
		while True:
			try:
				s, _ = self.listener.accept()
			except OSError:
				return
			s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
			c = s
			if self.wrap:
				try:
					c = H2(s, client=False, **self.h2_options)
				except Exception:       # whoever connects only to look is gone by now
					s.close()
					continue
			self.connections.append(c)
			th = threading.Thread(target=self.run, args=(c,), daemon=True)
			th.start()
			self.threads.append(th)

	def run(self, c):
		from h2raw import Gone
		try:
			self.serve(c)
		except (Gone, OSError):
			pass
		except Exception as e:
			if not self.stopping:
				self.errors.append("%s: %s" % (type(e).__name__, e))

	def stop(self):
		self.stopping = True
		try:
			self.listener.shutdown(socket.SHUT_RDWR)
		except OSError:
			pass
		self.listener.close()
		for c in self.connections:
			try:
				if not self.wrap:
					c.shutdown(socket.SHUT_RDWR)     # wakes a thread that reads; close alone does not
			except OSError:
				pass
			try:
				c.close()
			except OSError:
				pass
		for th in self.threads:
			th.join(2)


def echo_all(h2, on_request=None):
	"""Serves like an honest gRPC provider: each message comes back when the request has ended."""
	waiting = []
	while True:
		known = getattr(h2, "accepted", 0)
		h2.wait(lambda: len(h2.order) > known or any(s.over for s in waiting), 3600)
		while len(h2.order) > getattr(h2, "accepted", 0):
			waiting.append(h2.accept())
		for s in [s for s in waiting if s.over]:
			waiting.remove(s)
			if s.reset is None and not (on_request and on_request(h2, s)):
				h2.send_headers(s.id, [(":status", "200"), ("content-type", s.headers.get("content-type", "application/grpc"))])
				h2.send_data(s.id, bytes(s.data))
				h2.send_headers(s.id, [("grpc-status", "0")], end=True)


def main():
	name, port, journal = sys.argv[1:4]
	fd = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
	# Before any thread is there. A Python handler that is to wake an Event.wait may come just before the wait, and then does not run until another signal comes.
	signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
	p = Provider(None, name, "127.0.0.1:%s" % port, handler=Echo(name, fd))
	print("ready", flush=True)
	signal.sigwait({signal.SIGTERM})
	p.echo.release.set()
	p.stop(5)
	os._exit(0)


if __name__ == "__main__":
	main()
