//! The body of a request, in parts that are sent one after another: a long prompt is not copied to be sent.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// A body; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct RequestBody(Vec<Bytes>);

impl RequestBody {
    /// One of these parts.
    pub(super) fn of(parts: Vec<Bytes>) -> Self {
        Self(parts)
    }

    /// As it is sent.
    pub(super) fn to_send(&self) -> reqwest::Body {
        match &*self.0 {
            [whole] => whole.clone().into(),
            _ => reqwest::Body::wrap(Parts(self.0.clone().into_iter())),
        }
    }
}

/// What is still to be sent.
struct Parts(vec::IntoIter<Bytes>);

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.0.as_slice().iter().map(Bytes::len);
        SizeHint::with_exact(left.sum::<usize>() as u64)
    }
}
