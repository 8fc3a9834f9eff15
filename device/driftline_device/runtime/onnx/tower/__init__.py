"""What an export reads of pictures, before anything depends on an adapter."""
