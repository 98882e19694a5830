package thinmesh.interop;

import com.google.protobuf.StringValue;
import org.apache.dubbo.common.stream.StreamObserver;

/**
 * The service that Dubbo Java, dubbo-go and dubbo-js all speak: protobuf messages, so that it is the gRPC-compatible half of Triple, and only
 * well-known types, so that nobody needs generated code.
 */
public interface Greeter {
  /** Answers "hello NAME". The attachment x-asked comes back as x-told. "sleep MS" answers late. */
  StringValue greet(StringValue name);

  /** Fails: "business" throws a checked kind of exception of the service, "status" a gRPC status of its own. */
  StringValue fail(StringValue how);

  /** Counts from 1 to N. */
  void count(StringValue n, StreamObserver<StringValue> out);

  /** Joins what it is sent with commas. */
  StreamObserver<StringValue> collect(StreamObserver<StringValue> out);

  /** Answers each message with "echo MESSAGE". */
  StreamObserver<StringValue> chat(StreamObserver<StringValue> out);
}
