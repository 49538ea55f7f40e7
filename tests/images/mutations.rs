//! None may panic or take more memory than its size justifies.

use std::path::Path;

use fastpix::images::{self, NpyArray};
use test_support::allocator::PerThread;
use test_support::checkpoint_files::npy;
use test_support::mutations::{Random, mutate};

/// Opens a file cut at every byte, then damaged in many ways.
fn assault(name: &str, bytes: &[u8], allowed: isize, open: &dyn Fn(&Path) -> Result<(), String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let attempt = |bytes: &[u8], what: &dyn Fn() -> String| {
        std::fs::write(&path, bytes).unwrap();
        let (result, peak) = PerThread::peak(|| open(&path));
        assert!(peak <= allowed, "{}: {peak} bytes held", what());
        if let Err(error) = &result {
            let text = error.replace(&path.display().to_string(), name);
            let one_line = !text.contains('\n') && text.len() < 1000;
            assert!(one_line && text.starts_with(name), "{}: {text}", what());
        }
        result
    };
    attempt(bytes, &|| "intact".into()).unwrap();
    for length in 0..bytes.len() {
        let what = || format!("{name} cut to {length} bytes");
        assert!(
            attempt(&bytes[..length], &what).is_err(),
            "{}: was read",
            what()
        );
    }
    let mut random = Random::new(7);
    let mut refused = 0;
    for number in 0..2000 {
        let mut damaged = bytes.to_vec();
        for _ in 0..=random.below(3) {
            mutate(&mut damaged, &mut random);
        }
        let what = || format!("{name}, mutation {number}");
        refused += usize::from(attempt(&damaged, &what).is_err());
    }
    assert!(refused > 0, "{name}: no damage was ever noticed");
}

/// What a file of so many bytes may take: twice its size for another order, and numbers of other types;
/// and what reading takes whatever the size.
fn allowed(size: usize) -> isize {
    (40 * size + (1 << 20)) as isize
}

#[test]
fn damaged_arrays_give_one_error() {
    let open = |path: &Path| {
        let array = NpyArray::open(path).map_err(|error| error.to_string())?;
        // Elements may be anything, which is an error or none.
        for error in [
            array.codes(300).err(),
            array.labels().err(),
            array.finite().err(),
        ]
        .into_iter()
        .flatten()
        {
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        Ok(())
    };
    for (descr, fortran, shape) in [
        ("<u2", false, "(2, 3, 4)"),
        ("<i8", true, "(2, 3)"),
        ("<f4", true, "(3, 2, 2)"),
        (">f8", false, "(6,)"),
    ] {
        let bytes = npy(descr, fortran, shape, &[1; 48]);
        assault("array.npy", &bytes, allowed(bytes.len()), &open);
    }
}

#[test]
fn damaged_images_give_one_error() {
    let open = |path: &Path| {
        let read = images::read(path);
        read.map(|_| ()).map_err(|error| error.to_string())
    };
    let bytes = npy("|u1", false, "(2, 4, 4, 3)", &[9; 96]);
    assault("images.npy", &bytes, allowed(bytes.len()), &open);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 5, 4);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[77; 60]).unwrap();
    writer.finish().unwrap();
    // A PNG can stand for some thousand times its size.
    let allowed = (bytes.len() * 1100 + (1 << 20)) as isize;
    assault("image.png", &bytes, allowed, &open);
}
