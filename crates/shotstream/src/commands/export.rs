//! `shotstream export`: a model file with its weights stored in another form, or merged with
//! adapters.

use burn::tensor::Device;
use shotstream_models::{bundle::Bundle, checkpoint::StoredDtype};

use crate::{
    cli::{ExportArgs, Stored},
    failure::{Blame as _, WrongUse},
    lora::merged,
    whole_file::is_device,
};

/// Read the model and write it.
pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let ExportArgs { from, to, loras, dtype } = args;
    if is_device(to) {
        return Err(WrongUse::error(format!("a model is written to a file: {}", to.display())));
    }
    let mut bundle = Bundle::from_file(from, &Device::flex()).wrong_use()?;
    bundle.dit = merged(bundle.dit, &loras.loras)?;
    let dtype = match dtype {
        Stored::F32 => StoredDtype::F32,
        Stored::F16 => StoredDtype::F16,
    };
    Ok(bundle.save(to, dtype)?)
}
