//! MessagePack files of flax (`flax.serialization.to_bytes`): nested maps whose leaves are arrays,
//! as extensions that hold MessagePack themselves: shape, NumPy's name of the element type, and
//! the elements in row-major order.
//!
//! A tensor's name is the path of keys to it, joined with `/`.

mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::CheckpointError;
use super::bytes::FileBytes;
use super::error::shown;
use super::source::{ElementType, Entry, Source, element_count};
use reader::{Item, Reader};

/// flax' extension types.
const ARRAY: i8 = 1;
const SCALAR: i8 = 3;

/// The key that marks a map as an array in pieces: flax splits arrays from 1 GiB on.
const CHUNKED: &str = "__msgpack_chunked_array__";

/// Deepest nesting of maps.
const DEEPEST: usize = 64;

/// What all paths may add up to: this times the length of the file, plus [`PATHS_FLOOR`]. Deeply
/// nested maps could spell a long path again and again.
const PATHS_RATIO: usize = 4;
const PATHS_FLOOR: usize = 64 << 10;

/// Most plain values that are kept as facts, and the longest text among them.
const MOST_FACTS: usize = 1024;
const LONGEST_FACT: usize = 256;

/// Whether a file begins with a map whose first key is text, as those of flax do.
pub(crate) fn looks_like(content: &[u8]) -> bool {
    let mut reader = Reader::new(Path::new(""), content, 0..content.len());
    matches!(reader.next(), Ok(Item::Map(1..)))
        && matches!(reader.next(), Ok(Item::Text(key)) if !key.is_empty() && !key.contains(char::is_control))
}

/// An opened file.
pub(crate) struct MsgpackFile<'a> {
    path: PathBuf,
    bytes: FileBytes<'a>,
    entries: Vec<Entry>,
    /// Where the elements of each of `entries` lie: one range, or one for each piece.
    stored: Vec<Vec<Range<usize>>>,
    facts: BTreeMap<String, String>,
    ignored: Vec<(String, String)>,
}

impl<'a> MsgpackFile<'a> {
    /// Reads the maps to the end of the file; the elements of arrays are passed over.
    pub(crate) fn open(path: &Path, bytes: FileBytes<'a>) -> Result<Self, CheckpointError> {
        let content = bytes.as_ref();
        let mut walk = Walk {
            reader: Reader::new(path, content, 0..content.len()),
            name: String::new(),
            open: Vec::new(),
            paths: PATHS_FLOOR.saturating_add(content.len().saturating_mul(PATHS_RATIO)),
            names: BTreeSet::new(),
            entries: Vec::new(),
            stored: Vec::new(),
            facts: BTreeMap::new(),
            ignored: Vec::new(),
        };
        walk.run()?;
        let Walk {
            entries,
            stored,
            facts,
            ignored,
            ..
        } = walk;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            entries,
            stored,
            facts,
            ignored,
        })
    }
}

impl Source for MsgpackFile<'_> {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn ignored(&self) -> Vec<(String, String)> {
        self.ignored.clone()
    }

    fn facts(&self) -> &BTreeMap<String, String> {
        &self.facts
    }

    fn read(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        self.entries[index].check_weight(&self.path)?;
        self.read_numbers(index)
    }

    fn read_numbers(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        let entry = &self.entries[index];
        // The number of bytes has been compared with shape and element type.
        entry.byte_count(&self.path)?;
        let mut values = Vec::with_capacity(entry.count(&self.path)?);
        for range in &self.stored[index] {
            let data = self.bytes.as_ref().get(range.clone()).unwrap_or(&[]);
            entry.element.decode(data, &mut values);
            self.bytes.release(range.clone());
        }
        Ok(values)
    }
}

/// A map or list that is being read.
struct Open {
    /// Items still to come.
    left: u32,
    /// Items read, for lists.
    read: u32,
    is_map: bool,
    /// Length of its own path.
    name: usize,
    /// Entries before it.
    entries: usize,
    chunked: bool,
}

