use fastpix::backend::BackendError;
use fastpix::checkpoint::Checkpoint;
use fastpix::distribution::{Categorical, Sampler, Truncation};
use fastpix::families::wavenet::{self, Hyperparameters, Speakers};
use fastpix::network::{Map, OutputDistribution};
use fastpix::{
    Dtype, Engine, EvaluationMode, Hooks, ImageRequest, Network, PixelPosition, SampleRequest,
    SampledRow,
};
use test_support::devices::Device;
use test_support::engine::engine;
use test_support::reference::{Array, assert_close, npz};

use super::{MODES, MOL, MULAW, checkpoint, evaluate, file, item_f64, map, sequence, vocoder};

/// Samples of a reference.
const LENGTH: usize = 96;

fn mol() -> Checkpoint {
    checkpoint(MOL)
}

fn mulaw() -> Checkpoint {
    checkpoint(MULAW)
}

/// A request for both items of a reference, of so many rows.
fn request(model: &Checkpoint, c: &Array, speakers: Option<&Array>, rows: usize) -> SampleRequest {
    let images = (0..2).map(|index| ImageRequest {
        map: Some(cut(&map(model, c, index), rows)),
        class: speakers.map(|speakers| speakers.usize()[index]),
        ..ImageRequest::new(index as u64)
    });
    SampleRequest::of((rows, 1), images.collect())
}

/// The first rows of a map.
fn cut(map: &Map, rows: usize) -> Map {
    let [_, _, channels] = map.shape();
    let mut values = vec![0.0; rows * channels];
    map.rows(0..rows, &mut values);
    Map::new(fastpix::network::MapArray::new([rows, 1, channels], values).unwrap())
}

/// Runs a request whose values are chosen, of the item and the row, from the parameters there.
fn chosen(
    engine: &Engine,
    request: &SampleRequest,
    choose: impl Fn(usize, usize, &[f32]) -> f32 + Sync,
) -> Vec<f32> {
    let mut source =
        |at: PixelPosition, parameters: &[f32], values: &mut [f32]| -> Result<(), BackendError> {
            let of_items = parameters.chunks(parameters.len() / values.len());
            for ((index, value), parameters) in values.iter_mut().enumerate().zip(of_items) {
                *value = choose(index, at.row, parameters);
            }
            Ok(())
        };
    let mut hooks = Hooks::new().pixel_source(&mut source);
    engine.sample_with(request, &mut hooks).unwrap().values
}

/// The first rows of each of two items.
fn first(values: &[f64], rows: usize) -> Vec<f64> {
    let items = values.chunks(values.len() / 2);
    items.flat_map(|item| item[..rows].to_vec()).collect()
}

/// Modes with the rows that are sampled in them: naive generation evaluates every row for each.
fn modes(device: Device) -> [(EvaluationMode, usize); 2] {
    let naive = if device.is_cpu() { 24 } else { 5 };
    [(MODES[0], LENGTH), (MODES[1], naive)]
}

test_on_devices!(mixtures_drawn_by_given_uniforms_are_the_originals: Cpu, CudaGraph);
fn mixtures_drawn_by_given_uniforms_are_the_originals(device: Device) {
    let io = npz(&file("mol/io.npz"));
    let model = mol();
    let network = model.clone().into_network().unwrap();
    let OutputDistribution::LogisticMixture(mixture) = *network.graph().output() else {
        panic!("a mixture");
    };
    let engine = engine(&network, &device.target());
    let (u_mix, u_log) = (io["u_mix"].f32(), io["u_log"].f32());
    for (mode, rows) in modes(device) {
        let request = request(&model, &io["c"], Some(&io["g"]), rows).mode(mode);
        let found = chosen(&engine, &request, |index, row, parameters| {
            let step = index * LENGTH + row;
            let uniforms = u_mix[step * 10..][..10].iter().copied();
            let uniforms = uniforms.chain([u_log[step]]);
            let mut value = [0.0];
            mixture.sample_into(parameters, uniforms, 1.0, 1.0, &mut value);
            value[0]
        });
        // Errors are fed back, and scales are e^2 at most: the original's f32 is 2e-7 off.
        let expected = first(&io["gen"].values, rows);
        assert_close("samples", &found, &expected, 1e-5, 0.0);
    }
}

