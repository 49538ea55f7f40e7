use std::path::PathBuf;

use fastpix::checkpoint::{Checkpoint, Format, LoadOptions};
use fastpix::families::pixelcnnpp::{self, Dialect, Hyperparameters};
use fastpix::network::{Activation, Condition, Network, OutputDistribution};
use test_support::engine::{MODES, cpu, engine};
use test_support::reference::{Array, assert_close, golden, unpacked};

use super::{
    Expected, Given, arrays, assert_parity, by_the_library, codes, evaluate, family, from_bytes,
    generate, network, open,
};

/// The file without a condition, in all three kinds.
fn mnist_like() -> [(Checkpoint, Format); 3] {
    let options = LoadOptions::new();
    let packed = |name: &str| {
        let bytes = unpacked(&format!("formats/tfp/{name}"));
        from_bytes(name, &bytes, &options)
    };
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| -> PathBuf { folder.path().join(name) };
    for name in ["model.index", "model.data-00000-of-00001"] {
        std::fs::write(place(name), unpacked(&format!("formats/tfp/ckpt/{name}"))).unwrap();
    }
    [
        (packed("model.h5"), Format::Hdf5),
        (packed("model.weights.h5"), Format::Hdf5),
        (open(&place("model"), &options), Format::TensorFlowV2),
    ]
}

fn with_condition() -> Checkpoint {
    let bytes = unpacked("families/pixelcnnpp/tfp/rgb_cond.h5");
    from_bytes("rgb_cond.h5", &bytes, &LoadOptions::new())
}

#[test]
fn all_three_kinds_of_files_hold_the_same_model() {
    let files = mnist_like();
    let (first, _) = &files[0];
    for (model, format) in &files {
        assert_eq!(model.format, *format);
        let hyper = model.hyperparameters.pixelcnnpp().unwrap();
        assert_eq!((hyper.levels, hyper.nr_resnet), (2, 1));
        assert_eq!((hyper.nr_filters, hyper.nr_mix, hyper.channels), (6, 3, 1));
        assert_eq!(hyper.condition, Condition::None);
        let mut dialect = Dialect::tensorflow_probability();
        dialect.condition_bias = false;
        assert_eq!(hyper.dialect, dialect);
        assert!(model.tensors == first.tensors, "{format}");
        let range = |note: &String| note.contains("0 to 255 are assumed");
        assert!(model.notes.iter().any(range), "{:?}", model.notes);
    }
    // What the same arrays are called when they are saved by layer.
    let by_layer = open(&golden("formats/tfp/weights.npz"), &LoadOptions::new());
    assert!(by_layer.tensors == first.tensors);
}

/// Compares the parts of the parameters with those of the original, in float64.
fn assert_parts(what: &str, network: &Network, found: &[f32], io: &str) {
    let io = arrays(io);
    let OutputDistribution::LogisticMixture(mixture) = *network.graph().output() else {
        panic!("a mixture");
    };
    let (layout, pairs) = (mixture.layout, mixture.coefficient_count());
    let (channels, components) = (mixture.channels, 0..mixture.mixtures);
    type Part<'a> = (&'a str, usize, &'a dyn Fn(&[f32], usize, usize) -> f32);
    let softplus = |x: f32| f64::from(x).exp().ln_1p() + 0.000_911_881_972_569_972_3;
    let parts: [Part<'_>; 4] = [
        ("component_logits", 1, &|p, k, _| p[layout.logit(k)]),
        ("locs", channels, &|p, k, c| p[layout.mean(c, k)]),
        ("scales", channels, &|p, k, c| {
            softplus(p[layout.scale(c, k)]) as f32
        }),
        ("coeffs", pairs, &|p, k, i| p[layout.coefficient(i, k)]),
    ];
    for (name, count, part) in parts.into_iter().filter(|(_, count, _)| *count > 0) {
        let pixels = found.chunks(layout.parameters);
        let found: Vec<f32> = pixels
            .flat_map(|pixel| {
                let component = |k| (0..count).map(move |i| part(pixel, k, i));
                components.clone().flat_map(component).collect::<Vec<_>>()
            })
            .collect();
        // In f32 the original is 1e-6 from itself in float64.
        assert_close(
            &format!("{what} {name}"),
            &found,
            &io[name].values,
            5e-6,
            1e-5,
        );
    }
}

fn assert_model(what: &str, model: &Network, io_name: &str) {
    let io = arrays(io_name);
    let images = codes(&io["x"]);
    let given = io.get("h").map(Given::vectors).unwrap_or_default();
    let engine = engine(model, &cpu());
    for mode in MODES {
        let what = format!("{what} {mode:?}");
        let (found, nats) = evaluate(&engine, (&images).into(), &given, mode);
        assert_parts(&what, model, &found, io_name);
        let pixels: Vec<f32> = nats.iter().map(|&nats| nats as f32).collect();
        // In f32 the original is 3e-5 nats from itself per pixel, 2e-4 per image.
        assert_close(&what, &pixels, &io["log_prob_per_pixel"].values, 6e-5, 0.0);
        let per_image = nats.chunks(nats.len() / images.shape[0]);
        let sums: Vec<f32> = per_image
            .map(|nats| nats.iter().sum::<f64>() as f32)
            .collect();
        assert_close(&what, &sums, &io["log_prob"].values, 4e-4, 0.0);
    }
    let (u_mix, u_log) = (&io["u_mix"], &io["u_log"]);
    let pictures = &io["generated_continuous"];
    assert_pictures(what, model, u_mix, u_log, &given, pictures, 255.0);
    let rule = by_the_library(model);
    for mode in MODES {
        let found = generate(model, u_mix, u_log, &given, mode, &*rule);
        assert_eq!(
            found.to_u8().values,
            io["generated"].u8(),
            "{what} {mode:?}"
        );
    }
}

