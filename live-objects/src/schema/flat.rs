//! The form of a schema on the wire: its shapes in a row, each before its parts.
//!
//! A tree would be read by recursion, as deep as whoever wrote the bytes likes; a row is read by a
//! loop, and the tree is built from it within the limits. The hash of a schema is over this form:
//! a change here is a change of every schema.

use std::vec;

use serde::{Deserialize, Serialize};

use super::shape::{Field, Fields, Primitive, Shape, Variant};
use super::{Schema, SchemaError};

/// A schema as it is sent.
#[derive(Serialize, Deserialize)]
pub(super) struct Flat {
    name: String,
    version: u32,
    steps: Vec<Step>,
}

/// A shape without its parts, which are the steps after it. Numbered by position: new ones go last.
#[derive(Serialize, Deserialize)]
pub(super) enum Step {
    Primitive(Primitive),
    Option,
    Sequence,
    Array(u32),
    Map,
    Tuple(u32),
    Struct(Form),
    Enum(Vec<(String, Form)>),
}

/// What a struct or a variant holds, without the shapes.
#[derive(Serialize, Deserialize)]
pub(super) enum Form {
    Unit,
    Newtype,
    Tuple(u32),
    Named(Vec<String>),
}

impl Step {
    /// A shape in a row.
    pub(super) fn of(shape: &Shape) -> Vec<Self> {
        let mut steps = Vec::new();
        add_shape(shape, &mut steps);
        steps
    }
}

impl From<Schema> for Flat {
    fn from(schema: Schema) -> Self {
        let steps = Step::of(&schema.shape);
        Self { name: schema.name, version: schema.version, steps }
    }
}

impl TryFrom<Flat> for Schema {
    type Error = SchemaError;

    fn try_from(flat: Flat) -> Result<Self, SchemaError> {
        if flat.steps.len() > Self::SIZE_MAX {
            return Err(SchemaError::TooLarge);
        }
        let mut tree = Tree { steps: flat.steps.into_iter() };
        let shape = tree.shape(0)?;
        if tree.steps.next().is_some() {
            return Err(SchemaError::Parts);
        }
        Self::new(flat.name, flat.version, shape)
    }
}

fn add_shape(shape: &Shape, steps: &mut Vec<Step>) {
    match shape {
        Shape::Primitive(primitive) => steps.push(Step::Primitive(*primitive)),
        Shape::Option(inner) => {
            steps.push(Step::Option);
            add_shape(inner, steps);
        }
        Shape::Sequence(of) => {
            steps.push(Step::Sequence);
            add_shape(of, steps);
        }
        Shape::Array { of, length } => {
            steps.push(Step::Array(*length));
            add_shape(of, steps);
        }
        Shape::Map { key, value } => {
            steps.push(Step::Map);
            add_shape(key, steps);
            add_shape(value, steps);
        }
        Shape::Tuple(parts) => {
            steps.push(Step::Tuple(count(parts)));
            parts.iter().for_each(|part| add_shape(part, steps));
        }
        Shape::Struct(fields) => {
            steps.push(Step::Struct(form(fields)));
            add_fields(fields, steps);
        }
        Shape::Enum(variants) => {
            let forms = variants.iter().map(|it| (it.name.clone(), form(&it.fields)));
            steps.push(Step::Enum(forms.collect()));
            variants.iter().for_each(|variant| add_fields(&variant.fields, steps));
        }
    }
}

fn add_fields(fields: &Fields, steps: &mut Vec<Step>) {
    match fields {
        Fields::Unit => (),
        Fields::Newtype(inner) => add_shape(inner, steps),
        Fields::Tuple(parts) => parts.iter().for_each(|part| add_shape(part, steps)),
        Fields::Named(fields) => fields.iter().for_each(|field| add_shape(&field.shape, steps)),
    }
}

fn form(fields: &Fields) -> Form {
    match fields {
        Fields::Unit => Form::Unit,
        Fields::Newtype(_) => Form::Newtype,
        Fields::Tuple(parts) => Form::Tuple(count(parts)),
        Fields::Named(fields) => {
            Form::Named(fields.iter().map(|field| field.name.clone()).collect())
        }
    }
}

fn count(parts: &[Shape]) -> u32 {
    u32::try_from(parts.len()).expect("a schema has at most `Schema::SIZE_MAX` shapes")
}

/// A tree on its way back from a row.
struct Tree {
    steps: vec::IntoIter<Step>,
}

impl Tree {
    fn shape(&mut self, depth: usize) -> Result<Shape, SchemaError> {
        if depth >= Schema::DEPTH_MAX {
            return Err(SchemaError::TooDeep);
        }
        Ok(match self.steps.next().ok_or(SchemaError::Parts)? {
            Step::Primitive(primitive) => Shape::Primitive(primitive),
            Step::Option => Shape::Option(self.part(depth)?),
            Step::Sequence => Shape::Sequence(self.part(depth)?),
            Step::Array(length) => Shape::Array { of: self.part(depth)?, length },
            Step::Map => Shape::Map { key: self.part(depth)?, value: self.part(depth)? },
            Step::Tuple(count) => Shape::Tuple(self.parts(count, depth)?),
            Step::Struct(form) => Shape::Struct(self.fields(form, depth)?),
            Step::Enum(forms) => {
                let variants = forms
                    .into_iter()
                    .map(|(name, form)| Ok(Variant { name, fields: self.fields(form, depth)? }));
                Shape::Enum(variants.collect::<Result<_, _>>()?)
            }
        })
    }

    fn fields(&mut self, form: Form, depth: usize) -> Result<Fields, SchemaError> {
        Ok(match form {
            Form::Unit => Fields::Unit,
            Form::Newtype => Fields::Newtype(self.part(depth)?),
            Form::Tuple(count) => Fields::Tuple(self.parts(count, depth)?),
            Form::Named(names) => {
                let fields =
                    names.into_iter().map(|name| Ok(Field { name, shape: self.shape(depth + 1)? }));
                Fields::Named(fields.collect::<Result<_, _>>()?)
            }
        })
    }

    fn part(&mut self, depth: usize) -> Result<Box<Shape>, SchemaError> {
        self.shape(depth + 1).map(Box::new)
    }

    /// As many as are promised, or an error where the steps end.
    fn parts(&mut self, count: u32, depth: usize) -> Result<Vec<Shape>, SchemaError> {
        (0..count).map(|_| self.shape(depth + 1)).collect()
    }
}
