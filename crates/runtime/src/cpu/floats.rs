//! Values of which tasks read some and write others at the same time.

use std::{
    alloc::{self, Layout},
    marker::PhantomData,
    ptr::NonNull,
    slice,
};

/// Bytes of a cache line, and of the widest vector.
const ALIGNMENT: usize = 64;

/// A fixed number of values that begin on a cache line.
#[derive(Debug)]
pub(crate) struct Floats {
    start: NonNull<f32>,
    len: usize,
}

#[expect(unsafe_code, reason = "the values are owned and reached through a pointer")]
// SAFETY: the pointer is to an allocation that this value alone owns.
unsafe impl Send for Floats {}
#[expect(unsafe_code, reason = "the values are owned and reached through a pointer")]
// SAFETY: a shared reference reads only, but for [`Cells`], whose writes are unsafe on their own.
unsafe impl Sync for Floats {}

impl Floats {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let layout = Self::layout(len);
        #[expect(unsafe_code, reason = "an alignment that no Vec of floats has")]
        // SAFETY: the layout has a size that is not zero.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| alloc::handle_alloc_error(layout));
        Self { start: start.cast(), len }
    }

    fn layout(len: usize) -> Layout {
        let bytes = len.max(1) * size_of::<f32>();
        Layout::from_size_align(bytes, ALIGNMENT).expect("fewer bytes than there are addresses")
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        #[expect(unsafe_code, reason = "the values are owned and reached through a pointer")]
        // SAFETY: `len` values were allocated and set to zero.
        unsafe {
            slice::from_raw_parts(self.start.as_ptr(), self.len)
        }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        #[expect(unsafe_code, reason = "the values are owned and reached through a pointer")]
        // SAFETY: as in `as_slice`, and the borrow is exclusive.
        unsafe {
            slice::from_raw_parts_mut(self.start.as_ptr(), self.len)
        }
    }

    /// The values as several tasks reach them at once.
    pub(crate) fn cells(&self) -> Cells<'_> {
        Cells { start: self.start.as_ptr(), len: self.len, values: PhantomData }
    }
}

impl Drop for Floats {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "the values are owned and reached through a pointer")]
        // SAFETY: allocated in `zeros` with this layout, and owned.
        unsafe {
            alloc::dealloc(self.start.as_ptr().cast(), Self::layout(self.len));
        }
    }
}

/// A view of values that tasks share: bounds are checked, who writes where is the list's promise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cells<'a> {
    start: *mut f32,
    len: usize,
    values: PhantomData<&'a [f32]>,
}

#[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
// SAFETY: every access through it is unsafe and promises that no other task writes there.
unsafe impl Send for Cells<'_> {}
#[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
// SAFETY: as above.
unsafe impl Sync for Cells<'_> {}

#[expect(unsafe_code, reason = "tasks write disjoint places of one buffer")]
impl<'a> Cells<'a> {
    /// A view of values that are borrowed for as long.
    pub(super) fn new(values: &'a mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), len: values.len(), values: PhantomData }
    }

    pub(super) fn len(self) -> usize {
        self.len
    }

    /// The values from `start` on.
    #[inline(always)]
    pub(super) fn from(self, start: usize) -> Self {
        assert!(start <= self.len, "value {start} of {}", self.len);
        // The pointer stays inside the allocation, or at its end.
        Self { start: self.start.wrapping_add(start), len: self.len - start, ..self }
    }

    pub(super) fn as_ptr(self) -> *const f32 {
        self.start
    }

    /// `len` values from `start` on.
    ///
    /// # Safety
    /// Nobody writes any of them while the result lives.
    #[inline(always)]
    pub(super) unsafe fn read(self, start: usize, len: usize) -> &'a [f32] {
        assert!(start + len <= self.len, "{len} values at {start} of {}", self.len);
        // SAFETY: inside the allocation, and the caller promises that nobody writes.
        unsafe { slice::from_raw_parts(self.start.add(start), len) }
    }

    /// `len` values from `start` on.
    ///
    /// # Safety
    /// Nobody else reads or writes any of them while the result lives.
    #[inline(always)]
    pub(super) unsafe fn write(self, start: usize, len: usize) -> &'a mut [f32] {
        assert!(start + len <= self.len, "{len} values at {start} of {}", self.len);
        // SAFETY: inside the allocation, and the caller promises to be alone.
        unsafe { slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// `len` halves of places, from the `first` behind `start` on.
    ///
    /// # Safety
    /// As of [`Self::write`].
    #[inline(always)]
    pub(super) unsafe fn write_halves(
        self,
        start: usize,
        first: usize,
        len: usize,
    ) -> &'a mut [u16] {
        let end = start + (first + len).div_ceil(2);
        assert!(end <= self.len, "halves up to {end} of {}", self.len);
        // SAFETY: inside the allocation, any bits are a number, and the caller promises to be alone.
        unsafe { slice::from_raw_parts_mut(self.start.add(start).cast::<u16>().add(first), len) }
    }

    /// Set one of the two halves of a place.
    ///
    /// # Safety
    /// Nobody else reads or writes it at the same time.
    #[inline(always)]
    pub(super) unsafe fn set_half(self, at: usize, second: bool, half: u16) {
        assert!(at < self.len, "place {at} of {}", self.len);
        // SAFETY: inside the allocation, and the caller promises to be alone with this half.
        unsafe { self.start.add(at).cast::<u16>().add(usize::from(second)).write(half) }
    }
}
