"""Topics of MQTT under which a device publishes.

<topic>/<device>/availability            online or offline, retained
<topic>/<device>/<feed>/<question>       answers to a standing question; the last is retained
<topic>/<device>/<feed>                  answers to any other question
<topic>/<device>/watch/<name>            a watch that fired
<topic>/<device>/feedback                the owner's word on an answer, to the device
<topic>/<device>/feedback/result         what became of it
"""

from __future__ import annotations

import hashlib
import re

MAX_SLUG = 60


def slug(text: str) -> str:
    """`text` as one level of a topic: lower-case ASCII letters, digits, `_` and `-`.

    Where that leaves something out that tells two texts apart, six digits of a hash are added.
    """
    plain = re.sub(r"[^a-z0-9_-]+", "_", text.lower()).strip("_")
    readable = re.sub(r"[\s?.!,:;/]+", "_", text.lower()).strip("_")
    if plain == readable and 0 < len(plain) <= MAX_SLUG:
        return plain
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{plain[:MAX_SLUG]}_{digest}".strip("_")


class Topics:
    """The topics of device `device_id` below `topic`."""

    def __init__(self, topic: str, device_id: str, standing: set[tuple[str, str]]) -> None:
        self._base = f"{topic}/{slug(device_id)}"
        self._standing = standing

    @property
    def availability(self) -> str:
        """Whether the device is there."""
        return f"{self._base}/availability"

    @property
    def feedback(self) -> str:
        """Where the owner says what was right or wrong."""
        return f"{self._base}/feedback"

    @property
    def feedback_result(self) -> str:
        """What became of that."""
        return f"{self.feedback}/result"

    def is_standing(self, feed: str, question: str) -> bool:
        """Whether the question is asked again and again, so that its last answer is a state."""
        return (feed, question) in self._standing

    def of_answer(self, feed: str, question: str) -> str:
        """Of an answer."""
        of_feed = f"{self._base}/{slug(feed)}"
        return f"{of_feed}/{slug(question)}" if self.is_standing(feed, question) else of_feed

    def of_watch(self, name: str) -> str:
        """Of a watch that fired."""
        return f"{self._base}/watch/{slug(name)}"

    def of_kind(self, kind: str) -> str:
        """Of any other event."""
        return f"{self._base}/{slug(kind)}"
