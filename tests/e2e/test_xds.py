"""Names from a mesh: the real binary beside a control plane of ours (plane.py), over real sockets."""
import json
import os
import re
import signal
import threading

from h2raw import grpc_message
from harness import DEMO, GREETER, Failed, case, cases, check, same, until
from plane import Authority, TlsFront
from providers import Provider

OTHER = "other.default.svc.cluster.local:50051"


def mesh(t, plane, start=True, env=None, app=None, listen=None, snapshot=None, **xds):
	"""A daemon that asks this plane; more keys of xds: as arguments."""
	return t.daemon(start=start, env=env, conf=mesh_config(t, plane, app=app, listen=listen, snapshot=snapshot, **xds))


def mesh_config(t, plane, app=None, listen=None, snapshot=None, **xds):
	return t.config(app=app, listen=listen, snapshot={"dir": snapshot or ""}, xds=dict({"server": plane if isinstance(plane, str) else plane.server}, **xds))


class Calls:
	"""Calls to a name, one after the other, in a thread of their own until the case has seen enough."""

	def __init__(self, t, d, name=DEMO):
		self.h, self.name = t.h2(d), name
		self.done, self.failed, self.over = 0, [], threading.Event()
		self.who = ""
		self.thread = t.thread(self.run)
		t.after(self.end)

	def run(self):
		while not self.over.is_set():
			try:
				s = self.h.call(self.name, GREETER)
				if s.grpc_status != 0:
					self.failed.append((s.grpc_status, s.grpc_message))
				else:
					self.who = s.trailers.get("who", "")
			except Exception as e:
				self.failed.append((-1, str(e)))
				return
			self.done += 1

	def more(self, n=50):
		before = self.done
		until(lambda: self.done >= before + n or not self.thread.is_alive(), 5, "%d more calls" % n)
		same(self.failed, [], "calls that failed")

	def end(self):
		self.over.set()
		self.thread.join(10)
		same(self.failed, [], "calls that failed")


def who(h, name=DEMO):
	s = h.call(name, GREETER)
	same((s.grpc_status, s.grpc_message), (0, ""), "the call to " + name)
	return s.trailers["who"]


# ---- on demand -----------------------------------------------------------------------------------------------------------

@case
def five_lines_of_yaml_carry_the_first_call(t):
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	five = "apps:\n  - name: shop\n    listen: [{unix: %s}]\nxds:\n  server: %s\n" % (t.path("s.sock"), plane.at)
	same(five.count("\n"), 5)
	# Where the tests keep their things is no part of the five lines.
	t.write("places.yaml", json.dumps({"control": {"unix": t.path("c.sock")}, "snapshot": {"dir": ""}}))
	d = t.daemon(conf=five, args=["-c", t.path("thinmesh.yaml"), "-c", t.path("places.yaml")])
	with t.h2(d) as h:
		same(who(h), "a")
		same(plane.stats()["nacks"], 0)
		# It knows what it was asked for, and no more.
		same(plane.asked("EDS"), {"outbound|50051||demo.default.svc.cluster.local"})


@case
def an_unknown_service_is_12_at_once_and_found_when_it_is_created(t):
	a, b, plane = Provider(t, "a"), Provider(t, "b"), t.plane()
	plane.service(OTHER, a.address)
	d = mesh(t, plane)
	with t.h2(d) as h:
		s = h.call(DEMO, GREETER, timeout_s=2)
		same(s.grpc_status, 12)
		check(DEMO.split(":")[0] in s.grpc_message, s.grpc_message)
		same(who(h, OTHER), "a")
		plane.service(DEMO, b.address)
		until(lambda: h.call(DEMO, GREETER).grpc_status == 0, 2, "the service to be there")
		plane.gone(DEMO)
		until(lambda: h.call(DEMO, GREETER).grpc_status == 12, 2, "the service to be gone")


