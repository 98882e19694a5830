# The processes of a TLS scenario beside those of health_parts: providers on Go's and Java's TLS stacks and their callers, and the files of certificates that a scenario
# changes while others read them.

import json
import os
import sys

import health_parts
from mesh_parts import Part, must, within

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import certs  # noqa: E402

START_S = 90  # a JVM on a busy machine
DOMAIN = "cluster.local"


def spiffe_id(account, domain=DOMAIN):
    return "spiffe://%s/ns/default/sa/%s" % (domain, account)


def roots_changed(daemon, change):
    """Changes what somebody trusts, and waits until this daemon has taken it over."""
    def taken():
        return sum(s["changes"] for s in json.loads(daemon.get("/certs"))["secrets"] if s["kind"] == "roots")
    before = taken()
    change()
    within(30, lambda: "the roots are taken over: " + daemon.get("/certs"), lambda: taken() > before)


class Files:
    """A certificate, its key and the roots as the files that somebody reads, each replaced whole: the key first, as agents do."""

    def __init__(self, folder, leaf, roots):
        os.makedirs(folder, exist_ok=True)
        self.folder, self.cert, self.key, self.roots = folder, *(os.path.join(folder, n) for n in ("cert-chain.pem", "key.pem", "root-cert.pem"))
        self.show(leaf)
        self.trust(roots)

    def show(self, leaf):
        certs.write(self.key, leaf.key_pem)
        certs.write(self.cert, leaf.pem)

    def trust(self, *roots):
        certs.write(self.roots, "".join(certs.read(r) for r in roots))

    def identity(self):
        return "identity: {cert: %s, key: %s, roots: %s}" % (self.cert, self.key, self.roots)


class World(health_parts.World):
    """Also with an authority, "ca", which the mesh trusts."""

    def __init__(self, folder, daemon, box, notes):
        super().__init__(folder, daemon, box, notes)
        self.ca = certs.Authority(os.path.join(folder, "ca"))

    def files(self, name, sans, by=None, roots=None, **how):
        by = by or self.ca
        return Files(os.path.join(self.folder, "files-" + name), by.leaf(name, sans, **how), roots or self.ca.roots)

    def member(self, account, by=None, domain=DOMAIN, roots=None):
        """Of the mesh: its SPIFFE id is all its name."""
        return self.files(account, certs.spiffe(account, domain=domain), by, roots)

    def at(self, host, port=6001):
        return "%s%d:%d" % (self.block, host, port)


# ---- providers

class Server(Part):
    """On Go's stack, or Java's, or without TLS. demand: a file of roots for client certificates."""

    def __init__(self, world, at, files=None, demand=None, versions=("1.2", "1.3"), java=False, more=()):
        host, port = at.split(":")
        self.address = self.who = at
        if java:
            command = world.box.java("grpc-java", "thinmesh.interop.TlsProvider", host, port, files.cert, files.key, demand or "-",
                                     ",".join("TLSv" + v for v in versions))
        else:
            command = [world.box.path("bin", "grpc-go-tls-server"), "-listen", at, "-min", versions[0], "-max", versions[-1], *more]
            command += ["-cert", files.cert, "-key", files.key] if files else []
            command += ["-clients", demand] if demand else []
        super().__init__(world, "java-server" if java else "go-server", command)

    def ready(self):
        within(START_S, lambda: "%s is ready:\n%s" % (self.name, self.tail()), lambda: self.said("ready") or self.ended())
        must(not self.ended(), "%s ended at once:\n%s", self.name, self.tail())
        return self

    def calls(self):
        """How many it was given; Go's only."""
        with open(self.log, errors="replace") as f:
            return sum(line.strip() == "called" for line in f)


class Caller(health_parts.Caller):
    """The grpc-go client, through a daemon's socket or, with `files`, over TLS of its own straight to an address."""

    def __init__(self, world, target, authority, *options, files=None, peer=None):
        secure = ["-roots", files.roots, "-cert", files.cert, "-key", files.key] if files else []
        super().__init__(world, target, authority, *options, *secure, *(["-uri", peer] if peer else []))

    def answer(self, *words):
        """A call that must succeed, and what it was told."""
        got = self.greet(*words)
        must(got["code"] == 0, "a call: %s", got)
        return got["answer"]

    def connection(self):
        """What the provider says of the connection."""
        return json.loads(self.answer("tls"))

    def certificate_header(self):
        return self.answer("header x-forwarded-client-cert")

    def refused(self, *texts, code=14):
        """A call fails with this code and says all of these."""
        got = self.greet("who")
        must(got["code"] == code and all(t in got["message"] for t in texts), "wanted code %d and %s: %s", code, texts, got)
        return got["message"]

    def until_refused(self, *texts, code=14, limit_s=30):
        """The same, where what is asked for may be on its way yet."""
        got = {}

        def look():
            got.update(self.greet("who"))
            return got["code"] == code and all(t in got["message"] for t in texts)
        within(limit_s, lambda: "a call fails with %d and %s: %s" % (code, texts, got), look)
        return got["message"]

    def until_answered(self, limit_s=30):
        got = {}

        def look():
            got.update(self.greet("who"))
            return got["code"] == 0
        within(limit_s, lambda: "a call is answered: %s" % got, look)
        return got["answer"]

    def none_failed(self):
        return self.stop_load()
