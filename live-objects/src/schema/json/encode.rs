//! From JSON to postcard's bytes. The JSON is a caller's, who is told where it does not fit.

use core::mem;
use core::str::FromStr;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{JsonError, JsonProblem, Key, wanted};
use crate::schema::shape::{Field, Fields, Primitive, Shape, Variant};

/// The bytes for a JSON value.
pub(super) fn encode(shape: &Shape, json: &Value) -> Result<Vec<u8>, JsonError> {
    let mut writer = Writer { bytes: Vec::new() };
    writer.value(shape, json)?;
    Ok(writer.bytes)
}

/// The bytes so far.
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn value(&mut self, shape: &Shape, json: &Value) -> Result<(), JsonError> {
        match shape {
            Shape::Primitive(primitive) => self.primitive(*primitive, json),
            Shape::Option(inner) => {
                self.put(&!json.is_null());
                if json.is_null() { Ok(()) } else { self.value(inner, json) }
            }
            Shape::Sequence(of) => {
                let elements = array(json)?;
                self.put(&elements.len());
                self.elements(elements.iter().map(|element| (&**of, element)))
            }
            Shape::Array { of, length } => {
                let elements = array_of(usize::try_from(*length).unwrap_or(usize::MAX), json)?;
                self.elements(elements.iter().map(|element| (&**of, element)))
            }
            Shape::Map { key, value } => self.map(key, value, json),
            Shape::Tuple(parts) => self.tuple(parts, json),
            Shape::Struct(fields) => self.fields(fields, json),
            Shape::Enum(variants) => self.variant(variants, json),
        }
    }

    fn primitive(&mut self, primitive: Primitive, json: &Value) -> Result<(), JsonError> {
        let is_written = match primitive {
            Primitive::Unit => json.as_null(),
            Primitive::Bool => json.as_bool().map(|value| self.put(&value)),
            Primitive::U8 => short::<u8>(json).map(|number| self.put(&number)),
            Primitive::U16 => short::<u16>(json).map(|number| self.put(&number)),
            Primitive::U32 => short::<u32>(json).map(|number| self.put(&number)),
            Primitive::U64 => long::<u64>(json).map(|number| self.put(&number)),
            Primitive::U128 => long::<u128>(json).map(|number| self.put(&number)),
            Primitive::I8 => short::<i8>(json).map(|number| self.put(&number)),
            Primitive::I16 => short::<i16>(json).map(|number| self.put(&number)),
            Primitive::I32 => short::<i32>(json).map(|number| self.put(&number)),
            Primitive::I64 => long::<i64>(json).map(|number| self.put(&number)),
            Primitive::I128 => long::<i128>(json).map(|number| self.put(&number)),
            Primitive::F32 => single(json).map(|number| self.put(&number)),
            Primitive::F64 => double(json).map(|number| self.put(&number)),
            Primitive::Char => character(json).map(|character| self.put(&character)),
            Primitive::String => json.as_str().map(|text| self.put(text)),
            Primitive::Bytes => bytes(json).map(|bytes| self.put(&bytes)),
        };
        is_written.ok_or_else(|| JsonError::expected(wanted(primitive), json))
    }

    fn fields(&mut self, fields: &Fields, json: &Value) -> Result<(), JsonError> {
        match fields {
            Fields::Unit => self.primitive(Primitive::Unit, json),
            Fields::Newtype(inner) => self.value(inner, json),
            Fields::Tuple(parts) => self.tuple(parts, json),
            Fields::Named(fields) => {
                let object = object(json)?;
                let mut unknown = object.len();
                for Field { name, shape } in fields {
                    let json = match object.get(name) {
                        Some(json) => {
                            unknown -= 1;
                            json
                        }
                        None if matches!(shape, Shape::Option(_)) => &Value::Null,
                        None => return Err(JsonError::here(JsonProblem::Missing(name.clone()))),
                    };
                    self.value(shape, json).map_err(|error| error.in_field(name))?;
                }
                if unknown == 0 {
                    return Ok(());
                }
                let is_known = |name: &String| fields.iter().any(|field| field.name == *name);
                let name = object.keys().find(|name| !is_known(name)).cloned();
                let name = name.expect("fields have different names, so one key is of none");
                Err(JsonError::here(JsonProblem::Unknown(name)))
            }
        }
    }

    fn tuple(&mut self, parts: &[Shape], json: &Value) -> Result<(), JsonError> {
        self.elements(parts.iter().zip(array_of(parts.len(), json)?))
    }

    fn elements<'a>(
        &mut self,
        elements: impl Iterator<Item = (&'a Shape, &'a Value)>,
    ) -> Result<(), JsonError> {
        for (index, (shape, json)) in elements.enumerate() {
            self.value(shape, json).map_err(|error| error.in_element(index))?;
        }
        Ok(())
    }

    /// `"Name"` for a variant without fields, `{"Name": fields}` for another.
    fn variant(&mut self, variants: &[Variant], json: &Value) -> Result<(), JsonError> {
        let (name, content) = match json {
            Value::String(name) => (name, None),
            Value::Object(object) if object.len() == 1 => {
                let only = object.iter().next();
                only.map(|(name, json)| (name, Some(json))).expect("its length is 1")
            }
            _ => return Err(JsonError::expected(names(variants), json)),
        };
        let found = variants.iter().zip(0_u32..).find(|(variant, _)| variant.name == *name);
        let Some((Variant { fields, .. }, index)) = found else {
            return Err(JsonError::expected(names(variants), &Value::from(name.as_str())));
        };
        self.put(&index);
        match (fields, content) {
            (Fields::Unit, None) => Ok(()),
            (Fields::Unit, Some(_)) => {
                Err(JsonError::expected(format!("just \"{name}\", which has no fields"), json))
            }
            (_, None) => Err(JsonError::expected(format!("{{\"{name}\": …}} with fields"), json)),
            (fields, Some(json)) => self.fields(fields, json).map_err(|error| error.in_field(name)),
        }
    }

    fn map(&mut self, key: &Shape, value: &Shape, json: &Value) -> Result<(), JsonError> {
        let kind = Key::of(key)?;
        let mut entries = Vec::new();
        for (name, json) in object(json)? {
            let (rank, key_json) = ranked(kind, name).ok_or_else(|| {
                JsonError::expected(format!("a key of {key}"), &Value::from(name.as_str()))
            })?;
            entries.push((rank, key_json, name, json));
        }
        entries.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        self.put(&entries.len());
        for (_, key_json, name, json) in entries {
            self.value(key, &key_json)?;
            self.value(value, json).map_err(|error| error.in_field(name))?;
        }
        Ok(())
    }

    fn put<T: Serialize + ?Sized>(&mut self, value: &T) {
        let bytes = postcard::to_extend(value, mem::take(&mut self.bytes));
        self.bytes = bytes.expect("memory takes any primitive");
    }
}

