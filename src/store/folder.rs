//! The store in a folder.

/// A folder.
#[derive(Debug)]
pub struct FolderStore;
