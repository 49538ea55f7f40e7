use std::path::{Path, PathBuf};

use fastpix::audio::{AudioError, Wav, WavWriter, read_wav};
use test_support::allocator::PerThread;

/// A WAV file by its definition: the `fmt ` chunk of a format, extensible if asked for, then the data.
fn wav(format: u16, channels: u16, bits: u16, rate: u32, data: &[u8]) -> Vec<u8> {
    let block = channels * bits / 8;
    let extensible = bits > 16;
    let mut fmt = Vec::new();
    fmt.extend(if extensible { 0xfffe } else { format }.to_le_bytes());
    fmt.extend(channels.to_le_bytes());
    fmt.extend(rate.to_le_bytes());
    fmt.extend((rate * u32::from(block)).to_le_bytes());
    fmt.extend(block.to_le_bytes());
    fmt.extend(bits.to_le_bytes());
    if extensible {
        fmt.extend(22u16.to_le_bytes());
        fmt.extend(bits.to_le_bytes());
        fmt.extend(4u32.to_le_bytes());
        fmt.extend(format.to_le_bytes());
        fmt.extend(b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
    }
    let mut file = b"RIFF".to_vec();
    let length = 4 + 8 + fmt.len() + 8 + data.len();
    file.extend((length as u32).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend((fmt.len() as u32).to_le_bytes());
    file.extend(fmt);
    file.extend(b"data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

/// Reads bytes through a file.
fn read(bytes: &[u8]) -> Result<Wav, AudioError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.wav");
    std::fs::write(&path, bytes).unwrap();
    read_wav(&path)
}

/// Why bytes are refused, without the file's name.
fn refusal(bytes: &[u8]) -> String {
    let text = read(bytes).unwrap_err().to_string();
    text.split_once("in.wav: ")
        .expect("names the file")
        .1
        .into()
}

fn samples(bytes: &[u8]) -> Vec<f32> {
    read(bytes)
        .unwrap_or_else(|error| panic!("{error}"))
        .samples
}

#[test]
fn all_kinds_of_samples_are_read() {
    let data: Vec<u8> = [0i16, 1, -1, 16384, i16::MAX, i16::MIN]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let step = 1.0 / 32768.0;
    let expected = [0.0, step, -step, 0.5, 1.0 - step, -1.0];
    let found = read(&wav(1, 1, 16, 44100, &data)).unwrap();
    assert_eq!(
        (found.sample_rate, &found.samples[..]),
        (44100, &expected[..])
    );

    let data: Vec<u8> = [0i32, 1 << 22, -(1 << 23), -1]
        .iter()
        .flat_map(|x| x.to_le_bytes()[..3].to_vec())
        .collect();
    let expected = [0.0, 0.5, -1.0, -1.0 / 8_388_608.0];
    assert_eq!(samples(&wav(1, 1, 24, 8000, &data)), expected);

    let data: Vec<u8> = [0i32, 1 << 30, i32::MIN]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    assert_eq!(samples(&wav(1, 1, 32, 8000, &data)), [0.0, 0.5, -1.0]);

    let data: Vec<u8> = [0.25f32, -1.0, 1.5, -1e30]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    assert_eq!(
        samples(&wav(3, 1, 32, 8000, &data)),
        [0.25, -1.0, 1.0, -1.0]
    );

    // 8 bits are not negative.
    assert_eq!(
        samples(&wav(1, 1, 8, 8000, &[128, 0, 192])),
        [0.0, -1.0, 0.5]
    );
    assert!(samples(&wav(1, 1, 16, 8000, &[])).is_empty());
}

#[test]
fn other_files_are_refused_in_one_line() {
    for (bytes, text) in [
        (
            wav(1, 2, 16, 8000, &[0; 8]),
            "expected one channel, found 2",
        ),
        (
            wav(3, 1, 32, 8000, &f32::NAN.to_le_bytes()),
            "expected samples that are finite numbers, found NaN",
        ),
        (
            wav(7, 1, 8, 8000, &[0; 4]),
            "expected whole numbers of 8, 16, 24 or 32 bits or floating-point numbers of 32 bits, \
             found another kind of samples",
        ),
        (
            b"RIFX".to_vec(),
            "expected a WAV file, found no RIFF tag found",
        ),
        (
            b"RIFF\0\0\0\0AVI ".to_vec(),
            "expected a WAV file, found no WAVE tag found",
        ),
        (
            vec![],
            "expected a whole WAV file, found one that is cut short",
        ),
        (
            wav(1, 1, 16, 8000, &[0; 8])[..49].to_vec(),
            "expected a whole WAV file, found one that is cut short",
        ),
    ] {
        assert_eq!(refusal(&bytes), text);
    }
    let error = read_wav(Path::new("no/such.wav")).unwrap_err().to_string();
    assert!(error.starts_with("no/such.wav: cannot read: "), "{error}");
}

#[test]
fn a_header_that_promises_more_takes_no_memory() {
    let mut bytes = wav(1, 1, 16, 8000, &[0; 8]);
    bytes[40..44].copy_from_slice(&(u32::MAX - 1).to_le_bytes());
    let (text, peak) = PerThread::peak(|| refusal(&bytes));
    assert!(text.contains("cut short"), "{text}");
    assert!(peak < 1 << 20, "{peak}");
}

#[test]
fn damaged_files_give_one_error_or_samples() {
    let data: Vec<u8> = (0..200).map(|at| (at * 37) as u8).collect();
    let mut state = 1u64;
    let mut below = |limit: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((state >> 33) % limit as u64) as usize
    };
    for (format, bits) in [(1, 16), (1, 24), (3, 32), (1, 8)] {
        let intact = wav(format, 1, bits, 22050, &data);
        for number in 0..400 {
            let mut damaged = intact.clone();
            if number < 200 {
                damaged.truncate(intact.len() * number / 200);
            }
            for _ in 0..=below(3) {
                if let Some(last) = damaged.len().checked_sub(1) {
                    let at = below(70).min(last);
                    damaged[at] = [0, 1, 255, 128, below(256) as u8][below(5)];
                }
            }
            let (read, peak) = PerThread::peak(|| read(&damaged));
            assert!(peak < 1 << 20, "{peak}");
            if let Err(error) = read {
                assert!(!error.to_string().contains('\n'), "{error}");
            }
        }
    }
}

/// Where a file is to be, in a folder of its own.
fn target(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("out.wav")
}

#[test]
fn what_is_written_is_a_wav_file_by_its_definition() {
    let folder = tempfile::tempdir().unwrap();
    let path = target(&folder);
    let mut writer = WavWriter::create(&path, 22050).unwrap();
    writer.write(&[0.0, 0.5]).unwrap();
    writer.write(&[]).unwrap();
    assert!(!path.exists(), "before it is whole");
    writer.write(&[-1.0, 1.0, 7.0, f32::NAN]).unwrap();
    writer.finish().unwrap();
    let expected: Vec<u8> = [0i16, 16384, i16::MIN, i16::MAX, i16::MAX, 0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes, wav(1, 1, 16, 22050, &expected));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_was_read_is_written_back_to_the_last_bit() {
    let data: Vec<u8> = (i16::MIN..=i16::MAX)
        .step_by(13)
        .flat_map(i16::to_le_bytes)
        .collect();
    let bytes = wav(1, 1, 16, 16000, &data);
    let folder = tempfile::tempdir().unwrap();
    let path = target(&folder);
    let Wav {
        sample_rate,
        samples,
    } = read(&bytes).unwrap();
    let mut writer = WavWriter::create(&path, sample_rate).unwrap();
    for part in samples.chunks(1000) {
        writer.write(part).unwrap();
    }
    writer.finish().unwrap();
    assert!(std::fs::read(&path).unwrap() == bytes);
}

#[test]
fn a_file_that_is_not_finished_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = target(&folder);
    std::fs::write(&path, b"before").unwrap();
    let mut writer = WavWriter::create(&path, 8000).unwrap();
    writer.write(&[0.5; 100_000]).unwrap();
    drop(writer);
    assert_eq!(std::fs::read(&path).unwrap(), b"before");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn files_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let create = |path: &Path, rate| WavWriter::create(path, rate).unwrap_err().to_string();
    let text = create(&target(&folder), 0);
    assert!(
        text.ends_with("expected 1 to 1073741824 samples per second, found 0"),
        "{text}"
    );
    let text = create(&target(&folder), u32::MAX);
    assert!(text.ends_with("found 4294967295"), "{text}");
    let text = create(&folder.path().join("none/out.wav"), 8000);
    assert!(text.contains("out.wav: cannot write: "), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
