//! Token ids to text embeddings: the umT5 encoder.
