"""The rows of `make bench` about TLS: what a handshake, a call, a connection and a rotation cost, over mTLS with certificates of P-256, TLS 1.3 and AES-128-GCM on every side.

Providers of these rows are backend.c with OpenSSL on the descriptor; HAProxy has the same provider, the same certificates and the same cipher. Certificates are made while it runs (tests/e2e/certs.py).
SHORT=1: fewer rotations, and ten seconds of them instead of a minute.

Mesh       an authority, the certificates of a run, and the providers that show them
TlsProxy   our daemon or HAProxy, over TLS to a provider or plain; a Proxy
"""
import json
import os
import re
import shutil
import signal
import subprocess
import time

from lab import AUTHORITY, HAPROXY, Broken, dials, median, until
from rows import closed_loop_of, compared, paired, rounded, row
from rows_health import SHORT, alone
from rows_xds import Caller, MeshProxy

from certs import Authority, read, spiffe, write

ACCOUNT = spiffe("demo").partition(":")[2]
CIPHER = "TLS_AES_128_GCM_SHA256"


# ---- what they stand on --------------------------------------------------------------------------------------------------

class Mesh:
	def __init__(self, lab):
		self.lab = lab
		lab.made += 1
		self.folder = os.path.join(lab.work, "ca-%d" % lab.made)
		self.ca = Authority(self.folder)
		self.provider, self.app = self.ca.leaf("demo", spiffe("demo")), self.ca.leaf("bench", spiffe("bench"))
		self.children = []

	def providers(self, count=1, *args, tls=True, files=None):
		"""The first of their ports."""
		port = self.lab.free_ports(count)
		files = files or (self.provider.cert, self.provider.key, self.ca.roots)
		self.children.append(self.lab.spawn([self.lab.tool("backend")] + (["-T", ",".join(files)] if tls else []) + list(args) + [str(port), str(count)], self.lab.load_core))
		until(lambda: dials(("127.0.0.1", port + count - 1)), 10, "the providers")
		return port

	def __enter__(self):
		return self

	def __exit__(self, *_):
		for child in self.children:
			self.lab.end(child)


class TlsProxy(MeshProxy):
	def __init__(self, mesh, kind, ports, tls=True, start=True, identity=None, roots=None, **service):
		"""kind: ours or haproxy. identity: instead of the files of the mesh."""
		self.lab = lab = mesh.lab
		lab.made += 1
		base = "%s/%d.tls" % (lab.work, lab.made)
		self.kind, self.sock, self.control, self.child, self.conf = kind, base + ".s", base + ".c", None, base + ".conf"
		app, ca = mesh.app, roots or mesh.ca.roots
		if kind == "haproxy":
			both = "%s/both-%d.pem" % (mesh.folder, app.number)
			write(both, app.pem + app.key_pem, 0o600)
			how = " proto h2" if not tls else " ssl crt %s ca-file %s verify required alpn h2 ciphersuites %s" % (both, ca, CIPHER)
			text = HAPROXY.format(mode="http", sock=self.sock, proto=" proto h2", extra="\thttp-reuse always", servers="\n".join("\tserver s%d 127.0.0.1:%d%s" % (p, p, how) for p in ports))
			self.argv = ["haproxy", "-db", "-f", self.conf]
		else:
			self.declared = {"apps": [{"name": "bench", "listen": [{"unix": self.sock, "mode": "0777"}]}], "control": {"unix": self.control},
				"services": [dict({"name": AUTHORITY, "endpoints": ["127.0.0.1:%d" % p for p in ports]}, **service)]}
			if tls:
				self.declared["apps"][0]["identity"] = identity or {"cert": app.cert, "key": app.key, "roots": ca}
				self.declared["services"][0]["tls"] = {"roots": ca, "identity": "bench", "san": [ACCOUNT]}
			text = json.dumps(self.declared) + "\n"
			self.argv = [lab.binary, "run", "-c", self.conf]
		write(self.conf, text)
		if start:
			self.start()


def connected(p):
	"""A provider's certificate is judged before a row depends on it."""
	c = Caller(p.sock)
	c.must(AUTHORITY)
	return c


# ---- handshakes ----------------------------------------------------------------------------------------------------------

