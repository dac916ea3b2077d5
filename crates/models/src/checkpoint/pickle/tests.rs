//! Programs a pickle may be, and what they are refused with.

use proptest::prelude::*;

use super::*;

/// A program of protocol 2 that ends with what is on the stack.
fn program(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02", body, b"."].concat()
}

fn refusal(body: &[u8]) -> String {
    match tensors(&program(body)).expect_err("a bad program") {
        PickleError::Refused(what) => format!("refused {what}"),
        PickleError::Duplicate(name) => format!("twice {name}"),
        PickleError::Malformed(reason) => reason,
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = (text.len() as u32).to_le_bytes();
    [b"X", &length[..], text.as_bytes()].concat()
}

/// A tensor of two by three f32 values in storage 0.
fn tensor() -> Vec<u8> {
    let storage = [
        b"((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        b"K\x06tQ".to_vec(),
    ];
    let place = b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89Nt".to_vec();
    [b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(), storage.concat(), place, b"R".to_vec()]
        .concat()
}

#[test]
fn nested_dictionaries_become_names_with_dots() {
    let inner = [b"}(".to_vec(), text("w"), tensor(), b"u".to_vec()].concat();
    let body = [
        b"}(".to_vec(),
        text("a"),
        inner,
        b"K\x07".to_vec(),
        tensor(),
        text("step"),
        b"Nu".to_vec(),
    ]
    .concat();
    let found = tensors(&program(&body)).unwrap();
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a.w", "7"]);
    let expected = PickledTensor {
        key: "0".to_owned(),
        dtype: Dtype::F32,
        offset: 0,
        shape: vec![2, 3],
        strides: vec![3, 1],
    };
    assert_eq!(found[0].1, expected);
}

#[test]
fn a_program_that_would_run_a_command_is_refused_by_the_name_of_what_it_calls() {
    let body = [b"cos\nsystem\n(".to_vec(), text("rm -r /"), b"tR".to_vec()].concat();
    assert_eq!(refusal(&body), "refused os.system");
    let body = [text("builtins"), text("eval"), b"\x93".to_vec()].concat();
    assert_eq!(refusal(&body), "refused builtins.eval");
    assert_eq!(refusal(b"cargparse\nNamespace\n)\x81"), "refused argparse.Namespace");
    assert_eq!(refusal(b"ios\nsystem\n"), "instruction 0x69 in its pickle");
}

#[test]
fn a_name_that_stands_twice_is_refused() {
    let body = [b"}(".to_vec(), text("w"), tensor(), text("w"), tensor(), b"u".to_vec()].concat();
    assert_eq!(refusal(&body), "twice w");
}

#[test]
fn nonsense_is_told_in_words() {
    assert_eq!(refusal(b"N"), "expected a dictionary of tensors, found another value");
    assert_eq!(refusal(b""), "its pickle takes too much");
    assert_eq!(refusal(b"h\x05"), "value 5 of its pickle was never made");
    assert_eq!(refusal(b"t"), "a mark is missing in its pickle");
    assert_eq!(refusal(b"]Nb"), "its pickle sets attributes of what has none");
    assert_eq!(refusal(b"X\xff\xff\xff\xff"), "its pickle ends too early");
}

#[test]
fn a_dictionary_that_holds_itself_is_read_to_a_depth_and_no_further() {
    let body =
        [b"}q\x00(".to_vec(), text("a"), b"h\x00".to_vec(), text("w"), tensor(), b"u".to_vec()]
            .concat();
    let found = tensors(&program(&body)).unwrap();
    assert_eq!(found.len(), DEEPEST + 1);
}

#[test]
fn dictionaries_that_multiply_each_other_are_stopped() {
    // Six levels, each with a hundred references to the one below.
    let mut body = b"}q\x00".to_vec();
    for level in 1..=6_u8 {
        body.extend(b"}(");
        for key in 0..100 {
            body.extend([b"K".as_slice(), &[key], b"h", &[level - 1]].concat());
        }
        body.extend([b"uq".as_slice(), &[level]].concat());
    }
    assert_eq!(refusal(&body), format!("more than {MOST_TENSORS} tensors"));
    let body = [b"]q\x00", b"h\x00h\x00\x86a".repeat(MOST_VALUES).as_slice()].concat();
    assert_eq!(refusal(&body), format!("more than {MOST_VALUES} values in its pickle"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_program_ends_without_a_panic(body in prop::collection::vec(any::<u8>(), 0..80)) {
        drop(tensors(&body));
    }

    #[test]
    fn any_sequence_of_instructions_ends_without_a_panic(
        steps in prop::collection::vec(prop::sample::select(STEPS), 0..60),
    ) {
        drop(tensors(&program(&steps.concat())));
    }
}

/// Whole instructions, so that programs get further than to their first error.
const STEPS: &[&[u8]] = &[
    b"(",
    b"0",
    b"1",
    b"N",
    b"\x88",
    b"K\x01",
    b"K\x02",
    b"J\xff\xff\xff\xff",
    b"\x8a\x01\x03",
    b"X\x01\0\0\0a",
    b"X\x07\0\0\0storage",
    b"]",
    b"}",
    b")",
    b"t",
    b"\x85",
    b"\x86",
    b"\x87",
    b"a",
    b"e",
    b"s",
    b"u",
    b"q\0",
    b"q\x01",
    b"h\0",
    b"h\x01",
    b"\x94",
    b"Q",
    b"R",
    b"b",
    b"ctorch\nFloatStorage\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch._utils\n_rebuild_parameter\n",
    b"ccollections\nOrderedDict\n",
    b"ctorch\nSize\n",
];
