// A grpc-js client through a Unix socket: unary, streams, metadata, binary headers, deadline, cancellation. One TAP line a case.
//
//   node client.mjs SOCKET AUTHORITY authority|none
//
// With `authority` the channel has grpc.default_authority; with `none` the authority is `localhost` and the sidecar goes by the path. The
// service is that of the official interop servers; of its messages only the few fields that the cases use are written down here.

import grpc from "@grpc/grpc-js";

const [socket, authority, way] = process.argv.slice(2);
const CASE_MS = 20000;

// ---- protobuf, as far as needed: fields are [number, value]; a number is a varint, anything else has a length

function varint(n) {
	const bytes = [];
	for (; n > 127; n = Math.floor(n / 128)) bytes.push((n % 128) | 128);
	return Buffer.from([...bytes, n]);
}

function encode(...fields) {
	return Buffer.concat(fields.map(([number, value]) => {
		if (typeof value === "number") return Buffer.concat([varint(number * 8), varint(value)]);
		const bytes = Buffer.from(value);
		return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
	}));
}

/** The last value of a field, undefined where it is not there. */
function field(message, number) {
	let at = 0, found;
	const next = () => {
		let n = 0, scale = 1;
		for (;; scale *= 128) {
			const byte = message[at++];
			n += (byte & 127) * scale;
			if (byte < 128) return n;
		}
	};
	while (at < message.length) {
		const tag = next();
		let value = next();
		if (tag % 8 === 2) {
			at += value;
			value = message.subarray(at - value, at);
		}
		if (Math.floor(tag / 8) === number) found = value;
	}
	return found;
}

const payload = (size) => encode([2, Buffer.alloc(size)]);
const simple = (size, body = 0) => encode([2, size], [3, payload(body)]);
const output = (sizes, delayUs = 0) => encode(...sizes.map((size) => [2, encode([1, size], [2, delayUs])]));
const bodySize = (answer) => {
	const got = field(answer, 1);
	return (got && field(got, 2) || []).length;
};

// ---- the client

const raw = (bytes) => bytes;
const method = (name, requestStream, responseStream) => ({
	path: `/grpc.testing.TestService/${name}`, requestStream, responseStream,
	requestSerialize: raw, requestDeserialize: raw, responseSerialize: raw, responseDeserialize: raw,
});
const Client = grpc.makeGenericClientConstructor({
	empty: method("EmptyCall", false, false),
	unary: method("UnaryCall", false, false),
	nothing: method("UnimplementedCall", false, false),
	input: method("StreamingInputCall", true, false),
	output: method("StreamingOutputCall", false, true),
	duplex: method("FullDuplexCall", true, true),
}, "TestService");
const client = new Client(`unix:${socket}`, grpc.credentials.createInsecure(),
	way === "authority" ? { "grpc.default_authority": authority } : {});

function want(got, wanted) {
	if (got !== wanted) throw new Error(`got ${String(got).slice(0, 120)}, wanted ${String(wanted).slice(0, 120)}`);
}

/** Ends with {answer, metadata, status} of a unary call, or with {error}. */
function call(name, message, metadata = new grpc.Metadata(), options = {}) {
	return new Promise((done) => {
		const got = {};
		const c = client[name](message, metadata, options, (error, answer) => {
			got.error = error;
			got.answer = answer;
			if (got.status) done(got);
		});
		c.on("metadata", (m) => (got.metadata = m));
		c.on("status", (s) => {
			got.status = s;
			if (got.error !== undefined) done(got);
		});
	});
}

async function wantUnary(name, message, metadata, options) {
	const got = await call(name, message, metadata, options);
	if (got.error) throw got.error;
	return got;
}

/** A stream's answers one by one, and its status. */
function listen(stream) {
	const queue = [], waiting = [];
	let ended;
	const give = () => {
		while (waiting.length && (queue.length || ended)) waiting.shift()(queue.shift());
	};
	stream.on("data", (message) => { queue.push(message); give(); });
	stream.on("error", () => {});
	const status = new Promise((done) => stream.on("status", (s) => { ended = true; give(); done(s); }));
	return { next: () => new Promise((done) => { waiting.push(done); give(); }), status };
}

