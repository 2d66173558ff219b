//! What comes from one Socket.IO client: taken in order, bounded in number and bytes.

use std::sync::Arc;

use shared::limits::{CLIENT_MESSAGE_BYTES, CLIENT_QUEUE, CLIENT_QUEUE_BYTES, CLIENT_REFUSALS, CLIENTS_QUEUE_BYTES};
use socketioxide::{
    adapter::LocalAdapter,
    handler::{MessageHandler, Value},
    socket::Socket,
};
use tokio::sync::{
    OwnedSemaphorePermit, Semaphore,
    mpsc::{self, error::TrySendError},
    watch,
};

use super::{error::ClientError, outlet::Life};
use crate::metrics::Metrics;

/// One event that waits for its turn, and its places in the queues.
#[derive(Debug)]
pub(super) struct Inbound {
    value: Value,
    /// The number of its ack, if it has one.
    pub(super) ack: Option<i64>,
    _places: [OwnedSemaphorePermit; 2],
}

impl Inbound {
    /// `["name", argument …]`.
    pub(super) fn text(&self) -> &str {
        self.value.as_str().map_or("", |text| text.as_str())
    }
}

/// An event that found no place, or is none, and has to be answered.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) ack: Option<i64>,
    pub(super) error: ClientError,
}

/// What waits for a session: events in order, and the refusals of others. In boxes, because a queue of tokio's has room
/// for 32 of what it holds from the start, and nearly every client of thousands is silent.
#[derive(Debug)]
pub(super) struct Arrivals {
    pub(super) commands: mpsc::Receiver<Box<Inbound>>,
    pub(super) refused: mpsc::Receiver<Box<Refused>>,
}

/// Bytes of commands that wait, of all clients.
#[derive(Debug, Clone)]
pub(super) struct QueueBytes(Arc<Semaphore>);

impl Default for QueueBytes {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(CLIENTS_QUEUE_BYTES)))
    }
}

/// The handler of every event of one client. socketioxide calls it inline, in the order in which the events came; a
/// closure would run in a task of its own for each event, and one event could overtake another.
pub(super) struct Inbox {
    queue: mpsc::Sender<Box<Inbound>>,
    refusals: mpsc::Sender<Box<Refused>>,
    bytes: Arc<Semaphore>,
    all_bytes: QueueBytes,
    life: watch::Sender<Life>,
    metrics: Arc<Metrics>,
}

impl Inbox {
    pub(super) fn new(all_bytes: QueueBytes, life: watch::Sender<Life>, metrics: Arc<Metrics>) -> (Self, Arrivals) {
        let (queue, commands) = mpsc::channel(CLIENT_QUEUE);
        let (refusals, refused) = mpsc::channel(CLIENT_REFUSALS);
        let bytes = Arc::new(Semaphore::new(CLIENT_QUEUE_BYTES));
        (Self { queue, refusals, bytes, all_bytes, life, metrics }, Arrivals { commands, refused })
    }

    fn take(&self, value: Value, ack: Option<i64>) {
        self.metrics.client_event();
        let Err(error) = self.put(value, ack) else { return };
        // The session tells the client: here nothing can wait until there is room for the answer.
        if let Err(TrySendError::Full(_)) = self.refusals.try_send(Box::new(Refused { ack, error })) {
            self.life.send_if_modified(|life| {
                let open = *life == Life::Open;
                *life = if open { Life::Flooding } else { *life };
                open
            });
        }
    }

    fn put(&self, value: Value, ack: Option<i64>) -> Result<(), ClientError> {
        let len = text(&value)?.len();
        let place = |bytes: &Arc<Semaphore>| bytes.clone().try_acquire_many_owned(len as u32).map_err(|_| busy());
        let places = [place(&self.bytes)?, place(&self.all_bytes.0)?];
        match self.queue.try_send(Box::new(Inbound { value, ack, _places: places })) {
            // Closed: the session has ended, and nobody is left to be told.
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(_)) => Err(busy()),
        }
    }
}

/// The event as text, `["name", argument …]`.
pub(super) fn text(value: &Value) -> Result<&str, ClientError> {
    let text = match value {
        Value::Str(_, Some(attachments)) if !attachments.is_empty() => {
            return Err(ClientError::Binary(attachments.len()));
        }
        Value::Bytes(_) => return Err(ClientError::Binary(1)),
        Value::Str(text, _) => text.as_str(),
    };
    match text.len() {
        len if len > CLIENT_MESSAGE_BYTES => Err(ClientError::TooLarge { len, limit: CLIENT_MESSAGE_BYTES }),
        _ => Ok(text),
    }
}

fn busy() -> ClientError {
    ClientError::Busy { limit: CLIENT_QUEUE, bytes: CLIENT_QUEUE_BYTES }
}

impl MessageHandler<LocalAdapter, ()> for Inbox {
    fn call(&self, _: Arc<Socket>, value: Value, ack: Option<i64>) {
        self.take(value, ack);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(len: usize) -> Value {
        Value::Str("x".repeat(len).into(), None)
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_bytes() {
        for (len, most) in [(1, CLIENT_QUEUE), (CLIENT_MESSAGE_BYTES, CLIENT_QUEUE_BYTES / CLIENT_MESSAGE_BYTES)] {
            let (life, _alive) = watch::channel(Life::Open);
            let (inbox, mut arrivals) = Inbox::new(QueueBytes::default(), life, Arc::default());
            for _ in 0..most {
                inbox.put(event(len), None).unwrap();
            }
            assert!(matches!(inbox.put(event(len), None), Err(ClientError::Busy { .. })), "{len} bytes");
            drop(arrivals.commands.try_recv().unwrap());
            inbox.put(event(len), None).unwrap();
        }
    }

    #[test]
    fn who_takes_not_even_its_errors_is_known() {
        for (before, after) in [(Life::Open, Life::Flooding), (Life::Gone, Life::Gone)] {
            let (life, alive) = watch::channel(before);
            let (inbox, arrivals) = Inbox::new(QueueBytes::default(), life, Arc::default());
            for _ in 0..CLIENT_QUEUE + CLIENT_REFUSALS {
                inbox.take(event(1), None);
            }
            assert_eq!((*alive.borrow(), arrivals.refused.len()), (before, CLIENT_REFUSALS));
            inbox.take(event(1), None);
            assert_eq!(*alive.borrow(), after);
        }
    }
}
