use fastpix::checkpoint::{Checkpoint, LoadOptions};
use fastpix::families::pixelcnnpp::{
    AuxGoingUp, Dialect, Hyperparameters, InnerActivation, Layout,
};
use fastpix::network::{Activation, BinRule, CoefficientLink, Condition, Map, MapArray, ScaleLink};
use fastpix::{EvaluationRequest, Hooks};
use test_support::checkpoint_files::{checkpoint, smallest};
use test_support::engine::{MODES, Mode, cpu, engine};
use test_support::reference::{Array, assert_close};

use super::{Expected, Given, arrays, assert_parity, codes, evaluate, family, network, open};

const FILE: &str = "maps/model.npz";

fn with(hparams: &str) -> LoadOptions {
    LoadOptions::new().hparams(serde_json::from_str(hparams).unwrap())
}

fn maps(array: &Array) -> Vec<Map> {
    let &[_, height, width, channels] = array.shape.as_slice() else {
        panic!("maps of shape {:?}", array.shape);
    };
    let shape = [height, width, channels];
    let of_images = array.f32();
    let of_images = of_images.chunks(height * width * channels);
    of_images
        .map(|values| Map::new(MapArray::new(shape, values.to_vec()).unwrap()))
        .collect()
}

#[test]
fn a_map_beside_a_vector_with_biases_matches_the_reference() {
    let io = arrays("maps/io.npz");
    let model = open(&family(FILE), &with(r#"{"condition": "vector"}"#));
    let hyper = model.hyperparameters.pixelcnnpp().unwrap();
    assert_eq!(
        (hyper.condition, hyper.map_channels),
        (Condition::Vector(2), Some(3))
    );
    assert!(hyper.dialect.condition_bias);
    let images = codes(&io["x"]);
    let expected = Expected {
        images: (&images).into(),
        given: Given {
            maps: maps(&io["map"]),
            ..Given::vectors(&io["h"])
        },
        parameters: &io["outputs"].values,
        nats: None,
        tolerance: (1e-5, 1e-5),
        nats_tolerance: 0.0,
    };
    assert_parity("maps", &network(&model), &expected);
}

#[test]
fn a_class_is_the_vector_with_a_one_in_its_place() {
    let io = arrays("maps/io.npz");
    let images = codes(&io["x"]);
    let of = |options: &LoadOptions, given: Given| {
        let given = Given {
            maps: maps(&io["map"]),
            ..given
        };
        let model = network(&open(&family(FILE), options));
        let engine = engine(&model, &cpu());
        evaluate(&engine, (&images).into(), &given, Mode::Cached).0
    };
    // Tensors alone do not tell a vector from classes, and classes are more usual.
    let by_class = Given {
        classes: vec![1, 0],
        ..Given::default()
    };
    let by_vector = Given {
        vectors: vec![0.0, 1.0, 1.0, 0.0],
        ..Given::default()
    };
    let classes: Vec<f64> = of(&LoadOptions::new(), by_class)
        .into_iter()
        .map(f64::from)
        .collect();
    let vectors = of(&with(r#"{"condition": "vector"}"#), by_vector);
    assert_close("one-hot", &vectors, &classes, 1e-5, 1e-5);
}

#[test]
fn one_row_is_a_number_unless_it_is_said_to_be_a_class() {
    let hawc = family("hawc/params_hawc2.ckpt");
    let condition = |options: &LoadOptions| {
        let model = open(&hawc, options);
        model.hyperparameters.pixelcnnpp().unwrap().condition
    };
    assert_eq!(condition(&LoadOptions::new()), Condition::Vector(1));
    assert_eq!(
        condition(&with(r#"{"condition": "class"}"#)),
        Condition::Class(1)
    );
    // Other keys are another model's.
    let other = with(r#"{"layers": 24, "quantize_channels": 65536}"#);
    assert_eq!(condition(&other), Condition::Vector(1));
    // Hyperparameters of the caller's own come first.
    let model = open(&hawc, &LoadOptions::new());
    let hyper = model.hyperparameters.pixelcnnpp().unwrap().clone();
    let given = LoadOptions::new().hyperparameters(Hyperparameters {
        condition: Condition::Class(1),
        ..hyper
    });
    assert_eq!(condition(&given), Condition::Class(1));
}

#[test]
fn a_file_of_hyperparameters_beside_the_model_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.npz");
    std::fs::copy(family(FILE), &path).unwrap();
    let condition = || {
        let model = open(&path, &LoadOptions::new());
        model.hyperparameters.pixelcnnpp().unwrap().condition
    };
    assert_eq!(condition(), Condition::Class(2));
    let hparams = folder.path().join("hparams.json");
    std::fs::write(hparams, r#"{"condition": "vector"}"#).unwrap();
    assert_eq!(condition(), Condition::Vector(2));
}

#[test]
fn wrong_hyperparameters_are_named() {
    for (hparams, expected) in [
        (
            r#"{"condition": "number"}"#,
            r#"condition: expected "class" or "vector", found "number""#,
        ),
        (r#"{"condition": 2}"#, "found 2"),
        (
            r#"{"high": 0}"#,
            "high: expected 1 to 65535 above low, found low 0, high 0",
        ),
        (r#"{"high": 65536}"#, "found low 0, high 65536"),
        (r#"{"low": 255}"#, "found low 255, high 255"),
        (
            r#"{"high": "255"}"#,
            r#"high: expected a whole number, found "255""#,
        ),
        (r#"{"low": 0.5}"#, "low: expected a whole number, found 0.5"),
        (
            r#"{"resnet_activation": "gelu"}"#,
            r#"resnet_activation: expected "concat_elu", "elu" or "relu", found "gelu""#,
        ),
        (
            r#"{"image_shape": [8, 4]}"#,
            "image_shape: expected [height, width, 3], found [8,4]",
        ),
        (
            r#"{"image_shape": [8, 6, 3]}"#,
            "width: expected a multiple of 4 from 4 to 65536, found 6",
        ),
    ] {
        let error = Checkpoint::open(&family(FILE), &with(hparams)).unwrap_err();
        let text = error.to_string();
        assert!(text.ends_with(expected), "{text}");
        assert!(!text.contains('\n'));
    }
}

#[test]
fn conditions_of_a_wrong_length_are_refused() {
    let io = arrays("maps/io.npz");
    let images = codes(&io["x"]);
    let model = network(&open(&family(FILE), &with(r#"{"condition": "vector"}"#)));
    let engine = engine(&model, &cpu());
    let maps = maps(&io["map"]);
    let smaller = Map::new(MapArray::new([4, 4, 3], vec![0.0; 48]).unwrap());
    for (vectors, maps, classes, expected) in [
        (
            vec![0.0; 4],
            vec![],
            vec![],
            "map: expected one of shape [8, 4, 3], found none",
        ),
        (
            vec![],
            maps.clone(),
            vec![],
            "condition: expected a vector of 2 numbers for each image, found 0",
        ),
        (
            vec![0.0; 6],
            maps.clone(),
            vec![],
            "a vector of 2 numbers for each image, found 3",
        ),
        (
            vec![0.0; 3],
            maps.clone(),
            vec![],
            "vectors: expected as many for each of 2 images, found 3",
        ),
        (
            vec![f32::NAN; 4],
            maps.clone(),
            vec![],
            "condition: expected finite numbers, found NaN",
        ),
        (vec![0.0; 4], vec![smaller; 2], vec![], "found [4, 4, 3]"),
        (
            vec![],
            maps,
            vec![0, 1],
            "class: expected none: the model is not class-conditional",
        ),
    ] {
        let request = EvaluationRequest::new(&images)
            .vectors(&vectors)
            .maps(&maps)
            .classes(&classes);
        let error = engine
            .evaluate(&request, &mut Hooks::new(), &mut |_| {})
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// A dialect with no choice as in the original.
fn unlike_the_original() -> Dialect {
    let mut dialect = Dialect::original();
    dialect.codes = 16;
    dialect.limit = 0.5;
    dialect.ones = false;
    dialect.receptive_field = [4, 5];
    dialect.activation = Activation::Relu;
    dialect.inner_activation = InnerActivation::WithAux;
    dialect.aux_going_up = AuxGoingUp::Before;
    dialect.condition_bias = true;
    dialect.layout = Layout::PerComponent;
    dialect.scale = ScaleLink::Softplus { epsilon: 1e-3 };
    dialect.coefficients = CoefficientLink::Identity;
    dialect.bins = BinRule::Exact;
    dialect
}

#[test]
fn metadata_state_conditions_and_dialects() {
    let folder = tempfile::tempdir().unwrap();
    let with = |condition, map_channels, dialect| Hyperparameters {
        channels: 3,
        condition,
        map_channels,
        dialect,
        ..smallest(None)
    };
    for hyper in [
        with(Condition::Vector(1), None, Dialect::original()),
        with(Condition::Class(1), Some(2), Dialect::flax_example()),
        with(
            Condition::Vector(3),
            Some(1),
            Dialect::tensorflow_probability(),
        ),
        with(Condition::Class(4), None, unlike_the_original()),
    ] {
        for name in ["model.npz", "model.safetensors"] {
            let path = folder.path().join(name);
            let model = checkpoint(&hyper, 1);
            model.save(&path).unwrap();
            let again = open(&path, &LoadOptions::new());
            assert_eq!(again.hyperparameters, hyper.clone().into());
            assert!(again.tensors == model.tensors);
            again.into_network().unwrap();
        }
    }
    // The original's are what they were before there were others.
    let json = serde_json::to_value(Hyperparameters {
        condition: Condition::Class(2),
        ..smallest(None)
    });
    let expected = serde_json::json!({
        "model": "pixelcnn++", "nr_resnet": 1, "nr_filters": 1, "nr_logistic_mix": 1,
        "channels": 1, "classes": 2, "height": 0, "width": 0,
    });
    assert_eq!(json.unwrap(), expected);
}

#[test]
fn wrong_dialects_in_metadata_are_named() {
    let read = |change: &dyn Fn(&mut serde_json::Value)| {
        let hyper = Hyperparameters {
            dialect: unlike_the_original(),
            ..smallest(None)
        };
        let mut json = serde_json::to_value(hyper).unwrap();
        change(&mut json);
        let read: Result<Hyperparameters, _> = serde_json::from_value(json);
        read.map_or_else(|error| error.to_string(), |_| "none".to_owned())
    };
    assert_eq!(read(&|_| ()), "none");
    let dialect = |key: &'static str, value: serde_json::Value| {
        read(&move |json| json["dialect"][key] = value.clone())
    };
    for (key, value, expected) in [
        ("codes", 1.into(), "codes: expected 2 to 65536, found 1"),
        (
            "limit",
            (-1.0).into(),
            "limit: expected a positive number, found -1",
        ),
        (
            "receptive_field",
            vec![4, 4].into(),
            "an odd number, 3 to 31, found 4",
        ),
        (
            "receptive_field",
            vec![2, 3].into(),
            "expected 3 to 31, found 2",
        ),
        (
            "receptive_field",
            vec![32, 3].into(),
            "expected 3 to 31, found 32",
        ),
        ("activation", "gelu".into(), "unknown variant `gelu`"),
        ("layout", "mine".into(), "unknown variant `mine`"),
        ("shift", 1.into(), "unknown field `shift`"),
        (
            "scale",
            serde_json::json!({"softplus": {"epsilon": 0.0}}),
            "scale: expected finite numbers, positive but for floors of logarithms",
        ),
        (
            "scale",
            serde_json::json!({"exp": {"sampling_floor": 1e39, "likelihood_floor": 0.0}}),
            "scale: expected finite numbers",
        ),
    ] {
        let text = dialect(key, value);
        assert!(text.contains(expected), "{text}");
    }
    let text = read(&|json| {
        json["classes"] = 2.into();
        json["vector"] = 3.into();
    });
    assert!(
        text.contains("classes: expected 0 beside a vector, found 2"),
        "{text}"
    );
    let text = read(&|json| json["map_channels"] = 65_537.into());
    assert!(
        text.contains("map_channels: expected 1 to 65536, found 65537"),
        "{text}"
    );
}

#[test]
fn an_unconditional_model_refuses_what_it_does_not_take() {
    let model = checkpoint(&smallest(None), 1).into_network().unwrap();
    let engine = engine(&model, &cpu());
    let images = super::Codes {
        shape: [1, 4, 4, 1],
        values: vec![3; 16],
    };
    for mode in MODES {
        let request = EvaluationRequest::new(&images).vectors(&[1.0]).mode(mode);
        let error = engine.evaluate(&request, &mut Hooks::new(), &mut |_| {});
        let text = error.unwrap_err().to_string();
        assert!(text.contains("the model takes no vector"), "{text}");
    }
}
