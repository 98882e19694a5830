package thinmesh.interop;

import com.google.protobuf.StringValue;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.ServerServiceDefinition;
import io.grpc.netty.GrpcSslContexts;
import io.grpc.netty.NettyServerBuilder;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ServerCalls;
import io.netty.handler.ssl.ClientAuth;
import io.netty.handler.ssl.SslContextBuilder;
import io.netty.handler.ssl.SslProvider;
import java.io.File;
import java.net.InetSocketAddress;
import java.security.cert.Certificate;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLSession;

/**
 * A grpc-java provider on Java's own TLS stack (JSSE), as grpc-go/tls-server: the Greeter, "who" and "tls".
 *
 * <p>Arguments: host, port, chain, key, roots of client certificates or "-", versions separated by commas (TLSv1.2,TLSv1.3). Prints "ready".
 */
public final class TlsProvider {
  private static final Context.Key<String> CONNECTION = Context.key("connection");

  private TlsProvider() {}

  /** The URI in the caller's certificate; "" where it showed none. */
  private static String uri(SSLSession session) {
    try {
      Certificate[] chain = session.getPeerCertificates();
      for (List<?> name : ((X509Certificate) chain[0]).getSubjectAlternativeNames()) {
        if ((Integer) name.get(0) == 6) {
          return (String) name.get(1);
        }
      }
    } catch (SSLPeerUnverifiedException none) {
      return "";
    } catch (Exception e) {
      return e.toString();
    }
    return "";
  }

  private static final class Looks implements ServerInterceptor {
    @Override
    public <A, B> ServerCall.Listener<A> interceptCall(ServerCall<A, B> call, Metadata headers, ServerCallHandler<A, B> next) {
      SSLSession session = call.getAttributes().get(Grpc.TRANSPORT_ATTR_SSL_SESSION);
      String said = session == null ? "{\"version\":\"plain\",\"uri\":\"\"}"
          : "{\"version\":\"" + session.getProtocol() + "\",\"uri\":\"" + uri(session) + "\"}";
      return Contexts.interceptCall(Context.current().withValue(CONNECTION, said), call, headers, next);
    }
  }

  public static void main(String[] arguments) throws Exception {
    String address = arguments[0] + ":" + arguments[1];
    MethodDescriptor<StringValue, StringValue> greet = MethodDescriptor.<StringValue, StringValue>newBuilder()
        .setType(MethodDescriptor.MethodType.UNARY)
        .setFullMethodName("thinmesh.interop.Greeter/greet")
        .setRequestMarshaller(ProtoUtils.marshaller(StringValue.getDefaultInstance()))
        .setResponseMarshaller(ProtoUtils.marshaller(StringValue.getDefaultInstance()))
        .build();
    ServerServiceDefinition greeter = ServerServiceDefinition.builder("thinmesh.interop.Greeter")
        .addMethod(greet, ServerCalls.asyncUnaryCall((word, out) -> {
          String asked = word.getValue();
          out.onNext(StringValue.of(asked.equals("who") ? address : asked.equals("tls") ? CONNECTION.get() : "hello " + asked));
          out.onCompleted();
        }))
        .build();
    SslContextBuilder tls = GrpcSslContexts.configure(
        SslContextBuilder.forServer(new File(arguments[2]), new File(arguments[3])), SslProvider.JDK)
        .protocols(arguments[5].split(","));
    if (!arguments[4].equals("-")) {
      tls.trustManager(new File(arguments[4])).clientAuth(ClientAuth.REQUIRE);
    }
    Server server = NettyServerBuilder.forAddress(new InetSocketAddress(arguments[0], Integer.parseInt(arguments[1])))
        .sslContext(tls.build())
        .addService(greeter)
        .intercept(new Looks())
        .build()
        .start();
    Runtime.getRuntime().addShutdownHook(new Thread(server::shutdown));
    System.out.println("ready");
    server.awaitTermination(1, TimeUnit.HOURS);
  }
}