@row("tls_resumption")
def tls_resumption(lab, calls=500):
	"""Providers that close after each call, fifty in turn. What TLS adds to a connection is what the same costs plain, taken away."""
	ways = {"plain": (False, ()), "full": (True, ("-t", "0")), "resumed": (True, ())}
	with Mesh(lab) as m:
		ports = {way: m.providers(50, "-1", *args, tls=tls) for way, (tls, args) in ways.items()}
		shaken = {way: [] for way in ways}

		def measure(way):
			with TlsProxy(m, "ours", range(ports[way], ports[way] + 50), tls=ways[way][0], lb="round_robin") as p:
				lab.load(p, "-n", 150, "-c", 1, "-m", 4)
				before = p.cpu_ns()
				made = [p.metric("tls_handshakes_total"), p.metric("tls_handshakes_resumed_total")]
				lab.load(p, "-n", calls, "-c", 1, "-m", 4)
				shaken[way].append([int(p.metric(name) - had) for name, had in zip(("tls_handshakes_total", "tls_handshakes_resumed_total"), made)])
				return (p.cpu_ns() - before) / calls / 1000
		got = paired(lab, list(ways), measure, max(lab.rounds, 9))
	for way, want in (("full", 0), ("resumed", calls)):
		if any(abs(done - calls) > 5 or abs(resumed - want) > 5 for done, resumed in shaken[way]):
			raise Broken("%s: %s handshakes of %d calls (all, resumed)" % (way, shaken[way], calls))
	full, again = ([tls - plain for tls, plain in zip(got[way], got["plain"])] for way in ("full", "resumed"))
	return {"unit": "us of CPU a resumed handshake", "rounds": len(full), "ours": rounded(median(again)), "full": rounded(median(full)), "goal": {"full": 0.35},
		"ratio": {"full": rounded(median([a / b for a, b in zip(again, full)])), "with the call and its connection": rounded(median([a / b for a, b in zip(got["resumed"], got["full"])]))},
		"ratios": [rounded(a / b) for a, b in zip(again, full)]}


@row("tls_resumption_counted", default=False)
def tls_resumption_counted(lab, few=60, many=300):
	"""The same in instructions of the program and its libraries (valgrind's callgrind): what the kernel does is not in it, and neither is a neighbour of this machine. A long run less a short one."""
	if not shutil.which("valgrind"):
		raise Broken("valgrind is not installed")
	ways = {"plain": (False, ()), "full": (True, ("-t", "0")), "resumed": (True, ())}
	each = {}
	with Mesh(lab) as m:
		for way, (tls, args) in ways.items():
			ran = []
			for calls in (few, many):
				port = m.providers(40, "-1", *args, tls=tls)
				p = TlsProxy(m, "ours", range(port, port + 40), tls=tls, start=False, lb="round_robin")
				counts = "%s/counts-%d" % (lab.work, len(ran))
				p.argv = ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + counts] + p.argv
				p.start()
				with p:
					lab.load(p, "-n", calls, "-c", 1, "-m", 1)
				ran.append(int(re.search(r"^totals: (\d+)", read(counts), re.M)[1]))
			each[way] = (ran[1] - ran[0]) / (many - few)
	shake = {way: n - each["plain"] for way, n in each.items()}
	return {"unit": "instructions a resumed handshake", "ours": round(shake["resumed"]), "full": round(shake["full"]), "goal": {"full": 0.35},
		"ratio": {"full": rounded(shake["resumed"] / shake["full"])}}


# ---- calls ---------------------------------------------------------------------------------------------------------------

def tls_closed_loop(lab, calls, conns, streams, size, goal):
	with Mesh(lab) as m:
		port, plain = m.providers(), m.providers(tls=False)
		start = {"ours": lambda: TlsProxy(m, "ours", [port]), "haproxy": lambda: TlsProxy(m, "haproxy", [port]),
			"ours plain": lambda: TlsProxy(m, "ours", [plain], tls=False), "haproxy plain": lambda: TlsProxy(m, "haproxy", [plain], tls=False)}
		return closed_loop_of(lab, calls, conns, streams, size, goal, start)


@row("tls_cpu_8x32")
def tls_cpu_8x32(lab):
	return tls_closed_loop(lab, 100000, 8, 32, 100, {"haproxy": 0.5, "ours plain": 1.6})


