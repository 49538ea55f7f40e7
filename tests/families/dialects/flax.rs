use fastpix::checkpoint::{Averages, Checkpoint, Format, LoadOptions};
use fastpix::families::pixelcnnpp::{AuxGoingUp, Dialect, InnerActivation};
use fastpix::network::{Network, OutputDistribution};
use test_support::engine::{MODES, cpu, engine};
use test_support::reference::{assert_close, unpacked};

use super::{
    Expected, Given, Rule, arrays, assert_parity, codes, evaluate, from_bytes, generate, network,
};

fn published() -> Checkpoint {
    let bytes = unpacked("formats/flax/params.flax");
    from_bytes("params.flax", &bytes, &LoadOptions::new())
}

#[test]
fn published_checkpoints_are_the_original_under_other_names() {
    let model = published();
    assert_eq!(
        (model.format, model.averages),
        (Format::Flax, Averages::Absent)
    );
    let hyper = model.hyperparameters.pixelcnnpp().unwrap();
    assert_eq!(hyper.dialect, Dialect::original());
    assert_eq!((hyper.levels, hyper.nr_resnet), (3, 1));
    assert_eq!((hyper.nr_filters, hyper.nr_mix, hyper.channels), (8, 4, 3));
    assert!(
        model
            .notes
            .iter()
            .any(|note| note.contains("per input channel"))
    );
    let io = arrays("flax_published/io.npz");
    let images = codes(&io["x_u8"]);
    let expected = Expected {
        images: (&images).into(),
        given: Given::default(),
        parameters: &io["outputs"].values,
        nats: None,
        // The original computed in f32: 2.5e-7 from float64.
        tolerance: (1e-5, 1e-5),
        nats_tolerance: 0.0,
    };
    let network = network(&model);
    assert_parity("published", &network, &expected);
    let engine = engine(&network, &cpu());
    for mode in MODES {
        let (_, nats) = evaluate(&engine, (&images).into(), &Given::default(), mode);
        let nats: Vec<f32> = nats.into_iter().map(|nats| -nats as f32).collect();
        // Bins above 1e-5 are differences of f32 sigmoids: 0.012 nats per channel.
        let expected = &io["nats_per_pixel"].values;
        assert_close("nats", &nats, expected, 3.0 * 0.012, 1e-4);
    }
}

/// A file of flax' example with both sets of weights.
fn example(raw: bool) -> Checkpoint {
    let bytes = unpacked("families/pixelcnnpp/flax/checkpoint_60");
    let options = LoadOptions::new().raw_weights(raw);
    from_bytes("checkpoint_60", &bytes, &options)
}

#[test]
fn both_sets_of_weights_of_the_example_match_it() {
    let io = arrays("flax/io.npz");
    let images = codes(&io["x_u8"]);
    for (which, raw) in [("ema", false), ("raw", true)] {
        let model = example(raw);
        assert_eq!(model.averages, Averages::Present { used: !raw });
        let hyper = model.hyperparameters.pixelcnnpp().unwrap();
        assert_eq!(hyper.dialect, Dialect::flax_example());
        assert_eq!(hyper.dialect.inner_activation, InnerActivation::WithAux);
        assert_eq!(hyper.dialect.aux_going_up, AuxGoingUp::Before);
        assert_eq!((hyper.levels, hyper.nr_resnet, hyper.nr_mix), (3, 1, 4));
        let state = |name: &str| name.starts_with("0/state/");
        assert!(model.ignored.iter().any(|ignored| state(&ignored.name)));
        let expected = Expected {
            images: (&images).into(),
            given: Given::default(),
            parameters: &io[&format!("outputs_{which}")].values,
            nats: Some(&io[&format!("nats_{which}")].values),
            // In f32 the original is 5e-6 from itself in float64, and 4e-4 nats.
            tolerance: (2e-5, 1e-5),
            nats_tolerance: 4e-3,
        };
        assert_parity(which, &network(&model), &expected);
    }
}

/// The example rounds each channel before the next one of the same pixel sees it.
fn rounding_each_channel(network: &Network) -> Box<Rule> {
    let OutputDistribution::LogisticMixture(mixture) = *network.graph().output() else {
        panic!("a mixture");
    };
    let (layout, input) = (mixture.layout, network.graph().input().clone());
    Box::new(move |parameters, u_mix, u_log, values| {
        let score = |k: usize| parameters[layout.logit(k)] - (-u_mix[k].ln()).ln();
        let components = 0..mixture.mixtures;
        let component = components.max_by(|&a, &b| score(a).total_cmp(&score(b)));
        let component = component.unwrap();
        let mut pair = 0;
        for (channel, &u) in u_log.iter().enumerate() {
            let mut mean = f64::from(parameters[layout.mean(channel, component)]);
            for before in &values[..channel] {
                let coefficient = parameters[layout.coefficient(pair, component)];
                mean += f64::from(coefficient).tanh() * f64::from(*before);
                pair += 1;
            }
            let raw = f64::from(parameters[layout.scale(channel, component)]);
            let inverse_scale = raw.exp().ln_1p().max(1e-7);
            let u = f64::from(u);
            let value = mean + (u.ln() - (-u).ln_1p()) / inverse_scale;
            values[channel] = input.value(input.code(value as f32));
        }
    })
}

#[test]
fn given_uniforms_give_the_pictures_of_the_example() {
    let io = arrays("flax/io.npz");
    let model = network(&example(false));
    let rule = rounding_each_channel(&model);
    for mode in MODES {
        let given = Given::default();
        let found = generate(&model, &io["u_mix"], &io["u_log"], &given, mode, &*rule);
        let found: Vec<u8> = found.to_u8().values;
        assert_eq!(found, io["generated"].u8(), "{mode:?}");
    }
}
