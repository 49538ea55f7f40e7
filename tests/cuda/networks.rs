//! Networks of no family by both ways of launching; what they compute is tested in `tests/engine`.

use fastpix::SampleRequest;
use test_support::device::on_a_device;
use test_support::engine::{cuda, engine};
use test_support::networks::{dilated, mixture, sequence, staged};

#[test]
fn graph_and_stream_launches_give_the_same_bits() {
    on_a_device(|| {
        for (network, count, size) in [
            (dilated(7), 3, (9, 7)),
            (staged(6), 5, (5, 4)),
            (sequence(), 18, (70, 1)),
            (mixture(4), 1, (3, 4)),
        ] {
            let mut request = SampleRequest::new(size, count).continuous(true);
            if let Some(classes) = network.graph().condition().classes() {
                request = request.classes(0..classes);
            }
            let sample = |target| engine(&network, &target).sample(&request).unwrap().values;
            let same = sample(cuda()) == sample(cuda().stream());
            assert!(same, "{} {count} {size:?}", network.info().family);
        }
    });
}
