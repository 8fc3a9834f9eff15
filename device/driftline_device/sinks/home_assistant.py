"""Home Assistant finds this device by itself: one retained message for each entity.

A standing question is a sensor, its answer the state; a watch is an event entity
(home-assistant.io/integrations/mqtt, "MQTT discovery").
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from driftline_device.sinks.topics import Topics, slug

MAX_STATE = 255
"""Characters of a state that Home Assistant keeps."""


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """What a device tells of itself. `standing`: (feed, question) that are asked again and again;
    `watches`: names of its rules.
    """

    device_id: str
    pair: str
    standing: tuple[tuple[str, str], ...] = ()
    watches: tuple[str, ...] = ()


def discovery(about: About, topics: Topics, prefix: str) -> list[tuple[str, str]]:
    """(topic, payload) of each entity."""
    node = slug(about.device_id)
    common = {
        "availability_topic": topics.availability,
        "device": {
            "identifiers": [about.device_id],
            "name": f"Driftline {about.device_id}",
            "manufacturer": "Driftline",
            "model": about.pair,
        },
        "origin": {"name": "driftline"},
    }
    found = []
    for feed, question in about.standing:
        unique = f"{node}_{slug(feed)}_{slug(question)}"
        state = topics.of_answer(feed, question)
        entity = {
            **common,
            "name": f"{feed}: {question}",
            "unique_id": unique,
            "state_topic": state,
            "value_template": f"{{{{ value_json.answer[:{MAX_STATE}] }}}}",
            "json_attributes_topic": state,
            "icon": "mdi:eye-outline",
        }
        found.append((f"{prefix}/sensor/{node}/{unique}/config", json.dumps(entity)))
    for watch in about.watches:
        unique = f"{node}_watch_{slug(watch)}"
        entity = {
            **common,
            "name": watch,
            "unique_id": unique,
            "state_topic": topics.of_watch(watch),
            "event_types": ["fired"],
            "icon": "mdi:bell-ring-outline",
        }
        found.append((f"{prefix}/event/{node}/{unique}/config", json.dumps(entity)))
    return found
