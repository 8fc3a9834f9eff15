"""Chess boards as a task: positions made by rule, drawn with piece sets by different artists.

One of 64 squares decides most answers, so it can be seen which visual tokens matter. Sets and
boards are those of the package `pychess-data`, read where it is installed; their artists and
licences are in `sets.py` and in NOTICE.
"""