@case
def endpoints_that_change_are_followed_without_a_failed_call(t):
	a, b, plane = Provider(t, "a"), Provider(t, "b"), t.plane()
	plane.service(DEMO, a.address)
	d = mesh(t, plane, removal_hold="0s")
	calls = Calls(t, d)
	calls.more(5)
	for _ in range(5):
		for provider, name in ((b, "b"), (a, "a")):
			plane.endpoints(DEMO, provider.address)
			until(lambda: calls.who == name or not calls.thread.is_alive(), 2, "calls at " + name)
	calls.end()
	same(d.stat("calls_failed"), 0)


@case
def a_route_may_send_a_share_to_another_cluster(t):
	a, b, plane = Provider(t, "a"), Provider(t, "b"), t.plane()
	own, canary = "outbound|50051||" + DEMO.split(":")[0], "outbound|50051|v2|" + DEMO.split(":")[0]
	plane.service(DEMO, a.address)
	plane.cluster(canary, b.address)
	plane.route(DEMO, own + "=50", canary + "=50")
	d = mesh(t, plane)
	with t.h2(d) as h:
		seen = [who(h) for _ in range(60)]
		check(10 < seen.count("b") < 50, seen)
		plane.route(DEMO)
		until(lambda: all(who(h) == "a" for _ in range(10)), 2, "all calls at a")


@case
def a_thousand_names_of_one_turn_go_out_in_one_request(t):
	p, plane = Provider(t, "a"), t.plane()
	plane.bulk(1000, 50051, p.address)
	plane.service(DEMO, p.address)
	d = mesh(t, plane)
	with t.h2(d) as h:
		same(who(h), "a")
		before = {k: len(plane.requests(k)) for k in ("RDS", "EDS")}
		h.wait(lambda: h.settings_seen, 2)
		# The daemon reads what lies there in one turn: so it must lie there before the daemon runs.
		out = b""
		ids = []
		for i in range(900):
			sid = h.new_id()
			ids.append(sid)
			h.stream(sid)
			out += h.frame(1, 4, sid, h.encode(h.head("svc-%05u.bulk.svc.cluster.local:50051" % i, GREETER))) + h.frame(0, 1, sid, grpc_message(b"x"))
		d.signal(signal.SIGSTOP)
		try:
			h.raw(out)
		finally:
			d.signal(signal.SIGCONT)
		h.wait(lambda: all(h.streams[i].over for i in ids), 10)
		same({h.streams[i].grpc_status for i in ids}, {0})
		for kind in ("RDS", "EDS"):
			fresh = [q for q in plane.requests(kind, before[kind]) if q["names"]]
			asked = [len([n for n in q["names"] if "bulk" in n]) for q in fresh]
			same(asked[0], 900, "names in the first %s request" % kind)


@case
def several_apps_have_their_own_stream_and_share_the_connections_to_a_provider(t):
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	conf = mesh_config(t, plane)
	conf["apps"] = [
		{"name": "shop", "namespace": "default", "listen": [{"unix": t.path("s.sock")}]},
		{"name": "cart", "namespace": "carts", "listen": [{"unix": t.path("s2.sock")}]},
	]
	d = t.daemon(conf=conf)
	with t.h2(d) as h, t.h2(t.path("s2.sock")) as h2:
		same(who(h), "a")
		same(who(h2), "a")
		nodes = {q["node"] for q in plane.requests() if q["node"]}
		same(len(nodes), 2, "nodes %s" % nodes)
		check(any("carts" in n for n in nodes), nodes)
		same(plane.stats()["open"], 2)
		# Ours to the control plane count too.
		same(d.stat("up_connections") - plane.stats()["connections"], 1)


