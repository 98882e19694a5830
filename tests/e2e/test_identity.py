"""Who an app is (apps[].identity), from files and from an agent's SDS server: certificates and roots that change under load, and what happens when they are half there, wrong, or gone."""
import os
import re

from certs import read, spiffe, write
from harness import DEMO, GREETER, case, cases, check, same, until
from sds_server import SdsProcess, SdsServer, field
from tls_parts import Fast, Files, Load, TlsProvider, authority, becomes, call, every, refused, spiffe_id

SHOP, CART = spiffe_id("shop"), spiffe_id("cart")


def daemon(t, address, identity, **tls):
	"""Calls DEMO there as the app."""
	return t.daemon({DEMO: {"endpoints": [address], "tls": dict({"roots": "identity", "identity": "shop", "san": [spiffe_id("demo")]}, **tls)}}, app={"identity": identity})


def ends_connections(p):
	"""The provider ends what there is (and comes back at its address): the next call shakes hands anew."""
	p.stop()
	p.restart()


def shown_next(p, h, wanted, timeout_s=8):
	"""Calls on new connections until the provider is shown this."""
	def now():
		ends_connections(p)
		for _ in range(50):
			if h.call(DEMO, GREETER).grpc_status == 0:
				return p.shown[-1] == [wanted]
		return False
	until(now, timeout_s, "the provider to be shown " + wanted)


def taken(d, certificates, roots):
	"""Each is taken before the next one comes: who rotates waits longer than a daemon is behind."""
	until(lambda: len(re.findall("app 'shop': certificate '", d.stderr())) >= certificates and d.stderr().count("other roots") >= roots, 5,
		"%d certificates and %d other roots to be taken" % (certificates, roots))


# ---- files ---------------------------------------------------------------------------------------------------------------

@case
def certificates_roots_and_SANs_change_each_second_under_2000_calls_a_second_and_none_fails(t):
	old, new = authority(t, "old"), authority(t, "new")
	before, after = Fast(t, old.leaf("demo", spiffe("demo"))), Fast(t, new.leaf("demo", spiffe("demo2")))
	own = Files(t, old.leaf("shop", spiffe("shop")), old.roots)
	d = daemon(t, before.address, own.identity)
	leaves = [by.leaf("shop", spiffe("shop")) for by in (old, old, new, new)]
	load = Load(t, d)

	def reload(address, *sans):
		conf = dict(d.conf)
		conf["services"] = [{"name": DEMO, "endpoints": [address], "tls": {"roots": "identity", "identity": "shop", "san": list(sans)}}]
		d.reload(conf)
	every(0.7,
		lambda: (own.show(leaves[0]), taken(d, 2, 0)),
		lambda: (own.trust(old.roots, new.roots), own.show(leaves[1]), taken(d, 3, 1)),
		lambda: reload(before.address, spiffe_id("demo"), spiffe_id("demo2")),
		lambda: (reload(after.address, spiffe_id("demo2")), own.show(leaves[2]), taken(d, 4, 1)),
		lambda: (own.trust(new.roots), own.show(leaves[3]), taken(d, 5, 2)))
	load.goes_on()
	load.all_done()
	same(d.stat("tls_handshake_failures"), 0)


