//! The errors that a procedure can give: said where it is registered, so that the contract has them.
//!
//! Some follow from the registration itself: no session, not an admin, a wrong input, a fault of
//! ours. The others are declared with their reason and the type of their details. A build with
//! debug assertions turns an error that was not declared into an internal one, so that any test
//! which meets it fails; a release lets it pass.

use std::sync::Arc;

use schemars::{JsonSchema, SchemaGenerator};

use super::{
    caller::Access,
    contract_side::{ContractSide, SchemaFn},
    errors::{ErrorCode, RATE_LIMIT_EXCEEDED, RpcError},
    shape::Shape,
};

/// An error that a handler gives on purpose; see [`procedures!`](crate::procedures).
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    code: ErrorCode,
    when: &'static str,
    rate_limit: bool,
    details: Option<SchemaFn>,
}

impl Declared {
    /// An error, and when it is given: one sentence for those who call.
    pub const fn new(code: ErrorCode, when: &'static str) -> Self {
        Self {
            code,
            when,
            rate_limit: false,
            details: None,
        }
    }

    /// The same with `details`, which are a `T`; its dates are dates on wires with superjson.
    pub const fn with<T: JsonSchema>(code: ErrorCode, when: &'static str) -> Self {
        Self {
            details: Some(details_schema::<T>),
            ..Self::new(code, when)
        }
    }

    /// [`RpcError::rate_limited`].
    pub const fn rate_limited(when: &'static str) -> Self {
        Self {
            rate_limit: true,
            ..Self::new(ErrorCode::TooManyRequests, when)
        }
    }
}

fn details_schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> schemars::Schema {
    generator.subschema_for::<T>()
}

/// One error of a procedure.
#[derive(Clone, Debug)]
pub struct PossibleError {
    /// Its code.
    pub code: ErrorCode,
    /// What is in `data.code`; another text than the code's only for `RATE_LIMIT_EXCEEDED`.
    pub data_code: &'static str,
    /// When it is given, as a sentence.
    pub when: &'static str,
    /// The schema of `data.details`, where there are any.
    pub details_schema: Option<SchemaFn>,
    details: Option<Arc<Shape>>,
}

impl PossibleError {
    fn of(declared: &Declared) -> Self {
        Self {
            code: declared.code,
            data_code: if declared.rate_limit {
                RATE_LIMIT_EXCEEDED
            } else {
                declared.code.name()
            },
            when: declared.when,
            details_schema: declared.details,
            details: declared
                .details
                .map(|schema| ContractSide::Output.compile(schema)),
        }
    }

    fn fits(&self, error: &RpcError) -> bool {
        self.data_code == error.data_code()
            && match (&self.details, &error.details) {
                (_, None) => true,
                (Some(shape), Some(details)) => shape.accepts(details),
                (None, Some(_)) => false,
            }
    }
}

/// All that a procedure can give: what its registration implies, then what it declares.
pub(super) fn all(
    access: Access,
    takes_input: bool,
    declared: &[Declared],
) -> Arc<[PossibleError]> {
    let implied = [
        (
            takes_input,
            Declared::new(
                ErrorCode::BadRequest,
                "The input does not fit; the message lists every fault as JSON.",
            ),
        ),
        (
            access != Access::Public,
            Declared::new(ErrorCode::Unauthorized, "There is no session."),
        ),
        (
            access == Access::Viewer,
            Declared::new(
                ErrorCode::Forbidden,
                "The user is neither a viewer nor an admin.",
            ),
        ),
        (
            access == Access::Admin,
            Declared::new(ErrorCode::Forbidden, "The user is not an admin."),
        ),
        (
            access != Access::Public,
            Declared::new(
                ErrorCode::ServiceUnavailable,
                "The database cannot be used just now; try again.",
            ),
        ),
        (
            true,
            Declared::new(
                ErrorCode::InternalServerError,
                "A fault of the server, which its log explains.",
            ),
        ),
    ];
    let implied = implied
        .iter()
        .filter_map(|(can_happen, error)| can_happen.then_some(error));
    let mut errors: Vec<_> = implied.chain(declared).map(PossibleError::of).collect();
    errors.sort_by_key(|error| (error.code.http_status(), error.data_code));
    errors.into()
}

/// The error with the shape of its details, by which a wire knows its dates.
pub(super) fn settle(path: &str, possible: &[PossibleError], error: RpcError) -> RpcError {
    // Which body a call brought is the wire's affair.
    if error.code == ErrorCode::UnsupportedMediaType {
        return error;
    }
    match possible.iter().find(|possible| possible.fits(&error)) {
        Some(declared) => error.with_details_shape(declared.details.clone()),
        None if cfg!(debug_assertions) => RpcError::internal(anyhow::anyhow!(
            "`{path}` gave {}, `{}`, details {:?}, which its registration does not declare (`errors …`)",
            error.data_code(),
            error.message,
            error.details
        )),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const STALE: &[Declared] = &[Declared::with::<i64>(ErrorCode::Conflict, "It moved on.")];

    fn codes(access: Access, takes_input: bool, declared: &[Declared]) -> Vec<&'static str> {
        let errors = all(access, takes_input, declared);
        errors.iter().map(|error| error.data_code).collect()
    }

    #[test]
    fn a_registration_implies_its_errors() {
        assert_eq!(codes(Access::Public, false, &[]), ["INTERNAL_SERVER_ERROR"]);
        let limited = [Declared::rate_limited("Too many.")];
        assert_eq!(
            codes(Access::Admin, true, &limited),
            [
                "BAD_REQUEST",
                "UNAUTHORIZED",
                "FORBIDDEN",
                "RATE_LIMIT_EXCEEDED",
                "INTERNAL_SERVER_ERROR",
                "SERVICE_UNAVAILABLE"
            ]
        );
    }

    #[test]
    fn an_error_that_is_not_declared_is_found_out() {
        let possible = all(Access::Public, false, STALE);
        let conflict = || RpcError::new(ErrorCode::Conflict, "no");
        for (error, code) in [
            (conflict(), ErrorCode::Conflict),
            (conflict().with_details(json!(7)), ErrorCode::Conflict),
            (
                conflict().with_details(json!("seven")),
                ErrorCode::InternalServerError,
            ),
            (RpcError::not_found("no"), ErrorCode::InternalServerError),
            (
                RpcError::internal(anyhow::anyhow!("no")).with_details(json!(7)),
                ErrorCode::InternalServerError,
            ),
        ] {
            assert_eq!(settle("a.b", &possible, error).code, code);
        }
    }
}
