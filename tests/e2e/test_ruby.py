"""The official gRPC interop client and server, as Debian's ruby-grpc carries them: 13 plaintext cases through the socket."""
import glob
import os
import subprocess

from harness import Failed, T, cases, check, dial, until

FOLDER = "/usr/lib/*/rubygems-integration/*/gems/grpc-*/src/ruby/pb/test"
CASES = ["empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream", "cancel_after_begin",
	"cancel_after_first_response", "timeout_on_sleeping_server", "custom_metadata", "status_code_and_message", "unimplemented_method",
	"unimplemented_service"]

# The server is slow to start and keeps nothing between calls: one for all cases of a worker, whose end takes it along (run.py).
shared = {}


def folder():
	found = sorted(glob.glob(FOLDER))
	if not found:
		raise Failed("ruby-grpc is not installed: no " + FOLDER)
	return found[-1]


def start_server(t):
	if "port" not in shared:
		port = t.port()
		log = open(os.devnull, "w")
		child = subprocess.Popen(["ruby", os.path.join(folder(), "server.rb"), "--port", str(port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
		shared.update(port=port, child=child)

		def up():
			check(child.poll() is None, "server.rb ended with", child.returncode)
			try:
				dial(("127.0.0.1", port)).close()
				return True
			except OSError:
				return False
		until(up, 10, "ruby's interop server")
	return shared["port"]


@cases("the official interop client passes %s", CASES)
def interop(t, name):
	port = start_server(t)
	# C-core sends "localhost" over a Unix socket: the path map finds the service.
	where = "interop.default.svc.cluster.local:%d" % port
	d = t.daemon({where: ["127.0.0.1:%d" % port]}, app={"paths": {"grpc.testing.TestService": where, "grpc.testing.UnimplementedService": where}})
	done = subprocess.run(["ruby", os.path.join(folder(), "client.rb"), "--server_host", "unix", "--server_port", d.sock, "--use_tls", "false",
		"--test_case", name], capture_output=True, text=True, timeout=60)
	check(done.returncode == 0 and "OK: " + name in done.stdout, "client.rb ended with", done.returncode, "\n", done.stdout[-2000:], done.stderr[-3000:])
