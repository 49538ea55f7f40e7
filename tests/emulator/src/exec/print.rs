//! `vprintf`: device-side printing.

use super::access::Words;
use super::block::Worker;
use super::op::{Access, LANES, Slot};
use crate::check::Trouble;
use crate::ptx::Space;
use std::io::Write;

/// Longest format or string that is followed.
const LONGEST: u64 = 4096;

impl Worker<'_> {
    fn string(&self, address: u64) -> String {
        let bytes: Vec<u8> = (0..LONGEST)
            .map(|i| self.peek(address + i))
            .take_while(|&b| b != 0)
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Prints for every lane. Widths and precisions of the format are ignored.
    pub(crate) fn print(
        &mut self,
        w: usize,
        pc: u32,
        format: Slot,
        arguments: Slot,
        mask: u32,
    ) -> Result<(), Box<Trouble>> {
        for lane in (0..LANES).filter(|l| mask >> l & 1 != 0) {
            let format = self.string(self.warps[w].row(format)[lane]);
            let mut at = self.warps[w].row(arguments)[lane];
            let mut text = String::new();
            let mut rest = format.chars();
            while let Some(c) = rest.next() {
                if c != '%' {
                    text.push(c);
                    continue;
                }
                let mut long = false;
                let letter = loop {
                    match rest.next() {
                        Some('l' | 'z' | 'j') => long = true,
                        Some(c) if c.is_ascii_alphabetic() || c == '%' => break c,
                        Some(_) => {}
                        None => break '%',
                    }
                };
                if letter == '%' {
                    text.push('%');
                    continue;
                }
                let wide = long || matches!(letter, 'f' | 'e' | 'g' | 'p' | 's');
                let bytes = if wide { 8 } else { 4 };
                at = at.next_multiple_of(bytes);
                let access = Access {
                    space: Space::Generic,
                    element: bytes as u32,
                    count: 1,
                    strong: false,
                    acquire: false,
                    release: false,
                    constant: false,
                };
                let mut words: Words = [[0; LANES]; 8];
                self.load_words(w, pc, &access, &[at; LANES], 1 << lane, &mut words)?;
                let value = u64::from(words[0][lane]) | u64::from(words[1][lane]) << 32;
                at += bytes;
                match letter {
                    'd' | 'i' if wide => text += &(value as i64).to_string(),
                    'd' | 'i' => text += &(value as i32).to_string(),
                    'x' | 'X' => text += &format!("{value:x}"),
                    'p' => text += &format!("{value:#x}"),
                    'c' => text.push(char::from(value as u8)),
                    'f' => text += &format!("{:.6}", f64::from_bits(value)),
                    'e' | 'g' => text += &format!("{:e}", f64::from_bits(value)),
                    's' => text += &self.string(value),
                    _ => text += &value.to_string(),
                }
            }
            // A closed standard output is no fault of the kernel.
            let _ = std::io::stdout().write_all(text.as_bytes());
        }
        Ok(())
    }
}
