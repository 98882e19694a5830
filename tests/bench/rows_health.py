"""The rows of `make bench` about the app's life and the providers' health: how soon the mesh knows, what checks cost, and that no call is lost to restarts, hot upgrades and freezes.

No peer runs in most of these; what others were measured to do stands in docs/benchmarks.md. SHORT=1 makes those that repeat something a hundred times, or wait a minute, ten times shorter.

App        an app's own connection: HTTP/1.1, kept open, for posts whose connection must not be measured
Checked    our daemon with so many endpoints that are checked, or not; a Proxy, so that its CPU, memory and wake-ups are read in the same way
"""
import bisect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

from lab import AUTHORITY, PATH, Broken, Proxy, dials, median, until
from rows import rolling, rounded, row
from rows_xds import Caller, MeshProxy, may_be_alone, plane_of    # which makes the tools of the e2e cases known

from h2raw import grpc_message

SHORT = os.environ.get("SHORT", "") not in ("", "0")
MS = 1000000
ENDPOINTS, INTERVAL_S = 1000, 5
HEALTH_INFORMATION = "istio.v1.HealthInformation"


def alone():
	return ["chrt", "-f", "4"] if may_be_alone() else []


# ---- the app says it, and the mesh knows ---------------------------------------------------------------------------------

class App:
	def __init__(self, sock):
		self.s = socket.socket(socket.AF_UNIX)
		self.s.connect(sock)
		self.s.settimeout(10)

	def post(self, what):
		"""When it was sent (ns), for a post that was obeyed."""
		began = time.monotonic_ns()
		self.s.sendall(b"POST /healthcheck/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n" % what.encode())
		got = b""
		while b"\r\n\r\n" not in got:
			piece = self.s.recv(65536)
			if not piece:
				raise Broken("the connection of the posts was closed")
			got += piece
		head, _, body = got.partition(b"\r\n\r\n")
		left = int(re.search(rb"content-length: *(\d+)", head, re.I).group(1)) - len(body)
		while left > 0:
			left -= len(self.s.recv(left))
		if not head.startswith(b"HTTP/1.1 200"):
			raise Broken("a post was refused: %r" % head)
		return began

	def close(self):
		self.s.close()


def told(plane, before, ok):
	"""The HealthInformation that came after so many."""
	def seen():
		life = plane.life()
		return life if life["count"] > before and life["ok"] == ok else None
	until(lambda: seen(), 10, "HealthInformation on the wire")
	return seen()


def mesh_of_an_app(lab):
	"""A control plane and a daemon, whose stream stands once there is something to say. Both run ahead of what else wants the cores, where that is allowed."""
	plane = plane_of(lab)
	if may_be_alone():
		subprocess.run(["chrt", "-f", "-p", "4", str(plane.child.pid)], check=True)
	return plane, MeshProxy(lab, plane, alone=True, app={"health": {"posts": 100000}})


def post_turns(trace):
	"""Of each POST that was read: turns of the loop until HealthInformation was written, by the waits between them."""
	found, waits = [], None
	for line in open(trace):
		if "epoll_wait(" in line or "epoll_pwait" in line:
			waits = None if waits is None else waits + 1
		elif "POST /healthcheck/fail" in line and "recv" in line:
			waits = 0
		elif HEALTH_INFORMATION in line and waits is not None:
			found.append(1 + waits)
			waits = None
	return found


@row("post_to_wire")
def post_to_wire(lab, times=50):
	"""Timed first; then the same under strace, for the turns."""
	plane, d = mesh_of_an_app(lab)
	took = []
	try:
		with d:
			app = App(d.sock)
			app.post("ok")
			life = told(plane, 0, True)
			trace = os.path.join(lab.work, "strace-post")
			for traced in (False, True):
				if traced:
					tracer = lab.spawn(["strace", "-s", "4096", "-o", trace, "-e", "trace=epoll_wait,epoll_pwait,epoll_pwait2,recvfrom,sendto,sendmsg,writev,write", "-p", str(d.pids[-1])])
					until(lambda: tracer.poll() is not None or re.search(r"^TracerPid:\s+[1-9]", open("/proc/%d/status" % d.pids[-1]).read(), re.M), 5, "strace")
					if tracer.poll() is not None:
						raise Broken("strace may not trace here")
				for _ in range(times):
					began = app.post("fail")
					life = told(plane, life["count"], False)
					if not traced:
						took.append((life["at_ns"] - began) / MS)
					app.post("ok")
					life = told(plane, life["count"], True)
			lab.end(tracer)
			app.close()
			turns = post_turns(trace)
			if len(turns) < times:
				raise Broken("strace saw %d of %d posts reach the wire" % (len(turns), times))
	finally:
		plane.finish()
	return {"unit": "turns of the loop from POST /healthcheck/fail until HealthInformation is written", "ours": max(turns), "goal": {"ours": 1}, "posts": len(turns),
		"ms_to_the_control_plane": {"p50": rounded(median(took)), "most": rounded(max(took))}}


