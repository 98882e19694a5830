"""Certificates for cases: authorities, leaves with any names and times, what is revoked. By the openssl command; keys of P-256 take no time.

a = Authority(folder)                              a root of its own; a.roots: its file
leaf = a.leaf("shop", "URI:spiffe://cluster.local/ns/default/sa/shop")
                                                   .cert .key: files (the chain is the leaf, and the authorities between it and the root)
a.leaf("old", ..., start_s=-7200, end_s=-3600)     expired; start_s=3600: not valid yet
below = Authority(folder, above=a)                 an intermediate
a.revoke(leaf); a.crl()                            the file of a CRL
a.sign(csr_pem, "URI:...", seconds)                of a request: PEM
spiffe("shop")                                     "URI:spiffe://cluster.local/ns/default/sa/shop"
"""
import os
import subprocess
import threading
import time

CONF = """
[ca]
default_ca = here
[here]
database = %(folder)s/index.txt
serial = %(folder)s/serial
new_certs_dir = %(folder)s/issued
certificate = %(folder)s/root.pem
private_key = %(folder)s/root.key
default_md = sha256
default_crl_days = 1
policy = any
unique_subject = no
email_in_dn = no
copy_extensions = none
[any]
commonName = optional
organizationName = optional
"""


class CertError(AssertionError):
	pass


def openssl(*args, stdin=None):
	done = subprocess.run(("openssl",) + args, capture_output=True, text=True, input=stdin)
	if done.returncode:
		raise CertError("openssl %s: %s" % (args[0], done.stderr))
	return done.stdout


def spiffe(account, namespace="default", domain="cluster.local"):
	return "URI:spiffe://%s/ns/%s/sa/%s" % (domain, namespace, account)


def date(at_s):
	return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(at_s))


def read(path):
	with open(path) as f:
		return f.read()


def write(path, text, mode=0o644):
	"""Whole or not at all, as kubelet does: whoever watches sees no half of it."""
	fd = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
	with os.fdopen(fd, "w") as f:
		f.write(text)
	os.rename(path + ".new", path)
	return path


class Leaf:
	def __init__(self, cert, key, number):
		self.cert, self.key, self.number = cert, key, number

	@property
	def pem(self):
		return read(self.cert)

	@property
	def key_pem(self):
		return read(self.key)


class Authority:
	def __init__(self, folder, name="mesh of the tests", above=None):
		self.folder, self.above = folder, above
		self.lock = threading.Lock()
		self.count = 0
		os.makedirs(self.path("issued"), exist_ok=True)
		write(self.path("index.txt"), "")
		write(self.path("serial"), os.urandom(7).hex().upper().rjust(14, "1") + "\n")
		write(self.path("ca.cnf"), CONF % {"folder": folder})
		self.own = self.path("root.pem")
		openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.path("root.key"))
		request = openssl("req", "-new", "-key", self.path("root.key"), "-subj", "/O=" + name)
		usage = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
		now = time.time()
		if above:
			write(self.own, above.issue(request, usage, now - 86400, now + 30 * 86400))
		else:
			write(self.path("root.csr"), request)
			write(self.path("root.ext"), usage)
			openssl("ca", "-batch", "-selfsign", "-notext", "-config", self.path("ca.cnf"), "-keyfile", self.path("root.key"), "-in", self.path("root.csr"), "-out", self.own,
				"-startdate", date(now - 86400), "-enddate", date(now + 30 * 86400), "-extfile", self.path("root.ext"))

	def path(self, name):
		return os.path.join(self.folder, name)

	@property
	def roots(self):
		"""The file that others trust."""
		return self.above.roots if self.above else self.own

	@property
	def between(self):
		"""PEM of the authorities between a leaf of this one and the root."""
		return read(self.own) + self.above.between if self.above else ""

	def issue(self, request_pem, extensions, start_s, end_s):
		with self.lock:
			self.count += 1
			csr, ext, out = (self.path("now" + end) for end in (".csr", ".ext", ".pem"))
			write(csr, request_pem)
			write(ext, extensions)
			openssl("ca", "-batch", "-notext", "-config", self.path("ca.cnf"), "-in", csr, "-out", out, "-startdate", date(start_s), "-enddate", date(end_s), "-extfile", ext)
			return read(out)

	def sign(self, csr_pem, sans, seconds, start_s=-120, usage="serverAuth,clientAuth"):
		ext = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=%s\n" % usage
		if sans:
			ext += "subjectAltName=critical,%s\n" % sans
		now = time.time()
		return self.issue(csr_pem, ext, now + start_s, now + seconds)

	def leaf(self, name, sans, start_s=-120, end_s=86400, usage="serverAuth,clientAuth", rsa=False):
		"""sans: "DNS:a,IP:127.0.0.1,URI:spiffe://.."; "" none. Times from now on."""
		self.count += 1
		cert, key = self.path("%s-%d.pem" % (name, self.count)), self.path("%s-%d.key" % (name, self.count))
		if rsa:
			openssl("genrsa", "-out", key, "2048")
		else:
			write(key, openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"), 0o600)
		own = self.sign(openssl("req", "-new", "-key", key, "-subj", "/O=" + name), sans, end_s, start_s, usage)
		write(cert, own + self.between)
		return Leaf(cert, key, self.count)

	def revoke(self, leaf):
		with self.lock:
			openssl("ca", "-config", self.path("ca.cnf"), "-revoke", leaf.cert)

	def crl(self):
		with self.lock:
			openssl("ca", "-config", self.path("ca.cnf"), "-gencrl", "-out", self.path("crl.pem"))
		return self.path("crl.pem")
