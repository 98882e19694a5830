// Package greeter is the unary half of the service that the Dubbo providers have (dubbo-go/greeter), for gRPC: well-known protobuf types only,
// so that nobody needs generated code, and a caller need not know which ecosystem answers.
package greeter

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	service = "thinmesh.interop.Greeter"
	method  = "greet"
)

// Server answers "who" with its port, and "sleep MS" late.
type Server interface {
	Greet(ctx context.Context, name string) (string, error)
}

func Register(at grpc.ServiceRegistrar, s Server) {
	at.RegisterService(&grpc.ServiceDesc{ServiceName: service, HandlerType: (*Server)(nil), Methods: []grpc.MethodDesc{{MethodName: method, Handler: handle}}}, s)
}

func handle(s any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	name := new(wrapperspb.StringValue)
	if err := decode(name); err != nil {
		return nil, err
	}
	answer, err := s.(Server).Greet(ctx, name.GetValue())
	if err != nil {
		return nil, err
	}
	return wrapperspb.String(answer), nil
}

func Call(ctx context.Context, conn grpc.ClientConnInterface, name string, options ...grpc.CallOption) (string, error) {
	answer := new(wrapperspb.StringValue)
	err := conn.Invoke(ctx, "/"+service+"/"+method, wrapperspb.String(name), answer, options...)
	return answer.GetValue(), err
}
