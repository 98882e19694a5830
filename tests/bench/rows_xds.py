"""The rows of `make bench` about names from a mesh: the daemon beside a control plane of ours (tests/plane) on loopback.

No peer runs here: what is compared with Envoy was measured elsewhere, and stands in the goals (docs/benchmarks.md). The control plane and the generator share
the first core, the daemon has the last one to itself.

MeshProxy   our daemon that asks a Plane; a Proxy, so that its CPU, memory and wake-ups are read in the same way
"""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

from lab import AUTHORITY, HERE, PATH, Broken, Proxy, dials, median, until
from rows import rounded, row

sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

ENDPOINTS = 100000
CLUSTER = "outbound|50051||big.default.svc.cluster.local"
BIG = "big.default.svc.cluster.local:50051"


def may_be_alone():
	return subprocess.run(["chrt", "-f", "5", "true"], capture_output=True).returncode == 0


class MeshProxy(Proxy):
	def __init__(self, lab, plane, start=True, snapshot="", alone=False, app=None, **xds):
		"""app: more of what is configured of it. alone: nobody takes the core from it (SCHED_FIFO, where that is allowed), for what is told by the clock is not all its own doing otherwise."""
		lab.made += 1
		base = "%s/%d.mesh" % (lab.work, lab.made)
		self.lab, self.kind, self.sock, self.control = lab, "ours", base + ".s", base + ".c"
		with open(base + ".yaml", "w") as f:
			json.dump({"apps": [dict({"name": "bench", "listen": [{"unix": self.sock, "mode": "0777"}]}, **(app or {}))], "control": {"unix": self.control},
				"snapshot": {"dir": snapshot}, "xds": dict({"server": plane.at, "removal_hold": "0s"}, **xds)}, f)
		self.argv = (["chrt", "-f", "5"] if alone and may_be_alone() else []) + [lab.binary, "run", "-c", base + ".yaml"]
		self.child = None
		if start:
			self.start()

	def start(self):
		self.child = self.lab.spawn(self.argv, self.lab.proxy_core)
		until(lambda: dials(self.sock), 10, "the socket of the daemon (its log: %s)" % self.lab.log.name)

	def stop(self):
		self.lab.end(self.child)

	def page(self, path):
		import http.client
		c = http.client.HTTPConnection("localhost", timeout=10)
		c.sock = socket.socket(socket.AF_UNIX)
		c.sock.connect(self.control)
		try:
			c.request("GET", path)
			return c.getresponse().read().decode()
		finally:
			c.close()

	def metric(self, name, **labels):
		"""The value of a row of /stats, all with these labels summed."""
		total, found = 0, False
		for line in self.page("/stats").splitlines():
			m = re.match(r"thinmesh_(\w+?)(?:\{(.*)\})? ([-+\d.eE]+)$", line)
			if m and m.group(1) == name and all('%s="%s"' % kv in (m.group(2) or "") for kv in labels.items()):
				total, found = total + float(m.group(3)), True
		if not found:
			raise Broken("no metric %s in /stats" % name)
		return total

	def rested_ns(self, least_s=0.3):
		"""Its CPU time, once it has stood still for so long."""
		seen, since = self.cpu_ns(), time.monotonic()
		end = since + 20
		while time.monotonic() - since < least_s:
			time.sleep(0.05)
			now = self.cpu_ns()
			if now != seen:
				seen, since = now, time.monotonic()
			if time.monotonic() > end:
				raise Broken("the daemon does not come to rest")
		return seen


def plane_of(lab, *args, gentle=False):
	"""gentle: what it takes to write a large answer is not taken from the generator, which shares its core."""
	from plane import Plane
	binary = os.path.join(os.path.dirname(lab.library), "thinmesh")
	return Plane(binary, "127.0.0.1:%d" % lab.free_ports(1), *args, wrapper=(["nice", "-n", "19"] if gentle else []) + ["taskset", "-c", str(lab.load_core)])


