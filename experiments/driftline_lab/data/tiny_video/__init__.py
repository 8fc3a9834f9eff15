"""tiny-video: synthetic clips of moving, appearing, vanishing and changing shapes, and questions.

Everything is drawn; no camera took part. A clip follows from (seed, part, index), so that parts
are disjoint by seed.
"""
