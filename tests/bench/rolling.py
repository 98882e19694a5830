#!/usr/bin/python3
"""No call lost: 8 connections x 32 calls are open at all times while three grpcio providers are stopped and started again, one after the
other; unary calls and bidirectional streams in turn; how each ended is read from its grpc-status.

	rolling.py [--short] [--kill] [--checks] [--calls N] [--restarts N] BINARY

A provider is a process of its own on a port that stays; it writes the number of each call that it begins into a journal. Restarts happen by
progress (calls begun), not by time: each of them meets calls in flight, however fast the machine is.
  stopped with grace (default)  SIGTERM: grpcio's stop(grace), a new process on the port after it: no call may fail
  --kill                        SIGKILL: calls that were on that provider fail, as UNAVAILABLE; no other one does, and no call runs twice
--checks: the daemon asks each provider twice a second for its health; one that was told to stop says NOT_SERVING first.
--short: 5,000 calls and 3 restarts, for a test. One JSON line; exit code 1 where the promise is broken."""
import argparse
import collections
import json
import os
import re
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

PROVIDERS = 3
CALLS_OPEN = 8 * 32
GRACE_S = 10
NOTICE_NS = 200000000    # so long after its end a dead provider may still be given calls: the daemon's turn to read has to come
ID_BYTES = 9    # "%08u\n"
UNAVAILABLE = 14
# grpcio answers CANCELLED for calls that it had read and not yet begun when it was told to stop; only a retry can mend those, and it is one of
# the cases of the default list.
RETRIES = {"max": 2}
CHECKS = {"grpc": {}, "interval": "500ms", "timeout": "5s"}    # its threads are all busy with calls: a check waits for one


# ---- the provider's process ----------------------------------------------------------------------------------------------

def provider(port, journal):
	import concurrent.futures
	import grpc
	import threading

	fd = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
	stop = threading.Event()
	# Before any thread is there. A Python handler that is to wake an Event.wait may come just before the wait, and is then never run: one of some fifty providers here did not stop.
	signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

	class Handler(grpc.GenericRpcHandler):
		def service(self, details):
			for k, v in details.invocation_metadata:
				if k == "call-id":
					os.write(fd, (v + "\n").encode())
			if details.method == "/grpc.health.v1.Health/Check":
				return grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x02" if stop.is_set() else b"\x08\x01")
			if details.method.endswith("/chat"):
				return grpc.stream_stream_rpc_method_handler(self.chat)
			return grpc.unary_unary_rpc_method_handler(self.unary)

		def unary(self, request, context):
			return request

		def chat(self, requests, context):
			for r in requests:
				yield r

	server = grpc.server(concurrent.futures.ThreadPoolExecutor(64), handlers=[Handler()], options=[("grpc.so_reuseport", 0)])
	if server.add_insecure_port("127.0.0.1:%d" % port) != port:
		sys.exit("port %d is not free" % port)
	server.start()
	print("ready", flush=True)
	signal.sigwait({signal.SIGTERM})
	stop.set()
	server.stop(GRACE_S).wait()
	os._exit(0)


class Provider:
	"""A provider through its lives; each life has a journal of its own."""

	def __init__(self, lab, name, port):
		self.lab, self.name, self.port = lab, name, port
		self.lives = []     # (journal, killed?)
		self.child = None
		self.start()

	def start(self):
		journal = os.path.join(self.lab.work, "journal-%s-%d" % (self.name, len(self.lives)))
		open(journal, "w").close()
		self.lives.append(journal)
		self.child = self.lab.spawn([sys.executable, os.path.abspath(__file__), "provider", str(self.port), journal], stdout=subprocess.PIPE)
		if b"ready" not in self.child.stdout.readline():
			raise SystemExit("provider %s did not come up" % self.name)

	def stop(self, sig):
		self.child.send_signal(sig)
		self.child.wait(GRACE_S + 20)
		self.child.stdout.close()
		self.lab.children.remove(self.child)


# ---- the run -------------------------------------------------------------------------------------------------------------

def begun(providers):
	return sum(os.path.getsize(j) for p in providers for j in p.lives) // ID_BYTES


def ids(journal):
	with open(journal) as f:
		return [int(line) for line in f]


