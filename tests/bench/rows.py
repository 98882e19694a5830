"""The rows of `make bench`: each is a function that takes a Lab and returns one dict (or several): unit, ours, the peers' figures, ratio, goal.

A comparison is made in rounds: in each round every peer runs once, in turn forwards and backwards, and the ratio is taken within the
round; what is told is the median of the rounds. A figure for which no call may be lost ends its row where one is.
`goal` is what the project wants to reach; nothing here fails because of a time.
"""
import json
import mmap
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time

from lab import AUTHORITY, HERE, Broken, dials, median, until

ROWS = {}


def row(name, default=True):
	def register(fn):
		ROWS[name] = (fn, default)
		return fn
	return register


def rounded(v):
	return None if v is None else round(v, 3 if abs(v) < 10 else 1)


def paired(lab, kinds, measure, rounds=None):
	"""measure(kind) for every kind, round by round; {kind: [figure of each round]}."""
	got = {k: [] for k in kinds}
	for n in range(rounds or lab.rounds):
		for kind in kinds if n % 2 == 0 else reversed(kinds):
			got[kind].append(measure(kind))
	return got


def compared(got, unit, **more):
	out = {"unit": unit, "rounds": len(got["ours"])}
	for kind, values in got.items():
		out[kind] = rounded(median(values))
	out["ratio"] = {k: rounded(median([a / b for a, b in zip(got["ours"], v) if b])) for k, v in got.items() if k != "ours"}
	out.update(more)
	return out


# ---- CPU a call, closed loop ---------------------------------------------------------------------------------------------

PEERS = ["ours", "haproxy", "haproxy-tcp", "floor"]


