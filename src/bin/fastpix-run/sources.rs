//! Options that name existing images and their classes, and reading them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use fastpix::network::Graph;
use fastpix::{U8Images, images};

/// Existing images.
#[derive(Debug, Args)]
pub struct SourceArguments {
    /// PNGs of one size, or .npy files of uint8 (N, H, W, C).
    #[arg(value_name = "IMAGES", required_unless_present = "images")]
    positional: Vec<PathBuf>,
    /// The same, named.
    #[arg(long, value_name = "IMAGES", num_args = 1..)]
    images: Vec<PathBuf>,
    /// Classes of the images: a .npy file of N integers.
    #[arg(long, value_name = "FILE.npy", conflicts_with = "class")]
    pub labels: Option<PathBuf>,
}

/// Images with their classes.
pub struct Source {
    /// All images.
    pub images: U8Images,
    /// One per image if `--labels` was given.
    pub labels: Option<Vec<usize>>,
}

impl SourceArguments {
    /// Reads all images; they must be of one size and fit the model.
    pub fn read(&self, graph: &Graph) -> Result<Source> {
        let channels = graph.channels();
        let mut all: Option<U8Images> = None;
        for path in self.positional.iter().chain(&self.images) {
            let read = images::read(path)?;
            let [count, height, width, found] = read.shape;
            ensure!(
                found == channels,
                "{}: expected {channels} channel(s) for this model, found {found}",
                path.display()
            );
            graph
                .check_size((height, width))
                .with_context(|| format!("{}", path.display()))?;
            match &mut all {
                None => all = Some(read),
                Some(all) => {
                    let [_, first_height, first_width, _] = all.shape;
                    ensure!(
                        [height, width] == [first_height, first_width],
                        "{}: expected {first_height}x{first_width} pixels like the images before, \
                         found {height}x{width}",
                        path.display()
                    );
                    all.shape[0] += count;
                    all.values.extend_from_slice(&read.values);
                }
            }
        }
        let Some(images) = all.filter(|images| images.shape[0] > 0) else {
            bail!("images: expected at least one, found none");
        };
        let labels = self.labels(images.shape[0])?;
        Ok(Source { images, labels })
    }

    fn labels(&self, count: usize) -> Result<Option<Vec<usize>>> {
        let Some(path) = &self.labels else {
            return Ok(None);
        };
        let labels = images::read_labels(path)?;
        ensure!(
            labels.len() == count,
            "{}: expected {count} labels, one per image, found {}",
            path.display(),
            labels.len()
        );
        Ok(Some(labels))
    }
}