/// Pictures from given uniforms, in levels.
fn assert_pictures(
    what: &str,
    model: &Network,
    u_mix: &Array,
    u_log: &Array,
    given: &Given,
    expected: &Array,
    last: f32,
) {
    let rule = by_the_library(model);
    for mode in MODES {
        let found = generate(model, u_mix, u_log, given, mode, &*rule);
        let levels: Vec<f32> = found
            .values
            .iter()
            .map(|x| (x + 1.0) * last / 2.0)
            .collect();
        // In f32 the original is 2e-4 of a level from float64.
        let what = format!("{what} {mode:?}");
        assert_close(&what, &levels, &expected.values, 1e-3, 0.0);
    }
}

#[test]
fn a_model_of_one_channel_and_two_levels_matches_the_original() {
    let [(model, _), ..] = mnist_like();
    assert_model("mnist_like", &network(&model), "tfp/mnist_like_io.npz");
}

#[test]
fn a_model_of_three_channels_with_a_vector_matches_the_original() {
    let model = with_condition();
    let hyper = model.hyperparameters.pixelcnnpp().unwrap();
    assert_eq!(hyper.dialect, Dialect::tensorflow_probability());
    assert_eq!(hyper.condition, Condition::Vector(10));
    assert_eq!((hyper.levels, hyper.nr_mix, hyper.channels), (3, 4, 3));
    assert_model("rgb_cond", &network(&model), "tfp/rgb_cond_io.npz");
}

#[test]
fn the_dense_layer_that_comes_last_is_what_the_parameters_are() {
    for (model, io) in [
        (mnist_like()[2].0.clone(), "tfp/mnist_like_io.npz"),
        (with_condition(), "tfp/rgb_cond_io.npz"),
    ] {
        let io = arrays(io);
        let images = codes(&io["x"]);
        let expected = Expected {
            images: (&images).into(),
            given: io.get("h").map(Given::vectors).unwrap_or_default(),
            parameters: &io["out"].values,
            nats: Some(&io["log_prob"].values),
            tolerance: (1e-5, 1e-5),
            nats_tolerance: 4e-4,
        };
        assert_parity("last layer", &network(&model), &expected);
    }
}

#[test]
fn other_arguments_match_the_reference() {
    let json = |text: &str| serde_json::from_str(text).unwrap();
    for (name, hparams, codes_of_pixels, hyper) in [
        (
            "variant",
            json(r#"{"high": 15, "resnet_activation": "relu", "image_shape": [8, 6, 4]}"#),
            16,
            (2, 1, 4, [4, 5], Activation::Relu, Condition::Vector(4)),
        ),
        (
            "deep",
            json("{}"),
            256,
            (4, 2, 2, [3, 3], Activation::Elu, Condition::Vector(1)),
        ),
    ] {
        let options = LoadOptions::new().hparams(hparams);
        let model = open(&family(&format!("tfp/{name}.npz")), &options);
        let found = model.hyperparameters.pixelcnnpp().unwrap();
        assert_eq!(
            (
                found.levels,
                found.nr_resnet,
                found.channels,
                found.dialect.receptive_field,
                found.dialect.activation,
                found.condition,
            ),
            hyper,
            "{name}"
        );
        assert_eq!(found.dialect.codes, codes_of_pixels, "{name}");
        let stated = (name == "variant").then_some((8, 6));
        assert_eq!(found.image_size, stated);
        let model = network(&model);
        let io = arrays(&format!("tfp/{name}_io.npz"));
        let images = codes(&io["x"]);
        let pixels = &io["log_prob_per_pixel"].values;
        let per_image = pixels.chunks(pixels.len() / 2);
        let nats: Vec<f64> = per_image.map(|nats| nats.iter().sum()).collect();
        let expected = Expected {
            images: (&images).into(),
            given: Given::vectors(&io["h"]),
            parameters: &io["outputs"].values,
            nats: Some(&nats),
            tolerance: (1e-5, 1e-5),
            nats_tolerance: 1e-3,
        };
        assert_parity(name, &model, &expected);
        let last = (codes_of_pixels - 1) as f32;
        let (u_mix, u_log) = (&io["u_mix"], &io["u_log"]);
        let pictures = &io["generated_continuous"];
        assert_pictures(name, &model, u_mix, u_log, &expected.given, pictures, last);
    }
}

#[test]
fn saved_models_are_read_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    for model in [mnist_like()[1].0.clone(), with_condition()] {
        for name in ["model.npz", "model.safetensors"] {
            let path = folder.path().join(name);
            model.save(&path).unwrap();
            let again = open(&path, &LoadOptions::new());
            assert!(again.tensors == model.tensors);
            assert_eq!(again.hyperparameters, model.hyperparameters);
            assert!(network(&again).weights() == network(&model).weights());
        }
    }
}

#[test]
fn random_models_of_the_default_arguments_can_be_made() {
    let published = Hyperparameters::tensorflow_probability();
    assert_eq!(
        (published.nr_resnet, published.nr_filters, published.nr_mix),
        (5, 160, 10)
    );
    // The graph of the published size, and weights of a smaller one.
    let graph = pixelcnnpp::graph(&published).unwrap();
    assert_eq!((graph.parameters(), graph.channels()), (100, 3));
    assert_eq!(graph.input().channels(3), 3);
    let small = Hyperparameters {
        nr_filters: 4,
        nr_resnet: 1,
        ..published
    };
    let model = pixelcnnpp::random(&small, 1).unwrap();
    let images = engine(&model, &cpu())
        .sample(&fastpix::SampleRequest::new((4, 8), 1))
        .unwrap();
    assert_eq!(images.shape, [1, 4, 8, 3]);
}
