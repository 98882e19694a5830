package thinmesh.interop;

import com.google.protobuf.StringValue;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.dubbo.common.stream.StreamObserver;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.RpcException;
import org.apache.dubbo.rpc.StatusRpcException;
import org.apache.dubbo.rpc.TriRpcStatus;

/**
 * A Dubbo Java consumer over the sidecar's loopback listener: unary, streams, attachments, deadlines and exceptions. One TAP line a case.
 *
 * <p>Arguments: the URL (its host is the provider's name, its port the listener's), and the provider, for only Dubbo Java offers Orders.
 */
public final class Consumer {
  private interface Body {
    void run() throws Exception;
  }

  private record Case(String name, Body body) {}

  private final Greeter greeter;
  private final Greeter hasty;
  private final Orders orders;
  private final boolean javaProvider;

  private Consumer(String url, String provider) {
    javaProvider = provider.equals("dubbo-java");
    greeter = reference(Greeter.class, url, 20_000).get();
    hasty = reference(Greeter.class, url, 500).get();
    orders = javaProvider ? reference(Orders.class, url, 20_000).get() : null;
  }

  private static <T> ReferenceConfig<T> reference(Class<T> face, String url, int timeoutMs) {
    ReferenceConfig<T> config = new ReferenceConfig<>();
    config.setInterface(face);
    config.setUrl(url + "/" + face.getName());
    config.setTimeout(timeoutMs);
    config.setRetries(0);
    config.setCheck(false);
    config.setProtocol("tri");
    return config;
  }

  private static StringValue text(String value) {
    return StringValue.of(value);
  }

  private static void want(Object got, Object wanted) {
    if (!wanted.equals(got)) {
      throw new AssertionError("got " + got + ", wanted " + wanted);
    }
  }

  /** Collects one stream's messages and its end. */
  private static final class Heard implements StreamObserver<StringValue> {
    final List<String> messages = new ArrayList<>();
    final CompletableFuture<List<String>> end = new CompletableFuture<>();

    @Override
    public synchronized void onNext(StringValue message) {
      messages.add(message.getValue());
      notifyAll();
    }

    @Override
    public void onError(Throwable e) {
      end.completeExceptionally(e);
    }

    @Override
    public void onCompleted() {
      end.complete(messages);
    }

    /** The nth message, waited for: the other side must answer before we go on. */
    synchronized String await(int n) throws Exception {
      long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
      while (messages.size() <= n && System.nanoTime() < until && !end.isCompletedExceptionally()) {
        wait(100);
      }
      return messages.size() > n ? messages.get(n) : null;
    }

    List<String> await() throws Exception {
      return end.get(10, TimeUnit.SECONDS);
    }
  }

  private void unary() {
    want(greeter.greet(text("wörld")).getValue(), "hello wörld");
  }

  private void largeUnary() {
    String large = "x".repeat(1 << 20);
    want(greeter.greet(text(large)).getValue().length(), large.length() + 6);
  }

  private void manyUnary() throws Exception {
    List<CompletableFuture<String>> answers = new ArrayList<>();
    for (int i = 0; i < 200; i++) {
      String name = "n" + i;
      answers.add(CompletableFuture.supplyAsync(() -> greeter.greet(text(name)).getValue()));
    }
    for (int i = 0; i < answers.size(); i++) {
      want(answers.get(i).get(10, TimeUnit.SECONDS), "hello n" + i);
    }
  }

  private void attachments() {
    RpcContext.getClientAttachment().setAttachment("x-asked", "Asked And Told");
    want(greeter.greet(text("you")).getValue(), "hello you");
    want(RpcContext.getClientResponseContext().getAttachment("x-told"), "Asked And Told");
    want(String.valueOf(RpcContext.getClientResponseContext().getAttachment("x-large")).length(), 12 * 1024);
  }

  private void serverStream() throws Exception {
    Heard heard = new Heard();
    greeter.count(text("100"), heard);
    List<String> all = heard.await();
    want(all.size(), 100);
    want(all.get(99), "100");
  }