@row("tls_echo_64k")
def tls_echo_64k(lab):
	return tls_closed_loop(lab, 4000, 4, 8, 65536, {"haproxy": 1.1})


# ---- memory --------------------------------------------------------------------------------------------------------------

def each_connection(m, count, tls):
	"""KiB of PSS that a connection to a provider takes, all of them idle; the first one, which brings OpenSSL, is not counted."""
	port = m.providers(count, tls=tls)
	with TlsProxy(m, "ours", range(port, port + count), tls=tls, lb="round_robin") as p:
		c = connected(p)
		p.rested_ns()
		before = p.pss_kib()
		for _ in range(count - 1):
			c.must(AUTHORITY)
		p.rested_ns()
		after = p.pss_kib()
		if tls and p.metric("tls_handshakes_total") < count:
			raise Broken("%d handshakes to %d providers" % (p.metric("tls_handshakes_total"), count))
		c.close()
	return (after - before) / (count - 1)


def maps_openssl(p):
	return any("libssl" in read("/proc/%d/maps" % pid) for pid in p.pids)


def own_kib(p):
	"""Anonymous memory only: what it has of libraries is told less by others that map them, too, and come and go."""
	return sum(int(re.search(r"^Pss_Anon:\s+(\d+)", read("/proc/%d/smaps_rollup" % pid), re.M).group(1)) for pid in p.pids)


def program_kib(p):
	"""Pages of the daemon's own file that it has mapped and not written to."""
	parts = [re.split(r"^[0-9a-f]+-[0-9a-f]+ ", read("/proc/%d/smaps" % pid), flags=re.M) for pid in p.pids]
	kib = lambda part, key: int(re.search(r"^%s:\s+(\d+)" % key, part, re.M).group(1))
	return sum(kib(part, "Rss") - kib(part, "Anonymous") for of in parts for part in of if "/thinmesh\n" in part)


@row("tls_memory_unused")
def tls_memory_unused(lab):
	"""A daemon without TLS in its configuration, before and after calls; beside it one that has used TLS. What it has of its own (anonymous memory, and pages of
	its program, which nobody else maps) tells more than the whole, in which libraries are shared by who else happens to run."""
	got = {}
	with Mesh(lab) as m:
		for way, tls in (("plain", False), ("tls", True)):
			with TlsProxy(m, "ours", [m.providers(tls=tls)], tls=tls) as p:
				time.sleep(0.5)
				idle, own, program = p.pss_kib(), own_kib(p), program_kib(p)
				connected(p).close()
				p.rested_ns()
				got[way] = idle, p.pss_kib(), maps_openssl(p), own, program
	return {"unit": "kB of its own, idle, TLS not used", "ours": got["plain"][3] + got["plain"][4], "goal": {"ours": 1150}, "anonymous": got["plain"][3], "program": got["plain"][4], "pss": got["plain"][0], "after_a_call": got["plain"][1], "openssl_mapped": got["plain"][2],
		"tls_configured": got["tls"][0], "tls_after_a_call": got["tls"][1], **({"error": "OpenSSL is mapped though nothing wants TLS"} if got["plain"][2] else {})}


@row("tls_memory_connection")
def tls_memory_connection(lab, count=500):
	with Mesh(lab) as m:
		with_tls, plain = each_connection(m, count, True), each_connection(m, count, False)
	return {"unit": "KiB of PSS an idle TLS connection to a provider (%d of them)" % count, "ours": rounded(with_tls), "goal": {"ours": 60}, "plain": rounded(plain)}


def swap(folder, number, files):
	"""As kubelet does: one rename, and all files are others."""
	fresh = os.path.join(folder, "..%d" % number)
	os.mkdir(fresh)
	for name, text in files.items():
		write(os.path.join(fresh, name), text, 0o600)
	os.symlink(os.path.basename(fresh), os.path.join(folder, "..new"))
	old = os.path.join(folder, "..data")
	gone = os.path.realpath(old) if os.path.islink(old) else None
	os.rename(os.path.join(folder, "..new"), old)
	for name in files:
		if not os.path.islink(os.path.join(folder, name)):
			os.symlink("..data/" + name, os.path.join(folder, name))
	if gone:
		for name in os.listdir(gone):
			os.unlink(os.path.join(gone, name))
		os.rmdir(gone)


