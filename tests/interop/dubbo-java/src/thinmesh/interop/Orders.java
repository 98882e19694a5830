package thinmesh.interop;

import java.io.Serializable;

/** A service of plain Java types: Triple's wrapper mode with Hessian inside, where business exceptions travel as tri-exception-code. */
public interface Orders {
  Receipt place(Order order) throws OrderRefused;

  class Order implements Serializable {
    public String item;
    public int count;
  }

  class Receipt implements Serializable {
    public String text;
    public byte[] blob;
  }

  class OrderRefused extends Exception {
    public final int reason;

    public OrderRefused(String message, int reason) {
      super(message);
      this.reason = reason;
    }
  }
}
