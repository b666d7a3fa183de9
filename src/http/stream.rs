//! The bytes of a connection. A client that takes nothing for a while is disconnected.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::activity::Activity;

/// The longest time in which a client may take no byte of an answer.
const STUCK: Duration = Duration::from_secs(30);

/// A connection of either kind.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

/// A connection with a limit on writes.
pub(super) struct Stream {
    inner: Box<dyn Duplex>,
    activity: Activity,
    limit: Duration,
    /// Runs while the client takes nothing.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    pub(super) fn new(inner: Box<dyn Duplex>, activity: Activity) -> Self {
        Self { inner, activity, limit: STUCK, deadline: None }
    }

    /// Ends the connection if the client has taken nothing until the deadline.
    fn within_limit<T>(&mut self, outcome: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            if self.deadline.take().is_some() {
                self.activity.set_stuck(false);
            }
            return outcome;
        }
        if self.deadline.is_none() {
            self.activity.set_stuck(true);
        }
        let limit = self.limit;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        deadline.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.within_limit(outcome, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.within_limit(outcome, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(future)
    }

    #[test]
    fn a_client_that_takes_nothing_is_disconnected_and_a_slow_one_is_not() {
        block_on(async {
            let (server, mut client) = tokio::io::duplex(16);
            let activity = Activity::new();
            let mut stream = Stream::new(Box::new(server), activity.clone());
            stream.limit = Duration::from_millis(200);
            let reads_slowly = async {
                let mut bytes = [0; 16];
                for _ in 0..6 {
                    tokio::time::sleep(Duration::from_millis(60)).await;
                    client.read_exact(&mut bytes).await.expect("it is written");
                }
            };
            let (written, ()) = tokio::join!(stream.write_all(&[1; 96]), reads_slowly);
            written.expect("each wait is below the limit, and all of them are not");
            drop(activity.begin());
            let waits = activity.quiet_since();
            let answering = activity.begin();
            let stuck = stream.write_all(&[1; 17]).await.expect_err("nobody reads");
            assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
            assert!(activity.quiet_since() >= waits, "its place is free for others meanwhile");
            drop(answering);
        });
    }
}
