//! Declarations: variables with their initial values, and formal parameters.

use super::cursor::Parser;
use super::lexer::Token;
use super::{Initial, MAX_NESTING, PtxError, Space, Type, Variable};

impl<'a> Parser<'a> {
    /// One or more variables after their state space, up to the semicolon.
    pub(super) fn variables(
        &mut self,
        space: Space,
        external: bool,
        sink: &mut dyn FnMut(Variable<'a>),
    ) -> Result<(), PtxError> {
        let (align, width, ty) = self.variable_type()?;
        loop {
            let mut variable = self.declarator(space, align, width, ty)?;
            variable.external = external;
            if self.eat('=') {
                self.initialiser(&mut variable)?;
            }
            sink(variable);
            if !self.eat(',') {
                break;
            }
        }
        self.expect(';')
    }

    /// `.align N`, `.v2`, `.ptr` and the type, in any order before the name.
    pub(super) fn variable_type(&mut self) -> Result<(Option<u64>, u32, Type), PtxError> {
        let mut align = None;
        let mut width = 1;
        let mut ty = None;
        let mut pointer = false;
        while self.peek() == Token::Mark('.') {
            let position = self.position();
            let word = self.directive()?;
            match word {
                "align" => {
                    let position = self.position();
                    let value = self.int("an alignment")?;
                    if !value.is_power_of_two() || value > 1 << 20 {
                        return Err(PtxError::at(
                            position,
                            format!("alignment {value} is not a power of two up to 2^20"),
                        ));
                    }
                    // `.ptr .align` describes what is pointed at, not the parameter itself.
                    if !pointer {
                        align = Some(value);
                    }
                }
                "ptr" => pointer = true,
                "v2" => width = 2,
                "v4" => width = 4,
                "attribute" => {
                    self.expect('(')?;
                    while !self.eat(')') {
                        if self.peek() == Token::End {
                            return Err(self.expected("')'"));
                        }
                        self.at += 1;
                    }
                }
                _ if pointer && Space::from_name(word).is_some() => {}
                _ => match Type::from_name(word) {
                    Some(t) => ty = Some(t),
                    None => {
                        return Err(PtxError::at(
                            position,
                            format!("expected a type, found '.{word}'"),
                        ));
                    }
                },
            }
        }
        match ty {
            Some(ty) => Ok((align, width, ty)),
            None => Err(self.expected("a type")),
        }
    }

    fn declarator(
        &mut self,
        space: Space,
        align: Option<u64>,
        width: u32,
        ty: Type,
    ) -> Result<Variable<'a>, PtxError> {
        let position = self.position();
        let name = self.word("a variable name")?;
        let element = u64::from(ty.bytes()) * u64::from(width);
        let mut size = element;
        while self.eat('[') {
            let count = if self.peek() == Token::Mark(']') {
                0
            } else {
                self.int("a size")?
            };
            self.expect(']')?;
            size = size
                .checked_mul(count)
                .filter(|&s| s <= 1 << 40)
                .ok_or_else(|| {
                    PtxError::at(
                        position,
                        format!("variable '{name}' is larger than 2^40 bytes"),
                    )
                })?;
        }
        Ok(Variable {
            name,
            space,
            ty,
            size,
            align: align.unwrap_or(element).max(1),
            external: false,
            register: false,
            initial: Vec::new(),
            position,
        })
    }

    fn initialiser(&mut self, variable: &mut Variable<'a>) -> Result<(), PtxError> {
        let mut depth = 0usize;
        loop {
            if self.eat('{') {
                depth += 1;
                if depth > MAX_NESTING {
                    return Err(self.expected("a value"));
                }
                continue;
            }
            if depth == 0 || self.peek() != Token::Mark('}') {
                let value = self.initial_value()?;
                variable.initial.push(value);
            }
            while depth > 0 && self.eat('}') {
                depth -= 1;
            }
            if depth == 0 {
                return Ok(());
            }
            if !self.eat(',') {
                return Err(self.expected("',' or '}'"));
            }
        }
    }

    fn initial_value(&mut self) -> Result<Initial<'a>, PtxError> {
        match self.peek() {
            Token::Mark('-') | Token::Int(_) => Ok(Initial::Int(self.signed("a number")? as u64)),
            Token::F32(v) => {
                self.at += 1;
                Ok(Initial::F32(v))
            }
            Token::F64(v) => {
                self.at += 1;
                Ok(Initial::F64(v))
            }
            Token::Real(text) => {
                let value: f64 = text.parse().map_err(|_| self.expected("a number"))?;
                self.at += 1;
                Ok(Initial::F64(value.to_bits()))
            }
            Token::Word(word) => {
                self.at += 1;
                let name = if word == "generic" && self.eat('(') {
                    let name = self.word("a variable name")?;
                    self.expect(')')?;
                    name
                } else {
                    word
                };
                let offset = match self.peek() {
                    Token::Mark('+') => {
                        self.at += 1;
                        self.signed("an offset")?
                    }
                    Token::Mark('-') => self.signed("an offset")?,
                    _ => 0,
                };
                Ok(Initial::Address(name, offset))
            }
            _ => Err(self.expected("a value")),
        }
    }

    pub(super) fn parameters(&mut self) -> Result<Vec<Variable<'a>>, PtxError> {
        self.expect('(')?;
        let mut parameters = Vec::new();
        while !self.eat(')') {
            if !parameters.is_empty() {
                self.expect(',')?;
            }
            let position = self.position();
            let space = self.directive()?;
            if space != "param" && space != "reg" {
                return Err(PtxError::at(
                    position,
                    format!("expected '.param' or '.reg', found '.{space}'"),
                ));
            }
            let (align, width, ty) = self.variable_type()?;
            let mut variable = self.declarator(Space::Param, align, width, ty)?;
            variable.register = space == "reg";
            parameters.push(variable);
        }
        Ok(parameters)
    }
}
