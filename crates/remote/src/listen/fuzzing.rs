//! What the fuzz targets see: connections that are pipes within the process.

use std::io;

use tidegate_core::Result;
use tokio::io::DuplexStream;
use tokio::sync::{Mutex, mpsc};

use super::door::Listen;
use super::gate::Gate;
use super::{Server, routes};

/// Where pipes come from.
struct Pipes(Mutex<mpsc::UnboundedReceiver<DuplexStream>>);

impl Listen for Pipes {
    type Arrived = DuplexStream;
    type Io = DuplexStream;

    async fn accept(&self) -> io::Result<Option<DuplexStream>> {
        match self.0.lock().await.recv().await {
            Some(pipe) => Ok(Some(pipe)),
            None => std::future::pending().await,
        }
    }

    fn take_in(arrived: DuplexStream) -> io::Result<DuplexStream> {
        Ok(arrived)
    }
}

impl Server {
    /// Answers on what is sent into the channel, as on a socket without tokens.
    ///
    /// # Errors
    /// `Closed` after a stop.
    #[doc(hidden)]
    pub async fn listen_pipes(&self) -> Result<mpsc::UnboundedSender<DuplexStream>> {
        let (sender, pipes) = mpsc::unbounded_channel();
        let routes = self.shared.routes(Gate::open())?;
        let transport = routes::transport(&self.shared.options);
        let threads = self.shared.threads()?;
        self.shared.serve(Pipes(Mutex::new(pipes)), threads, &transport, &routes).await?;
        Ok(sender)
    }
}
