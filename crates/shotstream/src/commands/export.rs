//! `shotstream export`: a model file with its weights stored in another form, or merged with
//! adapters.

use std::path::Path;

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
    let bundle = merged(read(from)?, &loras.loras)?;
    let dtype = match dtype {
        Stored::F32 => StoredDtype::F32,
        Stored::F16 => StoredDtype::F16,
    };
    Ok(bundle.save(to, dtype)?)
}

fn read(path: &Path) -> anyhow::Result<Bundle> {
    Bundle::from_file(path, &Device::flex()).wrong_use()
}
