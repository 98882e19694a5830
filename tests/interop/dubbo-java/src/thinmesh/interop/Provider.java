package thinmesh.interop;

import com.google.protobuf.StringValue;
import java.util.StringJoiner;
import org.apache.dubbo.common.stream.StreamObserver;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.TriRpcStatus;

/** A Dubbo Java provider of Greeter and Orders on one Triple port. Argument: the port. */
public final class Provider {
  private static StringValue text(String value) {
    return StringValue.of(value);
  }

  static final class GreeterImpl implements Greeter {
    @Override
    public StringValue greet(StringValue name) {
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

  public static void main(String[] args) {
    ProtocolConfig protocol = new ProtocolConfig("tri", Integer.parseInt(args[0]));
    protocol.setHost("127.0.0.1");
    DubboBootstrap.getInstance()
        .application(new ApplicationConfig("interop-provider"))
        .registry(new RegistryConfig("N/A"))
        .protocol(protocol)
        .service(service(Greeter.class, new GreeterImpl()))
        .service(service(Orders.class, new OrdersImpl()))
        .start()
        .await();
  }
}
