#!/usr/bin/env python3
"""Attacks on the daemon's Unix socket, measured: what each costs us in memory and CPU, and what another app notices meanwhile.

    tests/bench/attacks.py [--only WORD] [--json] [--minute] [DAEMON]

Every row has a daemon of its own. One JSON line or one line of a table a row:
  grown_kib   highest resident set during the attack above that before it        left_kib   what is still there 2 s after the attacker left
  cpu_s       CPU time of the daemon during the attack                           other_ms   slowest of another app's calls meanwhile (every 5 ms one)
  answer      what the attacker got: GOAWAY code, resets, or how many were let in
The bounds are those of docs and limits (conf.def): a row that passes its bound is marked and the exit code is 1. --minute: 1,000 ordinary
cancellations a second for a whole minute instead of ten seconds. Needs gcc and libnghttp2-dev for the backend; nothing else.
"""
import argparse
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
AUTHORITY = b"demo.default.svc.cluster.local:50051"
PATH = b"/org.apache.dubbo.demo.GreeterService/sayHello"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
MESSAGE = b"\0\0\0\0\5hello"


def frame(kind, flags, sid, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", sid) + payload


def text(b):
    if len(b) < 127:
        return bytes([len(b)]) + b
    out, left = [127], len(b) - 127
    while left >= 128:
        out.append(left & 127 | 128)
        left >>= 7
    return bytes(out + [left]) + b


def field(name, value):
    return b"\x10" + text(name) + text(value)  # a literal that is never indexed


def head(path=PATH, extra=b""):
    return b"\x83\x86" + field(b":authority", AUTHORITY) + field(b":path", path) + field(b"content-type", b"application/grpc") + field(b"te", b"trailers") + extra


def call(sid, path=PATH, end=True):
    return frame(HEADERS, 4, sid, head(path)) + (frame(DATA, 1, sid, MESSAGE) if end else b"")


class Peer:
    """A client that counts what comes back and, unless told, reads all of it."""

    def __init__(self, path, settings=b"", start=True):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.sock.setblocking(False)
        self.buffer, self.counts, self.goaway, self.closed, self.heads, self.ends = b"", {}, None, False, set(), set()
        self.resets = {}
        self.initial, self.window, self.stream_windows = 65535, 65535, {}  # what we may still send
        if start:
            self.send(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW, 0, 0, struct.pack(">I", 1 << 30)))

    def ready(self, what, for_s):
        poll = select.poll()  # select() knows 1024 descriptors
        poll.register(self.sock, what)
        return dict(poll.poll(for_s * 1000)).get(self.sock.fileno(), 0)

    def read(self):
        while True:
            try:
                some = self.sock.recv(1 << 18)
            except BlockingIOError:
                return
            except OSError:
                some = b""
            if not some:
                self.closed = True
                return
            self.buffer += some
            at = 0
            while len(self.buffer) - at >= 9:
                n = int.from_bytes(self.buffer[at:at + 3], "big")
                if len(self.buffer) - at < 9 + n:
                    break
                kind, flags = self.buffer[at + 3], self.buffer[at + 4]
                sid = int.from_bytes(self.buffer[at + 5:at + 9], "big")
                payload = self.buffer[at + 9:at + 9 + n]
                at += 9 + n
                self.counts[kind] = self.counts.get(kind, 0) + 1
                if kind == GOAWAY:
                    self.goaway = int.from_bytes(payload[4:8], "big")
                elif kind == RST:
                    code = int.from_bytes(payload, "big")
                    self.resets[code] = self.resets.get(code, 0) + 1
                    self.ends.add(sid)
                elif kind == HEADERS:
                    self.heads.add(sid)
                elif kind == WINDOW:
                    more = int.from_bytes(payload, "big")
                    if sid:
                        self.stream_windows[sid] = self.stream_windows.get(sid, self.initial) + more
                    else:
                        self.window += more
                elif kind == SETTINGS and not flags & 1:
                    self.send(frame(SETTINGS, 1, 0), 1, read=False)
                    for i in range(0, n, 6):
                        if payload[i:i + 2] == b"\0\4":
                            self.initial = int.from_bytes(payload[i + 2:i + 6], "big")
                if kind in (HEADERS, DATA) and flags & 1:
                    self.ends.add(sid)
            self.buffer = self.buffer[at:]

    def send(self, data, for_s=20.0, read=True):
        """What went out in that time."""
        view, end = memoryview(data), time.monotonic() + for_s
        while view and not self.closed and time.monotonic() < end:
            ready = self.ready((select.POLLIN if read else 0) | select.POLLOUT, 0.1)
            if read and ready & ~select.POLLOUT:
                self.read()
            if ready & select.POLLOUT:
                try:
                    view = view[self.sock.send(view[:1 << 17]):]
                except BlockingIOError:
                    pass
                except OSError:
                    self.closed = True
        return len(data) - len(view)

    def upload(self, sid, n):
        """A body of n bytes within the windows, without its end."""
        while n and not self.closed:
            room = min(n, 16384, self.window, self.stream_windows.get(sid, self.initial))
            if room <= 0:
                if not self.wait(lambda: min(self.window, self.stream_windows.get(sid, self.initial)) > 0, 5):
                    raise SystemExit("attacks: no window for the upload: stream %d, %d to go, %d on it, %d on the connection, %s" % (sid, n, self.stream_windows.get(sid, self.initial), self.window, self.answer()))
                continue
            self.send(frame(DATA, 0, sid, bytes(room)))
            self.window -= room
            self.stream_windows[sid] = self.stream_windows.get(sid, self.initial) - room
            n -= room

    def wait(self, fn, for_s):
        end = time.monotonic() + for_s
        while not fn() and not self.closed and time.monotonic() < end:
            self.ready(select.POLLIN, min(0.05, for_s))
            self.read()
        return fn()

    def close(self):
        self.sock.close()

    def answer(self):
        if self.goaway is not None:
            return "GOAWAY %d" % self.goaway
        if self.closed:
            return "closed"
        if self.resets:
            return "RST " + " ".join("%d:%d" % r for r in sorted(self.resets.items()))
        return "served"


