//! A whole model in one file.
