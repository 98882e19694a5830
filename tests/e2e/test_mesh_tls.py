"""A mesh whose endpoints want TLS (tlsMode istio): a control plane's clusters, one endpoint encrypted and the next not, names that change; and ADS itself over TLS, by token and by certificate."""
import json
import ssl

from ca_server import CaServer
from certs import spiffe, write
from harness import DEMO, GREETER, case, check, same, until
from providers import Provider
from sds_server import field
from tls_parts import Ears, Fast, Files, Front, Load, TlsProvider, authority, becomes, call, mesh_tls, refused, spiffe_id

SHOP, DEMO_ID = spiffe_id("shop"), spiffe_id("demo")


def mesh(t, plane, identity, **xds):
	return t.daemon(app={"identity": identity} if identity else None, snapshot={"dir": ""}, xds=dict({"server": plane.server}, **xds))


def member(t, ca, account="shop"):
	return Files(t, ca.leaf(account, spiffe(account)), ca.roots, name=account)


@case
def endpoints_with_a_sidecar_are_called_by_mTLS_and_those_without_in_plain_text(t):
	ca, plane = authority(t), t.plane()
	encrypted, plain = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots, name="encrypted"), Provider(t, "plain")
	mesh_tls(plane, [encrypted.address], [plain.address], sans=[DEMO_ID])
	d = mesh(t, plane, member(t, ca).identity)
	with t.h2(d) as h:
		who = set()
		until(lambda: who.add(call(h).trailers["who"]) or who == {"encrypted", "plain"}, 5, "calls at both")     # who is called is drawn
		same(({tuple(s) for s in encrypted.shown}, plane.stats()["nacks"]), ({(SHOP,)}, 0))
		# Somebody says that the plain one has a sidecar, which it has not: it is not called in plain text any more.
		mesh_tls(plane, [encrypted.address, plain.address], sans=[DEMO_ID])
		until(lambda: {h.call(DEMO, GREETER).trailers["who"] for _ in range(6)} == {"encrypted"}, 5, "the plain one to be left alone")
		seen = len(plain.calls)
		for _ in range(12):
			call(h)
		same(len(plain.calls), seen)


@case
def without_an_identity_nothing_goes_to_endpoints_that_want_TLS(t):
	plane = t.plane()
	ears = Ears(t, "127.0.0.1:%d" % t.port())
	mesh_tls(plane, ["127.0.0.1:%d" % ears.listener.getsockname()[1]], sans=[DEMO_ID])
	d = mesh(t, plane, None)
	with t.h2(d) as h:
		text = refused(h)
	check("identity" in text or "certificate" in text, text)
	same(ears.heard, b"")


@case
def another_name_than_the_mesh_says_is_refused_with_both(t):
	ca, plane = authority(t), t.plane()
	p = TlsProvider(t, ca.leaf("cart", spiffe("cart")), clients=ca.roots)
	mesh_tls(plane, [p.address], sans=[DEMO_ID])
	d = mesh(t, plane, member(t, ca).identity)
	with t.h2(d) as h:
		refused(h, DEMO_ID, spiffe_id("cart"))
		same(p.calls, [])
		# The mesh has moved the service to this account.
		mesh_tls(plane, [p.address], sans=[spiffe_id("cart")])
		becomes(h, 0)


@case
def without_names_whoever_is_of_our_trust_domain_is_called(t):
	ca, plane = authority(t), t.plane()
	stranger, p = TlsProvider(t, ca.leaf("demo", spiffe("demo", domain="other.example"))), TlsProvider(t, ca.leaf("demo", spiffe("demo")))
	mesh_tls(plane, [stranger.address])
	d = mesh(t, plane, member(t, ca).identity)
	with t.h2(d) as h:
		refused(h, "other.example", "cluster.local")
		mesh_tls(plane, [p.address])
		becomes(h, 0)
	same(stranger.calls, [])
	d.stop()
	# An older name of the domain is as good.
	d = mesh(t, plane, dict(member(t, ca, "till").identity, trust_domain_aliases=["old.example", "other.example"]))
	mesh_tls(plane, [stranger.address])
	with t.h2(d) as h:
		becomes(h, 0)
	check(stranger.calls)


@case
def names_that_a_push_changes_under_2000_calls_a_second_fail_none(t):
	ca, plane = authority(t), t.plane()
	p = Fast(t, ca.leaf("demo", spiffe("demo")))
	mesh_tls(plane, [p.address], sans=[DEMO_ID])
	d = mesh(t, plane, member(t, ca).identity)
	load = Load(t, d)
	# Each list once: connections by names of before are taken up again where they are still there, and nobody shakes hands then.
	for sans in ([DEMO_ID, SHOP], [DEMO_ID, spiffe_id("till")], [], [spiffe_id("cart"), DEMO_ID]):
		shook, acks = d.stat("tls_handshakes"), plane.stats()["acks"]
		mesh_tls(plane, [p.address], sans=sans)
		until(lambda: plane.stats()["acks"] > acks and d.stat("tls_handshakes") > shook, 5, "connections by the new names")
	load.goes_on()
	load.all_done()
	same((d.stat("tls_handshake_failures"), plane.stats()["nacks"]), (0, 0))


