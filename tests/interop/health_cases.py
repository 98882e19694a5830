# What is promised of health, each a scenario: which providers are called, and what an SDK is told of them. A scenario takes the Setup of health.py.
#
# Where calls run while something ends, not one may fail: a caller never pays for what is known, nor for an end with grace.

from health_parts import WORD_S, Caller, Daemon, DubboGoConsumer, address, providers
import hop as hops
from mesh_parts import must, within

SERVICE = "greeter.default.svc.cluster.local"
QUICK = "timeout: 10s, unhealthy_threshold: 1, interval: 100ms, no_traffic_interval: 100ms"
# A time-out that only a provider that is stuck needs: nobody here is, and one on a busy machine must not be taken for it.
# An interval in which no scenario ends: what is known of a provider that serves, its Watch has said.
BY_WATCH = "timeout: 10s, unhealthy_threshold: 1, watch: true, interval: 10m, no_traffic_interval: 10m, unhealthy_interval: 100ms, unhealthy_edge_interval: 100ms"
# Dubbo Java 3.3 closes its connections a moment after SIGTERM, without a GOAWAY and with calls on their way; dubbo-go closes them so at its end,
# which only its health service announces, and only for a service by its name. A mesh of them wants this:
MANNERS = ["retries: {max: 2, on: [reset, connect-failure]}"]
NAMED = ["health: {grpc: {service: thinmesh.interop.Greeter}, %s}" % QUICK]


def checked(how):
    return ["health: {grpc: {}, %s}" % how]


def answered_by(caller, *who):
    """They and nobody else answer; a call each is enough where forty are spread over two."""
    got = caller.who_answers()
    must(got == {p.who for p in who}, "answered by %s, wanted %s", sorted(got), sorted(p.who for p in who))


def until_load_is_answered_by(caller, *who):
    """By each of them, and from some moment on by nobody else: what was on its way before may still come."""
    wanted = {p.who for p in who}

    def look():
        nonlocal got
        new = set(caller.tell("seen")["who"])
        got = got | new if new <= wanted else set()
        return got == wanted
    got = set()
    within(WORD_S, lambda: "answered by %s; the last: %s" % (sorted(wanted), sorted(got)), look)


def errors(daemon, service, provider):
    return daemon.endpoints(service)[provider.address]["errors"]


def told(s):
    """SERVING and no health service at all are alive, NOT_SERVING gets no call; killed, and back at the same address"""
    on, off = providers(s.world, (s.kind, False), (s.kind, True))
    both = [on.address, off.address]
    d = Daemon(s.world, {"polled:1": (both, checked(QUICK)), "named:1": (both, NAMED),
                         "strict:1": (both, ["health: {grpc: {unimplemented: fails}, %s}" % QUICK])})
    names = ("polled:1", "named:1")
    callers = [Caller(s.world, "unix:" + d.socket, n) for n in names]

    def until_answered_by(*who):
        for p in (on, off):
            d.until(p, p in who, *names)
        for c in callers:
            answered_by(c, *who)
    until_answered_by(on, off)
    d.until(on, True, "strict:1")
    d.until(off, False, "strict:1")
    on.says("NOT_SERVING")
    until_answered_by(off)
    on.says("SERVING")
    until_answered_by(on, off)
    for dead, lives in ((off, on), (on, off)):
        dead.kill()
        for n in names:
            d.until(dead, False, n)
        before = [errors(d, n, dead) for n in names]
        until_answered_by(lives)
        must([errors(d, n, dead) for n in names] == before, "calls went to the dead: %s, then %s", before, [d.endpoints(n) for n in names])
        dead.start()
        until_answered_by(on, off)
    must(d.stat("calls_failed") == 0, "%d calls failed", d.stat("calls_failed"))


def watched(s):
    """the same by Health/Watch: NOT_SERVING and the end are told by it, nobody is asked again meanwhile"""
    on, off = providers(s.world, (s.kind, False), (s.kind, True))
    d = Daemon(s.world, {"watched:1": ([on.address, off.address], checked(BY_WATCH))})
    caller = Caller(s.world, "unix:" + d.socket, "watched:1")

    def until_answered_by(*who):
        for p in (on, off):
            d.until(p, p in who, "watched:1")
        answered_by(caller, *who)
    until_answered_by(on, off)
    for ends in (True, False):  # the second time on the Watch that was opened after the death
        on.says("NOT_SERVING")
        until_answered_by(off)
        on.says("SERVING")
        until_answered_by(on, off)
        if ends:
            on.kill()
            until_answered_by(off)
            on.start()
            until_answered_by(on, off)
    must(d.stat("calls_failed") == 0, "%d calls failed", d.stat("calls_failed"))


