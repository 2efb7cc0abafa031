//! MemoryBudget in memory: so many bytes that may be taken up together, each lot of them for as long as its permit is held.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// MemoryBudget for so many bytes. It is counted in units, since a semaphore cannot count to a gigabyte one by one.
#[derive(Clone)]
pub(crate) struct MemoryBudget {
    free: Arc<Semaphore>,
    units: usize,
    unit_bytes: usize,
}

impl MemoryBudget {
    /// MemoryBudget for up to `bytes_max` bytes in units of `unit_bytes`, of which the last that is not whole is left out.
    pub(crate) fn new(bytes_max: usize, unit_bytes: usize) -> Self {
        let units = (bytes_max / unit_bytes).min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(units)),
            units,
            unit_bytes,
        }
    }

    /// Takes room for that many bytes; `None` where there is not so much.
    pub(crate) fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(self.unit_bytes)).unwrap_or(u32::MAX);
        self.free.clone().try_acquire_many_owned(units).ok()
    }

    /// Gives back what the permit has beyond that many bytes.
    pub(crate) fn give_back_beyond(&self, permit: &mut OwnedSemaphorePermit, bytes: usize) {
        let surplus = permit
            .num_permits()
            .saturating_sub(bytes.div_ceil(self.unit_bytes));
        drop(permit.split(surplus));
    }

    /// Takes what is missing until the permit is for that many bytes; `None` where there is not so much.
    pub(crate) fn take_up_to(&self, permit: &mut OwnedSemaphorePermit, bytes: usize) -> Option<()> {
        let held = permit.num_permits() * self.unit_bytes;
        if bytes > held {
            permit.merge(self.take(bytes - held)?);
        }
        Some(())
    }

    /// How many bytes are taken.
    pub(crate) fn taken_bytes(&self) -> usize {
        (self.units - self.free.available_permits()) * self.unit_bytes
    }
}

/// Bytes that keep their room until the last of them is sent, or its client is gone.
pub(crate) fn keeping(bytes: Bytes, room: impl Send + 'static) -> Bytes {
    Bytes::from_owner(Keeping { bytes, _room: room })
}

/// Has the pieces of a body keep what they need.
pub(crate) trait Keeper {
    /// A piece that keeps it until it is sent.
    type Piece: Buf;

    /// The piece, which keeps it.
    fn keep(&mut self, piece: Bytes) -> Self::Piece;

    /// There is no piece yet.
    fn wait(&mut self) {}
}

/// A body whose pieces keep what its keeper has them keep: the body itself is given up as soon as it is handed over,
/// and its pieces once they are written.
pub(crate) struct KeptBody<B, K> {
    pub(crate) body: B,
    pub(crate) keeper: K,
}

impl<B: Body<Data = Bytes> + Unpin, K: Keeper + Unpin> Body for KeptBody<B, K> {
    type Data = K::Piece;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<K::Piece>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_pending() {
            self.keeper.wait();
        }
        polled.map_ok(|frame| frame.map_data(|piece| self.keeper.keep(piece)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Keeping<R> {
    bytes: Bytes,
    _room: R,
}

impl<R> AsRef<[u8]> for Keeping<R> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
