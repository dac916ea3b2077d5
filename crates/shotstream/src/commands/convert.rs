//! `shotstream convert`: a model in another layout, bit for bit.

use std::path::Path;

use shotstream_models::stored::Layout;

use crate::{
    cli::{ConvertArgs, LayoutName},
    failure::WrongUse,
    model::ModelFile,
    whole_file::is_device,
};

/// Copy the model.
pub(crate) fn run(args: &ConvertArgs) -> anyhow::Result<()> {
    let to: &Path = &args.to;
    if is_device(to) {
        return Err(WrongUse::error(format!("a model is written to a file: {}", to.display())));
    }
    let layout = match args.layout {
        LayoutName::Bundle => Layout::Bundle,
        LayoutName::Official => Layout::Official,
        LayoutName::Diffusers => Layout::HuggingFace,
    };
    Ok(ModelFile::open(&args.from)?.stored.write(to, layout)?)
}
