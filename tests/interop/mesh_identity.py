# The scenarios of who speaks to whom: istiod's TLS port with a token, go-control-plane's with a client certificate, and each refusal told to people.
#
# What a scenario is given and what it raises stands in mesh_cases.py.

import os

from mesh_cases import CHANGE_S, OK, RECONNECT_S, UNAVAILABLE, answers
from mesh_parts import http, must, within


# ---- istiod

def tls_istiod(s, token, roots=None, more=()):
    """A setup whose daemon speaks to istiod's TLS port with this token. Returns the world's daemon, the caller and the service."""
    w = s.world
    w.provide(2)
    demo = w.service("demo", 2)
    plane = s.plane(demo)
    with open(os.path.join(w.folder, "root.pem"), "w") as f:
        f.write(http("GET", plane.ctl, "/root"))
    with open(os.path.join(w.folder, "token"), "w") as f:
        f.write(token)
    tls = ["  server: " + plane.tls, "  tls:", "    roots: " + (roots or os.path.join(w.folder, "root.pem")),
           "    server_name: istiod.istio-system.svc", "    token_file: " + os.path.join(w.folder, "token")]
    daemon, caller = s.sidecar(plane, xds=tls, more=more)
    return daemon, caller, demo


def says_why(daemon, caller, demo, reason):
    """The call fails with UNAVAILABLE, and status tells the control plane's or TLS's own words."""
    answer = caller.call(demo, 20000)
    must(answer["code"] == UNAVAILABLE, "a call without a control plane: %s", answer)
    within(CHANGE_S, lambda: "status says '%s':\n%s" % (reason, daemon.status()), lambda: reason in daemon.status())


def token(s):
    """istiod's TLS port with a bearer token: the identity is accepted"""
    daemon, caller, demo = tls_istiod(s, "default/shop")
    answers(caller, demo, [s.world.who(2)])
    must(s.world.block + "1:15012" in daemon.status(), "status does not name the server:\n%s", daemon.status())
    said = daemon.status() + daemon.get("/config_dump") + daemon.part.tail(10000)
    must("default/shop" not in said, "the token is told to whoever reads the log or the pages")


def token_refused(s):
    """a token of another namespace is refused, and status says in istiod's words why"""
    says_why(*tls_istiod(s, "elsewhere/shop"), "no identities")


def token_corrected(s):
    """a token file that is put right is read again: no restart"""
    daemon, caller, demo = tls_istiod(s, "elsewhere/shop")
    says_why(daemon, caller, demo, "no identities")
    with open(os.path.join(s.world.folder, "token"), "w") as f:
        f.write("default/shop")
    within(RECONNECT_S, lambda: "the call is answered: %s" % caller.call(demo), lambda: caller.call(demo)["code"] == OK)


# ---- go-control-plane

def client_certificate(s):
    """an ADS port that demands a client certificate is given one"""
    w = s.world
    w.provide(2)
    demo = w.service("demo", 2)
    plane = s.plane(demo)
    _, caller = s.sidecar(plane, xds=certificate_lines(s, plane, "client"))
    answers(caller, demo, [w.who(2)])


def certificate_lines(s, plane, which):
    lines = ["  server: " + plane.tls, "  tls:", "    roots: " + os.path.join(s.world.folder, "ca.pem"),
             "    server_name: ads.thinmesh.test"]
    if which:
        lines += ["    cert: " + os.path.join(s.world.folder, which + ".pem"), "    key: " + os.path.join(s.world.folder, which + ".key")]
    return lines


def certificate_missing(s):
    """without a client certificate, or with one of another CA, there is no stream, and status says why"""
    w = s.world
    w.provide(2)
    demo = w.service("demo", 2)
    plane = s.plane(demo)
    for which in (None, "other"):
        daemon, caller = s.sidecar(plane, xds=certificate_lines(s, plane, which))
        answer = caller.call(demo, 20000)
        must(answer["code"] == UNAVAILABLE, "a call without a control plane: %s", answer)

        def why():
            return [line.strip() for line in daemon.status().splitlines() if "refuses" in line or "certificate" in line]
        w.note("%s", within(CHANGE_S, lambda: "status says why (%s):\n%s" % (which, daemon.status()), why)[0])
    must(plane.seen()["open"] == 0, "a stream was opened: %s", plane.seen())


def server_of_another_name(s):
    """a server whose certificate is for another name is not spoken to"""
    w = s.world
    w.provide(2)
    demo = w.service("demo", 2)
    plane = s.plane(demo)
    lines = [line.replace("ads.thinmesh.test", "other.thinmesh.test") for line in certificate_lines(s, plane, "client")]
    daemon, caller = s.sidecar(plane, xds=lines)
    must(caller.call(demo, 20000)["code"] == UNAVAILABLE, "it was spoken to")
    must(plane.seen()["open"] == 0, "a stream was opened: %s", plane.seen())
