"""Generic augmentation for the teacher: colours, filters, grain, covers, styles, and mixtures.

Every change is a pure function of a picture, (H, W, 3) float32 in 0..255, and a generator. None
hides what colour or shape a figure has more than some of the answers can bear.

None is one of ImageNet-C's corruptions, which the teacher is judged by: noise has a falling
spectrum, is partly common to the channels, and is never white, Poisson, in proportion to the
pixel, or salt and pepper; blur kernels are random walks, not disks, bells, lines or zooms; small
pictures are drawn large smoothly, never in square blocks; curves and matrices change contrast,
brightness and saturation among much else, but not about a picture's mean nor in HSV; nothing draws
snow, frost, spatter, glass, elastic warps or JPEG's blocks.
"""
