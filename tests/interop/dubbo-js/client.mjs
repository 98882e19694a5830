// A dubbo-js client through a Unix socket, with each of its two transports. One TAP line a case.
//
//   node client.mjs SOCKET AUTHORITY 'dubbo transport'|'grpc transport'
//
// The dubbo transport is the HTTP half of Triple: for a unary call no gRPC framing and no trailers, `application/proto` with
// tri-service-timeout for the deadline, errors as an HTTP status with JSON. Its streams are a form that no provider here knows, so they are
// asked for over the grpc transport only; and Dubbo Java answers 415 to application/proto, so the dubbo transport goes to dubbo-go. The host of baseUrl is the authority.

import { Code, createPromiseClient, DubboError } from "@apachedubbo/dubbo";
import { createDubboTransport, createGrpcTransport } from "@apachedubbo/dubbo-node";
import { MethodKind, StringValue } from "@bufbuild/protobuf";
import net from "node:net";

const [socket, authority, way] = process.argv.slice(2);
const overGrpc = way === "grpc transport";
const CASE_MS = 20000;

const method = (name, kind) => ({ name, I: StringValue, O: StringValue, kind });
const Greeter = {
	typeName: "thinmesh.interop.Greeter",
	methods: {
		greet: method("greet", MethodKind.Unary),
		fail: method("fail", MethodKind.Unary),
		count: method("count", MethodKind.ServerStreaming),
		collect: method("collect", MethodKind.ClientStreaming),
		chat: method("chat", MethodKind.BiDiStreaming),
	},
};

const transport = (overGrpc ? createGrpcTransport : createDubboTransport)({
	baseUrl: `http://${authority}`,
	httpVersion: "2",
	nodeOptions: { createConnection: () => net.connect(socket) },
});
const client = createPromiseClient(Greeter, transport);
const text = (value) => new StringValue({ value });

function want(got, wanted) {
	if (got !== wanted) throw new Error(`got ${String(got).slice(0, 80)}, wanted ${String(wanted).slice(0, 80)}`);
}

async function wantCode(promise, code) {
	try {
		await promise;
	} catch (e) {
		want(e instanceof DubboError ? Code[e.code] : String(e), Code[code]);
		return e;
	}
	throw new Error(`an answer, wanted ${Code[code]}`);
}

async function unary() {
	want((await client.greet(text("wörld"))).value, "hello wörld");
}

async function largeUnary() {
	const large = "x".repeat(1 << 20);
	want((await client.greet(text(large))).value.length, large.length + 6);
}

async function manyUnary() {
	const names = Array.from({ length: 100 }, (_, i) => `n${i}`);
	const answers = await Promise.all(names.map((name) => client.greet(text(name))));
	answers.forEach((answer, i) => want(answer.value, `hello n${i}`));
}

/** What comes back is in the trailers of gRPC, in the headers of the HTTP half. */
async function attachments() {
	let back = new Headers();
	const keep = (headers) => headers.forEach((value, name) => back.append(name.replace(/^trailer-/, ""), value));
	await client.greet(text("you"), { headers: { "x-asked": "Asked And Told" }, onHeader: keep, onTrailer: keep });
	want(back.get("x-told"), "Asked And Told");
}

/** Over the HTTP half an answer of 504, where the sidecar's clock is first, is Unavailable to dubbo-js. */
async function deadline() {
	const call = client.greet(text("sleep 3000"), { timeoutMs: 300 });
	const e = await call.then(() => new Error("an answer"), (e) => e);
	if (!(e.code === Code.DeadlineExceeded || (!overGrpc && e.code === Code.Unavailable && /deadline|504/i.test(e.message)))) throw e;
	await unary();
}

/**
 * An error of the service is `:status` 500 from Dubbo Java, and from both over the HTTP half: that is all that dubbo-js then looks at. Over gRPC
 * dubbo-go has a number of its own, 17, for an error without a code.
 */
async function failure() {
	try {
		await client.fail(text("business"));
	} catch (e) {
		want(e instanceof DubboError, true);
		want(e.code, overGrpc && authority.startsWith("dubbo-go") ? 17 : Code.Unknown);
		return unary();
	}
	throw new Error("an answer, wanted a failure");
}

async function unimplemented() {
	const other = createPromiseClient({ ...Greeter, typeName: "thinmesh.interop.Nobody" }, transport);
	await wantCode(other.greet(text("x")), Code.Unimplemented);
}

async function serverStream() {
	let last, n = 0;
	for await (const message of client.count(text("100"))) {
		last = message.value;
		n++;
	}
	want(`${n} ${last}`, "100 100");
}

async function clientStream() {
	async function* words() {
		for (const word of ["a", "b", "c"]) yield text(word);
	}
	want((await client.collect(words())).value, "a,b,c");
}

/** The next question is given only when the last one is answered. */
async function bidiStream() {
	let answered;
	let turn = new Promise((done) => (answered = done));
	async function* asks() {
		for (let i = 0; i < 10; i++) {
			yield text(`m${i}`);
			await turn;
			turn = new Promise((done) => (answered = done));
		}
	}
	let n = 0;
	for await (const message of client.chat(asks())) {
		want(message.value, `echo m${n++}`);
		answered();
	}
	want(n, 10);
}

async function cancel() {
	for (let i = 0; i < 10; i++) {
		const stop = new AbortController();
		const call = client.greet(text("sleep 3000"), { signal: stop.signal });
		setTimeout(() => stop.abort(), 20);
		await wantCode(call, Code.Canceled);
	}
	await unary();
}

const cases = [unary, largeUnary, manyUnary, attachments, deadline, failure, unimplemented, cancel];
if (overGrpc) cases.push(serverStream, clientStream, bidiStream);

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
process.exit(0);
