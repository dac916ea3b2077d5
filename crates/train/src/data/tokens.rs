//! Captions of a batch as token ids, ready for a text encoder that may learn.
//!
//! | letter | means |
//! |---|---|
//! | `B` | samples |
//! | `N` | captions of a sample |
//! | `L` | tokens of a caption |
//! | `D` | width of a text embedding |

use burn::tensor::{Device, Int, Tensor, TensorData};
use shotstream_models::{tokenizer::Tokenizer, umt5::Umt5};

/// Captions of a batch, padded to one length.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// `[B × N, L]`.
    pub ids: Tensor<2, Int>,
    /// Tokens of each caption.
    pub lengths: Vec<usize>,
    /// Captions of a sample, `N`.
    pub captions: usize,
}

impl Tokens {
    /// `B × N` prompts, `N` being the number beside them, as `length` ids each.
    pub fn new(
        tokenizer: &Tokenizer,
        length: usize,
        (prompts, captions): (&[String], usize),
        device: &Device,
    ) -> Self {
        let encode = |prompt: &String| {
            tokenizer.encode(prompt, length).expect("a word-level tokenizer reads any text")
        };
        let codes: Vec<_> = prompts.iter().map(encode).collect();
        let ids: Vec<_> =
            codes.iter().flat_map(|code| code.ids.iter().map(|&id| i64::from(id))).collect();
        Self {
            ids: Tensor::from_data(TensorData::new(ids, [prompts.len(), length]), device),
            lengths: codes.iter().map(|code| code.length).collect(),
            captions,
        }
    }

    /// Embeddings `[B, N, L, D]`.
    pub fn embed(&self, text: &Umt5) -> Tensor<4> {
        let embedded = text.forward(self.ids.clone(), &self.lengths);
        let [rows, length, width] = embedded.dims();
        embedded.reshape([rows / self.captions, self.captions, length, width])
    }
}