test_on_devices!(classes_drawn_by_given_uniforms_are_the_originals: Cpu, CudaGraph);
fn classes_drawn_by_given_uniforms_are_the_originals(device: Device) {
    let io = npz(&file("mulaw/io.npz"));
    let model = mulaw();
    let engine = engine(&model.clone().into_network().unwrap(), &device.target());
    let uniforms = &io["u"].values;
    for (mode, rows) in modes(device) {
        let request = request(&model, &io["c"], None, rows).mode(mode);
        let found = chosen(&engine, &request, |index, row, logits| {
            // No step of the cumulative distribution is closer to a uniform than 3e-4.
            let word = ((uniforms[index * LENGTH + row] * f64::from(1 << 24)) as u32) << 8;
            Categorical { logits }.sample(word, &Sampler::default()) as f32
        });
        let found: Vec<f64> = found.into_iter().map(f64::from).collect();
        assert_eq!(found, first(&io["gen_sampled"].values, rows), "{mode:?}");
    }
}

test_on_devices!(the_likeliest_classes_are_the_originals: Cpu, CudaGraph);
fn the_likeliest_classes_are_the_originals(device: Device) {
    let io = npz(&file("mulaw/io.npz"));
    let model = mulaw();
    let engine = engine(&model.clone().into_network().unwrap(), &device.target());
    for (mode, rows) in modes(device) {
        let request = request(&model, &io["c"], None, rows).mode(mode);
        let request = request.truncation(Truncation::Greedy);
        let found = engine.sample(&request).unwrap().values;
        let found: Vec<f64> = found.into_iter().map(f64::from).collect();
        assert_eq!(found, first(&io["gen_greedy"].values, rows), "{mode:?}");
    }
}

test_on_devices!(cached_naive_and_streamed_sequences_are_the_same);
fn cached_naive_and_streamed_sequences_are_the_same(device: Device) {
    let (mol_io, mulaw_io) = (npz(&file("mol/io.npz")), npz(&file("mulaw/io.npz")));
    let rows = if device.is_cpu() { 40 } else { 8 };
    for (model, io, speakers) in [
        (mol(), &mol_io, Some(&mol_io["g"])),
        (mulaw(), &mulaw_io, None),
    ] {
        let engine = engine(&model.clone().into_network().unwrap(), &device.target());
        let request = request(&model, &io["c"], speakers, rows).seed(9);
        let cached = engine.sample(&request).unwrap();
        let mut streamed = vec![0.0; 2 * rows];
        let mut take = |row: SampledRow<'_>| {
            for (item, &value) in row.values.iter().enumerate() {
                streamed[item * rows + row.row] = value;
            }
        };
        let mut hooks = Hooks::new().row_done(&mut take);
        engine.stream(&request, &mut hooks).unwrap();
        assert_eq!(streamed, cached.values);
        let naive = engine.sample(&request.clone().mode(MODES[1])).unwrap();
        if device.is_cpu() {
            assert!(naive == cached, "to the last bit");
        } else if device.dtype() == Dtype::F32 {
            // Sums of f32 in another order, and then rounded to one of 65536 codes, or a class.
            let expected: Vec<f64> = cached.values.iter().map(|&x| x.into()).collect();
            assert_close("naive", &naive.values, &expected, 1e-4, 0.0);
        }
        // An item depends on no other.
        let mut alone = request;
        alone.images.remove(0);
        assert_eq!(engine.sample(&alone).unwrap().values, cached.values[rows..]);
    }
}

