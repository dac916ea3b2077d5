//! Published weights fetched.