@case
def a_half_written_certificate_waits_and_the_old_one_stays(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	own = Files(t, ca.leaf("shop", spiffe("shop")), ca.roots)
	d = daemon(t, p.address, own.identity)
	other = ca.leaf("cart", spiffe("cart"))
	with t.h2(d) as h:
		call(h)
		write(own.cert, other.pem[:len(other.pem) // 2])
		d.wait_log("warn .*cert-chain.pem")
		shown_next(p, h, SHOP)
		# The rest comes: but the key is still the one of before.
		write(own.cert, other.pem)
		shown_next(p, h, SHOP)
		write(own.key, other.key_pem, 0o600)
		d.wait_log("certificate '%s'" % CART)
		shown_next(p, h, CART)
	check(1 <= len(re.findall("warn .*(?:cert-chain|key).pem", d.stderr())) <= 2, "told once for each thing that was wrong:", d.stderr())


@case
def a_key_that_is_not_of_the_certificate_is_told_and_the_old_pair_stays(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	own = Files(t, ca.leaf("shop", spiffe("shop")), ca.roots)
	d = daemon(t, p.address, own.identity)
	with t.h2(d) as h:
		call(h)
		write(own.key, ca.leaf("other", spiffe("shop")).key_pem, 0o600)
		d.wait_log("warn .*key")
		shown_next(p, h, SHOP)


@case
def files_that_are_gone_leave_the_last_identity_in_use_and_come_back(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	own = Files(t, ca.leaf("shop", spiffe("shop")), ca.roots)
	d = daemon(t, p.address, own.identity)
	with t.h2(d) as h:
		call(h)
		for path in (own.cert, own.key, own.roots):
			os.unlink(path)
		d.wait_log("warn .*(?:cert-chain|key|root-cert).pem")
		shown_next(p, h, SHOP)
		own.trust(ca.roots)
		own.show(ca.leaf("cart", spiffe("cart")))
		d.wait_log("certificate '%s'" % CART)
		shown_next(p, h, CART)


@case
def files_that_come_after_the_daemon_are_waited_for(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	own = Files(t, ca.leaf("shop", spiffe("shop")), ca.roots)
	hidden = own.folder + ".hidden"
	os.rename(own.folder, hidden)
	d = daemon(t, p.address, own.identity)
	with t.h2(d) as h:
		refused(h, "cert-chain.pem")
		os.rename(hidden, own.folder)
		becomes(h, 0)
		call(h)


@case
def roots_that_no_longer_hold_the_provider_end_its_connections(t):
	old, new = authority(t, "old"), authority(t, "new")
	p = TlsProvider(t, old.leaf("demo", spiffe("demo")), clients=old.roots)
	own = Files(t, old.leaf("shop", spiffe("shop")), old.roots)
	d = daemon(t, p.address, own.identity)
	with t.h2(d) as h:
		call(h)
		own.trust(new.roots)
		becomes(h, 14)
		seen = len(p.calls)
		for _ in range(5):
			refused(h, p.address)
		same(len(p.calls), seen, "nothing goes to whom we no longer trust")
		own.trust(old.roots, new.roots)
		becomes(h, 0)


@case
def the_certificate_in_a_folder_of_kubernetes_is_swapped_by_its_link(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	folder = t.path("mounted")
	os.makedirs(folder)

	def put(version, leaf):
		os.makedirs(os.path.join(folder, version))
		for name, text in (("tls.crt", leaf.pem), ("tls.key", leaf.key_pem), ("ca.crt", read(ca.roots))):
			with open(os.path.join(folder, version, name), "w") as f:
				f.write(text)
		os.symlink(version, os.path.join(folder, "..data_tmp"))
		os.rename(os.path.join(folder, "..data_tmp"), os.path.join(folder, "..data"))
	put("..1", ca.leaf("shop", spiffe("shop")))
	for name in ("tls.crt", "tls.key", "ca.crt"):
		os.symlink(os.path.join("..data", name), os.path.join(folder, name))
	d = daemon(t, p.address, {"cert": folder + "/tls.crt", "key": folder + "/tls.key", "roots": folder + "/ca.crt"})
	with t.h2(d) as h:
		call(h)
		put("..2", ca.leaf("cart", spiffe("cart")))
		d.wait_log("certificate '%s'" % CART)
		shown_next(p, h, CART)


# ---- SDS -----------------------------------------------------------------------------------------------------------------

def agent(t, kind=SdsServer, **how):
	s = kind("unix:" + t.path("sds.sock"), **how)
	t.after(s.kill if kind is SdsProcess else s.stop)
	return s


def by_agent(t):
	return {"sds": {"server": "unix:" + t.path("sds.sock")}}


@case
def default_and_ROOTCA_of_an_agent_are_the_identity(t):
	ca, s = authority(t), agent(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	s.cert("default", ca.leaf("shop", spiffe("shop")))
	s.roots("ROOTCA", read(ca.roots))
	d = daemon(t, p.address, by_agent(t))
	with t.h2(d) as h:
		call(h)
	same((p.shown, s.nacks), ([[SHOP]], []))
	same(sorted(names for names, _ in s.asked), [["ROOTCA"], ["default"]])
	until(lambda: s.acks == 2, 2, "both to be acknowledged")


@case
def bundles_of_trust_domains_are_roots_for_their_own_domain_only(t):
	ours, theirs, s = authority(t, "ours"), authority(t, "theirs"), agent(t, spire=True)
	mine = TlsProvider(t, ours.leaf("demo", spiffe("demo")))
	federated = TlsProvider(t, theirs.leaf("demo", spiffe("demo", domain="other.example")))
	liar = TlsProvider(t, theirs.leaf("demo", spiffe("demo")))
	s.cert("spiffe://x/shop", ours.leaf("shop", spiffe("shop")))
	s.bundles("ALL", {"cluster.local": read(ours.roots), "other.example": read(theirs.roots)})
	names = {"mine:1": (mine, "cluster.local"), "federated:1": (federated, "other.example"), "liar:1": (liar, "cluster.local")}
	d = t.daemon({name: {"endpoints": [p.address], "tls": {"roots": "identity", "identity": "shop", "san": [spiffe_id("demo", domain)]}} for name, (p, domain) in names.items()},
		app={"identity": {"sds": {"server": "unix:" + t.path("sds.sock"), "cert": "spiffe://x/shop", "roots": "ALL"}}})
	with t.h2(d) as h:
		call(h, "mine:1")
		call(h, "federated:1")
		refused(h, liar.address, name="liar:1")
	same(liar.calls, [])


@case
def what_an_agent_pushes_under_load_is_taken_and_no_call_fails(t):
	old, new, s = authority(t, "old"), authority(t, "new"), agent(t, SdsProcess)
	p = Fast(t, old.leaf("demo", spiffe("demo")))
	both = write(t.path("both.pem"), read(old.roots) + read(new.roots))
	leaves = [old.leaf("shop", spiffe("shop")) for _ in range(4)]
	s.cert("default", leaves[0])
	s.roots("ROOTCA", old.roots)
	d = daemon(t, p.address, by_agent(t))
	load = Load(t, d)
	every(0.4,
		lambda: (s.cert("default", leaves[1]), taken(d, 2, 0)),
		lambda: (s.roots("ROOTCA", both), taken(d, 2, 1)),
		lambda: (s.cert("default", leaves[2]), taken(d, 3, 1)),
		lambda: (s.cert("default", leaves[3]), taken(d, 4, 1)))
	load.goes_on()
	load.all_done()
	same((s.nacks(), d.stat("tls_handshake_failures")), (0, 0))
	same((d.stderr().count("certificate '%s'" % SHOP), d.stderr().count("other roots")), (4, 1), "told")


@case
def an_agent_that_is_killed_and_comes_back_with_another_certificate_costs_no_call(t):
	ca, s = authority(t), agent(t, SdsProcess)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	s.cert("default", ca.leaf("shop", spiffe("shop")))
	s.roots("ROOTCA", ca.roots)
	d = daemon(t, p.address, by_agent(t))
	with t.h2(d) as h:
		call(h)
		s.kill()
		d.wait_log("warn .*sds.sock")
		for _ in range(20):
			call(h)
		shown_next(p, h, SHOP)
		if os.path.exists(t.path("sds.sock")):
			os.unlink(t.path("sds.sock"))
		s = agent(t, SdsProcess)
		s.roots("ROOTCA", ca.roots)
		s.cert("default", ca.leaf("cart", spiffe("cart")))
		d.wait_log("certificate '%s'" % CART, 12)
		shown_next(p, h, CART)


@cases("an agent that sends %s is refused in its own words and the last good one stays", [
	("a certificate that is none", lambda ca: field(1, "default") + field(2, field(1, field(2, "no certificate")) + field(2, field(2, "no key")))),
	("a key of another certificate", lambda ca: field(1, "default") + field(2, field(1, field(2, ca.leaf("a", "").pem)) + field(2, field(2, ca.leaf("b", "").key_pem)))),
	("bytes that are no message", lambda ca: b"\xff" * 40),
	("another secret than was asked for", lambda ca: field(1, "somebody-elses")),
])
def _(t, _what, garbage):
	ca, s = authority(t), agent(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	s.cert("default", ca.leaf("shop", spiffe("shop")))
	s.roots("ROOTCA", read(ca.roots))
	d = daemon(t, p.address, by_agent(t))
	with t.h2(d) as h:
		call(h)
		s.put("default", garbage(ca))
		until(lambda: s.nacks, 5, "a refusal")
		check(s.nacks[0], "it says nothing")
		shown_next(p, h, SHOP)
		s.cert("default", ca.leaf("cart", spiffe("cart")))
		d.wait_log("certificate '%s'" % CART)
		shown_next(p, h, CART)


@case
def an_agent_that_comes_after_the_daemon_is_waited_for(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	d = daemon(t, p.address, by_agent(t))
	with t.h2(d) as h:
		refused(h, "sds.sock")
		s = agent(t)
		s.roots("ROOTCA", read(ca.roots))
		s.cert("default", ca.leaf("shop", spiffe("shop")))
		becomes(h, 0, timeout_s=12)
	same(p.shown[-1], [SHOP])
	same(p.calls[0].path, GREETER)
