//! The stages that make a model.
