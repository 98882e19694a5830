#!/usr/bin/python3
"""Runs the end-to-end cases against a built daemon: two at a time, each with its own folder, sockets and ports.

	tests/e2e/run.py BINARY [-k WORD] [-j 2] [-v] [--list] [--keep]

A case runs in a worker process, which runs many of them one after the other (a gRPC library is slow to load). A case that
does not end is ended with its worker. The last line is "e2e: N passed, N failed"; exit code 1 if any failed.
"""
import argparse
import glob
import importlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True
# Of a case that hangs: longer than any wait of a case (harness.py, PATIENCE).
CASE_LIMIT_S = 200


def load():
	import harness
	for path in sorted(glob.glob(os.path.join(HERE, "test_*.py"))):
		importlib.import_module(os.path.basename(path)[:-3])
	return harness.CASES


def work(binary, number, keep):
	"""A worker: the index of a case a line in, a JSON line of its result out."""
	# What a library prints must not look like a result.
	out = os.fdopen(os.dup(1), "w", buffering=1)
	os.dup2(2, 1)
	import harness
	listed = load()
	for line in sys.stdin:
		c = listed[int(line)]
		start = time.monotonic()
		ok, text = harness.run_case(c, binary, number, keep)
		out.write(json.dumps([ok, text, time.monotonic() - start]) + "\n")
	# A gRPC library's own threads may keep a process from ending.
	os._exit(0)


class Worker:
	def __init__(self, argv, number):
		self.argv, self.number, self.child = argv, number, None

	def start(self):
		self.child = subprocess.Popen([sys.executable, os.path.abspath(__file__)] + self.argv + ["--worker", str(self.number)],
			stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True)

	def run(self, index, limit_s):
		if self.child is None:
			self.start()
		try:
			self.child.stdin.write("%d\n" % index)
			ready, _, _ = select.select([self.child.stdout], [], [], limit_s)
			line = self.child.stdout.readline() if ready else None
		except OSError:
			line = ""
		if line:
			return json.loads(line)
		why = "did not end within %d s" % limit_s if line is None else "its worker ended with %s" % self.child.wait()
		self.kill()
		return [False, why, float(limit_s)]

	def kill(self):
		"""The worker's whole process group: with it go the daemons and providers that the case has started."""
		if self.child is not None:
			try:
				os.killpg(self.child.pid, signal.SIGKILL)
			except ProcessLookupError:
				pass
			self.child.wait()
			self.child = None

	def end(self):
		if self.child is not None:
			self.child.stdin.close()
			try:
				self.child.wait(5)
			except subprocess.TimeoutExpired:
				pass
			self.kill()


def main():
	parser = argparse.ArgumentParser()
	parser.add_argument("binary")
	parser.add_argument("-k", default="", help="only cases whose name holds this word")
	parser.add_argument("-j", type=int, default=2)
	parser.add_argument("-v", action="store_true", help="a line for each case")
	parser.add_argument("--list", action="store_true")
	parser.add_argument("--keep", action="store_true", help="keep the folders of failed cases")
	parser.add_argument("--worker", type=int)
	args = parser.parse_args()
	if args.worker is not None:
		return work(args.binary, args.worker, args.keep)

	listed = load()
	chosen = [i for i, c in enumerate(listed) if args.k.lower() in c.full.lower() or args.k.replace("_", " ").lower() in c.full.lower()]
	if args.list:
		print("\n".join(listed[i].full for i in chosen))
		return 0
	if not os.access(args.binary, os.X_OK):
		print("e2e: %s is not there; build it with make" % args.binary)
		print("e2e: 0 passed, 1 failed")
		return 1
	with open(args.binary, "rb") as f:
		sanitized = b"__asan_init" in f.read()
	if sanitized:
		os.environ.setdefault("E2E_PATIENCE", "10")
		os.environ["E2E_SANITIZED"] = "1"
	waiting = queue.Queue()
	for i in chosen:
		waiting.put(i)
	results, lock = [], threading.Lock()
	passing = [args.binary] + (["--keep"] if args.keep else [])

	def serve(number):
		worker = Worker(passing, number)
		try:
			while True:
				try:
					i = waiting.get_nowait()
				except queue.Empty:
					return
				ok, text, seconds = worker.run(i, CASE_LIMIT_S * (2 if sanitized else 1))
				with lock:
					results.append((ok, seconds, listed[i].full))
					if ok is None:
						print("SKIPPED %s: %s" % (listed[i].full, text), flush=True)
					elif not ok:
						print("FAILED %s (%.2f s)\n  %s\n" % (listed[i].full, seconds, text.replace("\n", "\n  ")), flush=True)
					elif args.v:
						print("ok     %s (%.2f s)" % (listed[i].full, seconds), flush=True)
		finally:
			worker.end()

	start = time.monotonic()
	threads = [threading.Thread(target=serve, args=(n,)) for n in range(max(1, args.j))]
	for th in threads:
		th.start()
	for th in threads:
		th.join()
	if args.v:
		print("slowest: " + "; ".join("%s %.1f s" % (name, s) for _, s, name in sorted(results, key=lambda r: -r[1])[:8]))
		print("%.1f s" % (time.monotonic() - start))
	failed, skipped = sum(ok is False for ok, _, _ in results), sum(ok is None for ok, _, _ in results)
	if skipped:
		print("e2e: %d skipped" % skipped)
	print("e2e: %d passed, %d failed" % (len(results) - failed - skipped, failed))
	return 1 if failed else 0


if __name__ == "__main__":
	sys.exit(main())
