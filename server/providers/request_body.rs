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

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper::body::Body as _;

    use super::*;

    #[tokio::test]
    async fn a_body_in_parts_is_sent_whole_as_often_as_it_has_to_be() {
        let parts = ["{\"a\":", "", "[1,2]", "}"].map(Bytes::from);
        for parts in [vec![Bytes::from("{}")], parts.to_vec(), Vec::new()] {
            let whole = parts.concat();
            let body = RequestBody::of(parts);
            for _ in 0..2 {
                let sent = body.to_send();
                // A request says how long it is.
                assert_eq!(sent.size_hint().exact(), Some(whole.len() as u64));
                assert_eq!(sent.collect().await.unwrap().to_bytes(), whole);
            }
        }
    }

    #[tokio::test]
    async fn what_is_left_of_a_body_is_known_after_each_part() {
        let mut parts = Parts(vec![Bytes::from("abc"), Bytes::from("de")].into_iter());
        for left in [2, 0] {
            assert!(!parts.is_end_stream());
            parts.frame().await.unwrap().unwrap();
            assert_eq!(parts.size_hint().exact(), Some(left));
        }
        assert!(parts.is_end_stream() && parts.frame().await.is_none());
    }
}
