//! Files in the form of `torch.save`, made by hand.

use std::{io::Write as _, path::Path};

use rawzip::{CompressionMethod, ZipArchiveWriter};
use shotstream_models::checkpoint::Weights;

/// Names and bytes of the entries of a zip.
type Entries<'e> = &'e [(&'e str, &'e [u8])];

/// A zip of plain entries.
fn zip(entries: Entries<'_>) -> Vec<u8> {
    packed(entries, CompressionMethod::STORE)
}

/// A zip whose entries say that they were packed by `method`.
fn packed(entries: Entries<'_>, method: CompressionMethod) -> Vec<u8> {
    let mut archive = ZipArchiveWriter::new(Vec::new());
    for (name, data) in entries {
        let (mut entry, config) =
            archive.new_file(name).compression_method(method).start().unwrap();
        let mut writer = config.wrap(&mut entry);
        writer.write_all(data).unwrap();
        let (_, output) = writer.finish().unwrap();
        entry.finish(output).unwrap();
    }
    archive.finish().unwrap()
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn int(number: u32) -> Vec<u8> {
    [b"J", &number.to_le_bytes()[..]].concat()
}

/// A pickle of a dictionary of f32 tensors: name, offset, shape, strides, all of storage 0.
fn pickle(tensors: &[(&str, u32, [u32; 2], [u32; 2])]) -> Vec<u8> {
    let mut program = b"\x80\x02}(".to_vec();
    for (name, offset, shape, strides) in tensors {
        let storage = [text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu")];
        program.extend(text(name));
        program.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        program.extend(storage.concat());
        program.extend([&int(4)[..], b"tQ", &int(*offset)].concat());
        for [a, b] in [shape, strides] {
            program.extend([int(*a), int(*b), b"\x86".to_vec()].concat());
        }
        program.extend(b"\x89NtR");
    }
    program.extend(b"u.");
    program
}

/// Sixteen bytes of four numbers.
fn numbers() -> Vec<u8> {
    [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn parse(bytes: &[u8]) -> Result<Weights<'_>, String> {
    Weights::parse(bytes, Path::new("a.pt")).map_err(|error| error.to_string())
}

fn refusal(entries: Entries<'_>) -> String {
    parse(&zip(entries)).expect_err("a hostile file")
}

#[test]
fn tensors_are_read_wherever_they_begin_and_however_they_lie() {
    let tensors = [
        ("rows", 0, [2, 2], [2, 1]),
        ("columns", 0, [2, 2], [1, 2]),
        ("last", 3, [1, 1], [1, 1]),
        ("none", 0, [0, 2], [2, 1]),
    ];
    let bytes = zip(&[("a/data.pkl", &pickle(&tensors[..3])), ("a/data/0", &numbers())]);
    let weights = parse(&bytes).unwrap();
    assert_eq!(weights.values("rows").unwrap(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(weights.values("columns").unwrap(), [1.0, 3.0, 2.0, 4.0]);
    assert_eq!(weights.values("last").unwrap(), [4.0]);
    let bytes = zip(&[("a/data.pkl", &pickle(&tensors[3..])), ("a/data/0", &numbers())]);
    assert_eq!(parse(&bytes).unwrap().values("none").unwrap(), [0.0; 0]);
}

#[test]
fn a_pickle_that_would_run_a_command_is_refused_by_name() {
    let program = [b"\x80\x02cposix\nsystem\n(".to_vec(), text("touch /tmp/x"), b"tR.".to_vec()];
    let error = refusal(&[("a/data.pkl", &program.concat())]);
    let expected = "the file asks for posix.system, expected nothing but tensors and plain \
                    containers: a.pt";
    assert_eq!(error, expected);
}

#[test]
fn a_zip_bomb_is_not_unpacked() {
    let program = pickle(&[("w", 0, [2, 2], [2, 1])]);
    let entries: [(&str, &[u8]); 2] = [("a/data.pkl", &program), ("a/data/0", &numbers())];
    let error = parse(&packed(&entries, CompressionMethod::DEFLATE)).unwrap_err();
    let expected = "not a whole PyTorch file (its pickle is compressed or encrypted, expected it \
                    plain): a.pt";
    assert_eq!(error, expected);
}

#[test]
fn a_tensor_past_the_end_of_its_storage_is_refused() {
    for (offset, shape, strides) in [
        (1, [2, 2], [2, 1]),
        (0, [3, 2], [2, 1]),
        (0, [2, 2], [3, 1]),
        (u32::MAX >> 1, [1, 1], [1, 1]),
        (0, [1 << 30, 1 << 30], [0, 0]),
        (0, [2, 3], [0, 1]),
    ] {
        let program = pickle(&[("w", offset, shape, strides)]);
        let error = refusal(&[("a/data.pkl", &program), ("a/data/0", &numbers())]);
        let expected = "not a whole PyTorch file (tensor w does not lie within its storage): a.pt";
        assert_eq!(error, expected, "{offset} {shape:?} {strides:?}");
    }
}

#[test]
fn tensors_that_claim_the_same_bytes_again_and_again_are_refused() {
    let names: Vec<String> = (0..2000).map(|index| format!("w{index}")).collect();
    let tensors: Vec<_> = names.iter().map(|name| (name.as_str(), 0, [512, 2], [2, 1])).collect();
    let error = refusal(&[("a/data.pkl", &pickle(&tensors)), ("a/data/0", &[0; 4096])]);
    assert!(error.contains("(its tensors claim 8192000 bytes, at most "), "{error}");
}

#[test]
fn what_is_missing_or_there_twice_is_told() {
    let program = pickle(&[("w", 0, [2, 2], [2, 1])]);
    let twice = pickle(&[("w", 0, [2, 2], [2, 1]), ("w", 0, [2, 2], [2, 1])]);
    let numbers = numbers();
    let cases: [(Entries<'_>, &str); 5] = [
        (&[("a/data.pkl", &program)], "not a whole PyTorch file (no a/data/0 in it): a.pt"),
        (&[("a/data/0", &numbers)], "not a whole PyTorch file (expected one data.pkl in it): a.pt"),
        (
            &[("a/data.pkl", &program), ("b/data.pkl", &program), ("a/data/0", &numbers)],
            "not a whole PyTorch file (expected one data.pkl in it): a.pt",
        ),
        (
            &[("a/data.pkl", &program), ("a/data/0", &numbers), ("a/data/0", &numbers)],
            "not a whole PyTorch file (the entry a/data/0 is there twice): a.pt",
        ),
        (&[("a/data.pkl", &twice), ("a/data/0", &numbers)], "tensor w is in the file twice: a.pt"),
    ];
    for (entries, expected) in cases {
        assert_eq!(refusal(entries), expected);
    }
}

#[test]
fn numbers_with_their_high_byte_first_and_files_of_old_are_refused() {
    let program = pickle(&[("w", 0, [2, 2], [2, 1])]);
    let numbers = numbers();
    let entries: [(&str, &[u8]); 3] =
        [("a/data.pkl", &program), ("a/byteorder", b"big"), ("a/data/0", &numbers)];
    let expected =
        "not a whole PyTorch file (values are \"big\" endian, expected \"little\"): a.pt";
    assert_eq!(refusal(&entries), expected);
    let old = [&[0x80, 2, 0x8a, 10][..], &[0x6c; 40]].concat();
    let error = parse(&old).unwrap_err();
    assert!(
        error.starts_with("not a whole PyTorch file (written by a torch before 1.6"),
        "{error}"
    );
}