@case
def behind_an_agent_all_apps_share_one_stream(t):
	p, plane = Provider(t, "a"), t.plane(at="unix:" + t.path("agent.sock"))
	plane.service(DEMO, p.address)
	conf = mesh_config(t, plane)
	conf["apps"].append({"name": "cart", "listen": [{"unix": t.path("s2.sock")}]})
	d = t.daemon(conf=conf)
	with t.h2(d) as h, t.h2(t.path("s2.sock")) as h2:
		same((who(h), who(h2)), ("a", "a"))
	same((plane.stats()["streams"], len(d.status()["xds"])), (1, 1))


KINDS = [
	("istio over state of the world", "istio", dict(profile="istio", protocol="sotw")),
	("istio over delta", "istio", dict(profile="istio", protocol="delta")),
	("istio for gRPC", "istio", dict(profile="istio-grpc")),
	("a generic one over state of the world", "generic", dict(profile="generic", protocol="sotw")),
	("a generic one over delta", "generic", dict(profile="generic", protocol="delta")),
	("Nacos", "nacos", dict(profile="template", template="outbound|{port}||{app}.DEFAULT-GROUP.public.nacos")),
]


@cases("a control plane like %s is asked, followed and found again", KINDS)
def kinds(t, _, kind, conf):
	a, b, plane = Provider(t, "a"), Provider(t, "b"), t.plane(kind)
	plane.service(DEMO, a.address)
	d = mesh(t, plane, removal_hold="0s", **conf)
	with t.h2(d) as h:
		same(who(h), "a")
		plane.endpoints(DEMO, b.address)
		until(lambda: who(h) == "b", 2, "calls at b")
		plane.cut()
		until(lambda: plane.stats()["streams"] >= 2 and connected(d), 3, "the second stream")
		plane.endpoints(DEMO, a.address)
		until(lambda: who(h) == "a", 2, "calls at a")
	same(plane.stats()["nacks"], 0)
	same(view(d)["profile"], conf["profile"])


@case
def prefetched_names_are_there_before_the_first_call_and_idle_ones_are_given_up(t):
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	plane.service(OTHER, p.address)
	d = mesh(t, plane, prefetch=[DEMO], idle="1s")
	until(lambda: plane.asked("EDS") == {"outbound|50051||" + DEMO.split(":")[0]}, 2, "the prefetched name to be asked for")
	with t.h2(d) as h:
		until(lambda: who(h, OTHER) and view(d)["names"] == 2, 4, "two names")
	until(lambda: view(d)["names"] == 1, 4, "the idle name to be given up")
	until(lambda: plane.asked("EDS") == {"outbound|50051||" + DEMO.split(":")[0]}, 2, "the control plane to be told")


@case
def a_large_assignment_that_shrinks_gives_its_memory_back(t):
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	d = mesh(t, plane, removal_hold="0s")
	with t.h2(d) as h:
		same(who(h), "a")
		before, charged = d.rss_kib(), d.stat("memory_bytes")
		plane.big("outbound|50051||" + DEMO.split(":")[0], 50000)
		until(lambda: d.stat("cluster_hosts") == 50000, 3, "50,000 endpoints")
		check(d.stat("memory_bytes") - charged < 50000 * 96, "bytes held:", d.stat("memory_bytes") - charged)
		plane.endpoints(DEMO, p.address)
		until(lambda: d.stat("cluster_hosts") == 1, 3, "one endpoint")
		until(lambda: d.stat("memory_bytes") < charged + 65536, 3, "the accounts to be empty again")
		try:
			until(lambda: d.rss_kib() < before + 2048, 3, "the memory to go back")
		except Failed:
			d.check_growth(before, 2048)
		same(who(h), "a")


# ---- a control plane that is not well ------------------------------------------------------------------------------------

@case
def calls_go_on_while_the_control_plane_is_dead_and_changes_are_followed_after_it(t):
	a, b, plane = Provider(t, "a"), Provider(t, "b"), t.plane()
	plane.service(DEMO, a.address)
	d = mesh(t, plane)
	calls = Calls(t, d)
	calls.more(10)
	plane.kill()
	until(lambda: not connected(d), 2, "the loss to be seen")
	calls.more()
	plane.endpoints(DEMO, b.address)
	plane.listen()
	until(lambda: calls.who == "b" or not calls.thread.is_alive(), 5, "calls at b")
	calls.end()
	until(lambda: connected(d), 2, "the control plane in status")


