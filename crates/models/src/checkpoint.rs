//! Weights in and out, strictly.
