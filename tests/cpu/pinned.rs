use fastpix::cpu::isa::Isa;
use fastpix::{Dtype, SampleRequest};
use test_support::engine::{cpu, embedded, engine};

/// CRC-32C of the 8-bit values of five images of seed 3, by embedded model and dtype: of the
/// version of 2026-11-24 that knew PixelCNN++ only, made with its program (`--count 5 --seed 3`,
/// `--class all` for `fashion`). In f32 all instruction sets gave the same; in bf16 those without
/// bf16 instructions did.
const PINNED: [(&str, Dtype, bool, u32); 6] = [
    ("avatars", Dtype::F32, false, 0x085d_758b),
    ("avatars", Dtype::Bf16, false, 0xe4a9_0583),
    ("avatars", Dtype::Bf16, true, 0x6b03_6216),
    ("fashion", Dtype::F32, false, 0x9e41_3dc7),
    ("fashion", Dtype::Bf16, false, 0xdadc_0489),
    ("fashion", Dtype::Bf16, true, 0xceba_38b9),
];

#[test]
fn images_of_the_embedded_models_stay_what_they_were() {
    for (name, dtype, instructions, expected) in PINNED {
        let network = embedded(name);
        let size = network.info().image_size.unwrap();
        let mut request = SampleRequest::new(size, 5).seed(3);
        if let Some(classes) = network.graph().condition().classes() {
            request = request.classes(0..classes);
        }
        for isa in Isa::available() {
            // AMX adds in an order of its own; no machine that has it was at hand.
            let with_bf16 = dtype == Dtype::Bf16 && isa == Isa::Avx512Bf16;
            if isa == Isa::Amx || with_bf16 != instructions {
                continue;
            }
            let engine = engine(&network, &cpu().dtype(dtype).isa(isa));
            let images = engine.sample(&request).unwrap().to_u8();
            let found = crc32c::crc32c(&images.values);
            assert_eq!(found, expected, "{name} {dtype} {isa}: {found:#010x}");
        }
    }
}
