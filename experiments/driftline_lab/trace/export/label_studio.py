"""Tasks for Label Studio: one an answer, with the uncertainty as a field to sort by.

    tasks.json         to import; the device's answer is each task's prediction
    label_config.xml   the project's labelling interface

The task format: https://labelstud.io/guide/tasks and /guide/predictions (read 2026-11). A score of
a prediction is how usual the answer's uncertainty was for the pair (its p-value), so that Label
Studio's "prediction score" order shows the least sure answers first, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from driftline_lab.trace.export.rows import json_text, picture_uri
from driftline_shared.trace.event import EventKind, TraceEvent
from driftline_shared.trace.reader import Trace

TASKS, CONFIG = "tasks.json", "label_config.xml"

_FIELDS = (
    *("sequence", "device", "segment", "domain", "sample_id", "trace_id", "question", "answer"),
    *("reference", "uncertainty", "gate_kind", "p_value", "uncertain", "sent", "wall_unix_s"),
)

_CONFIG = """<View>
  {image}<Header value="$question"/>
  <Text name="answer_given" value="$answer"/>
  <TextArea name="right_answer" toName="answer_given" rows="1" maxSubmissions="1"/>
  <Choices name="verdict" toName="answer_given" choice="single">
    <Choice value="right"/><Choice value="wrong"/><Choice value="cannot tell"/>
  </Choices>
</View>
"""


def export(trace: Trace, out: Path) -> int:
    """Write tasks and interface into `out`; how many tasks there are."""
    out.mkdir(parents=True, exist_ok=True)
    num_tasks, pictures = 0, False
    with (out / TASKS).open("w", encoding="utf-8") as file:
        file.write("[")
        for event in trace.events():
            if event.kind is not EventKind.ANSWER:
                continue
            file.write(",\n" if num_tasks else "\n")
            file.write(json_text(_task(event), event, ascii_only=False))
            pictures = pictures or event.picture is not None
            num_tasks += 1
        file.write("\n]\n")
    image = '<Image name="image" value="$image"/>\n  ' if pictures else ""
    (out / CONFIG).write_text(_CONFIG.format(image=image), encoding="utf-8")
    return num_tasks


def _task(event: TraceEvent) -> dict[str, Any]:
    data: dict[str, Any] = {name: getattr(event, name) for name in _FIELDS}
    data["scores"] = event.scores
    data["image"] = picture_uri(event)
    prediction: dict[str, Any] = {
        "model_version": f"version {event.adapter_version}",
        "result": [
            {
                "from_name": "right_answer",
                "to_name": "answer_given",
                "type": "textarea",
                "value": {"text": [event.answer or ""]},
            }
        ],
    }
    if event.p_value is not None:
        prediction["score"] = event.p_value
    return {"data": data, "predictions": [prediction]}
