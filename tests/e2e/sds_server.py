"""SDS servers of cases: envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets over a Unix socket, as istio-agent serves it (or SPIRE: spire=True). grpcio; protobuf by hand.

s = SdsServer("unix:/tmp/x/sds.sock")              in this process
s.cert("default", leaf); s.roots("ROOTCA", pem)    a leaf of certs.py; what somebody asked for is pushed
s.bundles("ROOTCA", {"cluster.local": pem})        as SPIRE: SPIFFECertValidatorConfig
s.asked, s.acks, s.nacks                           (name list, node) of each stream; texts of what was refused
SdsProcess(...)                                    the same in a child, that can be killed and started again
"""
import concurrent.futures
import os
import queue
import subprocess
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

METHOD = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
SPIFFE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig"


# ---- protobuf ------------------------------------------------------------------------------------------------------------

def varint(v):
	out = b""
	while v > 127:
		out += bytes([v & 127 | 128])
		v >>= 7
	return out + bytes([v])


def field(number, value):
	if isinstance(value, int):
		return varint(number << 3) + varint(value)
	if isinstance(value, str):
		value = value.encode()
	return varint(number << 3 | 2) + varint(len(value)) + value


def fields(message):
	"""(number, value) of a message; value: int or bytes."""
	def number(at):
		v = shift = 0
		while True:
			v |= (message[at] & 127) << shift
			shift += 7
			at += 1
			if message[at - 1] < 128:
				return v, at
	at = 0
	while at < len(message):
		tag, at = number(at)
		value, at = number(at)
		if tag & 7 == 2:
			value, at = message[at:at + value], at + value
		elif tag & 7:
			raise ValueError("wire type %d" % (tag & 7))
		yield tag >> 3, value


def one(message, wanted, default=b""):
	for number, value in fields(message):
		if number == wanted:
			default = value
	return default


def inline(pem):
	return field(2, pem)


def secret_cert(name, chain, key):
	return field(1, name) + field(2, field(1, inline(chain)) + field(2, inline(key)))


def secret_roots(name, pem, crl=""):
	return field(1, name) + field(4, field(1, inline(pem)) + (field(7, inline(crl)) if crl else b""))


def secret_bundles(name, of):
	config = b"".join(field(1, field(1, domain) + field(2, inline(pem))) for domain, pem in of.items())
	return field(1, name) + field(4, field(12, field(1, "envoy.tls.cert_validator.spiffe") + field(2, field(1, SPIFFE) + field(2, config))))


# ---- the server ----------------------------------------------------------------------------------------------------------

class Asking:
	"""A stream."""

	def __init__(self):
		self.names, self.wake = [], queue.Queue()