def run(lab, calls, restarts, sig, daemon_conf):
	first = lab.free_ports(PROVIDERS)
	providers = [Provider(lab, "abc"[i], first + i) for i in range(PROVIDERS)]
	conf, sock, failures = (os.path.join(lab.work, n) for n in ("rolling.yaml", "rolling.s", "failures"))
	with open(conf, "w") as f:
		json.dump(daemon_conf(sock, [p.port for p in providers]), f)
	daemon = lab.spawn([lab.binary, "run", "-c", conf])
	from lab import dials, until
	until(lambda: dials(sock), 10, "the daemon's socket")
	load = lab.spawn([lab.tool("load"), "-u", sock, "-n", str(calls), "-c", "8", "-m", "32", "-k", "mixed", "-i", "-f", failures, "-w", "60"],
		stdout=subprocess.PIPE, text=True)
	stopped, started = [], time.monotonic()
	for n in range(restarts):
		# The first comes when a third of a slot has begun, and the last leaves room for the calls after it.
		while begun(providers) < (n + 0.3) / (restarts + 0.7) * calls and load.poll() is None:
			time.sleep(0.01)
		if load.poll() is not None:
			break
		p = providers[n % PROVIDERS]
		life, at = p.lives[-1], time.monotonic_ns()
		p.stop(sig)
		gone = time.monotonic_ns()
		p.start()
		stopped.append((life, at, gone, time.monotonic_ns()))
	out = load.stdout.read()
	load.wait()
	seconds = time.monotonic() - started
	if daemon.poll() is not None:
		raise SystemExit("the daemon ended by itself: %d" % daemon.returncode)
	report = json.loads(out) if out.strip() else {"ok": 0, "closed": -1, "calls": calls}
	return report, [l for p in providers for l in p.lives], stopped, failures, seconds


def judge(args, report, lives, stopped, failures):
	"""What the promise does not allow, in words."""
	complaints = []
	where = collections.defaultdict(list)
	for journal in lives:
		for i in ids(journal):
			where[i].append(journal)
	twice = [i for i, j in where.items() if len(j) > 1]
	failed = [line.rstrip("\n").split(" ", 4) for line in open(failures)]
	killed = {life for life, *_ in stopped} if args.kill else set()
	wrong = 0
	for number, status, began, ended, text in failed:
		elsewhere = [j for j in where.get(int(number), []) if j not in killed]
		met = any(int(began) <= gone + NOTICE_NS and at <= int(ended) for _, at, gone, _ in stopped)
		if args.kill and int(status) == UNAVAILABLE and not elsewhere and met:
			continue
		wrong += 1
		if wrong <= 5:
			complaints.append("call %s: status %s (%s)%s%s" % (number, status, text, ", ran where nobody was killed" if elsewhere else "",
				"" if met else ", while no provider went"))
	if len(failed) > CALLS_OPEN * len(stopped):
		complaints.append("more calls have failed than can have been in flight")
		wrong += len(failed) - CALLS_OPEN * len(stopped)
	if twice:
		complaints.append("%d calls ran twice, such as %d" % (len(twice), twice[0]))
	if report["closed"]:
		complaints.append("%s connections were closed" % report["closed"])
	if report["ok"] + len(failed) != report["calls"]:
		complaints.append("%d calls of %d have no end" % (report["calls"] - report["ok"] - len(failed), report["calls"]))
	if len(stopped) < args.restarts:
		complaints.append("only %d of %d restarts happened" % (len(stopped), args.restarts))
	texts = collections.Counter(re.sub(r"[0-9.]+:[0-9]+", "HOST", text) for _, _, _, _, text in failed)
	return {"failed": len(failed), "twice": len(twice), "wrong": wrong + len(twice) + max(0, report["closed"]), "complaints": complaints,
		"texts": dict(texts.most_common(5))}


def main():
	from lab import AUTHORITY, Lab

	ap = argparse.ArgumentParser(usage=__doc__)
	ap.add_argument("--short", action="store_true")
	ap.add_argument("--kill", action="store_true")
	ap.add_argument("--checks", action="store_true")
	ap.add_argument("--calls", type=int)
	ap.add_argument("--restarts", type=int)
	ap.add_argument("binary")
	args = ap.parse_args()
	args.calls = args.calls or (5000 if args.short else 100000)
	args.restarts = args.restarts or (3 if args.short else 21 if args.kill else 30)
	lab = Lab(args.binary, 1)
	try:
		report, lives, stopped, failures, seconds = run(lab, args.calls, args.restarts, signal.SIGKILL if args.kill else signal.SIGTERM,
			lambda sock, ports: {"apps": [{"name": "rolling", "listen": [{"unix": sock}]}], "control": {"unix": ""},
				"services": [dict({"name": AUTHORITY, "endpoints": ["127.0.0.1:%d" % p for p in ports], "retries": RETRIES}, **({"health": CHECKS} if args.checks else {}))]})
		verdict = judge(args, report, lives, stopped, failures)
	finally:
		lab.close()
	print(json.dumps({"calls": args.calls, "kill": args.kill, "checks": args.checks, "restarts": len(stopped), "ok": report["ok"], "seconds": round(seconds, 1), **verdict}))
	sys.exit(1 if verdict["complaints"] else 0)


if __name__ == "__main__":
	if len(sys.argv) == 4 and sys.argv[1] == "provider":
		provider(int(sys.argv[2]), sys.argv[3])
	else:
		main()
