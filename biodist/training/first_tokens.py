"""Heads of whole sequences read each one's first token, so no other token of a row need leave the last layer.

Queries, keys and values are computed of every token; what comes behind the last layer's attention, of the first ones
alone: nine twelfths of that layer's products are spared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from biodist.training.layout import RowLayout


@dataclass
class FirstTokens:
    """The hooks of one model. Padded batches pass all of them as they are."""

    layout: RowLayout | None = None  # of the row in the last layer; set anew where activations are computed again

    def enter(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Before the last layer's attention."""
        self.layout = kwargs.get("row_layout")

    def narrow(self, module: nn.Module, args: tuple[Tensor, Tensor]) -> tuple[Tensor, ...] | None:
        """Behind it: of its result and of the layer's input (1, tokens, hidden), (1, sequences, hidden)."""
        layout = self.layout
        return None if layout is None else tuple(_first(tensor, layout)[None] for tensor in args)

    def leave(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        """Of a row's hidden states each sequence's first, (sequences, 1, hidden): the family's own pooler and head,
        which read ``[:, 0]``, then work as on a padded batch."""
        layout: RowLayout | None = kwargs.get("row_layout")
        if layout is None:
            return output
        hidden = output.last_hidden_state
        is_narrow = hidden.shape[1] == len(layout.boundaries) - 1
        output.last_hidden_state = (hidden[0] if is_narrow else _first(hidden, layout))[:, None]
        return output


def keep_first_tokens(stack: nn.Module) -> None:
    """Lets a stack of layers give each sequence's first token, once; from its last attention on where it is of BERT's
    kind, else behind the last layer."""
    if any(isinstance(getattr(hook, "__self__", None), FirstTokens) for hook in stack._forward_hooks.values()):
        return
    hooks = FirstTokens()
    stack.register_forward_hook(hooks.leave, with_kwargs=True)
    attention = last_attention(stack)
    if attention is not None:
        attention.register_forward_pre_hook(hooks.enter, with_kwargs=True)
        attention.output.register_forward_pre_hook(hooks.narrow)  # type: ignore[union-attr]


def last_attention(stack: nn.Module) -> nn.Module | None:
    """The last layer's attention where a module of its own, ``output``, adds its result to the layer's input."""
    layers = getattr(stack, "layer", None)
    attention = getattr(layers[-1], "attention", None) if isinstance(layers, nn.ModuleList) and layers else None
    has_output = isinstance(getattr(attention, "output", None), nn.Module)
    return attention if isinstance(attention, nn.Module) and has_output else None


def _first(hidden: Tensor, layout: RowLayout) -> Tensor:
    return hidden[0].index_select(0, layout.boundaries[:-1])
