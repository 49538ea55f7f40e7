#![cfg(unix)]

use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastpix::images;

use crate::process::{Ended, Sandbox};

/// Far more than anything here takes; only a program that hangs gets there.
const PATIENCE: Duration = Duration::from_secs(120);

fn wait_for(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(start.elapsed() < PATIENCE, "waited in vain");
        sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{name} {}", child.id())])
        .status();
    assert!(status.expect("a shell").success());
}

/// Runs the program, sends it a signal once `ready`, and waits for its end.
pub fn interrupted(
    sandbox: &Sandbox,
    arguments: &[&str],
    name: &str,
    ready: impl Fn() -> bool,
) -> Ended {
    let child = sandbox.command(arguments).spawn().expect("a process");
    wait_for(ready);
    signal(&child, name);
    child.wait_with_output().expect("an end").into()
}

#[test]
fn forever_goes_on_until_it_is_interrupted_and_leaves_whole_images() {
    let sandbox = Sandbox::new();
    let arguments = ["--forever", "--batch-size", "2", "--size", "8x8", "--json"];
    // The second batch shows that it does not stop after one.
    let second = sandbox.path("samples/grid-000002-000003.png");
    let ended = interrupted(&sandbox, &arguments, "INT", || second.exists());
    let json = ended.json();
    assert_eq!(json["interrupted"], true);
    let count = json["images"].as_u64().expect("a count");
    assert!(count >= 4 && count % 2 == 0, "{count}");
    let names = sandbox.names("samples");
    assert_eq!(names.len() as u64, count + count / 2);
    assert_eq!(json["files"].as_array().map(Vec::len), Some(names.len()));
    for name in names {
        let image = images::read(&sandbox.path("samples").join(&name));
        assert!(image.is_ok(), "{image:?}");
    }
}

#[test]
fn an_interrupt_before_the_first_image_ends_with_code_1_and_no_files() {
    for name in ["INT", "TERM"] {
        let sandbox = Sandbox::new();
        let arguments = ["--count", "1", "--size", "2048x2048", "--npy", "all.npy"];
        let folder = sandbox.path("samples");
        let ended = interrupted(&sandbox, &arguments, name, || folder.exists());
        assert_eq!((ended.code, ended.err.as_str()), (Some(1), ""), "{ended:?}");
        assert_eq!(sandbox.names(""), ["samples"]);
        assert_eq!(sandbox.names("samples"), [""; 0]);
    }
}

#[test]
fn complete_batches_reach_the_array_when_interrupted() {
    let sandbox = Sandbox::new();
    let arguments = [
        "--count",
        "100000",
        "--batch-size",
        "2",
        "--size",
        "8x8",
        "--npy",
        "all.npy",
        "--json",
    ];
    let first = sandbox.path("samples/grid-000000-000001.png");
    let ended = interrupted(&sandbox, &arguments, "INT", || first.exists());
    let count = ended.json()["images"].as_u64().expect("a count");
    let (shape, values) = crate::process::read_npy::<u8>(&sandbox.path("all.npy"));
    assert_eq!(shape, [count, 8, 8, 3]);
    let image = images::read(&sandbox.path("samples/image-000001.png")).expect("a PNG");
    assert_eq!(values[192..384], image.values);
}
