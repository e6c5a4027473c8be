//! What values are made of, as serde and postcard see them: a tree.
//!
//! The names of types within are left out, as neither postcard nor JSON has them: two types that
//! look the same on the wire have the same shape. The names of fields and variants are in, since
//! fields of one shape that change places would else go unnoticed.

use core::fmt;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Schema, SchemaError};

/// What values of a type are made of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A value without parts.
    Primitive(Primitive),
    /// A value or none.
    Option(Box<Self>),
    /// Any number of values of one shape.
    Sequence(Box<Self>),
    /// A fixed number of values of one shape.
    Array {
        /// What each is made of.
        of: Box<Self>,
        /// How many there are.
        length: u32,
    },
    /// Any number of values, each by its key.
    Map {
        /// What the keys are made of.
        key: Box<Self>,
        /// What the values are made of.
        value: Box<Self>,
    },
    /// Values of a shape each.
    Tuple(Vec<Self>),
    /// A `struct` of any form.
    Struct(Fields),
    /// One of several variants.
    Enum(Vec<Variant>),
}

/// A shape without parts. Numbered by position on the wire: new ones go last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "they are Rust's types of these names")]
pub enum Primitive {
    Unit,
    Bool,
    U8,
    U16,
    U32,
    U64,
    U128,
    I8,
    I16,
    I32,
    I64,
    I128,
    F32,
    F64,
    Char,
    String,
    Bytes,
}

/// What a struct or a variant holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fields {
    /// Nothing: `struct A;`.
    Unit,
    /// One value, which stands for the whole: `struct A(u8);`.
    Newtype(Box<Shape>),
    /// Values by position: `struct A(u8, u8);`.
    Tuple(Vec<Shape>),
    /// Values by name: `struct A { a: u8 }`.
    Named(Vec<Field>),
}

/// A value by name in a struct or a variant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// What it is called.
    pub name: String,
    /// What it is made of.
    pub shape: Shape,
}

/// One of the forms that a value of an enum may have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variant {
    /// What it is called.
    pub name: String,
    /// What it holds.
    pub fields: Fields,
}

impl Shape {
    /// Whether a schema may have this shape.
    pub(super) fn check(&self) -> Result<(), SchemaError> {
        Measure { size: 0 }.shape(self, 0)
    }

    /// What the value itself is written as, without the structs of one field around it.
    pub(super) fn inmost(&self) -> &Self {
        match self {
            Self::Struct(Fields::Newtype(inner)) => inner.inmost(),
            _ => self,
        }
    }
}

/// Whether something may be called this.
pub(super) fn check_name(name: &str) -> Result<(), SchemaError> {
    if name.is_empty() || name.len() > Schema::NAME_LEN_MAX {
        return Err(SchemaError::Name(name.chars().take(Schema::NAME_LEN_MAX).collect()));
    }
    Ok(())
}

/// A walk over a shape that ends where its limits are.
struct Measure {
    size: usize,
}

impl Measure {
    fn shape(&mut self, shape: &Shape, depth: usize) -> Result<(), SchemaError> {
        self.count()?;
        if depth >= Schema::DEPTH_MAX {
            return Err(SchemaError::TooDeep);
        }
        match shape {
            Shape::Primitive(_) => Ok(()),
            Shape::Option(inner) | Shape::Sequence(inner) | Shape::Array { of: inner, .. } => {
                self.shape(inner, depth + 1)
            }
            Shape::Map { key, value } => {
                self.shape(key, depth + 1)?;
                self.shape(value, depth + 1)
            }
            Shape::Tuple(parts) => parts.iter().try_for_each(|part| self.shape(part, depth + 1)),
            Shape::Struct(fields) => self.fields(fields, depth),
            Shape::Enum(variants) => {
                check_names(variants.iter().map(|variant| &variant.name))?;
                variants.iter().try_for_each(|variant| {
                    self.count()?;
                    self.fields(&variant.fields, depth)
                })
            }
        }
    }

    fn fields(&mut self, fields: &Fields, depth: usize) -> Result<(), SchemaError> {
        match fields {
            Fields::Unit => Ok(()),
            Fields::Newtype(inner) => self.shape(inner, depth + 1),
            Fields::Tuple(parts) => parts.iter().try_for_each(|part| self.shape(part, depth + 1)),
            Fields::Named(fields) => {
                check_names(fields.iter().map(|field| &field.name))?;
                fields.iter().try_for_each(|field| self.shape(&field.shape, depth + 1))
            }
        }
    }

    fn count(&mut self) -> Result<(), SchemaError> {
        self.size += 1;
        if self.size > Schema::SIZE_MAX { Err(SchemaError::TooLarge) } else { Ok(()) }
    }
}

fn check_names<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), SchemaError> {
    let mut seen = BTreeSet::new();
    for name in names {
        check_name(name)?;
        if !seen.insert(name) {
            return Err(SchemaError::SameName(name.clone()));
        }
    }
    Ok(())
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Primitive(primitive) => primitive.fmt(f),
            Self::Option(inner) => write!(f, "{inner}?"),
            Self::Sequence(of) => write!(f, "[{of}]"),
            Self::Array { of, length } => write!(f, "[{of}; {length}]"),
            Self::Map { key, value } => write!(f, "{{{key}: {value}}}"),
            Self::Tuple(parts) => write_parts(f, parts),
            Self::Struct(Fields::Unit) => f.write_str("()"),
            Self::Struct(Fields::Newtype(inner)) => inner.fmt(f),
            Self::Struct(fields) => fields.fmt(f),
            Self::Enum(variants) => {
                f.write_str("enum {")?;
                for (index, variant) in variants.iter().enumerate() {
                    let comma = if index == 0 { " " } else { ", " };
                    write!(f, "{comma}{}", variant.name)?;
                    if matches!(variant.fields, Fields::Named(_)) {
                        f.write_str(" ")?;
                    }
                    variant.fields.fmt(f)?;
                }
                f.write_str(" }")
            }
        }
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => Ok(()),
            Self::Newtype(inner) => write!(f, "({inner})"),
            Self::Tuple(parts) => write_parts(f, parts),
            Self::Named(fields) => {
                f.write_str("{")?;
                for (index, Field { name, shape }) in fields.iter().enumerate() {
                    let comma = if index == 0 { " " } else { ", " };
                    write!(f, "{comma}{name}: {shape}")?;
                }
                f.write_str(" }")
            }
        }
    }
}

fn write_parts(f: &mut fmt::Formatter<'_>, parts: &[Shape]) -> fmt::Result {
    f.write_str("(")?;
    for (index, part) in parts.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{part}")?;
    }
    f.write_str(")")
}

impl fmt::Display for Primitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unit => "()",
            Self::Bool => "bool",
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::U32 => "u32",
            Self::U64 => "u64",
            Self::U128 => "u128",
            Self::I8 => "i8",
            Self::I16 => "i16",
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::I128 => "i128",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Char => "char",
            Self::String => "string",
            Self::Bytes => "bytes",
        })
    }
}
