//! A stream that remembers whether it failed, and may be told to end badly itself: hyper says nothing of a peer that
//! vanishes between two requests, and has no way to reset one.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// The stream.
pub(super) struct Watched {
    inner: TlsStream<TcpStream>,
    fate: Arc<Fate>,
}

/// How a stream fares; shared with whoever looks after it.
#[derive(Debug, Default)]
pub(super) struct Fate {
    failed: AtomicBool,
    cut: AtomicBool,
}

impl Fate {
    /// Whether it has failed so far. An end of TLS without `close_notify` is a failure, too, and so is our own cut.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// When the stream is dropped, its peer sees a reset.
    pub(super) fn cut(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.cut.store(true, Ordering::Relaxed);
    }
}

impl Watched {
    /// The stream, and what becomes of it.
    pub(super) fn new(inner: TlsStream<TcpStream>) -> (Self, Arc<Fate>) {
        let fate = Arc::<Fate>::default();
        let watched = Self {
            inner,
            fate: Arc::clone(&fate),
        };
        (watched, fate)
    }

    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(polled, Poll::Ready(Err(_))) {
            self.fate.failed.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.fate.cut.load(Ordering::Relaxed) {
            // To linger for no time is to send RST. A socket that is gone already needs none.
            drop(SockRef::from(self.inner.get_ref().0).set_linger(Some(Duration::ZERO)));
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.note(polled)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.note(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.note(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The peer may be gone by then, and owes us nothing.
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
