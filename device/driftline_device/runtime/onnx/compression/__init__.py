"""Visual-token compressors beside the graphs of an export."""
