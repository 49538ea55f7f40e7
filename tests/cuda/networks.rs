//! Networks of no family: whatever the graph says, the backend computes. Parameters against an
//! evaluator in float64 that knows nothing of rings and phases; samples against the CPU.

use fastpix::network::Network;
use fastpix::{Dtype, EvaluationRequest, Hooks, ImageRequest, SampleRequest};
use test_support::device::on_a_device;
use test_support::engine::{MODES, Mode, Target, cpu, cuda, engine};
use test_support::networks::{dilated, images, mixture, parameters, sequence, staged};
use test_support::reference::assert_close;

/// Every network, with a batch that fills no block and a size at which its rings wrap around.
fn all() -> Vec<(Network, usize, (usize, usize))> {
    vec![
        (dilated(7), 3, (9, 7)),
        (dilated(40), 17, (5, 3)),
        (staged(6), 5, (5, 4)),
        (sequence(), 2, (150, 1)),
        (sequence(), 18, (9, 1)),
        (mixture(2), 3, (4, 5)),
        (mixture(4), 1, (3, 4)),
        (mixture(5), 2, (3, 3)),
    ]
}

fn classes(network: &Network, count: usize) -> Vec<usize> {
    let classes = network.graph.condition.classes();
    classes.map_or_else(Vec::new, |classes| {
        (0..count).map(|image| image % classes).collect()
    })
}

fn request(network: &Network, count: usize, size: (usize, usize)) -> SampleRequest {
    let classes = classes(network, count);
    let images = (0..count).map(|image| ImageRequest {
        class: classes.get(image).copied(),
        ..ImageRequest::new(image as u64)
    });
    SampleRequest::of(size, images.collect()).seed(31)
}

#[test]
fn parameters_are_those_of_the_graph_in_float64() {
    on_a_device(|| {
        for (network, count, size) in all() {
            let (images, classes) = (images(&network, count, size), classes(&network, count));
            let expected = parameters(&network, &images, &classes);
            let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
            for (dtype, error) in [
                (Dtype::F32, 2f64.powi(-18)),
                (Dtype::F16, 2f64.powi(-8)),
                (Dtype::Bf16, 2f64.powi(-5)),
            ] {
                let engine = engine(&network, &cuda().dtype(dtype));
                for mode in MODES {
                    let found = engine.parameters(images.clone(), &classes, mode).unwrap();
                    let what = format!("{} {count} {size:?} {dtype} {mode:?}", network.info.family);
                    let error = error * (1.0 + largest);
                    assert_close(&what, &found.values, &expected, error, 0.0);
                }
            }
        }
    });
}

#[test]
fn samples_are_those_of_the_cpu() {
    on_a_device(|| {
        for (network, count, size) in all() {
            let request = request(&network, count, size);
            let expected = engine(&network, &cpu()).sample(&request).unwrap();
            let what = format!("{} {count} {size:?}", network.info.family);
            let cuda = engine(&network, &cuda());
            let found = cuda.sample(&request).unwrap();
            assert!(found.to_codes() == expected.to_codes(), "{what}");
            if size.0 * size.1 <= 16 {
                let naive = cuda
                    .sample(&request.clone().mode(Mode::WholeImage))
                    .unwrap();
                assert!(naive.to_codes() == expected.to_codes(), "{what}, naive");
            }
            // Some rows given, which must be kept, to some of the images.
            let row = size.1 * network.graph.channels();
            let mut completed = request;
            let whole = expected.to_codes();
            for (index, (image, codes)) in
                completed.images.iter_mut().zip(whole.images()).enumerate()
            {
                image.prefix = codes[..index % 3 * row].to_vec();
                image.index += 100;
            }
            let expected = engine(&network, &cpu())
                .sample(&completed)
                .unwrap()
                .to_codes();
            let found = cuda.sample(&completed).unwrap().to_codes();
            assert!(found == expected, "{what}, completed");
            for (image, codes) in completed.images.iter().zip(found.images()) {
                assert_eq!(image.prefix, codes[..image.prefix.len()], "{what}");
            }
        }
    });
}

#[test]
fn log_likelihoods_are_those_of_the_cpu() {
    on_a_device(|| {
        for (network, count, size) in all() {
            let (images, classes) = (images(&network, count, size), classes(&network, count));
            let request = |mode| EvaluationRequest {
                images: &images,
                classes: &classes,
                mode,
                likelihoods: true,
            };
            let nats = |target: Target, mode| {
                let mut nats = Vec::new();
                let engine = engine(&network, &target);
                let mut take = |part: fastpix::backend::Evaluation| nats.extend(part.nats);
                engine
                    .evaluate(&request(mode), &mut Hooks::new(), &mut take)
                    .unwrap();
                nats
            };
            let expected = nats(cpu(), Mode::Cached);
            assert_eq!(expected.len(), count * size.0 * size.1);
            for mode in MODES {
                let found: Vec<f32> = nats(cuda(), mode).iter().map(|&nats| nats as f32).collect();
                let what = format!("{} {count} {size:?} {mode:?}", network.info.family);
                assert_close(&what, &found, &expected, 1e-3, 1e-4);
            }
        }
    });
}

#[test]
fn graph_and_stream_launches_give_the_same_bits() {
    on_a_device(|| {
        for (network, count, size) in all() {
            let request = request(&network, count, size).continuous(true);
            let sample = |target| engine(&network, &target).sample(&request).unwrap().values;
            let same = sample(cuda()) == sample(cuda().stream());
            assert!(same, "{} {count} {size:?}", network.info.family);
        }
    });
}