def provider(lab, n=0):
	return "127.0.0.1:%d" % (lab.backend() + n)


class Caller:
	"""A connection that is there already, for calls whose own beginning must not be measured."""

	def __init__(self, sock):
		from h2raw import H2
		s = socket.socket(socket.AF_UNIX)
		s.connect(sock)
		self.h = H2(s)

	def call(self, authority, timeout_s=20):
		"""Milliseconds it took, and its status."""
		begun = time.monotonic_ns()
		s = self.h.call(authority, PATH, timeout_s=timeout_s)
		return (time.monotonic_ns() - begun) / 1e6, s.grpc_status

	def must(self, authority):
		ms, status = self.call(authority)
		if status != 0:
			raise Broken("a call to %s ended with %s" % (authority, status))
		return ms

	def close(self):
		self.h.sock.close()


# ---- on demand -----------------------------------------------------------------------------------------------------------

@row("xds_first_call")
def xds_first_call(lab, delay_ms=50, names=8):
	"""The control plane holds each answer back for so long; what a first call waits for more than a second one is told in such delays."""
	plane = plane_of(lab)
	try:
		plane.bulk(names + 2, 50051, provider(lab))
		split = ["outbound|50051|v2|svc-%05d.bulk.svc.cluster.local" % i for i in range(names)]
		with MeshProxy(lab, plane) as d:
			c = Caller(d.sock)
			plane.quirk(slow_ms=delay_ms)
			added, routed = [], []
			name = lambda i: "svc-%05d.bulk.svc.cluster.local:50051" % i
			cold = c.must(name(0))
			usual = median([c.must(name(0)) for _ in range(20)])
			for i in range(1, names // 2 + 1):
				added.append((c.must(name(i)) - usual) / delay_ms)
			for i in range(names // 2 + 1, names):
				plane.cluster(split[i], provider(lab, 1))
				plane.route(name(i), split[i] + "=1")
			d.rested_ns()
			for i in range(names // 2 + 1, names):
				routed.append((c.must(name(i)) - usual) / delay_ms)
			c.close()
	finally:
		plane.finish()
	return {"unit": "answers of the control plane (of %d ms) that a first call waits for" % delay_ms, "ours": rounded(median(added)), "goal": {"ours": 1.9},
		"routed_elsewhere": rounded(median(routed)), "first_of_all": rounded((cold - usual) / delay_ms), "usual_ms": rounded(usual)}


@row("xds_snapshot_start")
def xds_snapshot_start(lab, runs=15):
	"""From exec to the first answered call, the control plane being down: who dials is trying all the time."""
	from h2raw import H2
	folder = os.path.join(lab.work, "snapshot")
	os.mkdir(folder)
	plane, times, state = plane_of(lab), [], ""
	try:
		plane.bulk(50, 50051, provider(lab))
		plane.service(AUTHORITY, provider(lab))
		d = MeshProxy(lab, plane, snapshot=folder)
		c = Caller(d.sock)
		for i in range(50):
			c.must("svc-%05d.bulk.svc.cluster.local:50051" % i)
		c.must(AUTHORITY)
		c.close()
		d.stop()
		plane.kill()
		kept = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
		for _ in range(runs):
			begun = time.monotonic_ns()
			d.child = lab.spawn(d.argv, lab.proxy_core)
			while not dials(d.sock):
				if time.monotonic_ns() - begun > 5e9:
					raise Broken("the daemon does not start")
				time.sleep(0.0002)
			s = socket.socket(socket.AF_UNIX)
			s.connect(d.sock)
			h = H2(s)
			st = h.call(AUTHORITY, PATH)
			times.append((time.monotonic_ns() - begun) / 1e6)
			s.close()
			if st.grpc_status != 0:
				raise Broken("a call from the snapshot ended with %s %s" % (st.grpc_status, st.grpc_message))
			d.stop()
	finally:
		plane.finish()
	return {"unit": "ms from exec to the first answered call, control plane down", "ours": rounded(median(times)), "goal": {"ours": 20}, "least": rounded(min(times)), "most": rounded(max(times)),
		"snapshot_bytes": kept}


# ---- many endpoints ------------------------------------------------------------------------------------------------------

def push(d, plane, *what):
	"""One big push while nothing else happens: CPU of the daemon in ms until it rests."""
	acks, before = plane.stats()["acks"], d.rested_ns()
	size = plane.big(CLUSTER, *what)
	until(lambda: plane.stats()["acks"] > acks, 20, "the acknowledgement")
	return (d.rested_ns() - before) / 1e6, size


@row("xds_push")
def xds_push(lab):
	"""One assignment of 100,000 endpoints: alone, then again with one changed, then under calls."""
	out, cpu, again, held, pss, longest, plain = [], [], [], [], [], [], []
	folder = os.path.join(lab.work, "snapshot-push")
	for n in range(lab.rounds):
		for keep in (True, False):
			shutil.rmtree(folder, ignore_errors=True)
			os.mkdir(folder)
			plane = plane_of(lab)
			try:
				plane.service(BIG, provider(lab))
				plane.service(AUTHORITY, provider(lab))
				with MeshProxy(lab, plane, snapshot=folder if keep else "", alone=True) as d:
					c = Caller(d.sock)
					c.must(BIG)
					c.must(AUTHORITY)
					d.rested_ns()
					turn = d.metric("loop_turn_longest_nanoseconds")
					before, before_kib = d.metric("memory_bytes"), d.pss_kib()
					ms, size = push(d, plane, ENDPOINTS)
					after, after_kib = d.metric("memory_bytes"), d.pss_kib()
					hosts = d.metric("cluster_hosts", service=CLUSTER)
					if hosts != ENDPOINTS:
						raise Broken("the daemon has %d endpoints" % hosts)
					(cpu if keep else plain).append(ms)
					one = push(d, plane, ENDPOINTS, ENDPOINTS // 2)[0]
					if keep:
						again.append(one)
						held.append((after - before) / ENDPOINTS)
						pss.append((after_kib - before_kib) * 1024 / ENDPOINTS)
					now = d.metric("loop_turn_longest_nanoseconds")
					longest.append(now / 1000 if now > turn else 0)
					c.close()
			finally:
				plane.finish()
	wire = {"wire_bytes": size, "wire_bytes_each": rounded(size / ENDPOINTS)}
	return [
		{"row": "xds_push_cpu", "unit": "ms of CPU in all, one push of %d endpoints" % ENDPOINTS, "ours": rounded(median(cpu)), "goal": {"ours": 40},
			"without_snapshot": rounded(median(plain)), "envoy_published": 327, **wire},
		{"row": "xds_push_one_changed", "unit": "ms of CPU in all, the same again with one endpoint changed", "ours": rounded(median(again)), "goal": {"ours": 10}},
		{"row": "xds_push_turn", "unit": "us, longest turn of the loop in these pushes (median of the daemons)", "ours": rounded(median(longest)), "goal": {"ours": 1000}, "most": rounded(max(longest)), "daemons": len(longest)},
		{"row": "xds_push_held", "unit": "bytes an endpoint held (accounts)", "ours": rounded(median(held)), "goal": {"ours": 96}, "pss": rounded(median(pss)), "envoy_published": 1283},
	]


@row("xds_push_calls")
def xds_push_calls(lab, rate=5000, seconds=3):
	"""p99 of calls to another name while such pushes come, one a second, against the same without."""
	ratios, quiet, busy, most = [], [], [], []
	plane = plane_of(lab, gentle=True)
	try:
		plane.service(BIG, provider(lab))
		plane.service(AUTHORITY, provider(lab))
		with MeshProxy(lab, plane) as d:
			c = Caller(d.sock)
			c.must(BIG)
			args = ["-r", rate, "-c", 4, "-m", 100, "-A", AUTHORITY]
			lab.load(d, "-n", rate, *args)
			for n in range(lab.rounds):
				base = lab.load(d, "-n", rate * seconds, *args)
				# The first one is new to it as a whole; each later one has one endpoint changed, the last one takes them away.
				load = lab.spawn([lab.tool("load"), "-u", d.sock, "-n", str(rate * seconds)] + [str(a) for a in args], lab.load_core, stdout=subprocess.PIPE, text=True)
				for i in range(seconds):
					time.sleep(0.4 if i == 0 else 0.7)
					plane.big(CLUSTER, ENDPOINTS, n * seconds + i + 1)
				report = json.loads(load.stdout.read())
				load.wait()
				if report["ok"] != report["calls"]:
					raise Broken("calls failed during a push: %s" % report)
				plane.endpoints(BIG, provider(lab))
				d.rested_ns()
				ratios.append(report["p99_us"] / base["p99_us"])
				quiet.append(base["p99_us"])
				busy.append(report["p99_us"])
				most.append(report["max_us"])
			c.close()
	finally:
		plane.finish()
	return {"unit": "p99 of calls at %d a second, with pushes of %d endpoints to without" % (rate, ENDPOINTS), "ours": rounded(median(ratios)), "goal": {"ours": 2},
		"p99_us": {"without": rounded(median(quiet)), "with": rounded(median(busy))}, "max_us": rounded(max(most)), "pushes": seconds}


# ---- many services -------------------------------------------------------------------------------------------------------

def held_with(lab, services, used=5, snapshot=""):
	plane = plane_of(lab)
	try:
		plane.bulk(services, 50051, provider(lab))
		with MeshProxy(lab, plane, snapshot=snapshot) as d:
			c = Caller(d.sock)
			for i in range(used):
				c.must("svc-%05d.bulk.svc.cluster.local:50051" % i)
			d.rested_ns()
			time.sleep(1.2)    # endpoints are written to the archive a second later
			d.rested_ns()
			found = d.metric("memory_bytes"), d.pss_kib() * 1024, d.metric("xds_update_bytes_total", type="CDS")
			c.close()
			return found
	finally:
		plane.finish()


@row("xds_cds_2000")
def xds_cds_2000(lab):
	folder = os.path.join(lab.work, "snapshot-cds")
	os.mkdir(folder)
	few, many = held_with(lab, 5, snapshot=folder), None
	shutil.rmtree(folder)
	os.mkdir(folder)
	many = held_with(lab, 2000, snapshot=folder)
	few_packed, packed = held_with(lab, 5), held_with(lab, 2000)
	return {"unit": "KiB of PSS that 2,000 services in scope cost, 5 used", "ours": rounded((many[1] - few[1]) / 1024), "goal": {"ours": 1024},
		"accounts": rounded((many[0] - few[0]) / 1024), "without_snapshot": rounded((packed[1] - few_packed[1]) / 1024),
		"without_snapshot_accounts": rounded((packed[0] - few_packed[0]) / 1024), "cds_wire_bytes": many[2]}


@row("xds_idle_50")
def xds_idle_50(lab, seconds=5):
	folder = os.path.join(lab.work, "snapshot-idle")
	os.mkdir(folder)
	plane = plane_of(lab)
	try:
		plane.bulk(50, 50051, *[provider(lab, i) for i in range(8)])
		with MeshProxy(lab, plane, snapshot=folder) as d:
			c = Caller(d.sock)
			for i in range(50):
				c.must("svc-%05d.bulk.svc.cluster.local:50051" % i)
			time.sleep(3)
			d.rested_ns(1)
			pss = d.pss_kib()
			before = d.sleeps()
			time.sleep(seconds)
			wakes = (d.sleeps() - before) / seconds
			c.close()
	finally:
		plane.finish()
	return [
		{"row": "xds_idle_50_pss", "unit": "kB of PSS, idle, 50 names used", "ours": pss, "goal": {"ours": 6000}},
		{"row": "xds_idle_50_wakeups", "unit": "wake-ups a second, idle, 50 names used", "ours": rounded(wakes), "goal": {"ours": 0.1}},
	]


# ---- changes -------------------------------------------------------------------------------------------------------------

def turns_of(trace):
	"""Of each message that was read: turns until the answer on its connection went out, by the waits between them."""
	found, reading, waits = [], None, 0
	for line in open(trace):
		m = re.match(r"(?:\d+\s+)?(\w+)\((\d+),", line)
		if not m:
			continue
		if m.group(1) == "epoll_wait":
			waits += 1
		elif m.group(1) == "recvfrom":
			reading, waits = m.group(2), 0
		elif m.group(1) in ("sendto", "sendmsg", "writev") and m.group(2) == reading:
			found.append(1 + waits)
			reading = None
	return found


@row("xds_change")
def xds_change(lab, times=50):
	"""Turns of the loop from reading a change of endpoints to its acknowledgement, by which every call goes to the new ones (system calls, not timed)."""
	plane = plane_of(lab)
	try:
		plane.service(AUTHORITY, provider(lab))
		with MeshProxy(lab, plane) as d:
			c = Caller(d.sock)
			c.must(AUTHORITY)
			table = os.path.join(lab.work, "strace-change")
			tracer = lab.spawn(["strace", "-o", table, "-e", "trace=epoll_wait,recvfrom,sendto,sendmsg,writev", "-p", str(d.pids[-1])])
			until(lambda: tracer.poll() is not None or re.search(r"^TracerPid:\s+[1-9]", open("/proc/%d/status" % d.pids[-1]).read(), re.M), 5, "strace")
			for i in range(times):
				acks = plane.stats()["acks"]
				plane.endpoints(AUTHORITY, provider(lab, 1 + i % 7), provider(lab, 8 + i % 5))
				until(lambda: plane.stats()["acks"] > acks, 5, "the acknowledgement")
			lab.end(tracer)
			turns = turns_of(table)
			if len(turns) < times:
				raise Broken("strace saw %d of %d changes" % (len(turns), times))
			c.close()
	finally:
		plane.finish()
	return {"unit": "turns from a change on the wire until calls go by it", "ours": rounded(median(turns)), "goal": {"ours": 1}, "most": max(turns)}


@row("xds_1000_pushes")
def xds_1000_pushes(lab, rate=2000, pushes=1000):
	"""Endpoints come, go and change their weights while calls are made; each is alive as long as it is told."""
	plane = plane_of(lab)
	seconds, changes = 12, pushes * 6 // 5    # some change nothing
	try:
		plane.service(AUTHORITY, provider(lab))
		with MeshProxy(lab, plane) as d:
			c = Caller(d.sock)
			c.must(AUTHORITY)
			load = lab.spawn([lab.tool("load"), "-u", d.sock, "-n", str(rate * seconds), "-r", str(rate), "-c", "4", "-m", "100", "-A", AUTHORITY], lab.load_core,
				stdout=subprocess.PIPE, text=True)
			begun = time.monotonic()
			for i in range(changes):
				left = begun + i * (seconds - 0.5) / changes - time.monotonic()
				if left > 0:
					time.sleep(left)
				some = ["%s*%d" % (provider(lab, (i + k * 5) % 16), 1 + (i * 7 + k) % 9) for k in range(1 + i % 5)]
				if i % 10 == 0:
					plane.service(AUTHORITY, *some)
				elif i % 10 == 5:
					plane.tell("service", "noise-%d.default.svc.cluster.local" % (i % 50), 50051, provider(lab, i % 16))
				else:
					plane.endpoints(AUTHORITY, *some)
			report = json.loads(load.stdout.read())
			load.wait()
			stats = plane.stats()
			c.close()
	finally:
		plane.finish()
	failed = report["calls"] - report["ok"]
	out = {"unit": "failed calls of %d during %d pushes" % (report["calls"], stats["pushes"]), "ours": failed, "goal": {"ours": 0}, "acks": stats["acks"], "nacks": stats["nacks"],
		"p99_us": rounded(report["p99_us"]), "max_us": rounded(report["max_us"])}
	if failed or stats["nacks"]:
		out["error"] = "%d calls failed, %d answers were refused: %s" % (failed, stats["nacks"], report["status"])
	return out


def misbehave(lab, plane, rnd, quirks, name):
	"""One thing that happens to a control plane, or that it does; what it says of the service is always alive."""
	host = name.rsplit(":", 1)[0]
	what = rnd.choice(["endpoints"] * 5 + ["service", "service", "route", "route", "kill", "cut", "goaway", "end", "quirk", "clear", "clear", "noise"])
	some = ["%s*%d" % (provider(lab, rnd.randrange(16)), rnd.randint(1, 9)) for _ in range(rnd.randint(1, 4))]
	if what == "endpoints":
		plane.endpoints(name, *some)
	elif what == "service":
		plane.service(name, *some)
	elif what == "route":
		subset = "outbound|50051|v%d|%s" % (rnd.randint(1, 3), host)
		plane.cluster(subset, *some)
		plane.route(name, "%s=%d" % (subset, rnd.randint(1, 9)), "outbound|50051||%s=5" % host)
	elif what == "kill":
		plane.kill()
		plane.listen()
	elif what in ("cut", "goaway"):
		plane.tell(what)
	elif what == "end":
		plane.end_streams(rnd.choice([0, 8, 13, 14]), "as it pleases")
	elif what == "quirk":
		quirk = rnd.choice(["mute", "twice", "wrap", "no_nonce", "no_partial", "no_churn", "no_stale_check", "no_force_eds", "slow_ms"])
		plane.quirk(**{quirk: 50 if quirk == "slow_ms" else 1})
		quirks.add(quirk)
	elif what == "clear":
		if quirks:
			plane.quirk(**{q: 0 for q in quirks})
			quirks.clear()
	else:
		plane.service("noise-%d.default.svc.cluster.local:50051" % rnd.randrange(20), provider(lab, rnd.randrange(16)))


@row("xds_flapping")
def xds_flapping(lab, rate=2000, seconds=10):
	"""Connections to the control plane break, it is silent, slow, odd, and changes what it says, some twenty times a second, from a fixed seed."""
	import random
	failed, calls, streams, nacks, status = 0, 0, 0, 0, {}
	for seed, protocol in ((1, "delta"), (2, "sotw")):
		rnd, quirks, plane = random.Random(seed), set(), plane_of(lab)
		try:
			plane.service(AUTHORITY, provider(lab))
			with MeshProxy(lab, plane, protocol=protocol) as d:
				c = Caller(d.sock)
				c.must(AUTHORITY)
				load = lab.spawn([lab.tool("load"), "-u", d.sock, "-n", str(rate * seconds), "-r", str(rate), "-c", "4", "-m", "100", "-A", AUTHORITY], lab.load_core,
					stdout=subprocess.PIPE, text=True)
				while load.poll() is None:
					misbehave(lab, plane, rnd, quirks, AUTHORITY)
					time.sleep(rnd.random() * 0.1)
				report = json.loads(load.stdout.read())
				c.close()
			stats = plane.stats()
		finally:
			plane.finish()
		failed, calls = failed + report["calls"] - report["ok"], calls + report["calls"]
		streams, nacks = streams + stats["streams"], nacks + stats["nacks"]
		status.update(report["status"])
	out = {"unit": "failed calls of %d beside a control plane that flaps" % calls, "ours": failed, "goal": {"ours": 0}, "streams": streams, "nacks": nacks}
	if failed:
		out["error"] = "%d calls failed: %s" % (failed, status)
	return out
