"""A CA of Istio's kind for cases: istio.v1.auth.IstioCertificateService/CreateCertificate (istio.md 3.1). grpcio; signs by the openssl command (certs.py).

ca = CaServer(authority, "127.0.0.1:PORT", tls=authority.leaf("istiod", "DNS:istiod"))     over TLS, as istiod's port 15012
ca = CaServer(authority, "unix:/tmp/x/ca.sock")                                           plain
ca.token = "abc"; ca.identity = "spiffe://.."      whose token is taken (None: any); who is named, whatever the request says (None: what it says)
ca.seconds = 3                                     the life of what it gives; None: what was asked for
ca.refuse = (grpc.StatusCode.UNAVAILABLE, "text"); ca.garbage = b"..."; ca.mute = True
ca.seen                                            of each request: {token, cluster, uri, seconds, signer, peer}
CaProcess(...)                                     the same in a child, that can be killed; its leaf and authority are read from folders
"""
import concurrent.futures
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

from certs import Authority, openssl, read
from sds_server import field, fields, one

METHOD = "/istio.v1.auth.IstioCertificateService/CreateCertificate"


def request_uri(csr):
	text = openssl("req", "-noout", "-text", "-verify", stdin=csr)
	for line in text.splitlines():
		if "URI:" in line:
			return line.strip().partition("URI:")[2].split(",")[0]
	return ""


class CaServer(grpc.GenericRpcHandler):
	def __init__(self, authority, at, tls=None, demand_client=False):
		self.authority, self.at = authority, at
		self.token = self.identity = self.seconds = self.refuse = self.garbage = None
		self.mute, self.over = False, threading.Event()
		self.seen = []
		self.spent_ns = 0
		self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), handlers=(self,))
		if tls:
			pair = (tls.key_pem.encode(), tls.pem.encode())
			credentials = grpc.ssl_server_credentials([pair], read(authority.roots).encode() if demand_client else None, demand_client)
			bound = self.server.add_secure_port(at, credentials)
		else:
			bound = self.server.add_insecure_port(at)
		if not bound:
			raise OSError("no CA at %s" % at)
		self.server.start()

	def stop(self):
		self.over.set()
		self.server.stop(None).wait(5)

	def service(self, details):
		if details.method == METHOD:
			return grpc.unary_unary_rpc_method_handler(self.timed)
		return None

	def timed(self, request, context):
		began = time.monotonic_ns()
		try:
			return self.create(request, context)
		finally:
			self.spent_ns += time.monotonic_ns() - began

	def create(self, request, context):
		metadata = dict(context.invocation_metadata())
		seen = {"token": metadata.get("authorization", ""), "cluster": metadata.get("clusterid", ""), "seconds": one(request, 3, 0),
			"signer": one(one(one(one(request, 4), 1), 2), 3, None), "peer": b",".join(context.auth_context().get("x509_subject_alternative_name", [])).decode(), "uri": ""}
		self.seen.append(seen)
		csr = one(request, 1).decode()
		try:
			seen["uri"] = request_uri(csr)
		except AssertionError:
			context.abort(grpc.StatusCode.INVALID_ARGUMENT, "CSR is not properly constructed")
		if self.refuse:
			context.abort(*self.refuse)
		if self.token and seen["token"] != "Bearer " + self.token and not seen["peer"]:
			context.abort(grpc.StatusCode.UNAUTHENTICATED, "request authenticate failure")
		if self.mute:
			self.over.wait(60)
		if self.garbage is not None:
			return self.garbage
		uri = self.identity or seen["uri"]
		leaf = self.authority.sign(csr, "URI:" + uri if uri else "", self.seconds or seen["seconds"])
		answer = field(1, leaf)
		if self.authority.between:
			answer += field(1, self.authority.between)
		return answer + field(1, read(self.authority.roots))


# ---- as a process --------------------------------------------------------------------------------------------------------

class CaProcess:
	def __init__(self, folder, at, tls=None, token="", seconds=0):
		"""folder: of an Authority (a root) that nobody else signs by meanwhile; tls: a leaf of certs.py."""
		argv = [sys.executable, os.path.abspath(__file__), folder, at, token, str(seconds)] + ([tls.cert, tls.key] if tls else [])
		self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
		if self.child.stdout.readline() != "ok\n":
			raise AssertionError("ca_server does not start")

	def ask(self, what):
		self.child.stdin.write(what + "\n")
		self.child.stdin.flush()
		return int(self.child.stdout.readline())

	def requests(self):
		return self.ask("")

	def spent_ms(self):
		"""What it took itself, of all requests, from the whole request to the whole answer."""
		return self.ask("spent") / 1e6

	def kill(self):
		if self.child.poll() is None:
			self.child.kill()
		self.child.wait()
		self.child.stdin.close()
		self.child.stdout.close()


class Kept(Authority):
	"""One that lies in its folder already."""

	def __init__(self, folder):
		self.folder, self.above, self.count, self.lock = folder, None, 0, threading.Lock()
		self.own = self.path("root.pem")


def main():
	folder, at, token, seconds = sys.argv[1:5]

	class Pair:
		key_pem = read(sys.argv[6]) if len(sys.argv) > 6 else ""
		pem = read(sys.argv[5]) if len(sys.argv) > 6 else ""
	ca = CaServer(Kept(folder), at, Pair if Pair.pem else None)
	ca.token, ca.seconds = token or None, int(seconds) or None
	print("ok", flush=True)
	for line in sys.stdin:
		print(ca.spent_ns if line == "spent\n" else len(ca.seen), flush=True)
	ca.stop()


if __name__ == "__main__":
	main()
