use fastpix::backend::Values;
use fastpix::families::pixelcnnpp::{
    AuxGoingUp, Dialect, Hyperparameters, InnerActivation, Layout, random,
};
use fastpix::network::{Activation, BinRule, CoefficientLink, Condition, Network, ScaleLink};
use fastpix::{Codes, Dtype, ImageRequest, SampleRequest};
use proptest::prelude::*;
use test_support::engine::{MODES, Mode, cpu, engine};
use test_support::networks::{self, Conditions};
use test_support::reference::assert_close;

use super::{Expected, Given, assert_parity, evaluate};

fn activations() -> impl Strategy<Value = Activation> {
    use Activation::{ConcatElu, Elu, Relu};
    prop_oneof![Just(ConcatElu), Just(Elu), Just(Relu)]
}

fn scales() -> impl Strategy<Value = ScaleLink> {
    prop_oneof![
        Just(ScaleLink::Exp {
            sampling_floor: -7.0,
            likelihood_floor: -5.0
        }),
        Just(ScaleLink::Softplus { epsilon: 1e-3 }),
        Just(ScaleLink::InverseSoftplus { floor: 1e-2 }),
    ]
}

fn layouts() -> impl Strategy<Value = Layout> {
    use Layout::{Original, PerChannelAndComponent, PerComponent};
    prop_oneof![
        Just(Original),
        Just(PerComponent),
        Just(PerChannelAndComponent)
    ]
}

prop_compose! {
    fn dialects()(
        codes in prop_oneof![Just(2usize), Just(7), Just(256), Just(65536)],
        limit in prop_oneof![Just(1.0f32), Just(0.5)],
        flags in any::<[bool; 6]>(),
        field in (3usize..6, prop_oneof![Just(3usize), Just(5)]),
        activation in activations(),
        scale in scales(),
        layout in layouts(),
    ) -> Dialect {
        let [ones, inner, after, bias, tanh, exact] = flags;
        let mut dialect = Dialect::original();
        dialect.codes = codes;
        dialect.limit = limit;
        dialect.ones = ones;
        dialect.receptive_field = [field.0, field.1];
        dialect.activation = activation;
        if inner {
            dialect.inner_activation = InnerActivation::WithAux;
        }
        if after {
            dialect.aux_going_up = AuxGoingUp::Before;
        }
        dialect.condition_bias = bias;
        dialect.layout = layout;
        dialect.scale = scale;
        if tanh {
            dialect.coefficients = CoefficientLink::Identity;
        }
        if exact {
            dialect.bins = BinRule::Exact;
        }
        dialect
    }
}

prop_compose! {
    fn models()(
        levels in 1usize..5,
        nr_resnet in 1usize..3,
        nr_filters in 1usize..9,
        nr_mix in 1usize..4,
        channels in 1usize..6,
        condition in prop_oneof![
            Just(Condition::None),
            (1usize..4).prop_map(Condition::Class),
            (1usize..4).prop_map(Condition::Vector),
        ],
        map_channels in prop_oneof![Just(None), (1usize..4).prop_map(Some)],
        dialect in dialects(),
    ) -> Hyperparameters {
        Hyperparameters {
            levels,
            nr_resnet,
            nr_filters,
            nr_mix,
            channels,
            condition,
            map_channels,
            image_size: None,
            dialect,
        }
    }
}

/// Conditions of some images.
fn given(network: &Network, count: usize, size: (usize, usize)) -> Given {
    let conditions = Conditions::new(network, count, size);
    Given {
        vectors: conditions.vectors,
        maps: conditions.maps,
        classes: conditions.classes,
    }
}

/// The values of images.
fn values(network: &Network, images: &Codes) -> Values {
    let value = |&code: &u16| network.graph().input().value(code);
    Values {
        shape: images.shape,
        values: images.values.iter().map(value).collect(),
    }
}

