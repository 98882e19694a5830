"""What the rows of the benchmark stand on: tools built from the C files beside this one, processes on their cores, and what the kernel
says about them.

Lab       one run: its folder, the tools, the backend; ends all that it started
Proxy     one process tree that carries calls from a socket to the backend: ours, haproxy, haproxy-tcp or floor

The proxy under test has the last core to itself; generator and backend share the first. The figure that is compared is the proxy's own CPU
time (schedstat, nanoseconds, every thread of every process of it): a busy machine changes it much less than calls a second.
"""
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
AUTHORITY = "demo.default.svc.cluster.local:50051"
PATH = "/org.apache.dubbo.demo.GreeterService/sayHello"
PROVIDERS_MAX = 64

TOOLS = {
	"load": ["load.c", "wire.c", "wire.h"], "backend": ["backend.c", "wire.c", "wire.h", "wire_tls.c", "wire_tls.h"], "floor": ["floor.c", "wire.c", "wire.h"],
	"dialer": ["dialer.c", "wire.c", "wire.h"],
	"sessions": ["sessions.c", "wire.c", "wire.h"], "count_malloc.so": ["count_malloc.c"], "bench_pick": ["bench_pick.c"],
	"bench_eds": ["bench_eds.c", "../xds/edsrig.c", "../xds/edsrig.h"],
}
LIBRARIES = ["libevent_core", "libnghttp2", "libcares", "libxxhash", "yaml-0.1", "openssl", "libprotobuf-c"]

HAPROXY = """global
	nbthread 1
	maxconn 5000
defaults
	mode {mode}
	timeout connect 5s
	timeout client 10m
	timeout server 10m
{extra}
frontend app
	bind unix@{sock} mode 777{proto}
	default_backend providers
backend providers
{servers}
"""


class Broken(Exception):
	"""A row cannot be had: told in its line, the others go on."""


