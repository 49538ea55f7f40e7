//! The program from outside: what it prints, what it writes, and how it ends.

mod bench;
mod complete;
mod errors;
mod generate;
mod interrupt;
mod machine;
mod models;
mod process;
mod score;
