# The processes of a mesh scenario, each started by itself and ended by its pid: providers, the two control planes, the daemon, the caller.
#
# Istiod and GoControlPlane answer to the same calls (declare, forget, kill, restart, xds_lines), so that a scenario need not know which of
# them it has. World owns all of one scenario: a folder, a block of loopback addresses, and whatever was started; stop() ends it.

import ctypes
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import urllib.request

import hop as hops
import mesh_words as words

PROVIDER_PORT = 6001
READY_S = 60  # for a process to say that it is ready; istiod takes half a second
STAND_IN = os.environ.get("THINMESH_INTEROP_HOP") == "grpc-go"


class Failed(Exception):
    """A promise that was not kept, in words."""


class Skipped(Exception):
    """The stand-in cannot do this; never raised where the daemon is the hop."""


def must(truth, text, *values):
    if not truth:
        raise Failed(text % values if values else text)


def within(limit_s, what, probe):
    """Asks `probe` until it gives something true, which is returned; every poll is bounded by the probe itself."""
    end, got = time.monotonic() + limit_s, None
    while True:
        got = probe()
        if got:
            return got
        must(time.monotonic() < end, "not within %g s: %s", limit_s, what() if callable(what) else what)
        time.sleep(0.02)


def die_with_parent(how=signal.SIGKILL):
    """In the child: whoever kills the runner leaves no control plane behind. 1 is PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(1, how)


class Part:
    """A process with its output in a file of its own; ready_word: what it prints when others may begin."""

    def __init__(self, world, name, command, env=None, ready_word=None, pipe=False):
        world.started += 1
        self.name, self.log = name, os.path.join(world.folder, "%02d-%s.log" % (world.started, name))
        with open(self.log, "w") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE if pipe else subprocess.DEVNULL, stdout=subprocess.PIPE if pipe else log,
                                          stderr=log, env=dict(os.environ, **(env or {})), cwd=world.folder, text=True,
                                          preexec_fn=die_with_parent)
        world.parts.append(self)
        if ready_word:
            within(READY_S, lambda: "%s is ready:\n%s" % (name, self.tail()), lambda: self.said(ready_word) or self.ended())
            must(not self.ended(), "%s ended at once:\n%s", name, self.tail())

    def said(self, word):
        with open(self.log, errors="replace") as f:
            return any(line.strip() == word for line in f)

    def ended(self):
        return self.child.poll() is not None

    def tail(self, lines=8):
        with open(self.log, errors="replace") as f:
            return "".join(f.readlines()[-lines:])

    def kill(self):
        self.child.kill()
        self.child.wait()

    def stop(self, limit_s=10):
        if not self.ended():
            self.child.terminate()
            try:
                self.child.wait(timeout=limit_s)
            except subprocess.TimeoutExpired:
                self.kill()
        for pipe in (self.child.stdin, self.child.stdout):
            if pipe:
                pipe.close()
        return self.child.returncode


class Successor:
    """What Popen is for a child, for a process that was made by one; its exit code is ours to have once its parent has ended."""
    stdin = stdout = None

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    def poll(self):
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
            except ChildProcessError:
                self.returncode = None if os.path.exists("/proc/%d" % self.pid) else 0
        return self.returncode

    def wait(self, timeout=30):
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("the successor", timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def http(method, at, path, body=None):
    request = urllib.request.Request("http://%s%s" % (at, path), data=body and body.encode(), method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as e:
        raise Failed("%s %s: %s" % (method, path, e.read().decode(errors="replace")[:400]))


class Istiod:

    def __init__(self, world):
        self.world, self.services, self.part = world, {}, None
        self.applied = []  # as a cluster's store, they outlive the process
        self.env = {"PILOT_DEBOUNCE_AFTER": "10ms"}  # instead of 100: a scenario waits for many pushes
        # At an address of this scenario alone: whoever else runs something, its ports are free, at the second start too.
        self.ads, self.tls, self.debug, self.ctl = ("%s1:%d" % (world.block, port) for port in (15010, 15012, 15014, 15080))

    def start(self, *more, env=None):
        """The environment is for this start and the ones after it: variables of istiod's own."""
        self.env.update(env or {})
        first = os.path.join(self.world.folder, "mesh.yaml")
        with open(first, "w") as f:
            f.write(words.istio_text([d for s in self.services.values() for d in words.istio_documents(s)]) +
                    "".join("---\n" + text for text in self.applied))
        self.part = Part(self.world, "istiod", [self.world.binary("istiod-peer"), "-ads", self.ads, "-tls", self.tls, "-http", self.debug,
                         "-ctl", self.ctl,
                         "-f", first] + list(more), env=self.env, ready_word="ready")

    def declare(self, *services):
        """Says how these services are from now on; what belonged to their split and is no longer named goes."""
        new, old = [], []
        for s in services:
            documents = words.istio_documents(s)
            if s.short in self.services:
                kinds = [kind for kind, _ in documents]
                old += [d for d in words.istio_documents(self.services[s.short]) if d[0] not in kinds]
            new += documents
            self.services[s.short] = s
        if self.part:
            http("POST", self.ctl, "/apply", words.istio_text(new))
            if old:
                http("POST", self.ctl, "/delete", words.istio_text(old))

    def apply(self, text):
        """Objects that are no services of ours: Kubernetes' own, and workloads."""
        self.applied.append(text)
        http("POST", self.ctl, "/apply", text)

    def remove_entry(self, name):
        http("POST", self.ctl, "/delete", "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n"
             "metadata: {name: %s, namespace: default}\nspec: {address: 127.0.0.1}\n" % name)  # it wants to be a whole one to be deleted

    def forget(self, service):
        http("POST", self.ctl, "/delete", words.istio_text(reversed(words.istio_documents(self.services.pop(service.short)))))

    def kill(self):
        self.part.kill()

    def entry(self, name):
        """A WorkloadEntry as it is now, or None."""
        return next((e for e in json.loads(http("GET", self.ctl, "/entries")) if e["Name"] == name), None)

    def xds_lines(self):
        return ["  server: " + self.ads]

    def write_root(self):
        """Each start makes a CA of its own here, which a cluster's secret would keep."""
        root = os.path.join(self.world.folder, "root.pem")
        with open(root + ".new", "w") as f:
            f.write(http("GET", self.ctl, "/root"))
        os.rename(root + ".new", root)
        return root

    def tls_lines(self, token):
        """The same over its TLS port, to which this file of a token is shown."""
        root = self.write_root()
        return ["  server: " + self.tls, "  tls:", "    roots: " + root, "    server_name: istiod.istio-system.svc", "    token_file: " + token]

    def node(self):
        return {"id": "sidecar~127.0.0.1~shop.default~default.svc.cluster.local", "metadata": {"GENERATOR": "grpc", "NAMESPACE": "default"}}


