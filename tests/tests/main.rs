//! What no crate can test alone, in one binary, since each binary more is linked anew.

mod membership;
mod tidy;
