// A Kitex client (CloudWeGo) that speaks gRPC through a Unix socket: unary, three kinds of streams, metadata, deadline, cancel, errors.
//
// Kitex takes its service from generated code; what that code would hold is small, so it is written here by hand for the service of
// the official interop servers (grpc.testing.TestService), with their messages from the module of grpc-go. Kitex opens several
// connections for one client, and its destination service name is the authority.
//
// Prints one TAP line a case.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/klog"
	"github.com/cloudwego/kitex/pkg/remote/trans/nphttp2"
	"github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/codes"
	"github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/metadata"
	"github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/status"
	"github.com/cloudwego/kitex/pkg/serviceinfo"
	"github.com/cloudwego/kitex/pkg/streaming"
	"github.com/cloudwego/kitex/transport"
	pb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/protobuf/proto"
)

// boxed carries one message through Kitex's unary path, which wants arguments and results that marshal themselves.
type boxed struct{ message proto.Message }

func (b *boxed) Marshal([]byte) ([]byte, error) { return proto.Marshal(b.message) }
func (b *boxed) Unmarshal(in []byte) error      { return proto.Unmarshal(in, b.message) }

func testService() *serviceinfo.ServiceInfo {
	unary := func(answer func() proto.Message) serviceinfo.MethodInfo {
		return serviceinfo.NewMethodInfo(nil, func() interface{} { return &boxed{} },
			func() interface{} { return &boxed{answer()} }, false, serviceinfo.WithStreamingMode(serviceinfo.StreamingUnary))
	}
	stream := func(mode serviceinfo.StreamingMode) serviceinfo.MethodInfo {
		return serviceinfo.NewMethodInfo(nil, nil, nil, false, serviceinfo.WithStreamingMode(mode))
	}
	return &serviceinfo.ServiceInfo{
		ServiceName:  "TestService",
		PayloadCodec: serviceinfo.Protobuf,
		Extra:        map[string]interface{}{"PackageName": "grpc.testing"},
		Methods: map[string]serviceinfo.MethodInfo{
			"EmptyCall":           unary(func() proto.Message { return new(pb.Empty) }),
			"UnaryCall":           unary(func() proto.Message { return new(pb.SimpleResponse) }),
			"UnimplementedCall":   unary(func() proto.Message { return new(pb.Empty) }),
			"StreamingInputCall":  stream(serviceinfo.StreamingClient),
			"StreamingOutputCall": stream(serviceinfo.StreamingServer),
			"FullDuplexCall":      stream(serviceinfo.StreamingBidirectional),
		},
	}
}

// kitex is one client and what the cases ask of it.
type kitex struct{ c client.Client }

func connect(socket, authority string) (kitex, error) {
	c, err := client.NewClient(testService(), client.WithDestService(authority), client.WithHostPorts(socket),
		client.WithTransportProtocol(transport.GRPC), client.WithConnectTimeout(5*time.Second))
	return kitex{c}, err
}

func (k kitex) unary(ctx context.Context, method string, ask, answer proto.Message) error {
	return k.c.Call(ctx, method, &boxed{ask}, &boxed{answer})
}

func (k kitex) stream(ctx context.Context, method string) (streaming.ClientStream, error) {
	return k.c.(client.Streaming).StreamX(ctx, method)
}

func payload(size int) *pb.Payload { return &pb.Payload{Body: make([]byte, size)} }

func wantSize(got *pb.Payload, want int) error {
	if len(got.GetBody()) != want {
		return fmt.Errorf("a payload of %d bytes, wanted %d", len(got.GetBody()), want)
	}
	return nil
}

func wantCode(err error, want codes.Code) error {
	if got := status.Code(err); got != want {
		return fmt.Errorf("status %v (%v), wanted %v", got, err, want)
	}
	return nil
}

func (k kitex) emptyUnary(ctx context.Context) error {
	return k.unary(ctx, "EmptyCall", new(pb.Empty), new(pb.Empty))
}

func (k kitex) largeUnary(ctx context.Context) error {
	answer := new(pb.SimpleResponse)
	err := k.unary(ctx, "UnaryCall", &pb.SimpleRequest{ResponseSize: 314159, Payload: payload(271828)}, answer)
	return errors.Join(err, wantSize(answer.Payload, 314159))
}

// parallelUnary has 64 callers at once: Kitex spreads them over its connections.
func (k kitex) parallelUnary(ctx context.Context) error {
	var all sync.WaitGroup
	failures := make([]error, 64)
	for i := range failures {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; n < 20 && failures[i] == nil; n++ {
				answer := new(pb.SimpleResponse)
				err := k.unary(ctx, "UnaryCall", &pb.SimpleRequest{ResponseSize: int32(i), Payload: payload(i)}, answer)
				failures[i] = errors.Join(err, wantSize(answer.Payload, i))
			}
		}()
	}
	all.Wait()
	return errors.Join(failures...)
}

func (k kitex) clientStreaming(ctx context.Context) error {
	stream, err := k.stream(ctx, "StreamingInputCall")
	if err != nil {
		return err
	}
	for _, size := range []int{27182, 8, 1828, 45904} {
		if err := stream.SendMsg(ctx, &pb.StreamingInputCallRequest{Payload: payload(size)}); err != nil {
			return err
		}
	}
	answer := new(pb.StreamingInputCallResponse)
	if err := errors.Join(stream.CloseSend(ctx), stream.RecvMsg(ctx, answer)); err != nil {
		return err
	}
	if answer.AggregatedPayloadSize != 74922 {
		return fmt.Errorf("the sum is %d, wanted 74922", answer.AggregatedPayloadSize)
	}
	return nil
}

