//! A card that there is, through the vendor's driver, which is looked for when the program runs.

use std::{
    collections::HashMap,
    ffi::CString,
    sync::{Arc, Mutex, PoisonError},
};

use cudarc::driver::{
    result::{self, DriverError},
    sys::{self, CUdevice_attribute_enum as Attribute, CUfunction_attribute_enum as Limit},
};

use super::{
    card::Card,
    compile::Compiler,
    plan::Launch,
    program::{Program, Unit},
};
use crate::kernels::DeviceError;

/// What the programs need: bf16 and copies ahead.
const OLDEST: [i32; 2] = [8, 0];

/// A card, its programs, and one order of work.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    stream: sys::CUstream,
}

/// What all orders of work on a card have together.
#[derive(Debug)]
struct Shared {
    device: sys::CUdevice,
    context: sys::CUcontext,
    name: String,
    capability: [i32; 2],
    compiler: Compiler,
    programs: Mutex<HashMap<Program, Function>>,
}

/// Launches, ready to be repeated.
#[derive(Debug)]
pub struct Graph {
    ready: sys::CUgraphExec,
    shared: Arc<Shared>,
}

#[expect(unsafe_code, reason = "the driver is a library of another language")]
impl Drop for Graph {
    fn drop(&mut self) {
        if self.shared.enter().is_ok() {
            // SAFETY: it was made once, and is destroyed once.
            let _gone = unsafe { result::graph::exec_destroy(self.ready) };
        }
    }
}

#[expect(unsafe_code, reason = "handles of the driver are pointers")]
// SAFETY: the driver's handles may be used from any thread once its context is current there.
unsafe impl Send for Graph {}

/// A program that was loaded.
#[derive(Clone, Copy, Debug)]
struct Function(sys::CUfunction);

#[expect(unsafe_code, reason = "handles of the driver are pointers")]
// SAFETY: the driver's handles may be used from any thread once its context is current there.
unsafe impl Send for Function {}
#[expect(unsafe_code, reason = "handles of the driver are pointers")]
// SAFETY: as above.
unsafe impl Send for Shared {}
#[expect(unsafe_code, reason = "handles of the driver are pointers")]
// SAFETY: as above.
unsafe impl Sync for Shared {}
#[expect(unsafe_code, reason = "handles of the driver are pointers")]
// SAFETY: as above.
unsafe impl Send for Driver {}
#[expect(unsafe_code, reason = "handles of the driver are pointers")]
// SAFETY: as above.
unsafe impl Sync for Driver {}

#[expect(unsafe_code, reason = "the driver is a library of another language")]
impl Driver {
    /// The card of this number, the first one being 0.
    ///
    /// # Errors
    /// When there is no driver, no such card or no compiler for its programs, or the card is too
    /// old.
    pub fn open(number: u32) -> Result<Self, DeviceError> {
        // SAFETY: the library of the vendor may be loaded at any time.
        if !unsafe { sys::is_culib_present() } {
            let reason = "there is no driver for NVIDIA cards, expected libcuda.so.1 where \
                          libraries are found";
            return Err(DeviceError(reason.to_owned()));
        }
        let failed = |what: &str, e: DriverError| DeviceError(sentence(what, e));
        result::init().map_err(|e| failed("start the driver", e))?;
        let count = result::device::get_count().map_err(|e| failed("count the cards", e))?;
        if number.cast_signed() >= count {
            let reason = format!("there is no card {number}, this machine has {count}");
            return Err(DeviceError(reason));
        }
        let device =
            result::device::get(number.cast_signed()).map_err(|e| failed("find the card", e))?;
        let name = result::device::get_name(device).map_err(|e| failed("name the card", e))?;
        let attribute = |attribute| {
            // SAFETY: the device was found above.
            unsafe { result::device::get_attribute(device, attribute) }
                .map_err(|e| failed("describe the card", e))
        };
        let capability = [
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ];
        let [major, minor] = capability;
        if capability < OLDEST {
            let [expected, _] = OLDEST;
            let reason = format!(
                "the card {name} has compute capability {major}.{minor}, expected {expected}.0 or \
                 more"
            );
            return Err(DeviceError(reason));
        }
        let specific = if capability == [9, 0] { "a" } else { "" };
        let compiler = Compiler::new(&format!("sm_{major}{minor}{specific}"))?;
        let mut version = 0;
        // SAFETY: the number may be written.
        let known = unsafe { sys::cuDriverGetVersion(&raw mut version) }.result();
        known.map_err(|e| failed("say its version", e))?;
        let [driver, of] = [version / 1000, version % 1000 / 10];
        let [newest, minor_of] = compiler.version();
        if driver < newest {
            let reason = format!(
                "the driver of {name} is for CUDA {driver}.{of}, the compiler of programs for \
                 {newest}.{minor_of}, expected a driver as new, or libnvrtc.so.{driver}"
            );
            return Err(DeviceError(reason));
        }
        // SAFETY: the device was found above; its context is released when this is dropped.
        let context = unsafe { result::primary_ctx::retain(device) }
            .map_err(|e| failed("open the card", e))?;
        let programs = Mutex::new(HashMap::new());
        let shared = Shared { device, context, name, capability, compiler, programs };
        Self::of(Arc::new(shared))
    }

