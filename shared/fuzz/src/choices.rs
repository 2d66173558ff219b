//! What a structured target reads from its bytes: numbers, choices and pieces.

use arbitrary::Unstructured;

/// A stream of choices. When the bytes are used up, every choice is the first one.
pub(crate) struct Choices<'a>(Unstructured<'a>);

impl<'a> Choices<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or(0)
    }

    /// A number below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.int_in_range(0..=n - 1).unwrap_or(0)
    }

    /// A number of any size: often at an edge, where sums overflow.
    pub(crate) fn number(&mut self) -> u64 {
        const EDGES: [u64; 10] =
            [0, 1, 2, 255, 65_536, 1 << 32, (1 << 53) - 1, i64::MAX as u64, u64::MAX - 1, u64::MAX];
        match self.below(4) {
            0 => u64::from(self.byte()),
            1 => EDGES[self.below(EDGES.len())],
            2 => self.0.arbitrary::<u32>().unwrap_or(0).into(),
            _ => self.0.arbitrary().unwrap_or(0),
        }
    }

    /// At most so many bytes; their number is chosen first.
    pub(crate) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let len = self.below(most.min(self.0.len()) + 1);
        self.0.bytes(len).unwrap_or(&[])
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.0.bytes(N.min(self.0.len())).unwrap_or(&[]);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    pub(crate) fn pick<'b, T>(&mut self, items: &'b [T]) -> Option<&'b T> {
        if items.is_empty() { None } else { Some(&items[self.below(items.len())]) }
    }

    /// What is left.
    #[cfg(feature = "node")]
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        let len = self.0.len();
        self.0.bytes(len).unwrap_or(&[])
    }
}