test_on_devices!(a_given_beginning_decides_the_rest: Cpu, CpuBf16, CudaGraph);
fn a_given_beginning_decides_the_rest(device: Device) {
    let io = npz(&file("mol/io.npz"));
    let model = mol();
    let engine = engine(&model.clone().into_network().unwrap(), &device.target());
    let mut request = request(&model, &io["c"], Some(&io["g"]), 50)
        .seed(2)
        .continuous(true);
    let free = engine.sample(&request).unwrap().values;
    // Numbers that are no codes are kept as they are.
    request.images[0].prefix = free[..31].to_vec().into();
    assert_eq!(engine.sample(&request).unwrap().values, free);
    let other: Vec<f32> = free[..31].iter().map(|x| -x).collect();
    request.images[0].prefix = other.clone().into();
    let found = engine.sample(&request).unwrap().values;
    assert_eq!(found[..31], other);
    assert_ne!(found[31..50], free[31..50]);
    assert_eq!(found[50..], free[50..]);
}

#[test]
fn who_speaks_and_what_is_said_decide_every_sample() {
    let io = npz(&file("mol/io.npz"));
    let model = mol();
    let engine = engine(
        &model.clone().into_network().unwrap(),
        &Device::Cpu.target(),
    );
    let x = sequence(vec![0.25; LENGTH]);
    let maps = [map(&model, &io["c"], 0), map(&model, &io["c"], 1)];
    let of = |speaker, which: usize| {
        let map = [maps[which].clone()];
        evaluate(&engine, &x, &[speaker], &map, MODES[0]).parameters
    };
    let base = of(0, 0);
    for other in [of(1, 0), of(3, 0), of(0, 1)] {
        let differ = base.chunks(30).zip(other.chunks(30)).all(|(a, b)| a != b);
        assert!(differ);
    }
    let images = [ImageRequest {
        class: Some(4),
        map: Some(maps[0].clone()),
        ..ImageRequest::new(0)
    }];
    let refused = engine.sample(&SampleRequest::of((LENGTH, 1), images.to_vec()));
    let text = refused.unwrap_err().to_string();
    assert_eq!(
        text,
        "class: expected 0 to 3 for this class-conditional model, found 4"
    );
}

#[test]
fn a_speakers_vector_speaks_as_the_speaker() {
    let io = npz(&file("mol/io.npz"));
    let model = mol();
    let mut hyper = vocoder(&model);
    hyper.speakers = Speakers::Features { gin_channels: 8 };
    let mut tensors = model.tensors.clone();
    let embedding = tensors.remove("embed_speakers.weight").unwrap();
    let features = wavenet::network(&Hyperparameters::from(hyper), tensors).unwrap();
    let embedded = model.clone().into_network().unwrap();
    let x = sequence(vec![-0.5; LENGTH]);
    let maps = [map(&model, &io["c"], 1)];
    let target = Device::Cpu.target();
    for speaker in 0..4 {
        let expected = evaluate(&engine(&embedded, &target), &x, &[speaker], &maps, MODES[0]);
        let vector = &embedding.values[speaker * 8..][..8];
        let request = fastpix::EvaluationRequest::new(&x)
            .maps(&maps)
            .vectors(vector);
        let found = super::collect(&engine(&features, &target), &request);
        let expected: Vec<f64> = expected.parameters.iter().map(|&y| y.into()).collect();
        assert_close("vector", &found.parameters, &expected, 1e-5, 0.0);
    }
}

#[test]
fn the_older_generation_draws_from_scales_above_its_floor() {
    let (older, newer) = (checkpoint("older/model.npz"), mol());
    let floors = |network: &Network| match network.graph().output() {
        OutputDistribution::LogisticMixture(mixture) => match mixture.scale {
            fastpix::network::ScaleLink::Exp {
                sampling_floor,
                likelihood_floor,
            } => [sampling_floor, likelihood_floor],
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let older = floors(&older.into_network().unwrap());
    assert_eq!(older, [-9.0, -9.0]);
    let newer = floors(&newer.into_network().unwrap());
    assert_eq!(newer, [f32::NEG_INFINITY, -16.0]);
    // What the reference drew lies below the usual floor of -7 nowhere, so the uniforms would not
    // tell: the smallest log-scale was -4.5.
    let io = npz(&file("mol/io.npz"));
    assert!(item_f64(&io["gen"], 0).iter().all(|x| x.abs() <= 1.0));
}
