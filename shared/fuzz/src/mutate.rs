//! Changes to inputs on stable, where no coverage guides them: flips, splices, truncations, lying lengths, words that the
//! formats know.

/// A stream of numbers from a seed (SplitMix64: Steele, Lea, Flood, 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n` (0 where `n` is 0).
    pub fn below(&mut self, n: usize) -> usize {
        (self.number() % n.max(1) as u64) as usize
    }
}

/// Beginnings of CBOR items whose length is a lie, and numbers at edges.
const LIES: &[&[u8]] = &[
    &[0x5a, 0xff, 0xff, 0xff, 0xff],
    &[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x9a, 0xff, 0xff, 0xff, 0xff],
    &[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x1b, 0x00, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[0x5f],
    &[0x9f],
    &[0xff],
    &[0x18, 0x01],
    &[0x99, 0x10, 0x00],
    &[0x59, 0x01, 0x00],
    &[0x00, 0x00, 0x00, 0x00],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
];

/// Bytes that are likely to matter.
const BYTES: &[u8] = &[0, 1, 0x17, 0x18, 0x1b, 0x40, 0x58, 0x7f, 0x80, 0x9f, 0xf5, 0xff, b'"', b'\\', b'[', b'{', b'-'];

/// Makes a new input from one of the corpus: at most `most` bytes.
pub fn mutate(random: &mut Random, corpus: &[Vec<u8>], words: &[&[u8]], most: usize) -> Vec<u8> {
    if corpus.is_empty() || random.below(50) == 0 {
        let len = random.below(most.min(300) + 1);
        return (0..len).map(|_| random.number() as u8).collect();
    }
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        change(random, &mut bytes, corpus, words);
    }
    bytes.truncate(most);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&[u8]]) {
    let at = random.below(bytes.len() + 1);
    let end = at + random.below((bytes.len() - at).min(64) + 1);
    match random.below(12) {
        0 | 1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        2 if at < bytes.len() => bytes[at] = BYTES[random.below(BYTES.len())],
        3 if at < bytes.len() => bytes[at] = random.number() as u8,
        4 => bytes.truncate(at),
        5 => drop(bytes.drain(at..end)),
        6 => {
            let piece = bytes[at..end].to_vec();
            let times = 1 + random.below(8);
            (0..times).for_each(|_| drop(bytes.splice(at..at, piece.iter().copied())));
        }
        7 => {
            let lie = LIES[random.below(LIES.len())];
            put(random, bytes, at, lie);
        }
        8 | 9 if !words.is_empty() => {
            let word = words[random.below(words.len())];
            put(random, bytes, at, word);
        }
        10 => {
            // The beginning of one input and the end of another.
            let other = &corpus[random.below(corpus.len())];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        _ => {
            let len = random.below(32);
            let noise: Vec<u8> = (0..len).map(|_| random.number() as u8).collect();
            bytes.splice(at..at, noise);
        }
    }
}

/// Over what is there, or between.
fn put(random: &mut Random, bytes: &mut Vec<u8>, at: usize, word: &[u8]) {
    let end = if random.below(2) == 0 { at } else { (at + word.len()).min(bytes.len()) };
    bytes.splice(at..end, word.iter().copied());
}