    /// Another order of work.
    fn of(shared: Arc<Shared>) -> Result<Self, DeviceError> {
        shared.enter()?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)
            .map_err(|e| shared.failed("begin an order of work", e))?;
        Ok(Self { shared, stream })
    }

    /// What the card is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What multiplies tiles of matrices on this card.
    #[must_use]
    pub fn unit(&self) -> Unit {
        if self.shared.capability == [9, 0] { Unit::Group } else { Unit::Warp }
    }

    /// Bytes that are free, whoever took the others, and bytes that there are.
    ///
    /// # Errors
    /// When the card is lost.
    pub fn memory(&self) -> Result<[usize; 2], DeviceError> {
        self.shared.enter()?;
        let (free, all) =
            result::mem_get_info().map_err(|e| self.shared.failed("count its memory", e))?;
        Ok([free, all])
    }

    /// Run a program, and wait for it; the seconds that the card took.
    ///
    /// # Errors
    /// As of [`Card::launch`].
    pub fn seconds(&self, launch: &Launch) -> Result<f64, DeviceError> {
        self.shared.enter()?;
        let failed = |e| self.shared.failed("take the time", e);
        let event = || {
            let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT);
            event.map_err(failed)
        };
        let [before, after] = [event()?, event()?];
        // SAFETY: events and stream were created by this; events are destroyed once.
        unsafe {
            result::event::record(before, self.stream).map_err(failed)?;
            self.launch(launch)?;
            result::event::record(after, self.stream).map_err(failed)?;
            self.finish()?;
            let milliseconds = result::event::elapsed(before, after).map_err(failed)?;
            let _gone = [before, after].map(|event| result::event::destroy(event));
            Ok(f64::from(milliseconds) / 1e3)
        }
    }

    fn function(&self, program: &Program) -> Result<Function, DeviceError> {
        let mut programs = self.shared.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(&function) = programs.get(program) {
            return Ok(function);
        }
        let compiled = self.shared.compiler.compile(program)?;
        let failed = |e| self.shared.failed("load a program", e);
        // SAFETY: the image is a program with a zero behind it; it stays loaded.
        let module = unsafe { result::module::load_data(compiled.image.as_ptr().cast()) };
        let entry = CString::new(program.entry()).expect("names have no zeros");
        // SAFETY: the module was loaded, and its text has this entry.
        let function = unsafe { result::module::get_function(module.map_err(failed)?, entry) };
        let function = function.map_err(failed)?;
        let shared = program.shared().cast_signed();
        if shared > 48 * 1024 {
            let limit = Limit::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function was found above.
            unsafe { result::function::set_function_attribute(function, limit, shared) }
                .map_err(failed)?;
        }
        programs.insert(*program, Function(function));
        Ok(Function(function))
    }
}

#[expect(unsafe_code, reason = "the driver is a library of another language")]
impl Shared {
    /// This thread works on the card.
    fn enter(&self) -> Result<(), DeviceError> {
        // SAFETY: the context is retained as long as this lives.
        unsafe { result::ctx::set_current(self.context) }.map_err(|e| self.failed("answer", e))
    }

    fn failed(&self, what: &str, error: DriverError) -> DeviceError {
        DeviceError(format!("{}: {}", self.name, sentence(what, error)))
    }
}

/// What the card cannot do, and why.
fn sentence(what: &str, error: DriverError) -> String {
    let why = error
        .error_string()
        .map_or_else(|_| format!("{error:?}"), |text| text.to_string_lossy().into_owned());
    format!("the card cannot {what} ({why})")
}

#[expect(unsafe_code, reason = "the driver is a library of another language")]
impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: it was retained once, and nobody uses it any more.
        let _released = unsafe { result::primary_ctx::release(self.device) };
    }
}

