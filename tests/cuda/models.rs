//! Models of every kind on the CUDA backend against the CPU backend, by every path.

use fastpix::families::pixelcnnpp::Hyperparameters;
use fastpix::network::{Condition, Network};
use test_support::child::answer;
use test_support::device::on_a_device;
use test_support::engine::{
    MODES, Mode, batch, codes, cpu, cuda, embedded, engine, hyper, sample, score, u8_images,
};

// Channel and mixture counts below fill no tile, no warp and no vector of four.
fn random(hyper: &Hyperparameters) -> Network {
    test_support::engine::random(hyper, 11)
}

/// Parameters of given images: what one engine computes against the other, element by element.
fn same_params(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (&a, &b)) in found.iter().zip(expected).enumerate() {
        let close = (a - b).abs() <= 1e-4 + 1e-4 * b.abs();
        assert!(close, "{what} [{at}]: found {a}, expected {b}");
    }
}

/// Largest batch that is also generated naively.
const MOST_NAIVE_CODES: usize = 48;

/// Compares images, and parameters and scores of these images, in every mode.
fn as_on_the_cpu(what: &str, network: &Network, count: usize, size: (usize, usize)) {
    let cpu = engine(network, &cpu());
    let cuda = engine(network, &cuda());
    let first = 1 << 33;
    let batch = batch(
        network.graph().condition().classes(),
        size,
        first..first + count as u64,
    );
    let expected = sample(&cpu, &batch);
    let images = u8_images(expected.shape, codes(&expected));
    for mode in MODES {
        // Naive generation evaluates all images whole for every pixel.
        if mode == Mode::WholeImage && expected.values.len() > MOST_NAIVE_CODES {
            continue;
        }
        let found = sample(&cuda, &batch.clone().mode(mode));
        assert_eq!(found.shape, expected.shape, "{what}");
        let same = codes(&found) == codes(&expected);
        assert!(same, "{what} {size:?} {mode:?}");
    }

    let classes = batch.classes();
    let (bits, params) = score(&cpu, &images, &classes, Mode::Cached);
    for mode in MODES {
        let what = format!("{what} {size:?} {mode:?}");
        let (found_bits, found) = score(&cuda, &images, &classes, mode);
        same_params(&what, &found, &params);
        for (a, b) in found_bits.iter().zip(&bits) {
            assert!((a - b).abs() <= 1e-4 + 1e-4 * b.abs(), "{what}: {a} {b}");
        }
    }
}

#[test]
fn one_channel_models_are_as_on_the_cpu() {
    on_a_device(|| {
        for (filters, nr_mix, count, size) in
            [(10, 3, 1, (8, 4)), (5, 1, 2, (4, 12)), (6, 10, 5, (4, 4))]
        {
            let network = random(&hyper(1, filters, nr_mix));
            as_on_the_cpu(&format!("{filters} filters"), &network, count, size);
        }
    });
}

#[test]
fn colour_models_are_as_on_the_cpu_in_wide_and_in_tall_images() {
    on_a_device(|| {
        let network = random(&hyper(3, 7, 3));
        for (count, size) in [(1, (4, 12)), (2, (12, 4)), (1, (4, 4))] {
            as_on_the_cpu("7 filters", &network, count, size);
        }
    });
}

#[test]
fn class_conditional_models_are_as_on_the_cpu() {
    on_a_device(|| {
        let with_classes = |channels| Hyperparameters {
            condition: Condition::Class(3),
            ..hyper(channels, 6, 2)
        };
        for channels in [1, 3] {
            let what = format!("{channels} channels");
            as_on_the_cpu(&what, &random(&with_classes(channels)), 4, (4, 8));
        }
    });
}

#[test]
fn deeper_models_are_as_on_the_cpu() {
    on_a_device(|| {
        let deep = Hyperparameters {
            nr_resnet: 3,
            ..hyper(1, 4, 2)
        };
        as_on_the_cpu("3 blocks", &random(&deep), 1, (4, 8));
    });
}

#[test]
fn the_embedded_fashion_model_is_as_on_the_cpu() {
    on_a_device(|| {
        as_on_the_cpu("fashion", &embedded("fashion"), 1, (4, 4));
    });
}

#[test]
fn the_order_of_blocks_changes_no_bit() {
    let test = the_order_of_blocks_changes_no_bit;
    let values = |settings: &[(&str, &str)]| {
        answer(test, true, settings, || {
            let network = random(&Hyperparameters {
                condition: Condition::Class(3),
                ..hyper(3, 18, 3)
            });
            let batch = batch(Some(3), (4, 4), 0..5).continuous();
            let images = sample(&engine(&network, &cuda()), &batch);
            let bits = images.values.iter().map(|x| format!("{:08x}", x.to_bits()));
            bits.collect()
        })
    };
    let in_order = values(&[]);
    assert_eq!(in_order.len(), 8 * 5 * 4 * 4 * 3);
    for seed in ["1", "2"] {
        assert!(values(&[("SHUFFLE", seed)]) == in_order, "seed {seed}");
    }
    assert!(values(&[("HOST_THREADS", "1")]) == in_order);
}
