//! WebSocket frames (RFC 6455 §5.2) as bytes: valid ones, and whatever else a test wants on the wire.

/// The mask of a client's frames. Any is valid; a fixed one makes runs equal.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;
pub(crate) const FIN: u8 = 0x80;

/// A client's frame. `first`: the first byte, so flags and opcode.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64, true);
    bytes.extend_from_slice(&MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A text frame of a client.
pub(crate) fn text(text: &str) -> Vec<u8> {
    masked(FIN | TEXT, text.as_bytes())
}

/// First byte, mask bit and length, whatever follows.
pub(crate) fn header(first: u8, len: u64, mask: bool) -> Vec<u8> {
    let bit = if mask { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match len {
        0..126 => bytes.push(bit | len as u8),
        126..65_536 => {
            bytes.push(bit | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            bytes.push(bit | 127);
            bytes.extend_from_slice(&len.to_be_bytes());
        }
    }
    bytes
}

/// A frame of a server, as read: opcode, where its payload begins and where it ends. None: it is not all there.
pub(crate) fn parse(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (len, begin) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        len => (u64::from(len), 2),
    };
    let end = begin + usize::try_from(len).ok()?;
    (bytes.len() >= end).then_some((first & 0x0f, begin, end))
}
