//! Cases that need an emulator of their own: the driver is set up once per process, so each runs
//! in a process of its own, which is this executable again.

use std::process::Command;

const CHILD: &str = "FASTPIX_TEST_CHILD";
const MARK: &str = "answer: ";

/// What `case` (one line) says in a process where the emulator, if any, has these settings. `test`
/// is the name of the test that asks.
pub fn answer(
    test: &str,
    emulator: bool,
    settings: &[(&str, &str)],
    case: impl FnOnce() -> String,
) -> String {
    if std::env::var(CHILD).is_ok_and(|child| child == test) {
        let emulator = emulator.then(|| cuda_emulator::install().unwrap());
        println!("{MARK}{}", case());
        if let Some(emulator) = emulator {
            assert_eq!(emulator.faults().unwrap_or_else(|_| "[]".into()), "[]");
        }
        std::process::exit(0);
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, test);
    for (name, value) in settings {
        child.env(format!("CUDA_EMULATOR_{name}"), value);
    }
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let answer = text.lines().find_map(|line| line.split_once(MARK));
    let (_, answer) = answer.unwrap_or_else(|| panic!("no answer: {text}\n{errors}"));
    assert!(output.status.success(), "{text}\n{errors}");
    answer.to_owned()
}
