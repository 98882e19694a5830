"""A daemon that holds keys: it leaves no core and shows its memory to nobody, is upgraded all the same, and is as idle as any other."""
import os
import pwd
import re
import signal

from ca_server import CaServer
from certs import read, spiffe, write
from harness import DEMO, PATIENCE, Skipped, case, check, http1, same, until
from sds_server import SdsServer
from test_upgrade import Callers, follow, service
from tls_parts import Files, TlsProvider, authority, call, spiffe_id

SERVED = {"roots": "identity", "identity": "shop", "san": [spiffe_id("demo")]}


def memory_owner(d):
	return os.stat("/proc/%d/mem" % d.pid).st_uid


def upgraded(t, p, d):
	"""Under calls, twice: the second time the old process is itself one that has followed."""
	callers = Callers(t, d, threads=2)
	callers.more(20)
	for _ in range(2):
		old = follow(d)
		callers.more(40)
		same(old.wait(8 * PATIENCE), 0)
	callers.stop()
	same((callers.failed, d.stat("upgrades"), d.stat("upgrades_failed")), ([], 2, 0))
	same({tuple(s) for s in p.shown}, {(spiffe_id("shop"),)})


@case
def an_upgrade_under_mTLS_fails_no_call(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	own = Files(t, ca.leaf("shop", spiffe("shop")), ca.roots)
	d = service(t, {DEMO: {"endpoints": [p.address], "tls": SERVED}}, app={"identity": own.identity})
	upgraded(t, p, d)


@case
def an_upgrade_fails_no_call_where_an_agent_or_a_CA_gives_the_identity(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	agent = SdsServer("unix:" + t.path("sds.sock"))
	t.after(agent.stop)
	agent.cert("default", ca.leaf("shop", spiffe("shop")))
	agent.roots("ROOTCA", read(ca.roots))
	d = service(t, {DEMO: {"endpoints": [p.address], "tls": SERVED}}, app={"identity": {"sds": {"server": "unix:" + t.path("sds.sock")}}})
	upgraded(t, p, d)
	d.stop()
	giver = CaServer(ca, "unix:" + t.path("ca.sock"))
	t.after(giver.stop)
	identity = {"ca": {"server": "unix:" + t.path("ca.sock"), "token_file": write(t.path("token"), "x")}, "service_account": "shop"}
	d = service(t, {DEMO: {"endpoints": [p.address], "tls": SERVED}}, app={"identity": identity})
	upgraded(t, p, d)
	same(len(giver.seen), 3, "each process has a key of its own")


@case
def an_upgrade_while_the_CA_is_away_leaves_the_process_that_has_a_certificate_in_service(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	giver = CaServer(ca, "unix:" + t.path("ca.sock"))
	identity = {"ca": {"server": "unix:" + t.path("ca.sock"), "token_file": write(t.path("token"), "x")}, "service_account": "shop"}
	d = service(t, {DEMO: {"endpoints": [p.address], "tls": SERVED}}, app={"identity": identity}, drain={"deadline": "2s", "takeover": "2s"})
	d.expect_error("upgrade")
	with t.h2(d) as h:
		call(h)
		giver.stop()
		pid = d.pid
		d.signal(signal.SIGUSR2)
		d.wait_stat("upgrades_failed", timeout_s=8)
		same(d.status()["pid"], pid)
		call(h)
	giver = CaServer(ca, "unix:" + t.path("ca.sock"))
	t.after(giver.stop)
	# This one has the time that it needs.
	d.reload(dict(d.conf, drain={"deadline": "10s", "takeover": "60s"}))
	same(follow(d).wait(8 * PATIENCE), 0)
	with t.h2(d) as h:
		call(h)


@case
def a_user_who_is_not_root_may_upgrade_too_and_reads_no_memory_that_holds_a_key(t):
	if os.geteuid() != 0:
		raise Skipped("only root may be somebody else")
	nobody = pwd.getpwnam("nobody")
	drop = ["setpriv", "--reuid=%d" % nobody.pw_uid, "--regid=%d" % nobody.pw_gid, "--clear-groups"]
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	own = Files(t, ca.leaf("shop", spiffe("shop")), ca.roots)
	for path in (t.dir, own.folder, own.key, own.cert, own.roots):
		os.chown(path, nobody.pw_uid, nobody.pw_gid)
	plain = service(t, {}, wrapper=drop)
	same(memory_owner(plain), nobody.pw_uid, "without a key it is like any other process")
	plain.stop()
	d = service(t, {DEMO: {"endpoints": [p.address], "tls": SERVED}}, app={"identity": own.identity}, wrapper=drop)
	same(memory_owner(d), 0, "of a process that is not dumpable")
	upgraded(t, p, d)
	same(memory_owner(d), 0)
	# Nothing holds the key any more: whoever debugs may look again.
	conf = dict(d.conf, services=[])
	conf["apps"] = [{k: v for k, v in conf["apps"][0].items() if k != "identity"}]
	d.reload(conf)
	until(lambda: memory_owner(d) == nobody.pw_uid, 5, "it to be like any other process again")


@case
def an_identity_costs_no_wake_up_while_nothing_happens(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	own = Files(t, ca.leaf("shop", spiffe("shop")), ca.roots)
	agent = SdsServer("unix:" + t.path("sds.sock"))
	t.after(agent.stop)
	agent.cert("default", ca.leaf("shop", spiffe("shop")))
	agent.roots("ROOTCA", read(ca.roots))
	authority_server = CaServer(ca, "unix:" + t.path("ca.sock"))
	t.after(authority_server.stop)
	kinds = {"files": own.identity, "sds": {"sds": {"server": "unix:" + t.path("sds.sock")}}, "ca": {"ca": {"server": "unix:" + t.path("ca.sock"), "token_file": write(t.path("token"), "x")}}}
	doors, callers = {}, []
	for kind, identity in kinds.items():
		t.daemon(conf=t.config({DEMO: {"endpoints": [p.address], "tls": SERVED}}, app={"identity": identity}, listen=[{"unix": t.path(kind + ".shop")}], control={"unix": t.path(kind + ".c")}))
		doors[kind] = t.path(kind + ".c")
		callers.append(t.h2(t.path(kind + ".shop")))
		call(callers[-1])

	def turns(kind):
		text = http1(doors[kind], "GET", "/stats").text
		return next(float(line.split()[1]) for line in text.splitlines() if re.match(r"thinmesh_loop_turns(_total)? ", line))
	# What the start has left to do ends some time; whatever wakes it up now and then is there in each of these.
	for _ in range(4):
		callers[0].is_silent(0.2)
		before = {kind: turns(kind) for kind in kinds}
		callers[0].is_silent(3)
		# Asking costs a few turns itself, as in an_idle_daemon_does_nothing.
		turned = {kind: turns(kind) - before[kind] for kind in kinds}
		if all(n <= 12 for n in turned.values()):
			return
	check(False, "turns in three seconds:", turned)
