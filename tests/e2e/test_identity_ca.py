"""Our own certificate from a CA of Istio's kind (apps[].identity.ca): the first, its renewal under load, and what becomes of calls when the CA is gone, answers nonsense or refuses our token."""
import os
import stat

import grpc

from ca_server import CaProcess, CaServer
from certs import openssl, read, spiffe, write
from harness import DEMO, GREETER, case, cases, check, same, until
from sds_server import field
from tls_parts import Ears, Fast, Load, TlsProvider, authority, becomes, call, refused, spiffe_id

SHOP = "spiffe://cluster.local/ns/default/sa/default"


def by_ca(t, ca, **more):
	"""The identity: a CA at a Unix socket, as an agent has it."""
	token = write(t.path("token"), "first-token")
	return {"ca": dict({"server": "unix:" + t.path("ca.sock"), "token_file": token}, **more)}


def daemon(t, address, identity, **more):
	return t.daemon({DEMO: dict({"endpoints": [address], "tls": {"roots": "identity", "identity": "shop", "san": [spiffe_id("demo")]}}, **more)}, app={"identity": identity})


def serve(t, ca, **how):
	s = CaServer(ca, "unix:" + t.path("ca.sock"), **how)
	t.after(s.stop)
	return s


@case
def the_first_call_goes_by_the_certificate_that_the_CA_has_given(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	s = serve(t, ca)
	s.token = "first-token"
	d = daemon(t, p.address, by_ca(t, ca, ttl="12h", cluster_id="c1"))
	with t.h2(d) as h:
		call(h)
	seen = s.seen[0]
	same((seen["token"], seen["cluster"], seen["uri"], seen["seconds"]), ("Bearer first-token", "c1", SHOP, 12 * 3600))
	same((p.shown, len(s.seen)), ([[SHOP]], 1))


@case
def a_CA_over_TLS_is_verified_by_its_roots_and_name(t):
	ca, another = authority(t), authority(t, "another")
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	at = "127.0.0.1:%d" % t.port()
	s = CaServer(ca, at, tls=ca.leaf("istiod", "DNS:istiod.istio-system.svc"))
	t.after(s.stop)
	wrong = daemon(t, p.address, by_ca(t, ca, server=at, roots=another.roots, server_name="istiod.istio-system.svc"))
	with t.h2(wrong) as h:
		refused(h, at)
	same(s.seen, [], "no token is told to who is not our CA")
	wrong.wait_log(r"TLS to the CA '%s' of app 'shop' \(%s, sni istiod.istio-system.svc\) failed: " % (at, at))
	wrong.stop()
	d = daemon(t, p.address, by_ca(t, ca, server=at, roots=ca.roots, server_name="istiod.istio-system.svc"))
	with t.h2(d) as h:
		call(h)
	same(len(s.seen), 1)


@case
def a_certificate_of_seconds_is_renewed_under_load_and_no_call_fails(t):
	ca = authority(t)
	p = Fast(t, ca.leaf("demo", spiffe("demo")))
	s = CaProcess(ca.folder, "unix:" + t.path("ca.sock"), seconds=20)
	t.after(s.kill)
	d = daemon(t, p.address, by_ca(t, ca))
	load = Load(t, d, rate=400)

	def given():
		return d.stderr().count("certificate '%s' until " % SHOP)
	# A CA is asked every ten seconds at most, however short the life of what it gives.
	until(lambda: given() >= 2, 14, "the second certificate")
	load.goes_on()
	load.all_done()
	same(d.stat("tls_handshake_failures"), 0)
	until(lambda: s.requests() == given(), 2, "a certificate for each request, and no request besides")


@case
def a_CA_that_is_killed_leaves_the_certificate_in_use_to_its_end_and_then_nothing_goes_out_in_plain_text(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	s = CaProcess(ca.folder, "unix:" + t.path("ca.sock"), seconds=5)
	t.after(s.kill)
	d = daemon(t, p.address, by_ca(t, ca))
	d.expect_error("identity 'shop': the certificate has expired")
	with t.h2(d) as h:
		call(h)
		s.kill()
		while "has expired" not in d.stderr():
			call(h)
		# Who has agreed stays; whoever shakes hands now sees what we have, and says no.
		p.stop()
		p.restart()
		until(lambda: (lambda text: SHOP in text and "expired" in text)(becomes(h, 14)), 5, "the reason, with who we are")
		seen = len(p.calls)
		for _ in range(5):
			refused(h, p.address)
		same(len(p.calls), seen)
		p.stop()
		ears = Ears(t, p.address)
		# The first ones may be refused at once, while the provider counts as gone.
		until(lambda: refused(h, p.address) and ears.heard, 5, "somebody to come")
	ears.no_plain_text(b"hello", DEMO.encode())
	same(len(p.calls), seen)


@cases("a CA that %s gives no identity and the caller reads why", [
	("answers garbage", dict(garbage=b"\xff\x01garbage"), ()),
	("answers nothing at all", dict(garbage=b""), ()),
	("answers with a certificate of another key", "other", ("key",)),
	("refuses", dict(refuse=(grpc.StatusCode.PERMISSION_DENIED, "not you")), ("not you",)),
	("takes no such token", dict(token="another"), ("request authenticate failure",)),
	("takes the request and never answers", dict(mute=True), ("has not come",)),
])
def _(t, _what, how, words):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	s = serve(t, ca)
	if how == "other":
		how = dict(garbage=field(1, ca.leaf("other", "URI:" + SHOP).pem) + field(1, read(ca.roots)))
	for key, value in how.items():
		setattr(s, key, value)
	d = daemon(t, p.address, by_ca(t, ca), connect_timeout="1s" if s.mute else "5s")
	with t.h2(d) as h:
		refused(h, *words)
		same(p.calls, [])
		# It is asked again (who never answered is waited for ten seconds: here the answer comes after all), and what it says then is good.
		s.garbage = s.refuse = s.token = None
		s.over.set()
		becomes(h, 0, timeout_s=15)
	check(len(s.seen) <= 12, "it is asked too often:", len(s.seen))


@case
def a_token_that_is_replaced_is_read_again_and_one_that_is_gone_is_told(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	s = serve(t, ca)
	s.token = "second-token"
	identity = by_ca(t, ca)
	os.unlink(t.path("token"))
	d = daemon(t, p.address, identity)
	with t.h2(d) as h:
		refused(h, "token")
		same(s.seen, [])
		write(t.path("token"), "first-token\n")
		until(lambda: s.seen, 10, "the CA to be asked")
		write(t.path("token"), "second-token\n")
		becomes(h, 0, timeout_s=15)
	same({q["token"] for q in s.seen}, {"Bearer first-token", "Bearer second-token"})


@case
def what_the_CA_gave_is_written_for_others_with_a_key_that_nobody_else_may_read(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	serve(t, ca)
	out = t.path("certs")
	os.makedirs(out)
	d = daemon(t, p.address, by_ca(t, ca, output=out))
	with t.h2(d) as h:
		call(h)
	until(lambda: sorted(os.listdir(out)) == ["cert-chain.pem", "key.pem", "root-cert.pem"], 5, "three files, and no other")
	same(stat.S_IMODE(os.stat(out + "/key.pem").st_mode), 0o600)
	same(openssl("x509", "-in", out + "/cert-chain.pem", "-noout", "-pubkey"), openssl("pkey", "-in", out + "/key.pem", "-pubout"), "the key's certificate")
	same(read(out + "/root-cert.pem"), read(ca.roots))
	check("OK" in openssl("verify", "-CAfile", out + "/root-cert.pem", out + "/cert-chain.pem"))


@case
def a_key_is_on_no_disk_where_nothing_is_to_be_written(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	serve(t, ca)
	d = daemon(t, p.address, by_ca(t, ca))
	with t.h2(d) as h:
		call(h)
	open_files = []
	for fd in os.listdir("/proc/%d/fd" % d.pid):
		try:
			open_files.append(os.readlink("/proc/%d/fd/%s" % (d.pid, fd)))
		except FileNotFoundError:    # closed since it was listed: the caller's connection
			pass
	found = [os.path.join(folder, name) for folder, _, names in os.walk(t.dir) for name in names if not folder.startswith(ca.folder)]
	check(not [f for f in found if f.endswith((".pem", ".key"))], found)
	check(not [f for f in open_files if f.endswith((".pem", ".key"))], open_files)
