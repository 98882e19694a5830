"""Providers that speak TLS (services[].tls): grpcio's stack and Python's, certificates of openssl. What is wrong with a peer is told to the caller, with both values."""
import socket
import ssl

from certs import Authority, read
from harness import DEMO, GREETER, case, cases, check, same, until
from providers import Provider
from tls_parts import Ears, Files, Front, TlsProvider, authority, becomes, call, refused, spiffe, spiffe_id

BARE = DEMO.split(":")[0]


def serves(t, provider, roots, app=None, **tls):
	return t.daemon({DEMO: {"endpoints": [provider.address], "tls": dict({"roots": roots, "sni": BARE}, **tls)}}, app=app)


# ---- what works ----------------------------------------------------------------------------------------------------------

@case
def all_four_shapes_of_calls_and_a_mebibyte_go_over_TLS(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", "DNS:" + BARE))
	d = serves(t, p, ca.roots)
	ch = t.channel(d)
	path = "/t.T/"
	big = bytes(range(256)) * 4096
	same(ch.unary_unary(path + "unary")(big, timeout=60), big, "a MiB and back")
	same(ch.stream_unary(path + "upload")(iter([big, b"x" * 10, b""]), timeout=60), b"%d 3" % (len(big) + 10))
	got = list(ch.unary_stream(path + "download")(b"20 65536", timeout=60))
	same([len(m) for m in got], [65536] * 20)
	same(list(ch.stream_stream(path + "chat")(iter([b"a", big, b"b"]), timeout=60)), [b"a", big, b"b"])
	same((d.stat("tls_handshakes"), d.stat("tls_handshake_failures"), d.stat("calls_failed")), (1, 0, 0), "one connection carried it all")


@case
def a_provider_that_demands_a_certificate_is_shown_that_of_the_app(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	own = Files(t, ca.leaf("shop", spiffe("shop")), ca.roots)
	d = serves(t, p, "identity", app={"identity": own.identity}, identity="shop", san=[spiffe_id("demo")])
	with t.h2(d) as h:
		call(h)
	same(p.shown, [[spiffe_id("shop")]])


@cases("a server's name is found %s", [
	("in a wildcard", "DNS:*.default.svc.cluster.local"),
	("among other names", "DNS:other.example,URI:spiffe://x/y,DNS:%s,IP:127.0.0.1" % BARE),
	("in a certificate that an authority below the root has signed", "DNS:" + BARE),
	("in an RSA certificate", "DNS:" + BARE),
])
def _(t, what, sans):
	ca = authority(t)
	by = Authority(t.path("between"), "between", above=ca) if "below the root" in what else ca
	p = TlsProvider(t, by.leaf("demo", sans, rsa=what.endswith("RSA certificate")))
	with t.h2(serves(t, p, ca.roots)) as h:
		call(h)


@case
def SANs_are_accepted_exactly_and_by_prefix_suffix_and_pattern(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", "DNS:demo.example," + spiffe("demo")))
	rules = {
		"exact:1": [spiffe_id("demo")], "second:1": ["nobody.example", "demo.example"], "prefix:1": [{"prefix": "spiffe://cluster.local/ns/default/", "on": "uri"}],
		"suffix:1": [{"suffix": ".example", "on": "dns"}], "regex:1": [{"regex": "spiffe://.*/sa/(demo|shop)", "on": "uri"}],
	}
	wrong = {"part:1": [{"regex": "sa/demo", "on": "uri"}], "kind:1": [{"prefix": "spiffe://", "on": "dns"}], "longer:1": [spiffe_id("demo") + "2"]}
	d = t.daemon({name: {"endpoints": [p.address], "tls": {"roots": ca.roots, "san": san}} for name, san in {**rules, **wrong}.items()})
	with t.h2(d) as h:
		for name in rules:
			call(h, name)
		for name in wrong:
			refused(h, spiffe_id("demo"), name=name)


@case
def an_endpoint_by_its_host_name_is_verified_by_that_name(t):
	ca = authority(t)
	right, wrong = TlsProvider(t, ca.leaf("right", "DNS:localhost")), TlsProvider(t, ca.leaf("wrong", "DNS:elsewhere.example"))
	ports = [p.address.rpartition(":")[2] for p in (right, wrong)]
	d = t.daemon({"right:1": {"endpoints": ["localhost:" + ports[0]], "tls": {"roots": ca.roots}}, "wrong:1": {"endpoints": ["localhost:" + ports[1]], "tls": {"roots": ca.roots}}})
	with t.h2(d) as h:
		call(h, "right:1")
		refused(h, "localhost", "elsewhere.example", name="wrong:1")


@cases("a provider that speaks only %s is called", [("TLS 1.2", ssl.TLSVersion.TLSv1_2, "TLSv1.2"), ("TLS 1.3", ssl.TLSVersion.TLSv1_3, "TLSv1.3")])
def _(t, _name, version, spoken):
	ca = authority(t)
	own = Files(t, ca.leaf("shop", spiffe("shop")), ca.roots)
	f = Front(t, Provider(t, "a").address, ca.leaf("demo", "DNS:" + BARE), clients=ca.roots, version=version)
	d = serves(t, f, ca.roots, app={"identity": own.identity}, identity="shop")
	with t.h2(d) as h:
		for _ in range(3):
			call(h)
	same((f.versions, len(f.clients)), ([spoken], 1))


@case
def a_server_that_chooses_no_ALPN_is_called_all_the_same(t):
	ca = authority(t)
	f = Front(t, Provider(t, "a").address, ca.leaf("demo", "DNS:" + BARE), alpn=False)
	with t.h2(serves(t, f, ca.roots)) as h:
		call(h)


@case
def a_version_that_the_service_forbids_is_not_spoken(t):
	ca = authority(t)
	f = Front(t, Provider(t, "a").address, ca.leaf("demo", "DNS:" + BARE), version=ssl.TLSVersion.TLSv1_2)
	d = serves(t, f, ca.roots, min_version="1.3")
	with t.h2(d) as h:
		refused(h, "protocol version")
	same(f.versions, [])


@case
def a_session_is_resumed_when_a_provider_comes_back(t):
	ca = authority(t)
	a = Provider(t, "a")
	f = Front(t, a.address, ca.leaf("demo", "DNS:" + BARE))
	d = serves(t, f, ca.roots)
	with t.h2(d) as h:
		call(h)
		f.open[0].shutdown(socket.SHUT_RDWR)      # the provider ends its connection, not its sessions
		until(lambda: h.call(DEMO, GREETER).grpc_status == 0 and d.stat("tls_handshakes") >= 2, 5, "another connection")
		same((d.stat("tls_handshakes"), d.stat("tls_handshakes_resumed")), (2, 1))


# ---- what is refused -----------------------------------------------------------------------------------------------------

@cases("a provider whose certificate %s is refused and the caller reads why", [
	("has another name", "DNS:elsewhere.example", {}, ("elsewhere.example", BARE), "name"),
	("has no name at all", "", {}, (BARE,), "name"),
	("has a wildcard of another level", "DNS:*.svc.cluster.local", {}, ("*.svc.cluster.local", BARE), "name"),
	("has expired", "DNS:" + BARE, {"start_s": -7200, "end_s": -3600}, ("expired",), "expired"),
	("is not valid yet", "DNS:" + BARE, {"start_s": 3600}, ("not yet valid",), "expired"),
	("is of another authority", "DNS:" + BARE, "other", (), "untrusted"),
	("is for clients only", "DNS:" + BARE, {"usage": "clientAuth"}, ("usage", "TLS server"), "untrusted"),
	("is revoked", "DNS:" + BARE, "revoked", ("revoked",), "revoked"),
])
def _(t, _what, sans, how, words, reason):
	ca = authority(t)
	by = authority(t, "other") if how == "other" else ca
	leaf = by.leaf("demo", sans, **(how if isinstance(how, dict) else {}))
	p = TlsProvider(t, leaf)
	more = {}
	if how == "revoked":
		ca.revoke(leaf)
		more["crl"] = ca.crl()
	d = serves(t, p, ca.roots, **more)
	with t.h2(d) as h:
		text = refused(h, p.address, *words)
	same(p.calls, [])
	check(d.stat("tls_failed_" + reason) >= 1, reason, text, {k: v for k, v in d.stats().items() if "tls_failed" in k and v})
	d.wait_log("warn .*TLS.*%s|warn .*%s.*TLS" % (p.address, p.address))
	# The log says it as well, and once: whoever reads it needs no caller.
	same(len([line for line in d.stderr().splitlines() if "TLS" in line and p.address in line and line.split()[1:2] == ["warn"]]), 1, d.stderr())


@case
def a_provider_that_demands_a_certificate_and_is_shown_none_says_so(t):
	ca = authority(t)
	for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
		f = Front(t, Provider(t, "a").address, ca.leaf("demo", "DNS:" + BARE), clients=ca.roots, version=version)
		d = serves(t, f, ca.roots)
		with t.h2(d) as h:
			refused(h, f.address, "certificate")
		check(d.stat("tls_failed_refused") >= 1)
		d.stop()


@case
def a_provider_without_TLS_is_sent_no_plain_text_where_TLS_was_asked_for(t):
	ca = authority(t)
	ears = Ears(t, "127.0.0.1:%d" % t.port())
	plain = Provider(t, "a")
	at = "127.0.0.1:%d" % ears.listener.getsockname()[1]
	tls = {"roots": ca.roots, "sni": BARE}
	d = t.daemon({"mute:1": {"endpoints": [at], "tls": tls}, "plain:1": {"endpoints": [plain.address], "tls": tls}})
	with t.h2(d) as h:
		refused(h, "TLS", name="plain:1")
		sid = h.request("mute:1", GREETER, b"the secret")
		until(lambda: ears.heard, 5, "the greeting")
		h.send_reset(sid)
	ears.no_plain_text(b"the secret", b"mute:1")
	same(plain.calls, [])


@case
def a_chain_that_is_too_long_is_refused_and_a_bundle_that_is_huge_is_not_taken(t):
	ca = authority(t)
	deep = ca
	for i in range(18):
		deep = Authority(t.path("below%d" % i), "below%d" % i, above=deep)
	endless, p = (TlsProvider(t, by.leaf("demo", "DNS:" + BARE)) for by in (deep, ca))
	d = serves(t, endless, ca.roots)
	with t.h2(d) as h:
		refused(h, endless.address, "longer than 16 certificates")
	same(endless.calls, [])
	check(d.stat("tls_failed_untrusted") >= 1)
	d.stop()
	roots = read(ca.roots)
	t.write("bundle.pem", roots * (5 * 1024 * 1024 // len(roots)))
	d = serves(t, p, t.path("bundle.pem"))
	with t.h2(d) as h:
		refused(h, "bundle.pem", "larger than 4 MiB")
		same(p.calls, [])
		t.write("bundle.pem", roots)
		becomes(h, 0)


@case
def roots_that_are_missing_are_told_and_calls_go_on_once_they_are_there(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", "DNS:" + BARE))
	d = serves(t, p, t.path("late.pem"))
	with t.h2(d) as h:
		refused(h, "late.pem")
		t.write("late.pem", read(ca.roots))
		becomes(h, 0)


@case
def one_provider_with_a_wrong_name_does_not_fail_calls_while_another_is_right(t):
	ca = authority(t)
	right, wrong = TlsProvider(t, ca.leaf("demo", "DNS:" + BARE)), TlsProvider(t, ca.leaf("wrong", "DNS:elsewhere.example"))
	d = t.daemon({DEMO: {"endpoints": [wrong.address, right.address], "tls": {"roots": ca.roots, "sni": BARE}}})
	with t.h2(d) as h:
		for _ in range(10):
			call(h)
	same((len(wrong.calls), len(right.calls)), (0, 10))
