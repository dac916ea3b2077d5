//! What programs are given: the structures of `source/`, field by field.

use std::ffi::c_void;

use crate::kernels;

/// `Grid`: where positions begin, in places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Grid {
    start: i64,
    strides: [i64; 3],
}

impl From<kernels::Grid> for Grid {
    fn from(grid: kernels::Grid) -> Self {
        Self { start: grid.start as i64, strides: grid.strides.map(|stride| stride as i64) }
    }
}

/// `Size`: frames, rows, columns.
pub(super) type Size = [i32; 3];

/// Taps of a product at most: three frames of three rows.
pub(super) const MOST_TAPS: usize = 9;

/// `Rows`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(super) struct Rows {
    pub(super) memory: u64,
    pub(super) x: Grid,
    pub(super) y: Grid,
    pub(super) size: Size,
    pub(super) positions: i32,
    pub(super) width: i32,
    pub(super) halves: i32,
    pub(super) scale: i64,
    pub(super) shift: i64,
    pub(super) eps: f32,
    pub(super) silu: i32,
}

/// `Turned`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(super) struct Turned {
    pub(super) memory: u64,
    pub(super) x: Grid,
    pub(super) size: Size,
    pub(super) positions: i32,
    pub(super) heads: i32,
    pub(super) norms: i32,
    pub(super) rotates: i32,
    pub(super) gain: i64,
    pub(super) rotation: Grid,
    pub(super) eps: f32,
    pub(super) factor: f32,
    pub(super) groups: u64,
    pub(super) entries: u64,
    pub(super) layer: i32,
}

/// `Product`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(super) struct Product {
    pub(super) memory: u64,
    pub(super) weights: u64,
    pub(super) offset: u64,
    pub(super) x: Grid,
    pub(super) y: Grid,
    pub(super) onto: Grid,
    pub(super) gate: i64,
    pub(super) size: Size,
    pub(super) positions: i32,
    pub(super) columns: i32,
    pub(super) depth: i32,
    pub(super) terms: i32,
    pub(super) taps: [i64; MOST_TAPS],
    pub(super) then: i32,
    pub(super) halves: i32,
}

/// `Attention`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(super) struct Attention {
    pub(super) memory: u64,
    pub(super) q: Grid,
    pub(super) y: Grid,
    pub(super) size: Size,
    pub(super) of_group: i32,
    pub(super) heads: i32,
    pub(super) groups: u64,
    pub(super) entries: u64,
    pub(super) layer: i32,
    pub(super) halves: i32,
    pub(super) bias: i64,
    pub(super) of_head: i64,
}

/// `Range`: pages of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// `Entry`: one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Entry {
    pub(super) page: u64,
    pub(super) tokens: u64,
}

/// The argument of a launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Argument {
    /// Of norms and copies.
    Rows(Rows),
    /// Of queries and keys.
    Turned(Turned),
    /// Of products.
    Product(Product),
    /// Of attention.
    Attention(Attention),
}

impl Argument {
    /// Where it lies.
    pub(super) fn pointer(&self) -> *const c_void {
        match self {
            Self::Rows(rows) => std::ptr::from_ref(rows).cast(),
            Self::Turned(turned) => std::ptr::from_ref(turned).cast(),
            Self::Product(product) => std::ptr::from_ref(product).cast(),
            Self::Attention(attention) => std::ptr::from_ref(attention).cast(),
        }
    }
}
