use fastpix::checkpoint::{Averages, LoadOptions};
use fastpix::network::Condition;
use test_support::engine::MODES;
use test_support::reference::assert_close;

use super::{
    Expected, Given, arrays, assert_parity, by_the_library, codes, evaluate, family, generate,
    network, open, values,
};
use super::{cpu, engine};

const FILE: &str = "hawc/params_hawc2.ckpt";

#[test]
fn both_sets_of_weights_match_the_original() {
    let io = arrays("hawc/io.npz");
    let images = codes(&io["x_u8"]);
    for (which, raw) in [("ema", false), ("raw", true)] {
        let options = LoadOptions::new().raw_weights(raw);
        let model = open(&family(FILE), &options);
        assert_eq!(model.averages, Averages::Present { used: !raw });
        let hyper = model.hyperparameters.pixelcnnpp().unwrap();
        assert_eq!((hyper.channels, hyper.nr_mix, hyper.levels), (2, 4, 3));
        assert_eq!(hyper.condition, Condition::Vector(1));
        let nats = &io[&format!("nll_nats_per_image_{which}")].values;
        let nats: Vec<f64> = nats.iter().map(|nats| -nats).collect();
        let expected = Expected {
            images: (&images).into(),
            given: Given::vectors(&io["h"]),
            parameters: &io[&format!("logits_{which}")].values,
            nats: Some(&nats),
            // The original computed in f32: 5e-7 from float64.
            tolerance: (1e-5, 1e-5),
            // Its bins are differences of f32 sigmoids.
            nats_tolerance: 2e-2,
        };
        assert_parity(which, &network(&model), &expected);
    }
}

#[test]
fn values_that_are_no_codes_match_the_reference() {
    let io = arrays("hawc/io.npz");
    let images = values(&io["x_values"]);
    let model = network(&open(&family(FILE), &LoadOptions::new()));
    let given = Given::vectors(&io["h"]);
    let engine = engine(&model, &cpu());
    for mode in MODES {
        let (found, nats) = evaluate(&engine, (&images).into(), &given, mode);
        assert_close(
            "parameters",
            &found,
            &io["outputs_of_values"].values,
            1e-5,
            1e-5,
        );
        let nats: Vec<f32> = nats.into_iter().map(|nats| -nats as f32).collect();
        // The original's rule takes bins above 1e-5 as differences of f32 sigmoids: up to 1.2 % of
        // such a bin, 0.012 nats per channel, is within its rounding.
        let expected = &io["nats_of_values"].values;
        assert_close("nats", &nats, expected, 2.0 * 0.012, 1e-4);
    }
}

#[test]
fn given_uniforms_give_the_originals_pictures() {
    let io = arrays("hawc/io.npz");
    let model = network(&open(&family(FILE), &LoadOptions::new()));
    let given = Given::vectors(&io["h"]);
    let rule = by_the_library(&model);
    for mode in MODES {
        let found = generate(&model, &io["u_mix"], &io["u_log"], &given, mode, &*rule);
        let expected = &io["generated_continuous"].values;
        // 4e-7 lie between the original, in f32, and float64; later pixels see earlier ones.
        assert_close("pictures", &found.values, expected, 2e-5, 0.0);
    }
}