class SdsServer(grpc.GenericRpcHandler):
	def __init__(self, at, spire=False):
		self.at, self.spire = at, spire
		self.lock = threading.Lock()
		self.secrets, self.streams = {}, []
		self.version = self.nonce = self.acks = 0
		self.asked, self.nacks = [], []
		self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(64), handlers=(self,))
		if not self.server.add_insecure_port(at):
			raise OSError("no SDS server at %s" % at)
		self.server.start()

	# what there is

	def put(self, name, secret):
		with self.lock:
			self.secrets[name] = secret
			self.version += 1
			for s in self.streams:
				if name in s.names:
					s.wake.put("push")

	def cert(self, name, leaf):
		self.put(name, secret_cert(name, leaf.pem, leaf.key_pem))

	def roots(self, name, pem, crl=""):
		self.put(name, secret_roots(name, pem, crl))

	def bundles(self, name, of):
		self.put(name, secret_bundles(name, of))

	def cut(self, code=grpc.StatusCode.UNKNOWN, text="failed to generate secret"):
		"""All streams end, as istio-agent's do when it reads a half-written file."""
		with self.lock:
			for s in self.streams:
				s.wake.put((code, text))

	def stop(self):
		self.server.stop(None).wait(5)

	# what it says

	def service(self, details):
		if details.method == METHOD:
			return grpc.stream_stream_rpc_method_handler(self.stream)
		return None

	def unknown(self, name):
		if self.spire:
			return grpc.StatusCode.INVALID_ARGUMENT, 'workload is not authorized for the requested identities ["%s"]' % name
		return grpc.StatusCode.UNKNOWN, "failed to generate secret for %s" % name

	def answer(self, names):
		with self.lock:
			self.nonce += 1
			body = field(1, "v%d" % self.version)
			for name in names:
				body += field(2, field(1, SECRET) + field(2, self.secrets[name]))
			return body + field(4, SECRET) + field(5, "n%d" % self.nonce)

	def hear(self, s, message):
		"""What is to be done about it: "push", a status to end with, None."""
		names = [v.decode() for number, v in fields(message) if number == 3]
		if one(message, 5):
			with self.lock:
				if one(message, 6):
					self.nacks.append(one(one(message, 6), 2).decode())
				else:
					self.acks += 1
			return None
		with self.lock:
			self.asked.append((names, one(message, 2)))
		if not self.spire and not one(one(message, 2), 1):
			return grpc.StatusCode.INVALID_ARGUMENT, "missing node information"
		for name in names:
			if name not in self.secrets:
				return self.unknown(name)
		s.names = names or (list(self.secrets) if self.spire else [])
		return "push" if s.names else None

	def stream(self, requests, context):
		s = Asking()

		def listen():
			try:
				for message in requests:
					s.wake.put(self.hear(s, message))
			except Exception: # the caller has gone
				pass
			s.wake.put("end")
		threading.Thread(target=listen, daemon=True).start()
		with self.lock:
			self.streams.append(s)
		try:
			while True:
				what = s.wake.get()
				if what == "end":
					return
				if what == "push":
					yield self.answer(s.names)
				elif what:
					context.abort(*what)
		finally:
			with self.lock:
				self.streams.remove(s)


# ---- as a process --------------------------------------------------------------------------------------------------------

class SdsProcess:
	"""In a child. Told by lines, so that it can be killed (child.kill()) in the middle of anything."""

	def __init__(self, at, spire=False):
		self.child = subprocess.Popen([sys.executable, os.path.abspath(__file__), at] + (["--spire"] if spire else []), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
		self.answered()

	def answered(self):
		line = self.child.stdout.readline().strip()
		if not line.startswith("ok"):
			raise AssertionError("sds_server: %r" % line)
		return line[3:]

	def tell(self, *words):
		self.child.stdin.write("\t".join(words) + "\n")
		self.child.stdin.flush()
		return self.answered()

	def cert(self, name, leaf):
		self.tell("cert", name, leaf.cert, leaf.key)

	def roots(self, name, path):
		self.tell("roots", name, path)

	def cut(self):
		self.tell("cut")

	def acks(self):
		return int(self.tell("acks"))

	def nacks(self):
		return int(self.tell("nacks"))

	def kill(self):
		if self.child.poll() is None:
			self.child.kill()
		self.child.wait()
		self.child.stdin.close()
		self.child.stdout.close()


def main():
	s = SdsServer(sys.argv[1], "--spire" in sys.argv)
	print("ok", flush=True)
	for line in sys.stdin:
		words = line.rstrip("\n").split("\t")
		texts = [open(path).read() for path in words[2:]]
		said = ""
		if words[0] == "cert":
			s.put(words[1], secret_cert(words[1], *texts))
		elif words[0] == "roots":
			s.put(words[1], secret_roots(words[1], *texts))
		elif words[0] == "cut":
			s.cut()
		elif words[0] in ("acks", "nacks"):
			said = " %d" % (s.acks if words[0] == "acks" else len(s.nacks))
		print("ok" + said, flush=True)
	s.stop()


if __name__ == "__main__":
	main()
