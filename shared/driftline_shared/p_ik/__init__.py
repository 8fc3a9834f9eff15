"""P(IK), the probability that the student knows the answer: a linear layer on one hidden state.

After Kadavath et al., "Language Models (Mostly) Know What They Know" (arXiv 2207.05221). Needs no
torch: devices score with it, the cloud and `driftline models fit-p-ik` fit it.
"""
