// A tonic client through a Unix socket: unary, three kinds of streams, metadata, deadline, cancellation, errors.
//
// The messages are those of the official interop servers (grpc.testing.TestService), as far as the cases need them, written down with
// prost's attributes instead of generated. tonic takes the authority from the endpoint's origin; it announces MAX_HEADER_LIST_SIZE 16384.
//
// Prints one TAP line a case.

use std::future::Future;
use std::time::Duration;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tokio_stream::{Stream, StreamExt};
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, Message)]
struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct Payload {
    #[prost(bytes = "vec", tag = "2")]
    body: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct EchoStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Clone, PartialEq, Message)]
struct SimpleRequest {
    #[prost(int32, tag = "2")]
    response_size: i32,
    #[prost(message, optional, tag = "3")]
    payload: Option<Payload>,
    #[prost(message, optional, tag = "7")]
    response_status: Option<EchoStatus>,
}

/// SimpleResponse and StreamingOutputCallResponse alike.
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Message)]
struct InputRequest {
    #[prost(message, optional, tag = "1")]
    payload: Option<Payload>,
}

#[derive(Clone, PartialEq, Message)]
struct InputResponse {
    #[prost(int32, tag = "1")]
    aggregated_payload_size: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Parameters {
    #[prost(int32, tag = "1")]
    size: i32,
    #[prost(int32, tag = "2")]
    interval_us: i32,
}

#[derive(Clone, PartialEq, Message)]
struct OutputRequest {
    #[prost(message, repeated, tag = "2")]
    response_parameters: Vec<Parameters>,
    #[prost(message, optional, tag = "3")]
    payload: Option<Payload>,
}

type Outcome = Result<(), String>;

const ASKED: [i32; 4] = [31415, 9, 2653, 58979];

fn payload(size: i32) -> Option<Payload> {
    Some(Payload { body: vec![0; size as usize] })
}

fn output(size: i32, interval_us: i32) -> OutputRequest {
    OutputRequest { response_parameters: vec![Parameters { size, interval_us }], payload: payload(size) }
}

fn told(status: Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

fn want_size(answer: &Answer, want: i32) -> Outcome {
    let got = answer.payload.as_ref().map_or(0, |p| p.body.len());
    if got == want as usize { Ok(()) } else { Err(format!("a payload of {got} bytes, wanted {want}")) }
}

fn want_code<T>(result: Result<T, Status>, want: Code) -> Outcome {
    match result {
        Err(status) if status.code() == want => Ok(()),
        Err(status) => Err(format!("{}, wanted {want:?}", told(status))),
        Ok(_) => Err(format!("an answer, wanted {want:?}")),
    }
}

async fn want_end(stream: &mut Streaming<Answer>) -> Outcome {
    match stream.message().await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err("one message too many".into()),
        Err(status) => Err(told(status)),
    }
}

/// One call object of tonic: it must be told ready before each use.
struct Caller {
    grpc: Grpc<Channel>,
}

impl Caller {
    fn path(method: &'static str) -> PathAndQuery {
        PathAndQuery::from_static(method)
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))
    }

    async fn unary<Q, A>(&mut self, method: &'static str, ask: Request<Q>) -> Result<Response<A>, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        self.ready().await?;
        self.grpc.unary(ask, Self::path(method), ProstCodec::default()).await
    }

    async fn full_duplex<S>(&mut self, asks: S) -> Result<Response<Streaming<Answer>>, Status>
    where
        S: Stream<Item = OutputRequest> + Send + 'static,
    {
        self.ready().await?;
        let path = Self::path("/grpc.testing.TestService/FullDuplexCall");
        self.grpc.streaming(Request::new(asks), path, ProstCodec::default()).await
    }

    async fn simple(&mut self, ask: Request<SimpleRequest>) -> Result<Response<Answer>, Status> {
        self.unary("/grpc.testing.TestService/UnaryCall", ask).await
    }
}

async fn empty_unary(mut c: Caller) -> Outcome {
    let answer: Result<Response<Empty>, _> = c.unary("/grpc.testing.TestService/EmptyCall", Request::new(Empty {})).await;
    answer.map(|_| ()).map_err(told)
}

async fn large_unary(mut c: Caller) -> Outcome {
    let ask = SimpleRequest { response_size: 314159, payload: payload(271828), response_status: None };
    want_size(c.simple(Request::new(ask)).await.map_err(told)?.get_ref(), 314159)
}

async fn client_streaming(mut c: Caller) -> Outcome {
    c.ready().await.map_err(told)?;
    let asks = tokio_stream::iter([27182, 8, 1828, 45904].map(|size| InputRequest { payload: payload(size) }));
    let path = Caller::path("/grpc.testing.TestService/StreamingInputCall");
    let answer: Response<InputResponse> =
        c.grpc.client_streaming(Request::new(asks), path, ProstCodec::default()).await.map_err(told)?;
    match answer.get_ref().aggregated_payload_size {
        74922 => Ok(()),
        sum => Err(format!("the sum is {sum}, wanted 74922")),
    }
}

async fn server_streaming(mut c: Caller) -> Outcome {
    c.ready().await.map_err(told)?;
    let ask = OutputRequest { response_parameters: ASKED.map(|size| Parameters { size, interval_us: 0 }).to_vec(), payload: None };
    let path = Caller::path("/grpc.testing.TestService/StreamingOutputCall");
    let answer: Response<Streaming<Answer>> =
        c.grpc.server_streaming(Request::new(ask), path, ProstCodec::default()).await.map_err(told)?;
    let mut stream = answer.into_inner();
    for size in ASKED {
        let answer = stream.message().await.map_err(told)?.ok_or("the stream ended early")?;
        want_size(&answer, size)?;
    }
    want_end(&mut stream).await
}

