"""The same things drawn by four designers: OpenMoji, Twemoji, Noto and Fluent.

Concepts, questions, captions and views are those of `driftline_lab.data.openmoji`, and so is the
source domain. The others' drawings are in packages of npm that `driftline lab fetch emoji` puts
into the user's cache; none is in a wheel of ours.
"""
