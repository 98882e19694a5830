"""Encrypted calls to the app (apps[].inbound[].tls): grpcio callers with and without certificates, who may call what, and what the app is told of them."""
import subprocess

import grpc

from certs import read, spiffe
from harness import GREETER, case, cases, check, same, until
from providers import Provider
from test_inbound import fails
from tls_parts import Files, authority, spiffe_id

NAME = "shop.example"
XFCC = "x-forwarded-client-cert"


class Shop:
	"""A daemon whose app has an identity and an encrypted door; its server behind it."""

	def __init__(self, t, tls="strict", ok=True, **door):
		self.t, self.ca = t, authority(t)
		self.at, self.ask = ("127.0.0.1:%d" % t.port() for _ in range(2))
		self.own = Files(t, self.ca.leaf("shop", "DNS:%s,%s" % (NAME, spiffe("shop"))), self.ca.roots)
		self.server = Provider(t, address="unix:" + t.path("server.sock"))
		self.d = t.daemon({}, app={"identity": self.own.identity, "inbound": [dict({"tcp": self.at, "to": "unix:" + t.path("server.sock"), "tls": tls}, **door)],
			"health": {"listen": [{"tcp": self.ask}]}})
		if ok:
			same(t.cli("ok", "-s", self.d.sock).returncode, 0)

	def caller(self, leaf=None, roots=None):
		"""A grpcio channel; leaf: what it shows."""
		pair = (leaf.key_pem.encode(), leaf.pem.encode()) if leaf else (None, None)
		credentials = grpc.ssl_channel_credentials(read(roots or self.ca.roots).encode(), *pair)
		ch = grpc.secure_channel(self.at, credentials, options=[("grpc.ssl_target_name_override", NAME), ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)])
		self.t.after(ch.close)
		return ch

	def member(self, account, **how):
		return self.caller(self.ca.leaf(account, spiffe(account, **how)))

	def told(self):
		return [v for k, v in self.server.last.metadata if k == XFCC]


def asks(ch, path=GREETER, **kw):
	return ch.unary_unary(path)(b"hello", timeout=60, **kw)


@case
def a_caller_of_the_mesh_is_let_in_and_the_app_reads_who_it_is(t):
	shop = Shop(t)
	cart = shop.member("cart")
	same(asks(cart), b"hello")
	told = shop.told()
	check(len(told) == 1 and "URI=" + spiffe_id("cart") in told[0] and "By=" + spiffe_id("shop") in told[0] and "Hash=" in told[0], told)
	same(list(cart.stream_stream("/t.T/chat")(iter([b"1", bytes(1 << 20)]), timeout=60)), [b"1", bytes(1 << 20)])


@case
def what_a_caller_says_of_itself_is_taken_away(t):
	shop = Shop(t, tls="permissive")
	forged = ((XFCC, "URI=spiffe://cluster.local/ns/default/sa/admin"), (XFCC, "By=x"))
	same(asks(shop.member("cart"), metadata=forged), b"hello")
	told = shop.told()
	check(len(told) == 1 and "admin" not in told[0] and spiffe_id("cart") in told[0], told)
	same(asks(t.channel(shop.at, authority="shop.example:20880"), metadata=forged), b"hello")
	same(shop.told(), [], "a caller in plain text is nobody")


@case
def strict_takes_no_plain_text_and_permissive_takes_both(t):
	strict = Shop(t)
	same(fails(lambda: asks(t.channel(strict.at, authority="x"))).code().name, "UNAVAILABLE")
	same(strict.server.calls, [])
	conf = dict(strict.d.conf)
	conf["apps"] = [dict(conf["apps"][0], inbound=[dict(conf["apps"][0]["inbound"][0], tls="permissive")])]
	strict.d.reload(conf)
	same(asks(t.channel(strict.at, authority="x")), b"hello")
	same(asks(strict.member("cart")), b"hello")


@cases("strict refuses a caller %s", [
	("without a certificate", lambda t, ca: None),
	("of another authority", lambda t, ca: authority(t, "other").leaf("cart", spiffe("cart"))),
	("of another trust domain", lambda t, ca: ca.leaf("cart", spiffe("cart", domain="other.example"))),
	("whose certificate has expired", lambda t, ca: ca.leaf("cart", spiffe("cart"), start_s=-7200, end_s=-3600)),
	("whose certificate is for servers only", lambda t, ca: ca.leaf("cart", spiffe("cart"), usage="serverAuth")),
])
def _(t, _what, leaf):
	shop = Shop(t)
	same(fails(lambda: asks(shop.caller(leaf(t, shop.ca)))).code().name, "UNAVAILABLE")
	same(shop.server.calls, [])
	check(shop.d.stat("inbound_tls_failures") >= 1)
	same(asks(shop.member("cart")), b"hello", "others")


@case
def lists_say_who_may_call_what(t):
	shop = Shop(t, allow=[{"ids": [spiffe_id("cart")], "paths": ["/org.apache.dubbo.demo.GreeterService/*"]}, {"ids": ["spiffe://cluster.local/ns/default/sa/admin*"]}])
	cart, admin, till = shop.member("cart"), shop.member("admin-2"), shop.member("till")
	same(asks(cart), b"hello")
	same(asks(admin), b"hello")
	same(asks(admin, "/t.T/unary"), b"hello")
	seen = len(shop.server.calls)
	for ch, path in ((cart, "/t.T/unary"), (till, GREETER)):
		e = fails(lambda: asks(ch, path))
		same((e.code().name, e.details()), ("PERMISSION_DENIED", "RBAC: access denied"))
	same(len(shop.server.calls), seen)


@case
def the_health_door_speaks_plain_text_meanwhile(t):
	shop = Shop(t, ok=False)
	status = lambda: subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "50", "http://%s/healthz/ready" % shop.ask], capture_output=True, text=True).stdout
	same(status(), "503")
	same(fails(lambda: asks(shop.member("cart"))).code().name, "UNAVAILABLE")
	same(t.cli("ok", "-s", shop.d.sock).returncode, 0)
	same(status(), "200")
	same(asks(shop.member("cart")), b"hello")


@case
def a_door_shows_its_new_certificate_and_trusts_its_new_roots_as_soon_as_they_are_there(t):
	shop = Shop(t)
	new = authority(t, "new")
	same(asks(shop.member("cart")), b"hello")
	shop.own.trust(shop.ca.roots, new.roots)
	shop.own.show(new.leaf("shop", "DNS:%s,%s" % (NAME, spiffe("shop"))))
	shop.d.wait_log("other roots")
	until(lambda: shop.d.stderr().count("certificate '") >= 2, 5, "the certificate")
	both = t.write("both.pem", read(shop.ca.roots) + read(new.roots))
	for by in (shop.ca, new):
		same(asks(shop.caller(by.leaf("till", spiffe("till")), both)), b"hello")
	e = fails(lambda: asks(shop.caller(shop.ca.leaf("till", spiffe("till")), shop.ca.roots)))
	same(e.code().name, "UNAVAILABLE", "the old one is not shown any more")
