package thinmesh.interop;

import com.google.protobuf.StringValue;
import io.grpc.health.v1.HealthCheckResponse.ServingStatus;
import java.lang.reflect.Field;
import java.util.Scanner;
import java.util.StringJoiner;
import org.apache.dubbo.common.stream.StreamObserver;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.Protocol;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.TriRpcStatus;
import org.apache.dubbo.rpc.model.FrameworkModel;
import org.apache.dubbo.rpc.protocol.tri.TripleProtocol;
import org.apache.dubbo.rpc.protocol.tri.service.HealthStatusManager;
import org.apache.dubbo.rpc.protocol.tri.service.TriBuiltinService;

/**
 * A Dubbo Java provider of Greeter and Orders on one Triple port. Argument: the port.
 *
 * <p>With dubbo.tri.builtin.service.init=true it has grpc.health.v1; a line on its input then sets what that says of it: SERVING or NOT_SERVING,
 * answered with the same word on its output. It prints "ready" when its services are there, which is later than its port.
 */
public final class Provider {
  private static StringValue text(String value) {
    return StringValue.of(value);
  }

  static final class GreeterImpl implements Greeter {
    private final String port;

    GreeterImpl(String port) {
      this.port = port;
    }

    @Override
    public StringValue greet(StringValue name) {
      if (name.getValue().equals("who")) {
        return text(port);
      }
      String asked = RpcContext.getServerAttachment().getAttachment("x-asked");
      if (asked != null) {
        RpcContext.getServerResponseContext().setAttachment("x-told", asked);
        RpcContext.getServerResponseContext().setAttachment("x-large", "l".repeat(12 * 1024));
      }
      if (name.getValue().startsWith("sleep ")) {
        try {
          Thread.sleep(Long.parseLong(name.getValue().substring(6)));
        } catch (InterruptedException e) {
          Thread.currentThread().interrupt();
        }
      }
      return text("hello " + name.getValue());
    }

    @Override
    public StringValue fail(StringValue how) {
      if (how.getValue().equals("status")) {
        throw TriRpcStatus.fromCode(TriRpcStatus.Code.ALREADY_EXISTS).withDescription("taken: ö").asException();
      }
      throw new IllegalStateException("refused by the service");
    }

    @Override
    public void count(StringValue n, StreamObserver<StringValue> out) {
      for (int i = 1; i <= Integer.parseInt(n.getValue()); i++) {
        out.onNext(text(Integer.toString(i)));
      }
      out.onCompleted();
    }

    /** What collect and chat have in common: a half that listens. */
    private abstract static class Listener implements StreamObserver<StringValue> {
      final StreamObserver<StringValue> out;

      Listener(StreamObserver<StringValue> out) {
        this.out = out;
      }

      @Override
      public void onError(Throwable e) {}
    }

    @Override
    public StreamObserver<StringValue> collect(StreamObserver<StringValue> out) {
      StringJoiner all = new StringJoiner(",");
      return new Listener(out) {
        @Override
        public void onNext(StringValue message) {
          all.add(message.getValue());
        }

        @Override
        public void onCompleted() {
          out.onNext(text(all.toString()));
          out.onCompleted();
        }
      };
    }

    @Override
    public StreamObserver<StringValue> chat(StreamObserver<StringValue> out) {
      return new Listener(out) {
        @Override
        public void onNext(StringValue message) {
          out.onNext(text("echo " + message.getValue()));
        }

        @Override
        public void onCompleted() {
          out.onCompleted();
        }
      };
    }
  }

  static final class OrdersImpl implements Orders {
    @Override
    public Receipt place(Order order) throws OrderRefused {
      if (order.count == 0) {
        throw new OrderRefused("nothing ordered: " + order.item, 42);
      }
      Receipt receipt = new Receipt();
      receipt.text = order.count + " x " + order.item;
      receipt.blob = new byte[order.count];
      return receipt;
    }
  }

  private static <T> ServiceConfig<T> service(Class<T> face, T behind) {
    ServiceConfig<T> config = new ServiceConfig<>();
    config.setInterface(face);
    config.setRef(behind);
    return config;
  }

  /** Dubbo gives nobody the manager that its protocol has. */
  private static HealthStatusManager health() throws ReflectiveOperationException {
    Object protocol = FrameworkModel.defaultModel().getExtensionLoader(Protocol.class).getExtension("tri", false);
    Field field = TripleProtocol.class.getDeclaredField("triBuiltinService");
    field.setAccessible(true);
    return ((TriBuiltinService) field.get(protocol)).getHealthStatusManager();
  }

  private static void obey() {
    Scanner lines = new Scanner(System.in);
    while (lines.hasNextLine()) {
      String word = lines.nextLine();
      try {
        health().setStatus("", ServingStatus.valueOf(word));
        health().setStatus(Greeter.class.getName(), ServingStatus.valueOf(word));
      } catch (ReflectiveOperationException e) {
        throw new IllegalStateException(e);
      }
      System.out.println(word);
    }
  }

  public static void main(String[] args) {
    ProtocolConfig protocol = new ProtocolConfig("tri", Integer.parseInt(args[0]));
    protocol.setHost("127.0.0.1");
    Thread input = new Thread(Provider::obey);
    input.setDaemon(true);
    DubboBootstrap started = DubboBootstrap.getInstance()
        .application(new ApplicationConfig("interop-provider"))
        .registry(new RegistryConfig("N/A"))
        .protocol(protocol)
        .service(service(Greeter.class, new GreeterImpl(args[0])))
        .service(service(Orders.class, new OrdersImpl()))
        .start();
    if (Boolean.getBoolean("dubbo.tri.builtin.service.init")) {
      input.start();
    }
    System.out.println("ready");
    started.await();
  }
}
