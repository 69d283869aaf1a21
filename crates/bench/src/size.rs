//! Sizes as people write them: a number of bytes, or with K, M or G behind it.

/// Reads a size.
///
/// # Errors
/// A sentence that says what a size looks like.
pub fn parse(text: &str) -> Result<u64, String> {
    let (number, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| "a size is a number, with K, M or G behind it if need be".to_owned())
}

#[cfg(test)]
#[path = "size/tests.rs"]
mod tests;