@case
def two_apps_with_two_identities_are_two_callers_to_one_provider(t):
	ca, plane = authority(t), t.plane()
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	mesh_tls(plane, [p.address], sans=[DEMO_ID])
	apps = [{"name": name, "listen": [{"unix": t.path(name + ".sock")}], "identity": member(t, ca, name).identity} for name in ("shop", "cart")]
	d = t.daemon(conf=t.config(apps=apps, snapshot={"dir": ""}, xds={"server": plane.server}))
	for name in ("shop", "cart", "shop"):
		with t.h2(t.path(name + ".sock")) as h:
			call(h)
		same(p.shown[-1], [spiffe_id(name)])
	same(d.stat("tls_handshakes"), 2)


def by_provider(name, *sans):
	"""As a control plane of gRPC's clients says it (gRFC A29): certificate and roots of a certificate provider that the bootstrap names."""
	instance = field(1, name)
	return field(1, field(14, instance) + field(8, field(1, field(13, instance) + b"".join(field(9, field(1, s)) for s in sans))))


@case
def certificate_providers_of_the_bootstrap_are_shown_and_trusted_where_a_cluster_names_them(t):
	ca, partners, plane = authority(t), authority(t, "partners"), t.plane()
	p = TlsProvider(t, partners.leaf("demo", spiffe("demo", domain="partner.example")), clients=partners.roots)
	own, partner = member(t, ca), Files(t, partners.leaf("shop", spiffe("shop", domain="partner.example")), partners.roots, name="partner")
	providers = {name: {"plugin_name": "file_watcher", "config": {"certificate_file": f.cert, "private_key_file": f.key, "ca_certificate_file": f.roots, "refresh_interval": "900s"}}
		for name, f in (("own", own), ("partner", partner))}
	bootstrap = {"xds_servers": [{"server_uri": plane.at, "channel_creds": [{"type": "insecure"}]}], "certificate_providers": providers}
	d = t.daemon(snapshot={"dir": ""}, xds={}, env={"GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)})
	wanted = spiffe_id("demo", "partner.example")

	mesh_tls(plane, [p.address], tls=by_provider("partner", wanted))
	with t.h2(d) as h:
		call(h)
		same(p.shown[-1], [spiffe_id("shop", "partner.example")])
		# The files are watched like those of an identity.
		partner.show(partners.leaf("till", spiffe("till", domain="partner.example")))

		def shown():
			p.stop()
			p.restart()
			becomes(h, 0)
			return p.shown[-1] == [spiffe_id("till", "partner.example")]
		until(shown, 8, "the provider to be shown the new one")
		# The app's own is another provider's: this one does not know it, and its roots are not ours.
		mesh_tls(plane, [p.address], tls=by_provider("own", wanted))
		becomes(h, 14)
		seen = len(p.calls)
		refused(h, p.address)
		mesh_tls(plane, [p.address], tls=by_provider("nobody", wanted))
		until(lambda: "no certificate provider 'nobody' in the bootstrap of gRPC" in h.call(DEMO, GREETER).grpc_message, 5, "the reason")
		same(len(p.calls), seen)
		mesh_tls(plane, [p.address], tls=by_provider("partner", wanted))
		becomes(h, 0)


# ---- the control plane itself --------------------------------------------------------------------------------------------

@case
def ADS_is_asked_with_the_token_first_and_with_the_certificate_that_the_CA_gave_afterwards(t):
	ca, plane = authority(t), t.plane()
	front = Front(t, plane.at, ca.leaf("istiod", "DNS:istiod.istio-system.svc"), clients=ca.roots)
	front.context.verify_mode = ssl.CERT_OPTIONAL     # whoever shows none has a token
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	mesh_tls(plane, [p.address], sans=[DEMO_ID])
	token = write(t.path("token"), "the-token")
	identity = {"ca": {"server": "unix:" + t.path("ca.sock"), "token_file": token}}
	d = mesh(t, plane, identity, server=front.server, tls={"roots": ca.roots, "server_name": "istiod.istio-system.svc", "token_file": token})
	same(until(plane.heads, 5, "a stream")[0]["authorization"], "Bearer the-token")
	same(front.clients[0], {}, "the first showed")
	s = CaServer(ca, "unix:" + t.path("ca.sock"))
	t.after(s.stop)
	with t.h2(d) as h:
		becomes(h, 0, timeout_s=15)
	same(p.shown[-1], [spiffe_id("default")])
	plane.cut()
	shown = until(lambda: [c for c in front.clients if c], 5, "a stream with a certificate")[0]
	same(shown["subjectAltName"], (("URI", spiffe_id("default")),))
	same(front.refused, [])


@case
def a_control_plane_with_another_name_is_told_nothing(t):
	ca, plane = authority(t), t.plane()
	front = Front(t, plane.at, ca.leaf("istiod", "DNS:elsewhere.example"))
	d = mesh(t, plane, None, server=front.server, tls={"roots": ca.roots, "server_name": "istiod.istio-system.svc", "token_file": write(t.path("token"), "secret")})
	d.wait_log("warn .*TLS to control plane '%s' .*elsewhere.example" % front.server)
	same((plane.stats()["streams"], front.clients), (0, []))
