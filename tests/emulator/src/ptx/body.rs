//! Bodies of functions: statements, instructions and operands.

use super::cursor::Parser;
use super::lexer::Token;
use super::{Guard, Instruction, Location, MAX_NESTING, Operand, PtxError, Space, Statement};

impl<'a> Parser<'a> {
    pub(super) fn body(&mut self) -> Result<Vec<Statement<'a>>, PtxError> {
        self.expect('{')?;
        let mut statements = Vec::new();
        let mut depth = 1usize;
        loop {
            let position = self.position();
            match self.peek() {
                Token::Mark('{') => {
                    self.at += 1;
                    depth += 1;
                    if depth > MAX_NESTING {
                        return Err(PtxError::at(
                            position,
                            format!("more than {MAX_NESTING} nested scopes"),
                        ));
                    }
                    statements.push(Statement::Open);
                }
                Token::Mark('}') => {
                    self.at += 1;
                    depth -= 1;
                    if depth == 0 {
                        return Ok(statements);
                    }
                    statements.push(Statement::Close);
                }
                Token::Mark(';') => self.at += 1,
                Token::Mark('.') => self.body_directive(&mut statements)?,
                Token::Word(word) if self.peek_second() == Token::Mark(':') => {
                    self.at += 2;
                    if self.peek() == Token::Mark('.')
                        && matches!(self.peek_second(), Token::Word("branchtargets"))
                    {
                        self.at += 2;
                        let mut targets = vec![self.word("a label")?];
                        while self.eat(',') {
                            targets.push(self.word("a label")?);
                        }
                        self.expect(';')?;
                        statements.push(Statement::BranchTargets {
                            label: word,
                            targets,
                            position,
                        });
                    } else {
                        statements.push(Statement::Label(word, position));
                    }
                }
                Token::Mark('@') | Token::Word(_) => {
                    let instruction = self.instruction()?;
                    statements.push(Statement::Instruction(instruction));
                }
                _ => return Err(self.expected("an instruction, a directive or '}'")),
            }
        }
    }

    fn body_directive(&mut self, statements: &mut Vec<Statement<'a>>) -> Result<(), PtxError> {
        let position = self.position();
        let directive = self.directive()?;
        match directive {
            "reg" => {
                let (_, width, ty) = self.variable_type()?;
                if width != 1 {
                    return Err(PtxError::at(position, "vector registers are not supported"));
                }
                loop {
                    let position = self.position();
                    let name = self.word("a register name")?;
                    let count = if self.eat('<') {
                        let count = self.small("a register count")?;
                        self.expect('>')?;
                        Some(count)
                    } else {
                        None
                    };
                    statements.push(Statement::Register {
                        name,
                        ty,
                        count,
                        position,
                    });
                    if !self.eat(',') {
                        break;
                    }
                }
                self.expect(';')
            }
            "loc" => {
                let location = self.location()?;
                statements.push(Statement::Location(location));
                Ok(())
            }
            "pragma" => self.skip_to_semicolon(),
            _ => match Space::from_name(directive) {
                Some(space) => self.variables(space, false, &mut |v| {
                    statements.push(Statement::Variable(v))
                }),
                None => Err(PtxError::at(
                    position,
                    format!("directive '.{directive}' is not supported in a function"),
                )),
            },
        }
    }

    fn location(&mut self) -> Result<Location, PtxError> {
        let file = self.small("a file number")?;
        let line = self.small("a line")?;
        self.small("a column")?;
        let mut location = Location {
            file,
            line,
            inlined_at: None,
        };
        while self.eat(',') {
            match self.word("'function_name' or 'inlined_at'")? {
                "function_name" => {
                    self.word("a label")?;
                    if self.eat('+') {
                        self.int("an offset")?;
                    }
                }
                "inlined_at" => {
                    let file = self.small("a file number")?;
                    let line = self.small("a line")?;
                    self.small("a column")?;
                    location.inlined_at = Some((file, line));
                }
                _ => {
                    self.at -= 1;
                    return Err(self.expected("'function_name' or 'inlined_at'"));
                }
            }
        }
        Ok(location)
    }

    fn instruction(&mut self) -> Result<Instruction<'a>, PtxError> {
        let guard = if self.eat('@') {
            let negated = self.eat('!');
            Some(Guard {
                name: self.word("a predicate")?,
                negated,
            })
        } else {
            None
        };
        let position = self.position();
        let opcode = self.word("an opcode")?;
        let mut modifiers = Vec::new();
        while self.eat('.') {
            modifiers.push(self.word("a modifier")?);
        }
        let mut operands = Vec::new();
        if !self.eat(';') {
            loop {
                operands.push(self.operand()?);
                if self.eat(',') {
                    continue;
                }
                if self.eat(';') {
                    break;
                }
                return Err(self.expected("',' or ';'"));
            }
        }
        Ok(Instruction {
            guard,
            opcode,
            modifiers,
            operands,
            position,
        })
    }

    fn operand(&mut self) -> Result<Operand<'a>, PtxError> {
        match self.peek() {
            Token::Mark('{') => {
                self.at += 1;
                Ok(Operand::Vector(self.sequence('}')?))
            }
            Token::Mark('(') => {
                self.at += 1;
                Ok(Operand::List(self.sequence(')')?))
            }
            Token::Mark('[') => {
                self.at += 1;
                self.address()
            }
            _ => {
                let first = self.simple()?;
                if self.eat('|') {
                    let second = self.simple()?;
                    return Ok(Operand::Pair(Box::new([first, second])));
                }
                Ok(first)
            }
        }
    }

    fn sequence(&mut self, close: char) -> Result<Vec<Operand<'a>>, PtxError> {
        let mut items = Vec::new();
        while !self.eat(close) {
            if !items.is_empty() {
                self.expect(',')?;
            }
            items.push(self.simple()?);
        }
        Ok(items)
    }

    fn address(&mut self) -> Result<Operand<'a>, PtxError> {
        let base = match self.peek() {
            Token::Word(word) => {
                self.at += 1;
                Some(word)
            }
            _ => None,
        };
        let offset = match self.peek() {
            Token::Mark('+') => {
                self.at += 1;
                self.signed("an offset")?
            }
            Token::Mark('-') => self.signed("an offset")?,
            Token::Int(_) if base.is_none() => self.signed("an address")?,
            _ if base.is_some() => 0,
            _ => return Err(self.expected("an address")),
        };
        self.expect(']')?;
        Ok(Operand::Address(base, offset))
    }

    fn simple(&mut self) -> Result<Operand<'a>, PtxError> {
        match self.peek() {
            Token::Word("_") => {
                self.at += 1;
                Ok(Operand::Sink)
            }
            Token::Word(word) => {
                self.at += 1;
                if self.eat('.') {
                    return Ok(Operand::Component(word, self.word("a component")?));
                }
                match self.peek() {
                    Token::Mark('+') => {
                        self.at += 1;
                        Ok(Operand::Sum(word, self.signed("an offset")?))
                    }
                    Token::Mark('-') => Ok(Operand::Sum(word, self.signed("an offset")?)),
                    _ => Ok(Operand::Name(word)),
                }
            }
            Token::Mark('!') => {
                self.at += 1;
                Ok(Operand::Not(self.word("a predicate")?))
            }
            Token::F32(v) => {
                self.at += 1;
                Ok(Operand::F32(v))
            }
            Token::F64(v) => {
                self.at += 1;
                Ok(Operand::F64(v))
            }
            Token::Real(text) => {
                let value: f64 = text.parse().map_err(|_| self.expected("a number"))?;
                self.at += 1;
                Ok(Operand::F64(value.to_bits()))
            }
            Token::Mark('-') => {
                self.at += 1;
                match self.peek() {
                    Token::Real(_) | Token::F64(_) | Token::F32(_) => Ok(match self.simple()? {
                        Operand::F64(v) => Operand::F64(v ^ (1 << 63)),
                        Operand::F32(v) => Operand::F32(v ^ (1 << 31)),
                        other => other,
                    }),
                    _ => Ok(Operand::Int(self.int("a number")?.wrapping_neg())),
                }
            }
            Token::Mark('~') => {
                self.at += 1;
                Ok(Operand::Int(!self.int("a number")?))
            }
            Token::Int(v) => {
                self.at += 1;
                Ok(Operand::Int(v))
            }
            _ => Err(self.expected("an operand")),
        }
    }
}
