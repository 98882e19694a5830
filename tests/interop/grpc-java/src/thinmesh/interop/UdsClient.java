package thinmesh.interop;

import io.grpc.ManagedChannelBuilder;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.testing.integration.AbstractInteropTest;
import io.netty.channel.EventLoopGroup;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.unix.DomainSocketAddress;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import org.junit.Test;

/**
 * The official interop cases of grpc-java through a Unix socket.
 *
 * <p>The cases are the test methods of grpc-java's own AbstractInteropTest; this class gives them a channel to the sidecar and runs them one by one,
 * each on a connection of its own, without a test framework in between: one TAP line each. The library refuses the target unix:PATH with
 * Netty, so the channel is made the way that works: an address and a channel type of the native epoll transport.
 *
 * <p>Arguments: socket, authority, way. With the way {@code none} the authority is what grpc-java puts by itself, the raw path of the socket.
 */
public final class UdsClient extends AbstractInteropTest {
  private static String socket;
  private static String authority;
  private static EventLoopGroup loop;

  /** Cases that are not for this place, each with its reason. */
  private static final Map<String, String> LEFT_OUT = Map.of(
      "getServerAddressAndLocalAddressFromClient", "asks the server in this process for addresses",
      "sendsTimeoutHeader", "reads the headers that the server in this process got",
      "censusContextsPropagated", "needs the server's census context in this process");

  /**
   * What grpc-go's interop server does not offer: it has no half-duplex call, knows no compression, refuses requests above 4 MiB,
   * does not echo the metadata that those cases send, and ends with an
   * empty grpc-message, where the flow control case wants none.
   */
  private static final List<String> ONLY_GRPC_JAVA = List.of("halfDuplexCallShouldSucceed", "serverCompressedUnary", "serverCompressedStreaming",
      "clientCompressedUnary", "clientCompressedStreaming", "veryLargeRequest",
      "exchangeMetadataUnaryCall", "exchangeMetadataStreamingCall", "serverStreamingShouldBeFlowControlled");

  @Override
  protected ManagedChannelBuilder<?> createChannelBuilder() {
    NettyChannelBuilder builder = NettyChannelBuilder.forAddress(new DomainSocketAddress(socket))
        .channelType(EpollDomainSocketChannel.class, DomainSocketAddress.class)
        .eventLoopGroup(loop)
        .maxInboundMessageSize(MAX_MESSAGE_SIZE)
        .flowControlWindow(TEST_FLOW_CONTROL_WINDOW)
        .usePlaintext();
    return authority == null ? builder : builder.overrideAuthority(authority);
  }

  @Override
  protected boolean metricsExpected() {
    return false; // they would be those of a server in this process
  }

  /**
   * Whose clock is first is a race that the case knows: it looks whether the text is that of the client or of the server's reset. With a sidecar
   * there is a third clock. The case has seen the status before it looks at the text, so the text alone is what may differ.
   */
  private static boolean isTheSidecarsDeadline(Method method, Throwable why) {
    return method.getName().equals("deadlineExceeded") && String.valueOf(why.getMessage()).startsWith("deadline exceeded: service '");
  }

  private static void runOne(Method method) throws Throwable {
    UdsClient test = new UdsClient();
    test.setUp();
    try {
      if (method.getParameterCount() == 1) {
        method.invoke(test, false); // no probe whether the server checks: it is known
      } else {
        method.invoke(test);
      }
    } catch (InvocationTargetException e) {
      if (!(e.getCause() instanceof org.junit.AssumptionViolatedException) && !isTheSidecarsDeadline(method, e.getCause())) {
        throw e.getCause();
      }
    } finally {
      test.tearDown();
    }
  }

  private static List<Method> cases(boolean javaServer, boolean byPath) {
    List<Method> chosen = new ArrayList<>();
    for (Method method : AbstractInteropTest.class.getDeclaredMethods()) {
      String name = method.getName();
      boolean compressed = name.equals("clientCompressedUnary") || name.equals("clientCompressedStreaming");
      if ((method.isAnnotationPresent(Test.class) || compressed) && !LEFT_OUT.containsKey(name)
          && (javaServer || !ONLY_GRPC_JAVA.contains(name)) && !(byPath && name.equals("unimplementedService"))) {
        chosen.add(method);
      }
    }
    chosen.sort(Comparator.comparing(Method::getName));
    return chosen;
  }

  public static void main(String[] args) {
    socket = args[0];
    boolean byPath = args[2].equals("none");
    authority = byPath ? null : args[1];
    loop = new EpollEventLoopGroup(1);
    List<Method> all = cases(args[1].startsWith("grpc-java"), byPath);
    System.out.println("1.." + all.size());
    int number = 0;
    for (Method method : all) {
      String line;
      try {
        runOne(method);
        line = "ok " + ++number + " - " + method.getName();
      } catch (Throwable e) {
        line = "not ok " + ++number + " - " + method.getName() + " # " + String.valueOf(e).replace('\n', '|');
        e.printStackTrace();
      }
      System.out.println(line);
      System.out.flush();
    }
    System.exit(0);
  }
}
