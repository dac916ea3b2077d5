//! What will be generated, in integers.

pub mod layout;
