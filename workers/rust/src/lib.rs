//! Example applications of the `bellwether` library; each is one file in `src/bin`.
