// grpc-java through thinmesh's Unix socket. Needs io.grpc:grpc-netty and io.netty:netty-transport-native-epoll (classifier linux-x86_64 or linux-aarch_64).
// The target "unix:PATH" is refused by grpc-java itself, so the channel gets an address and a channel type.

import io.grpc.ManagedChannel;
import io.grpc.netty.NettyChannelBuilder;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.unix.DomainSocketAddress;

final class GrpcJava {
  private static final EventLoopGroup LOOP = new EpollEventLoopGroup(1);

  // name: "demo.default.svc.cluster.local:50051". Without it the authority would be the raw path of the socket, and the app's `paths` would have to know the service.
  static ManagedChannel channel(String name) {
    return NettyChannelBuilder.forAddress(new DomainSocketAddress("/run/thinmesh/shop.sock"))
        .channelType(EpollDomainSocketChannel.class, DomainSocketAddress.class)
        .eventLoopGroup(LOOP)
        .overrideAuthority(name)
        .usePlaintext()
        .build();
  }
}
