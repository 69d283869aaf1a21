//! Layout: the named byte ranges from which every format on disk is made.
//!
//! Why: one source for each format. Encoder, decoder, and the tables of `docs/formats` all
//!      name the same fields; a test compares the tables with the constants.
//! Holds:
//!   L1 each field begins where the one before it ends, so a format has no gap;
//!   L2 numbers are little-endian.

/// One range of bytes inside a header or record of fixed size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// The name as it stands in the documents.
    pub(crate) name: &'static str,
    /// First byte.
    pub(crate) offset: usize,
    /// Bytes.
    pub(crate) size: usize,
}

impl Field {
    /// The field at offset zero.
    pub(crate) const fn first(name: &'static str, size: usize) -> Self {
        Self { name, offset: 0, size }
    }

    /// The field that begins where this one ends (L1).
    pub(crate) const fn then(&self, name: &'static str, size: usize) -> Self {
        Self { name, offset: self.end(), size }
    }

    /// The first byte after the field.
    pub(crate) const fn end(&self) -> usize {
        self.offset + self.size
    }

    /// The field's bytes. The caller holds a whole record, so the range lies inside.
    pub(crate) fn of<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        &record[self.offset..self.end()]
    }

    /// The field's bytes, to be changed.
    pub(crate) fn of_mut<'a>(&self, record: &'a mut [u8]) -> &'a mut [u8] {
        &mut record[self.offset..self.end()]
    }

    /// Writes plain bytes of exactly the field's size.
    pub(crate) fn set(&self, record: &mut [u8], bytes: &[u8]) {
        record[self.offset..self.end()].copy_from_slice(bytes);
    }

    /// Writes a number; its type must have the field's size.
    pub(crate) fn put<const N: usize>(&self, record: &mut [u8], number: impl Number<N>) {
        self.set(record, &number.to_bytes());
    }

    /// Reads a number; its type must have the field's size.
    pub(crate) fn get<const N: usize, T: Number<N>>(&self, record: &[u8]) -> T {
        let mut bytes = [0_u8; N];
        bytes.copy_from_slice(self.of(record));
        T::from_bytes(bytes)
    }

    /// Whether every byte is zero.
    pub(crate) fn is_zero(&self, record: &[u8]) -> bool {
        self.of(record).iter().all(|byte| *byte == 0)
    }
}

/// A number of fixed width; `usize` is none, so it cannot reach a disk.
pub(crate) trait Number<const N: usize> {
    fn to_bytes(self) -> [u8; N];
    fn from_bytes(bytes: [u8; N]) -> Self;
}

macro_rules! number {
    ($($type:ty => $size:literal),*) => {
        $(impl Number<$size> for $type {
            fn to_bytes(self) -> [u8; $size] {
                self.to_le_bytes()
            }

            fn from_bytes(bytes: [u8; $size]) -> Self {
                Self::from_le_bytes(bytes)
            }
        })*
    };
}

number!(u8 => 1, u16 => 2, u32 => 4, u64 => 8, u128 => 16);

/// Whether `fields` follow each other without a gap and fill `size` bytes (L1).
pub(crate) const fn fills(fields: &[Field], size: usize) -> bool {
    let mut end = 0;
    let mut index = 0;
    while index < fields.len() {
        if fields[index].offset != end {
            return false;
        }
        end = fields[index].end();
        index += 1;
    }
    end == size
}

/// Compares the table under a heading of a page of `docs/formats` with the code.
#[cfg(test)]
pub(crate) fn documented(page: &str, heading: &str, fields: &[Field]) {
    let path = format!("{}/../../docs/formats/{page}.md", env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let section = document.split_once(&format!("\n## {heading}\n")).map(|(_, section)| section);
    let section = section.unwrap_or_else(|| panic!("no section {heading}"));
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    let shown: Vec<Vec<&str>> = rows
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| line.split('|').skip(1).take(3).map(str::trim).collect())
        .collect();
    let text = |field: &Field| [field.offset.to_string(), field.size.to_string()];
    let coded: Vec<[String; 2]> = fields.iter().map(text).collect();
    let coded: Vec<Vec<&str>> = coded
        .iter()
        .zip(fields)
        .map(|([offset, size], field)| vec![offset.as_str(), size.as_str(), field.name])
        .collect();
    assert_eq!(shown, coded, "section {heading}");
}

#[cfg(test)]
#[path = "layout/tests.rs"]
mod tests;
