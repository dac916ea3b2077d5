//! The machine that a pickle is a program for, as far as plain values go.

use std::collections::BTreeMap;

use super::{
    MOST_TENSORS, MOST_VALUES, PickleError, PickledTensor,
    known::{Global, known},
    value::{Id, Storage, Value},
};

/// Bytes of the name of a storage; PyTorch counts from 0.
const LONGEST_KEY: usize = 64;

/// Axes of a tensor.
const MOST_AXES: usize = 8;

/// Arguments of a call.
const MOST_ARGUMENTS: usize = 8;

/// Stack, memo and everything made so far.
pub(super) struct Machine<'p> {
    program: &'p [u8],
    values: Vec<Value<'p>>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
    /// Pairs that were copied from lists into dictionaries.
    copied: usize,
    /// Tensors that were made.
    tensors: usize,
}

fn malformed<T>(reason: impl Into<String>) -> Result<T, PickleError> {
    Err(PickleError::Malformed(reason.into()))
}

impl<'p> Machine<'p> {
    pub(super) fn new(program: &'p [u8]) -> Self {
        let (stack, marks) = (Vec::new(), Vec::new());
        Self {
            program,
            values: Vec::new(),
            stack,
            marks,
            memo: BTreeMap::new(),
            copied: 0,
            tensors: 0,
        }
    }

