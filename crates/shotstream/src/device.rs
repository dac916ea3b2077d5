//! The device that networks run on.

use shotstream_models::fast::{Cpu, Keeping, Kernels as _, Precision};
#[cfg(feature = "cuda")]
use shotstream_models::fast::{Cuda, Driver};

use crate::{
    cli::{DeviceName, ModelArgs, PrecisionName},
    failure::WrongUse,
};

/// A device, ready for networks.
#[derive(Clone, Debug)]
pub(crate) enum Device {
    /// The processor.
    Cpu(Cpu),
    /// An NVIDIA card.
    #[cfg(feature = "cuda")]
    Cuda(Cuda<Driver>),
}

/// Go on with the kernels of a device, whichever it is.
macro_rules! with_kernels {
    ($device:expr, $kernels:ident => $go_on:expr) => {
        match $device {
            $crate::device::Device::Cpu($kernels) => $go_on,
            #[cfg(feature = "cuda")]
            $crate::device::Device::Cuda($kernels) => $go_on,
        }
    };
}
pub(crate) use with_kernels;

impl Device {
    /// The processor, in f32.
    pub(crate) fn processor() -> Self {
        Self::Cpu(Cpu::new())
    }

    /// The device that flags ask for.
    ///
    /// # Errors
    /// When this build or this machine has no such device, or it does not compute as asked.
    pub(crate) fn open(args: &ModelArgs) -> anyhow::Result<Self> {
        let (precision, keeping) = match args.precision {
            Some(PrecisionName::F16) => {
                let reason =
                    "networks compute in f32 and bf16, expected --precision f32, bf16 or int8";
                return Err(WrongUse::error(reason));
            }
            None | Some(PrecisionName::F32) => (Precision::F32, Keeping::Whole),
            Some(PrecisionName::Bf16) => (Precision::Bf16, Keeping::Whole),
            Some(PrecisionName::Int8) => (Precision::Bf16, Keeping::Bytes),
        };
        let suits_card = matches!(args.precision, None | Some(PrecisionName::Bf16));
        match args.device {
            DeviceName::Cuda if !suits_card => {
                let reason = "a card multiplies in bf16 and keeps its weights in it, expected \
                              --precision bf16 or --device cpu";
                return Err(WrongUse::error(reason));
            }
            DeviceName::Cuda => return card(),
            // A machine without a card has a processor.
            DeviceName::Auto if suits_card && cfg!(feature = "cuda") => {
                if let Ok(card) = card() {
                    return Ok(card);
                }
            }
            DeviceName::Auto | DeviceName::Cpu => {}
        }
        Ok(Self::Cpu(Cpu::new().in_precision(precision).keep(keeping)))
    }

    /// In what it multiplies, as flags call it.
    pub(crate) fn precision(&self) -> &'static str {
        with_kernels!(self, kernels => match kernels.keeping() {
            Keeping::Whole => kernels.precision().name(),
            Keeping::Bytes => "int8",
        })
    }

    /// What people call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Cpu(_) => "cpu".to_owned(),
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.card().name().to_owned(),
        }
    }

    /// Bytes that are taken of a device other than the processor.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Cpu(_) => 0,
            #[cfg(feature = "cuda")]
            Self::Cuda(cuda) => cuda.card().memory().map_or(0, |[free, all]| (all - free) as u64),
        }
    }
}

#[cfg(feature = "cuda")]
fn card() -> anyhow::Result<Device> {
    Ok(Device::Cuda(Cuda::open(0)?))
}

#[cfg(not(feature = "cuda"))]
fn card() -> anyhow::Result<Device> {
    let reason = "this program was built for the processor only, expected --device cpu, or a \
                  program built with --features cuda";
    Err(WrongUse::error(reason))
}
