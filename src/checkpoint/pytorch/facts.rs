//! Plain values that a training program saves beside the state dict.

use std::collections::BTreeMap;

use super::pickle::{Pickle, Value};

/// More values than any program saves at the top of an object. The same dict may be saved under
/// many keys of a hostile file, so that its length alone bounds nothing.
const MOST: usize = 1024;

/// Longest text.
const LONGEST: usize = 256;

/// Numbers and texts at the top of the saved object and in the dicts there, by their keys joined
/// with `/`: `global_step`, `hyper_parameters/c_in`. Longer texts and deeper values are left out.
pub(super) fn beside(pickle: &Pickle) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let pairs = |value| pickle.dict(value).unwrap_or(&[]).iter().take(MOST);
    for (key, value) in pairs(&pickle.root) {
        let Some(name) = short(key) else { continue };
        if let Some(text) = plain(value) {
            facts.insert(name.to_owned(), text);
        }
        for (inner, value) in pairs(value) {
            if let (Some(inner), Some(text)) = (short(inner), plain(value)) {
                facts.insert(format!("{name}/{inner}"), text);
            }
            if facts.len() >= MOST {
                return facts;
            }
        }
        if facts.len() >= MOST {
            break;
        }
    }
    facts
}

/// A key or text that is not too long.
fn short(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) if text.len() <= LONGEST => Some(text),
        _ => None,
    }
}

/// A number or text as text, in Rust's spelling: `true`, `0.5`.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Bool(value) => Some(value.to_string()),
        Value::Int(value) => Some(value.to_string()),
        Value::Float(value) => Some(value.to_string()),
        value => short(value).map(str::to_owned),
    }
}
