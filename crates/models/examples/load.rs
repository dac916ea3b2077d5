//! How long one network of the published sizes takes to load, and how much memory.
//!
//! ```text
//! python tools/goldens/published.py --full FOLDER
//! cargo run --release -p shotstream-models --example load -- dit FOLDER/wan/diffusion_pytorch_model.safetensors
//! ```
//!
//! Networks are `dit`, `vae` and `text`.

#![expect(clippy::print_stdout, reason = "the numbers are what this program is for")]

use std::{error::Error, fs, path::Path, time::Instant};

use burn::{module::Module, tensor::Device};
use shotstream_models::{
    checkpoint::{Naming, Network, Weights},
    dit::{Dit, DitConfig},
    umt5::{Umt5, Umt5Config},
    vae::{Vae, VaeConfig},
};

/// What stands before the names in the files of ShotStream's training.
const TRAINED: &str = "generator.model.";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [network, path] = arguments.as_slice() else {
        return Err("expected a network and a file".into());
    };
    let (device, path) = (Device::flex(), Path::new(path));
    match network.as_str() {
        "dit" => load(Dit::new(&DitConfig::wan_1_3b(), &device), Network::Dit, path),
        "vae" => load(Vae::new(&VaeConfig::wan(), &device), Network::Vae, path),
        "text" => load(Umt5::new(&Umt5Config::wan(), &device), Network::Umt5, path),
        other => Err(format!("expected dit, vae or text, found {other}").into()),
    }
}

fn load<M: Module>(module: M, network: Network, path: &Path) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let weights = Weights::open(path)?;
    let opened = start.elapsed().as_secs_f64();
    let trained = weights.tensors().any(|(name, ..)| name.starts_with(TRAINED));
    let prefix = if trained { TRAINED } else { "" };
    let tensors = weights.tensors().filter(|(name, ..)| name.starts_with(prefix)).count();
    let module = weights.load_named(module, network, Naming::Official, prefix)?;
    let loaded = start.elapsed().as_secs_f64();
    let (numbers, size) = (module.num_params(), weights.size_bytes() as f64 / 1e6);
    println!("{}: {size:.0} MB, {tensors} tensors, {numbers} numbers", path.display());
    println!("opened in {opened:.3} s, loaded in {loaded:.1} s");
    println!("most memory {:.0} MB, {:.0} MB of it numbers", peak()?, numbers as f64 * 4e-6);
    Ok(())
}

/// The most memory held so far, in megabytes, where the system tells.
fn peak() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kibibytes.ok_or("the system does not tell")?.trim().parse::<f64>()? * 1.024e-3)
}
