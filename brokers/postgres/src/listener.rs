//! The connection that waits for notices. One for each broker; the only one that keeps a session.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tidegate_core::{Operation, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{AsyncMessage, Client, Connection, NoTls};

use crate::config::SslMode;
use crate::driver::Inner;
use crate::errors;
use crate::events::{CHANNEL, read_notice};
use crate::server::client_config;
use crate::tls;

const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MOST: Duration = Duration::from_secs(5);

/// Listens for as long as the broker is open, and again after a connection is lost.
pub(crate) async fn listen(inner: Arc<Inner>) {
    let mut pause = AGAIN_FIRST;
    loop {
        match connection(&inner).await {
            Ok(()) => pause = AGAIN_FIRST,
            Err(error) => {
                tracing::debug!(%error, "nobody tells of new tasks; receives look by themselves")
            }
        }
        // WHY: spread, so that the clients of a server that comes back do not come all at once.
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(AGAIN_MOST);
    }
}

/// Listens on one connection until it is lost.
async fn connection(inner: &Arc<Inner>) -> Result<()> {
    const RECEIVE: Operation = Operation::Receive;
    let config = &inner.server.config;
    let failed = |error| errors::failed(config, RECEIVE, error);
    if config.ssl_mode == SslMode::Disable {
        let (client, connection) = client_config(config).connect(NoTls).await.map_err(failed)?;
        heard(inner, client, connection).await
    } else {
        let tls = tls::connector(config)?;
        let (client, connection) = client_config(config).connect(tls).await.map_err(failed)?;
        heard(inner, client, connection).await
    }
}

async fn heard<S, T>(
    inner: &Arc<Inner>,
    client: Client,
    mut connection: Connection<S, T>,
) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
    let failed = |error| errors::failed(&inner.server.config, Operation::Receive, error);
    let listening = async {
        let statement = format!("LISTEN {CHANNEL}");
        client.batch_execute(&statement).await.map_err(failed)?;
        // WHY: what was told while nobody listened was not heard.
        inner.queues.wake_all();
        std::future::pending::<Result<()>>().await
    };
    let hearing = async {
        while let Some(message) = messages.next().await {
            if let AsyncMessage::Notification(notice) = message.map_err(failed)? {
                let (schema, events) = (&inner.server.statements.schema, &inner.events);
                if let Some((queue, count)) = read_notice(notice.payload(), schema, events.instance)
                {
                    inner.queues.wake(queue, count);
                }
            }
        }
        Ok(())
    };
    tokio::select! {
        ended = hearing => ended,
        failed = listening => failed,
    }
}
