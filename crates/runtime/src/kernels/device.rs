//! What a device must offer.

use std::{fmt::Debug, ops::Range};

use shotstream_engine::network::NetworkError;
use thiserror::Error;

use super::{Keeping, Meets, PageShape, Precision, Section, Sight};
use crate::weights::WeightsError;

/// A device that cannot do what it is asked for: one sentence that says why.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct DeviceError(pub String);

impl From<DeviceError> for NetworkError {
    fn from(error: DeviceError) -> Self {
        Self::Failed { network: "device", source: Box::new(error) }
    }
}

/// A device.
pub trait Kernels: Debug + Send + Sync {
    /// A matrix of weights in the form its products read it.
    type Matrix: Debug + Send + Sync;
    /// The memory of one pass: a fixed number of values.
    type Memory: Debug + Send;
    /// Keys and values of some tokens in every layer.
    type Page: Debug + Send + Sync;

    /// In what products and attention multiply.
    fn precision(&self) -> Precision;

    /// How it keeps the weights that tokens meet.
    fn keeping(&self) -> Keeping;

    /// The widest head that attention has room for.
    fn most_width(&self) -> usize;

    /// Refuse heads that are wider.
    ///
    /// # Errors
    /// When attention has no room for a head of this width.
    fn check_head(&self, width: usize) -> Result<(), WeightsError> {
        let most = self.most_width();
        if width <= most { Ok(()) } else { Err(WeightsError::WideHead { most, found: width }) }
    }

    /// The same device for another network, whose work waits for none of this one's.
    ///
    /// # Errors
    /// When the device has no more to give.
    fn beside(&self) -> Result<Self, DeviceError>
    where
        Self: Sized;

    /// Wait until everything is done that was asked for.
    ///
    /// # Errors
    /// When something failed, or the device is lost.
    fn finish(&self) -> Result<(), DeviceError>;

    /// Pack `weight` `[N, K]`, row by row, and `offset`, `[N]`. Of squares, products are made with
    /// three taps for every frame, one for a row of three positions.
    ///
    /// # Errors
    /// As of everything below: when the device has no room left, or is lost.
    fn matrix(
        &self,
        weight: &[f32],
        offset: &[f32],
        meets: Meets,
    ) -> Result<Self::Matrix, DeviceError>;

    /// Memory of `len` places of zeros.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn memory(&self, len: usize) -> Result<Self::Memory, DeviceError>;

    /// Write f32 values from `start` on.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn upload(
        &self,
        memory: &mut Self::Memory,
        start: usize,
        values: &[f32],
    ) -> Result<(), DeviceError>;

    /// Read the f32 values of a range.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn download(
        &self,
        memory: &Self::Memory,
        range: Range<usize>,
        to: &mut [f32],
    ) -> Result<(), DeviceError>;

    /// Copy places that may overlap where they go, which is before them.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn shift(
        &self,
        memory: &mut Self::Memory,
        from: Range<usize>,
        to: usize,
    ) -> Result<(), DeviceError>;

    /// Set the places of a range to zero.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn clear(&self, memory: &mut Self::Memory, range: Range<usize>) -> Result<(), DeviceError>;

    /// A page of zeros.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn page(&self, shape: PageShape) -> Result<Self::Page, DeviceError>;

    /// Run a list, in which no position reads or writes what another one writes in the same
    /// section: the networks of this crate make such lists, and nothing checks it.
    ///
    /// # Errors
    /// As of [`Self::matrix`].
    fn run(
        &self,
        list: &[Section],
        matrices: &[Self::Matrix],
        memory: &mut Self::Memory,
        sight: Sight<'_, Self::Page>,
    ) -> Result<(), DeviceError>;
}
