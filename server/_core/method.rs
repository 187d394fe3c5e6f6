//! A procedure as clients within this crate call it: a name, and the types of what goes in and what comes out.

use std::marker::PhantomData;

/// A procedure that takes an `I` and answers with an `O`.
pub struct Method<I, O> {
    /// Its name, such as `rollout.get`.
    pub path: &'static str,
    types: PhantomData<fn(I) -> O>,
}

impl<I, O> Method<I, O> {
    /// Names it; that its types are those of the procedure, a test of the routers checks.
    pub const fn new(path: &'static str) -> Self {
        Self {
            path,
            types: PhantomData,
        }
    }

    /// The same, of whose answer only a part is read, or all of it as it comes.
    pub const fn reading<P>(&self) -> Method<I, P> {
        Method::new(self.path)
    }
}