#[expect(unsafe_code, reason = "the driver is a library of another language")]
impl Drop for Driver {
    fn drop(&mut self) {
        if self.shared.enter().is_ok() {
            // SAFETY: the stream was created by this, and is destroyed once; its work goes on.
            let _gone = unsafe { result::stream::destroy(self.stream) };
        }
    }
}

#[expect(unsafe_code, reason = "the driver is a library of another language")]
impl Card for Driver {
    type Graph = Graph;

    fn beside(&self) -> Result<Self, DeviceError> {
        Self::of(self.shared.clone())
    }

    fn finish(&self) -> Result<(), DeviceError> {
        self.shared.enter()?;
        // SAFETY: the stream lives as long as this.
        unsafe { result::stream::synchronize(self.stream) }
            .map_err(|e| self.shared.failed("finish its work", e))
    }

    fn room(&self, bytes: usize) -> Result<u64, DeviceError> {
        self.shared.enter()?;
        // SAFETY: the stream lives as long as this; what is allocated is freed by `free`.
        unsafe { result::malloc_async(self.stream, bytes) }.map_err(|e| {
            let free = result::mem_get_info().map_or(0, |(free, _)| free);
            let what = format!("give {bytes} bytes, {free} are free");
            self.shared.failed(&what, e)
        })
    }

    fn free(&self, start: u64) {
        if self.shared.enter().is_ok() {
            // SAFETY: `room` allocated it, and whoever had it has forgotten it.
            let _freed = unsafe { result::free_async(start, self.stream) };
        }
    }

    fn write(&self, to: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.shared.enter()?;
        // SAFETY: a room has so many bytes from there on; bytes of pageable memory are taken before
        // this returns.
        unsafe { result::memcpy_htod_async(to, bytes, self.stream) }
            .map_err(|e| self.shared.failed("take bytes", e))
    }

    fn read(&self, from: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.shared.enter()?;
        // SAFETY: a room has so many bytes from there on, and `finish` waits for them.
        unsafe { result::memcpy_dtoh_async(bytes, from, self.stream) }
            .map_err(|e| self.shared.failed("hand out bytes", e))?;
        self.finish()
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), DeviceError> {
        self.shared.enter()?;
        // SAFETY: rooms have so many bytes, which do not overlap.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream) }
            .map_err(|e| self.shared.failed("copy bytes", e))
    }

    fn zero(&self, start: u64, bytes: usize) -> Result<(), DeviceError> {
        self.shared.enter()?;
        // SAFETY: a room has so many bytes from there on.
        unsafe { result::memset_d8_async(start, 0, bytes, self.stream) }
            .map_err(|e| self.shared.failed("clear bytes", e))
    }

    fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        self.shared.enter()?;
        let program = &launch.program;
        let Function(function) = self.function(program)?;
        let [x, y, z] = launch.grid;
        let mut arguments = [launch.argument.pointer().cast_mut()];
        // SAFETY: the argument is what this program reads, and names rooms that are there until
        // all work that was asked for is done.
        unsafe {
            result::launch_kernel(
                function,
                (x, y, z),
                (program.threads(), 1, 1),
                program.shared(),
                self.stream,
                &mut arguments,
            )
        }
        .map_err(|e| self.shared.failed("run a program", e))
    }

    fn record(&self, launches: Vec<Launch>) -> Result<Graph, DeviceError> {
        // An order of work of its own: other threads may ask something of this one meanwhile.
        let aside = self.beside()?;
        let failed = |e| self.shared.failed("write down its work", e);
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as `aside`, and the capture ends below in any case.
        unsafe { result::stream::begin_capture(aside.stream, mode) }.map_err(failed)?;
        let outcome = launches.iter().try_for_each(|launch| aside.launch(launch));
        // SAFETY: a capture was begun above.
        let graph = unsafe { result::stream::end_capture(aside.stream) };
        outcome?;
        let graph = graph.map_err(failed)?;
        // SAFETY: the graph was made above, and what was made of it stays when it goes.
        let ready = unsafe {
            let ready = result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0));
            let _gone = result::graph::destroy(graph);
            ready
        };
        Ok(Graph { ready: ready.map_err(failed)?, shared: self.shared.clone() })
    }

    fn repeat(&self, graph: &Graph) -> Result<(), DeviceError> {
        self.shared.enter()?;
        // SAFETY: the graph lives as long as its handle, and so do the rooms that it names.
        unsafe { result::graph::launch(graph.ready, self.stream) }
            .map_err(|e| self.shared.failed("repeat its work", e))
    }
}
