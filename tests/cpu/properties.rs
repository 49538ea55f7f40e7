//! Cached, naive and whole-image evaluation agree on models of any shape, and an image depends on
//! nothing but the model, the seed and its index.

use fastpix::Dtype;
use fastpix::Network;
use fastpix::cpu::isa::Isa;
use fastpix::families::pixelcnnpp::Hyperparameters;
use fastpix::network::Condition;
use proptest::prelude::*;
use test_support::engine::{
    Mode, batch, codes, cpu, engine, hyper, parameters, random, sample, u8_images,
};

fn hyperparameters() -> impl Strategy<Value = Hyperparameters> {
    let filters_and_mixtures = (1usize..23, 1usize..4);
    (
        1usize..5,
        1usize..3,
        filters_and_mixtures,
        any::<bool>(),
        0usize..3,
    )
        .prop_map(
            |(levels, nr_resnet, (nr_filters, nr_mix), colour, classes)| Hyperparameters {
                levels,
                nr_resnet,
                nr_filters,
                nr_mix,
                channels: if colour { 3 } else { 1 },
                condition: match classes {
                    0 => Condition::None,
                    _ => Condition::Class(classes),
                },
                image_size: None,
                ..Hyperparameters::published_cifar()
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn whole_image_cached_and_naive_give_the_same_bits(
        hyper in hyperparameters(),
        height in 1usize..4,
        width in 1usize..4,
        count in 1u64..6,
        threads in 1usize..4,
        bf16 in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let side = 1 << (hyper.levels - 1);
        let weights = random(&hyper, seed);
        let precision = if bf16 { Dtype::Bf16 } else { Dtype::F32 };
        let engine = engine(&weights, &cpu().threads(threads).dtype(precision));
        let batch = batch(hyper.condition.classes(), (side * height, side * width), 0..count);
        let cached = sample(&engine, &batch);
        let naive = sample(&engine, &batch.clone().mode(Mode::WholeImage));
        prop_assert!(cached == naive, "cached and naive images differ");
        let images = u8_images(cached.shape, codes(&cached));
        let of = |mode| parameters(&engine, &images, &batch.classes(), mode);
        prop_assert!(of(Mode::WholeImage) == of(Mode::Cached), "parameters differ");
    }
}

fn small_model(nr_filters: usize) -> Network {
    let hyper = Hyperparameters {
        condition: Condition::Class(3),
        ..hyper(3, nr_filters, 3)
    };
    random(&hyper, 3)
}

#[test]
fn an_image_does_not_depend_on_batch_threads_offset_or_neighbours() {
    let weights = small_model(20);
    let of = |indices: Vec<u64>| batch(weights.graph().condition().classes(), (8, 12), indices);
    for precision in [Dtype::F32, Dtype::Bf16] {
        let on = |threads| engine(&weights, &cpu().threads(threads).dtype(precision));
        let alone = |index| sample(&on(1), &of(vec![index])).values;
        let expected: Vec<Vec<f32>> = (0..20).map(alone).collect();
        for (threads, size) in [(1, 20), (2, 3), (2, 16), (3, 17), (5, 20)] {
            let engine = on(threads);
            for first in (0..20).step_by(size) {
                // Back to front, so that neighbours and places in the batch change too.
                let indices: Vec<u64> = (first as u64..20.min((first + size) as u64))
                    .rev()
                    .collect();
                let images = sample(&engine, &of(indices.clone()));
                for (image, &index) in images.values.chunks(8 * 12 * 3).zip(&indices) {
                    assert!(
                        image == expected[index as usize],
                        "image {index}, {threads} threads, batch {size}, {precision}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_image_does_not_depend_on_the_batch_size_on_any_instruction_set() {
    let weights = small_model(13);
    for precision in [Dtype::F32, Dtype::Bf16] {
        for isa in Isa::available() {
            let engine = engine(&weights, &cpu().dtype(precision).isa(isa));
            let of = |count| {
                sample(
                    &engine,
                    &batch(weights.graph().condition().classes(), (4, 8), 0..count),
                )
            };
            let all = of(64).values;
            for count in [1, 2, 3, 15, 16, 17] {
                let some = of(count).values;
                assert!(
                    some == all[..some.len()],
                    "batch {count}, {isa}, {precision}"
                );
            }
        }
    }
}