  private void clientStream() throws Exception {
    Heard heard = new Heard();
    StreamObserver<StringValue> out = greeter.collect(heard);
    for (String word : new String[] {"a", "b", "c"}) {
      out.onNext(text(word));
    }
    out.onCompleted();
    want(heard.await(), List.of("a,b,c"));
  }

  private void bidiStream() throws Exception {
    Heard heard = new Heard();
    StreamObserver<StringValue> out = greeter.chat(heard);
    for (int i = 0; i < 10; i++) {
      out.onNext(text("m" + i));
      want(heard.await(i), "echo m" + i);
    }
    out.onCompleted();
    want(heard.await().size(), 10);
  }

  private void deadline() {
    try {
      hasty.greet(text("sleep 3000"));
      throw new AssertionError("an answer, wanted a time-out");
    } catch (RpcException e) {
      want(e.isTimeout() || String.valueOf(e.getMessage()).contains("DEADLINE_EXCEEDED"), true);
    }
    unary(); // the connection is not hurt
  }

  private void statusAndMessage() {
    try {
      greeter.fail(text("status"));
      throw new AssertionError("an answer, wanted a status");
    } catch (RpcException e) {
      Throwable cause = e;
      while (cause != null && !(cause instanceof StatusRpcException)) {
        cause = cause.getCause();
      }
      want(cause != null, true);
      want(((StatusRpcException) cause).getStatus().code, TriRpcStatus.Code.ALREADY_EXISTS);
      want(cause.getMessage().contains("taken: ö"), true);
    }
  }

  private void failure() {
    try {
      greeter.fail(text("business"));
      throw new AssertionError("an answer, wanted a failure");
    } catch (RuntimeException e) {
      // With dubbo-go's answer Dubbo Java makes CANCELLED of it, without anyone in between too.
      if (javaProvider && !String.valueOf(e.getMessage()).contains("refused by the service")) {
        throw e;
      }
    }
    unary();
  }

  private void wrapped() throws Exception {
    Orders.Order order = new Orders.Order();
    order.item = "Äpfel";
    order.count = 70_000;
    Orders.Receipt receipt = orders.place(order);
    want(receipt.text, "70000 x Äpfel");
    want(receipt.blob.length, 70_000);
  }

  /** The exception of the service arrives as itself: the sidecar left tri-exception-code and the body alone. */
  private void businessException() throws Exception {
    Orders.Order order = new Orders.Order();
    order.item = "pears";
    try {
      orders.place(order);
      throw new AssertionError("a receipt, wanted OrderRefused");
    } catch (Orders.OrderRefused e) {
      want(e.getMessage(), "nothing ordered: pears");
      want(e.reason, 42);
    }
  }

  private List<Case> cases() {
    List<Case> all = new ArrayList<>(List.of(
        new Case("unary", this::unary),
        new Case("large_unary", this::largeUnary),
        new Case("many_unary_at_once", this::manyUnary),
        new Case("attachments", this::attachments),
        new Case("server_stream", this::serverStream),
        new Case("client_stream", this::clientStream),
        new Case("bidi_stream", this::bidiStream),
        new Case("deadline", this::deadline),
        new Case("status_and_message", this::statusAndMessage),
        new Case("failure_of_the_service", this::failure)));
    if (javaProvider) {
      all.add(new Case("wrapper_mode", this::wrapped));
      all.add(new Case("business_exception", this::businessException));
    }
    return all;
  }

  public static void main(String[] args) {
    DubboBootstrap.getInstance().application(new ApplicationConfig("interop-consumer")).registry(new RegistryConfig("N/A")).start();
    Consumer consumer = new Consumer(args[0], args[1]);
    List<Case> all = consumer.cases();
    System.out.println("1.." + all.size());
    int number = 0;
    for (Case one : all) {
      String line;
      try {
        one.body.run();
        line = "ok " + ++number + " - " + one.name;
      } catch (Throwable e) {
        line = "not ok " + ++number + " - " + one.name + " # " + String.valueOf(e).replace('\n', '|');
        e.printStackTrace();
      }
      System.out.println(line);
      System.out.flush();
    }
    System.exit(0);
  }
}
