//! What users see of routing: which rule takes a request, and what `explain` and `routes` say of it.

mod attachment;
mod carrying;
mod explaining;
mod given;
mod invalid;
mod matching;
mod precedence;
mod properties;
mod reuse;
mod splitting;