def leaves(s):
    """providers that leave with grace and return, one after the other under load, cost no call"""
    # The port of Dubbo Java is open before its services are there (404 until then), which nobody knows of one without a health service.
    pair = providers(s.world, (s.kind, False), (s.kind, s.kind != "dubbo-java"))
    d = Daemon(s.world, {"named:1": ([p.address for p in pair], NAMED + (MANNERS if s.kind != "grpc-go" else []))})
    caller = Caller(s.world, "unix:" + d.socket, "named:1")
    for p in pair:
        d.until(p, True, "named:1")
    caller.load(100)
    for p in pair:
        until_load_is_answered_by(caller, *pair)
        if s.kind == "dubbo-go" and p.bare:
            # Its leave begins by taking itself out of its registry, then it serves three seconds more: who is neither told by that nor by a health service
            # gets from it, in its last millisecond, INTERNAL and answers that are cut off (docs/interop.md). The directory is the registry here.
            p.leave(meanwhile=lambda p=p: d.lists("named:1", *(q for q in pair if q != p)))
            p.start()
            d.lists("named:1", *pair)
        else:
            p.leave()
            d.until(p, False, "named:1")
            p.start()
        d.until(p, True, "named:1")
    until_load_is_answered_by(caller, *pair)
    s.world.note("%d calls", caller.stop_load())


def reference(s):
    """the Watch that a dubbo-go consumer opens for its reference stays open across the death and return of each provider, its calls go on"""
    trio = providers(s.world, ("dubbo-go", False), ("dubbo-go", True), ("grpc-go", False))
    port = hops.free_port()
    more = checked(QUICK) + MANNERS
    d = Daemon(s.world, {SERVICE: ([p.address for p in trio], more)}, tcp=port)
    for p in trio:
        d.until(p, True, SERVICE)
    consumer = DubboGoConsumer(s.world, port)
    answer = consumer.greet()
    must(answer["code"] == 0, "the first call: %s", answer)
    within(WORD_S, "the consumer's Watch is open", lambda: d.stat("health_watches") == 1)
    asked = d.stat("health_asked")
    consumer.load(50)
    for p in trio:
        until_load_is_answered_by(consumer, *trio)
        p.kill()
        d.until(p, False, SERVICE)
        until_load_is_answered_by(consumer, *(q for q in trio if q != p))
        must(d.stat("health_watches") == 1, "the Watch is gone")
        p.start()
        d.until(p, True, SERVICE)
    s.world.note("%d calls", consumer.stop_load())
    must(d.stat("health_watches") == 1 and d.stat("health_asked") == asked, "it was asked anew: %d open, %d asked, before %d",
         d.stat("health_watches"), d.stat("health_asked"), asked)


def channel(s):
    """a channel with healthCheckConfig is READY while a call could succeed, TRANSIENT_FAILURE when none can, and comes back by itself"""
    pair = providers(s.world, ("grpc-go", False), ("grpc-go", True))
    d = Daemon(s.world, {"polled:1": ([p.address for p in pair], checked(QUICK))})
    hasty, patient = s.channel(d.socket, "polled:1"), s.channel(d.socket, "polled:1", patient=True)

    def until_both_are(state):
        for c in (hasty, patient):
            within(WORD_S, lambda: "the channel is %s: %s" % (state, c.state()), lambda: c.state() == state)
    for p in pair:
        d.until(p, True, "polled:1")
    until_both_are("READY")
    for first, second in (pair, pair[::-1]):
        first.kill()
        d.until(first, False, "polled:1")
        answered_by(hasty, second)
        must(hasty.state() == "READY", "one of two is dead, and the channel is %s", hasty.state())
        second.kill()
        until_both_are("TRANSIENT_FAILURE")
        failed = hasty.greet()
        must(failed["code"] == 14 and "health" in failed["message"].lower(), "a call meanwhile: %s", failed)
        patient.tell("burst", 10, "who")
        first.start()
        until_both_are("READY")
        total = patient.tell("stop")
        must(total["codes"] == {"0": 10}, "calls that waited: %s", total)
        answered_by(hasty, first)
        second.start()
        d.until(second, True, "polled:1")
    must(d.stat("health_watches") == 2, "%d Watches are open", d.stat("health_watches"))


