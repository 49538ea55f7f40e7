use std::path::Path;

use fastpix::checkpoint::Checkpoint;
use serde_json::{Value, json};
use test_support::allocator::PerThread;

use super::{checkpoint, file, hparams, open_bytes, with};

/// Deterministic random numbers.
fn below(state: &mut u64, limit: usize) -> usize {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1);
    ((*state >> 33) % limit as u64) as usize
}

/// Opens damaged bytes, and makes a network of them where that is possible: never a panic, never more
/// than one line, never much memory.
fn survives(bytes: &[u8], hparams: Option<Value>, what: &str) {
    let (result, peak) = PerThread::peak(|| {
        let opened = open_bytes(bytes, hparams);
        opened.and_then(Checkpoint::into_network).map(|_| ())
    });
    assert!(
        peak < (80 * bytes.len() + (8 << 20)) as isize,
        "{what}: {peak} bytes"
    );
    if let Err(error) = result {
        let text = error.to_string();
        assert!(
            !text.contains('\n') && text.starts_with("model"),
            "{what}: {text}"
        );
    }
}

#[test]
fn mutated_files_give_one_error_or_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let converted = folder.path().join("model.safetensors");
    checkpoint("stretch/model.npz").save(&converted).unwrap();
    for (path, json) in [
        (
            file("mulaw/checkpoint_step000000100_ema_legacy.pth"),
            Some(hparams("mulaw")),
        ),
        (file("fast/v1/wavenet.ckpt"), None),
        (file("older/model.npz"), Some(hparams("older"))),
        (converted, None),
    ] {
        let bytes = std::fs::read(Path::new(&path)).unwrap();
        let mut state = 11;
        for number in 0..300 {
            let mut damaged = bytes.clone();
            for _ in 0..=below(&mut state, 3) {
                // Headers are at either end.
                let at = match below(&mut state, 3) {
                    0 => below(&mut state, bytes.len().min(4096)),
                    1 => bytes.len() - 1 - below(&mut state, bytes.len().min(4096)),
                    _ => below(&mut state, bytes.len()),
                };
                match below(&mut state, 3) {
                    0 => damaged[at] ^= 1 << below(&mut state, 8),
                    1 => damaged[at] = below(&mut state, 256) as u8,
                    _ => damaged[at] = b"0123456789"[below(&mut state, 10)],
                }
            }
            survives(
                &damaged,
                json.clone(),
                &format!("{path:?}, mutation {number}"),
            );
        }
    }
}

#[test]
fn mutated_json_gives_one_error_or_a_model() {
    let bytes = std::fs::read(file("stretch/model.npz")).unwrap();
    let intact = hparams("stretch");
    let names: Vec<String> = intact.as_object().unwrap().keys().cloned().collect();
    let hostile = [
        json!(null),
        json!(-1),
        json!(0),
        json!(3),
        json!(1e300),
        json!(u64::MAX),
        json!("x".repeat(5000)),
        json!([1, "a", null]),
        json!({"upsample_scales": [0, 1u64 << 40], "mode": 3}),
        json!(true),
    ];
    let mut refused = 0;
    for name in &names {
        for value in &hostile {
            let json = with(intact.clone(), json!({ name.as_str(): value }));
            refused += usize::from(open_bytes(&bytes, Some(json.clone())).is_err());
            survives(&bytes, Some(json), &format!("{name} {value}"));
        }
    }
    assert!(refused > names.len(), "{refused}");
}
