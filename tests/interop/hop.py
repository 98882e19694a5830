# What stands between the clients and the providers, and the processes of a run.
#
# Hop: the daemon under test with its configuration written for this run; for the work on the peers themselves it can be replaced by
# HAProxy (THINMESH_INTEROP_HOP=haproxy), which answers the same names on the same sockets but is not thinmesh: such a run proves the
# peers, not us. Processes: every child has its own session, is stopped by its pid, and leaves its output in a file.

import os
import random
import signal
import socket
import subprocess
import time

MESH = ".default.svc.cluster.local"


CLAIMED = []  # sockets that are this process's claims; they end with it


def claim(name):
    """Whether nobody on this machine has claimed this name; it is ours until we end. What is chosen now and bound later, by a child that takes its time or is ended and
    started again, would otherwise be chosen by two of the suites that run beside each other once in a while."""
    s = socket.socket(socket.AF_UNIX)
    try:
        s.bind("\0thinmesh-interop/" + name)
    except OSError:
        s.close()
        return False
    CLAIMED.append(s)
    return True


def free_port():
    """Below the range that the kernel gives to whoever connects: a server that is ended and started again must get its port back."""
    for _ in range(200):
        port = random.SystemRandom().randrange(20000, 32000)
        if not claim("port/%d" % port):
            continue
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise OSError("no free port between 20000 and 32000")


def dubbo_java_options(folder, health=True):
    # Dubbo keeps caches below user.home and opens a console port unless told otherwise. Its grpc.health.v1 is off unless asked for.
    return ["-Duser.home=" + folder, "-Ddubbo.application.qos-enable=false", "-Ddubbo.tri.builtin.service.init=" + str(health).lower(),
            "-Djava.net.preferIPv4Stack=true"]


class Process:
    def __init__(self, name, command, log_folder, env=None, cwd=None):
        self.name = name
        self.log = os.path.join(log_folder, name + ".log")
        with open(self.log, "w") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=cwd,
                                          start_new_session=True)

    def wait_for(self, connects, limit_s=60):
        """Waits until `connects()` succeeds; False when the process ended or the time was up first."""
        end = time.monotonic() + limit_s
        while time.monotonic() < end and self.child.poll() is None:
            try:
                connects()
                return True
            except OSError:
                time.sleep(0.05)
        return False

    def stop(self, limit_s=15):
        """Asks with SIGTERM, then insists; returns the exit code (None where it had to be killed)."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                return self.child.wait(timeout=limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(self.child.pid, signal.SIGKILL)
                self.child.wait()
                return None
        return self.child.returncode

    def tail(self, lines=15):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-lines:])


def connect_tcp(port):
    return lambda: socket.create_connection(("127.0.0.1", port), timeout=1).close()


def connect_unix(path):
    def connect():
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
    return connect


class Hop:
    """ports: provider -> loopback port. Listens on a Unix socket and, for SDKs without those, on one loopback port a Dubbo provider."""

    def __init__(self, folder, ports, daemon):
        self.folder = folder
        self.ports = ports
        self.daemon = daemon
        self.stand_in = os.environ.get("THINMESH_INTEROP_HOP") == "haproxy"
        self.socket = os.path.join(folder, "shop.sock")
        self.control = os.path.join(folder, "control.sock")
        self.tcp = {name: free_port() for name in ports if name.startswith(("dubbo", "h2spec"))}
        self.process = None

    def authority(self, provider):
        return provider + MESH + ":50051"

    def yaml(self):
        lines = ["control:", "  unix: " + self.control, "apps:", "  - name: interop", "    listen:", "      - unix: " + self.socket]
        for provider, port in self.tcp.items():
            lines += ["      - tcp: 127.0.0.1:%d" % port, "        default: " + self.authority(provider)]
        if "grpc-go" in self.ports:
            lines += ["    paths:", "      grpc.testing.TestService: " + self.authority("grpc-go")]
        lines += ["services:"]
        for provider, port in self.ports.items():
            # With the port for callers that know it, without for those whose authority carries the port of our listener.
            for name in (self.authority(provider), provider + MESH):
                lines += ["  - name: " + name, '    endpoints: ["127.0.0.1:%d"]' % port]
        return "\n".join(lines) + "\n"

    def haproxy(self):
        lines = ["global", "  nbthread 1", "defaults", "  mode http", "  timeout connect 5s", "  timeout client 5m", "  timeout server 5m",
                 "frontend socket", "  bind unix@%s mode 777 proto h2" % self.socket]
        named = ["  use_backend %s if { req.hdr(host) -m beg %s. }" % (p, p) for p in self.ports]
        lines += named
        if "grpc-go" in self.ports:
            lines += ["  use_backend grpc-go if { path_beg /grpc.testing.TestService/ } !{ req.hdr(host) -m sub .svc. }"]
        lines += ["  default_backend nobody"]
        for provider, port in self.tcp.items():
            lines += ["frontend tcp-" + provider, "  bind 127.0.0.1:%d proto h2" % port] + named + ["  default_backend " + provider]
        lines += ["backend nobody", "  http-request return status 200 hdr grpc-status 12 "
                  "hdr grpc-message %[req.hdr(host)]"]
        for provider, port in self.ports.items():
            lines += ["backend " + provider, "  server s 127.0.0.1:%d proto h2" % port]
        return "\n".join(lines) + "\n"

    def start(self):
        """Returns what is wrong, or None."""
        config = os.path.join(self.folder, "haproxy.cfg" if self.stand_in else "thinmesh.yaml")
        with open(config, "w") as f:
            f.write(self.haproxy() if self.stand_in else self.yaml())
        command = ["haproxy", "-db", "-f", config] if self.stand_in else [self.daemon, "run", "-c", config]
        self.process = Process("hop", command, self.folder)
        if not self.process.wait_for(connect_unix(self.socket)):
            return "does not listen on %s:\n%s" % (self.socket, self.process.tail())
        for port in self.tcp.values():
            if not self.process.wait_for(connect_tcp(port)):
                return "does not listen on 127.0.0.1:%d:\n%s" % (port, self.process.tail())
        return None

    def save_stats(self):
        """Keeps the daemon's counters of the run beside its log, for whoever looks into a failure."""
        if self.stand_in:
            return
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect(self.control)
            s.sendall(b"GET /stats HTTP/1.1\r\nhost: control\r\nconnection: close\r\n\r\n")
            with open(os.path.join(self.folder, "stats.txt"), "wb") as f:
                while True:
                    some = s.recv(65536)
                    if not some:
                        break
                    f.write(some)
