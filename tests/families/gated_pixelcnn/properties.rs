use fastpix::checkpoint::Tensors;
use fastpix::families::gated_pixelcnn::{
    self, CodePrior, Hyperparameters, PixelModel, Variant, random_tensors,
};
use fastpix::{Codes, Dtype, Network};
use proptest::prelude::*;
use test_support::devices::Device;
use test_support::engine::{MODES, Mode, batch, cpu, engine, sample};
use test_support::networks::images;
use test_support::reference::assert_close;
use test_support::test_on_devices;

use super::evaluate;
use super::restated::{self, Place, sees};

fn prior(codes: usize, dim: usize, layers: usize, classes: Option<usize>) -> Hyperparameters {
    Hyperparameters {
        variant: Variant::Codes(CodePrior {
            codes,
            layers,
            classes,
            first_kernel: 7,
            kernel: 3,
            hidden: 11,
        }),
        dim,
        image_size: None,
    }
}

fn pixels(channels: usize, dim: usize, dilations: &[usize], rgb_groups: bool) -> Hyperparameters {
    Hyperparameters {
        variant: Variant::Pixels(PixelModel {
            channels,
            dilations: dilations.to_vec(),
            rgb_groups,
        }),
        dim,
        image_size: None,
    }
}

/// A model, a number of images and their size: few and many codes, sides of 1 and 2 and primes,
/// dilations and kernels beyond the image, one block, batches that fill no vector and more than one.
fn cases() -> Vec<(Hyperparameters, usize, (usize, usize))> {
    vec![
        (prior(2, 3, 3, None), 3, (7, 5)),
        (prior(1000, 5, 2, Some(4)), 2, (2, 3)),
        (prior(17, 9, 1, Some(1)), 1, (1, 1)),
        (prior(5, 4, 4, Some(3)), 2, (11, 1)),
        (prior(5, 4, 2, None), 17, (1, 13)),
        (pixels(1, 6, &[1, 2, 1], false), 2, (5, 7)),
        (pixels(1, 1, &[100], true), 1, (3, 2)),
        (pixels(2, 5, &[3, 40], false), 2, (2, 2)),
        (pixels(2, 6, &[2], true), 1, (1, 7)),
        (pixels(3, 6, &[1, 9, 2], true), 2, (3, 1)),
    ]
}

/// Images and, for models of classes, the class of each.
fn given(network: &Network, count: usize, size: (usize, usize)) -> (Codes, Vec<usize>) {
    let classes = network.graph().condition().classes();
    let classes = classes.map_or(vec![], |classes| {
        (0..count).map(|image| image % classes).collect()
    });
    (images(network, count, size), classes)
}

/// Checks the logits of given images in both modes.
fn assert_logits(
    device: Device,
    hyper: &Hyperparameters,
    tensors: &Tensors,
    count: usize,
    size: (usize, usize),
) {
    let network = gated_pixelcnn::network(hyper, tensors.clone()).unwrap();
    let (images, classes) = given(&network, count, size);
    let expected = restated::logits(hyper, tensors, &images, &classes);
    let largest = expected.iter().fold(1.0f64, |most, x| most.max(x.abs()));
    // A few layers deep; weights and operands are rounded to the dtype.
    let error = match device.dtype() {
        Dtype::F32 => 2f64.powi(-17),
        _ => 8.0 * device.unit(),
    };
    for mode in MODES {
        let (found, _) = evaluate(&network, &device.target(), &images, &classes, mode);
        let what = format!("{hyper}, {count} of {size:?}, {mode:?}");
        assert_close(&what, &found, &expected, error * largest, 0.0);
    }
}

test_on_devices!(odd_shapes_are_those_of_the_restatement);
fn odd_shapes_are_those_of_the_restatement(device: Device) {
    for (hyper, count, size) in cases() {
        let tensors = random_tensors(&hyper, 7).unwrap();
        assert_logits(device, &hyper, &tensors, count, size);
    }
}