class World:
    def __init__(self, daemon, backend_port, folder, limits=""):
        self.folder = tempfile.mkdtemp(prefix="a.", dir=folder)
        self.sock = self.folder + "/app.sock"
        self.control = self.folder + "/control.sock"
        with open(self.folder + "/thinmesh.yaml", "w") as f:
            f.write("control: {unix: %s}\napps:\n  - name: shop\n    listen:\n      - unix: %s\nservices:\n  - name: %s\n    endpoints: [\"127.0.0.1:%d\"]\n%s"
                % (self.control, self.sock, AUTHORITY.decode(), backend_port, limits))
        self.log = open(self.folder + "/log", "w")
        self.child = subprocess.Popen([daemon, "run", "-c", self.folder + "/thinmesh.yaml"], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            start_new_session=True)
        end = time.monotonic() + 5
        while True:
            try:
                Peer(self.sock, start=False).close()
                break
            except OSError:
                if time.monotonic() > end:
                    raise SystemExit("attacks: the daemon does not listen: see " + self.folder)
                time.sleep(0.02)
        self.other = Peer(self.sock)
        self.sid, self.slowest, self.served, self.lost, self.stop = 1, 0.0, 0, 0, False
        for _ in range(50):
            self.one()
        time.sleep(0.1)

    def one(self):
        sid, self.sid = self.sid, self.sid + 2
        began = time.monotonic()
        self.other.send(call(sid))
        if not self.other.wait(lambda: sid in self.other.ends, 5):
            self.lost += 1
        return time.monotonic() - began

    def watch(self):
        while not self.stop:
            took = self.one()
            self.served += 1
            self.slowest = max(self.slowest, took)
            self.highest = max(self.highest, self.rss())
            time.sleep(0.005)

    def rss(self):
        with open("/proc/%d/statm" % self.child.pid) as f:
            return int(f.read().split()[1]) * 4

    def cpu(self):
        with open("/proc/%d/schedstat" % self.child.pid) as f:
            return int(f.read().split()[0]) / 1e9

    def begin(self):
        self.before, self.cpu0 = self.rss(), self.cpu()
        self.highest = self.before
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def end(self):
        """grown, cpu, slowest; the attacker is still there."""
        self.stop = True
        self.thread.join()
        self.highest = max(self.highest, self.rss())
        return {"grown_kib": self.highest - self.before, "cpu_s": round(self.cpu() - self.cpu0, 3), "other_ms": round(self.slowest * 1000, 1),
            "other_calls": self.served, "other_lost": self.lost}

    def left(self):
        time.sleep(2)
        return self.rss() - self.before

    def over(self):
        self.other.close()
        self.child.terminate()
        try:
            code = self.child.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            code = self.child.wait()
        return code