def cpu_us(lab, proxy, calls, conns, streams, size):
	"""The first calls are ours, which looks at grpc-status and every byte; the measured ones are h2load's."""
	lab.load(proxy, "-n", max(calls // 10, 500), "-c", conns, "-m", streams, "-s", size)
	before = proxy.cpu_ns()
	rate = lab.h2load(proxy, calls, conns, streams, size)
	return (proxy.cpu_ns() - before) / calls / 1000, rate


def closed_loop(lab, calls, conns, streams, size, goal, kinds=PEERS):
	return closed_loop_of(lab, calls, conns, streams, size, goal, {kind: lambda kind=kind: lab.proxy(kind) for kind in kinds})


def closed_loop_of(lab, calls, conns, streams, size, goal, start):
	"""start: of each kind a function that gives its proxy."""
	kinds = list(start)
	rates = {k: [] for k in kinds}

	def measure(kind):
		with start[kind]() as p:
			us, rate = cpu_us(lab, p, calls, conns, streams, size)
			rates[kind].append(rate)
			return us
	got = paired(lab, kinds, measure)
	return compared(got, "us of CPU a call", goal=goal, calls_a_second={k: round(median(v)) for k, v in rates.items()})


@row("cpu_8x32")
def cpu_8x32(lab):
	return closed_loop(lab, 100000, 8, 32, 100, {"haproxy": 0.40, "floor": 1.4})


@row("cpu_256x4")
def cpu_256x4(lab):
	return closed_loop(lab, 100000, 256, 4, 100, {"haproxy": 0.42})


@row("cpu_64k")
def cpu_64k(lab):
	return closed_loop(lab, 5000, 4, 8, 65536, {"haproxy": 0.38})


@row("cpu_1x1")
def cpu_1x1(lab):
	return closed_loop(lab, 20000, 1, 1, 100, {"haproxy-tcp": 1.10})


# ---- system calls a call -------------------------------------------------------------------------------------------------

def traced(lab, proxy, calls):
	"""System calls of the proxy while so many calls go one by one through a connection of their own, by name."""
	table = os.path.join(lab.work, "strace")
	pid = proxy.pids[-1]
	tracer = lab.spawn(["strace", "-f", "-c", "-o", table, "-p", str(pid)])
	until(lambda: tracer.poll() is not None or re.search(r"^TracerPid:\s+[1-9]", open("/proc/%d/status" % pid).read(), re.M), 5, "strace")
	if tracer.poll() is not None:
		raise Broken("strace may not trace here")
	lab.load(proxy, "-n", calls)
	lab.end(tracer)
	counts = {}
	for line in open(table):
		m = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
		if m and m.group(2) != "total":
			counts[m.group(2)] = int(m.group(1))
	return counts


@row("syscalls_1x1")
def syscalls_1x1(lab):
	"""Two runs of different length: what a connection costs at its beginning and end falls out of the difference."""
	out = {"unit": "system calls a call", "goal": {"ours": 6}, "names": {}}
	for kind in ["ours", "haproxy"]:
		with lab.proxy(kind) as p:
			lab.load(p, "-n", 200)
			few, many = traced(lab, p, 300), traced(lab, p, 2300)
		each = {k: (v - few.get(k, 0)) / 2000 for k, v in many.items()}
		out[kind] = rounded(sum(each.values()))
		out["names"][kind] = {k: round(v, 2) for k, v in each.items() if v >= 0.01}
	out["ratio"] = {"haproxy": rounded(out["ours"] / out["haproxy"])}
	return out


# ---- open loop -----------------------------------------------------------------------------------------------------------

OPEN_ROUNDS = 24  # of two seconds each: a p99 is made by a few dozen calls of a round, so the rounds are put together, and enough of them that one bad second of the machine decides nothing


def pooled_us(runs, share):
	"""A percentile over the calls of all runs."""
	counts = {}
	for r in runs:
		for us, n in r["buckets"]:
			counts[us] = counts.get(us, 0) + n
	left = share * sum(counts.values())
	for us in sorted(counts):
		left -= counts[us]
		if left <= 0:
			return us
	raise Broken("no calls")


def open_loop(lab, rate):
	args = ["-r", rate, "-c", 4, "-m", 100, "-b"]
	calls = rate * 2
	runs = {"direct": [], "ours": [], "haproxy": []}
	cpu = {"ours": [], "haproxy": []}
	for n in range(max(lab.rounds, OPEN_ROUNDS)):
		runs["direct"].append(lab.load(None, "-n", calls, *args))
		for kind in ["ours", "haproxy"] if n % 2 == 0 else ["haproxy", "ours"]:
			with lab.proxy(kind) as p:
				lab.load(p, "-n", rate, *args)
				before = p.cpu_ns()
				runs[kind].append(lab.load(p, "-n", calls, *args))
				cpu[kind].append((p.cpu_ns() - before) / calls / 1000)
	at = {kind: {"p50": pooled_us(of, 0.5), "p99": pooled_us(of, 0.99)} for kind, of in runs.items()}
	added = {kind: {p: at[kind][p] - at["direct"][p] for p in ("p50", "p99")} for kind in ("ours", "haproxy")}
	out = compared(cpu, "us of CPU a call", goal={"haproxy": 1})
	out["added_us"] = {kind: {p: rounded(v) for p, v in of.items()} for kind, of in added.items()}
	out["added_ratio"] = {p: rounded(added["ours"][p] / added["haproxy"][p]) if added["haproxy"][p] > 0 else None for p in ("p50", "p99")}
	out["direct_us"] = {p: rounded(v) for p, v in at["direct"].items()}
	return out


@row("open_1000")
def open_1000(lab):
	return open_loop(lab, 1000)


@row("open_5000")
def open_5000(lab):
	return open_loop(lab, 5000)


# ---- many providers ------------------------------------------------------------------------------------------------------

@row("providers_64")
def providers_64(lab):
	def measure(key):
		kind, providers = key.split()
		with lab.proxy(kind, int(providers)) as p:
			return cpu_us(lab, p, 50000, 8, 32, 100)[0]
	got = paired(lab, ["ours 1", "ours 64", "haproxy 1", "haproxy 64"], measure)
	out = {"unit": "us of CPU a call, 8 x 32, 64 providers", "rounds": lab.rounds, "ours": rounded(median(got["ours 64"])),
		"haproxy": rounded(median(got["haproxy 64"])), "goal": {"ours with one": 3}}
	over = lambda a, b: rounded(median([x / y for x, y in zip(got[a], got[b])]))
	out["ratio"] = {"haproxy": over("ours 64", "haproxy 64"), "ours with one": over("ours 64", "ours 1")}
	out["haproxy_ratio"] = over("haproxy 64", "haproxy 1")
	return out


# ---- memory --------------------------------------------------------------------------------------------------------------

class Peak:
	"""Looks at a proxy's PSS while something else runs."""

	def __init__(self, proxy):
		self.proxy, self.kib, self.stop = proxy, 0, threading.Event()
		self.thread = threading.Thread(target=self.run, daemon=True)
		self.thread.start()

	def run(self):
		while not self.stop.wait(0.05):
			self.kib = max(self.kib, self.proxy.pss_kib())

	def end(self):
		self.stop.set()
		self.thread.join()
		return self.kib


@row("memory")
def memory(lab):
	figures = {}
	for kind in ("ours", "haproxy"):
		with lab.proxy(kind) as p:
			time.sleep(0.5)
			idle = p.pss_kib()
			peak = Peak(p)
			lab.h2load(p, 60000, 256, 4, 100)
			after = p.pss_kib()
			most = peak.end()
			time.sleep(5)
			figures[kind] = {"idle": idle, "during": max(most, after), "after": after, "later": p.pss_kib()}
	names = {"idle": ("PSS idle", {"ours": 3000}), "during": ("PSS with 256 x 4 callers", {"ours": 12000}),
		"after": ("PSS when 256 x 4 have just gone", {"ours": 12000}), "later": ("PSS 5 s after they have gone", None)}
	out = []
	for key, (what, goal) in names.items():
		ours, theirs = figures["ours"][key], figures["haproxy"][key]
		out.append({"row": "memory_" + key, "unit": "kB, " + what, "ours": ours, "haproxy": theirs, "ratio": {"haproxy": rounded(ours / theirs)},
			**({"goal": goal} if goal else {})})
	return out


@row("connection")
def connection(lab, count=2000):
	first = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\4\1\0\0\0\0"
	out = {"unit": "bytes an idle connection (PSS, %d of them)" % count, "goal": {"ours": 16384}}
	for kind in ("ours", "haproxy"):
		with lab.proxy(kind) as p:
			lab.load(p, "-n", 100)
			before = p.pss_kib()
			held = []
			for _ in range(count):
				s = socket.socket(socket.AF_UNIX)
				s.connect(p.sock)
				s.sendall(first)
				held.append(s)
			for s in held:
				s.settimeout(5)
				s.recv(4096)
			time.sleep(0.5)
			out[kind] = round((p.pss_kib() - before) * 1024 / count)
			for s in held:
				s.close()
	part = json.loads(subprocess.run([lab.tool("sessions"), str(count)], capture_output=True, text=True, check=True).stdout)
	out["nghttp2_part"] = part["pss_bytes_each"]
	out["ratio"] = {"haproxy": rounded(out["ours"] / out["haproxy"])}
	return out


@row("mallocs")
def mallocs(lab):
	"""Between two moments of one run, when connections and free lists are there; how many calls went by meanwhile, by the run's rate."""
	out = {"unit": "mallocs a call in steady state (8 x 32)", "goal": {"ours": 0}}
	for kind, calls in (("ours", 300000), ("haproxy", 120000)):
		path = os.path.join(lab.work, "mallocs-" + kind)
		with open(path, "wb") as f:
			f.write(b"\0" * 64)
		with open(path, "r+b") as f, mmap.mmap(f.fileno(), 64) as view, \
				lab.proxy(kind, env={"LD_PRELOAD": lab.tool("count_malloc.so"), "COUNT_MALLOC": path}) as p:
			asked = lambda: sum(struct.unpack_from("<3Q", view))
			seen = []
			over = threading.Event()

			def watch():
				while not over.wait(0.1):
					seen.append((time.monotonic(), asked()))
			watcher = threading.Thread(target=watch)
			watcher.start()
			try:
				rate = lab.load(p, "-n", calls, "-c", 8, "-m", 32)["rate"]
			finally:
				over.set()
				watcher.join()
			middle = seen[len(seen) // 3:-2]
			if len(middle) < 3:
				raise Broken("the run was too short")
			(begun, few), (ended, many) = middle[0], middle[-1]
			out[kind] = round((many - few) / ((ended - begun) * rate), 5)
	return out


# ---- start and rest ------------------------------------------------------------------------------------------------------

@row("start")
def start(lab, runs=50):
	out = {"unit": "ms from exec to the socket", "goal": {"ours": 8}}
	for kind in ("ours", "haproxy"):
		times = []
		for _ in range(runs):
			p = lab.proxy(kind, start=False)
			begun = time.monotonic()
			p.child = lab.spawn(p.argv)
			while not dials(p.sock):
				if time.monotonic() - begun > 5:
					raise Broken("%s does not start" % kind)
				time.sleep(0.0002)
			times.append((time.monotonic() - begun) * 1000)
			lab.end(p.child)
		out[kind] = rounded(median(times))
	out["ratio"] = {"haproxy": rounded(out["ours"] / out["haproxy"])}
	return out


@row("wakeups")
def wakeups(lab, seconds=5):
	"""Fresh, and after calls on a connection that stays open, as an SDK's does."""
	out = {"unit": "wake-ups a second, idle", "goal": {"ours": 0}}
	proxies = {k: lab.proxy(k) for k in ("ours", "haproxy")}
	try:
		def rest():
			time.sleep(1)
			before = {k: p.sleeps() for k, p in proxies.items()}
			time.sleep(seconds)
			return {k: rounded((p.sleeps() - before[k]) / seconds) for k, p in proxies.items()}
		out.update(rest())
		held = []
		for p in proxies.values():
			lab.load(p, "-n", 1000, "-m", 8)
			s = socket.socket(socket.AF_UNIX)
			s.connect(p.sock)
			s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\0\4\1\0\0\0\0")
			held.append(s)
		out["after_calls"] = rest()
		for s in held:
			s.close()
	finally:
		for p in proxies.values():
			lab.end(p.child)
	return out


# ---- picks ---------------------------------------------------------------------------------------------------------------

@row("picks")
def picks(lab):
	text = subprocess.run(["taskset", "-c", str(lab.proxy_core), lab.tool("bench_pick")], capture_output=True, text=True, check=True, timeout=120).stdout
	out = []
	for line in text.splitlines():
		p = json.loads(line)
		out.append({"row": "pick_%s_%d_%s" % (p["lb"], p["endpoints"], "equal" if p["weights"] == "equal" else "weighted"), "unit": "ns a pick", "ours": p["ns"]})
	return out


# ---- endpoints ----------------------------------------------------------------------------------------------------------

@row("eds_decode")
def eds_decode(lab):
	"""One assignment of 100,000 endpoints from the wire, in the pieces of a stream. Goals of the decoder alone; the whole push is a row of its own."""
	text = subprocess.run(["taskset", "-c", str(lab.proxy_core), lab.tool("bench_eds")], capture_output=True, text=True, check=True, timeout=120).stdout
	goals = {"new": 15, "one changed": 4}
	out = []
	for line in text.splitlines():
		p = json.loads(line)
		if p["piece"] < p["wire_bytes"]:
			out.append({"row": "eds_decode_" + p["what"].replace(" ", "_"), "unit": "ms", "ours": p["ms"], "wire_bytes": p["wire_bytes"], "held_bytes_each": p["held_bytes_each"],
				**({"goal": {"ours": goals[p["what"]]}} if p["what"] in goals else {})})
	return out


# ---- no call lost --------------------------------------------------------------------------------------------------------

def rolling(lab, *args):
	lab.tool("load")
	done = subprocess.run([sys.executable, os.path.join(HERE, "rolling.py"), *args, lab.binary], capture_output=True, text=True, timeout=600)
	if not done.stdout.strip():
		raise Broken("rolling: %s" % done.stderr.strip()[-400:])
	report = json.loads(done.stdout.splitlines()[-1])
	out = {"unit": "wrong failures", "ours": report["wrong"], "goal": {"ours": 0}, **{k: v for k, v in report.items() if k != "wrong"}}
	if report["wrong"]:
		out["error"] = "; ".join(report["complaints"])
	return out


@row("rolling_short")
def rolling_short(lab):
	return rolling(lab, "--short")


@row("rolling", default=False)
def rolling_whole(lab):
	return rolling(lab)


@row("rolling_kill_short")
def rolling_kill_short(lab):
	return rolling(lab, "--short", "--kill")


@row("rolling_kill", default=False)
def rolling_kill(lab):
	return rolling(lab, "--kill")


def upgraded(lab, count, *args):
	done = subprocess.run([os.path.join(HERE, "upgrades.py"), "--upgrades", str(count), *args, lab.binary], capture_output=True, text=True, timeout=600)
	if not done.stdout.strip():
		raise Broken("upgrades: %s" % done.stderr.strip()[-400:])
	return json.loads(done.stdout.splitlines()[-1])


def upgrades(lab, count):
	report, haproxy = upgraded(lab, count), upgraded(lab, count, "--haproxy")
	out = {"unit": "failed calls", "ours": report["wrong"], "goal": {"ours": 0}, "haproxy": haproxy["wrong"], "haproxy_takes_over_ms": haproxy["takes_over_ms"],
		**{k: v for k, v in report.items() if k != "wrong"}}
	if haproxy["wrong"]:
		out["haproxy_complaints"] = haproxy["complaints"][:3]
	if report["wrong"]:
		out["error"] = "; ".join(report["complaints"])
	return out


@row("upgrades_short", default=False)
def upgrades_short(lab):
	return upgrades(lab, 20)


@row("upgrades")
def upgrades_whole(lab):
	return upgrades(lab, 100)


@row("cancellations")
def cancellations(lab, seconds=60):
	"""A thousand cancellations a second beside a hundred ordinary calls, on four connections."""
	rate = 1111    # each tenth call is an ordinary one
	with lab.proxy("ours") as p:
		r = lab.load(p, "-r", rate, "-n", rate * seconds, "-c", 4, "-m", 200, "-x", 20)
	out = {"unit": "connections closed", "ours": r["closed"], "goal": {"ours": 0}, "cancelled": r["cancelled"],
		"cancelled_a_second": round(r["cancelled"] / r["seconds"]), "ok": r["ok"]}
	if r["closed"]:
		out["error"] = "%d connections were closed" % r["closed"]
	return out
