"""What the cases of TLS share: providers that speak it, files of certificates that change, load while they do, and the bytes of a mesh that wants it.

TlsProvider   grpcio over TLS, in this process; what its callers showed is in .shown
Front         any TLS by Python's ssl before a provider without (plane.TlsFront): versions, ALPN
Files         cert, key and roots, each replaced whole
Fast          nghttpd over TLS, in a child: carries the thousands of calls a second that grpcio's Python cannot
Load          h2load at a fixed rate until load.all_done(): none failed, of those neither that the daemon tells
Ears          a listener without TLS that counts what it is sent
mesh_tls      a service of a control plane (plane.py) whose endpoints are called as tlsMode says
"""
import concurrent.futures
import os
import socket
import subprocess
import threading
import time

import grpc

from certs import Authority, read, spiffe, write
from harness import DEMO, GREETER, check, same, until
from plane import TlsFront
from providers import Echo, OPTIONS, Provider
from sds_server import field

SAN = "x509_subject_alternative_name"


def spiffe_id(account, domain="cluster.local"):
	return spiffe(account, domain=domain)[len("URI:"):]


def authority(t, name="ca"):
	return Authority(t.path(name), name)


# ---- providers -----------------------------------------------------------------------------------------------------------

class ShownEcho(Echo):
	"""Keeps what each caller's certificate says, URIs before names."""

	def __init__(self, name):
		super().__init__(name)
		self.shown = []

	def begin(self, path, context):
		self.shown.append([v.decode() for v in context.auth_context().get(SAN, [])])
		return super().begin(path, context)


class TlsProvider(Provider):
	"""leaf: of certs.py. clients: a file of roots for the client certificates that are demanded; None: none are."""

	def __init__(self, t, leaf, clients=None, name="a", address=None):
		self.leaf, self.clients = leaf, clients
		super().__init__(t, name, address, handler=ShownEcho(name))

	@property
	def shown(self):
		return self.echo.shown

	def start(self):
		self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), handlers=[self.echo], options=OPTIONS)
		clients = read(self.clients).encode() if self.clients else None
		credentials = grpc.ssl_server_credentials([(self.leaf.key_pem.encode(), self.leaf.pem.encode())], clients, bool(clients))
		if not self.server.add_secure_port(self.address, credentials):
			raise OSError("no provider at " + self.address)
		self.server.start()


class Front(TlsFront):
	def __init__(self, t, to, leaf, clients=None, **how):
		super().__init__(to, leaf.cert, leaf.key, t.port(), clients, **how)
		t.after(self.close)

	@property
	def address(self):
		return "127.0.0.1:%d" % self.port


class Files:
	"""What kubelet or an agent writes: each file replaced whole, the key first."""

	def __init__(self, t, leaf, roots, name="own"):
		self.folder = t.path(name)
		os.makedirs(self.folder)
		self.cert, self.key, self.roots = (os.path.join(self.folder, n) for n in ("cert-chain.pem", "key.pem", "root-cert.pem"))
		self.show(leaf)
		self.trust(roots)

	def show(self, leaf):
		write(self.key, leaf.key_pem, 0o600)
		write(self.cert, leaf.pem)

	def trust(self, *roots):
		write(self.roots, "".join(read(r) for r in roots))

	@property
	def identity(self):
		return {"cert": self.cert, "key": self.key, "roots": self.roots}


