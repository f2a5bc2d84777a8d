//! The two forms of a reply: `{"data": …}` and `{"error": {"code": …, "message": …}}`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::order::OrderNumber;
use super::term::WhoRules;

/// A reply to a request that succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Data<T> {
    /// The requested data.
    pub data: T,
}

impl<T: Serialize> Data<T> {
    /// Returns the reply's body.
    ///
    /// # Panics
    ///
    /// If the data cannot be written as JSON, as all can that the store has.
    #[must_use]
    pub fn to_body(&self) -> Bytes {
        serde_json::to_vec(self).expect("data can be written as JSON").into()
    }
}

/// A reply to a request that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// The error.
    pub error: Problem,
}

/// The error in a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The HTTP status.
    pub code: u16,
    /// What happened, for a person to read.
    pub message: String,
    /// To other roles: who rules, if one of several catalogs refuses since it does not.
    #[serde(default, alias = "standing", skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    pub who_rules: Option<WhoRules>,
}

/// The data of a reply to a granted purchase: `{"order_number":10}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// The new order's number.
    pub order_number: OrderNumber,
}
