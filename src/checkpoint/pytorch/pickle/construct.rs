//! The constructors that a pickle may name, and what calling them makes.

use super::{Callable, Machine, Object, Step, Storage, TensorView, Value};
use crate::checkpoint::source::ElementType;

impl Machine<'_> {
    /// Opcodes that name or call constructors.
    pub(super) fn construct(&mut self, code: u8) -> Step<()> {
        match code {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let callable = self.find(module, name)?;
                self.push(Value::Callable(callable))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return Err(self.fail("the name of a constructor", "something else"));
                };
                let callable = self.find(&module, &name)?;
                self.push(Value::Callable(callable))
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(&id).ok_or_else(|| {
                    self.fail(
                        "a reference to a storage (type, key, location, size)",
                        "something else",
                    )
                })?;
                self.pickle.storages.push(storage);
                self.push(Value::Storage(self.pickle.storages.len() - 1))
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let Value::Callable(callable) = callable else {
                    return Err(self.fail("a constructor to call", "something else"));
                };
                self.call(&callable, &arguments)
            }
            // An object made without its constructor: a subclass of dict, filled afterwards.
            0x81 => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                match callable {
                    Value::Callable(callable @ (Callable::Lightning | Callable::OrderedDict)) => {
                        self.call(&callable, &arguments)
                    }
                    _ => Err(self.fail("a class of dicts", "something else")),
                }
            }
            // State set on an object. An ordered dict has some (`_metadata`); nothing needs it.
            b'b' => {
                self.pop()?;
                match self.stack.last() {
                    Some(Value::Object(_)) => Ok(()),
                    _ => Err(self.fail("an object to set state on", "something else")),
                }
            }
            other => Err(self.fail(
                "an opcode that tensors need",
                &format!("opcode {other:#04x}"),
            )),
        }
    }

    /// The allow-list.
    fn find(&self, module: &str, name: &str) -> Step<Callable> {
        let callable = match (module, name) {
            ("collections", "OrderedDict") => Some(Callable::OrderedDict),
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => {
                Some(Callable::RebuildTensor)
            }
            ("torch._utils", "_rebuild_parameter") => Some(Callable::RebuildParameter),
            ("torch", "Size") => Some(Callable::Size),
            (module, _) if is_lightning(module) => Some(Callable::Lightning),
            ("torch" | "torch.cuda" | "torch.storage", storage) => {
                storage.strip_suffix("Storage").and_then(|kind| {
                    let element = match kind {
                        "Float" => ElementType::F32,
                        "Half" => ElementType::F16,
                        "BFloat16" => ElementType::Bf16,
                        "Double" => ElementType::F64,
                        "Long" => ElementType::named("int64"),
                        "Int" => ElementType::named("int32"),
                        "Short" => ElementType::named("int16"),
                        "Char" => ElementType::named("int8"),
                        "Byte" => ElementType::named("uint8"),
                        "Bool" => ElementType::Bool,
                        _ => return None,
                    };
                    Some(Callable::Storage(element))
                })
            }
            _ => None,
        };
        callable.ok_or_else(|| {
            self.fail(
                "only the constructors of tensors (save `model.state_dict()`)",
                &format!("{module}.{name}"),
            )
        })
    }

    /// Understands a persistent id: `("storage", class, key, location, count[, view])`.
    fn storage(&self, id: &Value) -> Option<Storage> {
        let items = self.pickle.items(id)?;
        let (tag, rest) = items.split_first()?;
        let [
            Value::Callable(Callable::Storage(element)),
            Value::Text(key),
            _,
            Value::Int(count),
            view @ ..,
        ] = rest
        else {
            return None;
        };
        if !matches!(tag, Value::Text(tag) if &**tag == "storage") {
            return None;
        }
        let view_offset = match view {
            [] | [Value::None] => 0,
            [view] => match self.pickle.items(view)? {
                [_, Value::Int(offset), Value::Int(_)] => usize::try_from(*offset).ok()?,
                _ => return None,
            },
            _ => return None,
        };
        Some(Storage {
            key: key.clone(),
            element: element.clone(),
            count: usize::try_from(*count).ok()?,
            view_offset,
        })
    }

    fn call(&mut self, callable: &Callable, arguments: &Value) -> Step<()> {
        match callable {
            Callable::RebuildTensor => {
                let view = self.tensor(arguments).ok_or_else(|| {
                    self.fail(
                        "a tensor's storage, offset, shape and strides",
                        "something else",
                    )
                })?;
                self.charge(view.shape.len())?;
                self.pickle.tensors.push(view);
                self.push(Value::Tensor(self.pickle.tensors.len() - 1))
            }
            Callable::RebuildParameter => {
                match self.pickle.items(arguments).and_then(<[_]>::first) {
                    Some(Value::Tensor(tensor)) => self.push(Value::Tensor(*tensor)),
                    _ => Err(self.fail("a parameter's tensor", "something else")),
                }
            }
            Callable::Size => match self.pickle.items(arguments) {
                Some([Value::Object(items)]) => self.push(Value::Object(*items)),
                _ => Err(self.fail("a shape", "something else")),
            },
            Callable::OrderedDict => {
                // Charged before they are copied: a list may be used again and again.
                let list = self.pickle.items(arguments).and_then(<[_]>::first);
                let count = list.and_then(|list| self.pickle.items(list));
                self.charge(count.map_or(0, <[_]>::len))?;
                let pairs = self.pairs(arguments).ok_or_else(|| {
                    self.fail("no arguments, or a list of pairs", "something else")
                })?;
                self.push_object(Object::Dict(pairs))
            }
            Callable::Lightning => self.push_object(Object::Dict(Vec::new())),
            Callable::Storage(_) => Err(self.fail("a reference to a storage", "a new storage")),
        }
    }

    fn tensor(&self, arguments: &Value) -> Option<TensorView> {
        let [
            Value::Storage(storage),
            Value::Int(offset),
            shape,
            strides,
            ..,
        ] = self.pickle.items(arguments)?
        else {
            return None;
        };
        let sides = |value: &Value| {
            // No tensor has more axes; PyTorch itself stops at 64.
            let items = self.pickle.items(value).filter(|items| items.len() <= 64)?;
            items
                .iter()
                .map(|item| match item {
                    Value::Int(side) => usize::try_from(*side).ok(),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()
        };
        let (shape, strides) = (sides(shape)?, sides(strides)?);
        (shape.len() == strides.len()).then_some(TensorView {
            storage: *storage,
            offset: usize::try_from(*offset).ok()?,
            shape,
            strides,
        })
    }

    /// Pairs from `()` or `([[key, value], ...],)`.
    fn pairs(&self, arguments: &Value) -> Option<Vec<(Value, Value)>> {
        match self.pickle.items(arguments)? {
            [] => Some(Vec::new()),
            [list] => {
                let items = self.pickle.items(list)?;
                items
                    .iter()
                    .map(|pair| match self.pickle.items(pair)? {
                        [key, value] => Some((key.clone(), value.clone())),
                        _ => None,
                    })
                    .collect()
            }
            _ => None,
        }
    }
}

/// Whether a module belongs to PyTorch Lightning, which has had three names.
fn is_lightning(module: &str) -> bool {
    let package = module.split('.').next();
    matches!(
        package,
        Some("pytorch_lightning" | "lightning" | "lightning_fabric")
    )
}
