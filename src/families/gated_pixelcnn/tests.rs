//! What the ground floor derives for Gated PixelCNNs, against counting by hand; their numbers as
//! JSON and words.

use super::*;
use crate::families::{self, HyperparametersError};
use crate::network::{Activation, Phase, Ring, Written};

fn prior(dim: usize, layers: usize) -> Hyperparameters {
    let mut hyper = Hyperparameters::vqvae_prior();
    hyper.dim = dim;
    if let Variant::Codes(prior) = &mut hyper.variant {
        prior.layers = layers;
    }
    hyper
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

#[test]
fn a_prior_costs_what_counting_by_hand_gives() {
    let (d, layers, positions) = (6, 4, 5 * 7);
    let cost = graph(&prior(d, layers)).unwrap().multiply_adds((5, 7));
    let square = (d * d) as u64;
    // Vertical: 3 rows of 7 columns, then 2 of 3, to 2 dim; the gate's identity, but for the last
    // block; from vertical to horizontal.
    let vertical = 21 * 2 + (layers as u64 - 1) * 6 * 2;
    let gates = (layers as u64 - 1) * 4;
    let to_horizontal = layers as u64 * 4;
    let row = positions * (vertical + gates + to_horizontal) * square;
    // Horizontal: 3 columns, then 2, and one more layer each; 512 hidden, 512 codes.
    let horizontal = 3 * 2 + (layers as u64 - 1) * 2 * 2 + layers as u64;
    let head = (d as u64 + 512) * 512;
    let pixel = positions * (horizontal * square + head);
    assert_eq!((cost.row_phase, cost.pixel_phase), (row, pixel));
}

#[test]
fn groups_cost_what_their_masks_leave() {
    let (channels, of_group) = (3u64, 2u64);
    let d = channels * of_group;
    let hyper = pixels(3, d as usize, &[1, 2], true);
    let cost = graph(&hyper).unwrap().multiply_adds((1, 1));
    // Two blocks: 6 taps to 2 dim, one identity, and 2 dim to 2 dim. First 3 taps of the channels.
    let row = 3 * channels * d + 2 * 12 * d * d + 4 * d * d + 2 * 4 * d * d;
    // Of the current pixel, groups 0, 1 and 2 see 0, 1 and 2 channels, then 1, 2 and 3 groups.
    let (strictly, up_to) = (3, 6);
    let group = of_group * of_group;
    let first = channels * d + strictly * of_group;
    let block = 2 * d * d + 2 * up_to * group + up_to * group;
    let output = up_to * of_group * 256;
    let pixel = first + 2 * block + output;
    assert_eq!((cost.row_phase, cost.pixel_phase), (row, pixel));
}

#[test]
fn the_vertical_stack_is_complete_in_the_row_phase() {
    for hyper in [
        prior(4, 3),
        pixels(1, 4, &[1, 4], false),
        pixels(3, 6, &[1, 4], true),
    ] {
        let graph = graph(&hyper).unwrap();
        for op in graph.ops() {
            let vertical = op.name.starts_with("vertical");
            assert_eq!(op.complete_in_row_phase, vertical, "{}", op.name);
            // Sums run from far to near, whatever the order of phases.
            let offsets = op.taps.iter().map(|tap| tap.offset);
            let of_stack = offsets.filter(|offset| *offset != [0, 0]);
            let of_stack: Vec<_> = of_stack.collect();
            assert!(of_stack.is_sorted(), "{}: {of_stack:?}", op.name);
            let current = op.taps.iter().filter(|tap| tap.phase == Phase::Current);
            assert!(
                current.clone().all(|tap| tap.offset == [0, 0]),
                "{}",
                op.name
            );
            for tap in op.taps.iter().filter(|tap| tap.phase == Phase::Left) {
                assert!(op.name.starts_with("horizontal"), "{}", op.name);
                assert!(tap.offset[0] == 0 && tap.offset[1] < 0, "{}", op.name);
            }
        }
    }
}

fn ring(graph: &Graph, name: &str) -> Ring {
    let mut tensors = graph.tensors().iter();
    let tensor = tensors.find(|tensor| tensor.name == name).unwrap();
    tensor.rings[Activation::Identity as usize].unwrap()
}

#[test]
fn rings_are_as_long_as_kernels_and_dilations_look() {
    let of = |graph: &Graph, name: &str| {
        let ring = ring(graph, name);
        (ring.rows, ring.left, ring.right)
    };
    let codes = graph(&prior(4, 3)).unwrap();
    assert_eq!(of(&codes, "input"), (3, 3, 3));
    assert_eq!(of(&codes, "vertical 0"), (2, 1, 1));
    assert_eq!(of(&codes, "vertical features 0"), (1, 0, 0));
    assert_eq!(of(&codes, "horizontal 1"), (1, 1, 0));
    let image = graph(&pixels(3, 6, &[1, 4], true)).unwrap();
    assert_eq!(of(&image, "input 0"), (1, 1, 1));
    assert_eq!(of(&image, "vertical 0"), (5, 4, 4));
    assert_eq!(of(&image, "horizontal 0 1"), (1, 4, 0));
    assert!(
        codes
            .tensors()
            .iter()
            .all(|tensor| tensor.name != "vertical 2")
    );
}

#[test]
fn channels_that_see_each_other_are_stages() {
    let grouped = graph(&pixels(3, 6, &[1], true)).unwrap();
    let stages = grouped.stages().iter();
    let channels: Vec<_> = stages.map(|stage| stage.channels.clone()).collect();
    assert_eq!(channels, [0..1, 1..2, 2..3]);
    assert_eq!(grouped.parameters(), 3 * 256);
    for group in 0..3 {
        let name = format!("horizontal 0 {group}");
        let mut tensors = grouped.tensors().iter();
        let tensor = tensors.find(|tensor| tensor.name == name).unwrap();
        assert_eq!((tensor.stage, tensor.channels), (group, 2));
        assert_eq!(tensor.written, Written::InPixelPhase);
    }
    let independent = graph(&pixels(3, 7, &[1], false)).unwrap();
    assert_eq!(independent.stages().len(), 1);
    assert_eq!(independent.parameters(), 3 * 256);
}

#[test]
fn outputs_are_put_in_order() {
    use layers::Outputs;
    let group = Outputs::Group {
        group: 1,
        groups: 3,
        halves: 2,
    };
    assert_eq!(group.rows(12), [2, 3, 8, 9]);
    let classes = |first, count| Outputs::Classes {
        first,
        count,
        channels: 3,
    };
    // Four classes, class by class.
    assert_eq!(
        classes(0, 3).rows(12),
        [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    );
    assert_eq!(classes(2, 1).rows(12), [2, 5, 8, 11]);
    assert_eq!(Outputs::All.rows(3), [0, 1, 2]);
}

#[test]
fn the_published_shapes_are_networks() {
    let prior = Hyperparameters::vqvae_prior();
    // As the original counts them: a table, 15 blocks, two layers.
    let block = |kernel: usize| {
        let (d, k) = (64, kernel / 2 + 1);
        let vert = 2 * d * d * k * kernel + 2 * d;
        let horiz = 2 * d * d * k + 2 * d;
        10 * 2 * d + vert + horiz + 4 * d * d + 2 * d + d * d + d
    };
    let head = 64 * 512 + 512 + 512 * 512 + 512;
    assert_eq!(
        prior.parameter_count(),
        512 * 64 + block(7) + 14 * block(3) + head
    );
    let network = random(&prior, 1).unwrap();
    assert_eq!(network.info().medium, Medium::Codes);
    assert_eq!(network.graph().condition().classes(), Some(10));
    let tutorial = Hyperparameters::uva_tutorial();
    let network = random(&tutorial, 1).unwrap();
    assert_eq!(network.info().medium, Medium::Pixels);
    let listed: usize = tensor_shapes(&tutorial)
        .unwrap()
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .sum();
    assert_eq!(listed, tutorial.parameter_count());
}

#[test]
fn numbers_out_of_range_are_named() {
    let error = |hyper: &Hyperparameters| match hyper.validate() {
        Err(HyperparametersError::Range { .. }) => hyper.validate().unwrap_err().to_string(),
        other => panic!("{other:?}"),
    };
    let code = |change: &dyn Fn(&mut CodePrior)| {
        let mut hyper = prior(4, 2);
        if let Variant::Codes(prior) = &mut hyper.variant {
            change(prior);
        }
        error(&hyper)
    };
    for (found, expected) in [
        (
            code(&|p| p.codes = 1),
            "codes: expected 2 to 65536, found 1",
        ),
        (
            code(&|p| p.layers = 0),
            "layers: expected 1 to 4096, found 0",
        ),
        (
            code(&|p| p.classes = Some(0)),
            "classes: expected 1 to 65536, found 0",
        ),
        (
            code(&|p| p.first_kernel = 1),
            "first_kernel: expected 3 to 63, found 1",
        ),
        (
            code(&|p| p.kernel = 4),
            "kernel: expected an odd number, found 4",
        ),
        (
            code(&|p| p.hidden = 0),
            "hidden: expected 1 to 65536, found 0",
        ),
        (error(&prior(0, 1)), "dim: expected 1 to 65536, found 0"),
        (
            error(&pixels(0, 4, &[1], false)),
            "channels: expected 1 to 16, found 0",
        ),
        (
            error(&pixels(3, 4, &[], false)),
            "blocks: expected 1 to 4096, found 0",
        ),
        (
            error(&pixels(3, 4, &[1], true)),
            "dim: expected a multiple of 3 channels, found 4",
        ),
        (
            error(&pixels(3, 3, &[1, 300], true)),
            "dilations: expected 1 to 256 each, found 300",
        ),
    ] {
        assert_eq!(found, expected);
    }
    let mut sized = prior(4, 1);
    sized.image_size = Some((3, 0));
    assert_eq!(error(&sized), "width: expected 1 to 65536, found 0");
}

#[test]
fn json_keeps_all_numbers() {
    let mut unconditional = prior(5, 2);
    unconditional.image_size = None;
    if let Variant::Codes(prior) = &mut unconditional.variant {
        prior.classes = None;
    }
    for hyper in [
        Hyperparameters::vqvae_prior(),
        Hyperparameters::uva_tutorial(),
        pixels(3, 6, &[1, 9], true),
        unconditional,
    ] {
        let of_any: families::Hyperparameters = hyper.clone().into();
        let json = serde_json::to_string(&of_any).unwrap();
        assert!(json.contains(r#""model":"gated_pixelcnn""#), "{json}");
        let read: families::Hyperparameters = serde_json::from_str(&json).unwrap();
        assert_eq!(read.gated_pixelcnn(), Some(&hyper));
        assert_eq!(read.pixelcnnpp(), None);
    }
}

#[test]
fn models_are_described_in_a_line() {
    for (hyper, expected) in [
        (
            Hyperparameters::vqvae_prior(),
            "a class-conditional (10 classes) Gated PixelCNN over 512 codes, 15 layers of dim 64",
        ),
        (
            Hyperparameters::uva_tutorial(),
            "a Gated PixelCNN of 8-bit pixels, gray, dim 64, dilations 1 2 1 4 1 2 1",
        ),
        (
            pixels(3, 6, &[1], true),
            "a Gated PixelCNN of 8-bit pixels, 3 channels drawn one after the other, dim 6, dilations 1",
        ),
        (
            pixels(3, 6, &[1, 1], false),
            "a Gated PixelCNN of 8-bit pixels, 3 independent channels, dim 6, dilations 1 1",
        ),
    ] {
        assert_eq!(hyper.to_string(), expected);
        assert!(
            hyper
                .facts()
                .iter()
                .all(|(name, value)| !name.is_empty() && !value.is_empty())
        );
    }
}
