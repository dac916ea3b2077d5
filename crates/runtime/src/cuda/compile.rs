//! From a text to a program of the card, by NVRTC, which needs no card; what was compiled before is
//! found on disk.

use std::{
    env,
    ffi::{CStr, CString, c_char},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use cudarc::nvrtc::{result, sys};
use sha2::{Digest as _, Sha256};

use super::program::Program;
use crate::kernels::DeviceError;

/// The compiler of programs, for one kind of card.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// As in `sm_90a`.
    architecture: String,
    /// Version of NVRTC.
    version: [i32; 2],
    folder: Option<PathBuf>,
}

/// A program for a card.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What the driver loads, with a zero behind it.
    pub image: Vec<u8>,
    /// What the compiler said.
    pub log: String,
}

/// What a program takes of a multiprocessor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes that a thread keeps in memory because there are not enough registers.
    pub spilled: u32,
    /// Bytes of memory of its own that a thread has.
    pub stack: u32,
}

impl Compiler {
    /// For this kind of card, such as `sm_90a`.
    ///
    /// # Errors
    /// When the library of the compiler is not there.
    pub fn new(architecture: &str) -> Result<Self, DeviceError> {
        #[expect(unsafe_code, reason = "a library is looked for")]
        // SAFETY: the library of the vendor may be loaded at any time.
        if !unsafe { sys::is_culib_present() } {
            let reason = "the compiler of CUDA programs is not installed, expected libnvrtc.so \
                          where libraries are found";
            return Err(DeviceError(reason.to_owned()));
        }
        let mut version = [0; 2];
        let [major, minor] = &mut version;
        #[expect(unsafe_code, reason = "a library is called")]
        // SAFETY: both numbers may be written.
        unsafe { sys::nvrtcVersion(major, minor) }
            .result()
            .map_err(|e| failed("say its version", &e))?;
        Ok(Self { architecture: architecture.to_owned(), version, folder: folder() })
    }

    /// The version of the library.
    #[must_use]
    pub fn version(&self) -> [i32; 2] {
        self.version
    }

    /// Compile a program, or find it on disk.
    ///
    /// # Errors
    /// When the compiler refuses the text.
    pub fn compile(&self, program: &Program) -> Result<Compiled, DeviceError> {
        let text = program.text(false);
        let [major, minor] = self.version;
        let name = digest(&[&text, &self.architecture, &format!("{major}.{minor}")]);
        let path = self.folder.as_ref().map(|folder| folder.join(name).with_extension("cubin"));
        if let Some(image) = path.as_ref().and_then(|path| fs::read(path).ok()) {
            return Ok(Compiled { image, log: String::new() });
        }
        let compiled = self.compile_anew(program, &text)?;
        if let Some(path) = path {
            // What cannot be kept is compiled again the next time.
            drop(keep(&path, &compiled.image));
        }
        Ok(compiled)
    }

    /// Compile a program whatever is on disk, and say what it takes.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn measure(&self, program: &Program) -> Result<Resources, DeviceError> {
        let compiled = self.compile_anew(program, &program.text(false))?;
        if compiled.log.contains("serialized") {
            let reason = format!("products of {program:?} wait for each other: {}", compiled.log);
            return Err(DeviceError(reason));
        }
        Resources::of(&compiled.log).ok_or_else(|| {
            DeviceError(format!(
                "the compiler does not say what {program:?} takes: {}",
                compiled.log
            ))
        })
    }

    #[expect(unsafe_code, reason = "a library is called")]
    fn compile_anew(&self, program: &Program, text: &str) -> Result<Compiled, DeviceError> {
        let name = CString::new(format!("{}.cu", program.entry())).expect("names have no zeros");
        let text = CString::new(text).expect("texts have no zeros");
        let handle = result::create_program(&text, Some(&name))
            .map_err(|e| failed("begin a program", &e))?;
        let options = [
            format!("--gpu-architecture={}", self.architecture),
            "--std=c++17".to_owned(),
            "--ptxas-options=-v".to_owned(),
        ];
        // SAFETY: the program was created above and is destroyed below.
        let compiled = unsafe { result::compile_program(handle, &options) };
        // SAFETY: as above.
        let log = unsafe { result::get_program_log(handle) };
        let log = log.map(|log| said(&log)).unwrap_or_default();
        let image = compiled
            .map_err(|_| {
                DeviceError(format!("cannot compile {program:?} for {}: {log}", self.architecture))
            })
            .and_then(|()| {
                let mut len = 0;
                // SAFETY: the program was compiled, and the number may be written.
                unsafe { sys::nvrtcGetCUBINSize(handle, &mut len) }
                    .result()
                    .map_err(|e| failed("say how large a program is", &e))?;
                let mut image = vec![0u8; len + 1];
                // SAFETY: there is room for as many bytes as it said.
                unsafe { sys::nvrtcGetCUBIN(handle, image.as_mut_ptr().cast::<c_char>()) }
                    .result()
                    .map_err(|e| failed("hand out a program", &e))?;
                Ok(image)
            });
        // SAFETY: nobody uses it any more.
        let _gone = unsafe { result::destroy_program(handle) };
        Ok(Compiled { image: image?, log })
    }
}

impl Resources {
    /// From what the assembler reports of one program.
    fn of(log: &str) -> Option<Self> {
        let number = |before: &str| {
            let end = log.find(before)?;
            let digits = log[..end].trim_end();
            let start = digits.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
            digits[start..].parse::<u32>().ok()
        };
        Some(Self {
            registers: number("registers")?,
            spilled: number("bytes spill stores")? + number("bytes spill loads")?,
            stack: number("bytes stack frame")?,
        })
    }
}

/// What the library calls its errors.
fn failed(what: &str, error: &result::NvrtcError) -> DeviceError {
    DeviceError(format!("the compiler of CUDA programs cannot {what} ({error:?})"))
}

fn said(log: &[c_char]) -> String {
    let bytes: Vec<u8> = log.iter().map(|&c| c.cast_unsigned()).collect();
    let text = CStr::from_bytes_until_nul(&bytes).map(CStr::to_bytes).unwrap_or(&bytes);
    String::from_utf8_lossy(text).trim().to_owned()
}

/// Where compiled programs are kept: SHOTSTREAM_KERNEL_CACHE, or `shotstream/kernels` in the user's
/// cache.
fn folder() -> Option<PathBuf> {
    let named = |key: &str| env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("SHOTSTREAM_KERNEL_CACHE").or_else(|| {
        let caches =
            named("XDG_CACHE_HOME").or_else(|| named("HOME").map(|home| home.join(".cache")))?;
        Some(caches.join("shotstream/kernels"))
    })
}

/// Write a file that is there whole or not at all.
fn keep(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::create_dir_all(folder)?;
    let made = tempfile::NamedTempFile::new_in(folder)?;
    fs::write(made.path(), bytes)?;
    made.persist(path)?;
    Ok(())
}

/// A name for texts that no others have.
pub(super) fn digest(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    }
    let mut name = String::new();
    for byte in &hash.finalize()[..16] {
        write!(name, "{byte:02x}").expect("a string takes all");
    }
    name
}
