"""Questions about a concept, with their answers; and the captions it may get."""

from __future__ import annotations

from functools import cache

import numpy as np

from driftline_lab.data.openmoji.concepts import Concept, Role, concepts
from driftline_lab.data.openmoji.groups import EDIBLE, GROUP_PHRASES, NEVER_EATEN

NAME_QUESTION = "what is it?"
GROUP_QUESTION = "what kind of thing is it?"
EAT_QUESTION = "can you eat it?"
CAPTION_QUESTION = "describe the picture."

_MASS_NOUNS = frozenset(
    {"bacon", "bread", "broccoli", "butter", "clothing", "garlic", "luggage", "popcorn", "sake"}
    | {"soap", "spaghetti", "sushi", "tea"}
)
_SINGULAR_ENDINGS = ("ss", "us", "os")
_SEED = 20_260_425


def questions(concept: Concept) -> tuple[tuple[str, str], ...]:
    """(question, answer) pairs, five or six.

    Name, group, "is it <its group>?" yes, "is it <another group>?" no, the caption; and "can you
    eat it?" for food and as many other things. Of every yes/no question about half of the answers
    are yes, over seen and unseen concepts alike, so that the question alone tells nothing.
    """
    other = _denied_group()[concept.code]
    rows = [
        (NAME_QUESTION, concept.name),
        (GROUP_QUESTION, concept.group),
        (f"is it {GROUP_PHRASES[concept.group]}?", "yes"),
        (f"is it {GROUP_PHRASES[other]}?", "no"),
    ]
    if concept.group in EDIBLE:
        rows.append((EAT_QUESTION, "yes"))
    elif concept.code in _not_eaten():
        rows.append((EAT_QUESTION, "no"))
    rows.append((CAPTION_QUESTION, caption(concept.name)))
    return tuple(rows)


def caption(name: str) -> str:
    """The name with its article: "a red apple", "an owl", "scissors", "bread"."""
    last = name.split()[-1]
    plural = last.endswith("s") and not last.endswith(_SINGULAR_ENDINGS)
    if plural or last in _MASS_NOUNS:
        return name
    sounds_open = name[0] in "aeiou" and not name.startswith(("uni", "one"))
    return f"{'an' if sounds_open else 'a'} {name}"


def reference_captions(concept: Concept) -> tuple[str, ...]:
    """Every caption the data calls right, the one that `questions` gives first."""
    return tuple(caption(name) for name in (concept.name, *concept.tags))


@cache
def _denied_group() -> dict[str, str]:
    """A group that each concept is not of, to ask about; each group as often as it has members.

    Groups are dealt out in a drawn order and swapped until no concept has its own.
    """
    found: dict[str, str] = {}
    for role in Role:
        members = concepts(role)
        rng = np.random.default_rng([_SEED, len(members)])
        dealt = [members[i].group for i in rng.permutation(len(members))]
        for i, concept in enumerate(members):
            if dealt[i] == concept.group:
                # Some partner always exists: no group holds half of the concepts.
                partner = next(
                    j
                    for j in rng.permutation(len(members))
                    if dealt[j] != concept.group and members[j].group != dealt[i]
                )
                dealt[i], dealt[partner] = dealt[partner], dealt[i]
        found.update((concept.code, group) for concept, group in zip(members, dealt, strict=True))
    return found


@cache
def _not_eaten() -> frozenset[str]:
    found: set[str] = set()
    for role in Role:
        members = concepts(role)
        num_eaten = sum(concept.group in EDIBLE for concept in members)
        never = [concept.code for concept in members if concept.group in NEVER_EATEN]
        order = np.random.default_rng([_SEED, 1]).permutation(len(never))
        found.update(never[i] for i in order[:num_eaten])
    return frozenset(found)
