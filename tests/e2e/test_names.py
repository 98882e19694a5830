"""What an :authority may say, and where it leads (product.md, promise 4)."""
from h2raw import grpc_message
from harness import DEMO, GREETER, case, cases, check, http1, same
from providers import Provider

OTHER = "other.shop.svc.cluster.local:80"


def world(t, **app):
	"""Two providers, told apart by their trailer `who`: "demo" and "other"."""
	demo, other = Provider(t, "demo"), Provider(t, "other")
	d = t.daemon({DEMO: [demo.address], OTHER: [other.address], "portless.default.svc.cluster.local": [other.address], "10.9.8.7:20880": [other.address]},
		app=app)
	return d


def who(c, authority, path=GREETER, **kw):
	st = c.call(authority, path, **kw)
	same(st.grpc_status, 0, "%r: %s" % (authority, st.grpc_message))
	return st.trailers["who"]


@cases("the authority %s is understood", [
	("demo.default.svc.cluster.local:50051", "demo"),
	("demo:50051", "demo"),
	("demo.default:50051", "demo"),
	("demo.default.svc:50051", "demo"),
	("demo.default.svc.cluster.local.:50051", "demo"),
	("DEMO.Default.SVC.Cluster.Local:50051", "demo"),
	("Demo.:50051", "demo"),
	("demo.defaultsvccluster.local:50051", "demo"),
	("other.shop:80", "other"),
	("other.shop.svc:80", "other"),
	("10.9.8.7:20880", "other"),
	("portless.default.svc.cluster.local:1234", "other"),
	("portless", "other"),
	("nick", "demo"),
	("Nick", "demo"),
])
def understood(t, authority, wanted):
	d = world(t, alias={"nick": DEMO})
	with t.h2(d) as c:
		same(who(c, authority), wanted)


@cases("the authority %s leads to the path map", [
	("localhost",), ("localhost:8080",), ("127.0.0.1:15051",), ("%2Frun%2Fs.sock",), ("run%2Fs.sock",), ("tmp%2Fdir%2Fp.sock",),
	("/run/thinmesh/s.sock",), ("",),
])
def nameless(t, authority):
	d = world(t, paths={"org.apache.dubbo.demo.GreeterService": DEMO, "t.Echo": OTHER})
	with t.h2(d) as c:
		same(who(c, authority), "demo")
		same(who(c, authority, "/t.Echo/unary"), "other")
		st = c.call(authority, "/unmapped.Service/m")
		same(st.grpc_status, 12)
		same(c.goaways, [])


@case
def a_request_without_any_authority_leads_to_the_path_map(t):
	d = world(t, paths={"org.apache.dubbo.demo.GreeterService": DEMO})
	with t.h2(d) as c:
		same(who(c, None), "demo")


@case
def a_path_of_three_elements_finds_its_service(t):
	d = world(t, paths={"org.apache.dubbo.demo.GreeterService": DEMO})
	with t.h2(d) as c:
		same(who(c, "localhost", "/context/org.apache.dubbo.demo.GreeterService/sayHello"), "demo")


@case
def a_loopback_listener_leads_to_its_default(t):
	demo, other = Provider(t, "demo"), Provider(t, "other")
	port = t.port()
	d = t.daemon({DEMO: [demo.address], OTHER: [other.address]},
		listen=[{"unix": t.path("s.sock")}, {"tcp": "127.0.0.1:%d" % port, "default": DEMO}])
	with t.h2(("127.0.0.1", port)) as c:
		same(who(c, "127.0.0.1:%d" % port), "demo")
		same(who(c, "localhost:%d" % port), "demo")
		same(who(c, "other.shop:80"), "other")
	with t.h2(d) as c:
		same(c.call("localhost", GREETER).grpc_status, 12, "the socket has no default")


@case
def the_path_map_goes_before_the_listeners_default(t):
	demo, other = Provider(t, "demo"), Provider(t, "other")
	port = t.port()
	t.daemon({DEMO: [demo.address], OTHER: [other.address]}, app={"paths": {"t.Echo": OTHER}}, listen=[{"tcp": "127.0.0.1:%d" % port, "default": DEMO}])
	with t.h2(("127.0.0.1", port)) as c:
		same((who(c, "localhost", "/t.Echo/unary"), who(c, "localhost")), ("other", "demo"))


@case
def real_grpc_over_loopback_tcp_works_without_a_name(t):
	demo = Provider(t, "demo")
	port = t.port()
	t.daemon({DEMO: [demo.address]}, listen=[{"tcp": "127.0.0.1:%d" % port, "default": DEMO}])
	ch = t.channel("127.0.0.1:%d" % port, None)
	same(ch.unary_unary(GREETER)(b"hi", timeout=60), b"hi")


@case
def an_unknown_name_is_UNIMPLEMENTED_and_says_what_was_asked(t):
	d = world(t)
	with t.h2(d) as c:
		st = c.call("nobody.nowhere.svc.cluster.local:1", GREETER)
		same((st.headers[":status"], st.grpc_status, st.trailers), ("200", 12, None))
		check("nobody.nowhere.svc.cluster.local:1" in st.grpc_message, st.grpc_message)
		check(st.headers["content-type"].startswith("application/grpc"), st.headers)
		same(who(c, DEMO), "demo")


@case
def an_unknown_name_of_a_plain_request_is_404_with_JSON(t):
	d = world(t)
	with t.h2(d) as c:
		st = c.result(c.request("nobody.nowhere.svc:1", "/demo.Greeter/Hi", b'["x"]', content_type="application/json", te=False))
		same(st.headers[":status"], "404")
		check("nobody.nowhere" in st.data.decode() and "json" in st.headers["content-type"], st)
	r = http1(d.sock, "POST", "/demo.Greeter/Hi", b"[]", {"Host": "nobody.nowhere.svc:1", "Content-Type": "application/json"})
	same(r.status, 404)
	check("nobody.nowhere" in str(r.json), r)


@cases("the bad authority %r gets a local answer", [("a@b:1",), ("demo default:1",), ("x" * 400,), ("demo\x7f:1",)])
def bad(t, authority):
	d = world(t)
	with t.h2(d) as c:
		sid = c.request(authority, GREETER, grpc_message(b"x"))
		st = c.result(sid)
		check(st.reset is not None or st.grpc_status not in (None, 0), st)
		same(who(c, DEMO), "demo", "the connection lives on")
		same(c.goaways, [])


@case
def each_app_has_its_own_namespace_and_aliases(t):
	one, two = Provider(t, "one"), Provider(t, "two")
	conf = t.config({"cart.red.svc.cluster.local:1": [one.address], "cart.blue.svc.cluster.local:1": [two.address]})
	conf["apps"] = [{"name": "red", "namespace": "red", "listen": [{"unix": t.path("s.sock")}]},
		{"name": "blue", "namespace": "blue", "alias": {"nick": "cart.red.svc.cluster.local:1"}, "listen": [{"unix": t.path("b.sock")}]}]
	d = t.daemon(conf=conf)
	with t.h2(d) as red, t.h2(t.path("b.sock")) as blue:
		same((who(red, "cart:1"), who(blue, "cart:1"), who(blue, "nick")), ("one", "two", "one"))
		same(red.call("nick", GREETER).grpc_status, 12)


@case
def the_mesh_domain_is_configured(t):
	p = Provider(t, "demo")
	d = t.daemon({"demo.default.svc.example.org:1": [p.address]}, mesh={"domain": "example.org"})
	with t.h2(d) as c:
		same(who(c, "demo:1"), "demo")
