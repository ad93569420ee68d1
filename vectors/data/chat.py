"""Conversations: rows of messages, turned into texts by the chat template of a model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vectors.common.errors import InputError
from vectors.common.validation import quote
from vectors.data.reading import Message

_ROLES = {  # of ShareGPT and its relatives
    "human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
    "function": "tool", "observation": "tool",
}  # fmt: skip


def chat_template(tokenizer: Any, model_name: str) -> Callable[[Sequence[Message]], str]:
    """Return a function that puts the messages of a conversation into the chat template of a model's tokenizer.

    A conversation that ends with the user's turn gets the beginning of the assistant's. A start token that the template
    writes is not doubled when the text is encoded (see `ResidualModel.encode`).

    Args:
        tokenizer: A tokenizer of transformers: `model.tokenizer`.
        model_name: The name of the model, for messages.

    Raises:
        InputError: The tokenizer has no chat template. The function raises it for messages that the template refuses.

    >>> from types import SimpleNamespace
    >>> def apply_chat_template(messages, tokenize, add_generation_prompt):
    ...     return "".join(f"<{turn['role']}>{turn['content']}" for turn in messages)
    >>> tokenizer = SimpleNamespace(chat_template="...", apply_chat_template=apply_chat_template)
    >>> chat_template(tokenizer, "tiny")([{"role": "user", "content": "Hello"}])
    '<user>Hello'
    """
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            f"model {quote(model_name)} has no chat template: give the instruction-tuned model of that family, or "
            "leave --chat (chat=) out and give texts"
        )

    def render(messages: Sequence[Message]) -> str:
        try:
            return str(
                tokenizer.apply_chat_template(
                    list(messages), tokenize=False, add_generation_prompt=messages[-1]["role"] != "assistant"
                )
            )
        except Exception as error:  # templates are programs, and raise what they like
            raise InputError(
                f"the chat template of {quote(model_name)} refuses the conversation "
                f"({quote(' '.join(str(error).split()))}): change or drop it"
            ) from error

    return render


def is_conversation(cell: object) -> bool:
    """Return whether a cell is a list of messages, with `role` and `content`, or `from` and `value`."""
    return (
        isinstance(cell, list)
        and bool(cell)
        and all(isinstance(turn, Mapping) and ("role" in turn or "from" in turn) for turn in cell)
    )


def messages_of(cell: Sequence[Mapping[str, Any]], where: str) -> list[Message]:
    """Return the messages of a conversation with `role` and `content`, whichever names the file has.

    Raises:
        InputError: A message has no text, or no role.

    >>> messages_of([{"from": "human", "value": "Hello"}], "line 1")
    [{'role': 'user', 'content': 'Hello'}]
    """
    messages: list[Message] = []
    for number, turn in enumerate(cell, 1):
        role = turn.get("role", turn.get("from"))
        content = turn.get("content", turn.get("value"))
        if isinstance(content, list):  # of a model that sees: parts, of which some are text
            texts = [part.get("text") for part in content if isinstance(part, Mapping)]
            content = "\n".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else None
        if not isinstance(role, str) or not isinstance(content, str):
            raise InputError(
                f"{where} has {quote(turn)} as message {number}: "
                'expected {"role": "user", "content": "..."} or {"from": "human", "value": "..."}'
            )
        messages.append({"role": _ROLES.get(role, role), "content": content})
    return messages
