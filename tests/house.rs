//! The rules of the house: of the code ([`tidy`]) and of the documents ([`documents`]).

mod documents;
mod tidy;
