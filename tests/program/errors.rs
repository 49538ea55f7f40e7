use crate::process::Sandbox;

#[test]
fn bad_options_give_one_line_and_write_nothing() {
    let sandbox = Sandbox::new();
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["--size", "30x32"],
            &["image size: height: expected a multiple of 4 from 4 to 65536, found 30"],
        ),
        (
            &["--size", "32x2"],
            &["image size: width: expected a multiple of 4 from 4 to 65536, found 2"],
        ),
        (
            &["--size", "0x4"],
            &["image size: height: expected a multiple of 4 from 4 to 65536, found 0"],
        ),
        (
            &["--size", "4x65540"],
            &["image size: width: expected a multiple of 4 from 4 to 65536, found 65540"],
        ),
        (&["--size", "32"], &["--size", "HxW"]),
        (
            &["--size", "65536x65536"],
            &["batch", "65536x65536", "--batch-size"],
        ),
        (
            &["--class", "1"],
            &["class", "not class-conditional", "found 1"],
        ),
        (&["--class", "all"], &["class", "not class-conditional"]),
        (&["--model", "fashion"], &["class", "0 to 9", "found none"]),
        (
            &["--model", "fashion", "--class", "10"],
            &["class", "0 to 9", "found 10"],
        ),
        (
            &["--model", "fashion", "--class", "x"],
            &["--class", "'x'", "class number or all"],
        ),
        (
            &["--model", "avatar"],
            &["avatar", "avatars, fashion", "No such file"],
        ),
        (
            &["--temperature", "0"],
            &["temperature", "positive", "found 0"],
        ),
        (
            &["--temperature", "NaN"],
            &["temperature", "positive", "found NaN"],
        ),
        (&["--temperature", "hot"], &["--temperature", "'hot'"]),
        (
            &["--device", "tpu"],
            &["--device", "auto, cpu, cuda", "tpu"],
        ),
        (
            &["--device", "cuda:x"],
            &["--device", "auto, cpu, cuda", "cuda:x"],
        ),
        (
            &["--precision", "f8"],
            &["--precision", "f32, f16, bf16", "f8"],
        ),
        (
            &["--precision", "f16", "--device", "cpu"],
            &[
                "cpu: precision: expected f32 or bf16, found f16",
                "; use --precision f32 or bf16, or --device cuda",
            ],
        ),
        (&["--count", "0"], &["--count", "'0'"]),
        (&["--batch-size", "0"], &["--batch-size", "'0'"]),
        (&["--threads", "0"], &["--threads", "'0'"]),
        (&["--scale", "0"], &["--scale", "'0'"]),
        (&["--seed", "-1"], &["-1"]),
        (
            &["--first-image", "18446744073709551615"],
            &["--first-image", "2^64"],
        ),
        (&["--forever", "--count", "3"], &["--forever", "--count"]),
        (&["--forever", "--npy", "x.npy"], &["--forever", "--npy"]),
        (&["--nonsense"], &["--nonsense"]),
        (&["nonsense"], &["nonsense"]),
        (&["complete", "x.png"], &["--keep-rows"]),
        (&["complete", "--keep-rows", "1"], &["INPUT"]),
        (&["score"], &["INPUT"]),
        (&["inspect"], &["MODEL"]),
        (&["convert", "avatars"], &["OUT"]),
    ];
    for (arguments, texts) in cases {
        sandbox.run(arguments).failed_with(texts);
        assert_eq!(sandbox.names(""), [""; 0], "{arguments:?}");
    }
}

#[test]
fn an_unwritable_folder_is_found_before_sampling() {
    let sandbox = Sandbox::new();
    sandbox.write("file", b"");
    // The size would take minutes: the error must come first.
    sandbox
        .run(&["--size", "1024x1024", "--save-dir", "file/samples"])
        .failed_with(&["file/samples", "cannot write", "Not a directory"]);
    sandbox
        .run(&["--size", "1024x1024", "--npy", "nowhere/all.npy"])
        .failed_with(&["nowhere/all.npy", "cannot write", "No such file"]);
    assert_eq!(sandbox.names(""), ["file"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported() {
    let sandbox = Sandbox::new();
    sandbox.write_u8("given.npy", [1, 8, 8, 3], &[0; 192]);
    for arguments in [
        &["--count", "1", "--size", "4x4", "--npy", "/dev/full"][..],
        &["score", "given.npy", "--params-out", "/dev/full"],
    ] {
        sandbox
            .run(arguments)
            .failed_with(&["/dev/full", "cannot write", "No space left"]);
    }
}

#[cfg(unix)]
#[test]
fn a_write_that_fails_midway_leaves_no_file() {
    let sandbox = Sandbox::new();
    // The shell limits files to a few blocks and ignores the signal, so that writing fails.
    let program = env!("CARGO_BIN_EXE_fastpix-run");
    let line = format!("trap '' XFSZ; ulimit -f 2; exec '{program}' --count 8 --npy all.npy");
    let ended: crate::process::Ended = std::process::Command::new("sh")
        .args(["-c", &line])
        .current_dir(sandbox.path(""))
        .output()
        .expect("a shell")
        .into();
    ended.failed_with(&["cannot write", "File too large"]);
    assert_eq!(sandbox.names(""), ["samples"]);
    for name in sandbox.names("samples") {
        let image = fastpix::images::read(&sandbox.path("samples").join(&name));
        assert!(image.is_ok(), "{image:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command(&["inspect", "avatars"])
        .spawn()
        .expect("a process");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_a_file_is_an_error() {
    let sandbox = Sandbox::new();
    // The reader of the named pipe takes one byte, less than the program writes.
    let program = env!("CARGO_BIN_EXE_fastpix-run");
    let line = format!(
        "mkfifo model.safetensors && {{ head -c 1 model.safetensors >/dev/null & \
         exec '{program}' convert avatars model.safetensors; }}"
    );
    let ended: crate::process::Ended = std::process::Command::new("sh")
        .args(["-c", &line])
        .current_dir(sandbox.path(""))
        .output()
        .expect("a shell")
        .into();
    ended.failed_with(&["model.safetensors", "cannot write", "Broken pipe"]);
}