class GoControlPlane:
    def __init__(self, world, cache, **how):
        self.world, self.cache, self.how, self.services, self.part = world, cache, how, {}, None
        self.ads, self.tls, self.ctl = ("%s1:%d" % (world.block, port) for port in (18000, 18001, 18080))

    def start(self, *more):
        first = os.path.join(self.world.folder, "mesh.json")
        with open(first, "w") as f:
            f.write(words.xds_text(self.services.values(), **self.how))
        self.part = Part(self.world, "control-plane", [self.world.binary("control-plane"), "-ads", self.ads, "-tls", self.tls,
                         "-certs", self.world.folder, "-ctl", self.ctl, "-cache", self.cache,
                         "-f", first] + list(more), ready_word="ready")

    def declare(self, *services):
        self.services.update({s.short: s for s in services})
        self._send()

    def forget(self, service):
        del self.services[service.short]
        self._send()

    def _send(self):
        if self.part:
            http("PUT", self.ctl, "/resources", words.xds_text(self.services.values(), **self.how))

    def kill(self):
        self.part.kill()

    def xds_lines(self):
        return ["  server: " + self.ads]

    def node(self):
        return {"id": "comparator", "locality": {"region": "r", "zone": "z"}}

    def seen(self):
        return json.loads(http("GET", self.ctl, "/seen"))


class Caller:
    """The grpc-go client program; one line of JSON for each line that it is told."""

    def __init__(self, world, arguments, env=None):
        self.part = Part(world, "caller", [world.binary("mesh-client")] + arguments, env=env, pipe=True)

    def tell(self, *line):
        try:
            self.part.child.stdin.write(" ".join(str(w) for w in line) + "\n")
            self.part.child.stdin.flush()
            answer = json.loads(self.part.child.stdout.readline())
        except (OSError, ValueError) as e:
            raise Failed("the caller is gone: %s\n%s" % (e, self.part.tail()))
        must(not (isinstance(answer, dict) and "error" in answer), "the caller: %s", answer)
        return answer

    def call(self, service, ms=10000):
        return self.tell("call", getattr(service, "authority", service), ms)

    def calls(self, service, count, at=10):
        return self.tell("calls", service.authority, count, at)

    def load(self, service, a_second):
        return self.tell("load", service.authority, a_second)

    def seen(self):
        return self.tell("seen")

    def stop_load(self):
        """Ends the load; every call of it must have been answered with 0."""
        total = self.tell("stop")
        must(set(total["codes"]) == {"0"}, "calls failed under load: %s, the first: %s", total["codes"], total.get("first"))
        return total["codes"]["0"]


