//! Noise in and latents out, to lay our numbers beside another implementation's.

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::fixture::Home;

/// A noise file for the story of the fixture: every entry of one value, or 16-bit zeros.
fn write_noise(path: &Path, value: f32, dtype: Dtype) {
    let mut shapes = BTreeMap::new();
    for (shot, chunks) in [1, 2].into_iter().enumerate() {
        shapes.insert(format!("shot{shot}.initial"), vec![3 * chunks, 16, 10, 16]);
        for (chunk, step) in (0..chunks).flat_map(|chunk| (1..4).map(move |step| (chunk, step))) {
            shapes.insert(format!("shot{shot}.chunk{chunk}.step{step}"), vec![3, 16, 10, 16]);
        }
    }
    let bytes = |shape: &[usize]| {
        let count = shape.iter().product();
        match dtype {
            Dtype::F32 => value.to_le_bytes().repeat(count),
            _ => vec![0; 2 * count],
        }
    };
    let data: Vec<_> =
        shapes.iter().map(|(name, shape)| (name, shape.clone(), bytes(shape))).collect();
    let views = data
        .iter()
        .map(|(name, shape, bytes)| (name, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Shapes and values of a latents file.
fn latents(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| {
        data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let entry = |(name, view): (String, TensorView<'_>)| {
        assert_eq!(view.dtype(), Dtype::F32);
        (name, (view.shape().to_vec(), values(view.data())))
    };
    file.tensors().into_iter().map(entry).collect()
}

fn generated(home: &Home, flags: &[&str]) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let command = ["generate", "story.toml", "--save-latents", "l.safetensors"];
    home.done(&[&command, flags].concat());
    latents(&home.path("l.safetensors"))
}

#[test]
fn latents_are_saved_for_every_shot_with_what_it_remembered() {
    let latents = generated(&Home::with_story(), &[]);
    let shapes: Vec<_> =
        latents.iter().map(|(name, (shape, _))| (name.as_str(), shape.as_slice())).collect();
    let expected: [(&str, &[usize]); 4] = [
        ("shot0.context", &[6, 16, 10, 16]),
        ("shot0.latents", &[3, 16, 10, 16]),
        ("shot1.context", &[6, 16, 10, 16]),
        ("shot1.latents", &[6, 16, 10, 16]),
    ];
    assert_eq!(shapes, expected);
    assert!(latents["shot0.context"].1.iter().all(|&value| value == 0.0), "nothing to remember");
    assert!(latents["shot1.context"].1.iter().any(|&value| value != 0.0));
}

#[test]
fn given_noise_takes_the_place_of_the_seed_in_any_dtype() {
    let home = Home::with_story();
    write_noise(&home.path("zero.safetensors"), 0.0, Dtype::F32);
    write_noise(&home.path("half.safetensors"), 0.0, Dtype::F16);
    write_noise(&home.path("one.safetensors"), 1.0, Dtype::F32);
    let zero = generated(&home, &["--noise", "zero.safetensors", "--seed", "1"]);
    assert_eq!(generated(&home, &["--noise", "half.safetensors", "--seed", "2"]), zero);
    assert_ne!(generated(&home, &["--noise", "one.safetensors"]), zero);
}

#[test]
fn noise_that_does_not_fit_is_refused_before_anything_is_made() {
    let home = Home::with_story();
    write_noise(&home.path("nan.safetensors"), f32::NAN, Dtype::F32);
    home.write("text.safetensors", "once upon a time");
    write_noise(&home.path("n.safetensors"), 0.0, Dtype::F32);
    let refused = |flags: &[&str]| home.refused(2, &[&["generate", "story.toml"], flags].concat());
    assert_eq!(
        refused(&["--noise", "nan.safetensors"]),
        "error: the noise of shot 0, chunk 0, step 0 is not finite: nan.safetensors"
    );
    assert!(refused(&["--noise", "text.safetensors"]).contains("not a whole safetensors file"));
    assert!(refused(&["--noise", "none.safetensors"]).contains("cannot read the noise"));
    assert_eq!(
        refused(&["--noise", "n.safetensors", "--size", "64x48"]),
        "error: the given noise shot0.initial has shape [3, 16, 10, 16], \
         expected [3, 16, 6, 8]: n.safetensors"
    );
}
