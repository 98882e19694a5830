// grpc-c++ (C-core) through thinmesh's Unix socket. Generated stubs take the channel as it is.
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

// name: "demo.default.svc.cluster.local:50051". Without it the authority would be `localhost` (before 1.57), or the socket's path percent-encoded (since).
std::shared_ptr<grpc::Channel> dial(const std::string &name)
{
	grpc::ChannelArguments args;
	args.SetString(GRPC_ARG_DEFAULT_AUTHORITY, name);
	return grpc::CreateCustomChannel("unix:/run/thinmesh/shop.sock", grpc::InsecureChannelCredentials(), args);
}