class Fast:
	"""Gives back what is sent. It asks for a client certificate (none: the handshake ends) and believes any."""

	def __init__(self, t, leaf, demand=True):
		self.address = "127.0.0.1:%d" % t.port()
		port = self.address.rpartition(":")[2]
		t.spawn(["nghttpd", "--echo-upload", "-a", "127.0.0.1", "-d", t.dir, port, leaf.key, leaf.cert] + (["-V"] if demand else []), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

		def up():
			try:
				socket.create_connection(("127.0.0.1", int(port)), 1).close()
				return True
			except OSError:
				return False
		until(up, 5, "nghttpd to listen")


# ---- load ----------------------------------------------------------------------------------------------------------------

class Load:
	"""Calls at a rate until all_done(): programs of a second each, two beside each other, so that there is always one while the other begins anew. None ends before what it was to see."""

	def __init__(self, t, d, rate=2000, name=DEMO):
		self.d, self.rate = d, rate
		self.stopping, self.children, self.wrong = threading.Event(), {}, []
		body = t.path("body")
		with open(body, "wb") as f:
			f.write(b"x" * 100)
		self.argv = ["h2load", "-t", "1", "-c", "4", "-m", "16", "--rps", str(rate // 8), "-n", str(rate // 2), "-d", body, "-B", "unix:" + d.sock, "http://%s/echo" % name]
		t.after(self.stop)
		self.threads = [t.thread(self.run, lane) for lane in range(2)]
		self.goes_on()

	def run(self, lane):
		while not self.stopping.is_set():
			child = self.children[lane] = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
			out = child.communicate()[0]
			count = self.rate // 2
			if "%d succeeded, 0 failed, 0 errored, 0 timeout" % count not in out or "status codes: %d 2xx" % count not in out:
				self.wrong.append(out)
				return

	def goes_on(self):
		"""There are calls now: as many as nobody had under way before."""
		def ended():
			return self.d.stats().get("thinmesh_cluster_calls_total", 0)
		before = ended()
		until(lambda: self.wrong or ended() > before + 200, 10, "the load to run")
		same(self.wrong, [])

	def all_done(self):
		self.stopping.set()
		for th in self.threads:
			th.join(120)
		failed = self.d.stat("calls_failed")
		check(not self.wrong and failed == 0 and not any(th.is_alive() for th in self.threads), "calls_failed", failed, *self.wrong)

	def stop(self):
		self.stopping.set()
		for child in self.children.values():
			if child.poll() is None:
				child.kill()
		for th in self.threads:
			th.join(10)


def every(seconds, *steps):
	"""Each step so long after the one before, whatever it took."""
	due = time.monotonic()
	for step in steps:
		due += seconds
		until(lambda: time.monotonic() >= due, seconds + 5, "a second to pass")
		step()


# ---- who hears plain text ------------------------------------------------------------------------------------------------

class Ears:
	"""Takes connections at an address, answers nothing, keeps what comes."""

	def __init__(self, t, address):
		host, port = address.rsplit(":", 1)
		self.heard, self.connections, self.open = b"", 0, []
		self.listener = socket.create_server((host, int(port)))
		t.after(self.close)
		t.thread(self.accept)

	def accept(self):
		while True:
			try:
				s, _ = self.listener.accept()
			except OSError:
				return
			self.connections += 1
			self.open.append(s)
			threading.Thread(target=self.listen, args=(s,), daemon=True).start()

	def listen(self, s):
		try:
			while True:
				piece = s.recv(65536)
				if not piece:
					return
				self.heard += piece
		except OSError:
			pass

	def no_plain_text(self, *words):
		"""Nothing, or the beginnings of handshakes."""
		for word in (b"PRI *", b"HTTP/") + words:
			check(word not in self.heard, "plain text was sent:", self.heard[:200])
		check(not self.heard or self.heard[0] == 0x16, "no handshake:", self.heard[:64])

	def close(self):
		try:
			self.listener.shutdown(socket.SHUT_RDWR)
		except OSError:
			pass
		self.listener.close()
		for s in self.open:
			s.close()


# ---- calls ---------------------------------------------------------------------------------------------------------------

def call(h, name=DEMO, **kw):
	s = h.call(name, GREETER, **kw)
	same((s.grpc_status, s.grpc_message), (0, ""), "the call to " + name)
	return s


def refused(h, *words, name=DEMO, code=14):
	"""Its message, which holds all of these."""
	s = h.call(name, GREETER)
	check(s.grpc_status == code and all(w in s.grpc_message for w in words), "wanted", code, words, "got", s.grpc_status, repr(s.grpc_message))
	return s.grpc_message


def becomes(h, code, name=DEMO, timeout_s=5):
	"""Calls until one ends so; its message."""
	return until(lambda: [s.grpc_message for s in [h.call(name, GREETER)] if s.grpc_status == code], timeout_s, "a call that ends with %d" % code)[0]


# ---- a mesh that wants TLS -----------------------------------------------------------------------------------------------

def any_of(kind, message):
	return field(1, "type.googleapis.com/" + kind) + field(2, message)


def text_struct(key, text):
	return field(1, field(1, key) + field(2, field(3, text)))


ADS = field(3, b"") + field(6, 2)
SDS_AGENT = field(2, field(1, 2) + field(4, field(1, field(1, "sds-grpc"))) + field(8, 2)) + field(6, 2)      # api_config_source: GRPC, envoy_grpc sds-grpc, V3
TLS_TYPE = "envoy.extensions.transport_sockets.tls.v3."


def secret_config(name):
	return field(1, name) + field(2, SDS_AGENT)


def upstream_tls(sans=(), sni="outbound_.50051_._.demo.default.svc.cluster.local"):
	"""As istiod makes it: default and ROOTCA of the agent, SANs, ALPN of mesh endpoints."""
	names = b"".join(field(9, field(1, s)) for s in sans)
	combined = field(1, names) + field(2, secret_config("ROOTCA"))
	common = field(4, "istio-h2") + field(4, "istio") + field(4, "h2") + field(6, secret_config("default")) + field(8, combined)
	return field(1, common) + field(2, sni)


def mesh_cluster(name, context):
	tls = field(1, "tlsMode-istio") + field(2, text_struct("tlsMode", "istio")) + field(3, field(1, "envoy.transport_sockets.tls") + field(3, any_of(TLS_TYPE + "UpstreamTlsContext", context)))
	raw = field(1, "tlsMode-disabled") + field(2, b"") + field(3, field(1, "envoy.transport_sockets.raw_buffer")
		+ field(3, any_of("envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer", b"")))
	options = any_of("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", field(3, field(2, b"")))
	return (field(1, name) + field(2, 3) + field(3, field(1, ADS) + field(2, name)) + field(4, field(1, 10)) + field(43, tls) + field(43, raw)
		+ field(36, field(1, "envoy.extensions.upstreams.http.v3.HttpProtocolOptions") + field(2, options)))


def mesh_endpoint(address, tls):
	host, port = address.rsplit(":", 1)
	metadata = field(1, field(1, "envoy.transport_socket_match") + field(2, text_struct("tlsMode", "istio"))) if tls else b""
	return field(2, field(1, field(1, field(1, field(2, host) + field(3, int(port))))) + (field(3, metadata) if metadata else b"") + field(4, field(1, 1)))


def mesh_tls(plane, encrypted, plain=(), sans=(), name=DEMO, tls=None):
	"""The service; again: its clusters and endpoints are other ones from now on. tls: another UpstreamTlsContext than istiod's."""
	host, port = name.rsplit(":", 1)
	cluster = "outbound|%s||%s" % (port, host)
	plane.hold()
	plane.service(name, *encrypted, *plain)
	plane.resource("CDS", cluster, mesh_cluster(cluster, upstream_tls(sans) if tls is None else tls))
	every_one = b"".join(mesh_endpoint(a, True) for a in encrypted) + b"".join(mesh_endpoint(a, False) for a in plain)
	plane.resource("EDS", cluster, field(1, cluster) + field(2, field(1, b"") + every_one + field(3, field(1, len(encrypted) + len(plain)))))
	plane.release()
