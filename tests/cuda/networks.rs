//! Networks of no family by both ways of launching; what they compute is tested in `tests/engine`.

use fastpix::SampleRequest;
use test_support::device::on_a_device;
use test_support::engine::{cuda, engine};
use test_support::networks::{
    Conditions, dialect, dilated, many, mapped, mixture, sequence, staged, vector, vocoder,
};

#[test]
fn graph_and_stream_launches_give_the_same_bits() {
    on_a_device(|| {
        for (network, count, size) in [
            (dilated(7), 3, (9, 7)),
            (staged(6), 5, (5, 4)),
            (sequence(), 18, (70, 1)),
            (mixture(4), 1, (3, 4)),
            (dialect(3), 2, (3, 3)),
            (many(1030), 2, (2, 2)),
            (vector(5), 5, (4, 3)),
            (mapped(6), 3, (8, 4)),
            (vocoder(), 2, (140, 1)),
        ] {
            let request = SampleRequest::new(size, count).continuous(true);
            let request = Conditions::new(&network, count, size).sampling(request);
            let sample = |target| engine(&network, &target).sample(&request).unwrap().values;
            let same = sample(cuda()) == sample(cuda().stream());
            assert!(same, "{} {count} {size:?}", network.info().family);
        }
    });
}
