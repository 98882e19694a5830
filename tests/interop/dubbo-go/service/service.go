// Package service is the Greeter and its provider on one Triple port; which plugins dubbo-go has is up to the program (provider, bare).
//
// dubbo-go compresses its answers with gzip where the caller takes it, small ones too.
package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"strconv"
	"strings"
	"time"

	"dubbo.apache.org/dubbo-go/v3/common/constant"
	"dubbo.apache.org/dubbo-go/v3/protocol"
	tri "dubbo.apache.org/dubbo-go/v3/protocol/triple/triple_protocol"
	"dubbo.apache.org/dubbo-go/v3/server"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"thinmesh/interop/dubbo-go/greeter"
)

// Service is what Handler does for calls that need it; both are exported because dubbo-go looks at them by reflection.
type Service interface {
	Greet(context.Context, string) (string, error)
}

type Handler struct{ port int }

func (h Handler) Greet(ctx context.Context, name string) (string, error) {
	if asked, ok := tri.FromIncomingContext(ctx); ok && asked.Get("x-asked") != "" {
		told := http.Header{"X-Told": {asked.Get("x-asked")}, "X-Large": {strings.Repeat("l", 12*1024)}}
		if err := tri.SetTrailer(ctx, told); err != nil {
			return "", err
		}
	}
	if name == "who" {
		return strconv.Itoa(h.port), nil
	}
	if ms, found := strings.CutPrefix(name, "sleep "); found {
		n, err := strconv.Atoi(ms)
		if err != nil {
			return "", err
		}
		time.Sleep(time.Duration(n) * time.Millisecond)
	}
	return "hello " + name, nil
}

func fail(how string) error {
	if how == "status" {
		return tri.NewError(tri.CodeAlreadyExists, errors.New("taken: ö"))
	}
	return errors.New("refused by the service")
}

func text(s string) *wrapperspb.StringValue { return wrapperspb.String(s) }
func newText() any                          { return new(wrapperspb.StringValue) }
func of(message any) string                 { return message.(*wrapperspb.StringValue).GetValue() }

func info() *server.ServiceInfo {
	same := func(stream any) any { return stream }
	return &server.ServiceInfo{
		InterfaceName: greeter.Interface,
		ServiceType:   (*Service)(nil),
		Methods: []server.MethodInfo{
			{Name: greeter.Greet, Type: constant.CallUnary, ReqInitFunc: newText,
				MethodFunc: func(ctx context.Context, args []any, h any) (any, error) {
					answer, err := h.(Service).Greet(ctx, of(args[0]))
					if err != nil {
						return nil, err
					}
					return tri.NewResponse(text(answer)), nil
				}},
			{Name: greeter.Fail, Type: constant.CallUnary, ReqInitFunc: newText,
				MethodFunc: func(_ context.Context, args []any, _ any) (any, error) { return nil, fail(of(args[0])) }},
			{Name: greeter.Count, Type: constant.CallServerStream, ReqInitFunc: newText, StreamInitFunc: same,
				MethodFunc: func(_ context.Context, args []any, _ any) (any, error) {
					n, err := strconv.Atoi(of(args[0]))
					for i := 1; i <= n && err == nil; i++ {
						err = args[1].(*tri.ServerStream).Send(text(strconv.Itoa(i)))
					}
					return nil, err
				}},
			{Name: greeter.Collect, Type: constant.CallClientStream, StreamInitFunc: same,
				MethodFunc: func(_ context.Context, args []any, _ any) (any, error) {
					stream := args[0].(*tri.ClientStream)
					var all []string
					for stream.Receive(newText()) {
						all = append(all, of(stream.Msg()))
					}
					return tri.NewResponse(text(strings.Join(all, ","))), stream.Err()
				}},
			{Name: greeter.Chat, Type: constant.CallBidiStream, StreamInitFunc: same,
				MethodFunc: func(_ context.Context, args []any, _ any) (any, error) {
					stream := args[0].(*tri.BidiStream)
					for {
						message := newText()
						if err := stream.Receive(message); err != nil {
							if tri.IsEnded(err) {
								return nil, nil
							}
							return nil, err
						}
						if err := stream.Send(text("echo " + of(message))); err != nil {
							return nil, err
						}
					}
				}},
		},
	}
}

// Main is the whole of a provider: -port says where it listens.
func Main() {
	port := flag.Int("port", 0, "loopback port")
	flag.Parse()
	s, err := server.NewServer(server.WithServerProtocol(protocol.WithTriple(), protocol.WithIp("127.0.0.1"), protocol.WithPort(*port)))
	if err == nil {
		err = s.Register(&Handler{*port}, info())
	}
	if err == nil {
		err = s.Serve()
	}
	log.Fatal(fmt.Errorf("provider: %w", err))
}
