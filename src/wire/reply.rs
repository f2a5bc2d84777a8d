//! The two shapes that every reply has: `{"data": …}` and `{"error": {"code": …, "message": …}}`.

use serde::{Deserialize, Serialize};

use super::order::OrderNumber;

/// A reply that went well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data<T> {
    /// What was asked for.
    pub data: T,
}

/// A reply that did not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub error: Problem,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status again.
    pub code: u16,
    /// A sentence for people.
    pub message: String,
}

/// The data of an accepted purchase: `{"order_number":10}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The new order's number.
    pub order_number: OrderNumber,
}
