"""Tables of measured numbers in the documents, made from `experiments/results`."""