@case
def a_goaway_costs_no_call_and_the_stream_moves(t):
	a, b, plane = Provider(t, "a"), Provider(t, "b"), t.plane()
	plane.service(DEMO, a.address)
	d = mesh(t, plane)
	calls = Calls(t, d)
	calls.more(5)
	plane.goaway()
	until(lambda: plane.stats()["accepted"] == 2 and plane.stats()["connections"] == 1, 3, "the second connection, and the end of the first")
	plane.endpoints(DEMO, b.address)
	until(lambda: calls.who == "b" or not calls.thread.is_alive(), 3, "calls at b")
	calls.end()


@case
def a_control_plane_that_says_nothing_costs_a_new_name_its_parking_time_and_others_nothing(t):
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	conf = mesh_config(t, plane)
	conf["park"] = {"time": "4s"}
	d = t.daemon(conf=conf)
	with t.h2(d) as h:
		same(who(h), "a")
		plane.quirk(mute=1)
		parked = h.request(OTHER, GREETER, grpc_message(b"x"))
		hurried = h.request(OTHER, GREETER, grpc_message(b"x"), extra=[("grpc-timeout", "2S")])
		until(lambda: d.stat("parked_calls") == 2, 2, "two parked calls")
		same(who(h), "a")
		same(h.result(hurried).grpc_status, 4)
		st = h.result(parked)
		same(st.grpc_status, 14)
		check(OTHER in st.grpc_message and plane.at in st.grpc_message, st.grpc_message)
		same(d.stat("parked_calls"), 0)


@case
def a_thawed_daemon_finds_at_once_that_its_stream_is_gone(t):
	a, b, plane = Provider(t, "a"), Provider(t, "b"), t.plane()
	plane.service(DEMO, a.address)
	d = mesh(t, plane, removal_hold="0s")
	with t.h2(d) as h:
		same(who(h), "a")
		d.signal(signal.SIGSTOP)
		try:
			plane.kill()
			plane.endpoints(DEMO, b.address)
			plane.listen()
		finally:
			d.signal(signal.SIGCONT)
		until(lambda: who(h) == "b", 2, "calls at b")


@case
def of_several_servers_the_first_that_answers_is_used(t):
	a, b, first, second = Provider(t, "a"), Provider(t, "b"), t.plane(), t.plane()
	first.service(DEMO, a.address)
	second.service(DEMO, b.address)
	first.kill()
	conf = mesh_config(t, first)
	conf["xds"] = {"servers": [first.at, "localhost:" + second.at.split(":")[1]]}
	d = t.daemon(conf=conf)
	with t.h2(d) as h:
		same(who(h), "b")
		first.listen()
		second.kill()
		until(lambda: who(h) == "a", 4, "the first server's answer")


@case
def what_is_malformed_is_refused_with_its_reason_and_the_last_good_one_stays(t):
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	d = mesh(t, plane)
	with t.h2(d) as h:
		same(who(h), "a")
		name = "outbound|50051||" + DEMO.split(":")[0]
		# One locality, one endpoint, port 70000.
		address = b"\x0a\x0f" + b"\x0a\x0d" + b"\x12\x07" + b"7.7.7.7" + b"\x18\xf0\xa2\x04"
		endpoint = b"\x0a" + bytes([len(address)]) + address
		group = b"\x12" + bytes([len(endpoint)]) + endpoint
		data = b"\x0a" + bytes([len(name)]) + name.encode() + b"\x12" + bytes([len(group)]) + group
		plane.resource("EDS", name, data)
		until(lambda: plane.stats()["nacks"] > 0, 2, "the refusal")
		error = [q for q in plane.requests("EDS") if q["error"]][-1]["error"]
		check(name in error and "70000" in error, error)
		same(who(h), "a")
		check("70000" in json.dumps(d.status()), "status does not tell the refusal:", json.dumps(d.status())[:2000])
		same(d.stat("xds_update_rejected") >= 1, True)


