//! Tokens one after another, and what was expected where they do not fit.

use super::lexer::Token;
use super::{Position, PtxError};

pub(super) struct Parser<'a> {
    pub tokens: Vec<(Token<'a>, Position)>,
    pub at: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Token<'a> {
        self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    pub(super) fn peek_second(&self) -> Token<'a> {
        self.tokens[(self.at + 1).min(self.tokens.len() - 1)].0
    }

    pub(super) fn position(&self) -> Position {
        self.tokens[self.at.min(self.tokens.len() - 1)].1
    }

    pub(super) fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    pub(super) fn expected(&self, what: &str) -> PtxError {
        PtxError::at(
            self.position(),
            format!("expected {what}, found {}", self.peek().describe()),
        )
    }

    pub(super) fn eat(&mut self, mark: char) -> bool {
        let found = self.peek() == Token::Mark(mark);
        if found {
            self.at += 1;
        }
        found
    }

    pub(super) fn expect(&mut self, mark: char) -> Result<(), PtxError> {
        if self.eat(mark) {
            Ok(())
        } else {
            Err(self.expected(&format!("'{mark}'")))
        }
    }

    pub(super) fn word(&mut self, what: &str) -> Result<&'a str, PtxError> {
        if let Token::Word(word) = self.peek() {
            self.at += 1;
            Ok(word)
        } else {
            Err(self.expected(what))
        }
    }

    /// The word after a dot that was already consumed.
    pub(super) fn directive(&mut self) -> Result<&'a str, PtxError> {
        self.expect('.')?;
        self.word("a directive")
    }

    pub(super) fn int(&mut self, what: &str) -> Result<u64, PtxError> {
        if let Token::Int(value) = self.peek() {
            self.at += 1;
            Ok(value)
        } else {
            Err(self.expected(what))
        }
    }

    pub(super) fn small(&mut self, what: &str) -> Result<u32, PtxError> {
        let position = self.position();
        let value = self.int(what)?;
        u32::try_from(value)
            .map_err(|_| PtxError::at(position, format!("{what} of {value} exceeds 32 bits")))
    }

    pub(super) fn signed(&mut self, what: &str) -> Result<i64, PtxError> {
        let negative = self.eat('-');
        let value = self.int(what)? as i64;
        Ok(if negative {
            value.wrapping_neg()
        } else {
            value
        })
    }
}