    /// A value that was made.
    pub(super) fn value(&self, id: Id) -> &Value<'p> {
        &self.values[id as usize]
    }

    /// Run the program to its end, and return its last value.
    pub(super) fn run(&mut self) -> Result<Id, PickleError> {
        loop {
            let [code] = self.take()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
            if MOST_VALUES < self.values.len().max(self.stack.len()).max(self.memo.len()) {
                return malformed(format!("more than {MOST_VALUES} values in its pickle"));
            }
        }
    }

    /// One instruction.
    fn step(&mut self, code: u8) -> Result<(), PickleError> {
        match code {
            // PROTO, FRAME
            0x80 => self.take::<1>().map(drop),
            0x95 => self.take::<8>().map(drop),
            b'(' => self.mark(),
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            b'N' | 0x88 | 0x89 => self.push(Value::Plain),
            b'G' => self.take::<8>().and_then(|_| self.push(Value::Plain)),
            b'J' => self.take().and_then(|b| self.push(Value::Int(i32::from_le_bytes(b).into()))),
            b'K' => self.take().and_then(|[b]| self.push(Value::Int(b.into()))),
            b'M' => self.take().and_then(|b| self.push(Value::Int(u16::from_le_bytes(b).into()))),
            0x8a => self.long(),
            b'X' | 0x8c | 0x8d => self.text(code),
            b'B' | b'C' | 0x8e => self.bytes(code),
            b']' | 0x8f => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            b't' => self.pop_mark().and_then(|items| self.push(Value::Tuple(items))),
            0x85..=0x87 => self.short_tuple(usize::from(code - 0x84)),
            b'a' => self.pop().and_then(|item| self.append(vec![item])),
            b'e' | 0x90 => self.pop_mark().and_then(|items| self.append(items)),
            b's' => self.pops(2).and_then(|pair| self.set(&pair)),
            b'u' => self.pop_mark().and_then(|pairs| self.set(&pairs)),
            b'q' => self.take().and_then(|[b]| self.put(b.into())),
            b'r' => self.take().and_then(|b| self.put(u32::from_le_bytes(b))),
            0x94 => self.put(u32::try_from(self.memo.len()).unwrap_or(u32::MAX)),
            b'h' => self.take().and_then(|[b]| self.get(b.into())),
            b'j' => self.take().and_then(|b| self.get(u32::from_le_bytes(b))),
            b'c' => self.global(),
            0x93 => self.stack_global(),
            b'Q' => self.persistent(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            other => malformed(format!("instruction {other:#04x} in its pickle")),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        match self.program.split_first_chunk::<N>() {
            Some((&bytes, rest)) => {
                self.program = rest;
                Ok(bytes)
            }
            None => malformed("its pickle ends too early"),
        }
    }

    fn take_slice(&mut self, length: u64) -> Result<&'p [u8], PickleError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        match self.program.split_at_checked(length) {
            Some((bytes, rest)) => {
                self.program = rest;
                Ok(bytes)
            }
            None => malformed("its pickle ends too early"),
        }
    }

    fn take_line(&mut self) -> Result<&'p str, PickleError> {
        let length = self.program.iter().position(|&byte| byte == b'\n');
        let Some(length) = length else { return malformed("its pickle ends too early") };
        let line = utf8(self.take_slice(length as u64)?)?;
        self.take::<1>()?;
        Ok(line)
    }

    fn push(&mut self, value: Value<'p>) -> Result<(), PickleError> {
        // The program is stopped long before there are so many.
        let id = Id::try_from(self.values.len()).unwrap_or(Id::MAX);
        self.values.push(value);
        self.stack.push(id);
        Ok(())
    }

    /// Take the newest value, unless a mark lies between.
    fn pop(&mut self) -> Result<Id, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len() > floor {
            true => self.stack.pop().map_or_else(|| malformed("its pickle takes too much"), Ok),
            false => malformed("its pickle takes too much"),
        }
    }

    /// Take the newest `count` values, the oldest of them first.
    fn pops(&mut self, count: usize) -> Result<Vec<Id>, PickleError> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        Ok(items)
    }

    fn mark(&mut self) -> Result<(), PickleError> {
        match self.marks.len() < MOST_VALUES {
            true => self.marks.push(self.stack.len()),
            false => return malformed("too many marks in its pickle"),
        }
        Ok(())
    }

    /// Take everything since the newest mark, and the mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>, PickleError> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => malformed("a mark is missing in its pickle"),
        }
    }

    fn newest(&self) -> Result<Id, PickleError> {
        self.stack.last().copied().map_or_else(|| malformed("its pickle takes too much"), Ok)
    }

    fn long(&mut self) -> Result<(), PickleError> {
        let [length] = self.take()?;
        let bytes = self.take_slice(length.into())?;
        let negative = bytes.last().is_some_and(|byte| 0x80 <= *byte);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        match wide.get_mut(..bytes.len()) {
            Some(low) => low.copy_from_slice(bytes),
            None => return self.push(Value::Plain),
        }
        self.push(Value::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, code: u8) -> Result<(), PickleError> {
        let length = match code {
            b'X' => u32::from_le_bytes(self.take()?).into(),
            0x8c => self.take().map(|[b]| b.into())?,
            _ => u64::from_le_bytes(self.take()?),
        };
        let text = utf8(self.take_slice(length)?)?;
        self.push(Value::Text(text))
    }

    fn bytes(&mut self, code: u8) -> Result<(), PickleError> {
        let length = match code {
            b'B' => u32::from_le_bytes(self.take()?).into(),
            b'C' => self.take().map(|[b]| b.into())?,
            _ => u64::from_le_bytes(self.take()?),
        };
        self.take_slice(length)?;
        self.push(Value::Plain)
    }

    fn short_tuple(&mut self, count: usize) -> Result<(), PickleError> {
        let items = self.pops(count)?;
        self.push(Value::Tuple(items))
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), PickleError> {
        let list = self.newest()?;
        match &mut self.values[list as usize] {
            Value::List(list) => list.extend(items),
            _ => return malformed("its pickle appends to no list"),
        }
        Ok(())
    }

    fn set(&mut self, pairs: &[Id]) -> Result<(), PickleError> {
        let dict = self.newest()?;
        let (pairs, rest) = pairs.as_chunks::<2>();
        match &mut self.values[dict as usize] {
            Value::Dict(dict) if rest.is_empty() => {
                dict.extend(pairs.iter().map(|&[key, value]| (key, value)));
            }
            _ => return malformed("its pickle sets no pairs of a dictionary"),
        }
        Ok(())
    }

    fn put(&mut self, place: u32) -> Result<(), PickleError> {
        let newest = self.newest()?;
        self.memo.insert(place, newest);
        Ok(())
    }

    fn get(&mut self, place: u32) -> Result<(), PickleError> {
        match self.memo.get(&place) {
            Some(&id) => self.stack.push(id),
            None => return malformed(format!("value {place} of its pickle was never made")),
        }
        Ok(())
    }

    fn global(&mut self) -> Result<(), PickleError> {
        let (module, name) = (self.take_line()?, self.take_line()?);
        let value = known(module, name)?;
        self.push(value)
    }

    fn stack_global(&mut self) -> Result<(), PickleError> {
        let name = self.pop()?;
        let module = self.pop()?;
        match (self.value(module), self.value(name)) {
            (&Value::Text(module), &Value::Text(name)) => {
                let value = known(module, name)?;
                self.push(value)
            }
            _ => malformed("its pickle asks for a global without a name"),
        }
    }

    /// A storage: `("storage", type, key, device, elements)`.
    fn persistent(&mut self) -> Result<(), PickleError> {
        let id = self.pop()?;
        let &[kind, of, key, ..] = self.tuple(id)? else {
            return malformed("its pickle asks for a storage without a type and a key");
        };
        let storage = match (self.value(kind), self.value(of), self.value(key)) {
            (
                &Value::Text("storage"),
                &Value::Global(Global::Storage(dtype)),
                &Value::Text(key),
            ) if key.len() <= LONGEST_KEY && !key.contains(char::is_control) => {
                Storage { key: key.to_owned(), dtype }
            }
            _ => return malformed("its pickle asks for a storage without a type and a key"),
        };
        self.push(Value::Storage(Box::new(storage)))
    }

    /// Call a global, which here means one of the few that are known.
    fn reduce(&mut self) -> Result<(), PickleError> {
        let arguments = self.pop()?;
        let function = self.pop()?;
        let arguments = self.tuple(arguments)?;
        // No function here wants more, and a copy of a long list costs.
        let arguments = arguments[..arguments.len().min(MOST_ARGUMENTS)].to_vec();
        let Value::Global(global) = *self.value(function) else {
            return malformed("its pickle calls what is no function");
        };
        let value = match (global, arguments.as_slice()) {
            (Global::OrderedDict, &[]) => Value::Dict(Vec::new()),
            (Global::OrderedDict, &[pairs]) => Value::Dict(self.pairs(pairs)?),
            (Global::RebuildTensor, arguments) => self.tensor(arguments)?,
            (Global::RebuildParameter, &[tensor, ..]) => match self.value(tensor) {
                Value::Tensor(tensor) => Value::Tensor(tensor.clone()),
                _ => return malformed("a parameter of its pickle is no tensor"),
            },
            (Global::Size | Global::Device, _) => Value::Plain,
            _ => return malformed("a call in its pickle has the wrong arguments"),
        };
        if matches!(value, Value::Tensor(_)) {
            // Each takes a hundred times what asks for it; a parameter makes its tensor twice.
            self.tensors += 1;
            if 2 * MOST_TENSORS < self.tensors {
                return malformed(format!("more than {MOST_TENSORS} tensors"));
            }
        }
        self.push(value)
    }

    /// The attributes of a dictionary are of no interest; nothing else here has any.
    fn build(&mut self) -> Result<(), PickleError> {
        self.pop()?;
        let newest = self.newest()?;
        match self.value(newest) {
            Value::Dict(_) => Ok(()),
            _ => malformed("its pickle sets attributes of what has none"),
        }
    }

    fn tuple(&self, id: Id) -> Result<&[Id], PickleError> {
        match self.value(id) {
            Value::Tuple(items) => Ok(items),
            _ => malformed("a tuple is missing in its pickle"),
        }
    }

    fn pairs(&mut self, list: Id) -> Result<Vec<(Id, Id)>, PickleError> {
        let items = match self.value(list) {
            Value::List(items) | Value::Tuple(items) => items,
            _ => return malformed("a dictionary of its pickle is made of no pairs"),
        };
        // Lists are shared, but their copies are not.
        let copied = self.copied + items.len();
        if MOST_VALUES < copied {
            return malformed(format!("more than {MOST_VALUES} values in its pickle"));
        }
        let pair = |&item: &Id| match self.value(item) {
            Value::Tuple(pair) | Value::List(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
            _ => malformed("a dictionary of its pickle is made of no pairs"),
        };
        let pairs = items.iter().map(pair).collect();
        self.copied = copied;
        pairs
    }

    /// A tensor: storage, offset, shape, strides, and what only matters to PyTorch.
    fn tensor(&self, arguments: &[Id]) -> Result<Value<'p>, PickleError> {
        let &[storage, offset, shape, strides, ..] = arguments else {
            return malformed("a tensor of its pickle lacks storage, place or shape");
        };
        let (Value::Storage(storage), Value::Int(offset)) =
            (self.value(storage), self.value(offset))
        else {
            return malformed("a tensor of its pickle has no storage");
        };
        let sizes = |id| {
            let sizes =
                self.tuple(id)?.iter().take(1 + MOST_AXES).map(|&size| match self.value(size) {
                    Value::Int(size) => usize::try_from(*size).ok(),
                    _ => None,
                });
            let sizes: Option<Vec<usize>> = sizes.collect();
            sizes.map_or_else(|| malformed("a shape in its pickle is no list of sizes"), Ok)
        };
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        let Ok(offset) = u64::try_from(*offset) else {
            return malformed("a tensor of its pickle begins before its storage");
        };
        if shape.len() != strides.len() || MOST_AXES < shape.len() {
            return malformed("a shape in its pickle does not fit its strides");
        }
        let Storage { key, dtype } = (**storage).clone();
        Ok(Value::Tensor(Box::new(PickledTensor { key, dtype, offset, shape, strides })))
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, PickleError> {
    std::str::from_utf8(bytes).or_else(|_| malformed("a text in its pickle is no UTF-8"))
}
