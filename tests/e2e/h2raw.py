"""A HTTP/2 peer with full control over every frame, for both roles: what real libraries refuse to send, and what they hide of
what they got. Frames are made by hand; only HPACK comes from a library (python3-hpack, which python3-h2 brings along).

H2      one connection; owns its socket. Reading happens only inside wait(), on the thread of the caller.
Stream  what has come in on one stream.

An obedient peer is the default: SETTINGS and PING are acknowledged, windows are given back, DATA waits for the window. Each of
these can be turned off (auto_ack, auto_window, obey).
"""
import os
import select
import socket
import struct
import time

from hpack import Decoder, Encoder

# As in harness.py.
PATIENCE = float(os.environ.get("E2E_PATIENCE", "6"))

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = range(1, 7)

(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM,
	CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM) = range(12)


class Gone(Exception):
	"""The connection ended while something was still awaited."""


class Stream:
	def __init__(self, sid, window):
		self.id = sid
		self.headers = None          # dict of the (last) header list that is no trailer list
		self.header_list = None      # the same, with order and duplicates
		self.trailers = None
		self.trailer_list = None
		self.informational = []
		self.data = bytearray()
		self.ended = False           # END_STREAM has come
		self.reset = None            # code of the first RST_STREAM
		self.resets = []             # all of them: one is enough
		self.window = window         # what we may still send

	@property
	def over(self):
		return self.ended or self.reset is not None

	@property
	def grpc_status(self):
		"""From the trailers, or from the only header list; None if neither says it."""
		for fields in (self.trailers, self.headers):
			if fields and "grpc-status" in fields:
				return int(fields["grpc-status"])
		return None

	@property
	def grpc_message(self):
		for fields in (self.trailers, self.headers):
			if fields and "grpc-message" in fields:
				return fields["grpc-message"]
		return ""

	def __repr__(self):
		def brief(fields):
			shown = repr(fields)
			return shown if len(shown) < 700 else shown[:500] + "..." + shown[-150:]
		return "stream %d: headers %s, %d bytes %r, trailers %s, ended %s, reset %r" % (self.id, brief(self.headers), len(self.data),
			bytes(self.data[:80]), brief(self.trailers), self.ended, self.reset)


def text(value):
	return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def grpc_message(body, compressed=0):
	return bytes([compressed]) + struct.pack(">I", len(body)) + body


