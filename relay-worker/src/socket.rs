//! A WebSocket of the room and what is kept with it while the object sleeps.

use shared::LinkId;
use worker::{
    State, WebSocket,
    js_sys::Uint8Array,
    wasm_bindgen::{JsCast, JsValue},
    worker_sys::ext::WebSocketExt,
};

/// `WebSocket.OPEN`.
const OPEN: u16 = 1;

/// One connection. It is a text client from its start; its first binary frame makes it a link of the replica, and a text
/// frame after that makes it both.
#[derive(Debug, Clone)]
pub(crate) struct Socket {
    pub(crate) websocket: WebSocket,
    /// Whether the replica has it as a link.
    pub(crate) linked: bool,
    /// Whether the room has it as a text client.
    pub(crate) text: bool,
    /// The replica's last word about it.
    pub(crate) replica: Vec<u8>,
    /// The room's last word about it.
    pub(crate) room: Vec<u8>,
}

impl Socket {
    pub(crate) fn new(websocket: WebSocket) -> Self {
        Self { websocket, linked: false, text: true, replica: Vec::new(), room: Vec::new() }
    }

    /// Takes a socket up after hibernation; `None` if it is not open any more.
    pub(crate) fn restore(websocket: WebSocket) -> Option<Self> {
        if websocket.as_ref().ready_state() != OPEN {
            return None;
        }
        let mut socket = Self::new(websocket);
        let kept = socket.websocket.as_ref().deserialize_attachment().ok()?.dyn_into::<Uint8Array>();
        if let Ok(bytes) = kept {
            socket.read(&bytes.to_vec());
        }
        Some(socket)
    }

    /// Keeps the socket's state with it.
    pub(crate) fn keep(&self) -> Result<(), JsValue> {
        self.websocket.as_ref().serialize_attachment(Uint8Array::from(self.write().as_slice()).into())
    }

    /// `linked, text: 1 byte each | length of replica: 2 bytes | replica | room`: under 2,300 bytes of 16,384.
    fn write(&self) -> Vec<u8> {
        let len = u16::try_from(self.replica.len()).unwrap_or(0);
        let mut bytes = vec![u8::from(self.linked), u8::from(self.text)];
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend(self.replica.iter().take(usize::from(len)));
        bytes.extend_from_slice(&self.room);
        bytes
    }

    fn read(&mut self, bytes: &[u8]) {
        let [linked, text, high, low, rest @ ..] = bytes else { return };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((replica, room)) = rest.split_at_checked(len) else { return };
        (self.linked, self.text) = (*linked == 1, *text == 1);
        (self.replica, self.room) = (replica.to_vec(), room.to_vec());
    }
}

/// Hands a new socket to the platform, which keeps it while the object sleeps; the tag carries its number.
pub(crate) fn accept(state: &State, websocket: &WebSocket, link: LinkId) -> Result<(), JsValue> {
    state.as_raw().accept_websocket_with_tags(websocket.as_ref(), vec![JsValue::from(link.0.to_string())])
}

/// The number that a socket was accepted with.
pub(crate) fn link_of(state: &State, websocket: &WebSocket) -> Option<LinkId> {
    state.as_raw().get_tags(websocket.as_ref()).ok()?.first()?.parse().ok().map(LinkId)
}

/// All sockets that the platform has.
pub(crate) fn all(state: &State) -> Vec<WebSocket> {
    state.as_raw().get_websockets().unwrap_or_default().into_iter().map(WebSocket::from).collect()
}
