"""What every end-to-end case needs: a daemon of its own, sockets, callers, and a teardown that looks closely.

case     decorator: registers a function as a case; its name, underscores read as spaces, is the sentence it proves.
T        the world of one running case: its folder, what must be ended after it. Every helper hangs on it.
Daemon   one `thinmesh run`. Ending it checks exit code, sanitizer lines and unexpected error lines.

A case waits for what it wants to see (until) and never sleeps for a guessed time. How long it waits at most says nothing about how fast anything has to be: it is
what tells a case that hangs from one on a machine that others use, too, and costs nothing where the case is right.
"""
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PYTHON = "/usr/bin/python3"
DEMO = "demo.default.svc.cluster.local:50051"
GREETER = "/org.apache.dubbo.demo.GreeterService/sayHello"
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer|runtime error:|== *ERROR:|"
	r"\*\*\* (buffer overflow|stack smashing)|: Assertion|panic:|mem: out of memory")
# A log line is "TIME LEVEL message", or without its time where a clock is not set.
ERROR_LINE = re.compile(r"^(?:\S+\s+)?error[ :]")


class Failed(AssertionError):
	pass


class Skipped(Exception):
	"""What the case needs is not on this machine: told, and counted as neither passed nor failed."""


def check(ok, *what):
	if not ok:
		raise Failed(" ".join(str(w) for w in what) or "not so")


def same(got, wanted, what=""):
	if got != wanted:
		raise Failed("%s: got %s, wanted %s" % (what or "different", short(got), short(wanted)))


def short(value, limit=600):
	s = repr(value)
	return s if len(s) <= limit else s[:limit] + "... (%d)" % len(s)


def until(fn, timeout_s=5.0, what=""):
	"""Polls fn until it is true and returns its value."""
	end = time.monotonic() + timeout_s * PATIENCE
	while True:
		value = fn()
		if value:
			return value
		if time.monotonic() > end:
			raise Failed("waited %.1f s for %s; last: %s" % (timeout_s * PATIENCE, what or getattr(fn, "__name__", "it"), short(value)))
		time.sleep(0.005)


# The waits of cases are written for an idle machine. A busy one may stand still for seconds, a sanitized daemon is several times slower: only waits that must end anyway are stretched.
PATIENCE = float(os.environ.get("E2E_PATIENCE", "6"))
SANITIZED = bool(os.environ.get("E2E_SANITIZED"))

# ---- cases ---------------------------------------------------------------------------------------------------------------

CASES = []


class Case:
	def __init__(self, theme, name, fn):
		self.theme, self.name, self.fn = theme, name, fn

	@property
	def full(self):
		return "%s: %s" % (self.theme, self.name)


def case(fn):
	theme = os.path.basename(fn.__code__.co_filename)[len("test_"):-len(".py")]
	CASES.append(Case(theme, fn.__name__.replace("_", " ").strip(), fn))
	return fn


def cases(name, rows):
	"""One case a row: name is a format that takes the row's first item; fn(t, *row)."""
	def register(fn):
		theme = os.path.basename(fn.__code__.co_filename)[len("test_"):-len(".py")]
		for row in rows:
			row = row if isinstance(row, tuple) else (row,)
			CASES.append(Case(theme, name % row[0], lambda t, row=row: fn(t, *row)))
		return fn
	return register


# ---- one case's world ----------------------------------------------------------------------------------------------------

