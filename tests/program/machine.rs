use crate::process::Sandbox;

#[test]
fn doctor_tells_what_the_machine_offers() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["doctor"]);
    ended.succeeded();
    for part in [
        "instruction set",
        "threads",
        match cfg!(feature = "cuda") {
            true => "CUDA driver",
            false => "none (built without CUDA)",
        },
        "avatars",
        "fashion",
    ] {
        assert!(ended.out.contains(part), "no {part:?} in {ended:?}");
    }
    let json = sandbox.run(&["doctor", "--json"]).json();
    assert!(json["threads"].as_u64().is_some_and(|threads| threads > 0));
    let cuda = &json["cuda"];
    if cuda["driver"].is_null() {
        let reason = cuda["devices"]["Err"].as_str();
        assert!(
            reason.is_some_and(|reason| reason.contains(match cfg!(feature = "cuda") {
                true => "no NVIDIA driver was found",
                false => "built without CUDA",
            })),
            "{cuda}"
        );
    }
}

#[test]
fn help_and_version_succeed() {
    let sandbox = Sandbox::new();
    let version = sandbox.run(&["--version"]);
    version.succeeded();
    assert_eq!(
        version.out.trim(),
        concat!("fastpix-run ", env!("CARGO_PKG_VERSION"))
    );
    let help = sandbox.run(&["--help"]);
    help.succeeded();
    for command in [
        "generate", "complete", "score", "inspect", "convert", "bench", "doctor",
    ] {
        assert!(help.out.contains(command), "no {command} in {help:?}");
        let help = sandbox.run(&[command, "--help"]);
        help.succeeded();
        assert!(help.out.contains("Usage:"), "{help:?}");
    }
}
