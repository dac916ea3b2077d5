//! Products of matrices that lie in slices, on the calling thread.

use gemm::{Parallelism, gemm};

/// `rows × columns` values at fixed strides in a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    size: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// `rows` rows of `columns` values, one row every `stride` values.
    pub(super) fn new(values: &'a [f32], [rows, columns]: [usize; 2], stride: usize) -> Self {
        assert_inside(values.len(), [rows, columns], stride);
        Self { values, size: [rows, columns], strides: [stride, 1] }
    }

    /// Rows become columns.
    pub(super) fn transposed(self) -> Self {
        let ([rows, columns], [down, right]) = (self.size, self.strides);
        Self { size: [columns, rows], strides: [right, down], ..self }
    }
}

/// The transpose of `matrix` in rows of `stride` values; what is beyond its own values is 0.
pub(super) fn transpose(matrix: Matrix<'_>, stride: usize) -> Vec<f32> {
    /// Rows of the matrix, and so neighbours in its transpose, that are taken together.
    const BLOCK: usize = 16;
    let ([rows, columns], [down, right]) = (matrix.size, matrix.strides);
    assert!(rows <= stride && right == 1, "{rows} rows to a stride of {stride}");
    let mut transposed = vec![0.0; columns * stride];
    for first in (0..rows).step_by(BLOCK) {
        let count = BLOCK.min(rows - first);
        let from = &matrix.values[first * down..];
        for column in 0..columns {
            let to = &mut transposed[column * stride + first..][..count];
            for (row, to) in to.iter_mut().enumerate() {
                *to = from[row * down + column];
            }
        }
    }
    transposed
}

/// Where a product goes: rows of values, one row every `stride` values.
#[derive(Debug)]
pub(super) struct MatrixMut<'a> {
    values: &'a mut [f32],
    size: [usize; 2],
    stride: usize,
}

impl<'a> MatrixMut<'a> {
    /// `rows` rows of `columns` values, one row every `stride` values.
    pub(super) fn new(values: &'a mut [f32], size: [usize; 2], stride: usize) -> Self {
        assert_inside(values.len(), size, stride);
        Self { values, size, stride }
    }
}

/// The last of `rows` rows of `columns` values ends inside `len` values, and no two overlap.
fn assert_inside(len: usize, [rows, columns]: [usize; 2], stride: usize) {
    assert!(columns <= stride, "rows of {columns} values overlap at a stride of {stride}");
    let end = rows.checked_sub(1).map_or(0, |last| last * stride + columns);
    assert!(end <= len, "{rows} rows of {columns} values, {stride} apart, in {len} values");
}

/// `to = factor · a b`.
pub(super) fn multiply(to: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, factor: f32) {
    run(to, false, a, b, factor);
}

/// `to += factor · a b`.
pub(super) fn multiply_add(to: MatrixMut<'_>, a: Matrix<'_>, b: Matrix<'_>, factor: f32) {
    run(to, true, a, b, factor);
}

fn run(to: MatrixMut<'_>, add: bool, a: Matrix<'_>, b: Matrix<'_>, factor: f32) {
    let ([rows, inner], [same, columns]) = (a.size, b.size);
    assert_eq!((inner, to.size), (same, [rows, columns]), "sizes of a product");
    let [a_strides, b_strides] = [a, b].map(|matrix| matrix.strides.map(|by| by as isize));
    #[expect(unsafe_code, reason = "the product of the `gemm` crate takes pointers")]
    // SAFETY: the constructors checked that all three matrices lie inside their slices, and the
    // one written to is borrowed mutably, so it overlaps neither the others nor itself.
    unsafe {
        gemm(
            rows,
            columns,
            inner,
            to.values.as_mut_ptr(),
            1,
            to.stride as isize,
            add,
            a.values.as_ptr(),
            a_strides[1],
            a_strides[0],
            b.values.as_ptr(),
            b_strides[1],
            b_strides[0],
            1.0,
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_multiplied_where_they_lie() {
        let a = [1.0, 2.0, 9.0, 3.0, 4.0];
        let b = [5.0, 6.0, 7.0, 8.0];
        let (a, b) = (Matrix::new(&a, [2, 2], 3), Matrix::new(&b, [2, 2], 2));
        let mut to = [0.5; 6];
        multiply(MatrixMut::new(&mut to, [2, 2], 4), a, b, 1.0);
        assert_eq!(to, [19.0, 22.0, 0.5, 0.5, 43.0, 50.0]);
        multiply_add(MatrixMut::new(&mut to, [2, 2], 4), a, b.transposed(), 2.0);
        assert_eq!(to, [19.0 + 34.0, 22.0 + 46.0, 0.5, 0.5, 43.0 + 78.0, 50.0 + 106.0]);
    }

    #[test]
    fn a_transpose_is_padded_with_zeros() {
        let values: Vec<f32> = (0..40).map(|value| value as f32).collect();
        let transposed = transpose(Matrix::new(&values, [20, 1], 2), 24);
        let expected = (0..24).map(|i| if i < 20 { 2.0 * i as f32 } else { 0.0 });
        assert!(transposed.into_iter().eq(expected));
    }

    #[test]
    #[should_panic(expected = "2 rows of 3 values, 4 apart, in 6 values")]
    fn a_matrix_reaching_out_of_its_slice_is_refused() {
        Matrix::new(&[0.0; 6], [2, 3], 4);
    }
}