async function emptyUnary() {
	want((await wantUnary("empty", Buffer.alloc(0))).answer.length, 0);
}

async function largeUnary() {
	want(bodySize((await wantUnary("unary", simple(314159, 271828))).answer), 314159);
}

async function manyUnary() {
	const all = await Promise.all(Array.from({ length: 200 }, (_, i) => wantUnary("unary", simple(i + 1, i))));
	all.forEach((got, i) => want(bodySize(got.answer), i + 1));
}

async function clientStreaming() {
	const answer = await new Promise((done, fail) => {
		const stream = client.input((error, message) => (error ? fail(error) : done(message)));
		for (const size of [27182, 8, 1828, 45904]) stream.write(encode([1, payload(size)]));
		stream.end();
	});
	want(field(answer, 1), 74922);
}

async function serverStreaming() {
	const heard = listen(client.output(output([31415, 9, 2653, 58979])));
	for (const size of [31415, 9, 2653, 58979]) want(bodySize(await heard.next()), size);
	want((await heard.status).code, grpc.status.OK);
}

async function pingPong() {
	const stream = client.duplex(), heard = listen(stream);
	for (const size of [31415, 9, 2653, 58979]) {
		stream.write(output([size]));
		want(bodySize(await heard.next()), size);
	}
	stream.end();
	want((await heard.status).code, grpc.status.OK);
}

async function metadata() {
	const sent = new grpc.Metadata(), binary = Buffer.from([0x0a, 0xff, 0x00, 0x0b]);
	sent.set("x-grpc-test-echo-initial", "first");
	sent.set("x-grpc-test-echo-trailing-bin", binary);
	const got = await wantUnary("unary", simple(1), sent);
	want(got.metadata.get("x-grpc-test-echo-initial")[0], "first");
	want(got.status.metadata.get("x-grpc-test-echo-trailing-bin")[0]?.toString("hex"), binary.toString("hex"));
}

async function statusCodeAndMessage() {
	const told = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
	const got = await call("unary", encode([7, encode([1, 2], [2, told])]));
	want(got.error?.code, grpc.status.UNKNOWN);
	want(got.error.details, told);
}

async function unimplementedMethod() {
	want((await call("nothing", Buffer.alloc(0))).error?.code, grpc.status.UNIMPLEMENTED);
}

async function deadline() {
	const stream = client.duplex({ deadline: Date.now() + 200 }), heard = listen(stream);
	stream.write(output([1], 20_000_000));
	want((await heard.status).code, grpc.status.DEADLINE_EXCEEDED);
	await emptyUnary();
}

async function cancelAfterFirstResponse() {
	for (let i = 0; i < 20; i++) {
		const stream = client.duplex(), heard = listen(stream);
		stream.write(output([31415]));
		want(bodySize(await heard.next()), 31415);
		stream.cancel();
		want((await heard.status).code, grpc.status.CANCELLED);
	}
	await emptyUnary();
}

const cases = [emptyUnary, largeUnary, manyUnary, clientStreaming, serverStreaming, pingPong, metadata, statusCodeAndMessage,
	unimplementedMethod, deadline, cancelAfterFirstResponse];

console.log(`1..${cases.length}`);
for (const [i, run] of cases.entries()) {
	let timer;
	const late = new Promise((_, fail) => (timer = setTimeout(() => fail(new Error("no end in time")), CASE_MS)));
	try {
		await Promise.race([run(), late]);
		console.log(`ok ${i + 1} - ${run.name}`);
	} catch (e) {
		console.log(`not ok ${i + 1} - ${run.name} # ${String(e).replaceAll("\n", " | ")}`);
	}
	clearTimeout(timer);
}
client.close();
process.exit(0);