POSTER = r"""
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"POST /healthcheck/ok?watch=pid HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
s.recv(65536)
s.close()
time.sleep(60)
"""


@row("kill_to_wire")
def kill_to_wire(lab, times=50):
	"""Who posted has closed its connection: it is its process that is watched."""
	plane, d = mesh_of_an_app(lab)
	took = []
	try:
		with d:
			heard = 0
			for _ in range(times):
				poster = lab.spawn([sys.executable, "-IS", "-c", POSTER, d.sock], lab.load_core)
				heard = told(plane, heard, True)["count"]
				time.sleep(0.01)
				began = time.monotonic_ns()
				os.kill(poster.pid, signal.SIGKILL)
				life = told(plane, heard, False)
				heard = life["count"]
				took.append((life["at_ns"] - began) / MS)
				lab.end(poster)
	finally:
		plane.finish()
	return {"unit": "ms from kill -9 of the app until the control plane has HealthInformation (p50 of %d)" % times, "ours": rounded(median(took)), "goal": {"ours": 5}, "most": rounded(max(took))}


# ---- checks --------------------------------------------------------------------------------------------------------------

class Providers:
	"""A backend of its own with a port for each endpoint, which keeps a journal of the checks that it was asked."""

	def __init__(self, lab, count):
		"""Ahead of what else wants the core, where that is allowed: its journal tells when checks began, not when it was given the core."""
		self.lab, self.path = lab, os.path.join(lab.work, "checks-%d" % lab.made)
		lab.made += 1
		self.first = lab.free_ports(count)
		self.ports = range(self.first, self.first + count)
		self.child = lab.spawn(alone() + [lab.tool("backend"), "-j", self.path, str(self.first), str(count)], lab.load_core)
		until(lambda: dials(("127.0.0.1", self.ports[-1])), 10, "the providers")

	def asked(self):
		"""When, in seconds."""
		with open(self.path) as f:
			return [int(line) / 1e9 for line in f.read().splitlines(True) if line.endswith("\n")]

	def end(self):
		self.lab.end(self.child)


class Checked(MeshProxy):
	def __init__(self, lab, ports, health):
		lab.made += 1
		base = "%s/%d.checked" % (lab.work, lab.made)
		self.lab, self.kind, self.sock, self.control, self.child = lab, "ours", base + ".s", base + ".c", None
		service = dict({"name": AUTHORITY, "endpoints": ["127.0.0.1:%d" % p for p in ports], "lb": "round_robin"}, **({"health": health} if health else {}))
		with open(base + ".yaml", "w") as f:
			json.dump({"apps": [{"name": "bench", "listen": [{"unix": self.sock, "mode": "0777"}]}], "control": {"unix": self.control}, "services": [service]}, f)
		self.argv = alone() + [lab.binary, "run", "-c", base + ".yaml"]
		self.start()

	def call(self, calls=1):
		"""So that there is traffic: until then each endpoint is asked once a minute."""
		report = self.lab.load(self, "-n", calls, "-c", 1, "-m", 16)
		if report["ok"] != calls:
			raise Broken("calls failed: %s" % report)

	def all_are_known(self, times):
		until(lambda: self.metric("health_check_success_total") >= times * ENDPOINTS, 3 * INTERVAL_S * times + 10, "each endpoint to be checked %d times" % times)


def evenness(at, seconds):
	"""The most that began in any tenth of a second, to the mean; at: moments, in order."""
	most = max(bisect.bisect_right(at, t + 0.1) - i for i, t in enumerate(at))
	return most / (len(at) / seconds / 10)


def cost(lab, connected, **more):
	"""Share of a core in percent, evenness, checks a second; a whole number of intervals, so that a core's share is no matter of the moment."""
	seconds = 2 * INTERVAL_S if SHORT else 4 * INTERVAL_S
	providers = Providers(lab, ENDPOINTS)
	try:
		with Checked(lab, providers.ports, dict({"grpc": {}, "interval": "%ds" % INTERVAL_S}, **more)) as d:
			d.call(ENDPOINTS if connected else 1)
			d.all_are_known(3)
			had, before, began = d.metric("health_check_failure_total"), d.cpu_ns(), time.monotonic()
			slept = d.sleeps()
			time.sleep(seconds)
			ended, cpu, slept = time.monotonic(), d.cpu_ns() - before, d.sleeps() - slept
			if d.metric("health_check_failure_total") != had:
				raise Broken("checks have failed")
			at = [t for t in providers.asked() if began <= t < ended]
			if not 0.8 * ENDPOINTS / INTERVAL_S <= len(at) / (ended - began) <= 1.2 * ENDPOINTS / INTERVAL_S:
				raise Broken("%d checks in %d s" % (len(at), seconds))
			return {"percent": cpu / (ended - began) / 1e7, "even": evenness(at, ended - began), "us": cpu / len(at) / 1000, "wakes": slept / seconds}
	finally:
		providers.end()