class T:
	def __init__(self, binary, worker=0):
		self.binary = os.path.abspath(binary)
		self.worker = worker
		# Short, because of the 107 bytes of a socket's path; searchable by other users, because `allow:` is tested with them.
		self.dir = tempfile.mkdtemp(prefix="tm%d-" % worker, dir="/tmp")
		os.chmod(self.dir, 0o755)
		self.endings = []
		self.daemons = []
		self.claims = []         # of ports
		self.notes = []

	def path(self, name):
		return os.path.join(self.dir, name)

	def write(self, name, text):
		path = self.path(name)
		os.makedirs(os.path.dirname(path), exist_ok=True)
		# Like an editor: a file that somebody watches appears whole.
		with open(path + ".tmp~", "w") as f:
			f.write(text)
		os.rename(path + ".tmp~", path)
		return path

	def after(self, fn):
		self.endings.append(fn)
		return fn

	def port(self):
		"""A loopback port that nobody listens on, and that is this case's alone to its end: whoever else asks, in this case, in another worker or in another run, gets another one.

		Below the kernel's own range, for there a port that nobody listens on at the moment is given away to whoever connects to somewhere (to itself, even).
		"""
		for _ in range(500):
			port = 21000 + 5000 * (self.worker % 2) + random.randrange(5000)
			# An abstract name is bound once on the whole machine and is free again when its process ends, however that ends.
			claim = socket.socket(socket.AF_UNIX)
			try:
				claim.bind("\0thinmesh-test-port-%d" % port)
				with socket.socket() as s:
					s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
					s.bind(("127.0.0.1", port))
			except OSError:
				claim.close()
				continue
			self.claims.append(claim)
			return port
		raise Failed("no free port")

	def thread(self, fn, *args):
		th = threading.Thread(target=fn, args=args, daemon=True)
		th.start()
		return th

	def spawn(self, argv, **kw):
		child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, **kw)

		def end():
			if child.poll() is None:
				child.kill()
			child.wait()
		self.after(end)
		return child

	# ---- the daemon ----

	def config(self, services=None, app=None, listen=None, **top):
		"""A whole configuration as JSON, which is YAML too. services: {name: [endpoint] or {..}}."""
		conf = {
			"control": {"unix": self.path("c.sock")},
			"apps": [dict({"name": "shop", "listen": listen or [{"unix": self.path("s.sock")}]}, **(app or {}))],
			"services": [dict({"name": name}, **(what if isinstance(what, dict) else {"endpoints": what}))
				for name, what in (services or {}).items()],
			"drain": {"deadline": "10s"},
		}
		conf.update(top)
		return {k: v for k, v in conf.items() if v is not None}

	def daemon(self, services=None, app=None, listen=None, conf=None, start=True, wrapper=(), env=None, args=None, pass_fds=(), wait=None,
			umask=-1, **top):
		d = Daemon(self, conf if conf is not None else self.config(services, app, listen, **top), wrapper, env, args, pass_fds, wait, umask)
		self.daemons.append(d)
		if start:
			d.start()
		return d

	def plane(self, kind="istio", at=None, **kw):
		"""A control plane of its own (plane.py); at: "unix:.." or a free port's."""
		from plane import Plane
		made = Plane(self.binary, at or "127.0.0.1:%d" % self.port(), kind, **kw)
		self.after(made.finish)
		return made

	def cli(self, *args, stdin=None, env=None, timeout_s=60, user=None):
		environment = dict(os.environ, **(env or {}))
		kw = {"user": user, "group": user, "extra_groups": []} if user is not None else {}
		return subprocess.run([self.binary] + list(args), input=stdin, capture_output=True, timeout=timeout_s, env=environment, cwd=self.dir, **kw)

	# ---- callers ----

	def channel(self, at, authority=DEMO, **options):
		import grpc
		args = {
			"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1, "grpc.max_metadata_size": 1 << 17,
			"grpc.enable_retries": 0, "grpc.use_local_subchannel_pool": 1, "grpc.initial_reconnect_backoff_ms": 50,
			# The least is no pause, but the time that an attempt to connect is given until the SETTINGS are there.
			"grpc.min_reconnect_backoff_ms": 30000, "grpc.max_reconnect_backoff_ms": 100,
		}
		if authority is not None:
			args["grpc.default_authority"] = authority
		args.update({k.replace("__", "."): v for k, v in options.items()})
		ch = grpc.insecure_channel(at.target if isinstance(at, Daemon) else at, options=list(args.items()))
		self.after(ch.close)
		return ch

	def h2(self, at, **kw):
		"""A raw HTTP/2 connection to a daemon's socket, a path, or (host, port)."""
		from h2raw import H2
		c = H2(self.connect(at), **kw)
		self.after(c.close)
		return c

	def connect(self, at):
		if isinstance(at, Daemon):
			at = at.sock
		s = dial(at)
		self.after(s.close)
		return s

	# ---- the end ----

	def finish(self):
		"""Ends all that the case started, callers before daemons, and tells what was wrong with it."""
		problems = []
		for fn in reversed(self.endings):
			try:
				fn()
			except Exception as e:    # one broken ending must not keep the others alive
				problems.append("teardown: %s: %s" % (type(e).__name__, e))
		for d in reversed(self.daemons):
			problems += d.finish()
		for claim in self.claims:
			claim.close()
		return problems

	def remove(self):
		shutil.rmtree(self.dir, ignore_errors=True)


def dial(at, timeout_s=30):
	if isinstance(at, tuple):
		return socket.create_connection(at, timeout_s)
	s = socket.socket(socket.AF_UNIX)
	s.settimeout(timeout_s)
	try:
		s.connect("\0" + at[1:] if at.startswith("@") else at)
	except OSError:
		s.close()
		raise
	return s


# ---- HTTP/1.1 ------------------------------------------------------------------------------------------------------------

class Reply:
	def __init__(self, status, headers, body):
		self.status, self.headers, self.body = status, headers, body

	@property
	def text(self):
		return self.body.decode("utf-8", "replace")

	@property
	def json(self):
		return json.loads(self.body)

	def __repr__(self):
		return "%d %r %r" % (self.status, self.headers, self.body[:300])


