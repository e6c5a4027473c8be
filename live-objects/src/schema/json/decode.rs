//! From postcard's bytes to JSON. The bytes are a peer's and may be anything.

use serde::Deserialize;
use serde_json::{Map, Number, Value};

use super::{JsonError, JsonProblem, Key, wanted};
use crate::schema::shape::{Field, Fields, Primitive, Shape};

/// The JSON for all of the bytes.
pub(super) fn decode(shape: &Shape, bytes: &[u8]) -> Result<Value, JsonError> {
    let mut reader = Reader { rest: bytes, values_left: values_max(bytes.len()) };
    let json = reader.value(shape)?;
    match reader.rest.len() {
        0 => Ok(json),
        left => Err(JsonError::here(JsonProblem::LeftOver(left))),
    }
}

/// How many JSON values so many bytes may stand for. Only units, empty structs and the like take
/// no bytes at all, so that values with more than that are not met but by design.
const fn values_max(bytes: usize) -> usize {
    4096 + bytes.saturating_mul(8)
}

/// What is left of the bytes.
struct Reader<'a> {
    rest: &'a [u8],
    values_left: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, shape: &Shape) -> Result<Value, JsonError> {
        if !matches!(shape, Shape::Option(_) | Shape::Struct(Fields::Newtype(_))) {
            self.count_value()?;
        }
        match shape {
            Shape::Primitive(primitive) => self.primitive(*primitive),
            Shape::Option(inner) => {
                if self.take::<bool>("whether there is a value")? {
                    self.value(inner)
                } else {
                    Ok(Value::Null)
                }
            }
            Shape::Sequence(of) => {
                let length = self.take::<usize>("an array's length")?;
                self.elements((0..length).map(|_| &**of))
            }
            Shape::Array { of, length } => self.elements((0..*length).map(|_| &**of)),
            Shape::Map { key, value } => self.map(key, value),
            Shape::Tuple(parts) => self.elements(parts.iter()),
            Shape::Struct(fields) => self.fields(fields),
            Shape::Enum(variants) => {
                let index = self.take::<u32>("a variant's number")?;
                let variant = usize::try_from(index).ok().and_then(|index| variants.get(index));
                let variant = variant.ok_or_else(|| broken("a variant's number"))?;
                let name = variant.name.clone();
                if variant.fields == Fields::Unit {
                    return Ok(Value::String(name));
                }
                let json = self.fields(&variant.fields).map_err(|error| error.in_field(&name))?;
                Ok(Value::Object(Map::from_iter([(name, json)])))
            }
        }
    }

    fn primitive(&mut self, primitive: Primitive) -> Result<Value, JsonError> {
        let what = wanted(primitive);
        Ok(match primitive {
            Primitive::Unit => Value::Null,
            Primitive::Bool => Value::Bool(self.take(what)?),
            Primitive::U8 => Value::from(self.take::<u8>(what)?),
            Primitive::U16 => Value::from(self.take::<u16>(what)?),
            Primitive::U32 => Value::from(self.take::<u32>(what)?),
            Primitive::U64 => Value::from(self.take::<u64>(what)?),
            Primitive::U128 => {
                let number = self.take::<u128>(what)?;
                u64::try_from(number)
                    .map_or_else(|_| Value::String(number.to_string()), Value::from)
            }
            Primitive::I8 => Value::from(self.take::<i8>(what)?),
            Primitive::I16 => Value::from(self.take::<i16>(what)?),
            Primitive::I32 => Value::from(self.take::<i32>(what)?),
            Primitive::I64 => Value::from(self.take::<i64>(what)?),
            Primitive::I128 => {
                let number = self.take::<i128>(what)?;
                let positive = u64::try_from(number).ok().map(Value::from);
                let short = positive.or_else(|| i64::try_from(number).ok().map(Value::from));
                short.unwrap_or_else(|| Value::String(number.to_string()))
            }
            Primitive::F32 => float(self.take::<f32>(what)?.into())?,
            Primitive::F64 => float(self.take::<f64>(what)?)?,
            Primitive::Char => Value::String(self.take::<char>(what)?.to_string()),
            Primitive::String => Value::from(self.take::<&str>(what)?),
            Primitive::Bytes => Value::from(self.take::<&[u8]>(what)?),
        })
    }

    fn fields(&mut self, fields: &Fields) -> Result<Value, JsonError> {
        match fields {
            Fields::Unit => Ok(Value::Null),
            Fields::Newtype(inner) => self.value(inner),
            Fields::Tuple(parts) => self.elements(parts.iter()),
            Fields::Named(fields) => {
                let mut object = Map::new();
                for Field { name, shape } in fields {
                    let json = self.value(shape).map_err(|error| error.in_field(name))?;
                    object.insert(name.clone(), json);
                }
                Ok(Value::Object(object))
            }
        }
    }

    /// An array that grows as its elements are read, however many were promised.
    fn elements<'s>(
        &mut self,
        shapes: impl Iterator<Item = &'s Shape>,
    ) -> Result<Value, JsonError> {
        let mut array = Vec::new();
        for (index, shape) in shapes.enumerate() {
            array.push(self.value(shape).map_err(|error| error.in_element(index))?);
        }
        Ok(Value::Array(array))
    }

    fn map(&mut self, key: &Shape, value: &Shape) -> Result<Value, JsonError> {
        Key::of(key)?;
        let mut object = Map::new();
        for _ in 0..self.take::<usize>("a map's length")? {
            let name = match self.value(key)? {
                Value::String(text) => text,
                other => other.to_string(),
            };
            let json = self.value(value).map_err(|error| error.in_field(&name))?;
            object.insert(name, json);
        }
        Ok(Value::Object(object))
    }

    fn take<T: Deserialize<'a>>(&mut self, what: &str) -> Result<T, JsonError> {
        match postcard::take_from_bytes(self.rest) {
            Ok((value, rest)) => {
                self.rest = rest;
                Ok(value)
            }
            Err(postcard::Error::DeserializeUnexpectedEnd) => {
                Err(JsonError::here(JsonProblem::Ended(what.to_owned())))
            }
            Err(_) => Err(broken(what)),
        }
    }

    fn count_value(&mut self) -> Result<(), JsonError> {
        let left = self.values_left.checked_sub(1);
        self.values_left = left.ok_or_else(|| JsonError::here(JsonProblem::TooMany))?;
        Ok(())
    }
}

fn float(number: f64) -> Result<Value, JsonError> {
    let json = Number::from_f64(number).map(Value::Number);
    json.ok_or_else(|| JsonError::here(JsonProblem::NotFinite(number.to_string())))
}

fn broken(what: &str) -> JsonError {
    JsonError::here(JsonProblem::Bytes(what.to_owned()))
}
