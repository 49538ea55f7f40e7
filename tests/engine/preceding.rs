use fastpix::backend::Values;
use fastpix::{EvaluationMode, EvaluationRequest};
use test_support::engine::{engine, evaluated};
use test_support::networks;
use test_support::reference::assert_close;

use crate::devices::Device;

test_on_devices!(what_precedes_a_sequence_is_as_if_it_were_its_first_row);
fn what_precedes_a_sequence_is_as_if_it_were_its_first_row(device: Device) {
    // Its parameters know three samples and no hidden state, so that a row more makes no difference.
    let network = networks::short_memory();
    let engine = engine(&network, &device.target());
    let (count, length) = (3, 70);
    let longer = networks::values(&network, count, (length + 1, 1));
    let (mut preceding, mut rest) = (Vec::new(), Vec::new());
    for sequence in longer.values.chunks(length + 1) {
        preceding.push(sequence[0]);
        rest.extend_from_slice(&sequence[1..]);
    }
    let rest = Values {
        shape: [count, length, 1, 1],
        values: rest,
    };
    for mode in [EvaluationMode::Cached, EvaluationMode::WholeImage] {
        let request = EvaluationRequest::new(&longer).mode(mode).likelihoods(true);
        let expected = evaluated(&engine, &request);
        let request = EvaluationRequest::new(&rest).preceding(&preceding);
        let found = evaluated(&engine, &request.mode(mode).likelihoods(true));
        let parameters = network.graph().parameters();
        let after_first = |numbers: &[f32]| -> Vec<f64> {
            let sequences = numbers.chunks((length + 1) * parameters);
            let rows = sequences.flat_map(|sequence| &sequence[parameters..]);
            rows.copied().map(f64::from).collect()
        };
        let expected_parameters = after_first(&expected.parameters);
        assert_close(
            "parameters",
            &found.parameters,
            &expected_parameters,
            0.0,
            0.0,
        );
        let nats: Vec<f64> = expected
            .nats
            .chunks(length + 1)
            .flat_map(|nats| &nats[1..])
            .copied()
            .collect();
        assert!(found.nats == nats, "{mode:?}");
    }
}

#[test]
fn preceding_values_that_do_not_fit_are_refused() {
    let network = networks::short_memory();
    let engine = engine(&network, &Device::Cpu.target());
    let sequences = networks::values(&network, 2, (5, 1));
    let refused = |preceding: &[f32]| {
        let request = EvaluationRequest::new(&sequences).preceding(preceding);
        let mut hooks = fastpix::Hooks::new();
        let evaluated = engine.evaluate(&request, &mut hooks, &mut |_| ());
        evaluated.unwrap_err().to_string()
    };
    assert_eq!(
        refused(&[0.0]),
        "preceding values: expected 1 for each of 2 images of width 1, found 1 for images of width 1"
    );
    assert_eq!(refused(&[0.0, 1.5]), "value: expected -1 to 1, found 1.5");
}