class Daemon:
    """thinmesh with one control plane. `more` are lines of YAML for the section xds, `xds` replace the plane's own; `apps` are namespaces, `app` lines
    of YAML for each of them."""

    def __init__(self, world, plane, profile, protocol, more=(), xds=None, snapshot=None, apps=("default",), app=(), env=None):
        self.world, self.gone = world, False
        world.started += 1
        self.folder = os.path.join(world.folder, "daemon%d" % world.started)
        os.mkdir(self.folder)
        self.sockets, self.control = {a: os.path.join(self.folder, a + ".sock") for a in apps}, os.path.join(self.folder, "control.sock")
        self.socket = self.sockets[apps[0]]
        self.snapshot = snapshot or os.path.join(self.folder, "snapshot")
        os.makedirs(self.snapshot, exist_ok=True)
        lines = ["control:", "  unix: " + self.control, "apps:"]
        for name in apps:
            lines += ["  - name: shop-" + name, "    namespace: " + name, "    listen:", "      - unix: " + self.sockets[name]]
            lines += ["    " + line for line in app]
        lines += ["snapshot:", "  dir: " + self.snapshot, "xds:", "  profile: " + profile, "  protocol: " + protocol]
        lines += list(xds or plane.xds_lines()) + ["  " + line for line in more]
        self.config = os.path.join(self.folder, "thinmesh.yaml")
        with open(self.config, "w") as f:
            f.write("\n".join(lines) + "\n")
        self.part = Part(world, "daemon", [world.daemon, "run", "-c", self.config], env=env)
        within(READY_S, lambda: "the daemon listens:\n" + self.part.tail(), lambda: self.listens() or self.part.ended())
        must(not self.part.ended(), "the daemon ended at once:\n%s", self.part.tail())

    def listens(self):
        try:
            hops.connect_unix(self.socket)()
            hops.connect_unix(self.control)()
            return True
        except OSError:
            return False

    def get(self, path):
        """The body of a page of the control socket."""
        return self.ask(self.control, "GET", path)

    def post(self, path):
        """What the app says on its own socket; the answer is JSON."""
        return json.loads(self.ask(self.socket, "POST", path))

    def ask(self, to, method, path):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(to)
            s.sendall(("%s %s HTTP/1.1\r\nhost: daemon\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % (method, path)).encode())
            text = b""
            while True:
                some = s.recv(65536)
                if not some:
                    break
                text += some
        head, _, body = text.partition(b"\r\n\r\n")
        must(head.startswith(b"HTTP/1.1 200"), "%s: %s", path, head[:100])
        return body.decode(errors="replace")

    def status(self):
        """What `thinmesh status` tells people."""
        said = subprocess.run([self.world.daemon, "status", "-s", self.control], capture_output=True, text=True, timeout=10)
        return said.stdout + said.stderr

    def xds(self):
        """What it says to programs of its only stream."""
        streams = json.loads(self.get("/status"))["xds"]
        must(len(streams) == 1, "streams: %s", streams)
        return streams[0]

    def endpoints(self, service):
        """address -> state, of the name's own cluster."""
        for cluster in json.loads(self.get("/status"))["services"]:
            if service.host in cluster["name"]:
                return {e["address"]: e["state"] for e in cluster["endpoints"]}
        return {}

    def upgrade(self):
        """SIGUSR2: another process takes over, and is the daemon from now on. The old one is returned; it ends by itself."""
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what its parent leaves behind is ours
        old = self.part.child
        old.send_signal(signal.SIGUSR2)

        def other():
            try:
                return {json.loads(self.get("/status"))["pid"]} - {old.pid}
            except (OSError, Failed):  # asked of the one that goes, just then
                return None
        self.part.child = Successor(within(READY_S, "another process takes over", other).pop())
        return old

    def anonymous_kib(self):
        """What it holds. Its share of pages of files depends on how many other daemons happen to run at the moment."""
        with open("/proc/%d/smaps_rollup" % self.part.child.pid) as f:
            return int(re.search(r"^Pss_Anon: +(\d+) kB", f.read(), re.M).group(1))

    def stop(self):
        """SIGTERM; the daemon must leave with 0 and without a word of a sanitizer."""
        must(not self.part.ended(), "the daemon ended by itself, exit code %s:\n%s", self.part.child.returncode, self.part.tail(20))
        self.part.child.terminate()
        self.leaves()

    def leaves(self):
        """It was asked to."""
        self.gone = True
        within(40, "the daemon ends", self.part.ended)
        code = self.part.stop()
        with open(self.part.log, errors="replace") as f:
            bad = [line for line in f if "Sanitizer" in line or "runtime error:" in line]
        must(code == 0 and not bad, "the daemon's end: exit code %s %s", code, "".join(bad))


class World:
    def __init__(self, folder, daemon, binaries, notes):
        self.folder, self.daemon, self.binaries, self.notes = folder, daemon, binaries, notes
        self.parts, self.daemons, self.started, self.providers = [], [], 0, {}
        # Scenarios of several runs on one machine must not meet: a block of 127.0.0.0/8 each.
        self.block = next(b for b in ("127.%d.%d." % (random.randint(2, 254), random.randint(0, 254)) for _ in range(200)) if hops.claim("block/" + b))

    def binary(self, name):
        return os.path.join(self.binaries, name)

    def note(self, text, *values):
        """What was measured; told beside the case's name."""
        self.notes.append(text % values if values else text)

    def provide(self, *hosts):
        """Starts one provider process that has these last bytes as addresses."""
        at = ["%s%d:%d" % (self.block, h, PROVIDER_PORT) for h in hosts]
        part = Part(self, "provider", [self.binary("mesh-provider"), "-listen", ",".join(at)], ready_word="ready")
        self.providers.update({h: part for h in hosts})

    def who(self, host):
        return "%s%d:%d" % (self.block, host, PROVIDER_PORT)

    def service(self, short, *hosts, split=None, versions=None):
        """Last bytes of addresses; versions: {byte: version}, v1 where it says nothing."""
        return words.Service(short, [(self.block + str(h), PROVIDER_PORT, (versions or {}).get(h, "v1")) for h in hosts], split)

    def sidecar(self, plane, profile, protocol, **how):
        """A daemon and a caller through its socket. In the stand-in mode there is no daemon: grpc-go's xDS client is the hop."""
        if STAND_IN:
            if how.get("xds"):
                raise Skipped("the stand-in speaks no TLS here")
            return None, self.comparator(plane)
        daemon = Daemon(self, plane, profile, protocol, **how)
        self.daemons.append(daemon)
        return daemon, self.caller(daemon)

    def caller(self, daemon, app="default"):
        return Caller(self, ["-socket", daemon.sockets[app]])

    def comparator(self, plane):
        """grpc-go's own xDS client, pointed at the same server."""
        bootstrap = {"xds_servers": [{"server_uri": plane.ads, "channel_creds": [{"type": "insecure"}],
                                      "server_features": ["xds_v3"]}], "node": plane.node(), "authorities": {words.XDSTP_AUTHORITY: {}}}
        path = os.path.join(self.folder, "bootstrap.json")
        with open(path, "w") as f:
            json.dump(bootstrap, f)
        return Caller(self, ["-xds"], env={"GRPC_XDS_BOOTSTRAP": path})

    def finish(self):
        """The daemons that still run must end well; only called where the scenario itself went well."""
        for d in self.daemons:
            if not d.gone:
                d.stop()

    def evidence(self):
        """What a failure is looked into with: the daemons' pages are kept beside their logs; gives the last words of the last daemon."""
        for d in self.daemons:
            for page in ("stats", "status", "certs", "clusters", "config_dump"):
                try:
                    text = d.get("/" + page)
                except (OSError, Failed) as e:
                    text = str(e)
                with open(os.path.join(d.folder, page), "w") as f:
                    f.write(text)
        return "\nthe daemon's last words:\n" + self.daemons[-1].part.tail(4) if self.daemons else ""

    def stop(self):
        for part in reversed(self.parts):
            try:
                if part.name == "daemon" and not part.ended():
                    part.stop(5)
                elif not part.ended():
                    part.kill()
                part.stop()
            except OSError:
                pass