def asked(s):
    """Check, List and Watch of grpc-go's health client, about the app at the door for others, about a service at the app's own socket"""
    (provider,) = providers(s.world, ("grpc-go", False))
    port = hops.free_port()
    d = Daemon(s.world, {"polled:1": ([provider.address], checked(QUICK))}, app=["health: {listen: [{tcp: %s}]}" % address(port)])
    outside = Caller(s.world, address(port), "shop.example")

    def says(caller, code, answer, *service):
        got = caller.tell("check", *service)
        must((got["code"], got["answer"]) == (code, answer), "Check %s: %s", service, got)
    says(outside, 0, "NOT_SERVING")
    outside.tell("watch", "app")
    within(WORD_S, "the first status", lambda: outside.watched("app")["told"] == ["NOT_SERVING"])
    listed = outside.tell("list")
    must(listed["code"] == 0 and "=NOT_SERVING" in listed["answer"], "List: %s", listed)
    for word, status in (("ok", "SERVING"), ("fail", "NOT_SERVING"), ("ok", "SERVING")):
        d.post(word)
        says(outside, 0, status)
        within(WORD_S, "the Watch says " + status, lambda: outside.watched("app")["told"][-1] == status)
    listed = outside.tell("list")
    must(listed["code"] == 0 and "=SERVING" in listed["answer"], "List: %s", listed)
    says(outside, 5, "", "nobody.example")
    must(outside.watched("app") == {"told": ["NOT_SERVING", "SERVING", "NOT_SERVING", "SERVING"], "ended": ""}, "the Watch: %s", outside.watched("app"))

    d.until(provider, True, "polled:1")
    inside = Caller(s.world, "unix:" + d.socket, "polled:1")
    nobody = Caller(s.world, "unix:" + d.socket, "nobody:1")
    says(inside, 0, "SERVING")
    says(inside, 0, "SERVING", "any.Service")
    says(nobody, 5, "")
    must(inside.tell("list")["code"] == 0, "List: %s", inside.tell("list"))
    inside.tell("watch", "service")
    nobody.tell("watch", "unknown")
    within(WORD_S, "both Watches speak", lambda: inside.watched("service")["told"] == ["SERVING"] and nobody.watched("unknown")["told"] == ["SERVICE_UNKNOWN"])
    provider.says("NOT_SERVING")
    within(WORD_S, "the Watch follows", lambda: inside.watched("service")["told"] == ["SERVING", "NOT_SERVING"])
    says(inside, 0, "NOT_SERVING")
    provider.kill()
    provider.start()
    within(WORD_S, "the Watch lives", lambda: inside.watched("service")["told"] == ["SERVING", "NOT_SERVING", "SERVING"])
    must(not inside.watched("service")["ended"] and not nobody.watched("unknown")["ended"], "a Watch ended: %s", inside.watched("service"))


class Inbound:
    """An app whose server is behind the daemon's inbound door."""

    def __init__(self, s):
        (self.server,) = providers(s.world, ("grpc-go", False))
        self.port, self.health = hops.free_port(), hops.free_port()
        self.daemon = Daemon(s.world, {}, app=["inbound: [{tcp: \"%s\", to: \"%s\"}]" % (address(self.port), self.server.address),
                                               "health: {listen: [{tcp: \"%s\"}]}" % address(self.health)])
        self.daemon.post("ok")
        self.who = self.server.who


def inbound(s):
    """fail behind the inbound door: calls in flight end well, the client is told to go and its calls move to the other instance; ok: they return"""
    a, b = Inbound(s), Inbound(s)
    both = "%s,%s" % (address(a.port), address(b.port))
    slow, client = Caller(s.world, both, "shop.example", "-checked"), Caller(s.world, both, "shop.example", "-checked")
    for c in (slow, client):
        within(WORD_S, "the channel is READY", lambda: c.state() == "READY")
    client.load(100)
    for one, other in ((a, b), (b, a)):
        until_load_is_answered_by(client, a, b)
        slow.tell("burst", 20, "sleep 3000")  # longer than any machine needs until fail is said
        within(WORD_S, "some are in flight", lambda: one.daemon.in_flight() >= 5)
        one.daemon.post("fail")
        until_load_is_answered_by(client, other)
        total = slow.tell("stop")
        must(total["codes"] == {"0": 20}, "calls in flight: %s", total)
        one.daemon.post("ok")
    until_load_is_answered_by(client, a, b)
    s.world.note("%d calls", client.stop_load())


def instances(s):
    """two such apps behind a third sidecar, which asks their doors for others: fail and ok of either under load cost no call"""
    a, b = Inbound(s), Inbound(s)
    pair = (a, b)
    d = Daemon(s.world, {"shop:1": ([address(i.port) for i in pair], checked(QUICK))})
    caller = Caller(s.world, "unix:" + d.socket, "shop:1")
    caller.load(100)
    for one, other in (pair, pair[::-1], pair):
        until_load_is_answered_by(caller, a, b)
        one.daemon.post("fail")
        until_load_is_answered_by(caller, other)
        one.daemon.post("ok")
    until_load_is_answered_by(caller, a, b)
    s.world.note("%d calls", caller.stop_load())
