//! Files in the form of llama.cpp, made by hand.

use std::path::Path;

use shotstream_models::checkpoint::Weights;

const F32: u32 = 0;
const Q8_0: u32 = 8;

/// The last place a tensor could begin at.
const FAR: u64 = u64::MAX - 31;

/// A tensor of the list: name, sides from the innermost on, type, offset.
type Listed<'t> = (&'t str, &'t [u64], u32, u64);

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A setting of a type with the bytes of its value.
fn setting(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(name)[..], &kind.to_le_bytes(), value].concat()
}

/// A file of version 3 with these settings and tensors, and so many bytes of data.
fn file(settings: &[Vec<u8>], tensors: &[Listed<'_>], data: usize) -> Vec<u8> {
    let counts = [tensors.len() as u64, settings.len() as u64].map(u64::to_le_bytes).concat();
    let mut file = [&b"GGUF\x03\0\0\0"[..], &counts, &settings.concat()].concat();
    for (name, sides, kind, offset) in tensors {
        file.extend(text(name));
        file.extend((sides.len() as u32).to_le_bytes());
        file.extend(sides.iter().flat_map(|side| side.to_le_bytes()));
        file.extend(kind.to_le_bytes());
        file.extend(offset.to_le_bytes());
    }
    file.resize(file.len().next_multiple_of(32) + data, 0);
    file
}

fn parse(bytes: &[u8]) -> Result<Weights<'_>, String> {
    Weights::parse(bytes, Path::new("a.gguf")).map_err(|error| error.to_string())
}

/// What is wrong with a file.
fn refusal(bytes: &[u8]) -> String {
    let error = parse(bytes).expect_err("a hostile file");
    let reason = error.strip_prefix("not a whole GGUF file (");
    let reason = reason.and_then(|reason| reason.strip_suffix("): a.gguf"));
    reason.unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn tensors_are_found_behind_settings_of_every_type() {
    let words = [&8_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &text("a"), &text("")].concat();
    let numbers = [&5_u32.to_le_bytes()[..], &3_u64.to_le_bytes(), &[0; 12]].concat();
    let settings = [
        setting("a", 0, &[1]),
        setting("b", 3, &[1, 2]),
        setting("c", 6, &[0; 4]),
        setting("d", 12, &[0; 8]),
        setting("e", 8, &text("general.alignment")),
        setting("f", 9, &words),
        setting("g", 9, &numbers),
        setting("general.alignment", 4, &64_u32.to_le_bytes()),
    ];
    let mut bytes = file(&settings, &[("w", &[2, 3], F32, 64)], 256);
    let data = bytes.len() - 256;
    let start = data.next_multiple_of(64) + 64;
    for (at, number) in (0..6).map(|at| (start + 4 * at, at as f32)) {
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }
    let weights = parse(&bytes).unwrap();
    assert_eq!(weights.shape("w").unwrap(), [3, 2]);
    assert_eq!(weights.values("w").unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[test]
fn lists_that_cannot_be_followed_are_refused() {
    let counted = |tensors: u64, settings: u64| {
        let counts = [tensors, settings].map(u64::to_le_bytes).concat();
        [&b"GGUF\x03\0\0\0"[..], &counts, &[0; 64]].concat()
    };
    let version = |version: u8| [&b"GGUF"[..], &[version, 0, 0, 0], &[0; 16]].concat();
    let endless = [&8_u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    let nested = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
    let wide = [&10_u32.to_le_bytes()[..], &(u64::MAX / 2).to_le_bytes()].concat();
    let cases = [
        (version(1), "version 1, expected 2 or 3"),
        (b"GGUF\0\0\0\x03\0\0\0\0".to_vec(), "version 50331648, expected 2 or 3"),
        (b"GGUF\x03\0\0\0\x01".to_vec(), "its lists have no end"),
        (counted(1 << 40, 0), "1099511627776 tensors and 0 settings, at most 65536 of each"),
        (
            counted(0, u64::MAX),
            "0 tensors and 18446744073709551615 settings, at most 65536 of each",
        ),
        (file(&[setting("a", 8, &u64::MAX.to_le_bytes())], &[], 0), "its lists have no end"),
        (file(&[setting("a", 9, &endless)], &[], 64), "its lists have no end"),
        (file(&[setting("a", 9, &wide)], &[], 64), "its lists have no end"),
        (file(&[setting("a", 9, &nested)], &[], 64), "a setting of the type 9"),
        (file(&[setting("a", 99, &[])], &[], 64), "a setting of the type 99"),
        (
            file(&[setting("general.alignment", 4, &3_u32.to_le_bytes())], &[], 64),
            "an alignment of 3 bytes",
        ),
        (file(&[setting("a\nb", 0, &[0])], &[], 64), "a name is no plain text"),
        (
            file(&[setting(&"a".repeat(2000), 0, &[0])], &[], 64),
            "a name of 2000 bytes, at most 1024",
        ),
    ];
    for (bytes, expected) in cases {
        assert_eq!(refusal(&bytes), expected);
    }
}

#[test]
fn tensors_that_lie_nowhere_are_refused() {
    let one = |sides: &[u64], kind, offset| file(&[], &[("w", sides, kind, offset)], 64);
    let types = "expected F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q5_K or Q6_K";
    let cases = [
        (one(&[1; 5], F32, 0), "tensor w has 5 sides, at most 4".to_owned()),
        (one(&[4], 99, 0), format!("tensor w is of the type 99, {types}")),
        (one(&[u64::MAX, 2], F32, 0), format!("tensor w of F32 has the sides [{}, 2]", u64::MAX)),
        (one(&[1 << 62, 1], F32, 0), format!("tensor w of F32 has the sides [{}, 1]", 1_u64 << 62)),
        (one(&[31], Q8_0, 0), "tensor w of Q8_0 has the sides [31]".to_owned()),
        (one(&[1 << 60], F32, 0), "tensor w at 0 does not lie in 128 bytes".to_owned()),
        (one(&[17], F32, 0), "tensor w at 0 does not lie in 128 bytes".to_owned()),
        (one(&[1], F32, 64), "tensor w at 64 does not lie in 128 bytes".to_owned()),
        (one(&[1], F32, 3), "tensor w at 3 does not lie in 128 bytes".to_owned()),
        (one(&[1], F32, FAR), format!("tensor w at {FAR} does not lie in 128 bytes")),
    ];
    for (bytes, expected) in cases {
        assert_eq!(refusal(&bytes), expected);
    }
    let twice = file(&[], &[("w", &[1], F32, 0), ("w", &[1], F32, 32)], 64);
    let error = parse(&twice).expect_err("two tensors of one name");
    assert_eq!(error, "tensor w is in the file twice: a.gguf");
    let names: Vec<_> = (0..200).map(|at| format!("w{at}")).collect();
    let all: Vec<Listed<'_>> = names.iter().map(|name| (&**name, &[4096][..], F32, 0)).collect();
    let error = refusal(&file(&[], &all, 4 * 4096));
    assert_eq!(error, "its tensors claim 3276800 bytes");
}

#[test]
fn a_tensor_of_nothing_holds_nothing() {
    let bytes = file(&[], &[("w", &[0, 5], F32, 0), ("q", &[0, 2], Q8_0, 0)], 32);
    let weights = parse(&bytes).unwrap();
    assert_eq!(weights.values("w").unwrap(), [0.0; 0]);
    assert_eq!(weights.values("q").unwrap(), [0.0; 0]);
}
