// Dubbo Java through thinmesh's loopback listener: it cannot dial a Unix socket.
//
// A host of 127.* or localhost in the URL is replaced by the machine's own address before it connects, so the URL names the service, and that name resolves to
// 127.0.0.1: by hostAliases of the pod, by /etc/hosts, or for this JVM alone by -Djdk.net.hosts.file=dubbo-java.hosts (see there). The listener has the port of the URL:
//
//	apps:
//	  - name: shop
//	    listen:
//	      - tcp: 127.0.0.1:50051

import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;

final class DubboJava {
  static void start() {
    DubboBootstrap.getInstance().application(new ApplicationConfig("shop")).registry(new RegistryConfig("N/A")).start();
  }

  static <T> T reference(Class<T> face) {
    ReferenceConfig<T> config = new ReferenceConfig<>();
    config.setInterface(face);
    config.setUrl("tri://demo.default.svc.cluster.local:50051/" + face.getName());
    config.setProtocol("tri");
    config.setCheck(false); // a provider that is not there yet is no reason not to start
    config.setRetries(0); // the sidecar's business
    return config.get();
  }
}
