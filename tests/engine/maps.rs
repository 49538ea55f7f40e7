use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use fastpix::network::{ConditionMap, LONGEST_SEQUENCE, Map};
use fastpix::{Hooks, SampleRequest, SampledRow};
use test_support::engine::engine;
use test_support::networks::{Conditions, sequence, vocoder};

use crate::devices::Device;

/// A map that is computed where it is asked for, and remembers what was asked.
#[derive(Debug)]
struct Watched {
    shape: [usize; 3],
    asked: Mutex<Vec<Range<usize>>>,
}

impl ConditionMap for Watched {
    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn rows(&self, rows: Range<usize>, to: &mut [f32]) {
        let [height, width, channels] = self.shape;
        assert!(rows.start < rows.end && rows.end <= height, "{rows:?}");
        assert_eq!(to.len(), rows.len() * width * channels);
        let first = rows.start * width * channels;
        for (at, to) in to.iter_mut().enumerate() {
            *to = ((first + at) as f32 * 0.37).sin();
        }
        self.asked.lock().unwrap().push(rows);
    }
}

/// A map that others share.
#[derive(Debug)]
struct Shared(Arc<Watched>);

impl ConditionMap for Shared {
    fn shape(&self) -> [usize; 3] {
        self.0.shape()
    }

    fn rows(&self, rows: Range<usize>, to: &mut [f32]) {
        self.0.rows(rows, to);
    }
}

/// A request for so many samples of a vocoder, and its watched maps.
fn request(height: usize, count: usize) -> (SampleRequest, Vec<Arc<Watched>>) {
    let network = vocoder();
    // Vectors do not depend on the height.
    let conditions = Conditions::new(&network, count, (1, 1));
    let mut request = conditions.sampling(SampleRequest::new((height, 1), count).seed(2));
    let mut watched = Vec::new();
    for image in &mut request.images {
        let map = Arc::new(Watched {
            shape: [height, 1, network.graph().map_channels().unwrap()],
            asked: Mutex::default(),
        });
        image.map = Some(Map::new(Shared(map.clone())));
        watched.push(map);
    }
    (request, watched)
}

test_on_devices!(maps_are_asked_for_in_order_and_not_long_before_their_rows: Cpu, CudaGraph, CudaStream);
fn maps_are_asked_for_in_order_and_not_long_before_their_rows(device: Device) {
    const HEIGHT: usize = 700;
    /// A device may hold some blocks, of at most 64 rows each.
    const AHEAD: usize = 5 * 64;
    let engine = engine(&vocoder(), &device.target());
    let (request, watched) = request(HEIGHT, 2);
    let mut furthest = 0;
    let mut done = |row: SampledRow<'_>| {
        for map in &watched {
            let asked = map.asked.lock().unwrap();
            let end = asked.last().map_or(0, |rows| rows.end);
            furthest = furthest.max(end - row.row);
        }
    };
    let mut hooks = Hooks::new().row_done(&mut done);
    engine.stream(&request, &mut hooks).unwrap();
    assert!(furthest <= AHEAD, "{furthest} rows ahead");
    for map in &watched {
        let asked = map.asked.lock().unwrap();
        let mut next = 0;
        for rows in asked.iter() {
            assert!(
                rows.start <= next && rows.end > next,
                "{rows:?} after {next}"
            );
            next = rows.end;
        }
        assert_eq!(next, HEIGHT);
    }
}

test_on_devices!(the_longest_sequence_is_streamed_without_being_held);
fn the_longest_sequence_is_streamed_without_being_held(device: Device) {
    const ROWS: usize = 130;
    let first_rows = |network: &fastpix::Network, request: &SampleRequest, limit: usize| {
        let engine = engine(network, &device.target());
        let (cancel, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        let mut values = Vec::new();
        let mut done = |row: SampledRow<'_>| {
            if count.fetch_add(1, Ordering::Relaxed) < ROWS {
                values.extend_from_slice(row.values);
            } else {
                cancel.store(true, Ordering::Relaxed);
            }
        };
        let mut hooks = Hooks::new().cancel(&cancel).row_done(&mut done);
        let ended = engine.stream(request, &mut hooks);
        let cancelled = ended.is_err_and(|error| error.is_cancelled());
        assert_eq!(cancelled, request.size.0 > limit);
        values
    };
    let short = ROWS + 1;
    let of = |height: usize| SampleRequest::new((height, 1), 2).seed(2);
    let (longest, expected) = (of(LONGEST_SEQUENCE), of(short));
    let found = first_rows(&sequence(), &longest, short);
    assert_eq!(found.len(), 2 * ROWS);
    assert!(found == first_rows(&sequence(), &expected, short));
    let (longest, expected) = (request(LONGEST_SEQUENCE, 2).0, request(short, 2).0);
    let found = first_rows(&vocoder(), &longest, short);
    assert!(found == first_rows(&vocoder(), &expected, short));
}
