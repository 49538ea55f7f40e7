//! Reads the pickles in PyTorch files. Nothing is run: the few constructors that tensors need are
//! known by name, and any other is an error that names it.

mod construct;

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use crate::checkpoint::CheckpointError;
use crate::checkpoint::error::shown;
use crate::checkpoint::source::ElementType;

/// Values on the stack: Python's pickler never has more than a thousand pending items per level.
const DEEPEST_STACK: usize = 1 << 16;

/// Values, objects and memo entries allowed in any pickle, however short.
const FLOOR: usize = 4096;

/// A value that is copied freely.
#[derive(Clone, Debug)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// An integer that does not fit.
    Number,
    Text(Rc<str>),
    Bytes,
    Callable(Callable),
    /// An index into the pickle's objects.
    Object(usize),
    /// An index into the pickle's storages.
    Storage(usize),
    /// An index into the pickle's tensors.
    Tensor(usize),
}

/// A constructor that may appear.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Callable {
    OrderedDict,
    /// `_rebuild_tensor` and `_rebuild_tensor_v2`.
    RebuildTensor,
    RebuildParameter,
    Size,
    /// A class of PyTorch Lightning, in whose files it may be a dict of hyperparameters or the key
    /// of a callback's state. Taken for a kind of dict.
    Lightning,
    /// A storage class, named only within persistent ids.
    Storage(ElementType),
}

/// A value made of others. They refer to each other by index, so that neither cycles nor depth
/// are a danger.
#[derive(Debug)]
pub(super) enum Object {
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dict(Vec<(Value, Value)>),
}

/// A reference to the memory of tensors.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    pub(super) key: Rc<str>,
    pub(super) element: ElementType,
    /// Elements of the whole storage.
    pub(super) count: usize,
    /// Where a view begins (legacy files only).
    pub(super) view_offset: usize,
}

/// A tensor: a strided view of a storage, in elements.
#[derive(Clone, Debug)]
pub(super) struct TensorView {
    pub(super) storage: usize,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// A pickle that has been read.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) root: Value,
    pub(super) objects: Vec<Object>,
    pub(super) storages: Vec<Storage>,
    pub(super) tensors: Vec<TensorView>,
    /// Bytes read, up to and including the stop.
    pub(super) length: usize,
}

impl Pickle {
    /// The pairs of a dict.
    pub(super) fn dict(&self, value: &Value) -> Option<&[(Value, Value)]> {
        match value {
            Value::Object(index) => match self.objects.get(*index)? {
                Object::Dict(pairs) => Some(pairs),
                _ => None,
            },
            _ => None,
        }
    }

    /// The items of a list or tuple.
    pub(super) fn items(&self, value: &Value) -> Option<&[Value]> {
        match value {
            Value::Object(index) => match self.objects.get(*index)? {
                Object::List(items) | Object::Tuple(items) => Some(items),
                Object::Dict(_) => None,
            },
            _ => None,
        }
    }
}

/// Reads the pickle at the start of these bytes; `start` is their offset in the file.
pub(super) fn read(path: &Path, bytes: &[u8], start: usize) -> Result<Pickle, CheckpointError> {
    let mut machine = Machine {
        path,
        bytes,
        at: 0,
        start,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
        pickle: Pickle {
            root: Value::None,
            objects: Vec::new(),
            storages: Vec::new(),
            tensors: Vec::new(),
            length: 0,
        },
        values: FLOOR.saturating_add(bytes.len().saturating_mul(2)),
        objects: FLOOR.saturating_add(bytes.len() / 4),
    };
    machine.run()?;
    Ok(machine.pickle)
}

/// The stack machine that a pickle is a program for.
struct Machine<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
    start: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: BTreeMap<u32, Value>,
    pickle: Pickle,
    /// Values that may still be made: a short program must not make many.
    values: usize,
    /// Objects that may still be made.
    objects: usize,
}

type Step<T> = Result<T, CheckpointError>;

impl<'a> Machine<'a> {
    fn fail(&self, expected: &str, found: &str) -> CheckpointError {
        CheckpointError::malformed(
            self.path,
            format!("pickle at offset {}", self.start + self.at),
            expected,
            shown(found),
        )
    }

    fn take(&mut self, count: usize) -> Step<&'a [u8]> {
        let data = self
            .at
            .checked_add(count)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(|| self.fail(&format!("{count} more bytes"), "the end of the data"))?;
        self.at += count;
        Ok(data)
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Step<u32> {
        let data = self.take(4)?;
        Ok(u32::from_le_bytes([data[0], data[1], data[2], data[3]]))
    }

    fn u64(&mut self) -> Step<u64> {
        let (low, high) = (self.u32()?, self.u32()?);
        Ok(u64::from(high) << 32 | u64::from(low))
    }