class Lab:
	def __init__(self, binary, rounds):
		self.library = os.path.join(os.path.dirname(os.path.abspath(binary)), "libthinmesh.a")
		self.rounds = rounds
		self.tools = os.path.join(ROOT, "build", "bench")
		self.work = tempfile.mkdtemp(prefix="tmb-", dir="/tmp")
		os.chmod(self.work, 0o755)
		self.binary = shutil.copy(binary, os.path.join(self.work, "thinmesh"))    # a build beside the run changes nothing
		self.log = open(os.path.join(self.work, "log"), "w")
		cores = sorted(os.sched_getaffinity(0))
		self.load_core, self.proxy_core = cores[0], cores[-1]
		self.children = []
		self.made = 0
		self.port = None
		soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
		resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
		os.makedirs(self.tools, exist_ok=True)

	# ---- tools ----

	def tool(self, name):
		"""Path of a tool, built if it is older than what it is made of."""
		path = os.path.join(self.tools, name)
		sources = [os.path.join(HERE, s) for s in TOOLS[name]]
		if name.startswith("bench_"):
			if not os.path.exists(self.library):
				raise Broken("%s is not there" % self.library)
			sources.append(self.library)
		if os.path.exists(path) and all(os.path.getmtime(path) >= os.path.getmtime(s) for s in sources):
			return path
		argv = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-iquote", ROOT, "-o", path]
		argv += [s for s in sources if not s.endswith(".h")]
		if name.endswith(".so"):
			argv += ["-fPIC", "-shared"]
		elif name.startswith("bench_"):
			there = [p for p in LIBRARIES if subprocess.run(["pkg-config", "--exists", p]).returncode == 0]
			argv += subprocess.run(["pkg-config", "--libs"] + there, capture_output=True, text=True).stdout.split()
		else:
			argv += ["-lnghttp2", "-lm"] + (["-lssl", "-lcrypto"] if name == "backend" else [])
		built = subprocess.run(argv, capture_output=True, text=True)
		if built.returncode:
			raise Broken("cannot build %s: %s" % (name, built.stderr.strip().splitlines()[:3]))
		return path

	# ---- processes ----

	def spawn(self, argv, core=None, **kw):
		kw.setdefault("stdout", self.log)
		kw.setdefault("stderr", self.log)
		child = subprocess.Popen((["taskset", "-c", str(core)] if core is not None else []) + argv, stdin=subprocess.DEVNULL,
			start_new_session=True, **kw)
		self.children.append(child)
		return child

	def end(self, child):
		if child.poll() is None:
			os.killpg(child.pid, signal.SIGTERM)
			try:
				child.wait(5)
			except subprocess.TimeoutExpired:
				os.killpg(child.pid, signal.SIGKILL)
				child.wait()
		if child in self.children:
			self.children.remove(child)

	def free_ports(self, count):
		"""The first of so many loopback ports in a row that nobody has, below the kernel's own range."""
		for base in range(19200 + os.getpid() % 64 * 128, 32000, count + 1):
			held = []
			try:
				for port in range(base, base + count):
					s = socket.socket()
					held.append(s)
					s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
					s.bind(("127.0.0.1", port))
				return base
			except OSError:
				continue
			finally:
				for s in held:
					s.close()
		raise Broken("no free ports")

	def backend(self):
		"""The port of the one backend of this run; it serves PROVIDERS_MAX ports from there on."""
		if self.port is None:
			self.port = self.free_ports(PROVIDERS_MAX)
			self.spawn([self.tool("backend"), str(self.port), str(PROVIDERS_MAX)], self.load_core)
			until(lambda: dials(("127.0.0.1", self.port + PROVIDERS_MAX - 1)), 5, "the backend")
		return self.port

	def proxy(self, kind, providers=1, env=None, start=True):
		self.made += 1
		return Proxy(self, kind, "%s/%d.%s" % (self.work, self.made, kind), providers, env, start)

	def load(self, to, *args):
		"""Our generator; to: a Proxy, or None for the backend itself. Its report; calls that must succeed and do not are the row's end."""
		where = ["-u", to.sock] if to else ["-t", str(self.backend())]
		argv = ["taskset", "-c", str(self.load_core), self.tool("load")] + where + [str(a) for a in args]
		try:
			done = subprocess.run(argv, capture_output=True, text=True, timeout=300)
		except subprocess.TimeoutExpired:
			raise Broken("load did not end")
		if done.returncode:
			raise Broken("load: %s" % done.stderr.strip())
		report = json.loads(done.stdout)
		if report["ok"] + report["cancelled"] != report["calls"]:
			raise Broken("%s: not all calls were answered: %s %s" % (to.kind if to else "backend", done.stdout.strip(), done.stderr.strip()))
		return report

	def h2load(self, to, calls, conns, streams, size):
		"""nghttp2's generator, the independent witness: closed loop. Calls a second."""
		body = os.path.join(self.work, "body-%d" % size)
		if not os.path.exists(body):
			with open(body, "wb") as f:
				f.write(b"\0" + size.to_bytes(4, "big") + b"x" * size)
		argv = ["taskset", "-c", str(self.load_core), "h2load", "-n", str(calls), "-c", str(conns), "-m", str(streams), "-t", "1", "-d", body,
			"-H", "content-type: application/grpc+proto", "-H", "te: trailers", "-H", "tri-consumer-appname: thinmesh-bench-consumer",
			"-H", "grpc-accept-encoding: gzip", "-B", "unix:" + to.sock, "http://%s%s" % (AUTHORITY, PATH)]
		try:
			text = subprocess.run(argv, capture_output=True, text=True, timeout=120).stdout
		except subprocess.TimeoutExpired:
			raise Broken("%s: h2load stalls at %d x %d, %d bytes" % (to.kind, conns, streams, size))
		ok, rate = re.search(r"(\d+) 2xx", text), re.search(r"finished in [^,]+, ([\d.]+) req/s", text)
		if not ok or int(ok.group(1)) != calls:
			raise Broken("%s: h2load: %s of %d calls have 2xx" % (to.kind, ok.group(1) if ok else "none", calls))
		return float(rate.group(1))

	def close(self):
		for child in list(self.children):
			self.end(child)
		self.log.close()
		shutil.rmtree(self.work, ignore_errors=True)


