//! One accepted TCP connection: tells whether its other side takes data, and ends with a reason when it takes none for too
//! long.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use shared::{
    CloseReason,
    limits::{CLIENT_SEND_BUFFER, CLIENT_STALL},
};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::{Notify, OwnedSemaphorePermit},
    time::{Sleep, sleep, timeout},
};

use super::frames::{Frames, frame};

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
/// Bytes that the operating system may keep of a connection that is given up. It is what most systems allow at most, and
/// more than [`CLIENT_SEND_BUFFER`], so that there is room for the reason where everything else is full.
const LAST_BUFFER: usize = 208 * 1024;
/// How long a connection that was given up stays open for what still comes in. Closed over that, it would be reset, and the other side would lose
/// what it has not read yet, the reason with it.
const LINGER: Duration = Duration::from_secs(30);

/// Whether the other side of a connection takes data. Socket.IO has a buffer of packets behind it that tells nobody when
/// it has room again, so a writer looks here instead and keeps that buffer short.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line(Arc<State>);

#[derive(Debug, Default)]
struct State {
    blocked: AtomicBool,
    freed: Notify,
    /// The next response makes this a WebSocket.
    upgrading: AtomicBool,
    /// It is a link of the replica, which gives up itself who takes no data.
    link: AtomicBool,
    /// Bytes that the operating system took.
    written: AtomicU64,
    /// Somebody waits until more are written.
    awaited: AtomicBool,
    moved: Notify,
    gone: AtomicBool,
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

    /// Bytes that were written so far.
    pub(crate) fn written(&self) -> u64 {
        self.0.written.load(Ordering::Acquire)
    }

    /// Waits until so many bytes were written in all, or the connection is gone.
    pub(crate) async fn reaches(&self, bytes: u64) {
        loop {
            let moved = self.0.moved.notified();
            // Set before the look at the count: whoever adds to it after that sees it.
            self.0.awaited.store(true, Ordering::SeqCst);
            if self.0.written.load(Ordering::SeqCst) >= bytes || self.0.gone.load(Ordering::SeqCst) {
                return;
            }
            moved.await;
        }
    }

    /// The response that comes next makes this connection a WebSocket.
    pub(crate) fn upgrades(&self) {
        self.0.upgrading.store(true, Ordering::Release);
    }

    /// This connection becomes a link to another node.
    pub(crate) fn is_link(&self) {
        self.0.link.store(true, Ordering::Release);
    }

    fn set(&self, blocked: bool) {
        if self.0.blocked.swap(blocked, Ordering::AcqRel) && !blocked {
            self.0.freed.notify_waiters();
        }
    }

    fn wrote(&self, bytes: usize) {
        self.0.written.fetch_add(bytes as u64, Ordering::SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if self.0.awaited.swap(false, Ordering::SeqCst) {
            self.0.moved.notify_waiters();
        }
    }
}

/// The connection itself.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    line: Line,
    /// Where a WebSocket is in its frames. None: it is no WebSocket yet.
    frames: Option<Frames>,
    /// How long the other side may take no data.
    patience: Duration,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
    /// The other side took no data for too long.
    stalled: bool,
    reader: Option<Waker>,
    place: Arc<OwnedSemaphorePermit>,
}

impl Connection {
    /// Takes up an accepted connection; `place` is free again when it is gone.
    ///
    /// # Errors
    /// When the connection is gone already.
    pub(crate) fn new(stream: TcpStream, place: OwnedSemaphorePermit) -> io::Result<Self> {
        // Without it small messages wait for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        // Left to itself, the operating system keeps megabytes for a client that does not read.
        SockRef::from(&stream).set_send_buffer_size(CLIENT_SEND_BUFFER)?;
        let patience = Duration::from_micros(CLIENT_STALL);
        let (line, reader) = (Line::default(), None);
        let place = Arc::new(place);
        Ok(Self { stream, line, frames: None, patience, stall: None, stalled: false, reader, place })
    }

    /// The connection's state, for whoever writes to it.
    pub(crate) fn line(&self) -> Line {
        self.line.clone()
    }

