//! The text of entries, and what is searched for in it.

use std::fmt;

use serde::de::IgnoredAny;
use shared::limits::{QUERY_BYTES, QUERY_WORDS};
use thiserror::Error;

/// Why there is nothing to search for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WordsError {
    /// No word.
    #[error("no word")]
    None,
    /// Too many words.
    #[error("{0} words")]
    TooMany(usize),
    /// Too much text.
    #[error("{0} bytes")]
    TooLong(usize),
}

/// Words as the index is asked for them: an entry has them all, and one that begins as the last of them does.
#[derive(Clone, PartialEq, Eq)]
pub struct Words(String);

impl Words {
    /// The words of a text. Whatever a client writes is text to the index, and none of its syntax.
    ///
    /// # Errors
    /// When there is none, or there is too much.
    pub fn of(text: &str) -> Result<Self, WordsError> {
        if text.len() > QUERY_BYTES {
            return Err(WordsError::TooLong(text.len()));
        }
        // SQLite takes a NUL for the end of what is searched for.
        let breaks = |c: char| c.is_whitespace() || c.is_control();
        let words: Vec<String> = text
            .split(breaks)
            .filter(|word| !word.is_empty())
            .map(|word| format!("\"{}\"", word.replace('"', "\"\"")))
            .collect();
        match words.len() {
            0 => Err(WordsError::None),
            1..=QUERY_WORDS => Ok(Self(words.join(" ") + "*")),
            len => Err(WordsError::TooMany(len)),
        }
    }

    pub(super) fn as_query(&self) -> &str {
        &self.0
    }
}

/// What somebody looks for is nobody else's.
impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Words({} bytes)", self.0.len())
    }
}

/// All strings in a JSON text that are no keys, one a line. Empty where it is no JSON.
pub(super) fn strings(json: &[u8]) -> String {
    let mut text = String::new();
    if serde_json::from_slice::<IgnoredAny>(json).is_err() {
        return text;
    }
    // It is JSON, so a quote outside of a string begins one. Without recursion it may be nested as deep as it likes.
    let mut rest = json;
    while let Some(begin) = rest.iter().position(|byte| *byte == b'"') {
        let inside = &rest[begin + 1..];
        let end = end_of_string(inside);
        let (string, behind) = inside.split_at(end);
        rest = behind.get(1..).unwrap_or_default();
        let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
        if next != Some(&b':') && !string.is_empty() {
            unescape(&String::from_utf8_lossy(string), &mut text);
            text.push('\n');
        }
    }
    text
}

/// Where the quote is that ends a string.
fn end_of_string(inside: &[u8]) -> usize {
    let mut at = 0;
    while at < inside.len() && inside[at] != b'"' {
        at += if inside[at] == b'\\' { 2 } else { 1 };
    }
    at.min(inside.len())
}

/// Half of a surrogate pair, which JSON allows and text does not, becomes a replacement character.
fn unescape(string: &str, text: &mut String) {
    let mut rest = string;
    while let Some((plain, escape)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut chars = escape.chars();
        match chars.next() {
            Some('u') => {
                let units: Vec<u16> = units(escape);
                text.extend(
                    char::decode_utf16(units.iter().copied()).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)),
                );
                // The first escape has lost its backslash already.
                rest = escape.get(6 * units.len().max(1) - 1..).unwrap_or_default();
                continue;
            }
            Some(c @ ('"' | '\\' | '/')) => text.push(c),
            _ => text.push(' '),
        }
        rest = chars.as_str();
    }
    text.push_str(rest);
}

/// The numbers of `uXXXX\uXXXX…`, as far as they go.
fn units(escapes: &str) -> Vec<u16> {
    let unit = |escape: &str| u16::from_str_radix(escape.strip_prefix('u')?.get(..4)?, 16).ok();
    let mut units = Vec::new();
    let mut rest = Some(escapes);
    while let Some(escape) = rest
        && let Some(number) = unit(escape)
    {
        units.push(number);
        rest = escape.get(5..).and_then(|rest| rest.strip_prefix('\\'));
    }
    units
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn strings_are_found_and_keys_are_not() {
        for (json, text) in [
            (r#""hello""#, "hello\n"),
            (r#"{"key": "value", "other" : ["a", {"deep":"b"}], "n": 7, "t": true}"#, "value\na\nb\n"),
            (
                r#"["a \"quoted\" word", "back\\", "\u00fc\n\ud83d\ude00", "\ud83d alone"]"#,
                "a \"quoted\" word\nback\\\nü 😀\n\u{fffd} alone\n",
            ),
            (r#"["", null, 1.5]"#, ""),
            (r#"["\u0041\u0042C\u0044"]"#, "ABCD\n"),
            ("no json", ""),
            ("", ""),
        ] {
            assert_eq!(strings(json.as_bytes()), text, "{json}");
        }
        let deep = format!("{}\"down here\"{}", "[".repeat(100), "]".repeat(100));
        assert_eq!(strings(deep.as_bytes()), "down here\n");
    }

    #[test]
    fn what_is_searched_for_is_quoted() {
        for (text, query) in [
            ("one", "\"one\"*"),
            (" two  words\n", "\"two\" \"words\"*"),
            ("a\"b OR c* NEAR(d)", "\"a\"\"b\" \"OR\" \"c*\" \"NEAR(d)\"*"),
            ("nul\0inside", "\"nul\" \"inside\"*"),
        ] {
            assert_eq!(Words::of(text).unwrap().as_query(), query);
        }
        assert_eq!(Words::of(" \t\0"), Err(WordsError::None));
        assert_eq!(Words::of(&"a ".repeat(33)), Err(WordsError::TooMany(33)));
        assert_eq!(Words::of(&"a".repeat(1025)), Err(WordsError::TooLong(1025)));
        assert!(!format!("{:?}", Words::of("private")).contains("private"));
    }

    fn values(value: &Value, into: &mut String) {
        match value {
            Value::String(text) if !text.is_empty() => *into += &(text.replace(char::is_control, " ") + "\n"),
            Value::Array(values_of) => values_of.iter().for_each(|value| values(value, into)),
            Value::Object(map) => map.values().for_each(|value| values(value, into)),
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn the_text_is_that_of_the_values(texts in proptest::collection::vec(any::<String>(), 0..8), key in any::<String>()) {
            let value = serde_json::json!({ "n": 1, key: texts.clone(), "more": [[{ "k": texts.first() }]] });
            let mut expected = String::new();
            values(&value, &mut expected);
            let found = strings(value.to_string().as_bytes()).replace(|c: char| c.is_control() && c != '\n', " ");
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn arbitrary_bytes_have_text_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            drop(strings(&bytes));
        }
    }
}
