package thinmesh.interop;

import com.google.protobuf.StringValue;
import io.grpc.CallOptions;
import io.grpc.ManagedChannel;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.netty.NettyChannelBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.netty.channel.epoll.EpollDomainSocketChannel;
import io.netty.channel.epoll.EpollEventLoopGroup;
import io.netty.channel.unix.DomainSocketAddress;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * A grpc-java channel with health checking of its own, through a Unix socket: round_robin opens a Watch, and is READY while that says SERVING.
 *
 * <p>Arguments: socket, authority, and "patient" where calls wait for the channel. It does what its input says, a line each, and answers each
 * with one line of JSON, as grpc-go/health-client does: greet WORD, burst COUNT WORD, stop, state.
 */
public final class HealthClient {
  private static final MethodDescriptor<StringValue, StringValue> GREET = MethodDescriptor.<StringValue, StringValue>newBuilder()
      .setType(MethodDescriptor.MethodType.UNARY)
      .setFullMethodName("thinmesh.interop.Greeter/greet")
      .setRequestMarshaller(ProtoUtils.marshaller(StringValue.getDefaultInstance()))
      .setResponseMarshaller(ProtoUtils.marshaller(StringValue.getDefaultInstance()))
      .build();

  private final ManagedChannel channel;
  private final boolean patient;
  private List<CompletableFuture<Told>> burst = List.of();

  private record Told(int code, String message, String answer) {}

  private HealthClient(ManagedChannel channel, boolean patient) {
    this.channel = channel;
    this.patient = patient;
  }

  private Told greet(String word) {
    CallOptions options = CallOptions.DEFAULT.withDeadlineAfter(30, TimeUnit.SECONDS);
    try {
      StringValue answer = ClientCalls.blockingUnaryCall(channel, GREET, patient ? options.withWaitForReady() : options, StringValue.of(word));
      return new Told(0, "", answer.getValue());
    } catch (RuntimeException e) {
      Status status = Status.fromThrowable(e);
      return new Told(status.getCode().value(), String.valueOf(status.getDescription()), "");
    }
  }

  private static String quoted(String s) {
    return '"' + s.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", " | ") + '"';
  }

  private static String counts(Map<String, Integer> of) {
    List<String> rows = new ArrayList<>();
    of.forEach((name, count) -> rows.add(quoted(name) + ": " + count));
    return "{" + String.join(", ", rows) + "}";
  }

  private String stop() {
    Map<String, Integer> codes = new TreeMap<>();
    Map<String, Integer> who = new TreeMap<>();
    String first = "";
    for (CompletableFuture<Told> one : burst) {
      Told told = one.join();
      codes.merge(Integer.toString(told.code), 1, Integer::sum);
      if (told.code == 0) {
        who.merge(told.answer, 1, Integer::sum);
      } else if (first.isEmpty()) {
        first = told.message;
      }
    }
    return "{\"codes\": " + counts(codes) + ", \"who\": " + counts(who) + ", \"first\": " + quoted(first) + "}";
  }

  private void begin(int count, String word) {
    burst = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      CompletableFuture<Told> one = new CompletableFuture<>();
      burst.add(one);
      Thread thread = new Thread(() -> one.complete(greet(word)));
      thread.setDaemon(true);
      thread.start();
    }
  }

  private String obey(String[] words) {
    switch (words[0]) {
      case "greet":
        Told told = greet(words[1]);
        return "{\"code\": " + told.code + ", \"message\": " + quoted(told.message) + ", \"answer\": " + quoted(told.answer) + "}";
      case "burst":
        begin(Integer.parseInt(words[1]), words[2]);
        return "\"started\"";
      case "stop":
        return stop();
      case "state":
        return quoted(channel.getState(true).name());
      default:
        return "{\"error\": " + quoted("not understood: " + words[0]) + "}";
    }
  }

  public static void main(String[] args) {
    Map<String, Object> config = new HashMap<>();
    config.put("loadBalancingConfig", List.of(Map.of("round_robin", Map.of())));
    config.put("healthCheckConfig", Map.of("serviceName", "thinmesh.interop.Greeter"));
    EpollEventLoopGroup loop = new EpollEventLoopGroup(1);
    ManagedChannel channel = NettyChannelBuilder.forAddress(new DomainSocketAddress(args[0]))
        .channelType(EpollDomainSocketChannel.class, DomainSocketAddress.class)
        .eventLoopGroup(loop)
        .overrideAuthority(args[1])
        .defaultServiceConfig(config)
        .usePlaintext()
        .build();
    HealthClient client = new HealthClient(channel, args.length > 2 && args[2].equals("patient"));
    Scanner lines = new Scanner(System.in);
    while (lines.hasNextLine()) {
      System.out.println(client.obey(lines.nextLine().split(" ")));
      System.out.flush();
    }
    System.exit(0);
  }
}
