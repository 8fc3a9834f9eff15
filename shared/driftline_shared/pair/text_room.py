"""How many tokens of text a model of a pair has room for, told without torch.

    room = context - visual tokens - template - longest answer

Separators that a family writes between visual tokens are not counted: labelling, which has the
model, has the last word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import structlog

from driftline_shared.errors import DataError, PairError
from driftline_shared.pair.families import read_config
from driftline_shared.pair.pair import Checkpoint, Pair
from driftline_shared.pair.prompt_text import PromptText, read_by

_log = structlog.get_logger(__name__)

_CACHED_TEXTS = 4_096
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions")
_IMAGE_KEYS = ("image_token_id", "image_token_index")


@dataclass(frozen=True, kw_only=True, eq=False)
class TextRoom:
    """The text that one side's model reads. `most`: tokens of a question it has room for; None:
    its checkpoint names no bound.
    """

    side: str
    prompt: PromptText
    most: int | None

    def num_tokens(self, question: str) -> int:
        """Tokens of the question's own; DataError for one that this model cannot read as text."""
        _, after = self.prompt.around(question)
        return len(self.prompt.words.places(0, len(after)))

    def check(self, question: str, limit: int) -> None:
        """Raise DataError for a question that cannot be asked, or of more than `limit` tokens."""
        most = limit if self.most is None else min(limit, self.most)
        # No tokenizer writes more tokens than there are bytes, but for a mark or two.
        if len(question.encode()) + 2 <= most and "<" not in question and "[" not in question:
            return
        num_tokens = _counted(self, question)
        if num_tokens > most:
            raise DataError(
                f"has {num_tokens} tokens for the {self.side}, at most {max(most, 0)} are taken"
            )


@lru_cache(maxsize=_CACHED_TEXTS)
def _counted(room: TextRoom, question: str) -> int:
    return room.num_tokens(question)


def text_rooms(pair: Pair) -> tuple[TextRoom, ...]:
    """The room of student and teacher; a side without a tokenizer.json is left out, and said."""
    found = []
    for checkpoint in (pair.student, pair.teacher):
        try:
            found.append(_room(pair, checkpoint))
        except (PairError, OSError, ValueError) as error:
            _log.info("text.not_counted", side=checkpoint.side, pair=pair.name, cause=str(error))
    return tuple(found)


def _room(pair: Pair, checkpoint: Checkpoint) -> TextRoom:
    folder = checkpoint.dir
    config = read_config(folder)
    tokenizer = _tokenizer(folder)
    image_id = next((int(config[key]) for key in _IMAGE_KEYS if key in config), None)
    image_token = None if image_id is None else tokenizer.id_to_token(image_id)
    if image_id is None or image_token is None:
        raise PairError(f"{folder} names no image token")
    prompt = read_by(
        tokenizer,
        checkpoint.prompt,
        image_id=image_id,
        image_token=image_token,
        add_special_tokens=not _spells_start(tokenizer, checkpoint.prompt),
    )
    context = _context(config)
    before, after = prompt.around("?")
    own = len(prompt.words.places(0, len(after)))
    taken = pair.token_space.grid.num_tokens + len(before) + len(after) - own + pair.max_new_tokens
    return TextRoom(
        side=checkpoint.side, prompt=prompt, most=None if context is None else context - taken
    )


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise PairError(f"{folder} holds no tokenizer.json")
    try:
        tokenizer: Any = Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises bare exceptions
        raise PairError(f"{file} cannot be read: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _spells_start(tokenizer: Any, prompt: str) -> bool:
    """Whether the prompt begins with a special token: the tokenizer then adds none of its own."""
    special = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    return any(prompt.startswith(content) for content in special if content)


def _context(config: Mapping[str, Any]) -> int | None:
    """Positions of the language model, where its checkpoint names them."""
    for table in (config.get("text_config"), config):
        for key in _CONTEXT_KEYS:
            value = table.get(key) if isinstance(table, Mapping) else None
            if isinstance(value, int) and value > 0:
                return value
    return None
