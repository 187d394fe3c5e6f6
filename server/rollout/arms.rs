//! One thing for each arm.

use std::{
    array,
    borrow::Cow,
    ops::{Index, IndexMut},
};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::_core::assignment::Variant;

/// One thing for each arm; in JSON the list of control's and the candidate's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerArm<T> {
    /// Control's.
    pub control: T,
    /// The candidate's.
    pub candidate: T,
}

impl<T> PerArm<T> {
    /// What `make` gives for either arm.
    pub fn of(mut make: impl FnMut(Variant) -> T) -> Self {
        Self {
            control: make(Variant::Control),
            candidate: make(Variant::Candidate),
        }
    }

    /// The same of both arms.
    pub fn map<U>(self, mut change: impl FnMut(T) -> U) -> PerArm<U> {
        PerArm {
            control: change(self.control),
            candidate: change(self.candidate),
        }
    }
}

impl<T> From<[T; 2]> for PerArm<T> {
    fn from([control, candidate]: [T; 2]) -> Self {
        Self { control, candidate }
    }
}

/// Control's, then the candidate's.
impl<T> IntoIterator for PerArm<T> {
    type Item = T;
    type IntoIter = array::IntoIter<T, 2>;

    fn into_iter(self) -> Self::IntoIter {
        [self.control, self.candidate].into_iter()
    }
}

impl<T> Index<Variant> for PerArm<T> {
    type Output = T;

    fn index(&self, arm: Variant) -> &T {
        match arm {
            Variant::Control => &self.control,
            Variant::Candidate => &self.candidate,
        }
    }
}

impl<T> IndexMut<Variant> for PerArm<T> {
    fn index_mut(&mut self, arm: Variant) -> &mut T {
        match arm {
            Variant::Control => &mut self.control,
            Variant::Candidate => &mut self.candidate,
        }
    }
}

impl<T: Serialize> Serialize for PerArm<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [&self.control, &self.candidate].serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for PerArm<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <[T; 2]>::deserialize(deserializer).map(Self::from)
    }
}

impl<T: JsonSchema> JsonSchema for PerArm<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        <[T; 2]>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <[T; 2]>::json_schema(generator)
    }
}
