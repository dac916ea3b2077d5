//! What a hub says a file's content is.

use std::{fs::File, io::Read as _, path::Path};

use sha2::{Digest as _, Sha256};

use crate::PullError;

/// Bytes hashed at once.
const PIECE: usize = 1 << 20;

/// The name of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digest {
    /// The SHA-256 of a large file, in hexadecimal digits: what is checked.
    Sha256(String),
    /// What git calls a small file, in hexadecimal digits: a name, and nothing that is checked
    /// here.
    Git(String),
}

impl Digest {
    /// The digest that an entity tag stands for, if it is one. What is no plain row of hexadecimal
    /// digits could lead out of the cache, because it becomes the name of a file.
    pub(crate) fn of_tag(tag: &str) -> Option<Self> {
        let tag = tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"');
        if !is_hex(tag) {
            return None;
        }
        match tag.len() {
            64 => Some(Self::Sha256(tag.to_owned())),
            40 => Some(Self::Git(tag.to_owned())),
            _ => None,
        }
    }

    /// What files with this content are called in the cache.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Sha256(name) | Self::Git(name) => name,
        }
    }
}

/// Whether a text is lowercase hexadecimal digits and nothing else.
pub(crate) fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The SHA-256 of a file, in hexadecimal digits.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn sha256(path: &Path) -> Result<String, PullError> {
    let unreadable =
        |source| PullError::System { action: "read what came", source, path: path.to_owned() };
    let mut file = File::open(path).map_err(unreadable)?;
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece).map_err(unreadable)? {
            0 => break,
            count => hash.update(&piece[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_plain_digest_or_nothing() {
        let (long, short) = ("a1".repeat(32), "0f".repeat(20));
        assert_eq!(Digest::of_tag(&format!("\"{long}\"")), Some(Digest::Sha256(long.clone())));
        assert_eq!(Digest::of_tag(&format!("W/{short}")), Some(Digest::Git(short)));
        let hostile = format!("../{}", &long[3..]);
        for tag in ["", "abc", "../../x", &hostile, &long.to_uppercase(), &format!("{long}-2")] {
            assert_eq!(Digest::of_tag(tag), None, "{tag}");
        }
    }

    #[test]
    fn a_file_has_the_digest_of_its_bytes() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&path).unwrap(), expected);
    }
}