def least(lab):
	"""us of CPU that a check on a connection of its own takes a program that does nothing else."""
	providers = Providers(lab, ENDPOINTS)
	try:
		argv = ["taskset", "-c", str(lab.proxy_core)] + alone() + [lab.tool("dialer"), str(providers.first), str(ENDPOINTS), str(ENDPOINTS if SHORT else 2 * ENDPOINTS)]
		return json.loads(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=120).stdout)["us_a_check"]
	finally:
		providers.end()


@row("checks_cpu")
def checks_cpu(lab):
	unit = "%% of a core, %d endpoints checked every %d s" % (ENDPOINTS, INTERVAL_S)
	out = []
	for name, what, connected, more in (("checks_cpu", "on the connections of calls", True, {}), ("checks_cpu_own", "a connection of its own for each check", False, {}),
			("checks_cpu_reuse", "on connections that checks keep", False, {"reuse_connection": True})):
		got = [cost(lab, connected, **more)]    # four thousand checks are many enough for one round
		of = lambda key: rounded(median([g[key] for g in got]))
		r = {"row": name, "unit": "%s, %s" % (unit, what), "ours": of("percent"), "goal": {"ours": 1}, "us_a_check": of("us"), "wakeups_a_second": of("wakes"),
			"most_in_100_ms_to_mean": of("even")}
		if name == "checks_cpu_own":
			floor = [least(lab) for _ in got]
			r["floor"] = rounded(median(floor) * ENDPOINTS / INTERVAL_S / 1e4)
			r["ratio"] = {"floor": rounded(median([g["us"] / f for g, f in zip(got, floor)]))}
		out.append(r)
	return out


def held(lab, ports, health, connected):
	"""KiB of PSS of a daemon that has settled."""
	with Checked(lab, ports, health) as d:
		d.call(len(ports) if connected else 1)
		if health:
			d.all_are_known(2)
		time.sleep(1)
		return d.pss_kib(), d.metric("memory_bytes") / 1024


@row("checks_memory")
def checks_memory(lab):
	"""All that a daemon with 1,000 checked endpoints has more than one with a single one: endpoints, checks, what probes leave behind."""
	providers = Providers(lab, ENDPOINTS)
	try:
		health = {"grpc": {}, "interval": "%ds" % INTERVAL_S}
		one = held(lab, providers.ports[:1], None, False)
		checked = held(lab, providers.ports, health, False)
		plain = held(lab, providers.ports, None, False)
		lent, open_ = held(lab, providers.ports, health, True), held(lab, providers.ports, None, True)
	finally:
		providers.end()
	return {"unit": "KiB of PSS that %d checked endpoints cost, to one that is not checked" % ENDPOINTS, "ours": checked[0] - one[0], "goal": {"ours": 4096},
		"bytes_each": rounded((checked[0] - one[0]) * 1024 / ENDPOINTS), "accounts": rounded(checked[1] - one[1]), "of_them_unchecked": plain[0] - one[0],
		"checks_alone_where_all_are_connected": lent[0] - open_[0]}


@row("checks_idle")
def checks_idle(lab, seconds=5):
	"""1,000 endpoints, all connected, and an app that has said that it is ready; nobody is checked."""
	providers = Providers(lab, ENDPOINTS)
	try:
		with Checked(lab, providers.ports, None) as d:
			d.call(ENDPOINTS)
			app = App(d.sock)
			app.post("ok")
			time.sleep(2)
			before = d.sleeps()
			time.sleep(seconds)
			wakes = (d.sleeps() - before) / seconds
			app.close()
	finally:
		providers.end()
	return {"unit": "wake-ups a second, %d endpoints, checks off" % ENDPOINTS, "ours": rounded(wakes), "goal": {"ours": 0}}


# ---- no call lost --------------------------------------------------------------------------------------------------------

@row("rolling_checked")
def rolling_checked(lab):
	"""The row `rolling` with active checks on: a provider says NOT_SERVING when it is told to stop."""
	restarts = 10 if SHORT else 100
	return rolling(lab, "--checks", "--restarts", str(restarts), "--calls", str(3000 * restarts))


