//! The few names a pickle may call, none of which can do harm.

use safetensors::Dtype;

use super::{PickleError, value::Value};

/// The globals that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Size,
    Device,
    Storage(Dtype),
}

/// The value behind a name, if it is one that can do no harm.
pub(super) fn known(module: &str, name: &str) -> Result<Value<'static>, PickleError> {
    let global = match (module, name) {
        ("collections", "OrderedDict") => Global::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Global::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Global::RebuildParameter,
        ("torch", "Size") => Global::Size,
        ("torch", "device") => Global::Device,
        ("torch", "FloatStorage") => Global::Storage(Dtype::F32),
        ("torch", "HalfStorage") => Global::Storage(Dtype::F16),
        ("torch", "BFloat16Storage") => Global::Storage(Dtype::BF16),
        ("torch", "DoubleStorage") => Global::Storage(Dtype::F64),
        ("torch", "LongStorage") => Global::Storage(Dtype::I64),
        ("torch", "IntStorage") => Global::Storage(Dtype::I32),
        ("torch", "ShortStorage") => Global::Storage(Dtype::I16),
        ("torch", "CharStorage") => Global::Storage(Dtype::I8),
        ("torch", "ByteStorage") => Global::Storage(Dtype::U8),
        ("torch", "BoolStorage") => Global::Storage(Dtype::BOOL),
        ("torch", "float32" | "float16" | "bfloat16" | "float64" | "int64") => {
            return Ok(Value::Plain);
        }
        _ => {
            let name: String = format!("{module}.{name}").chars().take(80).collect();
            return Err(PickleError::Refused(name.escape_debug().to_string()));
        }
    };
    Ok(Value::Global(global))
}
