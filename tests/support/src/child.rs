//! Cases that need a process of their own, which is the test's executable again: the driver is set
//! up once per process, and so are an allocator's counts.

use std::process::Command;

const CHILD: &str = "FASTPIX_TEST_CHILD";
const MARK: &str = "answer: ";

/// What `case` (one line) says in a process where the emulator, if any, has these settings. `test`
/// is the test function that asks.
pub fn answer<T>(
    test: T,
    emulator: bool,
    settings: &[(&str, &str)],
    case: impl FnOnce() -> String,
) -> String {
    let test = name(&test);
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

/// Runs `case`, the whole of the test function `test`, where no other test runs.
pub fn alone<T>(test: T, case: impl FnOnce()) {
    let done = || {
        case();
        "done".to_owned()
    };
    assert_eq!(answer(test, false, &[], done), "done");
}

/// The name by which the test harness knows a test function: its path without the crate.
fn name<T>(_: &T) -> &'static str {
    let path = std::any::type_name::<T>();
    path.split_once("::").map_or(path, |(_, name)| name)
}
