//! Splits PTX text into tokens with their positions.

use super::{Position, PtxError};

/// One token of PTX text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'a> {
    /// A name, an opcode or a modifier, with any `::` qualifier (`shared::cta`).
    Word(&'a str),
    /// An integer literal.
    Int(u64),
    /// `0f` followed by eight hexadecimal digits.
    F32(u32),
    /// `0d` followed by sixteen hexadecimal digits.
    F64(u64),
    /// A decimal number with a fraction; kept as text because `.version` needs it so.
    Real(&'a str),
    /// A quoted string, without the quotes.
    Text(&'a str),
    /// Any other character.
    Mark(char),
    /// The end of the text.
    End,
}

impl Token<'_> {
    /// How the token is named in a message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Token::Word(w) => format!("'{w}'"),
            Token::Int(v) => format!("'{v}'"),
            Token::F32(v) => format!("'0f{v:08X}'"),
            Token::F64(v) => format!("'0d{v:016X}'"),
            Token::Real(r) => format!("'{r}'"),
            Token::Text(t) => format!("\"{t}\""),
            Token::Mark(c) => format!("'{c}'"),
            Token::End => "the end of the text".to_string(),
        }
    }
}

/// Splits `text`; the last token is always [`Token::End`].
pub(crate) fn tokenize(text: &str) -> Result<Vec<(Token<'_>, Position)>, PtxError> {
    Lexer {
        text,
        bytes: text.as_bytes(),
        at: 0,
        line: 1,
        line_start: 0,
    }
    .run()
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    line: u32,
    line_start: usize,
}

fn starts_word(b: u8) -> bool {
    b.is_ascii_alphabetic() || matches!(b, b'_' | b'$' | b'%')
}

fn continues_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$')
}

impl<'a> Lexer<'a> {
    fn position(&self) -> Position {
        Position {
            line: self.line,
            column: (self.at - self.line_start) as u32 + 1,
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn run(mut self) -> Result<Vec<(Token<'a>, Position)>, PtxError> {
        let mut tokens = Vec::with_capacity(self.bytes.len() / 4);
        loop {
            self.skip_blank()?;
            let position = self.position();
            let Some(&b) = self.bytes.get(self.at) else {
                tokens.push((Token::End, position));
                return Ok(tokens);
            };
            // A modifier may begin with a digit, such as `.2d`.
            let modifier = self.at > 0 && self.bytes[self.at - 1] == b'.';
            let token = if starts_word(b) || modifier && b.is_ascii_digit() {
                self.word()
            } else if b.is_ascii_digit() {
                self.number(position)?
            } else if b == b'"' {
                self.quoted(position)?
            } else if b.is_ascii() && !b.is_ascii_control() {
                self.at += 1;
                Token::Mark(b as char)
            } else if b == 0 && self.bytes[self.at..].iter().all(|&b| b == 0) {
                // A terminating zero, as C strings carry.
                tokens.push((Token::End, position));
                return Ok(tokens);
            } else {
                return Err(PtxError::at(position, format!("unexpected byte 0x{b:02x}")));
            };
            tokens.push((token, position));
        }
    }

    fn skip_blank(&mut self) -> Result<(), PtxError> {
        while let Some(&b) = self.bytes.get(self.at) {
            if b == b'\n' {
                self.at += 1;
                self.line += 1;
                self.line_start = self.at;
            } else if b.is_ascii_whitespace() {
                self.at += 1;
            } else if b == b'/' && self.peek(1) == b'/' {
                while self.at < self.bytes.len() && self.bytes[self.at] != b'\n' {
                    self.at += 1;
                }
            } else if b == b'/' && self.peek(1) == b'*' {
                let start = self.position();
                self.at += 2;
                while !(self.peek(0) == b'*' && self.peek(1) == b'/') {
                    if self.at >= self.bytes.len() {
                        return Err(PtxError::at(start, "comment is never closed"));
                    }
                    if self.bytes[self.at] == b'\n' {
                        self.line += 1;
                        self.line_start = self.at + 1;
                    }
                    self.at += 1;
                }
                self.at += 2;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn word(&mut self) -> Token<'a> {
        let start = self.at;
        self.at += 1;
        loop {
            if continues_word(self.peek(0)) {
                self.at += 1;
            } else if self.peek(0) == b':' && self.peek(1) == b':' && continues_word(self.peek(2)) {
                self.at += 3;
            } else {
                break;
            }
        }
        Token::Word(&self.text[start..self.at])
    }

    fn quoted(&mut self, position: Position) -> Result<Token<'a>, PtxError> {
        let start = self.at + 1;
        let mut end = start;
        while let Some(&b) = self.bytes.get(end) {
            if b == b'"' {
                self.at = end + 1;
                return match self.text.get(start..end) {
                    Some(text) => Ok(Token::Text(text)),
                    None => Err(PtxError::at(position, "string is not valid UTF-8")),
                };
            }
            if b == b'\n' {
                break;
            }
            end += 1;
        }
        Err(PtxError::at(position, "string is never closed"))
    }

    fn number(&mut self, position: Position) -> Result<Token<'a>, PtxError> {
        let start = self.at;
        let lead = (self.peek(0), self.peek(1).to_ascii_lowercase());
        // `0f` and `0d` only start a float when the right number of digits follows.
        for (letter, digits) in [(b'f', 8), (b'd', 16)] {
            if lead == (b'0', letter) {
                let end = start + 2 + digits;
                let text = self.text.get(start + 2..end).unwrap_or("");
                let bits = u64::from_str_radix(text, 16).ok();
                if let Some(bits) = bits.filter(|_| !text.starts_with('+')) {
                    self.at = end;
                    if !continues_word(self.peek(0)) {
                        return Ok(if letter == b'f' {
                            Token::F32(bits as u32)
                        } else {
                            Token::F64(bits)
                        });
                    }
                }
                return Err(PtxError::at(
                    position,
                    format!(
                        "expected {digits} hexadecimal digits after '0{}'",
                        letter as char
                    ),
                ));
            }
        }
        while continues_word(self.peek(0)) {
            self.at += 1;
        }
        if self.peek(0) == b'.' && self.peek(1).is_ascii_digit() {
            self.at += 1;
            while self.peek(0).is_ascii_alphanumeric()
                || (matches!(self.peek(0), b'+' | b'-')
                    && matches!(self.bytes[self.at - 1], b'e' | b'E'))
            {
                self.at += 1;
            }
            return Ok(Token::Real(&self.text[start..self.at]));
        }
        let text = self.text[start..self.at].trim_end_matches(['U', 'u']);
        let lower = text.to_ascii_lowercase();
        let value = if let Some(hex) = lower.strip_prefix("0x") {
            u64::from_str_radix(hex, 16)
        } else if let Some(binary) = lower.strip_prefix("0b") {
            u64::from_str_radix(binary, 2)
        } else if lower.len() > 1 && lower.starts_with('0') {
            u64::from_str_radix(&lower[1..], 8)
        } else {
            lower.parse()
        };
        value.map(Token::Int).map_err(|_| {
            PtxError::at(
                position,
                format!("'{text}' is not an integer of at most 64 bits"),
            )
        })
    }
}
