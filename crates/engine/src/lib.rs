//! One story, chunk by chunk, over three traits.
