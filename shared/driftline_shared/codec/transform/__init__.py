"""The transform codec of visual tokens: a pyramid over their places, a rotation of their channels,
whole numbers, arithmetic coding.
"""