func (k kitex) serverStreaming(ctx context.Context) error {
	stream, err := k.stream(ctx, "StreamingOutputCall")
	if err != nil {
		return err
	}
	sizes := []int{31415, 9, 2653, 58979}
	ask := new(pb.StreamingOutputCallRequest)
	for _, size := range sizes {
		ask.ResponseParameters = append(ask.ResponseParameters, &pb.ResponseParameters{Size: int32(size)})
	}
	if err := errors.Join(stream.SendMsg(ctx, ask), stream.CloseSend(ctx)); err != nil {
		return err
	}
	for _, size := range sizes {
		answer := new(pb.StreamingOutputCallResponse)
		if err := errors.Join(stream.RecvMsg(ctx, answer), wantSize(answer.Payload, size)); err != nil {
			return err
		}
	}
	if err := stream.RecvMsg(ctx, new(pb.StreamingOutputCallResponse)); err != io.EOF {
		return fmt.Errorf("the end is %v, wanted EOF", err)
	}
	return nil
}

func (k kitex) pingPong(ctx context.Context) error {
	stream, err := k.stream(ctx, "FullDuplexCall")
	if err != nil {
		return err
	}
	for _, size := range []int{31415, 9, 2653, 58979} {
		ask := &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: int32(size)}}, Payload: payload(size)}
		answer := new(pb.StreamingOutputCallResponse)
		if err := errors.Join(stream.SendMsg(ctx, ask), stream.RecvMsg(ctx, answer), wantSize(answer.Payload, size)); err != nil {
			return err
		}
	}
	if err := stream.CloseSend(ctx); err != nil {
		return err
	}
	if err := stream.RecvMsg(ctx, new(pb.StreamingOutputCallResponse)); err != io.EOF {
		return fmt.Errorf("the end is %v, wanted EOF", err)
	}
	return nil
}

func (k kitex) metadata(ctx context.Context) error {
	ctx = metadata.AppendToOutgoingContext(ctx, "x-grpc-test-echo-initial", "first", "x-grpc-test-echo-trailing-bin", "\x0a\x0b\xff\x00")
	var header, trailer metadata.MD
	ctx = nphttp2.GRPCTrailer(nphttp2.GRPCHeader(ctx, &header), &trailer)
	if err := k.unary(ctx, "UnaryCall", &pb.SimpleRequest{ResponseSize: 1}, new(pb.SimpleResponse)); err != nil {
		return err
	}
	if got := header.Get("x-grpc-test-echo-initial"); len(got) != 1 || got[0] != "first" {
		return fmt.Errorf("the header came back as %q", got)
	}
	if got := trailer.Get("x-grpc-test-echo-trailing-bin"); len(got) != 1 || got[0] != "\x0a\x0b\xff\x00" {
		return fmt.Errorf("the trailer came back as %q", got)
	}
	return nil
}

func (k kitex) statusAndMessage(ctx context.Context) error {
	const told = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
	err := k.unary(ctx, "UnaryCall", &pb.SimpleRequest{ResponseStatus: &pb.EchoStatus{Code: 2, Message: told}}, new(pb.SimpleResponse))
	if s, ok := status.FromError(err); !ok || s.Code() != codes.Unknown || !strings.HasPrefix(s.Message(), told) {
		return fmt.Errorf("got %v", err)
	}
	return nil
}

func (k kitex) unimplementedMethod(ctx context.Context) error {
	return wantCode(k.unary(ctx, "UnimplementedCall", new(pb.Empty), new(pb.Empty)), codes.Unimplemented)
}

func (k kitex) deadline(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	stream, err := k.stream(ctx, "FullDuplexCall")
	if err != nil {
		return err
	}
	ask := &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 1, IntervalUs: 20_000_000}}}
	if err := stream.SendMsg(ctx, ask); err != nil {
		return err
	}
	return wantCode(stream.RecvMsg(ctx, new(pb.StreamingOutputCallResponse)), codes.DeadlineExceeded)
}

func (k kitex) cancelAfterFirst(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := k.stream(ctx, "FullDuplexCall")
	if err != nil {
		return err
	}
	ask := &pb.StreamingOutputCallRequest{ResponseParameters: []*pb.ResponseParameters{{Size: 31415}}, Payload: payload(27182)}
	answer := new(pb.StreamingOutputCallResponse)
	if err := errors.Join(stream.SendMsg(ctx, ask), stream.RecvMsg(ctx, answer), wantSize(answer.Payload, 31415)); err != nil {
		return err
	}
	cancel()
	return wantCode(stream.RecvMsg(ctx, answer), codes.Canceled)
}

func main() {
	socket := flag.String("socket", "", "Unix socket of the sidecar")
	authority := flag.String("authority", "", "name of the provider")
	flag.Parse()
	klog.SetLevel(klog.LevelFatal) // a cancelled stream is no news here

	k, err := connect(*socket, *authority)
	cases := []struct {
		name string
		run  func(context.Context) error
	}{
		{"empty_unary", k.emptyUnary},
		{"large_unary", k.largeUnary},
		{"parallel_unary", k.parallelUnary},
		{"client_streaming", k.clientStreaming},
		{"server_streaming", k.serverStreaming},
		{"ping_pong", k.pingPong},
		{"metadata", k.metadata},
		{"status_code_and_message", k.statusAndMessage},
		{"unimplemented_method", k.unimplementedMethod},
		{"deadline", k.deadline},
		{"cancel_after_first_response", k.cancelAfterFirst},
	}
	fmt.Printf("1..%d\n", len(cases))
	for i, c := range cases {
		failure := err
		if failure == nil {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			failure = c.run(ctx)
			cancel()
		}
		if failure != nil {
			fmt.Printf("not ok %d - %s # %s\n", i+1, c.name, strings.ReplaceAll(failure.Error(), "\n", " | "))
		} else {
			fmt.Printf("ok %d - %s\n", i+1, c.name)
		}
	}
}
