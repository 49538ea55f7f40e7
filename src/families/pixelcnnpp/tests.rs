//! What the ground floor derives for PixelCNN++, against counting by hand.

use super::*;
use crate::network::Activation;

fn of(nr_resnet: usize, nr_filters: usize, nr_mix: usize) -> Graph {
    let hyper = Hyperparameters {
        nr_resnet,
        nr_filters,
        nr_mix,
        image_size: None,
        ..Hyperparameters::published_cifar()
    };
    graph(&hyper).unwrap()
}

#[test]
fn one_resnet_costs_what_counting_by_hand_gives() {
    let (f, m) = (6, 3);
    let cost = of(1, f as usize, m as usize).multiply_adds((8, 4));
    // Positions of the three levels of an 8x4 image.
    let (full, half, quarter) = (32, 8, 2);
    // Taps times inputs times outputs: first convolution and second one of a block, and its
    // nin, which has 2f inputs per aux input.
    let u = 6 * 2 * f * f + 6 * 2 * f * 2 * f;
    let ul = 4 * 2 * f * f + 4 * 2 * f * 2 * f;
    let nin = 2 * f * f;
    let up = u + ul + nin;
    let down = u + nin + ul + 2 * nin;
    // 2x3 and 2x2; a deconvolution of the coarse grid costs as much as a convolution to it.
    let resample = (6 + 4) * f * f;
    // Three channels and the ones, 2x3, 1x3 and 2x1 taps.
    let init = (6 + 3 + 2) * 4 * f;
    let total = full * (init + up + 2 * down + f * 10 * m)
        + half * (2 * resample + up + 2 * down)
        + quarter * (2 * resample + up + down);
    assert_eq!(cost.total(), total);

    // The pixel phase has half of the taps of 2x2, the horizontal skip's nin, one tap of
    // 2x1, and the output.
    let up = ul / 2;
    let down = ul / 2 + nin;
    let resample = 2 * f * f;
    let pixel = full * (4 * f + up + 2 * down + f * 10 * m)
        + half * (2 * resample + up + 2 * down)
        + quarter * (2 * resample + up + down);
    assert_eq!(cost.pixel_phase, pixel);
    assert_eq!(cost.row_phase, total - pixel);
}

#[test]
fn weights_of_the_pixel_phase_are_those_of_one_position_per_level() {
    let graph = of(2, 5, 1);
    // A 4x4 image has 16, 4 and 1 positions; a 4x8 one twice as many: no constant part.
    let (small, large) = (graph.multiply_adds((4, 4)), graph.multiply_adds((4, 8)));
    assert_eq!(large.pixel_phase, 2 * small.pixel_phase);
    let (f, nin) = (5, 2 * 5 * 5);
    let ul = 4 * 2 * f * f + 4 * 2 * f * 2 * f;
    // Blocks up: 2 per level; down: 2, 3, 3.
    let blocks = (6 + 8) * (ul / 2) + 8 * nin;
    let rest = 4 * f + 4 * 2 * f * f + f * 10;
    assert_eq!(graph.pixel_phase_weights(), blocks + rest);
}

#[test]
fn the_published_model_takes_about_24_million_per_pixel() {
    let hyper = Hyperparameters::published_cifar();
    let graph = graph(&hyper).unwrap();
    let total = graph.multiply_adds((32, 32)).total();
    let per_pixel = total as f64 / 1024.0;
    assert!((per_pixel - 24e6).abs() < 0.5e6, "{per_pixel}");
}

#[test]
fn of_one_op_in_four_rows_the_pixel_phase_does_the_rest() {
    let graph = of(1, 4, 1);
    let schedule = &graph.schedule;
    assert_eq!(schedule.period(), [4, 4]);
    assert_eq!((schedule.row_classes(), schedule.pixel_classes()), (4, 3));
    // Pixels where 3, 1 and 2 levels compute a column, in the order in which they are met.
    let ops = [(0, 0), (0, 1), (0, 2)].map(|(row, column)| {
        let class = schedule.pixel_class(row, column);
        schedule.pixel_ops(class, 0).len()
    });
    assert!(ops[0] > ops[2] && ops[2] > ops[1], "{ops:?}");
    for (row, column) in [(1, 0), (3, 2), (0, 3), (2, 1)] {
        assert_eq!(
            schedule.pixel_class(row, column),
            schedule.pixel_class(0, 1)
        );
    }
    assert_eq!(schedule.pixel_class(2, 0), schedule.pixel_class(0, 2));
}

#[test]
fn the_vertical_stack_is_complete_in_the_row_phase_and_rings_are_as_deep_as_taps_look() {
    let graph = of(1, 4, 1);
    for op in &graph.ops {
        let odd_row = op.name.contains("upsample")
            && op.name.ends_with(['0', '1'])
            && op
                .name
                .rsplit(' ')
                .next()
                .is_some_and(|parity| parity.starts_with('1'));
        assert_eq!(
            op.complete_in_row_phase,
            op.name.starts_with("u ") || odd_row,
            "{}",
            op.name
        );
    }
    let ring = |name: &str, activation: Activation| {
        let tensor = graph.tensors.iter().find(|tensor| tensor.name == name);
        tensor.unwrap().rings[activation as usize].unwrap()
    };
    // 2x3 and 2x2 filters; the first layer of the vertical stack looks two rows up.
    let u = ring("u init", Activation::ConcatElu);
    assert_eq!((u.rows, u.lookback, u.left, u.right), (2, 1, 1, 1));
    let ul = ring("ul init", Activation::ConcatElu);
    assert_eq!((ul.rows, ul.lookback, ul.left, ul.right), (1, 1, 1, 0));
    let image = ring("image", Activation::Identity);
    assert_eq!(
        (image.rows, image.lookback, image.left, image.right),
        (2, 2, 1, 1)
    );
}

#[test]
fn levels_decide_which_sides_fit() {
    for (levels, multiple) in [(1, 1), (2, 2), (3, 4), (4, 8), (7, 64)] {
        let hyper = Hyperparameters {
            levels,
            ..Hyperparameters::published_cifar()
        };
        let hyper = Hyperparameters {
            nr_filters: 4,
            image_size: None,
            ..hyper
        };
        let graph = graph(&hyper).unwrap();
        assert_eq!(graph.side_multiples(), [multiple; 2]);
        assert!(graph.check_size((multiple, 3 * multiple)).is_ok());
        if multiple > 1 {
            let error = graph.check_size((multiple, multiple + 1)).unwrap_err();
            let expected = format!("a multiple of {multiple} from {multiple} to 65536");
            assert_eq!((error.side, error.expected), ("width", expected));
        }
    }
    for levels in [0, 8] {
        let hyper = Hyperparameters {
            levels,
            ..Hyperparameters::published_cifar()
        };
        let error = graph(&hyper).unwrap_err().to_string();
        assert_eq!(error, format!("levels: expected 1 to 7, found {levels}"));
    }
}