    /// Notes how a write ended. `parts`: what was to be written.
    fn note_write(
        &mut self,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            self.stall = None;
            self.line.set(false);
            if let Ok(len) = &written {
                self.note_sent(parts, *len);
            }
            return Poll::Ready(written);
        }
        self.line.set(true);
        if self.line.0.link.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        if stall.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let told = self.tell_reason(parts);
        if told && let Err(error) = self.linger() {
            tracing::debug!("a connection that was given up does not stay open: {error}");
        }
        tracing::info!(
            "a client took no data for {} s, its connection is closed{}",
            self.patience.as_secs(),
            if told { "" } else { " without room for the reason" }
        );
        self.stalled = true;
        self.line.set(false);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Err(stalled()))
    }

    fn note_sent(&mut self, parts: &[io::IoSlice<'_>], mut len: usize) {
        self.line.wrote(len);
        if self.frames.is_none() && self.line.0.upgrading.load(Ordering::Acquire) {
            self.frames = Some(Frames::after_head());
        }
        let Some(frames) = &mut self.frames else { return };
        for part in parts {
            let sent = &part[..len.min(part.len())];
            frames.sent(sent);
            len -= sent.len();
        }
    }

    /// Finishes the frame that has begun and says why this is the last one. A client that reads again some day finds it
    /// behind what it had not read. Whether there was room for it.
    fn tell_reason(&mut self, parts: &[io::IoSlice<'_>]) -> bool {
        let Some(frames) = &self.frames else { return false };
        let pending: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let Some(rest) = frames.unfinished(&pending) else { return false };
        let last = [&pending[..rest], &farewell()].concat();
        let larger = SockRef::from(&self.stream).set_send_buffer_size(LAST_BUFFER.max(CLIENT_SEND_BUFFER + last.len()));
        // What does not fit now never will.
        larger.is_ok() && matches!(SockRef::from(&self.stream).send(&last), Ok(sent) if sent == last.len())
    }

    /// Sends what is to be sent, and takes what comes until the other side closes, or for [`LINGER`]; whatever becomes of this value.
    fn linger(&self) -> io::Result<()> {
        let stream: std::net::TcpStream = SockRef::from(&self.stream).try_clone()?.into();
        let mut stream = TcpStream::from_std(stream)?;
        let place = self.place.clone();
        tokio::spawn(async move {
            let rest = async {
                stream.shutdown().await?;
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
            };
            // However it ends, there is nobody left who wants to know.
            _ = timeout(LINGER, rest).await;
            drop(place);
        });
        Ok(())
    }
}

/// An event for the client, and the close frame of RFC 6455 §5.5.1. Not a packet that ends the Socket.IO session: the
/// official client would not connect again after that.
fn farewell() -> Vec<u8> {
    let error = format!("this client took no data for {} s, connect again to resume", CLIENT_STALL / 1_000_000);
    let event = format!("42[\"error\",{{\"error\":\"{error}\",\"code\":\"stalled\",\"event\":null}}]");
    let mut reason = CloseReason::Stalled.code().to_be_bytes().to_vec();
    reason.extend_from_slice(error.as_bytes());
    [frame(TEXT, event.as_bytes()), frame(CLOSE, &reason)].concat()
}

fn stalled() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the other side took no data for too long")
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.line.set(false);
        self.line.0.gone.store(true, Ordering::SeqCst);
        self.line.wake();
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
        self.note_write(context, &[io::IoSlice::new(bytes)], written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.stalled {
            return Poll::Ready(Err(stalled()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.note_write(context, parts, written)
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

    use tokio::{io::AsyncReadExt, net::TcpListener, sync::Semaphore, time::Instant};

    use super::*;

    /// How long a test waits for who takes no data.
    const SHORT: Duration = Duration::from_millis(50);

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        (Connection::new(stream, place).unwrap(), other)
    }

    /// Writes until the other side takes no more.
    async fn write_until_error(connection: &mut Connection) -> io::Error {
        loop {
            if let Err(error) = connection.write_all(&[0; 64 * 1024]).await {
                return error;
            }
        }
    }

    #[tokio::test]
    async fn a_side_that_takes_nothing_is_given_up_in_time() {
        let (mut connection, _other) = pair().await;
        assert_eq!(connection.patience.as_secs(), CLIENT_STALL / 1_000_000);
        connection.patience = SHORT;
        let began = Instant::now();
        assert_eq!(write_until_error(&mut connection).await.kind(), io::ErrorKind::TimedOut);
        assert!(began.elapsed() >= SHORT);
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

    #[tokio::test]
    async fn a_writer_learns_when_so_many_bytes_were_taken() {
        let (mut connection, _other) = pair().await;
        let line = connection.line();
        let mut reached = pin!(line.reaches(1_000));
        assert!(poll_once(reached.as_mut()).await.is_pending());
        connection.write_all(&[0; 999]).await.unwrap();
        assert!(poll_once(reached.as_mut()).await.is_pending());
        connection.write_all(&[0; 1]).await.unwrap();
        reached.await;
        let mut never = pin!(line.reaches(1_001));
        assert!(poll_once(never.as_mut()).await.is_pending());
        drop(connection);
        never.await;
    }

    #[tokio::test]
    async fn who_reads_again_after_being_given_up_finds_whole_frames_and_the_reason() {
        let (mut connection, mut other) = pair().await;
        connection.patience = SHORT;
        connection.line().upgrades();
        connection.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await.unwrap();
        let text = frame(TEXT, &[b'x'; 30_011]);
        let error = loop {
            // Several frames at once, as a WebSocket library hands them over.
            if let Err(error) = connection.write_all(&text.repeat(3)).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // What nobody reads any more must not have the connection reset.
        other.write_all(b"a ping").await.unwrap();
        drop(connection);
        other.write_all(b"and another one").await.unwrap();
        let mut bytes = Vec::new();
        other.read_to_end(&mut bytes).await.unwrap();
        let frames = bytes.strip_prefix(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").unwrap();
        let sent = frames.strip_suffix(farewell().as_slice()).expect("the last words are not at the end");
        assert!(sent.len() > text.len() && sent.chunks(text.len()).all(|chunk| chunk == text));
    }

    async fn poll_once<F: Future<Output = ()>>(mut future: Pin<&mut F>) -> Poll<()> {
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    }
}
