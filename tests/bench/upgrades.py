#!/usr/bin/python3
"""No call lost over hot upgrades: 2,000 calls a second by grpcio in two processes of four channels each, three long streams beside them that live over each hand-over, and the daemon is
followed by a new process again and again.

	upgrades.py [--upgrades N] [--rate N] [--haproxy] BINARY

--haproxy: HAProxy's reload instead (master and worker, the listening descriptors handed over), with the same calls and streams. What it loses is told and is no fault of ours.
Channels are as gRPC makes them by default. One JSON line; exit code 1 where a call failed, a stream broke or a process did not end."""
import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
sys.dont_write_bytecode = True
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

CALLERS, CHANNELS, STREAMS = 2, 4, 3
PACE_S = 0.2    # one upgrade after the other, but not more often: calls shall meet each process in its usual life, too


def caller(target, authority, path, rate):
	"""Each channel calls by the clock, one call after the other; what falls behind is caught up with."""
	import grpc
	import threading

	stop, lock, done, failed = threading.Event(), threading.Lock(), [0], []

	def run(number):
		channel = grpc.insecure_channel(target, options=[("grpc.default_authority", authority), ("grpc.use_local_subchannel_pool", 1)])
		call, due, mine = channel.unary_unary(path), time.monotonic() + number * 0.001, 0
		while not stop.is_set():
			time.sleep(max(0, due - time.monotonic()))
			due += CHANNELS / rate
			try:
				if call(b"%d" % mine, timeout=10) != b"%d" % mine:
					failed.append("another answer")
			except grpc.RpcError as e:
				failed.append("%s: %s" % (e.code(), e.details()))
			mine += 1
		with lock:
			done[0] += mine
	threads = [threading.Thread(target=run, args=(n,)) for n in range(CHANNELS)]
	for th in threads:
		th.start()
	sys.stdin.readline()
	stop.set()
	for th in threads:
		th.join()
	print(json.dumps({"calls": done[0], "failed": failed[:100]}), flush=True)
	os._exit(0)


class Ours:
	def __init__(self, t, provider):
		from harness import DEMO
		from test_upgrade import service
		self.d = service(t, {DEMO: [provider.address]}, drain={"deadline": "60s"})
		self.target = self.d.target

	def follow(self):
		"""The process that goes."""
		from test_upgrade import follow
		return follow(self.d)

	def judge(self, upgrades):
		return ["%d upgrades were counted" % self.d.stat("upgrades")] if self.d.stat("upgrades") != upgrades else []


class Haproxy:
	"""A master that starts workers. SIGUSR2 to it is a reload: the new worker has the listening sockets of the old one, which ends when its connections have."""

	def __init__(self, t, provider):
		from harness import dial, until
		self.t, sock = t, t.path("haproxy.s")
		self.target = "unix:" + sock
		t.write("haproxy.conf", "global\n\tnbthread 1\n\tmaxconn 5000\n\tstats socket %s mode 600 level admin expose-fd listeners\ndefaults\n\tmode http\n\ttimeout connect 5s\n\ttimeout client 10m\n"
			"\ttimeout server 10m\n\thttp-reuse always\nfrontend app\n\tbind unix@%s mode 777 proto h2\n\tdefault_backend p\nbackend p\n\tserver s %s proto h2\n" % (t.path("stats.s"), sock, provider.address))
		self.log = open(t.path("haproxy.log"), "w")
		self.master = subprocess.Popen(["haproxy", "-W", "-db", "-f", t.path("haproxy.conf")], stdout=self.log, stderr=self.log)
		t.after(self.end)

		def up():
			try:
				dial(sock).close()
				return True
			except OSError:
				return False
		until(up, 10, "HAProxy's socket")
		self.worker = self.workers()[-1]

	def end(self):
		self.master.terminate()
		self.master.wait(20)
		self.log.close()

	def workers(self):
		with open("/proc/%d/task/%d/children" % (self.master.pid, self.master.pid)) as f:
			return [int(pid) for pid in f.read().split()]

	def follow(self):
		from harness import until
		old = self.worker
		self.master.send_signal(signal.SIGUSR2)
		until(lambda: any(pid != old for pid in self.workers()), 10, "a new worker")
		self.worker = [pid for pid in self.workers() if pid != old][-1]
		return Worker(self, old)

	def judge(self, upgrades):
		return []


class Worker:
	def __init__(self, haproxy, pid):
		self.haproxy, self.pid = haproxy, pid

	def wait(self, timeout_s):
		from harness import until
		until(lambda: self.pid not in self.haproxy.workers(), timeout_s, "the old worker to end")


def run(args):
	from harness import DEMO, GREETER, T, until
	from providers import ProviderProcess
	from test_upgrade import Chat
	t = T(args.binary, 7)
	took, callers, complaints, calls = [], [], [], 0
	try:
		p = ProviderProcess(t, "a")
		d = (Haproxy if args.haproxy else Ours)(t, p)
		callers = [subprocess.Popen([sys.executable, os.path.abspath(__file__), "caller", d.target, DEMO, GREETER, str(args.rate / CALLERS)],
			stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(CALLERS)]
		chats = [Chat(t, d.target) for _ in range(STREAMS)]
		time.sleep(0.5)    # they call by then
		begun = time.monotonic()
		for _ in range(args.upgrades):
			asked = time.monotonic()
			old = d.follow()
			took.append((time.monotonic() - asked) * 1000)
			for chat in chats:
				chat.say(b"over the hand-over")
				chat.end()
			old.wait(30)
			chats = [Chat(t, d.target) for _ in range(STREAMS)]
			time.sleep(max(0, asked + PACE_S - time.monotonic()))
		seconds = time.monotonic() - begun
		for chat in chats:
			chat.end()
		for c in callers:
			said = json.loads(c.communicate(b"\n", 60)[0])
			calls += said["calls"]
			complaints += said["failed"]
		complaints += d.judge(args.upgrades)
	except Exception as e:    # a stream that breaks is one, too
		complaints.append("%s: %s" % (type(e).__name__, e))
		seconds = 0
	finally:
		for c in callers:
			if c.poll() is None:
				c.kill()
		complaints += t.finish()
		t.remove()
	print(json.dumps({"wrong": len(complaints), "upgrades": len(took), "calls": calls, "calls_a_second": round(calls / seconds) if seconds else None, "streams": STREAMS * len(took),
		"takes_over_ms": round(statistics.median(took), 1) if took else None, "complaints": complaints[:10]}))
	return 1 if complaints else 0


def main():
	if len(sys.argv) > 1 and sys.argv[1] == "caller":
		return caller(*sys.argv[2:5], float(sys.argv[5]))
	parser = argparse.ArgumentParser()
	parser.add_argument("--upgrades", type=int, default=100)
	parser.add_argument("--rate", type=int, default=2000)
	parser.add_argument("--haproxy", action="store_true")
	parser.add_argument("binary")
	return run(parser.parse_args())


if __name__ == "__main__":
	sys.exit(main())
