//! One accepted TCP connection: tells whether its other side takes data, and ends when it takes none for too long.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use shared::limits::CLIENT_STALL;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{Notify, OwnedSemaphorePermit},
    time::{Sleep, sleep},
};

/// Whether the other side of a connection takes data. Socket.IO has a buffer of packets behind it that tells nobody when
/// it has room again, so a writer looks here instead and keeps that buffer short.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line(Arc<State>);

#[derive(Debug, Default)]
struct State {
    blocked: AtomicBool,
    freed: Notify,
}

impl Line {
    /// Waits until the other side takes data again, or the connection is gone. While a writer has more than the other side
    /// takes, this goes on waiting: it resolves when what was to be written is written.
    pub(crate) async fn free(&self) {
        loop {
            let freed = self.0.freed.notified();
            if !self.0.blocked.load(Ordering::Acquire) {
                return;
            }
            freed.await;
        }
    }

    fn set(&self, blocked: bool) {
        if self.0.blocked.swap(blocked, Ordering::AcqRel) && !blocked {
            self.0.freed.notify_waiters();
        }
    }
}

/// The connection itself.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    line: Line,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
    /// The other side took no data for too long.
    stalled: bool,
    reader: Option<Waker>,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Takes up an accepted connection; `place` is free again when it is gone.
    pub(crate) fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> Self {
        Self { stream, line: Line::default(), stall: None, stalled: false, reader: None, _place: place }
    }

    /// The connection's state, for whoever writes to it.
    pub(crate) fn line(&self) -> Line {
        self.line.clone()
    }

    fn note_write<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            self.line.set(false);
            return written;
        }
        self.line.set(true);
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(Duration::from_micros(CLIENT_STALL))));
        if stall.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        tracing::debug!("a client took no data for {} s, its connection is closed", CLIENT_STALL / 1_000_000);
        self.stalled = true;
        self.line.set(false);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Err(stalled()))
    }
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the other side took no data for too long")
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.line.set(false);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.stalled {
            return Poll::Ready(Err(stalled()));
        }
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() && !self.reader.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.reader = Some(context.waker().clone());
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.stalled {
            return Poll::Ready(Err(stalled()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_write(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.stalled {
            return Poll::Ready(Err(stalled()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.note_write(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        sync::Semaphore,
        time::Instant,
    };

    use super::*;

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        (Connection::new(stream, place), other)
    }

    /// Writes until the other side takes no more.
    async fn write_until_error(connection: &mut Connection) -> io::Error {
        loop {
            if let Err(error) = connection.write_all(&[0; 64 * 1024]).await {
                return error;
            }
        }
    }

    // The clock stands still while something runs, and jumps to the next timer when nothing can.
    #[tokio::test(start_paused = true)]
    async fn a_side_that_takes_nothing_is_given_up_in_time() {
        let (mut connection, _other) = pair().await;
        let began = Instant::now();
        assert_eq!(write_until_error(&mut connection).await.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), CLIENT_STALL / 1_000_000);
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        connection.line().free().await;
    }

    #[tokio::test]
    async fn a_line_is_blocked_until_the_other_side_has_read_what_waits() {
        let (mut connection, mut other) = pair().await;
        let (line, bytes) = (connection.line(), vec![0; 64 * 1024 * 1024]);
        let len = bytes.len();
        let writer = tokio::spawn(async move {
            connection.write_all(&bytes).await.unwrap();
            connection
        });
        while !line.0.blocked.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        let mut free = pin!(line.free());
        assert!(poll_once(free.as_mut()).await.is_pending());
        let reader = tokio::spawn(async move { other.read_exact(&mut vec![0; len]).await.map(|_| other) });
        free.await;
        drop((reader.await.unwrap().unwrap(), writer.await.unwrap()));
        // The connection is gone, and nobody waits for it any more.
        line.free().await;
    }

    async fn poll_once<F: Future<Output = ()>>(mut future: Pin<&mut F>) -> Poll<()> {
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    }
}
