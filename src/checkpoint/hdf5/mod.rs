//! HDF5 as Keras and h5py write it: groups within groups, and in them datasets of numbers.
//!
//! A small reader of the part of the format (version 3 of its specification) that such files use:
//! every superblock and object header, groups with symbol tables or with their links in the
//! header, and contiguous, compact or chunked data, the latter deflated or not. A tensor's name
//! is the path of groups to it, joined with `/`.

mod chunks;
mod dataset;
mod group;
mod header;
mod structure;
mod tree;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::CheckpointError;
use super::bytes::FileBytes;
use super::error::shown;
use super::source::{Entry, Source};
use chunks::Allowance;
use dataset::{Dataset, Storage};
use group::Link;
use header::Header;
pub(super) use structure::looks_like;
use structure::{Address, Structure};

/// Deepest nesting of groups.
const DEEPEST: usize = 64;

/// Most things beside the tensors that are listed with a reason.
const MOST_IGNORED: usize = 1024;

/// An opened file.
pub(crate) struct Hdf5File<'a> {
    path: PathBuf,
    bytes: FileBytes<'a>,
    /// Bytes before the superblock.
    base: usize,
    entries: Vec<Entry>,
    datasets: Vec<Dataset>,
    ignored: Vec<(String, String)>,
}

impl<'a> Hdf5File<'a> {
    /// Reads every group and the header of every dataset.
    pub(crate) fn open(path: &Path, bytes: FileBytes<'a>) -> Result<Self, CheckpointError> {
        let mut file = Structure::open(path, bytes.as_ref())?;
        let mut entries = Vec::new();
        let mut datasets = Vec::new();
        let mut allowance = Allowance::new(file.content().len());
        let mut ignored = Vec::new();
        let mut ignore = |name: String, why: &str| {
            if ignored.len() < MOST_IGNORED {
                ignored.push((name, why.to_owned()));
            }
        };
        // Objects may have several names; the first one counts, which also ends cycles.
        let mut seen: BTreeSet<Address> = BTreeSet::new();
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut waiting = vec![(String::new(), file.root(), 0)];
        while let Some((name, address, depth)) = waiting.pop() {
            if !seen.insert(address) {
                ignore(name, "a second name of an object");
                continue;
            }
            let header = Header::read(&mut file, address)?;
            if let Some(mut dataset) = Dataset::parse(&file, &header, &name)? {
                if !names.insert(name.clone()) {
                    return Err(dataset::fail(
                        path,
                        &name,
                        "one dataset of this name",
                        "two",
                    ));
                }
                if let Storage::Chunked(chunked) = &dataset.storage {
                    let listed = chunks::list(&mut file, &name, &dataset, chunked, &mut allowance)?;
                    dataset.list_chunks(listed);
                }
                entries.push(Entry {
                    name,
                    full_name: None,
                    shape: dataset.shape.clone(),
                    element: dataset.element.clone(),
                });
                datasets.push(dataset);
                continue;
            }
            let Some(links) = group::links(&mut file, &header)? else {
                ignore(name, "neither a group nor a dataset");
                continue;
            };
            if depth >= DEEPEST && !links.is_empty() {
                return Err(CheckpointError::malformed(
                    path,
                    format!("group {}", shown(&name)),
                    format!("groups at most {DEEPEST} deep"),
                    "deeper ones",
                ));
            }
            // Taken from the end: the first link is followed first.
            for (link, target) in links.into_iter().rev() {
                let slash = if name.is_empty() { "" } else { "/" };
                let inner = format!("{name}{slash}{link}");
                file.charge(inner.len(), address)?;
                match target {
                    Link::Hard(target) => waiting.push((inner, target, depth + 1)),
                    Link::Elsewhere => ignore(inner, "a link by name"),
                }
            }
        }
        check_disjoint(&file, &entries, &datasets)?;
        let base = file.base();
        Ok(Self {
            path: path.to_owned(),
            base,
            bytes,
            entries,
            datasets,
            ignored,
        })
    }
}

/// Refuses tensors that share bytes: a small file could hold any number of large ones.
fn check_disjoint(
    file: &Structure<'_>,
    entries: &[Entry],
    datasets: &[Dataset],
) -> Result<(), CheckpointError> {
    let mut ranges: Vec<(usize, usize, &str)> = Vec::new();
    for (entry, dataset) in entries.iter().zip(datasets) {
        match &dataset.storage {
            Storage::Plain(range) => ranges.push((range.start, range.end, &entry.name)),
            Storage::Chunked(chunked) => ranges.extend(chunked.chunks.iter().map(|chunk| {
                let start = file.base() + chunk.at;
                (start, start + chunk.size, entry.name.as_str())
            })),
            Storage::Unread(_) => {}
        }
    }
    ranges.retain(|(start, end, _)| start < end);
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        if let [(_, end, first), (start, _, second)] = pair
            && start < end
        {
            let found = format!("those of {}", shown(first));
            return Err(dataset::fail(
                file.path(),
                second,
                "bytes of its own",
                &found,
            ));
        }
    }
    Ok(())
}

impl Source for Hdf5File<'_> {
    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn ignored(&self) -> Vec<(String, String)> {
        self.ignored.clone()
    }

    fn read(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        self.entries[index].check_weight(&self.path)?;
        self.read_numbers(index)
    }

    fn read_numbers(&mut self, index: usize) -> Result<Vec<f32>, CheckpointError> {
        let (entry, dataset) = (&self.entries[index], &self.datasets[index]);
        if entry.element.stored_size().is_none() {
            return Err(entry.unread(&self.path));
        }
        let count = entry.count(&self.path)?;
        match &dataset.storage {
            Storage::Plain(range) => {
                // Within the file and of the right length: checked when it was opened.
                let data = self.bytes.as_ref().get(range.clone()).unwrap_or(&[]);
                let mut values = Vec::with_capacity(count);
                dataset.decode(data, &mut values);
                self.bytes.release(range.clone());
                Ok(values)
            }
            Storage::Chunked(chunked) => {
                let content = self.bytes.as_ref().get(self.base..).unwrap_or(&[]);
                chunks::read(&self.path, content, &entry.name, dataset, chunked, count)
            }
            Storage::Unread(found) => Err(dataset::fail(
                &self.path,
                &entry.name,
                "contiguous, compact or chunked elements",
                found,
            )),
        }
    }
}