fn sampled(
    network: &Network,
    dtype: Dtype,
    size: (usize, usize),
    given: &Given,
    mode: Mode,
) -> Codes {
    let length = network.graph().condition().vector().unwrap_or(0);
    let image = |index: usize| ImageRequest {
        vector: given.vectors[index * length..][..length].to_vec(),
        map: given.maps.get(index).cloned(),
        class: given.classes.get(index).copied(),
        ..ImageRequest::new(index as u64)
    };
    let request = SampleRequest::of(size, (0..2).map(image).collect()).mode(mode);
    let engine = engine(network, &cpu().dtype(dtype));
    engine.sample(&request).unwrap().to_codes()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn cached_naive_and_whole_images_agree_and_look_back_only(
        hyper in models(),
        sides in (1usize..4, 1usize..3),
        bf16 in any::<bool>(),
        seed in any::<u64>(),
        changed in any::<prop::sample::Index>(),
    ) {
        let multiple = 1 << (hyper.levels - 1);
        let size = (multiple * sides.0, multiple * sides.1);
        let network = random(&hyper, seed).unwrap();
        prop_assert_eq!(network.graph().side_multiples(), [multiple; 2]);
        let given = given(&network, 2, size);
        let dtype = if bf16 { Dtype::Bf16 } else { Dtype::F32 };
        let images = sampled(&network, dtype, size, &given, Mode::Cached);
        let naive = sampled(&network, dtype, size, &given, Mode::WholeImage);
        prop_assert!(images == naive, "cached and naive images differ");
        let engine = engine(&network, &cpu().dtype(dtype));
        let of = |images: &Codes, mode| evaluate(&engine, images.into(), &given, mode);
        let (cached, nats) = of(&images, Mode::Cached);
        prop_assert!(cached == of(&images, Mode::WholeImage).0, "parameters differ");
        prop_assert!(nats.iter().all(|nats| *nats < 1e-4), "{nats:?}");
        // Another code at a pixel of the first image changes nothing there nor before.
        let pixel = changed.index(size.0 * size.1);
        let mut other = images.clone();
        let value = &mut other.values[pixel * hyper.channels];
        *value = if *value == 0 { 1 } else { 0 };
        let per_pixel = network.graph().parameters();
        let kept = (pixel + 1) * per_pixel;
        let (after, _) = of(&other, Mode::Cached);
        prop_assert!(after[..kept] == cached[..kept], "a pixel is seen too early");
        let second = size.0 * size.1 * per_pixel;
        prop_assert!(after[second..] == cached[second..], "another image has changed");
    }

    #[test]
    fn parameters_are_those_of_the_graph_in_float64(
        hyper in models(),
        sides in (1usize..3, 1usize..3),
        seed in any::<u64>(),
    ) {
        let multiple = 1 << (hyper.levels - 1);
        let size = (multiple * sides.0, multiple * sides.1);
        let network = random(&hyper, seed).unwrap();
        let images = networks::images(&network, 1, size);
        let conditions = Conditions::new(&network, 1, size);
        let expected = networks::parameters(&network, &values(&network, &images), &conditions);
        let given = given(&network, 1, size);
        let engine = engine(&network, &cpu());
        let (found, _) = evaluate(&engine, (&images).into(), &given, Mode::WholeImage);
        let largest = expected.iter().fold(1.0f64, |largest, x| largest.max(x.abs()));
        assert_close("parameters", &found, &expected, 1e-5 * largest, 1e-4);
    }

    #[test]
    fn exact_probabilities_of_all_codes_add_up_to_one(
        mut hyper in models(),
        codes in 2usize..9,
        seed in any::<u64>(),
    ) {
        hyper.levels = 1;
        hyper.channels = hyper.channels.min(3);
        hyper.dialect.codes = codes;
        hyper.dialect.bins = BinRule::Exact;
        let network = random(&hyper, seed).unwrap();
        let count = codes.pow(hyper.channels as u32);
        let all = Codes {
            shape: [count, 1, 1, hyper.channels],
            values: (0..count)
                .flat_map(|image| {
                    let digit = move |channel| image / codes.pow(channel) % codes;
                    (0..hyper.channels as u32).map(move |channel| digit(channel) as u16)
                })
                .collect(),
        };
        let one = given(&network, 1, (1, 1));
        let given = Given {
            vectors: one.vectors.repeat(count),
            maps: one.maps.iter().cycle().take(one.maps.len() * count).cloned().collect(),
            classes: one.classes.repeat(count),
        };
        let engine = engine(&network, &cpu());
        for mode in MODES {
            let (_, nats) = evaluate(&engine, (&all).into(), &given, mode);
            let total: f64 = nats.iter().map(|nats| nats.exp()).sum();
            prop_assert!((total - 1.0).abs() < 1e-4, "{total}");
        }
    }
}

#[test]
fn other_choices_run_on_all_devices() {
    for (field, activation, channels) in [
        ([3, 3], Activation::Elu, 1),
        ([4, 5], Activation::Relu, 2),
        ([5, 3], Activation::ConcatElu, 4),
    ] {
        let mut dialect = Dialect::original();
        dialect.ones = activation == Activation::Relu;
        dialect.receptive_field = field;
        dialect.activation = activation;
        dialect.inner_activation = InnerActivation::WithAux;
        dialect.aux_going_up = AuxGoingUp::Before;
        dialect.condition_bias = true;
        let hyper = Hyperparameters {
            levels: 2,
            nr_resnet: 1,
            nr_filters: 5,
            nr_mix: 2,
            channels,
            condition: Condition::Class(3),
            map_channels: (channels == 2).then_some(3),
            image_size: None,
            dialect,
        };
        let network = random(&hyper, 9).unwrap();
        let images = networks::images(&network, 2, (6, 4));
        let conditions = Conditions::new(&network, 2, (6, 4));
        let expected = Expected {
            images: (&images).into(),
            parameters: &networks::parameters(&network, &values(&network, &images), &conditions),
            given: given(&network, 2, (6, 4)),
            nats: None,
            tolerance: (1e-4, 1e-4),
            nats_tolerance: 0.0,
        };
        let what = format!("{field:?} {activation:?}");
        assert_parity(&what, &network, &expected);
    }
}

#[test]
fn sides_that_do_not_fit_the_levels_are_named() {
    for levels in 1..=4 {
        let hyper = Hyperparameters {
            levels,
            nr_resnet: 1,
            nr_filters: 2,
            nr_mix: 1,
            ..Hyperparameters::tensorflow_probability()
        };
        let network = random(
            &Hyperparameters {
                image_size: None,
                ..hyper
            },
            1,
        )
        .unwrap();
        let engine = engine(&network, &cpu());
        let multiple = 1usize << (levels - 1);
        for side in 1..=9 {
            let found = engine.sample(&SampleRequest::new((side, multiple), 1));
            match found {
                Ok(_) => assert_eq!(side % multiple, 0),
                Err(error) => {
                    let text = error.to_string();
                    let expected = format!(
                        "height: expected a multiple of {multiple} from {multiple} to 65536, found {side}"
                    );
                    assert!(side % multiple != 0 && text.contains(&expected), "{text}");
                }
            }
        }
    }
}
