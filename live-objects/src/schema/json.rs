//! Values without their Rust type: postcard's bytes to JSON and back, by schema.
//!
//! The JSON is what `serde_json` would make of the value, and the bytes are postcard's, both to the
//! letter, except where `serde_json` would lose something:
//!
//! - Numbers of 64 bits are JSON numbers, exact; of 128 bits, those beyond 64 bits are text. Text
//!   is taken for any number of 64 or 128 bits, since many who write JSON have only doubles.
//! - NaN and the infinities have no form in JSON and are refused, both ways. An `f32` takes the
//!   nearest number, as in Rust.
//! - Bytes are an array of numbers.
//! - A field that may be `None` may be missing; any other may not. Unknown fields are refused.
//! - Keys of maps are text. In the bytes they are sorted as a `BTreeMap` has them.
//!
//! **Bounded.** Recursion is as deep as the schema is, memory is taken as bytes are read and never
//! by a promised length, and JSON of more values than `values_max` allows for is refused, so that
//! a few bytes that promise a thousand million units make nobody wait.

mod decode;
mod encode;

use serde_json::Value;
use thiserror::Error;

use super::Schema;
use super::shape::{Fields, Primitive, Shape, Variant};

impl Schema {
    /// The bytes of the value that this JSON stands for.
    pub fn encode_json(&self, json: &Value) -> Result<Vec<u8>, JsonError> {
        encode::encode(self.shape(), json)
    }

    /// The JSON for the value that has these bytes, all of them.
    pub fn decode_json(&self, bytes: &[u8]) -> Result<Value, JsonError> {
        decode::decode(self.shape(), bytes)
    }
}

/// JSON or bytes do not fit a schema. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{}: {problem}", if path.is_empty() { "." } else { path })]
pub struct JsonError {
    /// Where in the JSON, read or written: `.items[3].price`. Empty for the whole.
    pub path: String,
    /// What is wrong there.
    pub problem: JsonProblem,
}

/// What is wrong with JSON or bytes. The first four are faults of who wrote the JSON, the next four
/// of who sent the bytes; the last two are nobody's, JSON just cannot say it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum JsonProblem {
    /// The JSON is something else.
    #[error("expected {expected}, got {got}")]
    Expected {
        /// What would fit.
        expected: String,
        /// What is there, shortened.
        got: String,
    },
    /// A field is not there.
    #[error("the field `{0}` is missing")]
    Missing(String),
    /// A field is there that the type does not have.
    #[error("there is no field `{0}`")]
    Unknown(String),
    /// An array has too many or too few elements.
    #[error("expected {expected} elements, got {got}")]
    Length {
        /// How many would fit.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// The bytes end too early.
    #[error("the bytes end within {0}")]
    Ended(String),
    /// The bytes are not those of such a value.
    #[error("the bytes are not those of {0}")]
    Bytes(String),
    /// There are more bytes than the value has.
    #[error("{0} bytes are left over")]
    LeftOver(usize),
    /// So few bytes stand for so much JSON that it is refused.
    #[error("the bytes stand for too many values")]
    TooMany,
    /// A number has no form in JSON.
    #[error("{0} has no form in JSON")]
    NotFinite(String),
    /// The keys of a map have no form in JSON.
    #[error("a map by {0} has no form in JSON, where keys are text")]
    Key(String),
}

impl JsonError {
    fn here(problem: JsonProblem) -> Self {
        Self { path: String::new(), problem }
    }

    fn expected(expected: impl Into<String>, got: &Value) -> Self {
        Self::here(JsonProblem::Expected { expected: expected.into(), got: shortened(got) })
    }

    /// The error as the whole around a field sees it: paths grow on the way out.
    fn in_field(self, name: &str) -> Self {
        Self { path: format!(".{name}{}", self.path), ..self }
    }

    /// The error as the whole around an element sees it.
    fn in_element(self, index: usize) -> Self {
        Self { path: format!("[{index}]{}", self.path), ..self }
    }
}

/// The beginning of a JSON value: errors are for reading.
fn shortened(json: &Value) -> String {
    let text = match json {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) => {
            // Escapes are made of so much text only as can be shown.
            let start: String = text.chars().take(GOT_CHARS_MAX + 1).collect();
            Value::String(start).to_string()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => json.to_string(),
    };
    match text.char_indices().nth(GOT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// What a reader is told to write for a primitive.
const fn wanted(primitive: Primitive) -> &'static str {
    match primitive {
        Primitive::Unit => "null",
        Primitive::Bool => "true or false",
        Primitive::U8 => "an unsigned 8-bit number",
        Primitive::U16 => "an unsigned 16-bit number",
        Primitive::U32 => "an unsigned 32-bit number",
        Primitive::U64 => "an unsigned 64-bit number",
        Primitive::U128 => "an unsigned 128-bit number",
        Primitive::I8 => "a signed 8-bit number",
        Primitive::I16 => "a signed 16-bit number",
        Primitive::I32 => "a signed 32-bit number",
        Primitive::I64 => "a signed 64-bit number",
        Primitive::I128 => "a signed 128-bit number",
        Primitive::F32 => "a 32-bit floating-point number",
        Primitive::F64 => "a 64-bit floating-point number",
        Primitive::Char => "one character",
        Primitive::String => "text",
        Primitive::Bytes => "bytes as an array of numbers",
    }
}

/// What kind of text the keys of a map are.
#[derive(Clone, Copy)]
enum Key<'a> {
    Bool,
    Unsigned,
    Signed,
    Text,
    /// The name of a variant without fields.
    Variant(&'a [Variant]),
}

impl<'a> Key<'a> {
    fn of(shape: &'a Shape) -> Result<Self, JsonError> {
        use Primitive::{I8, I16, I32, I64, I128, U8, U16, U32, U64, U128};
        Ok(match shape.inmost() {
            Shape::Primitive(Primitive::Bool) => Self::Bool,
            Shape::Primitive(U8 | U16 | U32 | U64 | U128) => Self::Unsigned,
            Shape::Primitive(I8 | I16 | I32 | I64 | I128) => Self::Signed,
            Shape::Primitive(Primitive::Char | Primitive::String) => Self::Text,
            Shape::Enum(variants) if variants.iter().all(|it| it.fields == Fields::Unit) => {
                Self::Variant(variants)
            }
            _ => return Err(JsonError::here(JsonProblem::Key(shape.to_string()))),
        })
    }
}

/// How many characters of a value an error shows.
const GOT_CHARS_MAX: usize = 40;

#[cfg(test)]
mod tests;
