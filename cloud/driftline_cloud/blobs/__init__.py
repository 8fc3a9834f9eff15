"""Where files of a cloud are kept: a folder, an object store, or both."""
