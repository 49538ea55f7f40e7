//! Builds the syntax tree from tokens.

use super::lexer::{Token, tokenize};
use super::{
    Function, Guard, Initial, Instruction, Location, Operand, Position, PtxError, Source, Space,
    Statement, Type, Variable,
};

/// Parses a whole PTX file.
///
/// # Errors
/// Names the line, what was expected and what was found.
pub(crate) fn parse(text: &str) -> Result<Source<'_>, PtxError> {
    let tokens = tokenize(text)?;
    Parser { tokens, at: 0 }.source()
}

struct Parser<'a> {
    tokens: Vec<(Token<'a>, Position)>,
    at: usize,
}

/// Bodies may nest `{ }` this deep; far beyond what compilers emit.
const MAX_NESTING: usize = 256;

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    fn peek_second(&self) -> Token<'a> {
        self.tokens[(self.at + 1).min(self.tokens.len() - 1)].0
    }

    fn position(&self) -> Position {
        self.tokens[self.at.min(self.tokens.len() - 1)].1
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn expected(&self, what: &str) -> PtxError {
        PtxError::at(
            self.position(),
            format!("expected {what}, found {}", self.peek().describe()),
        )
    }

    fn eat(&mut self, mark: char) -> bool {
        let found = self.peek() == Token::Mark(mark);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, mark: char) -> Result<(), PtxError> {
        if self.eat(mark) {
            Ok(())
        } else {
            Err(self.expected(&format!("'{mark}'")))
        }
    }

    fn word(&mut self, what: &str) -> Result<&'a str, PtxError> {
        if let Token::Word(word) = self.peek() {
            self.at += 1;
            Ok(word)
        } else {
            Err(self.expected(what))
        }
    }

    /// The word after a dot that was already consumed.
    fn directive(&mut self) -> Result<&'a str, PtxError> {
        self.expect('.')?;
        self.word("a directive")
    }

    fn int(&mut self, what: &str) -> Result<u64, PtxError> {
        if let Token::Int(value) = self.peek() {
            self.at += 1;
            Ok(value)
        } else {
            Err(self.expected(what))
        }
    }

    fn small(&mut self, what: &str) -> Result<u32, PtxError> {
        let position = self.position();
        let value = self.int(what)?;
        u32::try_from(value)
            .map_err(|_| PtxError::at(position, format!("{what} of {value} exceeds 32 bits")))
    }

    fn signed(&mut self, what: &str) -> Result<i64, PtxError> {
        let negative = self.eat('-');
        let value = self.int(what)? as i64;
        Ok(if negative {
            value.wrapping_neg()
        } else {
            value
        })
    }

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

    fn skip_to_semicolon(&mut self) -> Result<(), PtxError> {
        loop {
            match self.next() {
                Token::Mark(';') => return Ok(()),
                Token::End => return Err(self.expected("';'")),
                _ => {}
            }
        }
    }

    /// One or more variables after their state space, up to the semicolon.
    fn variables(
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
    fn variable_type(&mut self) -> Result<(Option<u64>, u32, Type), PtxError> {
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

    fn parameters(&mut self) -> Result<Vec<Variable<'a>>, PtxError> {
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

    fn body(&mut self) -> Result<Vec<Statement<'a>>, PtxError> {
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
