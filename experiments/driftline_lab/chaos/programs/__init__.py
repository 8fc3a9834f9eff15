"""The programs of a run: a cloud, what works beside it, devices; all real but for the models."""
