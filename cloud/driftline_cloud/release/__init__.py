"""DWC: what changed in an adapter, made small, kept as versions and offered to devices."""
