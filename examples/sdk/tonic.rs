// tonic through thinmesh's Unix socket. Needs tokio (net), hyper-util (tokio), tower (util). A generated client takes the channel.
//
// tonic announces that it takes header lists of 16 KiB: larger answers fail in the client, whoever sent them.

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

/// `name`: "demo.default.svc.cluster.local:50051"; the host of the URI is the authority.
pub fn dial(name: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{name}"))?;
    Ok(endpoint.connect_with_connector_lazy(tower::service_fn(|_| async {
        Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect("/run/thinmesh/shop.sock").await?))
    })))
}
