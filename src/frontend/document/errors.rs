//! The errors of each path, with the very sentences that the store answers.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::openapi::{Content, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema as _};

use super::super::answers::FrontendError;
use crate::server::{ErrorReply, LARGEST_BODY};
use crate::wire::reply::Failure;

/// The responses of a path, by status.
type Responses = BTreeMap<String, RefOr<Response>>;

/// What can be wrong with a query of one toy.
pub(in crate::frontend) struct ToyErrors;
/// What can be wrong with a query of all toys.
pub(in crate::frontend) struct ToysErrors;
/// What can be wrong with a purchase.
pub(in crate::frontend) struct PurchaseErrors;
/// What can be wrong with a query of an order.
pub(in crate::frontend) struct OrderErrors;

/// The response of an error, with an example of it.
pub(super) fn response(description: &str, error: &ErrorReply) -> (String, RefOr<Response>) {
    use actix_web::ResponseError as _;

    let code = error.status_code().as_u16();
    let example = json!({ "error": { "code": code, "message": error.to_string() } });
    let schema = Ref::from_schema_name(Failure::name());
    let content = Content::builder().schema(Some(schema)).example(Some(example)).build();
    let response = ResponseBuilder::new().description(description);
    (code.to_string(), response.content("application/json", content).build().into())
}

fn no_catalog() -> (String, RefOr<Response>) {
    let why = FrontendError::NoCatalog("it did not answer in time".into());
    response("The catalog did not answer in time.", &ErrorReply::Unavailable(why.to_string()))
}

fn bad_request(message: &str) -> (String, RefOr<Response>) {
    response("The request is not valid.", &ErrorReply::BadRequest(message.into()))
}

impl IntoResponses for ToyErrors {
    fn responses() -> Responses {
        let unknown = response("There is no such toy.", &ErrorReply::NotFound("product not found"));
        let not_text = "the path is not UTF-8 once percent-decoded";
        [bad_request(not_text), unknown, no_catalog()].into()
    }
}

impl IntoResponses for ToysErrors {
    fn responses() -> Responses {
        [no_catalog()].into()
    }
}

impl IntoResponses for PurchaseErrors {
    fn responses() -> Responses {
        let undecided = FrontendError::NoLeader("no order replica leads".into()).to_string();
        [
            bad_request("invalid request body: missing field `quantity` at line 1 column 14"),
            response("A web page of another site sent the request.", &ErrorReply::OtherSite),
            response("There is no such toy.", &ErrorReply::NotFound("product not found")),
            response("The stock does not suffice.", &ErrorReply::OutOfStock),
            response("The body is too large.", &ErrorReply::TooLarge(LARGEST_BODY)),
            response("The key was used for a different purchase.", &ErrorReply::KeyReused),
            response(
                "The purchase was not decided in time, or the store cannot sell now.",
                &ErrorReply::Unavailable(undecided),
            ),
        ]
        .into()
    }
}

impl IntoResponses for OrderErrors {
    fn responses() -> Responses {
        let undecided = FrontendError::NoLeader("no order replica leads".into()).to_string();
        [
            bad_request("an order's number is a whole number from 0 on"),
            response("There is no such order.", &ErrorReply::NotFound("order not found")),
            response(
                "No replica could tell in time whether there is such an order.",
                &ErrorReply::Unavailable(undecided),
            ),
        ]
        .into()
    }
}
