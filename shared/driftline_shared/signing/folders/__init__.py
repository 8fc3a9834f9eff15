"""A folder of files under one signature, in the form of OpenSSF Model Signing."""
