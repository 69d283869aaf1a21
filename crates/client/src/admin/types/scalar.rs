//! Scalars of the admin API that have a form of their own in JSON.

use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sheepdog_proto::{Vid, command};

/// How many copies: `"auto"` or a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// As many as there are zones, up to three.
    Auto,
    /// Exactly this many.
    Exactly(u8),
}

impl From<command::Copies> for Copies {
    fn from(copies: command::Copies) -> Self {
        match copies {
            command::Copies::Auto => Self::Auto,
            command::Copies::Exactly(count) => Self::Exactly(count),
        }
    }
}

impl From<Copies> for command::Copies {
    fn from(copies: Copies) -> Self {
        match copies {
            Copies::Auto => Self::Auto,
            Copies::Exactly(count) => Self::Exactly(count),
        }
    }
}

impl fmt::Display for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Exactly(count) => fmt::Display::fmt(count, f),
        }
    }
}

impl Serialize for Copies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Exactly(count) => serializer.serialize_u8(*count),
        }
    }
}

impl<'de> Deserialize<'de> for Copies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CopiesVisitor;
        impl Visitor<'_> for CopiesVisitor {
            type Value = Copies;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or a number from 1 to 255")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Copies, E> {
                if text == "auto" {
                    Ok(Copies::Auto)
                } else {
                    Err(E::invalid_value(Unexpected::Str(text), &self))
                }
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Copies, E> {
                match u8::try_from(number) {
                    Ok(count) if count > 0 => Ok(Copies::Exactly(count)),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
                }
            }
        }
        deserializer.deserialize_any(CopiesVisitor)
    }
}

/// A vid as the first Sheepdog printed it: hexadecimal text without padding, also as a map key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VidHex(pub Vid);

impl fmt::Display for VidHex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:x}", self.0.get()))
    }
}

impl FromStr for VidHex {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = u32::from_str_radix(text, 16).map_err(|_| "a vid is a hexadecimal number")?;
        Vid::new(number).map(Self).ok_or("a vid lies between 1 and ffffff")
    }
}

impl Serialize for VidHex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VidHex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}
