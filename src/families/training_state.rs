//! What training with TensorFlow leaves in a checkpoint beside the model.

/// Recognises the name of what optimisers and training loops store; says what it is.
pub(crate) fn training_state(name: &str) -> Option<&'static str> {
    let scopes = || name.split('/');
    let last = scopes().next_back().unwrap_or(name);
    if scopes().skip(1).any(|scope| {
        let slot = without_count(scope);
        matches!(
            slot,
            "Adam" | "Adamax" | "Momentum" | "RMSProp" | "adam_mg" | "adam_v"
        )
    }) {
        return Some("optimiser slot");
    }
    match without_count(name) {
        "Variable" => return Some("optimiser variable or label without a name"),
        "beta1_power" | "beta2_power" => return Some("optimiser state"),
        "_CHECKPOINTABLE_OBJECT_GRAPH" => return Some("description of the saved objects"),
        _ => {}
    }
    match last {
        "beta1_power" | "beta2_power" | "adam_t" => Some("optimiser state"),
        "global_step" | "step" | "save_counter" | "epoch" => Some("step counter"),
        "learning_rate" | "lr" => Some("learning rate"),
        _ => None,
    }
}

/// Cuts `_12` off a name that TensorFlow numbered.
fn without_count(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((base, count)) if !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit()) => {
            base
        }
        _ => name,
    }
}
