//! The outer level of a PTX file: directives and functions.

use super::cursor::Parser;
use super::lexer::{Token, tokenize};
use super::{Function, Position, PtxError, Source, Space};

/// Parses a whole PTX file.
///
/// # Errors
/// Names the line, what was expected and what was found.
pub(crate) fn parse(text: &str) -> Result<Source<'_>, PtxError> {
    let tokens = tokenize(text)?;
    Parser { tokens, at: 0 }.source()
}

impl<'a> Parser<'a> {
    fn source(mut self) -> Result<Source<'a>, PtxError> {
        let mut source = Source::default();
        let mut external = false;
        let mut versioned = false;
        loop {
            if self.peek() == Token::End {
                break;
            }
            if self.eat(';') {
                continue;
            }
            let position = self.position();
            let directive = self.directive()?;
            if !versioned && directive != "version" {
                return Err(PtxError::at(
                    position,
                    format!("expected '.version' first, found '.{directive}'"),
                ));
            }
            match directive {
                "version" => {
                    versioned = true;
                    match self.next() {
                        Token::Real(_) => {}
                        _ => {
                            self.at -= 1;
                            return Err(self.expected("a version such as 8.0"));
                        }
                    }
                }
                "target" => {
                    source.target = self.word("a target such as sm_75")?;
                    while self.eat(',') {
                        self.word("a target option")?;
                    }
                }
                "address_size" => {
                    let position = self.position();
                    let size = self.int("an address size")?;
                    if size != 64 {
                        return Err(PtxError::at(
                            position,
                            format!("address size {size} is not supported, only 64"),
                        ));
                    }
                }
                "visible" | "weak" | "common" => {}
                "extern" => {
                    external = true;
                    continue;
                }
                "file" => {
                    let number = self.small("a file number")?;
                    let Token::Text(path) = self.next() else {
                        self.at -= 1;
                        return Err(self.expected("a quoted path"));
                    };
                    source.files.push((number, path));
                    while self.eat(',') {
                        self.int("a file time or size")?;
                    }
                }
                "section" => self.skip_section()?,
                "pragma" => self.skip_to_semicolon()?,
                "entry" | "func" => {
                    let function = self.function(directive == "entry", position)?;
                    source.functions.push(function);
                }
                _ => match Space::from_name(directive) {
                    Some(space @ (Space::Global | Space::Shared | Space::Const)) => {
                        self.variables(space, external, &mut |v| source.variables.push(v))?;
                    }
                    _ => {
                        return Err(PtxError::at(
                            position,
                            format!("directive '.{directive}' is not supported here"),
                        ));
                    }
                },
            }
            external = false;
        }
        if !versioned {
            return Err(self.expected("'.version'"));
        }
        Ok(source)
    }

    fn skip_section(&mut self) -> Result<(), PtxError> {
        while self.peek() != Token::Mark('{') {
            if self.peek() == Token::End {
                return Err(self.expected("'{' of the section"));
            }
            self.at += 1;
        }
        let mut depth = 0usize;
        loop {
            match self.next() {
                Token::Mark('{') => depth += 1,
                Token::Mark('}') => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                Token::End => return Err(self.expected("'}' of the section")),
                _ => {}
            }
        }
    }

    pub(super) fn skip_to_semicolon(&mut self) -> Result<(), PtxError> {
        loop {
            match self.next() {
                Token::Mark(';') => return Ok(()),
                Token::End => return Err(self.expected("';'")),
                _ => {}
            }
        }
    }

    fn function(&mut self, entry: bool, position: Position) -> Result<Function<'a>, PtxError> {
        let returns = if !entry && self.peek() == Token::Mark('(') {
            self.parameters()?
        } else {
            Vec::new()
        };
        let name = self.word("a function name")?;
        let parameters = if self.peek() == Token::Mark('(') {
            self.parameters()?
        } else {
            Vec::new()
        };
        let mut function = Function {
            name,
            entry,
            returns,
            parameters,
            body: None,
            required_threads: None,
            max_threads: None,
            max_registers: None,
            position,
        };
        loop {
            if self.eat(';') {
                return Ok(function);
            }
            if self.peek() == Token::Mark('{') {
                function.body = Some(self.body()?);
                return Ok(function);
            }
            let position = self.position();
            match self.directive()? {
                "maxntid" => function.max_threads = Some(self.dimensions()?),
                "reqntid" => function.required_threads = Some(self.dimensions()?),
                "maxnreg" => function.max_registers = Some(self.small("a register count")?),
                "minnctapersm" | "maxnctapersm" | "abi_preserve" | "abi_preserve_control" => {
                    self.int("a count")?;
                }
                "noreturn" => {}
                "pragma" => self.skip_to_semicolon()?,
                other => {
                    return Err(PtxError::at(
                        position,
                        format!("directive '.{other}' of '{name}' is not supported"),
                    ));
                }
            }
        }
    }

    fn dimensions(&mut self) -> Result<[u32; 3], PtxError> {
        let mut dimensions = [1; 3];
        dimensions[0] = self.small("a thread count")?;
        for d in &mut dimensions[1..] {
            if self.eat(',') {
                *d = self.small("a thread count")?;
            }
        }
        Ok(dimensions)
    }
}