def idle_connections(w, a):
    peers = []
    before = w.rss()
    for _ in range(2000):
        p = Peer(w.sock)
        peers.append(p)
    for p in peers:
        p.wait(lambda: p.counts.get(SETTINGS, 0) >= 2, 5)
    return {"answer": "%.1f KiB each" % ((w.rss() - before) / len(peers))}, peers


def rapid_reset(w, a):
    p = Peer(w.sock)
    sid = 1
    for _ in range(200):
        out = b""
        for _ in range(100):
            out += call(sid) + frame(RST, 0, sid, struct.pack(">I", 8))
            sid += 2
        p.send(out)
    p.wait(lambda: False, 0.5)
    return {"answer": p.answer()}, [p]


def made_you_reset(w, a):
    p = Peer(w.sock)
    for sid in range(1, 10001, 2):
        p.send(frame(HEADERS, 4, sid, head()) + frame(WINDOW, 0, sid, struct.pack(">I", 0x7fffffff)))
    p.wait(lambda: sum(p.resets.values()) >= 5000, 5)
    return {"answer": p.answer()}, [p]


def bomb(w, a, crumb=b"\x40\1a\1b", refs=16384):
    # the window is 0, so no answer ends; what is held is the lists
    p = Peer(w.sock, settings=b"\0\4\0\0\0\0")
    p.send(frame(HEADERS, 5, 1, head(extra=crumb)))
    wire = 0
    for sid in range(3, 203, 2):
        block = head(extra=b"\xbe" * refs)
        out = frame(HEADERS, 1, sid, block[:16384]) + frame(CONTINUATION, 4, sid, block[16384:])
        wire += p.send(out)
    for _ in range(20):
        p.send(frame(WINDOW, 0, 1, struct.pack(">I", 1)))
        p.wait(lambda: False, 0.05)
    return {"answer": p.answer() + ", %d heads" % len(p.heads)}, [p]


def cookie_bomb(w, a):
    return bomb(w, a, b"\x40\6cookie\0", 16384)


def unread(kind, payload):
    def attack(w, a):
        p = Peer(w.sock)
        p.wait(lambda: p.counts.get(SETTINGS, 0) >= 2, 1)
        sent = p.send(frame(kind, 0, 0, payload) * 200000, 8, read=False)
        for _ in range(30):
            if p.closed:
                break
            try:
                p.sock.send(b"\0")
            except BlockingIOError:
                pass
            except OSError:
                p.closed = True
            time.sleep(0.1)
        return {"answer": "%s after %d KiB" % ("closed" if p.closed else "open, paced", sent >> 10)}, [p]
    return attack


def empty_data(w, a):
    p = Peer(w.sock)
    p.send(call(1, PATH, False) + frame(DATA, 0, 1) * 5000)
    p.wait(lambda: p.closed, 2)
    return {"answer": p.answer()}, [p]


