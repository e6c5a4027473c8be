//! References: an object's name and type as a value that can be sent, stored, and opened.

use std::fmt;
use std::marker::PhantomData;

use live_objects::{Field, Fields, Primitive, Shape};
use live_objects::{Live, Name, NameError};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::OpenError;
use crate::node::Node;
use crate::object::Object;

/// A reference to an object for which there is a handle of type `O`. Objects hold references to
/// others in their messages and states; opening one joins the object.
///
/// It is written as the name and the type, so that a caller without Rust types knows both; one to
/// an object of another type is not read.
pub struct Ref<O> {
    name: Name,
    to: PhantomData<fn() -> O>,
}

impl<O: Object> Ref<O> {
    /// A reference to the object of this name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        Ok(Self { name: name.parse()?, to: PhantomData })
    }

    /// What the object is called.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Opens the object at this node.
    pub async fn open(&self, node: &Node) -> Result<O, OpenError> {
        node.open(self.name.as_str()).await
    }
}

/// How it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    name: Name,
    r#type: String,
}

impl<O: Object> Serialize for Ref<O> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = Written { name: self.name.clone(), r#type: O::object_type().to_string() };
        written.serialize(serializer)
    }
}

impl<'de, O: Object> Deserialize<'de> for Ref<O> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Written { name, r#type } = Written::deserialize(deserializer)?;
        let expected = O::object_type().to_string();
        if r#type != expected {
            let told = format!("a reference to {type}, and one to {expected} is expected");
            return Err(D::Error::custom(told));
        }
        Ok(Self { name, to: PhantomData })
    }
}

impl<O: Object + 'static> Live for Ref<O> {
    const SIZE: usize = 3;

    fn name() -> String {
        "logo.Ref".to_owned()
    }

    fn shape() -> Shape {
        let text = || Shape::Primitive(Primitive::String);
        let field = |name: &str| Field { name: name.to_owned(), shape: text() };
        Shape::Struct(Fields::Named(vec![field("name"), field("type")]))
    }
}

impl<O> Clone for Ref<O> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), to: PhantomData }
    }
}

impl<O> PartialEq for Ref<O> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl<O> Eq for Ref<O> {}

impl<O> fmt::Debug for Ref<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ref({})", self.name)
    }
}
