# The processes of a health scenario beside those of mesh_parts: providers of three ecosystems with and without grpc.health.v1, which say of
# themselves what they are told to say, the daemon with a directory instead of a control plane, and the callers.

import json
import os
import re
import signal
import subprocess

import hop as hops
import mesh_parts as parts
from mesh_parts import must, within

KINDS = ("grpc-go", "dubbo-go", "dubbo-java")
START_S = 90  # a JVM on a busy machine
WORD_S = 30   # until somebody is known to be well or not, where it is at most one interval


def address(port):
    return "127.0.0.1:%d" % port


class Spoken(parts.Part):
    """A part that is told things by lines on its input; its output goes to its log."""

    def __init__(self, world, name, command):
        world.started += 1
        self.name, self.log = name, os.path.join(world.folder, "%02d-%s.log" % (world.started, name))
        with open(self.log, "w") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=world.folder, text=True,
                                          preexec_fn=parts.die_with_parent)
        world.parts.append(self)

    def count(self, word):
        with open(self.log, errors="replace") as f:
            return sum(line.strip() == word for line in f)

    def say(self, word):
        before = self.count(word)
        self.child.stdin.write(word + "\n")
        self.child.stdin.flush()
        within(WORD_S, lambda: "%s says %s:\n%s" % (self.name, word, self.tail()), lambda: self.count(word) > before)


class Provider:
    """One address and whoever serves it: start() again after an end takes the same port."""

    def __init__(self, world, kind, bare=False):
        self.world, self.kind, self.bare = world, kind, bare
        self.port = hops.free_port()
        self.address, self.who = address(self.port), str(self.port)
        self.begin()

    def command(self):
        box = self.world.box
        if self.kind == "grpc-go":
            return [box.path("bin", "grpc-go-health-provider"), "-port", self.who] + (["-bare"] if self.bare else [])
        if self.kind == "dubbo-go":
            return [box.path("bin", "dubbo-go-bare" if self.bare else "dubbo-go-provider"), "-port", self.who]
        return box.java("dubbo-java", "thinmesh.interop.Provider", self.who,
                        options=hops.dubbo_java_options(self.world.folder, health=not self.bare))

    def begin(self):
        self.part = Spoken(self.world, self.kind + ("-bare" if self.bare else ""), self.command())

    def ready(self):
        def listens():
            must(not self.part.ended(), "%s ended at once:\n%s", self.part.name, self.part.tail())
            if self.kind == "dubbo-java" and not self.part.count("ready"):
                return False  # its port is open before its services are there
            try:
                hops.connect_tcp(self.port)()
                return True
            except OSError:
                return False
        within(START_S, lambda: "%s listens:\n%s" % (self.part.name, self.part.tail()), listens)
        return self

    def start(self):
        self.begin()
        self.ready()

    def says(self, word):
        self.part.say(word)

    def kill(self):
        self.part.kill()

    def leave(self, limit_s=30, meanwhile=lambda: None):
        """SIGTERM, and it takes its leave as its SDK does."""
        self.part.child.terminate()
        meanwhile()
        try:
            self.part.child.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise parts.Failed("%s does not end:\n%s" % (self.part.name, self.part.tail()))


def providers(world, *what):
    """what: (kind, bare) each. Started beside each other, for a JVM takes its time."""
    return [p.ready() for p in [Provider(world, kind, bare) for kind, bare in what]]


