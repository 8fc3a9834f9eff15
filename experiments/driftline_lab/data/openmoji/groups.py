"""Groups: which of Unicode's emoji subgroups are things one can point at, and what to call them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "animal-mammal": "animal",
        "animal-bird": "animal",
        "animal-amphibian": "animal",
        "animal-reptile": "animal",
        "animal-marine": "animal",
        "animal-bug": "animal",
        "plant-flower": "plant",
        "plant-other": "plant",
        "food-fruit": "fruit",
        "food-vegetable": "vegetable",
        "food-prepared": "meal",
        "food-asian": "meal",
        "food-sweet": "sweet",
        "drink": "drink",
        "place-building": "building",
        "place-religious": "building",
        "transport-ground": "vehicle",
        "transport-water": "vehicle",
        "transport-air": "vehicle",
        "time": "device",
        "music": "device",
        "phone": "device",
        "computer": "device",
        "light & video": "device",
        "science": "device",
        "sport": "toy",
        "game": "toy",
        "clothing": "clothing",
        "musical-instrument": "instrument",
        "tool": "tool",
        "writing": "stationery",
        "office": "stationery",
        "book-paper": "stationery",
        "mail": "stationery",
        "dishware": "household",
        "household": "household",
        "hotel": "household",
    }
)
"""Unicode subgroup -> our group word; other subgroups hold symbols, places, people and events."""

GROUP_PHRASES: Mapping[str, str] = MappingProxyType(
    {
        "animal": "an animal",
        "plant": "a plant",
        "fruit": "a fruit",
        "vegetable": "a vegetable",
        "meal": "a meal",
        "sweet": "a sweet",
        "drink": "a drink",
        "building": "a building",
        "vehicle": "a vehicle",
        "device": "a device",
        "toy": "a toy",
        "clothing": "clothing",
        "instrument": "a musical instrument",
        "tool": "a tool",
        "stationery": "stationery",
        "household": "a household item",
    }
)
"""Group word -> how a question says it."""

EDIBLE = frozenset({"fruit", "vegetable", "meal", "sweet"})

NEVER_EATEN = frozenset(
    {"building", "vehicle", "device", "toy", "clothing", "instrument", "tool", "stationery"}
)
"""Groups that answer "can you eat it?" with no; animals, plants and drinks would be disputed."""

_STRANGE = """
    abacus adhesive aerial alembic amphora anchor baby badminton bank bellhop bikini black blossom
    blue boar bomb bowling boxing brick briefs bubbles bug building bullseye canned chains chart
    chestnut clapper clinking closed club clutch compression computer construction control
    convenience cooked cooking coral crossed crown crystal curling curry dagger dango delivery
    diamond direct diving diya dna dodo dumpling dvd electric elevator evergreen ewe face fallen
    feather field film fishing flat flatbread floppy fondue fuel game gem goal green hair hatching
    heart herb hindu hocho hockey hook hot hourglass houses hut ice inbox index jar joker kaaba
    knobs label lacrosse leafless leafy ledger level light link linked lipstick lotion magic mammoth
    maple mate meat memo metro microbe military milk minibus mirror motorized motorway mountain
    mushroom musical nest nib oden office open optical orange orca outbox ox oyster pager parachute
    paw petri pick pill ping placard plug police poodle postal postbox pouring prayer printer
    railway ram rickshaw ring rock root rosette rugby ruler safety salt sari satellite sauropod
    scroll seat seedling shell shield shinto shirt shopping sign slot softball spade spiral sponge
    station steaming stop suspension symbol takeout tamale teapot tennis test thirty ticket timer
    trackball traffic tram trolleybus tropical tumbler videocassette wastebasket wedding wheel
    wheelchair white wilted wing wood
"""

STRANGE_WORDS = frozenset(_STRANGE.split())
"""A name that holds one of these is no thing of its group that a picture alone makes plain."""
