//! sharedarea
