"""The changes of all tensors as one body: whole multiples of a step, coded by how they lie."""
