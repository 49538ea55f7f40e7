//! The program from outside, as a process: what it prints, what it writes, and how it ends.

/// `bench`.
mod bench;
/// Models that draw classes.
mod codes;
/// `complete`.
mod complete;
/// Vectors and maps.
mod conditions;
/// `bench` on an emulated device.
mod cuda_bench;
/// `complete`, `score` and `doctor` on emulated devices, and devices that cannot be used.
mod cuda_commands;
/// `generate` on an emulated device.
mod cuda_generate;
/// Bad options, full disks, readers that leave.
mod errors;
/// `generate`, and the program without a subcommand.
mod generate;
/// Interrupts.
mod interrupt;
/// Models of one to four levels.
mod levels;
/// `doctor`, help and version.
mod machine;
/// `inspect`, `convert`, and model files in general.
mod models;
/// Running the program.
mod process;
/// `score`.
mod score;
/// What does not fit models of sound, and runs of them that end early.
mod sound_errors;
/// Models of sound.
mod sounds;
