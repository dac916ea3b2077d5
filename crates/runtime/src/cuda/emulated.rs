//! A card that is the processor: the same programs, compiled as C++, one fiber for every thread.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    collections::{HashMap, hash_map::Entry},
    env,
    ffi::c_void,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libloading::Library;

use super::{card::Card, compile, plan::Launch, program::Program};
use crate::kernels::DeviceError;

/// How a program is called: its argument, blocks in each direction, threads of a block, bytes of
/// shared memory.
type Call = unsafe extern "C" fn(*const c_void, *const u32, u32, u32);

/// Programs keep the block at hand in variables of their library, which is loaded once.
static RUNNING: Mutex<()> = Mutex::new(());

/// Every room begins so.
const ALIGNMENT: usize = 256;

/// The processor in place of a card. It needs a C++ compiler, and takes thousands of times as long.
#[derive(Clone, Debug, Default)]
pub struct Emulated {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    rooms: HashMap<u64, usize>,
    programs: HashMap<Program, Library>,
}

impl Emulated {
    /// A card without anything in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compile a text, or find what was compiled before.
fn library(program: &Program) -> Result<Library, DeviceError> {
    let text = program.text(true);
    let folder = env::temp_dir().join("shotstream-emulated");
    let path = folder.join(compile::digest(&[&text, "so"])).with_extension("so");
    if !path.exists() {
        build(&folder, &path, &text).map_err(|reason| {
            let entry = program.entry();
            DeviceError(format!("cannot compile {entry} for the processor ({reason})"))
        })?;
    }
    #[expect(unsafe_code, reason = "what was compiled is loaded")]
    // SAFETY: the library was made from a text of this crate and does nothing when it is loaded.
    let library = unsafe { Library::new(&path) };
    library.map_err(|e| DeviceError(format!("cannot load a compiled program ({e})")))
}

fn build(folder: &Path, path: &PathBuf, text: &str) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| e.to_string())?;
    let made = tempfile::Builder::new().suffix(".so").tempfile_in(folder);
    let made = made.map_err(|e| e.to_string())?.into_temp_path();
    let source = tempfile::Builder::new().suffix(".cpp").tempfile_in(folder);
    let source = source.map_err(|e| e.to_string())?.into_temp_path();
    fs::write(&source, text).map_err(|e| e.to_string())?;
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let output = Command::new(&compiler)
        .args(["-std=c++17", "-O2", "-shared", "-fPIC", "-w", "-o"])
        .args([made.as_os_str(), source.as_os_str()])
        .output()
        .map_err(|e| format!("{compiler}: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    // Whoever else made the same in the meantime made the same.
    made.persist(path).map_err(|e| e.to_string())
}

fn layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes.max(1), ALIGNMENT).expect("fewer bytes than there are addresses")
}

#[expect(unsafe_code, reason = "memory of a card is reached by its address")]
impl Card for Emulated {
    type Graph = Vec<Launch>;

    fn beside(&self) -> Result<Self, DeviceError> {
        Ok(self.clone())
    }

    fn finish(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn room(&self, bytes: usize) -> Result<u64, DeviceError> {
        // SAFETY: the layout has a size that is not zero.
        let start = unsafe { alloc_zeroed(layout(bytes)) } as u64;
        if start == 0 {
            return Err(DeviceError(format!("there is no room for {bytes} bytes")));
        }
        // What was never written should be seen.
        // SAFETY: so many bytes were allocated.
        unsafe { std::ptr::write_bytes(start as *mut u8, 0xee, bytes) };
        self.state().rooms.insert(start, bytes);
        Ok(start)
    }

    fn free(&self, start: u64) {
        if let Some(bytes) = self.state().rooms.remove(&start) {
            // SAFETY: it was allocated by `room` with this layout, and is forgotten now.
            unsafe { dealloc(start as *mut u8, layout(bytes)) };
        }
    }

    fn write(&self, to: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        // SAFETY: a room has so many bytes from there on.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    fn read(&self, from: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        // SAFETY: a room has so many bytes from there on.
        unsafe {
            std::ptr::copy_nonoverlapping(from as *const u8, bytes.as_mut_ptr(), bytes.len());
        }
        Ok(())
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), DeviceError> {
        assert!(from.abs_diff(to) >= bytes as u64, "bytes that do not overlap where they go");
        // SAFETY: rooms have so many bytes, which do not overlap.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    fn zero(&self, start: u64, bytes: usize) -> Result<(), DeviceError> {
        // SAFETY: a room has so many bytes from there on.
        unsafe { std::ptr::write_bytes(start as *mut u8, 0, bytes) };
        Ok(())
    }

    fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        let (mut state, program) = (self.state(), launch.program);
        let library = match state.programs.entry(program) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(library(&program)?),
        };
        let missing = |e| DeviceError(format!("a compiled program has no entry ({e})"));
        // SAFETY: the text declares its entry so.
        let entry = unsafe { library.get::<Call>(program.entry()) }.map_err(missing)?;
        let (argument, grid) = (launch.argument.pointer(), launch.grid.as_ptr());
        let _alone = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the argument is what this entry reads, and names rooms that are there.
        unsafe { entry(argument, grid, program.threads(), program.shared()) };
        Ok(())
    }

    fn record(&self, launches: Vec<Launch>) -> Result<Vec<Launch>, DeviceError> {
        Ok(launches)
    }

    fn repeat(&self, graph: &Vec<Launch>) -> Result<(), DeviceError> {
        graph.iter().try_for_each(|launch| self.launch(launch))
    }
}