# ---- the snapshot --------------------------------------------------------------------------------------------------------

def after_a_snapshot(t, plane, calls=(DEMO,), **xds):
	"""A daemon that has called the names and has ended; its configuration."""
	d = mesh(t, plane, snapshot=t.path("snap"), **xds)
	with t.h2(d) as h:
		for name in calls:
			same(who(h, name), "a")
	same(d.stop(), 0)
	check(os.listdir(t.path("snap")), "no snapshot was written")
	return d.conf


@case
def with_the_control_plane_down_the_snapshot_answers_and_is_confirmed_later(t):
	os.mkdir(t.path("snap"))
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	conf = after_a_snapshot(t, plane)
	plane.kill()
	d = t.daemon(conf=conf)
	with t.h2(d) as h:
		same(who(h), "a")
		until(lambda: stale(d) == 1, 2, "one stale name in status: %s" % stale(d))
		plane.listen()
		until(lambda: stale(d) == 0 and connected(d), 6, "the confirmation")
		same(who(h), "a")


@case
def a_snapshot_that_is_overtaken_is_corrected_when_the_control_plane_answers(t):
	os.mkdir(t.path("snap"))
	a, b, plane = Provider(t, "a"), Provider(t, "b"), t.plane()
	plane.service(DEMO, a.address)
	conf = after_a_snapshot(t, plane)
	plane.endpoints(DEMO, b.address)
	d = t.daemon(conf=conf)
	with t.h2(d) as h:
		until(lambda: who(h) == "b", 3, "calls at b")


@case
def a_snapshot_never_says_that_a_service_does_not_exist(t):
	os.mkdir(t.path("snap"))
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	conf = mesh_config(t, plane, snapshot=t.path("snap"))
	conf["park"] = {"time": "60s"}          # longer than any pause between two attempts
	d = t.daemon(conf=conf)
	with t.h2(d) as h:
		same((who(h), h.call(OTHER, GREETER).grpc_status), ("a", 12))
	same(d.stop(), 0)
	plane.kill()
	d = t.daemon(conf=d.conf)
	with t.h2(d) as h:
		same(who(h), "a")
		sid = h.request(OTHER, GREETER, grpc_message(b"x"), extra=[("grpc-timeout", "300m")])
		same(h.result(sid).grpc_status, 4)
		sid = h.request(OTHER, GREETER, grpc_message(b"x"), extra=[("grpc-timeout", "55S")])
		plane.service(OTHER, p.address)
		plane.listen()
		same(h.result(sid, 9).grpc_status, 0)


