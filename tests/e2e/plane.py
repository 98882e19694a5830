"""A control plane of a case or a benchmark row: the process tests/plane, told what to do by lines on its stdin; and a front that speaks TLS for it.

Plane    one process. p.service(..), p.endpoints(..), p.quirk(..), p.kill() and so on: each returns when it is done; p.stats(), p.requests(), p.heads() look.
Authority a CA of our own (openssl), which makes certificates; files below a folder.
TlsFront takes TLS with ALPN h2 on a port and carries the bytes to a Plane.
"""
import json
import os
import select
import socket
import ssl
import subprocess
import threading
import time


class PlaneError(AssertionError):
	pass


class Plane:
	def __init__(self, binary, at, kind="istio", wrapper=()):
		"""binary: the daemon's, beside which `make` has put the plane's."""
		self.at, self.kind = at, kind
		self.lock = threading.Lock()
		path = os.path.join(os.path.dirname(os.path.abspath(binary)), "tests", "plane")
		self.child = subprocess.Popen(list(wrapper) + [path, "-k", kind, at], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
		self.left = b""
		if self.line() != "ready":
			raise PlaneError("the control plane does not start at %s" % at)

	@property
	def server(self):
		"""What `xds.server` says."""
		return self.at

	def line(self, timeout_s=60):
		end = time.monotonic() + timeout_s
		while b"\n" not in self.left:
			ready, _, _ = select.select([self.child.stdout], [], [], max(0, end - time.monotonic()))
			piece = os.read(self.child.stdout.fileno(), 1 << 20) if ready else b""
			if not piece:
				raise PlaneError("the control plane says nothing" if not ready else "the control plane has ended")
			self.left += piece
		text, _, self.left = self.left.partition(b"\n")
		return text.decode()

	def tell(self, *words):
		text = " ".join(str(w) for w in words if w != "")
		with self.lock:
			self.child.stdin.write(text.encode() + b"\n")
			self.child.stdin.flush()
			answer = self.line()
		if not answer.startswith("ok"):
			raise PlaneError("%s: %s" % (text[:200], answer))
		return json.loads(answer[3:]) if len(answer) > 3 else None

	# ---- what the mesh is ----

	@staticmethod
	def split(name):
		host, port = name.rsplit(":", 1)
		return host, port

	def service(self, name, *endpoints):
		self.tell("service", *self.split(name), *endpoints)

	def endpoints(self, name, *endpoints):
		self.tell("endpoints", *self.split(name), *endpoints)

	def route(self, name, *clusters):
		self.tell("route", *self.split(name), *clusters)

	def cluster(self, name, *endpoints):
		self.tell("cluster", name, *endpoints)

	def gone(self, name):
		self.tell("gone", *self.split(name))

	def bulk(self, count, port, *endpoints):
		self.tell("bulk", count, port, *endpoints)

	def big(self, cluster, count, changed=""):
		return self.tell("big", cluster, count, changed)["bytes"]

	def resource(self, kind, name, data):
		self.tell("bytes", kind, name, data.hex())

	def hold(self):
		self.tell("hold")

	def release(self):
		self.tell("release")

	# ---- what it is like ----

	def quirk(self, refuse_text=None, **values):
		words = ["%s=%d" % (k, v) for k, v in values.items()]
		# The text goes to the end of the line, spaces and all.
		self.tell("quirk", *words, *(["refuse_text=" + refuse_text] if refuse_text is not None else []))

	def listen(self):
		self.tell("listen")

	def close(self):
		self.tell("close")

	def cut(self):
		self.tell("cut")

	def kill(self):
		self.tell("kill")

	def goaway(self):
		self.tell("goaway")

	def end_streams(self, status, text=""):
		self.tell("end", status, text)

	# ---- what it has seen ----

	def stats(self):
		return self.tell("stats")

	def requests(self, kind="ANY", start=0):
		return self.tell("requests", kind, start)

	def life(self):
		"""The last HealthInformation: {count, early, ok, at_ns (time.monotonic_ns), stream, text}."""
		return self.tell("life")

	def asked(self, kind):
		"""Names of a type that were asked for on the newest stream, by its requests."""
		seen = self.requests(kind)
		names = set()
		for q in seen:
			if q["stream"] != seen[-1]["stream"]:
				continue
			names = (names | set(q["names"])) - set(q["unsubscribe"]) if q["delta"] else set(q["names"])
		return names

	def heads(self):
		"""Header fields of every stream, oldest first."""
		return [dict(line.split(": ", 1) for line in head.splitlines() if ": " in line) for head in self.tell("heads")]

	def finish(self):
		if self.child.poll() is None:
			self.child.stdin.close()
			try:
				self.child.wait(5)
			except subprocess.TimeoutExpired:
				self.child.kill()
				self.child.wait()
		self.child.stdout.close()


# ---- TLS -----------------------------------------------------------------------------------------------------------------

class Authority:
	"""A CA, and what it signs. Keys of P-256: they take no time."""

	def __init__(self, folder):
		self.folder = folder
		os.makedirs(folder, exist_ok=True)
		self.roots = self.path("ca.pem")
		self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.path("ca.key"), "-out", self.roots,
			"-days", "2", "-subj", "/O=mesh of the tests")

	def path(self, name):
		return os.path.join(self.folder, name)

	@staticmethod
	def run(*args):
		done = subprocess.run(("openssl",) + args, capture_output=True, text=True)
		if done.returncode:
			raise PlaneError("openssl %s: %s" % (args[0], done.stderr))

	def sign(self, name, san):
		"""san: "DNS:a,IP:127.0.0.1,URI:spiffe://..". Paths of certificate and key."""
		key, request, cert, extension = (self.path(name + end) for end in (".key", ".csr", ".pem", ".ext"))
		with open(extension, "w") as f:
			f.write("subjectAltName=%s\n" % san)
		self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=" + name)
		self.run("x509", "-req", "-in", request, "-CA", self.roots, "-CAkey", self.path("ca.key"), "-CAcreateserial", "-days", "1", "-extfile", extension, "-out", cert)
		return cert, key


