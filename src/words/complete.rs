//! Whether the catalogues say all that the sources say.