DAMAGES = [
	("whose header is foreign", lambda b: b"GIF89a__" + b[8:]),
	("that is cut in the middle", lambda b: b[:len(b) // 2]),
	("with a bit turned over", lambda b: b[:len(b) * 2 // 3] + bytes([b[len(b) * 2 // 3] ^ 16]) + b[len(b) * 2 // 3 + 1:]),
	("that is random bytes", lambda b: bytes((i * 7919 >> 3) & 255 for i in range(len(b)))),
]


@cases("a snapshot %s is told by a warning and the mesh is asked anew", DAMAGES)
def damaged_snapshot(t, _, damage):
	os.mkdir(t.path("snap"))
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	conf = after_a_snapshot(t, plane)
	for name in os.listdir(t.path("snap")):
		path = os.path.join(t.path("snap"), name)
		if not os.path.isfile(path):
			continue
		with open(path, "rb") as f:
			good = f.read()
		if good:
			with open(path, "wb") as f:
				f.write(damage(good))
	d = t.daemon(conf=conf)
	d.wait_log(r"^\S+ warn.*snap", 2)
	with t.h2(d) as h:
		same(who(h), "a")


@case
def after_kill_9_the_snapshot_has_what_was_there_a_second_before(t):
	os.mkdir(t.path("snap"))
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	d = mesh(t, plane, snapshot=t.path("snap"))
	with t.h2(d) as h:
		same(who(h), "a")
	until(lambda: view(d)["snapshot"]["records"] == 6, 3, "route, cluster and endpoints in the snapshot")
	size = lambda: sum(os.path.getsize(os.path.join(t.path("snap"), f)) for f in os.listdir(t.path("snap")))
	until(lambda: size() >= view(d)["snapshot"]["bytes"], 2, "the file to be written")
	d.judge_exit = False
	d.signal(signal.SIGKILL)
	d.exit_code()
	plane.kill()
	again = t.daemon(conf=d.conf)
	with t.h2(again) as h:
		same(who(h), "a")


# ---- TLS, token, admission -----------------------------------------------------------------------------------------------

def secured(t, plane, client=False):
	ca = Authority(t.path("pki"))
	cert, key = ca.sign("plane", "DNS:istiod.istio-system.svc,IP:127.0.0.1")
	front = TlsFront(plane.at, cert, key, t.port(), ca.roots if client else None)
	t.after(front.close)
	return ca, front


@case
def the_control_plane_is_asked_by_tls_with_our_own_ca_and_a_certificate(t):
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	ca, front = secured(t, plane, client=True)
	cert, key = ca.sign("shop", "URI:spiffe://cluster.local/ns/default/sa/shop")
	d = mesh(t, front, tls={"roots": ca.roots, "server_name": "istiod.istio-system.svc", "cert": cert, "key": key})
	with t.h2(d) as h:
		same(who(h), "a")
	same(front.clients[0]["subjectAltName"], (("URI", "spiffe://cluster.local/ns/default/sa/shop"),))


@cases("a server %s is not believed and status says why", [
	("of another ca", lambda ca, other: {"roots": other.roots, "server_name": "istiod.istio-system.svc"}, "self.signed|unable to get|issuer|certificate"),
	("of another name", lambda ca, other: {"roots": ca.roots, "server_name": "plane.elsewhere"}, "plane.elsewhere"),
])
def unbelievable(t, _, tls, why):
	plane = t.plane()
	ca, front = secured(t, plane)
	d = mesh(t, front, tls=tls(ca, Authority(t.path("other"))))
	with t.h2(d) as h:
		sid = h.request(DEMO, GREETER, grpc_message(b"x"), extra=[("grpc-timeout", "300m")])
		until(lambda: view(d)["last_error"], 3, "an error in status")
		check(re.search(why, view(d)["last_error"]), view(d)["last_error"])
		check(h.result(sid).grpc_status in (4, 14), h.streams[sid])
	same(plane.stats()["accepted"], 0)


@case
def the_token_file_is_read_again_for_every_stream(t):
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	ca, front = secured(t, plane)
	token = t.write("token", "first\n")
	d = mesh(t, front, tls={"roots": ca.roots, "server_name": "istiod.istio-system.svc", "token_file": token})
	with t.h2(d) as h:
		same(who(h), "a")
		t.write("token", "second\n")
		plane.end_streams(14, "restarting")
		until(lambda: len(plane.heads()) >= 2, 4, "the second stream")
	same([head.get("authorization") for head in plane.heads()][:2], ["Bearer first", "Bearer second"])


@case
def a_refused_token_is_told_in_status(t):
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	plane.quirk(refuse=16, refuse_text="the token has expired, says the test")
	ca, front = secured(t, plane)
	token = t.write("token", "old\n")
	d = mesh(t, front, tls={"roots": ca.roots, "server_name": "istiod.istio-system.svc", "token_file": token})
	until(lambda: "the token has expired, says the test" in view(d)["last_error"], 3, "the reason in status")
	check(not connected(d))
	shown = t.cli("status", "-s", d.control)
	check("the token has expired" in shown.stdout.decode(), shown.stdout.decode(), shown.stderr.decode())
	with t.h2(d) as h:
		s = h.call(DEMO, GREETER, extra=[("grpc-timeout", "200m")])
		check(s.grpc_status in (4, 14), s)


@case
def a_control_plane_that_is_too_busy_is_asked_again(t):
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	plane.quirk(refuse=8, refusals=1, refuse_text="request rate limit exceeded")
	d = mesh(t, plane)
	with t.h2(d) as h:
		same(who(h), "a")
	same(plane.stats()["streams"], 2)
	same(d.stat("xds_update_failure"), 1)


# ---- configuration and pages ---------------------------------------------------------------------------------------------

@case
def a_reload_adds_and_removes_the_mesh(t):
	a, b, plane = Provider(t, "a"), Provider(t, "b"), t.plane()
	plane.service(DEMO, a.address)
	plain = t.config({OTHER: [b.address]})
	d = t.daemon(conf=plain)
	with t.h2(d) as h:
		same(h.call(DEMO, GREETER).grpc_status, 12)
		with_mesh = t.config({OTHER: [b.address]}, snapshot={"dir": ""}, xds={"server": plane.server})
		d.reload(with_mesh)
		same((who(h), who(h, OTHER)), ("a", "b"))
		d.reload(plain)
		until(lambda: plane.stats()["open"] == 0, 2, "the stream to end")
		same((h.call(DEMO, GREETER).grpc_status, who(h, OTHER)), (12, "b"))
		d.reload(with_mesh)
		same(who(h), "a")


@case
def a_reload_moves_to_another_control_plane_without_a_failed_call(t):
	a, b, plane, second = Provider(t, "a"), Provider(t, "b"), t.plane(), t.plane()
	plane.service(DEMO, a.address)
	second.service(DEMO, b.address)
	d = mesh(t, plane)
	calls = Calls(t, d)
	calls.more(5)
	d.reload(mesh_config(t, second))
	until(lambda: calls.who == "b" or not calls.thread.is_alive(), 3, "calls at b")
	calls.end()
	until(lambda: plane.stats()["open"] == 0, 2, "the first stream to end")


@case
def the_pages_tell_the_mesh(t):
	p, plane = Provider(t, "a"), t.plane()
	plane.service(DEMO, p.address)
	d = mesh(t, plane)
	with t.h2(d) as h:
		same(who(h), "a")
		same(h.call(OTHER, GREETER).grpc_status, 12)
	dump = d.get("/config_dump")
	same(dump.status, 200)
	text = json.dumps(dump.json)
	for wanted in ("outbound|50051||demo.default.svc.cluster.local", DEMO, p.address.split(":")[1]):
		check(wanted in text, wanted, "is not in", text[:3000])
	stats = d.get("/stats").text
	for metric in ("control_plane_connected_state", "update_success", "update_rejected", "update_failure"):
		check(metric in stats, metric, "is not in /stats")
	v = view(d)
	same((v["server"], v["state"], v["profile"]), (plane.at, "connected", "istio"))
	shown = t.cli("status", "-s", d.control)
	same(shown.returncode, 0)
	for wanted in (plane.at, "connected", "istio"):
		check(wanted in shown.stdout.decode(), wanted, "is not in", shown.stdout.decode())


# ---- what status says ----------------------------------------------------------------------------------------------------

def view(d, n=0):
	"""The stream to the control plane as `thinmesh status --json` shows it."""
	views = d.status()["xds"]
	views = views if isinstance(views, list) else views["views"]
	return views[n]


def connected(d):
	return view(d)["state"] == "connected"


def stale(d):
	return view(d)["names_stale"]