def continuation_flood(w, a):
    p = Peer(w.sock)
    p.send(frame(HEADERS, 0, 1, head()) + frame(CONTINUATION, 0, 1, b"\x10\1a\1b") * 100000, 5)
    p.wait(lambda: p.closed, 2)
    return {"answer": p.answer()}, [p]


def settings_windows(w, a):
    """SETTINGS that move the windows of 900 streams, over and over."""
    p = Peer(w.sock)
    p.send(b"".join(call(sid, PATH + b"/hang") for sid in range(1, 1801, 2)))
    p.wait(lambda: False, 0.2)
    p.send((frame(SETTINGS, 0, 0, b"\0\4\0\0\0\1") + frame(SETTINGS, 0, 0, b"\0\4\0\0\xff\xff")) * 20000, 5)
    return {"answer": p.answer()}, [p]


def big_answers(w, settings, size):
    """100 calls whose answers are as large as what was uploaded; none has ended yet."""
    p = Peer(w.sock, settings=settings)
    p.wait(lambda: p.counts.get(SETTINGS, 0) >= 2, 2)
    for sid in range(1, 201, 2):
        p.send(frame(HEADERS, 4, sid, head()))
        p.upload(sid, size)
    w.highest = w.rss()  # the uploads were ordinary: what counts comes now
    return p


def slow_read(w, a):
    """100 answers of 1 MiB, stream windows of 2 GiB, nothing read."""
    p = big_answers(w, b"\0\4\x7f\xff\xff\xff", 1 << 20)
    p.send(b"".join(frame(DATA, 1, sid) for sid in range(1, 201, 2)), 5, read=False)
    time.sleep(2)
    return {"answer": "open" if not p.closed else "closed"}, [p]


def stalled_windows(w, a):
    """As slow_read, but the socket is read and the stream windows are 0: what is queued may be at most the windows upstream."""
    p = big_answers(w, b"\0\4\0\0\0\0", 1 << 20)
    p.send(b"".join(frame(DATA, 1, sid) for sid in range(1, 201, 2)))
    p.wait(lambda: len(p.heads) >= 100, 5)
    p.wait(lambda: False, 1)
    return {"answer": "%d heads" % len(p.heads)}, [p]


def mass_close(w, a):
    peers = []
    for _ in range(5):
        p = Peer(w.sock)
        p.send(b"".join(call(sid, PATH + b"/hang") for sid in range(1, 2001, 2)))
        peers.append(p)
    time.sleep(0.5)
    before = w.cpu()
    for p in peers:
        p.close()
    time.sleep(0.5)
    return {"answer": "%.1f ms CPU a connection with 1000 streams" % ((w.cpu() - before) * 200)}, []


def unknown_frames(w, a):
    p = Peer(w.sock)
    sent = p.send(frame(0x77, 0, 0, b"12345678") * 200000, 5)
    p.wait(lambda: False, 0.3)
    return {"answer": p.answer() + ", %d KiB" % (sent >> 10)}, [p]


def window_updates(w, a):
    p = Peer(w.sock)
    p.send(call(1, PATH + b"/hang") + frame(WINDOW, 0, 1, b"\0\0\0\1") * 500000, 5)
    p.wait(lambda: False, 0.3)
    return {"answer": p.answer()}, [p]


def cancellations(w, a):
    """1,000 ordinary cancellations a second: a call, then RST(CANCEL) when its head has been on its way for a while."""
    p = Peer(w.sock)
    seconds, sid, done = 60 if a.minute else 10, 1, 0
    began = time.monotonic()
    open_calls = []
    while time.monotonic() - began < seconds and not p.closed:
        due = int((time.monotonic() - began) * 1000)
        out = b""
        while done < due:
            out += frame(HEADERS, 4, sid, head(PATH + b"/hang")) + frame(DATA, 0, sid, MESSAGE)
            open_calls.append(sid)
            sid += 2
            done += 1
        while len(open_calls) > 20:
            out += frame(RST, 0, open_calls.pop(0), struct.pack(">I", 8))
        p.send(out)
        p.wait(lambda: False, 0.005)
    return {"answer": p.answer() + ", %d cancelled in %d s" % (done, seconds)}, [p]


