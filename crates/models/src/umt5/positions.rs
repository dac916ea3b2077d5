//! Relative positions: which row of a block's table a query reads for a key.
//!
//! | letter | means | umT5-XXL |
//! |---|---|---|
//! | `S` | tokens of the longest caption | at most 512 |
//!
//! Method: T5, arXiv 1910.10683.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::Umt5Config;

/// Bucket of the distance of every key to every query, `[S, S]`, queries first.
pub(super) fn relative_buckets(
    config: &Umt5Config,
    tokens: usize,
    device: &Device,
) -> Tensor<2, Int> {
    let buckets: Vec<i64> = (0..tokens)
        .flat_map(|query| (0..tokens).map(move |key| (query, key)))
        .map(|(query, key)| config.positions().bucket(query, key) as i64)
        .collect();
    Tensor::from_data(TensorData::new(buckets, [tokens, tokens]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_the_table_of_the_reference() {
        let config = Umt5Config::wan();
        let borders = [(8, 8), (12, 9), (16, 10), (23, 11), (32, 12), (46, 13), (64, 14), (91, 15)];
        for distance in 0..600 {
            let expected = borders
                .iter()
                .rev()
                .find(|(border, _)| *border <= distance)
                .map_or(distance, |&(_, bucket)| bucket);
            assert_eq!(config.positions().bucket(distance, 0), expected, "{distance} to the left");
            let right = if distance == 0 { 0 } else { 16 + expected };
            assert_eq!(config.positions().bucket(0, distance), right, "{distance} to the right");
        }
    }
}