/// Where a key stands among the keys of a `BTreeMap`.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank<'a> {
    Unsigned(u128),
    Signed(i128),
    Text(&'a str),
}

/// A key's rank, and the JSON that stands for it where it is no key. Numbers have one spelling, so
/// that no two keys are the same number.
fn ranked<'a>(kind: Key<'_>, key: &'a str) -> Option<(Rank<'a>, Value)> {
    let text = || Value::String(key.to_owned());
    Some(match kind {
        Key::Bool => {
            let value: bool = key.parse().ok()?;
            (Rank::Unsigned(value.into()), Value::Bool(value))
        }
        Key::Unsigned => {
            let number: u128 =
                key.parse().ok().filter(|number: &u128| number.to_string() == key)?;
            let json = u64::try_from(number).map_or_else(|_| text(), Value::from);
            (Rank::Unsigned(number), json)
        }
        Key::Signed => {
            let number: i128 =
                key.parse().ok().filter(|number: &i128| number.to_string() == key)?;
            let json = i64::try_from(number).map_or_else(|_| text(), Value::from);
            (Rank::Signed(number), json)
        }
        Key::Text => (Rank::Text(key), text()),
        Key::Variant(variants) => {
            let position = variants.iter().zip(0..).find(|(variant, _)| variant.name == key);
            (Rank::Unsigned(position?.1), text())
        }
    })
}

fn array(json: &Value) -> Result<&Vec<Value>, JsonError> {
    json.as_array().ok_or_else(|| JsonError::expected("an array", json))
}

fn array_of(length: usize, json: &Value) -> Result<&Vec<Value>, JsonError> {
    let elements = array(json)?;
    if elements.len() == length {
        return Ok(elements);
    }
    Err(JsonError::here(JsonProblem::Length { expected: length, got: elements.len() }))
}

fn object(json: &Value) -> Result<&Map<String, Value>, JsonError> {
    json.as_object().ok_or_else(|| JsonError::expected("an object", json))
}

fn short<T: TryFrom<i128>>(json: &Value) -> Option<T> {
    let unsigned = json.as_u64().map(i128::from);
    T::try_from(unsigned.or_else(|| json.as_i64().map(i128::from))?).ok()
}

fn long<T: TryFrom<i128> + FromStr>(json: &Value) -> Option<T> {
    short(json).or_else(|| json.as_str()?.parse().ok())
}

fn double(json: &Value) -> Option<f64> {
    json.as_f64().filter(|number| number.is_finite())
}

/// The nearest `f32`, if there is one that is finite.
fn single(json: &Value) -> Option<f32> {
    double(json).map(|number| number as f32).filter(|number| number.is_finite())
}

fn character(json: &Value) -> Option<char> {
    let mut characters = json.as_str()?.chars();
    characters.next().filter(|_| characters.next().is_none())
}

/// Bytes as serde has them, which is not as an array of numbers.
fn bytes(json: &Value) -> Option<bytes::Bytes> {
    json.as_array()?.iter().map(short::<u8>).collect()
}

/// What a value of an enum may be, as far as it can be read in one line.
fn names(variants: &[Variant]) -> String {
    let mut names: Vec<&str> =
        variants.iter().take(NAMES_MAX).map(|variant| variant.name.as_str()).collect();
    if variants.len() > NAMES_MAX {
        names.push("…");
    }
    format!("one of {}", names.join(", "))
}

const NAMES_MAX: usize = 12;