class H2:
	def __init__(self, sock, client=True, settings=None, start=True, auto_ack=True, auto_window=True, connection_window=1 << 24):
		sock.setblocking(True)
		self.sock = sock
		self.client = client
		self.auto_ack, self.auto_window = auto_ack, auto_window
		self.encoder, self.decoder, self.indexed = Encoder(), Decoder(), True
		self.decoder.max_header_list_size = 1 << 24
		self.buffer = b""
		self.preface_wanted = not client
		self.streams = {}
		self.order = []              # ids in the order of their first HEADERS
		self.next_id = 1
		self.window = 65535          # what we may still send on the connection
		self.peer_settings = {}
		self.settings_seen = 0
		self.settings_acked = 0
		self.ping_acks = []
		self.pings = []
		self.goaways = []            # (last id, code, debug)
		self.frames = []             # (type, flags, id, length) of everything that came
		self.closed = False
		self.handling = False
		self.block = None            # (id, flags, bytes) of an unfinished header block
		if start:
			self.start(settings, connection_window)

	# ---- sending -------------------------------------------------------------------------------------------------------

	def start(self, settings=None, connection_window=1 << 24):
		head = PREFACE if self.client else b""
		wanted = {INITIAL_WINDOW_SIZE: 1 << 22, MAX_HEADER_LIST_SIZE: 1 << 20} if settings is None else settings
		pairs = b"".join(struct.pack(">HI", k, v) for k, v in wanted.items())
		head += self.frame(SETTINGS, 0, 0, pairs)
		if connection_window > 65535:
			head += self.frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", connection_window - 65535))
		self.raw(head)

	@staticmethod
	def frame(kind, flags, sid, payload=b""):
		return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", sid) + payload

	def raw(self, data):
		"""All of it, or Gone when the peer has closed."""
		try:
			self.sock.sendall(data)
		except OSError as e:
			# The peer is gone, but what it said last is still there to be read.
			while not self.closed and not self.handling and self.pump(0):
				pass
			raise Gone("sending: %s, goaways %r" % (e, self.goaways)) from None

	def try_raw(self, data, timeout_s=0.2):
		"""Bytes that were taken before the peer stopped reading or closed."""
		self.sock.settimeout(timeout_s)
		sent = 0
		try:
			while sent < len(data):
				sent += self.sock.send(data[sent:sent + 65536])
		except OSError:
			pass
		finally:
			self.sock.settimeout(None)
		return sent

	def send(self, kind, flags=0, sid=0, payload=b""):
		self.raw(self.frame(kind, flags, sid, payload))

	def encode(self, headers):
		# indexed False: nothing is put into the peer's table, which a case fills by hand then.
		return self.encoder.encode([(k, v) if self.indexed else (k, v, True) for k, v in headers], huffman=False)

	def stream(self, sid):
		if sid not in self.streams:
			self.streams[sid] = Stream(sid, self.peer_settings.get(INITIAL_WINDOW_SIZE, 65535))
		return self.streams[sid]

	def new_id(self):
		sid, self.next_id = self.next_id, self.next_id + 2
		return sid

	def send_headers(self, sid, headers, end=False, frame_size=16384):
		block = self.encode(headers)
		self.stream(sid)
		first, rest = block[:frame_size], block[frame_size:]
		out = self.frame(HEADERS, (END_STREAM if end else 0) | (0 if rest else END_HEADERS), sid, first)
		while rest:
			piece, rest = rest[:frame_size], rest[frame_size:]
			out += self.frame(CONTINUATION, 0 if rest else END_HEADERS, sid, piece)
		self.raw(out)

	def send_data(self, sid, data, end=False, obey=True, timeout_s=5.0):
		st = self.stream(sid)
		largest = self.peer_settings.get(MAX_FRAME_SIZE, 16384)
		view = memoryview(bytes(data))
		while True:
			n = min(len(view), largest)
			if obey and n:
				if min(st.window, self.window) <= 0:
					self.wait(lambda: min(st.window, self.window) > 0 or st.reset is not None, timeout_s)
				if st.reset is not None:
					return
				n = min(n, st.window, self.window)
			last = n == len(view)
			self.send(DATA, END_STREAM if end and last else 0, sid, bytes(view[:n]))
			st.window -= n
			self.window -= n
			view = view[n:]
			if last:
				return

	def send_reset(self, sid, code=CANCEL):
		self.send(RST_STREAM, 0, sid, struct.pack(">I", code))

	def send_window(self, sid, n):
		self.send(WINDOW_UPDATE, 0, sid, struct.pack(">I", n))

	def send_goaway(self, last, code=NO_ERROR, debug=b""):
		self.send(GOAWAY, 0, 0, struct.pack(">II", last, code) + debug)

	def send_settings(self, pairs):
		self.send(SETTINGS, 0, 0, b"".join(struct.pack(">HI", k, v) for k, v in dict(pairs).items()))

	def send_ping(self, payload=b"thinmesh"):
		self.send(PING, 0, 0, payload)

	# ---- a caller's short forms ----------------------------------------------------------------------------------------

	def head(self, authority, path, method="POST", content_type="application/grpc", extra=(), te=True):
		out = [(":method", method), (":scheme", "http"), (":path", path)]
		if authority is not None:
			out.append((":authority", authority))
		if content_type:
			out.append(("content-type", content_type))
		if te:
			out.append(("te", "trailers"))
		return out + list(extra)

	def request(self, authority, path, body=None, end=True, **kw):
		"""Opens a stream; body None: the headers end it (if end)."""
		sid = self.new_id()
		self.send_headers(sid, self.head(authority, path, **kw), end=end and body is None)
		if body is not None:
			self.send_data(sid, body, end=end)
		return sid

	def call(self, authority, path, message=b"hello", timeout_s=5.0, **kw):
		"""A unary gRPC call; returns its Stream when it is over."""
		return self.result(self.request(authority, path, grpc_message(message), **kw), timeout_s)

	def result(self, sid, timeout_s=5.0):
		st = self.stream(sid)
		self.wait(lambda: st.over, timeout_s)
		return st

	# ---- receiving -----------------------------------------------------------------------------------------------------

	def wait(self, done, timeout_s=5.0):
		"""Reads and handles frames until done() says so. Gone: the connection ended first; TimeoutError: neither."""
		end = time.monotonic() + timeout_s * PATIENCE
		while not done():
			if self.closed:
				raise Gone("connection ended, goaways %r, streams %r" % (self.goaways, list(self.streams.values())[-3:]))
			left = end - time.monotonic()
			if left <= 0:
				raise TimeoutError("after %.1f s: streams %r, goaways %r" % (timeout_s, list(self.streams.values())[-3:], self.goaways))
			self.pump(left)

	def wait_closed(self, timeout_s=5.0):
		try:
			self.wait(lambda: False, timeout_s)
		except Gone:
			pass

	def is_silent(self, seconds):
		"""Reads for so long and tells whether the connection still stands."""
		end = time.monotonic() + seconds
		while not self.closed and time.monotonic() < end:
			self.pump(end - time.monotonic())
		return not self.closed

	def pump(self, timeout_s):
		"""Reads once; False: nothing came."""
		ready, _, _ = select.select([self.sock], [], [], max(0, timeout_s))
		if not ready:
			return False
		try:
			got = self.sock.recv(1 << 18)
		except OSError:
			got = b""
		if not got:
			self.closed = True
			return True
		self.buffer += got
		if self.preface_wanted:
			if len(self.buffer) < len(PREFACE):
				return True
			assert self.buffer.startswith(PREFACE), "no preface: %r" % self.buffer[:64]
			self.buffer, self.preface_wanted = self.buffer[len(PREFACE):], False
		at, size, self.handling = 0, len(self.buffer), True
		while size - at >= 9:
			length = int.from_bytes(self.buffer[at:at + 3], "big")
			if size - at < 9 + length:
				break
			kind, flags = self.buffer[at + 3], self.buffer[at + 4]
			sid = int.from_bytes(self.buffer[at + 5:at + 9], "big") & 0x7fffffff
			payload = self.buffer[at + 9:at + 9 + length]
			at += 9 + length
			self.handle(kind, flags, sid, payload)
		self.buffer, self.handling = self.buffer[at:], False
		return True

	def handle(self, kind, flags, sid, payload):
		self.frames.append((kind, flags, sid, len(payload)))
		if kind == SETTINGS:
			if flags & ACK:
				self.settings_acked += 1
				return
			old = self.peer_settings.get(INITIAL_WINDOW_SIZE, 65535)
			for i in range(0, len(payload), 6):
				k, v = struct.unpack(">HI", payload[i:i + 6])
				self.peer_settings[k] = v
			for st in self.streams.values():
				st.window += self.peer_settings.get(INITIAL_WINDOW_SIZE, 65535) - old
			self.settings_seen += 1
			if self.auto_ack:
				self.quietly(SETTINGS, ACK)
		elif kind == PING:
			if flags & ACK:
				self.ping_acks.append(payload)
			else:
				self.pings.append(payload)
				if self.auto_ack:
					self.quietly(PING, ACK, 0, payload)
		elif kind == WINDOW_UPDATE:
			n = struct.unpack(">I", payload)[0] & 0x7fffffff
			if sid:
				self.stream(sid).window += n
			else:
				self.window += n
		elif kind == GOAWAY:
			last, code = struct.unpack(">II", payload[:8])
			self.goaways.append((last & 0x7fffffff, code, payload[8:]))
		elif kind == RST_STREAM:
			st = self.stream(sid)
			st.resets.append(struct.unpack(">I", payload)[0])
			st.reset = st.resets[0]
		elif kind == HEADERS:
			if flags & PADDED:
				payload = payload[1:len(payload) - payload[0]]
			if flags & 0x20:
				payload = payload[5:]
			self.block = (sid, flags, payload)
			if flags & END_HEADERS:
				self.finish_block()
		elif kind == CONTINUATION:
			self.block = (self.block[0], self.block[1], self.block[2] + payload)
			if flags & END_HEADERS:
				self.finish_block()
		elif kind == DATA:
			if flags & PADDED:
				body = payload[1:len(payload) - payload[0]]
			else:
				body = payload
			st = self.stream(sid)
			st.data += body
			st.ended = st.ended or bool(flags & END_STREAM)
			if self.auto_window and payload:
				self.quietly(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload)))
				if not st.ended:
					self.quietly(WINDOW_UPDATE, 0, sid, struct.pack(">I", len(payload)))

	def quietly(self, kind, flags=0, sid=0, payload=b""):
		try:
			self.send(kind, flags, sid, payload)
		except Gone:
			pass

	def finish_block(self):
		sid, flags, block = self.block
		self.block = None
		fields = [(text(k), text(v)) for k, v in self.decoder.decode(block, raw=True)]
		fresh = sid not in self.order
		st = self.stream(sid)
		if fresh:
			self.order.append(sid)
		as_dict = dict(fields)
		status = as_dict.get(":status", "")
		if status.startswith("1"):
			st.informational.append(as_dict)
		elif st.headers is None:
			st.headers, st.header_list = as_dict, fields
		else:
			st.trailers, st.trailer_list = as_dict, fields
		st.ended = st.ended or bool(flags & END_STREAM)

	# ---- a provider's short forms --------------------------------------------------------------------------------------

	def accept(self, timeout_s=5.0):
		"""The next request whose head has come, as a Stream."""
		self.accepted = getattr(self, "accepted", 0)
		self.wait(lambda: len(self.order) > self.accepted, timeout_s)
		st = self.streams[self.order[self.accepted]]
		self.accepted += 1
		return st

	def answer(self, sid, message=b"hello", status=0, head=(), trailers=(), content_type="application/grpc"):
		"""A whole gRPC answer; message None: trailers-only."""
		ending = [("grpc-status", str(status))] + list(trailers)
		if message is None:
			self.send_headers(sid, [(":status", "200"), ("content-type", content_type)] + list(head) + ending, end=True)
			return
		self.send_headers(sid, [(":status", "200"), ("content-type", content_type)] + list(head))
		self.send_data(sid, grpc_message(message))
		self.send_headers(sid, ending, end=True)

	def close(self, reset=False):
		"""reset: by RST instead of FIN (TCP)."""
		self.closed = True
		try:
			if reset:
				self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
			else:
				self.sock.shutdown(socket.SHUT_RDWR)
		except OSError:
			pass
		self.sock.close()

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.close()
