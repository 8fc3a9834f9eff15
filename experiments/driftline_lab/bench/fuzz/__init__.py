"""Pictures that are broken on purpose, in every format, against the decoding step."""