#[test]
fn cached_and_naive_samples_have_the_same_bits() {
    for (hyper, count, size) in cases() {
        let network = gated_pixelcnn::random(&hyper, 8).unwrap();
        let engine = engine(&network, &cpu());
        let classes = network.graph().condition().classes();
        let batch = batch(classes, size, 0..count as u64);
        let cached = sample(&engine, &batch);
        let naive = sample(&engine, &batch.mode(Mode::WholeImage));
        assert!(cached == naive, "{hyper} {size:?}");
    }
}

test_on_devices!(samples_are_those_of_the_cpu: CudaGraph);
fn samples_are_those_of_the_cpu(device: Device) {
    for (hyper, count, size) in cases() {
        let network = gated_pixelcnn::random(&hyper, 9).unwrap();
        let batch = batch(network.graph().condition().classes(), size, 0..count as u64);
        let found = sample(&engine(&network, &device.target()), &batch);
        let expected = sample(&engine(&network, &cpu()), &batch);
        assert!(found.to_codes() == expected.to_codes(), "{hyper} {size:?}");
    }
}

/// Fills what lies under the masks with numbers that would be noticed.
fn spoil(hyper: &Hyperparameters, tensors: &mut Tensors) -> usize {
    let mut spoilt = 0;
    for (name, tensor) in tensors {
        let shape = tensor.shape.clone();
        let &[_, inputs, rows, columns] = shape.as_slice() else {
            continue;
        };
        for (index, value) in tensor.values.iter_mut().enumerate() {
            let at = Place {
                output: index / (inputs * rows * columns),
                input: index / (rows * columns) % inputs,
                row: index / columns % rows,
                column: index % columns,
            };
            if !sees(hyper, name, &shape, at) {
                *value = if index % 2 == 0 { 1e30 } else { -f32::MAX };
                spoilt += 1;
            }
        }
    }
    spoilt
}

#[test]
fn nothing_under_a_mask_is_read() {
    for (hyper, count, size) in cases() {
        let mut tensors = random_tensors(&hyper, 10).unwrap();
        let of = |tensors: &Tensors| {
            let network = gated_pixelcnn::network(&hyper, tensors.clone()).unwrap();
            let (images, classes) = given(&network, count, size);
            MODES.map(|mode| evaluate(&network, &cpu(), &images, &classes, mode).0)
        };
        let before = of(&tensors);
        assert!(spoil(&hyper, &mut tensors) > 0);
        assert!(of(&tensors) == before, "{hyper}");
    }
}

fn priors() -> impl Strategy<Value = Hyperparameters> {
    let codes = prop_oneof![Just(2usize), 3usize..40, Just(1000usize)];
    let kernels = (1usize..5, 1usize..4);
    let sizes = (1usize..10, 1usize..4, 1usize..20);
    (codes, kernels, sizes, 0usize..4).prop_map(
        |(codes, (first, other), (dim, layers, hidden), classes)| Hyperparameters {
            variant: Variant::Codes(CodePrior {
                codes,
                layers,
                classes: (classes > 0).then_some(classes),
                first_kernel: 2 * first + 1,
                kernel: 2 * other + 1,
                hidden,
            }),
            dim,
            image_size: None,
        },
    )
}

fn pixel_models() -> impl Strategy<Value = Hyperparameters> {
    let dilations = proptest::collection::vec(1usize..12, 1..4);
    (1usize..5, 1usize..4, dilations, any::<bool>()).prop_map(
        |(channels, of_group, dilations, rgb_groups)| {
            let dim = match rgb_groups {
                true => channels * of_group,
                false => channels + of_group,
            };
            pixels(channels, dim, &dilations, rgb_groups)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_shape_is_that_of_the_restatement(
        hyper in prop_oneof![priors(), pixel_models()],
        height in prop_oneof![Just(1usize), Just(2), Just(3), Just(5), Just(7)],
        width in prop_oneof![Just(1usize), Just(2), Just(3), Just(5), Just(7)],
        count in 1usize..4,
        seed in any::<u64>(),
    ) {
        let tensors = random_tensors(&hyper, seed).unwrap();
        assert_logits(Device::Cpu, &hyper, &tensors, count, (height, width));
    }
}