class Frozen:
	"""A daemon beside a control plane of its own, with three providers, an app that has called each of them, and three others who will be there after the freeze."""

	def __init__(self, lab, how):
		self.lab, self.how = lab, how
		self.plane = plane_of(lab)
		self.old, self.new = lab.free_ports(3), None
		self.provider = lab.spawn([lab.tool("backend"), str(self.old), "3"], lab.load_core)
		self.stopped = None
		until(lambda: dials(("127.0.0.1", self.old + 2)), 5, "the providers")
		self.plane.service(AUTHORITY, *self.at(self.old))
		self.d = MeshProxy(lab, self.plane)
		self.callers = [Caller(self.d.sock) for _ in range(8)]
		for c in self.callers:
			for _ in range(12):
				c.must(AUTHORITY)

	@staticmethod
	def at(first):
		return ["127.0.0.1:%d" % (first + i) for i in range(3)]

	def freeze(self):
		os.kill(self.d.pids[-1], signal.SIGSTOP)
		self.stopped = self.d.pids[-1]
		until(lambda: "T" in open("/proc/%d/stat" % self.stopped).read().rsplit(")", 1)[1].split()[0], 5, "the daemon to stand still")

	def replace(self):
		self.new = self.lab.free_ports(3)
		new = self.lab.spawn([self.lab.tool("backend"), str(self.new), "3"], self.lab.load_core)
		until(lambda: dials(("127.0.0.1", self.new + 2)), 5, "the new providers")
		if self.how == "silent":    # they are there no more, and nobody says so
			os.kill(self.provider.pid, signal.SIGSTOP)
		else:
			self.lab.end(self.provider)
		if self.how == "cut":
			self.plane.kill()
			self.plane.endpoints(AUTHORITY, *self.at(self.new))
			self.plane.listen()
		else:
			self.plane.endpoints(AUTHORITY, *self.at(self.new))
		return new

	def thaw(self, calls, rate):
		"""Calls on the app's connections in the same moment, and a stream of them on new ones. Failed, all, ms that the slowest of the first ones took."""
		os.kill(self.stopped, signal.SIGCONT)
		self.stopped = None
		load = self.lab.spawn([self.lab.tool("load"), "-u", self.d.sock, "-n", str(calls), "-r", str(rate), "-c", "4", "-m", "100", "-A", AUTHORITY], self.lab.load_core, stdout=subprocess.PIPE, text=True)
		began = time.monotonic_ns()
		asked = [(c.h, c.h.request(AUTHORITY, PATH, grpc_message(b"hello"))) for c in self.callers for _ in range(4)]
		why, slowest = {}, 0
		for h, sid in asked:
			status = h.result(sid, 20).grpc_status
			slowest = max(slowest, (time.monotonic_ns() - began) / MS)
			if status != 0:
				why[str(status)] = why.get(str(status), 0) + 1
		report = json.loads(load.stdout.read())
		load.wait()
		for status, n in report["status"].items():
			why[status] = why.get(status, 0) + n
		lost = report["calls"] - report["ok"] - sum(report["status"].values())
		if lost:
			why["lost"] = lost
		return {"failed": sum(why.values()), "calls": report["calls"] + len(asked), "slowest_ms": rounded(slowest), "p99_ms": rounded(report["p99_us"] / 1000), "why": why}

	def end(self):
		if self.stopped:
			os.kill(self.stopped, signal.SIGCONT)
		if self.provider.poll() is None:
			os.kill(self.provider.pid, signal.SIGCONT)
		for c in self.callers:
			c.close()
		self.lab.end(self.d.child)
		self.lab.end(self.provider)
		self.plane.finish()


@row("thaw")
def thaw(lab, rate=500, calls=2000):
	"""Three daemons that stand still at the same time: their providers end, or fall silent, and the control plane says so on the stream that stands, or on a new one. Thawed one after the other."""
	ways, frozen, found = ("ended", "silent", "cut"), [], {}
	seconds = 6 if SHORT else 60
	try:
		for how in ways:
			frozen.append(Frozen(lab, how))
		for f in frozen:
			f.freeze()
		began = time.monotonic()
		new = [f.replace() for f in frozen]
		time.sleep(max(0, seconds - (time.monotonic() - began)))
		for f in frozen:
			found[f.how] = f.thaw(calls, rate)
			thaws = f.d.metric("thaws_total")
			if thaws < 1:
				raise Broken("the daemon has not noticed that it stood still")
		for child in new:
			lab.end(child)
	finally:
		for f in frozen:
			f.end()
	failed = sum(f["failed"] for f in found.values())
	out = {"unit": "failed calls of %d that began after a freeze of %d s in which all providers were replaced" % (sum(f["calls"] for f in found.values()), seconds), "ours": failed,
		"goal": {"ours": 0}, "slowest_of_the_first_ms": {k: f["slowest_ms"] for k, f in found.items()}, "p99_ms": {k: f["p99_ms"] for k, f in found.items()}}
	if failed:
		out["error"] = "%d calls failed: %s" % (failed, {k: f["why"] for k, f in found.items()})
	return out