/// A walk over the whole file, without recursion.
struct Walk<'a> {
    reader: Reader<'a>,
    /// Path to the current item.
    name: String,
    open: Vec<Open>,
    /// Bytes of paths that may still be kept.
    paths: usize,
    names: BTreeSet<String>,
    entries: Vec<Entry>,
    stored: Vec<Vec<Range<usize>>>,
    facts: BTreeMap<String, String>,
    ignored: Vec<(String, String)>,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), CheckpointError> {
        match self.reader.next()? {
            Item::Map(count) => self.enter(count, true)?,
            _ => {
                self.reader.at = 0;
                return Err(self.reader.fail("a map", "another value"));
            }
        }
        while let Some(open) = self.open.last_mut() {
            let name = open.name;
            let Some(left) = open.left.checked_sub(1) else {
                self.leave()?;
                continue;
            };
            open.left = left;
            let number = open.read;
            open.read += 1;
            let is_map = open.is_map;
            self.name.truncate(name);
            if name > 0 {
                self.name.push('/');
            }
            if is_map {
                let at = self.reader.at;
                let Item::Text(key) = self.reader.next()? else {
                    self.reader.at = at;
                    return Err(self.reader.fail("a text as key", "another value"));
                };
                self.name.push_str(key);
                if key == CHUNKED
                    && let Some(open) = self.open.last_mut()
                {
                    open.chunked = true;
                }
            } else {
                self.name.push_str(&number.to_string());
            }
            self.value()?;
        }
        if self.reader.rest().is_empty() {
            return Ok(());
        }
        let found = format!("{} more bytes", self.reader.rest().len());
        Err(self.reader.fail("the end of the file", &found))
    }

    /// Reads the value at the current path.
    fn value(&mut self) -> Result<(), CheckpointError> {
        match self.reader.next()? {
            Item::Map(count) => self.enter(count, true),
            Item::List(count) => self.enter(count, false),
            Item::Extension(ARRAY | SCALAR, range) => self.array(range),
            Item::Text(text) if text.len() <= LONGEST_FACT => self.fact(text.to_owned()),
            Item::Int(value) => self.fact(value.to_string()),
            Item::Plain(text) => self.fact(text),
            Item::Text(_) | Item::Nothing | Item::Bytes(_) => self.ignore("no tensor"),
            Item::Extension(..) => self.ignore("an extension type that holds no tensor"),
        }
    }

    fn enter(&mut self, count: u32, is_map: bool) -> Result<(), CheckpointError> {
        if self.open.len() >= DEEPEST {
            let expected = format!("maps at most {DEEPEST} deep");
            return Err(self.reader.fail(&expected, "more"));
        }
        self.open.push(Open {
            left: count,
            read: 0,
            is_map,
            name: self.name.len(),
            entries: self.entries.len(),
            chunked: false,
        });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), CheckpointError> {
        if let Some(open) = self.open.pop()
            && open.chunked
        {
            self.name.truncate(open.name);
            self.join(open.entries)?;
        }
        Ok(())
    }

    /// The current path, to be kept.
    fn path(&mut self) -> Result<String, CheckpointError> {
        match self.paths.checked_sub(self.name.len()) {
            Some(left) => self.paths = left,
            None => {
                return Err(self.reader.fail(
                    "a plausible length of paths",
                    "more than the length of the file justifies",
                ));
            }
        }
        Ok(self.name.clone())
    }

    fn fact(&mut self, text: String) -> Result<(), CheckpointError> {
        if self.facts.len() < MOST_FACTS {
            let path = self.path()?;
            self.facts.insert(path, text);
        }
        Ok(())
    }

    fn ignore(&mut self, why: &str) -> Result<(), CheckpointError> {
        if self.ignored.len() < MOST_FACTS {
            let path = self.path()?;
            self.ignored.push((path, why.to_owned()));
        }
        Ok(())
    }

    fn broken(&self, expected: &str, found: &str) -> CheckpointError {
        CheckpointError::malformed(
            self.reader.path,
            format!("tensor {}", shown(&self.name)),
            expected,
            shown(found),
        )
    }

    /// Adds a tensor under the current path.
    fn add(
        &mut self,
        shape: Vec<usize>,
        element: ElementType,
        stored: Vec<Range<usize>>,
    ) -> Result<(), CheckpointError> {
        let length: usize = stored.iter().map(ExactSizeIterator::len).sum();
        let expected = element_count(&shape).zip(element.stored_size());
        if let Some((count, size)) = expected
            && count.checked_mul(size) != Some(length)
        {
            return Err(self.broken(
                &format!("{count} elements of {size} bytes"),
                &format!("{length} bytes"),
            ));
        }
        if element_count(&shape).is_none() {
            return Err(self.broken("a shape that fits in memory", &format!("{shape:?}")));
        }
        let name = self.path()?;
        if !self.names.insert(name.clone()) {
            return Err(self.broken("one tensor of this name", "a second one"));
        }
        self.entries.push(Entry {
            name,
            full_name: None,
            shape,
            element,
        });
        self.stored.push(stored);
        Ok(())
    }

    /// Reads the head of an array: `[shape, element type, elements]`.
    fn array(&mut self, range: Range<usize>) -> Result<(), CheckpointError> {
        let content = self.reader.content;
        let mut reader = Reader::new(self.reader.path, content, range);
        let wrong = |found: &str| self.broken("an array of shape, element type and bytes", found);
        let Item::List(3) = reader.next()? else {
            return Err(wrong("no list of three"));
        };
        let Item::List(axes) = reader.next()? else {
            return Err(wrong("no list of sides"));
        };
        let mut shape = Vec::new();
        for _ in 0..axes {
            match reader.next()? {
                Item::Int(side) => shape.push(usize::try_from(side).map_err(|_| {
                    let found = format!("a side of {side}");
                    self.broken("sides that fit in memory", &found)
                })?),
                _ => return Err(wrong("a side that is no number")),
            }
        }
        let Item::Text(element) = reader.next()? else {
            return Err(wrong("no element type"));
        };
        let Item::Bytes(data) = reader.next()? else {
            return Err(wrong("no elements"));
        };
        if !reader.rest().is_empty() {
            return Err(wrong("more values"));
        }
        self.add(shape, ElementType::named(element), vec![data])
    }

    /// Makes one tensor of the pieces read since `first`: `chunks/0`, `chunks/1`, ..., with the
    /// sides of the whole as the numbers `shape/0`, `shape/1`, ...
    fn join(&mut self, first: usize) -> Result<(), CheckpointError> {
        let prefix = if self.name.is_empty() {
            String::new()
        } else {
            format!("{}/", self.name)
        };
        let mut shape = Vec::new();
        while let Some(side) = self.facts.remove(&format!("{prefix}shape/{}", shape.len())) {
            let parsed = side.parse();
            shape.push(parsed.map_err(|_| self.broken("sides that fit in memory", &side))?);
        }
        self.facts.remove(&format!("{prefix}{CHUNKED}"));
        let pieces = self.entries.split_off(first);
        let stored = self.stored.split_off(first).into_iter().flatten().collect();
        for (number, piece) in pieces.iter().enumerate() {
            let expected = format!("{prefix}chunks/{number}");
            if piece.name != expected || piece.element != pieces[0].element {
                return Err(self.broken(
                    &format!("pieces of one type, the next under {}", shown(&expected)),
                    &format!("{} under {}", piece.element, piece.name),
                ));
            }
            self.names.remove(&piece.name);
        }
        let Some(element) = pieces.first().map(|piece| piece.element.clone()) else {
            return Err(self.broken("pieces of an array", "none"));
        };
        self.add(shape, element, stored)
    }
}
