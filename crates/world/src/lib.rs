//! A drawn cartoon world with known answers.
