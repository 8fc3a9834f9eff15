"""From a question to the token ids of a prompt in which it is text, whatever it spells.

A template is tokenized with the question in it, so that words merge at its borders as the model has
learned them. What a question must not do is spell a control token: one that opens an image, ends a
turn or begins one. Where the ids show that it did, the prompt is tokenized once more by a copy of
the tokenizer that knows its control tokens by names made up here: the template is written with
those names, and nobody who asks can know them.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from driftline_shared.errors import DataError, PairError
from driftline_shared.pair.question_words import QuestionWords

IMAGE = "<image>"
"""Where the image goes in a pair's prompt, whatever the family's own placeholder is called."""

QUESTION = "{question}"
"""Where the question goes, behind the image."""

_BRACKETED = re.compile(r"<.*>|\[.*\]", re.DOTALL)


def control_tokens(added: Mapping[int, Any], image_id: int, image_token: str) -> dict[int, str]:
    """Id -> spelling of the tokens that no question may spell, of those `added` to a vocabulary
    (each with `content` and `special`): the special ones, those that look like a mark, the image's.

    Others are words or runs of spaces, which belong to any text.
    """
    found = {
        number: str(token.content)
        for number, token in added.items()
        if token.special or _BRACKETED.fullmatch(token.content)
    }
    return {**found, image_id: image_token}


def check_length(num_places: int, *, num_own: int, longest: int) -> None:
    """Raise DataError for a prompt of `num_places` positions, image and template included, where a
    model has `longest` before its answer. `num_own`: tokens of the question itself.
    """
    if num_places > longest:
        room = max(0, longest - (num_places - num_own))
        raise DataError(
            f"the question is {num_own} tokens long, and this model has room for {room} beside the "
            "image; ask a shorter one"
        )


class PromptText:
    """One template under one tokenizer; safe from any thread."""

    def __init__(
        self,
        template: str,
        *,
        encode: Callable[[str], Sequence[int]],
        spec: Callable[[], str],
        control: Mapping[int, str],
        image_id: int,
        add_special_tokens: bool,
    ) -> None:
        """`encode`: ids of a text, beginning and end tokens included as `add_special_tokens` says.
        `spec`: the tokenizer as tokenizer.json holds it. `control`: see `control_tokens`.

        Raises PairError where the image's token is not read as one.
        """
        before, _, self._after = template.partition(IMAGE)
        self._before = before + control[image_id]
        self._encode, self._spec = encode, spec
        self._control, self._image_id = control, image_id
        self._add_special_tokens = add_special_tokens
        self._private: _PrivatePrompt | None = None
        self._lock = threading.Lock()
        self._plain = self._whole("?")
        self._marks = self._marks_of(self._plain)
        if self._marks.count(image_id) != 1:
            raise PairError(
                f"the tokenizer does not know its image token {control[image_id]!r} as one token"
            )
        self.words = QuestionWords.of_template(lambda question: self.around(question)[1])
        """Where the question's own words lie behind the image."""

    def around(self, question: str) -> tuple[list[int], list[int]]:
        """Token ids before and after the image; DataError for what cannot be read as text."""
        ids = self._whole(question)
        if self._marks_of(ids) != self._marks:
            ids = self._as_text(ids, question)
        at = ids.index(self._image_id)
        return ids[:at], ids[at + 1 :]

    def _whole(self, question: str) -> list[int]:
        try:
            return list(self._encode(self._before + self._after.replace(QUESTION, question)))
        except (TypeError, UnicodeError) as error:
            raise DataError("the question holds characters that are no text") from error

    def _marks_of(self, ids: Sequence[int]) -> list[int]:
        return [each for each in ids if each in self._control]

    def _as_text(self, ids: list[int], question: str) -> list[int]:
        """Ids of a question that seems to spell something; `ids`: as it was read first."""
        with self._lock:
            # Made for the first question that needs it: it is a second vocabulary in memory.
            if self._private is None:
                self._private = _PrivatePrompt(
                    self._spec(),
                    self._before,
                    self._after,
                    control=self._control,
                    add_special_tokens=self._add_special_tokens,
                )
        private = self._private

        def marks(found: Sequence[int]) -> list[int]:
            # What stands for words that a vocabulary lacks is no control token.
            return [each for each in self._marks_of(found) if each != private.unknown]

        for found in (ids, private.ids(question)):
            if marks(found) == marks(self._plain):
                return found
        raise DataError(
            "the question spells a control token of this model; leave out what stands in brackets"
        )


def read_by(
    tokenizer: Any, template: str, *, image_id: int, image_token: str, add_special_tokens: bool
) -> PromptText:
    """`template` as a `tokenizer` of the package `tokenizers` reads it."""
    return PromptText(
        template,
        encode=lambda text: tokenizer.encode(text, add_special_tokens=add_special_tokens).ids,
        spec=tokenizer.to_str,
        control=control_tokens(tokenizer.get_added_tokens_decoder(), image_id, image_token),
        image_id=image_id,
        add_special_tokens=add_special_tokens,
    )


class _PrivatePrompt:
    """A template written with names of control tokens that only this object knows."""

    def __init__(
        self,
        spec: str,
        before: str,
        after: str,
        *,
        control: Mapping[int, str],
        add_special_tokens: bool,
    ) -> None:
        from tokenizers import Tokenizer

        nonce = secrets.token_hex(8)
        names = {text: f"<{nonce}{number:08d}>" for number, text in control.items()}
        by_length = sorted(names, key=len, reverse=True)  # the longest match is the tokenizer's
        public = re.compile("|".join(re.escape(text) for text in by_length))
        self._before, self._after = (
            public.sub(lambda found: names[found.group()], text) for text in (before, after)
        )
        self._add_special_tokens = add_special_tokens
        whole = json.loads(spec)
        self.unknown = _unknown(whole)
        """Id of what stands for a word that the vocabulary lacks; None where there is no such."""
        self._tokenizer = Tokenizer.from_str(json.dumps(_renamed(whole, names)))

    def ids(self, question: str) -> list[int]:
        text = self._before + self._after.replace(QUESTION, question)
        encoded = self._tokenizer.encode(text, add_special_tokens=self._add_special_tokens)
        return list(encoded.ids)


def _renamed(spec: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """`spec` of a tokenizer with its tokens renamed wherever they stand; ids stay."""
    model = spec["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        vocabulary = {names.get(text, text): number for text, number in vocabulary.items()}
    else:  # of a unigram model: pairs of piece and score, in the order of ids
        vocabulary = [[names.get(text, text), score] for text, score in vocabulary]
    model = {**model, "vocab": vocabulary}
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    added = [
        {**token, "content": names.get(token["content"], token["content"])}
        for token in spec.get("added_tokens", [])
    ]
    return {**spec, "model": model, "added_tokens": added, "truncation": None, "padding": None}


def _unknown(spec: dict[str, Any]) -> int | None:
    model = spec["model"]
    if isinstance(model["vocab"], dict):
        found = model["vocab"].get(model.get("unk_token"))
    else:
        found = model.get("unk_id")
    return None if found is None else int(found)