class Proxy:
	def __init__(self, lab, kind, base, providers, env, start):
		self.lab, self.kind, self.sock = lab, kind, base + ".s"
		first = lab.backend()
		ports = range(first, first + providers)
		conf = base + (".yaml" if kind == "ours" else ".conf")
		self.argv = {
			"ours": [lab.binary, "run", "-c", conf],
			"haproxy": ["haproxy", "-db", "-f", conf], "haproxy-tcp": ["haproxy", "-db", "-f", conf],
			"floor": [lab.tool("floor"), self.sock, str(first)],
		}[kind]
		with open(conf, "w") as f:
			f.write(self.configuration(ports))
		self.child = None
		if start:
			self.child = lab.spawn(self.argv, lab.proxy_core, env=dict(os.environ, **(env or {})))
			until(lambda: dials(self.sock), 10, "the socket of %s (its log: %s)" % (kind, lab.log.name))

	def configuration(self, ports):
		if self.kind == "ours":
			return json.dumps({"apps": [{"name": "bench", "listen": [{"unix": self.sock, "mode": "0777"}]}], "control": {"unix": ""},
				"services": [{"name": AUTHORITY, "endpoints": ["127.0.0.1:%d" % p for p in ports]}]}) + "\n"
		h2 = self.kind == "haproxy"
		return HAPROXY.format(mode="http" if h2 else "tcp", sock=self.sock, proto=" proto h2" if h2 else "",
			extra="\thttp-reuse always" if h2 else "",
			servers="\n".join("\tserver s%d 127.0.0.1:%d%s" % (p, p, " proto h2" if h2 else "") for p in ports))

	def __enter__(self):
		return self

	def __exit__(self, *_):
		if self.child:
			self.lab.end(self.child)

	@property
	def pids(self):
		return tree(self.child.pid)

	def cpu_ns(self):
		total = 0
		for path in self.tasks("schedstat"):
			total += int(read(path, "0").split()[0])
		return total

	def pss_kib(self):
		total = 0
		for pid in self.pids:
			m = re.search(r"^Pss:\s+(\d+)", read("/proc/%d/smaps_rollup" % pid, ""), re.M)
			total += int(m.group(1)) if m else 0
		return total

	def sleeps(self):
		"""How often it has gone to sleep by itself: each is a wake-up."""
		total = 0
		for path in self.tasks("status"):
			m = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", read(path, ""), re.M)
			total += int(m.group(1)) if m else 0
		return total

	def tasks(self, name):
		for pid in self.pids:
			try:
				for task in os.listdir("/proc/%d/task" % pid):
					yield "/proc/%d/task/%s/%s" % (pid, task, name)
			except OSError:
				pass


def read(path, otherwise):
	try:
		with open(path) as f:
			return f.read()
	except OSError:
		return otherwise


def tree(root):
	"""A process and what it has started."""
	children = {}
	for name in os.listdir("/proc"):
		if name.isdigit():
			text = read("/proc/%s/stat" % name, "")
			if text:
				children.setdefault(int(text[text.rindex(")") + 2:].split()[1]), []).append(int(name))
	found, todo = [], [root]
	while todo:
		pid = todo.pop()
		found.append(pid)
		todo += children.get(pid, [])
	return found


def dials(at):
	s = socket.socket(socket.AF_UNIX if isinstance(at, str) else socket.AF_INET)
	try:
		s.connect(at)
		return True
	except OSError:
		return False
	finally:
		s.close()


def until(fn, timeout_s, what):
	end = time.monotonic() + timeout_s
	while not fn():
		if time.monotonic() > end:
			raise Broken("waited %d s for %s" % (timeout_s, what))
		time.sleep(0.002)


def median(values):
	return statistics.median(values) if values else None
