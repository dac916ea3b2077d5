//! What will be generated, in integers.