/// Each question is asked only when the one before it is answered, so nothing on the way may hold a message back.
async fn ping_pong(mut c: Caller) -> Outcome {
    let (ask, asks) = tokio::sync::mpsc::channel(1);
    let asks = tokio_stream::wrappers::ReceiverStream::new(asks);
    ask.send(output(ASKED[0], 0)).await.map_err(|e| e.to_string())?;
    let mut stream = c.full_duplex(asks).await.map_err(told)?.into_inner();
    for (i, size) in ASKED.into_iter().enumerate() {
        let answer = stream.message().await.map_err(told)?.ok_or("the stream ended early")?;
        want_size(&answer, size)?;
        if let Some(next) = ASKED.get(i + 1) {
            ask.send(output(*next, 0)).await.map_err(|e| e.to_string())?;
        }
    }
    drop(ask);
    want_end(&mut stream).await
}

async fn metadata(mut c: Caller) -> Outcome {
    let binary = MetadataValue::from_bytes(b"\x0a\x0b\xff\x00");
    let mut ask = Request::new(SimpleRequest { response_size: 1, payload: None, response_status: None });
    ask.metadata_mut().insert("x-grpc-test-echo-initial", MetadataValue::from_static("first"));
    ask.metadata_mut().insert_bin("x-grpc-test-echo-trailing-bin", binary.clone());
    let answer = c.simple(ask).await.map_err(told)?;
    let back = answer.metadata();
    if back.get("x-grpc-test-echo-initial").is_none_or(|v| v != "first") {
        return Err("the header did not come back".into());
    }
    // Of a unary call tonic merges the trailers into the metadata.
    match back.get_bin("x-grpc-test-echo-trailing-bin").and_then(|v| v.to_bytes().ok()) {
        Some(v) if v.as_ref() == b"\x0a\x0b\xff\x00" => Ok(()),
        other => Err(format!("the trailer came back as {other:?}")),
    }
}

async fn status_code_and_message(mut c: Caller) -> Outcome {
    let message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
    let status = Some(EchoStatus { code: 2, message: message.into() });
    match c.simple(Request::new(SimpleRequest { response_size: 0, payload: None, response_status: status })).await {
        Err(status) if status.code() == Code::Unknown && status.message() == message => Ok(()),
        Err(status) => Err(told(status)),
        Ok(_) => Err("an answer, wanted Unknown".into()),
    }
}

async fn unimplemented_method(mut c: Caller) -> Outcome {
    let answer: Result<Response<Empty>, _> = c.unary("/grpc.testing.TestService/UnimplementedCall", Request::new(Empty {})).await;
    want_code(answer, Code::Unimplemented)
}

/// The deadline travels as grpc-timeout. Whoever is first ends the call: a DEADLINE_EXCEEDED from the wire, or tonic's own timer, that says CANCELLED.
async fn deadline(mut c: Caller) -> Outcome {
    c.ready().await.map_err(told)?;
    let mut ask = Request::new(tokio_stream::once(output(1, 20_000_000)).chain(tokio_stream::pending()));
    ask.metadata_mut().insert("grpc-timeout", MetadataValue::from_static("200m"));
    let path = Caller::path("/grpc.testing.TestService/FullDuplexCall");
    let answer: Result<Response<Streaming<Answer>>, Status> = c.grpc.streaming(ask, path, ProstCodec::default()).await;
    let end = match answer {
        Err(status) => Err(status),
        Ok(answer) => answer.into_inner().message().await.map(|_| ()),
    };
    match end {
        Err(status) if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => empty_unary(c).await,
        Err(status) => Err(told(status)),
        Ok(()) => Err("an answer, wanted DeadlineExceeded".into()),
    }
}

/// Dropping the stream is how tonic cancels; the connection must carry the next calls all the same.
async fn cancel_after_first_response(mut c: Caller) -> Outcome {
    for _ in 0..50 {
        let asks = tokio_stream::once(output(31415, 0)).chain(tokio_stream::pending());
        let mut stream = c.full_duplex(asks).await.map_err(told)?.into_inner();
        let answer = stream.message().await.map_err(told)?.ok_or("the stream ended early")?;
        want_size(&answer, 31415)?;
        drop(stream);
    }
    empty_unary(c).await
}

async fn report<F: Future<Output = Outcome>>(number: usize, name: &str, case: F) {
    match tokio::time::timeout(Duration::from_secs(20), case).await.unwrap_or_else(|_| Err("no end within 20 s".into())) {
        Ok(()) => println!("ok {number} - {name}"),
        Err(why) => println!("not ok {number} - {name} # {}", why.replace('\n', " | ")),
    }
}

fn argument(name: &str) -> String {
    let mut all = std::env::args().skip_while(|a| a != name);
    all.nth(1).unwrap_or_else(|| panic!("{name} is missing"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let socket = argument("-socket");
    let origin = format!("http://{}", argument("-authority"));
    let channel = Endpoint::from_shared(origin).expect("a valid authority").connect_with_connector_lazy(tower::service_fn(move |_| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    }));
    let caller = || Caller { grpc: Grpc::new(channel.clone()) };

    println!("1..10");
    report(1, "empty_unary", empty_unary(caller())).await;
    report(2, "large_unary", large_unary(caller())).await;
    report(3, "client_streaming", client_streaming(caller())).await;
    report(4, "server_streaming", server_streaming(caller())).await;
    report(5, "ping_pong", ping_pong(caller())).await;
    report(6, "metadata", metadata(caller())).await;
    report(7, "status_code_and_message", status_code_and_message(caller())).await;
    report(8, "unimplemented_method", unimplemented_method(caller())).await;
    report(9, "deadline", deadline(caller())).await;
    report(10, "cancel_after_first_response", cancel_after_first_response(caller())).await;
}
