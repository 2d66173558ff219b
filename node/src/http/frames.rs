//! Where the frames that go out on a WebSocket begin and end, so that a last one can follow when its owner cannot say it.

/// The longest header of a frame that a server sends (RFC 6455 §5.2, without a mask).
const HEADER: usize = 10;

/// The place in what was sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Frames {
    state: State,
    /// What came of the header that is not all there.
    header: [u8; HEADER],
    have: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// The head of the response that makes this a WebSocket; so many bytes of the empty line at its end were seen.
    Head(usize),
    /// A frame begins, or its header has begun.
    #[default]
    Header,
    /// So many bytes of a frame are still to come.
    Payload(u64),
}

impl Frames {
    /// Before the response that makes the connection a WebSocket.
    pub(super) fn after_head() -> Self {
        Self { state: State::Head(0), ..Self::default() }
    }

    /// These bytes were sent.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[self.step(rest)..];
        }
    }

    /// How many of the bytes that are to be sent belong to a frame that has begun. None: it does not end in them.
    pub(super) fn unfinished(&self, bytes: &[u8]) -> Option<usize> {
        let (mut place, mut used) = (self.clone(), 0);
        while !place.between() {
            let rest = bytes.get(used..).filter(|rest| !rest.is_empty())?;
            used += place.step(rest);
        }
        Some(used)
    }

    fn between(&self) -> bool {
        self.state == State::Header && self.have == 0
    }

    /// Takes at least one of the bytes, of which there is at least one.
    fn step(&mut self, bytes: &[u8]) -> usize {
        match self.state {
            State::Head(seen) => {
                let next = b"\r\n\r\n"[seen];
                self.state = match bytes[0] {
                    byte if byte != next => State::Head(usize::from(byte == b'\r')),
                    _ if seen == 3 => State::Header,
                    _ => State::Head(seen + 1),
                };
                1
            }
            State::Header => {
                self.header[self.have] = bytes[0];
                self.have += 1;
                if let Some(len) = self.payload() {
                    self.have = 0;
                    self.state = if len == 0 { State::Header } else { State::Payload(len) };
                }
                1
            }
            State::Payload(left) => {
                let used = left.min(bytes.len() as u64);
                self.state = if used == left { State::Header } else { State::Payload(left - used) };
                used as usize
            }
        }
    }

    /// The length of the payload, once the header is all there.
    fn payload(&self) -> Option<u64> {
        let extended = |bytes: &[u8]| bytes.iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
        match (self.have, self.header[1] & 0x7f) {
            (0 | 1, _) => None,
            (4, 126) => Some(extended(&self.header[2..4])),
            (HEADER, 127) => Some(extended(&self.header[2..])),
            (_, 126 | 127) => None,
            (_, len) => Some(u64::from(len)),
        }
    }
}

/// A frame of a server with at most 65,535 bytes. `first`: flags and opcode.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(len as u8),
        len => {
            bytes.push(126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A head, then frames of every form of length. Where each frame ends.
    fn stream() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n".to_vec();
        let mut ends = vec![bytes.len()];
        for len in [0, 1, 125, 126, 127, 300, 65_535] {
            bytes.extend(frame(0x81, &vec![b'x'; len]));
            ends.push(bytes.len());
        }
        bytes.extend([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        bytes.extend(vec![0; 65_536]);
        ends.push(bytes.len());
        (bytes, ends)
    }

    #[test]
    fn a_frame_that_has_begun_is_finished_wherever_the_writing_stopped() {
        let (bytes, ends) = stream();
        for cut in (0..2_000).chain((2_000..bytes.len()).step_by(997)) {
            let mut frames = Frames::after_head();
            frames.sent(&bytes[..cut]);
            let end = ends.iter().copied().find(|end| *end >= cut).unwrap();
            assert_eq!(frames.unfinished(&bytes[cut..]), Some(end - cut), "after {cut} bytes");
            let short = &bytes[cut..end - usize::from(end > cut)];
            assert_eq!(frames.unfinished(short), (end == cut).then_some(0), "after {cut} bytes, one too few");
        }
    }

    #[test]
    fn sending_byte_by_byte_is_as_sending_all_at_once() {
        let (bytes, _) = stream();
        let (mut one, mut all) = (Frames::after_head(), Frames::after_head());
        bytes.iter().for_each(|byte| one.sent(&[*byte]));
        all.sent(&bytes);
        assert!(one.between() && all.between());
    }
}
