use fastpix::images;

use crate::process::{Sandbox, noise, read_npy};

const SHAPE: [usize; 4] = [3, 8, 8, 3];
const IMAGE: usize = 8 * 8 * 3;

#[test]
fn first_rows_are_kept_and_the_rest_is_sampled() {
    let sandbox = Sandbox::new();
    let given = noise(3 * IMAGE);
    sandbox.write_u8("given.npy", SHAPE, &given);
    let arguments = [
        "complete",
        "--images",
        "given.npy",
        "--keep-rows",
        "3",
        "--batch-size",
        "2",
        "--npy",
        "all.npy",
        "--json",
    ];
    let json = sandbox.run(&arguments).json();
    assert_eq!(json["images"], 3);
    let (shape, values) = read_npy::<u8>(&sandbox.path("all.npy"));
    assert_eq!(shape, [3, 8, 8, 3]);
    let kept = 3 * 8 * 3;
    for (completed, given) in values.chunks(IMAGE).zip(given.chunks(IMAGE)) {
        assert_eq!(completed[..kept], given[..kept]);
        assert_ne!(completed[kept..], given[kept..]);
    }
}

#[test]
fn all_rows_or_none_can_be_kept() {
    let sandbox = Sandbox::new();
    let given = noise(IMAGE);
    sandbox.write_u8("given.npy", [1, 8, 8, 3], &given);
    let complete = |rows: &str, file: &str| {
        let arguments = ["complete", "given.npy", "--keep-rows", rows, "--npy", file];
        sandbox.run(&arguments).succeeded();
        read_npy::<u8>(&sandbox.path(file)).1
    };
    assert_eq!(complete("8", "whole.npy"), given);
    let generate = ["--count", "1", "--size", "8x8", "--npy", "new.npy"];
    sandbox.run(&generate).succeeded();
    let new = read_npy::<u8>(&sandbox.path("new.npy")).1;
    assert_eq!(complete("0", "none.npy"), new);
}

#[test]
fn a_generated_png_completes_to_itself() {
    let sandbox = Sandbox::new();
    sandbox.run(&["--count", "2", "--size", "8x8"]).succeeded();
    let arguments = [
        "complete",
        "samples/image-000000.png",
        "samples/image-000001.png",
        "--keep-rows",
        "5",
        "--save-dir",
        "again",
    ];
    sandbox.run(&arguments).succeeded();
    for name in ["image-000000.png", "image-000001.png"] {
        let read = |folder: &str| images::read(&sandbox.path(folder).join(name)).expect("a PNG");
        assert_eq!(read("samples"), read("again"));
    }
}

#[test]
fn each_image_takes_its_label() {
    let sandbox = Sandbox::new();
    sandbox.write_u8("given.npy", [2, 8, 8, 1], &noise(128));
    sandbox.write_labels("labels.npy", &[3, 7]);
    let common = [
        "complete",
        "given.npy",
        "--keep-rows",
        "2",
        "--model",
        "fashion",
        "--npy",
    ];
    let labels = ["labelled.npy", "--labels", "labels.npy"];
    sandbox.run(&[&common[..], &labels].concat()).succeeded();
    let class = ["seven.npy", "--class", "7"];
    sandbox.run(&[&common[..], &class].concat()).succeeded();
    let labelled = read_npy::<u8>(&sandbox.path("labelled.npy")).1;
    let seven = read_npy::<u8>(&sandbox.path("seven.npy")).1;
    assert_ne!(labelled[..64], seven[..64]);
    assert_eq!(labelled[64..], seven[64..]);
}

#[test]
fn more_rows_than_there_are_is_an_error() {
    let sandbox = Sandbox::new();
    sandbox.write_u8("given.npy", [1, 8, 8, 3], &noise(IMAGE));
    sandbox
        .run(&["complete", "given.npy", "--keep-rows", "9"])
        .failed_with(&["--keep-rows", "0 to 8", "found 9"]);
    assert_eq!(sandbox.names(""), ["given.npy"]);
}