class Daemon(parts.Daemon):
    """thinmesh with a directory. services: name -> (addresses, further lines of YAML); app: further lines of the app."""

    def __init__(self, world, services, app=(), tcp=None):
        # Not the base's: that one writes a configuration with a control plane.
        self.world, self.gone = world, False
        world.started += 1
        self.folder = os.path.join(world.folder, "daemon%d" % world.started)
        os.mkdir(self.folder)
        self.socket, self.control = os.path.join(self.folder, "app.sock"), os.path.join(self.folder, "control.sock")
        self.lines = ["control:", "  unix: " + self.control, "apps:", "  - name: shop", "    listen:", "      - unix: " + self.socket]
        if tcp:
            self.lines += ["      - tcp: " + address(tcp), "        default: " + next(iter(services))]
        self.lines += ["    " + line for line in app]
        self.config, self.services = os.path.join(self.folder, "thinmesh.yaml"), dict(services)
        self.write()
        self.part = parts.Part(world, "daemon", [world.daemon, "run", "-c", self.config])
        within(parts.READY_S, lambda: "the daemon listens:\n" + self.part.tail(), lambda: self.listens() or self.part.ended())
        must(not self.part.ended(), "the daemon ended at once:\n%s", self.part.tail())
        world.daemons.append(self)

    def write(self):
        lines = self.lines + (["services:"] if self.services else [])
        for name, (at, more) in self.services.items():
            lines = lines + ["  - name: " + name, "    endpoints: [%s]" % ", ".join('"%s"' % a for a in at)] + ["    " + line for line in more]
        with open(self.config, "w") as f:
            f.write("\n".join(lines) + "\n")

    def lists(self, service, *providers):
        """The directory names these and no others from now on."""
        at = [p.address for p in providers]
        self.services[service] = (at, self.services[service][1])
        self.write()
        self.part.child.send_signal(signal.SIGHUP)
        within(WORD_S, lambda: "%s has %s: %s" % (service, at, self.endpoints(service)), lambda: set(self.endpoints(service)) == set(at))

    def stat(self, name):
        found = re.search(r"^thinmesh_%s(?:_total)? (\d+)$" % name, self.get("/stats"), re.M)
        must(found, "no counter %s", name)
        return int(found.group(1))

    def endpoints(self, service):
        """address -> what is known of it."""
        for s in json.loads(self.get("/status"))["services"]:
            if s["name"] == service:
                return {e["address"]: e for e in s["endpoints"]}
        raise parts.Failed("no service %s in the status" % service)

    def in_flight(self):
        """Calls that came in for the app."""
        return json.loads(self.get("/status"))["apps"][0]["in_flight"]

    def is_out(self, service, provider):
        return "check failed" in json.dumps(self.endpoints(service)[provider.address])

    def is_in(self, service, provider):
        return "check" not in json.dumps(self.endpoints(service)[provider.address]["state"])

    def until(self, provider, well, *services):
        for s in services:
            within(WORD_S, lambda: "%s is %s for %s: %s" % (provider.part.name, "well" if well else "out", s, self.endpoints(s)),
                   lambda: (self.is_in if well else self.is_out)(s, provider))

    def post(self, word, *more):
        done = subprocess.run([self.world.daemon, word, "-s", self.socket, *more], capture_output=True, text=True, timeout=20)
        must(done.returncode == 0, "thinmesh %s: %s", word, done.stderr)


class Caller(parts.Caller):
    """The grpc-go client. options: -checked, -patient."""

    def __init__(self, world, target, authority, *options):
        self.part = parts.Part(world, "caller", [world.box.path("bin", "grpc-go-health-client"), "-target", target, "-authority", authority,
                               *options], pipe=True)

    def greet(self, *words):
        return self.tell("greet", *(words or ("who",)))

    def who_answers(self, count=40):
        """So many calls at once; all must be answered. Returns who did."""
        self.tell("burst", count, "who")
        total = self.tell("stop")
        must(set(total["codes"]) == {"0"}, "calls failed: %s, the first: %s", total["codes"], total.get("first"))
        return set(total["who"])

    def load(self, a_second):
        return self.tell("load", a_second)

    def state(self):
        return self.tell("state")

    def watched(self, label):
        return self.tell("watched", label)


class JavaChannel(Caller):
    """grpc-java with health checking; has greet, burst, stop and state."""

    def __init__(self, world, socket, authority, *options):
        self.part = parts.Part(world, "channel", world.box.java("grpc-java", "thinmesh.interop.HealthClient", socket, authority, *options), pipe=True)


class DubboGoConsumer(Caller):
    """A reference of dubbo-go; it can dial addresses only, so the listener's default names the service."""

    def __init__(self, world, port):
        self.part = parts.Part(world, "consumer", [world.box.path("bin", "dubbo-go-consumer"), "-told", "-provider", "dubbo-go", "-url",
                               "tri://" + address(port)], pipe=True)


class World(parts.World):
    def __init__(self, folder, daemon, box, notes):
        super().__init__(folder, daemon, box.path("bin"), notes)
        self.box = box

    def evidence(self):
        return super().evidence() + "".join("\n%s: %s" % (p.name, p.tail(2)) for p in self.parts if p.name != "daemon" and p.ended())