# The two of readers that stall may hold limits.window_up (1 MiB) a stream, no more.
# name, attack, limits, bound of growth (KiB), bound on the slowest other call (ms), must stay open
ROWS = [
    ("idle connections, 2,000", idle_connections, "", 2000 * 16, 500, True),
    ("rapid reset, 20,000", rapid_reset, "", 2048, 500, True),
    ("MadeYouReset by WINDOW_UPDATE, 5,000", made_you_reset, "", 4096, 500, True),
    ("HTTP/2 bomb, 100 streams x 16 Ki references", bomb, "", 2048, 500, None),
    ("cookie bomb, 100 streams x 16 Ki crumbs", cookie_bomb, "", 2048, 500, None),
    ("PING flood, nothing read", unread(PING, b"12345678"), "", 2048, 500, None),
    ("SETTINGS flood, nothing read", unread(SETTINGS, b""), "", 2048, 500, None),
    ("SETTINGS that move 900 windows, 40,000", settings_windows, "", 8192, 500, True),
    ("empty DATA, 5,000", empty_data, "", 512, 500, False),
    ("CONTINUATION flood, 100,000", continuation_flood, "", 512, 500, False),
    ("WINDOW_UPDATE flood, 500,000", window_updates, "", 1024, 500, True),
    ("unknown frames, 200,000", unknown_frames, "", 512, 500, True),
    ("slow read, 100 x 1 MiB, nothing read", slow_read, "", 112640, 1000, None),
    ("windows of 0, 100 x 1 MiB", stalled_windows, "", 112640, 1000, True),
    ("1,000 streams a connection closed at once, 5", mass_close, "", 24576, 500, None),
    ("1,000 cancellations a second", cancellations, "", 4096, 500, True),
]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("daemon", nargs="?", default=os.path.join(ROOT, "build", "thinmesh"))
    p.add_argument("--only", default="")
    p.add_argument("--json", action="store_true")
    p.add_argument("--minute", action="store_true")
    a = p.parse_args()
    failed = 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(10000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) + resource.getrlimit(resource.RLIMIT_NOFILE)[1:])
    with tempfile.TemporaryDirectory(prefix="attacks.") as folder:
        backend = folder + "/backend"
        subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-iquote", ROOT, "-o", backend, HERE + "/backend.c", HERE + "/wire.c", "-lnghttp2"], check=True)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        provider = subprocess.Popen([backend, str(port)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            for name, attack, limits, bound, other_ms, stays in ROWS:
                if a.only not in name:
                    continue
                w = World(os.path.abspath(a.daemon), port, folder, limits)
                w.begin()
                try:
                    told, peers = attack(w, a)
                except BaseException:
                    w.over()
                    raise
                row = {"attack": name, **w.end(), **told}
                is_open = bool(peers) and not peers[0].closed and peers[0].goaway is None
                for peer in peers:
                    peer.close()
                row["left_kib"] = w.left()
                code = w.over()
                wrong = [what for what, bad in (("grown", row["grown_kib"] > bound), ("slow for others", row["other_ms"] > other_ms), ("calls of others lost", row["other_lost"]),
                    ("connection ended", stays is True and peers and not is_open), ("connection stayed", stays is False and is_open), ("exit code %s" % code, code != 0)) if bad]
                row["wrong"] = wrong
                failed += bool(wrong)
                if a.json:
                    print(json.dumps(row), flush=True)
                else:
                    print("%-48s %7d KiB  left %6d KiB  %7.3f s CPU  other %6.1f ms (%d)  %s%s" % (name, row["grown_kib"], row["left_kib"], row["cpu_s"], row["other_ms"], row["other_calls"],
                        row["answer"], "  WRONG: " + ", ".join(wrong) if wrong else ""), flush=True)
        finally:
            provider.terminate()
            provider.wait()
    return 1 if failed else 0


sys.exit(main())