@row("tls_memory_rotations")
def tls_memory_rotations(lab):
	"""Certificate, key and roots are other ones each time, a call between; the memory after a fifth of them, when all free lists have their size, and at the end."""
	rotations = 200 if SHORT else 1000
	with Mesh(lab) as m:
		folder = os.path.join(m.folder, "mounted")
		os.mkdir(folder)
		other = Authority(os.path.join(m.folder, "other"), "other roots")
		leaves = [m.ca.leaf("bench", spiffe("bench")) for _ in range(8)]
		files = [{"cert.pem": l.pem, "key.pem": l.key_pem, "roots.pem": read(m.ca.roots) + (read(other.roots) if i % 2 else "")} for i, l in enumerate(leaves)]
		swap(folder, 0, files[0])
		name = lambda f: os.path.join(folder, f)
		port = m.providers()
		with TlsProxy(m, "ours", [port], identity={"cert": name("cert.pem"), "key": name("key.pem"), "roots": name("roots.pem")}, roots=name("roots.pem")) as p:
			c = connected(p)
			seen, told = {}, lambda: read(lab.log.name).count("certificate 'spiffe:")
			before = told()    # each one taken over is a line of the log
			for n in range(1, rotations + 1):
				swap(folder, n, files[n % len(files)])
				until(lambda: told() >= before + n, 20, "rotation %d" % n)
				c.must(AUTHORITY)
				if n % (rotations // 10) == 0:
					p.rested_ns()
					seen[n] = own_kib(p)
			shaken = p.metric("tls_handshakes_total")
			c.close()
	first = seen[rotations // 5]
	late = [v for n, v in seen.items() if n > rotations // 5]
	return {"unit": "kB of anonymous PSS that rotations %d to %d added" % (rotations // 5, rotations), "ours": median(late[-3:]) - first, "goal": {"ours": 100}, "kib": seen, "handshakes": int(shaken)}


# ---- the first call ------------------------------------------------------------------------------------------------------

@row("tls_first_call")
def tls_first_call(lab, times=20):
	"""From exec until the first call over mTLS has its answer, with a key made at start and a certificate asked of a CA; the CA tells how long it took itself. Who measures, the CA and the daemon run ahead of
	what else wants the cores, where that is allowed."""
	from ca_server import CaProcess
	took = {"ca": [], "files": []}
	spent = []
	with Mesh(lab) as m:
		port, at = m.providers(), lab.free_ports(1)
		token = write(os.path.join(m.folder, "token"), "secret")
		ca = CaProcess(m.folder, "127.0.0.1:%d" % at, m.ca.leaf("istiod", "DNS:istiod"), "secret")
		try:
			if alone():
				for child in [ca.child] + m.children:
					subprocess.run(["chrt", "-a", "-f", "-p", "4", str(child.pid)], check=True)
			asked = {"ca": {"service_account": "bench", "ca": {"server": "127.0.0.1:%d" % at, "roots": m.ca.roots, "server_name": "istiod", "token_file": token}}, "files": None}
			for _ in range(times):
				for way, identity in asked.items():
					p = TlsProxy(m, "ours", [port], start=False, identity=identity)
					p.argv = alone() + p.argv
					before = ca.spent_ms()
					begun = time.monotonic()
					p.child = lab.spawn(p.argv, lab.proxy_core)
					while not dials(p.sock):
						if time.monotonic() - begun > 10:
							raise Broken("the daemon does not start")
						time.sleep(0.0002)
					c = connected(p)
					ms = (time.monotonic() - begun) * 1000
					inside = ca.spent_ms() - before
					if way == "ca":
						spent.append(inside)
						if not inside:
							raise Broken("the CA was not asked")
					took[way].append(ms - inside)
					c.close()
					p.stop()
		finally:
			ca.kill()
	return {"unit": "ms from exec to the answer of the first mTLS call, own CSR, without what the CA took (p50 of %d)" % times, "ours": rounded(median(took["ca"])), "goal": {"ours": 30},
		"most": rounded(max(took["ca"])), "least": rounded(min(took["ca"])), "certificate_from_files": rounded(median(took["files"])), "ca_ms": rounded(median(spent))}


# ---- rotations under load ------------------------------------------------------------------------------------------------

class Turning:
	"""Certificates, roots and accepted names go round, each step one second. Two authorities, two accounts of the provider; who shows something new does so once the other side takes it, as meshes do it.

	step       0        1            2                 3          4 ..
	roots      A        A B          A B               B          (the same with A and B exchanged)
	leaves     A        A            B                 B
	provider   demo     demo         other             other
	names      demo     demo other   demo other        other"""

	def __init__(self, m):
		self.m, self.steps = m, 0
		cas = [m.ca, Authority(os.path.join(m.folder, "b"), "b")]
		self.roots = [read(ca.roots) for ca in cas]
		self.apps = [[ca.leaf("bench", spiffe("bench")) for _ in range(3)] for ca in cas]
		self.providers = [cas[i].leaf("demo", spiffe(("demo", "other")[i])) for i in (0, 1)]
		self.names = [spiffe(a).partition(":")[2] for a in ("demo", "other")]
		self.ours, self.theirs = os.path.join(m.folder, "ours"), os.path.join(m.folder, "theirs")
		for folder in (self.ours, self.theirs):
			os.mkdir(folder)
		self.backend = self.proxy = None

	def files(self, folder):
		return [os.path.join(folder, f) for f in ("cert.pem", "key.pem", "roots.pem")]

	def put(self):
		"""What belongs to the step. The provider's side first: its own file is read at once, and what it shows was accepted a second ago."""
		at = self.steps % 4
		one = self.steps // 4 % 2
		two = 1 - one
		roots = [self.roots[one]] if at == 0 else [self.roots[two]] if at == 3 else self.roots
		who = one if at < 2 else two
		names = [self.names[one]] if at == 0 else [self.names[two]] if at == 3 else self.names
		app = self.apps[who][self.steps % 3]
		theirs = self.providers[who]
		both = "".join(self.roots)     # a caller's certificate was signed by either, as long as connections stand
		swap(self.theirs, self.steps, {"cert.pem": theirs.pem, "key.pem": theirs.key_pem, "roots.pem": both})
		if self.backend:
			self.backend.send_signal(signal.SIGHUP)
		swap(self.ours, self.steps, {"cert.pem": app.pem, "key.pem": app.key_pem, "roots.pem": "".join(roots)})
		if self.proxy:
			self.proxy.declared["services"][0]["tls"]["san"] = names
			write(self.proxy.conf, json.dumps(self.proxy.declared))
			os.kill(self.proxy.pids[-1], signal.SIGHUP)
		self.steps += 1


@row("tls_rotation")
def tls_rotation(lab, rate=2000):
	seconds = 10 if SHORT else 60
	with Mesh(lab) as m:
		t = Turning(m)
		t.put()
		port = m.providers(4, files=t.files(t.theirs))
		cert, key, roots = t.files(t.ours)
		with TlsProxy(m, "ours", range(port, port + 4), identity={"cert": cert, "key": key, "roots": roots}, roots=roots) as p:
			c = connected(p)
			t.backend, t.proxy = m.children[-1], p
			load = lab.spawn([lab.tool("load"), "-u", p.sock, "-n", str(rate * seconds), "-r", str(rate), "-c", "4", "-m", "100", "-A", AUTHORITY], lab.load_core, stdout=subprocess.PIPE, text=True)
			due = time.monotonic()
			while load.poll() is None:
				due += 1
				time.sleep(max(0, due - time.monotonic()))
				t.put()
			report = json.loads(load.stdout.read())
			shaken, failures = p.metric("tls_handshakes_total"), p.metric("tls_handshake_failures_total")
			c.close()
	failed = report["calls"] - report["ok"]
	out = {"unit": "failed calls of %d while certificates, roots and names change once a second" % report["calls"], "ours": failed, "goal": {"ours": 0}, "rotations": t.steps, "handshakes": int(shaken),
		"failed_handshakes": int(failures), "p99_us": rounded(report["p99_us"]), "max_us": rounded(report["max_us"])}
	if failed:
		out["error"] = "%d calls failed: %s" % (failed, report["status"])
	return out
