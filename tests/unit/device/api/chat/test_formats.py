"""An answer of a few words as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline_device.api.chat.formats import choose, read_format
from driftline_device.api.errors import ApiError

COLORS = {"type": "string", "enum": ["red", "dark red", "blue"]}


def dressed(schema: Any, answer: str) -> Any:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    form = read_format(wanted, "response_format")
    assert form is not None
    return json.loads(form.dress(answer).text)


def field(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"seen": schema}, **more}


@pytest.mark.parametrize(
    ("schema", "answer", "value"),
    [
        (field({"type": "string"}), "a ball", {"seen": "a ball"}),
        (field({}), "a ball", {"seen": "a ball"}),
        ({"type": "string"}, 'say "hi"', 'say "hi"'),
        (COLORS, "Red.", "red"),
        (field(COLORS), "it is dark red", {"seen": "dark red"}),
        (field(COLORS), "blu", {"seen": "blue"}),
        (field({"enum": ["red", None]}), "a cat", {"seen": None}),
        (field({"enum": [1, 2, True]}), "2", {"seen": 2}),
        (field({"const": "fixed"}), "anything", {"seen": "fixed"}),
        (field({"type": "boolean"}), "Yes, it is", {"seen": True}),
        (field({"type": "boolean"}), "no", {"seen": False}),
        (field({"type": "integer"}), "three", {"seen": 3}),
        (field({"type": "integer"}), "12 balls", {"seen": 12}),
        (field({"type": "number"}), "-1.5", {"seen": -1.5}),
        (field({"type": ["null", "integer"]}), "4", {"seen": 4}),
        (field({"anyOf": [{"type": "null"}, COLORS]}), "blue", {"seen": "blue"}),
        (field({"$ref": "#/$defs/C"}, **{"$defs": {"C": COLORS}}), "blue", {"seen": "blue"}),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "string"}, "b": COLORS},
                "required": ["b"],
            },
            "blue",
            {"b": "blue"},
        ),
        ({"type": "object"}, "blue", {"answer": "blue"}),
    ],
)
def test_one_value_is_filled_in(schema: Any, answer: str, value: Any) -> None:
    assert dressed(schema, answer) == value


def test_text_needs_no_form_and_an_object_of_no_schema_gets_a_field() -> None:
    assert read_format(None, "f") is None
    assert read_format({"type": "text"}, "f") is None
    form = read_format({"type": "json_object"}, "f")
    assert form is not None and form.dress("ä").text == '{"answer": "ä"}'
    flat = read_format({"type": "json_schema", "name": "x", "schema": COLORS}, "f", nested=False)
    assert flat is not None and flat.dress("blue").notes == {
        "answer": "blue",
        "chosen_by": "equal",
    }


@pytest.mark.parametrize(
    ("schema", "answer"),
    [({"type": "boolean"}, "red"), ({"type": "integer"}, "1.5"), ({"type": "number"}, "nan")],
)
def test_an_answer_that_does_not_fit_is_said_to_be_so(schema: Any, answer: str) -> None:
    with pytest.raises(ApiError) as unfit:
        dressed(field(schema), answer)
    assert (unfit.value.status, unfit.value.code) == (422, "answer_does_not_fit")


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        {"type": "array"},
        field({"type": "object"}),
        field({"enum": []}),
        field({"enum": [[1]]}),
        field({"$ref": "#/$defs/none"}),
        field({"$ref": "#"}),
        {"type": "object", "properties": {"a": {}, "b": {}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
    ],
)
def test_a_schema_of_more_than_one_value_is_refused(schema: Any) -> None:
    with pytest.raises(ApiError) as refused:
        dressed(schema, "x")
    assert refused.value.status == 400


def test_a_refusal_of_several_fields_says_what_can_be_filled_in() -> None:
    with pytest.raises(ApiError, match=r"has 2 fields; only one value .* one field") as refused:
        dressed({"type": "object", "properties": {"a": {}, "b": {}}}, "x")
    assert refused.value.code == "unsupported_schema"


@given(answer=st.text(max_size=20), values=st.lists(st.text(max_size=5) | st.none(), min_size=1))
def test_the_choice_is_always_one_of_the_values(answer: str, values: list[Any]) -> None:
    assert choose(answer, values)[0] in values