    fn length(&mut self, size: u64) -> Step<usize> {
        usize::try_from(size).map_err(|_| self.fail("a length that fits", &size.to_string()))
    }

    fn text(&mut self, count: usize) -> Step<Rc<str>> {
        let data = self.take(count)?;
        match std::str::from_utf8(data) {
            Ok(text) => Ok(text.into()),
            Err(_) => Err(self.fail("UTF-8 text", "other bytes")),
        }
    }

    /// A line of text, for the older way of naming constructors.
    fn line(&mut self) -> Step<&'a str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().take(512).position(|&byte| byte == b'\n');
        let line = end.and_then(|end| std::str::from_utf8(&rest[..end]).ok());
        let line = line.ok_or_else(|| self.fail("a line of text", "none"))?;
        self.at += line.len() + 1;
        Ok(line)
    }

    fn charge(&mut self, count: usize) -> Step<()> {
        match self.values.checked_sub(count) {
            Some(left) => {
                self.values = left;
                Ok(())
            }
            None => Err(self.fail(
                "a plausible number of values",
                "more than its length justifies",
            )),
        }
    }

    fn push(&mut self, value: Value) -> Step<()> {
        self.charge(1)?;
        if self.stack.len() >= DEEPEST_STACK {
            return Err(self.fail(&format!("at most {DEEPEST_STACK} pending values"), "more"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn push_object(&mut self, object: Object) -> Step<()> {
        self.objects = self.objects.checked_sub(1).ok_or_else(|| {
            self.fail(
                "a plausible number of objects",
                "more than its length justifies",
            )
        })?;
        self.pickle.objects.push(object);
        self.push(Value::Object(self.pickle.objects.len() - 1))
    }

    fn pop(&mut self) -> Step<Value> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.fail("a value on the stack", "none"));
        }
        self.stack
            .pop()
            .ok_or_else(|| self.fail("a value on the stack", "none"))
    }

    fn pop_mark(&mut self) -> Step<Vec<Value>> {
        let mark = self
            .marks
            .pop()
            .filter(|&mark| mark <= self.stack.len())
            .ok_or_else(|| self.fail("a mark on the stack", "none"))?;
        Ok(self.stack.split_off(mark))
    }

    fn put(&mut self, key: u32) -> Step<()> {
        self.charge(1)?;
        let value = self
            .stack
            .last()
            .cloned()
            .ok_or_else(|| self.fail("a value to remember", "none"))?;
        self.memo.insert(key, value);
        Ok(())
    }

    fn get(&mut self, key: u32) -> Step<()> {
        let value = self
            .memo
            .get(&key)
            .cloned()
            .ok_or_else(|| self.fail("a remembered value", &format!("none under {key}")))?;
        self.push(value)
    }

    fn run(&mut self) -> Step<()> {
        loop {
            let code = self.byte()?;
            match code {
                0x80 => {
                    let version = self.byte()?;
                    if !(2..=5).contains(&version) {
                        return Err(self.fail("pickle protocol 2 to 5", &version.to_string()));
                    }
                }
                // FRAME: a hint for readers of streams.
                0x95 => {
                    self.u64()?;
                }
                b'.' => {
                    self.pickle.root = self.pop()?;
                    self.pickle.length = self.at;
                    return Ok(());
                }
                b'(' => {
                    self.charge(1)?;
                    self.marks.push(self.stack.len());
                }
                b'0' => {
                    self.pop()?;
                }
                b'1' => {
                    self.pop_mark()?;
                }
                b'2' => {
                    let value = self.pop()?;
                    self.push(value.clone())?;
                    self.push(value)?;
                }
                b'q' => {
                    let key = self.byte()?;
                    self.put(key.into())?;
                }
                b'r' => {
                    let key = self.u32()?;
                    self.put(key)?;
                }
                0x94 => self.put(self.memo.len() as u32)?,
                b'h' => {
                    let key = self.byte()?;
                    self.get(key.into())?;
                }
                b'j' => {
                    let key = self.u32()?;
                    self.get(key)?;
                }
                _ => {
                    if !self.constant(code)? && !self.container(code)? {
                        self.construct(code)?;
                    }
                }
            }
        }
    }

    /// Opcodes that push a constant.
    fn constant(&mut self, code: u8) -> Step<bool> {
        let value = match code {
            b'N' => Value::None,
            0x88 => Value::Bool(true),
            0x89 => Value::Bool(false),
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => {
                let data = self.take(2)?;
                Value::Int(u16::from_le_bytes([data[0], data[1]]).into())
            }
            b'J' => Value::Int((self.u32()? as i32).into()),
            0x8a => {
                let size = self.byte()?.into();
                self.long(size)?
            }
            0x8b => {
                let size = self.u32()? as usize;
                self.long(size)?
            }
            b'G' => {
                let data = self.take(8)?;
                let mut bytes = [0; 8];
                bytes.copy_from_slice(data);
                Value::Float(f64::from_be_bytes(bytes))
            }
            b'X' => {
                let size = self.u32()? as usize;
                Value::Text(self.text(size)?)
            }
            0x8c => {
                let size = self.byte()?.into();
                Value::Text(self.text(size)?)
            }
            0x8d => {
                let size = self.u64()?;
                let size = self.length(size)?;
                Value::Text(self.text(size)?)
            }
            // Python 2 wrote its strings as bytes.
            b'U' => {
                let size = self.byte()?.into();
                Value::Text(self.text(size)?)
            }
            b'T' => {
                let size = self.u32()? as usize;
                Value::Text(self.text(size)?)
            }
            b'C' => {
                let size = self.byte()?.into();
                self.take(size)?;
                Value::Bytes
            }
            b'B' => {
                let size = self.u32()? as usize;
                self.take(size)?;
                Value::Bytes
            }
            _ => return Ok(false),
        };
        self.push(value)?;
        Ok(true)
    }

    fn long(&mut self, size: usize) -> Step<Value> {
        let data = self.take(size)?;
        if size > 8 {
            return Ok(Value::Number);
        }
        let negative = data.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut bytes = [if negative { 0xff } else { 0 }; 8];
        bytes[..size].copy_from_slice(data);
        Ok(Value::Int(i64::from_le_bytes(bytes)))
    }

    /// Opcodes that make or fill lists, tuples and dicts.
    fn container(&mut self, code: u8) -> Step<bool> {
        match code {
            b'}' => self.push_object(Object::Dict(Vec::new()))?,
            b']' => self.push_object(Object::List(Vec::new()))?,
            b')' => self.push_object(Object::Tuple(Vec::new()))?,
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let mut items = Vec::with_capacity(count);
                for _ in 0..count {
                    items.push(self.pop()?);
                }
                items.reverse();
                self.push_object(Object::Tuple(items))?;
            }
            b't' => {
                let items = self.pop_mark()?;
                self.push_object(Object::Tuple(items))?;
            }
            b'l' => {
                let items = self.pop_mark()?;
                self.push_object(Object::List(items))?;
            }
            b'd' => {
                let items = self.pop_mark()?;
                self.push_object(Object::Dict(Vec::new()))?;
                self.fill_dict(items)?;
            }
            b'a' => {
                let item = self.pop()?;
                self.fill_list(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?;
                self.fill_list(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.fill_dict(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.fill_dict(items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn fill_list(&mut self, items: Vec<Value>) -> Step<()> {
        if let Some(Value::Object(index)) = self.stack.last()
            && let Some(Object::List(list)) = self.pickle.objects.get_mut(*index)
        {
            list.extend(items);
            return Ok(());
        }
        Err(self.fail("a list to append to", "something else"))
    }

    fn fill_dict(&mut self, items: Vec<Value>) -> Step<()> {
        if items.len().is_multiple_of(2)
            && let Some(Value::Object(index)) = self.stack.last()
            && let Some(Object::Dict(pairs)) = self.pickle.objects.get_mut(*index)
        {
            let mut items = items.into_iter();
            while let (Some(key), Some(value)) = (items.next(), items.next()) {
                pairs.push((key, value));
            }
            return Ok(());
        }
        Err(self.fail("a dict and pairs to put into it", "something else"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(bytes: &[u8]) -> String {
        read(Path::new("file"), bytes, 0).unwrap_err().to_string()
    }

    #[test]
    fn a_foreign_constructor_is_named_and_not_run() {
        let text = error(b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.");
        assert!(text.contains("posix.system"), "{text}");
        let text = error(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.");
        assert!(text.contains("builtins.eval"), "{text}");
    }

    #[test]
    fn a_list_used_again_and_again_does_not_multiply() {
        // A list of pairs, made into an ordered dict by every six bytes that follow.
        let mut bytes = b"\x80\x02ccollections\nOrderedDict\nq\x00](".to_vec();
        for _ in 0..1000 {
            bytes.extend(b"K\x01K\x02\x86");
        }
        bytes.extend(b"e\x85q\x01");
        for _ in 0..10_000 {
            bytes.extend(b"h\x00h\x01R0");
        }
        assert!(error(&bytes).contains("justifies"));
    }

    #[test]
    fn deep_nesting_is_read_without_recursion() {
        let mut bytes = b"\x80\x02".to_vec();
        bytes.extend(vec![b']'; 4000]);
        bytes.extend(vec![b'a'; 3999]);
        bytes.push(b'.');
        assert!(read(Path::new("file"), &bytes, 0).is_ok());
    }
}
