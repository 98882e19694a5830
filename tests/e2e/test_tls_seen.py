"""What people see of TLS: endpoints and identities in `thinmesh status`, certificates in `--certs` and /certs, metrics, what a failed handshake says, and what `thinmesh check` says of files."""
import json
import re
import time

from certs import read, spiffe, write
from harness import DEMO, GREETER, case, check, same, until
from providers import Provider
from tls_parts import Files, TlsProvider, authority, spiffe_id

SHOP, PEER = spiffe_id("shop"), spiffe_id("demo")


def text(done):
	return (done.stdout + done.stderr).decode()


def mesh(t, ca, provider, **identity):
	own = Files(t, ca.leaf("shop", spiffe("shop") + ",DNS:shop.default.svc"), ca.roots)
	services = {DEMO: {"endpoints": [provider.address], "tls": {"roots": "identity", "identity": "shop", "san": [PEER]}}, "plain.default.svc.cluster.local:1": ["127.0.0.1:9"]}
	return own, t.daemon(services, app={"identity": dict(own.identity, service_account="shop", **identity)})


@case
def status_tells_who_answers_how_and_who_we_are(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	_, d = mesh(t, ca, p)
	same(t.channel(d).unary_unary(GREETER)(b"x", timeout=60) is not None, True)
	said = text(t.cli("status", "-s", d.control))
	check(re.search(r"^SERVICE .* ERRORS +TLS$", said, re.M), said)
	check(re.search(r"^  %s +up .* mtls +.*TLSv1.3, %s$" % (re.escape(p.address), re.escape(PEER)), said, re.M), said)
	check(re.search(r"^    %s, files: 2m \d+s old, ends in (1d 0h|23h 59m)$" % re.escape(SHOP), said, re.M), said)
	page = json.loads(t.cli("status", "-s", d.control, "--json").stdout)
	host = [s for s in page["services"] if s["name"] == DEMO][0]["endpoints"][0]
	same((host["tls"], host["tls_version"], host["peer"]), ("mtls", "TLSv1.3", PEER))
	same(page["apps"][0]["identity"]["id"], SHOP)
	same(d.stat("up_tls_connections"), 1)
	p.stop()
	until(lambda: d.stat("up_tls_connections") == 0, 5, "the connection to be counted off")


@case
def nobody_is_told_of_TLS_where_there_is_none(t):
	p = Provider(t)
	d = t.daemon({DEMO: [p.address]})
	t.channel(d).unary_unary(GREETER)(b"x", timeout=60)
	said = text(t.cli("status", "-s", d.control))
	check("TLS" not in said and "plain" not in said, said)
	said = text(t.cli("status", "-s", d.control, "--certs"))
	same(said, "no certificates and no roots: nothing is encrypted here\n")


@case
def certificates_are_shown_as_a_table_and_as_JSON_without_their_keys(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("demo", spiffe("demo")), clients=ca.roots)
	own, d = mesh(t, ca, p)
	done = t.cli("status", "-s", d.control, "--certs")
	said = text(done)
	same(done.returncode, 0, said)
	check(re.search(r"^NAME +APP +KIND +STATE +FOR +ENDS IN +FROM$", said, re.M), said)
	check(re.search(r"^%s +%s +certificate +ready +\d+s +(1d 0h|23h 59m) +files$" % (re.escape(SHOP), "shop"), said, re.M), said)
	check(re.search(r"^    until \d{4}-\S+Z, issued by O=ca, also shop.default.svc$", said, re.M), said)
	page = json.loads(t.cli("status", "-s", d.control, "--certs", "--json").stdout)
	same(sorted((s["kind"], s["app"], s["state"]) for s in page["secrets"]), [("certificate", "shop", "ready"), ("roots", "shop", "ready")])
	key = "".join(read(own.key).split("\n")[1:3])[:40]
	for path in ("/certs", "/status", "/stats", "/log"):
		body = d.get(path).text
		check(key not in body and "PRIVATE" not in body, path)
	until_s = int(time.time()) + 86400
	found = re.search(r'^thinmesh_certificate_expires_seconds\{app="shop",name="%s",source="files"\} (\d+)$' % re.escape(SHOP), d.get("/stats").text, re.M)
	check(found and abs(int(found.group(1)) - until_s) < 300, found)
	same(t.cli("status", "-s", d.control, "--certs", "demo").returncode, 2)


@case
def files_of_an_app_that_names_no_service_account_are_one_name_everywhere(t):
	ca = authority(t)
	own = Files(t, ca.leaf("shop", spiffe("shop")), ca.roots)
	d = t.daemon({DEMO: ["127.0.0.1:9"]}, app={"identity": own.identity})
	page = json.loads(t.cli("status", "-s", d.control, "--json").stdout)
	same(page["apps"][0]["identity"]["id"], SHOP)
	same([s["name"] for s in json.loads(d.get("/certs").text)["secrets"]], [SHOP, SHOP])
	names = set(re.findall(r'^thinmesh_(?:certificate|roots)_\w+\{app="shop",name="([^"]*)"', d.get("/stats").text, re.M))
	same(names, {SHOP})
	said = text(t.cli("status", "-s", d.control)) + text(t.cli("status", "-s", d.control, "--certs"))
	check(SHOP in said and "sa/default" not in said, said)
	d.wait_log("warn app 'shop': the certificate is of '%s'" % SHOP)


@case
def a_failed_handshake_says_which_check_failed_with_both_values(t):
	ca = authority(t)
	p = TlsProvider(t, ca.leaf("cart", spiffe("cart")), clients=ca.roots)
	_, d = mesh(t, ca, p)
	done = t.cli("call", "-s", d.sock, DEMO + GREETER)
	said = text(done)
	check(done.returncode == 1 and spiffe_id("cart") in said and PEER in said, said)
	check(d.stat("tls_handshake_failures") >= 1 and d.stat("tls_failed_name") >= 1)
	t.cli("call", "-s", d.sock, DEMO + GREETER)
	d.wait_log(r"TLS to service '%s' \(%s\) as app 'shop' failed" % (re.escape(DEMO), re.escape(p.address)))
	same(len(re.findall(r"TLS to service '%s' \(%s\) as app 'shop' failed" % (re.escape(DEMO), re.escape(p.address)), d.stderr())), 1, d.stderr())
	said = text(t.cli("status", "-s", d.control))
	check(re.search(r"^    .*%s.*%s" % (re.escape(spiffe_id("cart")), re.escape(PEER)), said, re.M), said)


# ---- check ---------------------------------------------------------------------------------------------------------------

def checked(t, cert, key, roots):
	path = t.write("x.yaml", json.dumps({"apps": [{"name": "shop", "listen": [{"unix": t.path("s.sock")}], "identity": {"service_account": "shop", "cert": cert, "key": key, "roots": roots}}]}))
	done = t.cli("check", "-c", path)
	return done.returncode, text(done)


@case
def check_reads_the_files_that_a_configuration_names(t):
	ca = authority(t)
	good, other = ca.leaf("shop", spiffe("shop")), ca.leaf("cart", spiffe("cart"))
	old, early = ca.leaf("old", spiffe("shop"), start_s=-7200, end_s=-3600), ca.leaf("early", spiffe("shop"), start_s=3600, end_s=7200)
	same(checked(t, good.cert, good.key, ca.roots), (0, "ok: 1 apps, 0 services\n"))
	garbage, some = write(t.path("garbage.pem"), "no certificate\n"), write(t.path("some.pem"), read(ca.roots) + old.pem)
	for cert, key, roots, code, file, part in [
		(old.cert, old.key, ca.roots, 2, old.cert, "has ended, 2"),
		(early.cert, early.key, ca.roots, 2, early.cert, "is not valid before"),
		(good.cert, other.key, ca.roots, 2, good.cert, "does not fit"),
		(garbage, good.key, ca.roots, 2, garbage, "certificate"),
		(good.cert, good.key, garbage, 2, garbage, ""),
		(good.cert, good.key, old.cert, 2, old.cert, "every root in it has ended, the last one, 'O=old', 2"),
		(good.cert, good.key, some, 0, some, "warning: a root in it has ended, 2"),
		(t.path("absent.pem"), good.key, ca.roots, 0, t.path("absent.pem"), "warning: cannot be judged here: No such file"),
		(other.cert, other.key, ca.roots, 0, other.cert, "warning: the certificate is of '%s'; by service_account, trust_domain and the namespace, or their defaults, the app is '%s'" % (spiffe_id("cart"), SHOP)),
	]:
		got, said = checked(t, cert, key, roots)
		same(got, code, said)
		check(any(line.startswith(file + ": ") and part in line for line in said.splitlines()), "no '%s' of %s in: %s" % (part, file, said))
		check(t.path("x.yaml") in said or "shop" in said, said)


@case
def what_is_believed_without_a_look_is_warned_of_by_check_too(t):
	path = t.write("x.yaml", json.dumps({"apps": [{"name": "shop", "listen": [{"unix": t.path("s.sock")}]}], "services": [{"name": DEMO, "endpoints": ["127.0.0.1:9"], "tls": {"insecure": True}}]}, indent=1))
	done = t.cli("check", "-c", path)
	same(done.returncode, 0, text(done))
	check(re.search(r"^%s:\d+: warning: service '%s': tls.insecure: its endpoints are NOT verified, " % (re.escape(path), re.escape(DEMO)), text(done), re.M), text(done))
