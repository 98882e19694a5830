#!/usr/bin/python3
"""grpc-python through thinmesh's Unix socket; generated stubs take the same channel.

	examples/sdk/grpc_python.py [SOCKET]
"""
import sys

import grpc

SOCKET = sys.argv[1] if len(sys.argv) > 1 else "/run/thinmesh/shop.sock"


def dial(name):
	"""name: whom the calls are for. Without the option it would be `localhost` (grpcio before 1.57), or the socket's path percent-encoded (since)."""
	return grpc.insecure_channel("unix:" + SOCKET, options=[("grpc.default_authority", name)])


with dial("demo.default.svc.cluster.local:50051") as channel:
	say_hello = channel.unary_unary("/org.apache.dubbo.demo.GreeterService/sayHello")
	reply, call = say_hello.with_call(b"\x0a\x05world", timeout=5)
	print(call.code().name, reply)