class TlsFront:
	"""Two threads a connection: few connections live here, and none for long."""

	def __init__(self, to, cert, key, port, client_roots=None, alpn=True, version=None):
		"""alpn=False: it chooses none, and whatever comes is carried. version: of ssl.TLSVersion, the only one."""
		self.to, self.port, self.alpn = to, port, alpn
		self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
		self.context.load_cert_chain(cert, key)
		if alpn:
			self.context.set_alpn_protocols(["h2"])
		if version:
			self.context.minimum_version = self.context.maximum_version = version
		if client_roots:
			self.context.verify_mode = ssl.CERT_REQUIRED
			self.context.load_verify_locations(client_roots)
		self.clients = []      # subject and names of the certificate that each showed; {} none
		self.versions = []     # of each: "TLSv1.3"
		self.refused = []      # why handshakes failed
		self.listener = socket.create_server(("127.0.0.1", port))
		self.open = []
		threading.Thread(target=self.accept, daemon=True).start()

	@property
	def server(self):
		return "127.0.0.1:%d" % self.port

	def accept(self):
		while True:
			try:
				s, _ = self.listener.accept()
			except OSError:
				return
			threading.Thread(target=self.serve, args=(s,), daemon=True).start()

	def serve(self, raw):
		try:
			raw.settimeout(60)
			tls = self.context.wrap_socket(raw, server_side=True)
		except (OSError, ssl.SSLError) as e:
			self.refused.append(str(e))
			raw.close()
			return
		self.clients.append(tls.getpeercert() or {})
		self.versions.append(tls.version())
		if self.alpn and tls.selected_alpn_protocol() != "h2":
			self.refused.append("no ALPN")
			tls.close()
			return
		host, port = self.to.rsplit(":", 1)
		try:
			back = socket.create_connection((host, int(port)), 5)
		except OSError:
			tls.close()
			return
		tls.setblocking(False)
		back.setblocking(False)
		self.open += [tls, back]
		self.carry(tls, back)

	@staticmethod
	def carry(tls, back):
		"""One thread for both ways: a TLS object is not to be used by two at once."""
		to_back, to_tls = b"", b""
		try:
			while True:
				reading = ([tls] if len(to_back) < 1 << 20 else []) + ([back] if len(to_tls) < 1 << 20 else [])
				writing = ([back] if to_back else []) + ([tls] if to_tls else [])
				select.select(reading, writing, [], 5 if not tls.pending() else 0)
				try:
					piece = tls.recv(65536)
					if not piece:
						break
					to_back += piece
				except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
					pass
				try:
					piece = back.recv(65536)
					if not piece:
						break
					to_tls += piece
				except BlockingIOError:
					pass
				if to_back:
					try:
						to_back = to_back[back.send(to_back):]
					except BlockingIOError:
						pass
				if to_tls:
					try:
						to_tls = to_tls[tls.send(to_tls):]
					except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
						pass
		except (OSError, ValueError):      # ValueError: closed by close()
			pass
		finally:
			tls.close()
			back.close()

	def close(self):
		# shutdown wakes the thread that waits in accept.
		try:
			self.listener.shutdown(socket.SHUT_RDWR)
		except OSError:
			pass
		self.listener.close()
		for s in self.open:
			s.close()