def http1(at, method, path, body=None, headers=None, timeout_s=30):
	"""One request on a connection of its own; at: a socket path or (host, port)."""
	c = http.client.HTTPConnection("localhost", timeout=timeout_s)
	c.sock = dial(at, timeout_s)
	try:
		try:
			c.request(method, path, body=body, headers=headers or {})
		except BrokenPipeError:
			# Answered and closed before the body was sent, which goes in a write of its own: the answer is there all the same.
			c._HTTPConnection__state = "Request-sent"
		r = c.getresponse()
		return Reply(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
	finally:
		c.close()


def raw_exchange(at, data, timeout_s=30, half_close=False):
	"""Sends bytes, returns (all that came back, whether the other side closed)."""
	s = dial(at, timeout_s)
	try:
		got = b""
		try:
			s.sendall(data)
			if half_close:
				s.shutdown(socket.SHUT_WR)
			while True:
				piece = s.recv(65536)
				if not piece:
					return got, True
				got += piece
		except socket.timeout:
			return got, False
		except OSError:
			return got, True
	finally:
		s.close()


# ---- the daemon ----------------------------------------------------------------------------------------------------------

class Daemon:
	"""One `thinmesh run`; owned by its T, which ends and judges it."""

	def __init__(self, t, conf, wrapper=(), env=None, args=None, pass_fds=(), wait=None, umask=-1):
		self.t, self.wrapper, self.env, self.pass_fds, self.umask = t, list(wrapper), env or {}, pass_fds, umask
		n = len(t.daemons)
		self.conf_path = t.path("thinmesh%s.yaml" % (n or ""))
		self.write(conf)
		self.args = args if args is not None else ["-c", self.conf_path]
		self.err_path = t.path("stderr%s" % (n or ""))
		self.wait_for = wait
		self.process = None
		self.ended = False
		self.expected = []
		self.wanted_exit = 0
		self.judge_exit = True

	def write(self, conf):
		"""A new configuration file; SIGHUP is the caller's business."""
		self.conf = conf
		self.t.write(os.path.basename(self.conf_path), conf if isinstance(conf, str) else json.dumps(conf, indent=1, ensure_ascii=False) + "\n")

	def listeners(self):
		if self.wait_for is not None:
			return self.wait_for
		if isinstance(self.conf, str):
			return [self.t.path("s.sock")]
		found = []
		for app in self.conf.get("apps", []):
			for l in app["listen"]:
				if "unix" in l:
					found.append(l["unix"])
				else:
					host, port = l["tcp"].rsplit(":", 1)
					found.append((host.strip("[]"), int(port)))
		control = self.conf.get("control") or {}
		if "unix" in control:
			found.append(control["unix"])
		return found

	@property
	def sock(self):
		return self.t.path("s.sock")

	@property
	def control(self):
		return self.t.path("c.sock")

	@property
	def target(self):
		return "unix:" + self.sock

	@property
	def pid(self):
		return self.process.pid

	def start(self):
		self.spawn()
		for at in self.listeners():
			self.wait_listening(at)
		return self

	def spawn(self):
		environment = {k: v for k, v in os.environ.items() if not k.startswith(("NOTIFY_", "LISTEN_", "WATCHDOG_", "GRPC_", "THINMESH_"))}
		environment.update(self.env)
		self.ended = False
		with open(self.err_path, "ab") as err:
			self.process = subprocess.Popen(self.wrapper + [self.t.binary, "run"] + self.args, stdin=subprocess.DEVNULL, stdout=err, stderr=err,
				env=environment, cwd=self.t.dir, pass_fds=self.pass_fds, umask=self.umask)
		return self

	def wait_listening(self, at, timeout_s=5.0):
		def up():
			if self.process.poll() is not None:
				raise Failed("the daemon ended with %d while starting:\n%s" % (self.process.returncode, self.stderr()))
			try:
				dial(at).close()
				return True
			except OSError:
				return False
		until(up, timeout_s, "the daemon to listen at %s" % (at,))

	def signal(self, number):
		self.process.send_signal(number)

	def reload(self, conf=None, refused=False):
		"""SIGHUP, and waits until the daemon has told what became of it."""
		if conf is not None:
			self.write(conf)
		metric = "reloads_failed" if refused else "reloads"
		before = self.stat(metric)
		self.signal(signal.SIGHUP)
		until(lambda: self.stat(metric) > before, 5, "a reload (%s)" % metric)

	def stop(self, timeout_s=10):
		"""SIGTERM and the exit code."""
		self.signal(signal.SIGTERM)
		return self.exit_code(timeout_s)

	def exit_code(self, timeout_s=10):
		try:
			code = self.process.wait(timeout_s * PATIENCE)
		except subprocess.TimeoutExpired:
			raise Failed("the daemon did not end within %d s" % timeout_s) from None
		self.ended = True
		return code

	def stderr(self):
		with open(self.err_path, errors="replace") as f:
			return f.read()

	def wait_log(self, pattern, timeout_s=5.0):
		"""The first match of a regular expression in what the daemon has said."""
		return until(lambda: re.search(pattern, self.stderr(), re.M), timeout_s, "the log to say /%s/" % pattern)

	def expect_error(self, pattern):
		"""An error line that matches is part of the case."""
		self.expected.append(re.compile(pattern))

	# ---- what it says of itself ----

	def get(self, path, method="GET"):
		return http1(self.control, method, path)

	def stats(self):
		"""All metrics without labels, those with labels summed."""
		reply = self.get("/stats")
		same(reply.status, 200, "/stats")
		found = {}
		for line in reply.text.splitlines():
			m = re.match(r"([A-Za-z_:][\w:]*)(?:\{.*\})? ([-+\d.eE]+|NaN)$", line)
			if m:
				found[m.group(1)] = found.get(m.group(1), 0) + float(m.group(2))
		return found

	def stat(self, name):
		stats = self.stats()
		for full in ("thinmesh_%s_total" % name, "thinmesh_%s" % name):
			if full in stats:
				return stats[full]
		raise Failed("no metric thinmesh_%s[_total] in /stats" % name)

	def status(self):
		"""What `thinmesh status --json` prints."""
		reply = self.get("/status")
		same(reply.status, 200, "/status")
		return reply.json

	def active_calls(self):
		"""Calls at providers; what asks for it is a request itself and does not count."""
		return self.stats().get("thinmesh_cluster_active", 0)

	def wait_stat(self, name, at_least=1, timeout_s=5.0):
		return until(lambda: self.stat(name) >= at_least, timeout_s, "thinmesh_%s >= %s" % (name, at_least))

	def cpu_s(self):
		with open("/proc/%d/stat" % self.pid) as f:
			fields = f.read().rpartition(")")[2].split()
		return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

	def rss_kib(self):
		with open("/proc/%d/status" % self.pid) as f:
			return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

	def check_growth(self, before_kib, limit_kib):
		"""A sanitizer keeps what is freed, so it has nothing to say here."""
		grown = self.rss_kib() - before_kib
		check(SANITIZED or grown < limit_kib, "memory grew by", grown, "KiB")

	def descriptors(self):
		return len(os.listdir("/proc/%d/fd" % self.pid))

	# ---- judging ----

	def finish(self):
		"""Ends the daemon if the case has not, and lists what was wrong."""
		problems = []
		if self.process is None:
			return problems
		if self.process.poll() is None:
			if not self.ended:
				self.signal(signal.SIGTERM)
			try:
				self.process.wait(8 * PATIENCE)
			except subprocess.TimeoutExpired:
				self.process.kill()
				self.process.wait()
				problems.append("the daemon did not end within 8 s of SIGTERM")
		code = self.process.returncode
		if self.judge_exit and code != self.wanted_exit:
			problems.append("the daemon ended with %s" % ("signal %s" % signal.Signals(-code).name if code < 0 else "exit code %d" % code))
		for line in self.stderr().splitlines():
			if SANITIZER.search(line):
				problems.append("the daemon said: " + line)
			elif ERROR_LINE.match(line) and not any(p.search(line) for p in self.expected):
				problems.append("unexpected error line: " + line)
		return problems[:12]


def run_case(c, binary, worker=0, keep=False):
	"""Runs a case; returns (ok, what to print if not); ok is None for one that was skipped."""
	import traceback
	t = T(binary, worker)
	trouble = []
	skipped = None
	try:
		c.fn(t)
	except Skipped as e:
		skipped = str(e)
	except Failed as e:
		where = [f for f in traceback.extract_tb(sys.exc_info()[2]) if f.filename.startswith(HERE) and not f.filename.endswith("harness.py")]
		trouble.append("%s%s" % (e, "".join("\n    at %s:%d: %s" % (os.path.basename(f.filename), f.lineno, f.line) for f in where)))
	except Exception:
		trouble.append(traceback.format_exc())
	try:
		trouble += t.finish()
	except Exception:
		trouble.append("teardown: " + traceback.format_exc())
	if trouble:
		for d in t.daemons:
			if os.path.exists(d.err_path):
				said = d.stderr()
				trouble.append("daemon %s said:\n%s" % (d.process.pid if d.process else "-", said if len(said) < 6000 else said[:2000] + "\n...\n" + said[-4000:]))
	if not keep:
		t.remove()
	elif trouble:
		trouble.append("kept: " + t.dir)
	if skipped is not None and not trouble:
		return None, skipped
	return not trouble, "\n".join(trouble)
