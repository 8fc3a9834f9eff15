"""The file of the history: `history.sqlite` in the state folder.

answers   the newest past answers; `number` rises and is never used twice
pictures  small pictures of some of them, PNG, where the owner wants them kept
marks     what the owner said about answers, each with a picture of its own; `taught`: it was made
          a sample
teacher   what the cloud's teacher answered where the device was unsure (since 0.2)
updates   what became of each update, and what it made of the marked answers (JSON)
"""

from __future__ import annotations

from driftline_shared.host.database import Layout

FILE = "history.sqlite"

LAYOUT = Layout(
    what="history",
    application_id=0x44524C48,  # "DRLH"
    version=1,
    tables="""
CREATE TABLE answers (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  unix_s REAL NOT NULL,
  feed TEXT NOT NULL,
  source TEXT NOT NULL,
  place TEXT NOT NULL,
  question TEXT NOT NULL,
  answer TEXT NOT NULL,
  uncertainty REAL,
  version INTEGER NOT NULL,
  sample TEXT,
  num_bytes INTEGER NOT NULL
);
CREATE TABLE pictures (
  id TEXT PRIMARY KEY, number INTEGER NOT NULL, num_bytes INTEGER NOT NULL, png BLOB NOT NULL
);
CREATE INDEX pictures_by_number ON pictures (number, num_bytes);
CREATE TABLE marks (
  id TEXT PRIMARY KEY,
  unix_s REAL NOT NULL,
  feed TEXT NOT NULL,
  place TEXT NOT NULL,
  question TEXT NOT NULL,
  said TEXT NOT NULL,
  is_right INTEGER NOT NULL,
  answer TEXT,
  version INTEGER NOT NULL,
  png BLOB,
  taught INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE updates (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  unix_s REAL NOT NULL,
  version INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  reason TEXT NOT NULL,
  card TEXT NOT NULL
)""",
    names=frozenset({"answers", "pictures", "pictures_by_number", "marks", "updates"}),
    later={"teacher": "id TEXT PRIMARY KEY, answer TEXT NOT NULL, confidence REAL NOT NULL"},
)
