#!/usr/bin/python3
"""A sample gRPC provider to try thinmesh with: one server an address, each answers every unary method with who it is (but grpc.health.v1: it has none).

	examples/provider.py [--tls FOLDER] [ADDRESS...]        default: 127.0.0.1:50051 127.0.0.1:50052, which thinmesh's embedded configuration names
	thinmesh run &
	thinmesh call -s /run/thinmesh/shop.sock demo.default.svc.cluster.local:50051/org.apache.dubbo.demo.GreeterService/sayHello

ADDRESS: HOST:PORT, PORT or unix:PATH. The answer is a protobuf message whose field 1 is a string, as a Greeter's is: what was asked
(if the request is such a message), the address, the pid. SIGTERM or Ctrl-C: calls in progress finish, then it ends.
FOLDER: with cert-chain.pem, key.pem and root-cert.pem; calls are encrypted then, and callers have to show a certificate, whose name is answered too.
Needs python3-grpcio; no .proto files.
"""
import concurrent.futures
import os
import signal
import sys
import threading

import grpc


def varint(n):
	out = b""
	while n > 0x7f:
		out, n = out + bytes([n & 0x7f | 0x80]), n >> 7
	return out + bytes([n])


def text_message(text):
	raw = text.encode()
	return b"\x0a" + varint(len(raw)) + raw


def asked_text(message):
	"""Field 1 of a request that is short and a string; "" of any other."""
	if len(message) < 2 or message[0] != 0x0a or message[1] > 0x7f or len(message) < 2 + message[1]:
		return ""
	return message[2:2 + message[1]].decode("utf-8", "replace")


class Anything(grpc.GenericRpcHandler):
	def __init__(self, address):
		self.who = "%s, pid %d" % (address, os.getpid())

	def service(self, details):
		if details.method.startswith("/grpc.health.v1.Health/"):
			return None             # it has no health service: UNIMPLEMENTED, not a greeting in which a checker reads UNKNOWN

		def answer(request, context):
			names = context.auth_context().get("x509_subject_alternative_name", [])
			context.set_trailing_metadata((("served-by", self.who),) + ((("called-by", names[0].decode()),) if names else ()))
			name = asked_text(request)
			return text_message("hello%s, this is %s" % (" " + name if name else "", self.who))
		return grpc.unary_unary_rpc_method_handler(answer)


def credentials(folder):
	def read(name):
		with open(os.path.join(folder, name), "rb") as f:
			return f.read()
	return grpc.ssl_server_credentials([(read("key.pem"), read("cert-chain.pem"))], read("root-cert.pem"), True)


def serve(address, tls):
	server = grpc.server(concurrent.futures.ThreadPoolExecutor(8), handlers=[Anything(address)], options=[("grpc.so_reuseport", 0)])
	try:
		if (server.add_secure_port(address, tls) if tls else server.add_insecure_port(address)) == 0:
			raise RuntimeError
	except RuntimeError:
		raise SystemExit("provider: cannot listen on %s" % address) from None
	server.start()
	return server


def main():
	wanted, tls = sys.argv[1:], None
	if any(a in ("-h", "--help") for a in wanted):
		print(__doc__)
		return 0
	if wanted[:1] == ["--tls"]:
		tls, wanted = credentials(wanted[1]), wanted[2:]
	wanted = wanted or ["127.0.0.1:50051", "127.0.0.1:50052"]
	addresses = ["127.0.0.1:" + a if a.isdigit() else a for a in wanted]
	over = threading.Event()
	for number in (signal.SIGTERM, signal.SIGINT):
		signal.signal(number, lambda *_: over.set())
	servers = [serve(a, tls) for a in addresses]
	print("provider: %s" % "  ".join(addresses), flush=True)
	over.wait()
	for stopping in [s.stop(5) for s in servers]:
		stopping.wait()
	return 0


if __name__ == "__main__":
	sys.exit(main())
