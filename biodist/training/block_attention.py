"""Attention inside each sequence of an unpadded row, on a CPU: in a few padded blocks, with its own gradient.

One gather brings queries, keys and values into blocks with the heads in front, one brings the result back. torch's
own function would fall to its slowest path as soon as there is dropout or a mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from biodist.training.dropout import keep_mask
from biodist.training.layout import RowLayout


def block_attention(
    query: Tensor, key: Tensor, value: Tensor, layout: RowLayout, scaling: float, dropout: float
) -> Tensor:
    """Attention of (tokens, heads, width) tensors; each token sees the tokens of its own sequence. Same shape out."""
    result: Tensor = _BlockAttention.apply(  # type: ignore[no-untyped-call]
        query, key, value, layout, scaling, dropout
    )
    return result


class _BlockAttention(Function):
    """Computed in fp32 whatever comes in: at these sizes the casts of low precision cost more than they save."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: RowLayout, scaling: float, dropout: float
    ) -> Tensor:
        tokens, heads, width = query.shape
        gather, scatter = layout.by_heads(heads)
        saved, outputs = [], []
        with torch.autocast("cpu", enabled=False):
            q_rows, k_rows, v_rows = (_rows(tensor, gather) for tensor in (query, key, value))
            q_rows.mul_(scaling)
            for (q, k, v), bias in zip(_views(layout, heads, [q_rows, k_rows, v_rows]), layout.bias, strict=True):
                weights = _scores(q, k, bias).softmax(-1)
                saved.append(weights)
                if dropout:
                    saved.append(keep_mask(weights.shape, dropout, weights.dtype))
                    weights = weights * saved[-1]
                outputs.append(torch.bmm(weights, v).view(-1, width))
            result = torch.cat(outputs).index_select(0, scatter).view(tokens, heads, width).to(query.dtype)
        ctx.save_for_backward(q_rows, k_rows, v_rows, *saved)
        ctx.layout, ctx.scaling, ctx.masked, ctx.heads = layout, scaling, bool(dropout), heads
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q_rows, k_rows, v_rows, *saved = ctx.saved_tensors
        layout, heads, width = ctx.layout, ctx.heads, q_rows.shape[-1]
        gather, scatter = layout.by_heads(heads)
        g_rows = _rows(gradients[0], gather)
        dq_rows, dk_rows, dv_rows = (torch.empty_like(rows) for rows in (q_rows, k_rows, v_rows))
        views = _views(layout, heads, [q_rows, k_rows, v_rows, g_rows, dq_rows, dk_rows, dv_rows])
        parts = iter(saved)
        with torch.autocast("cpu", enabled=False):
            for (q, k, v, g, dq, dk, dv), bias in zip(views, layout.bias, strict=True):
                weights = next(parts)
                mask = next(parts) if ctx.masked else None
                if bias is not None:  # padding stands in as a real token: it must pass no gradient on
                    g = g * (bias == 0).to(g.dtype).expand(-1, heads, 1, -1).reshape(len(g), -1, 1)
                torch.bmm((weights if mask is None else weights * mask).transpose(1, 2), g, out=dv)
                dweights = torch.bmm(g, v.transpose(1, 2))
                if mask is not None:
                    dweights.mul_(mask)
                dscores = torch._softmax_backward_data(dweights, weights, -1, weights.dtype)
                torch.bmm(dscores, k, out=dq)
                torch.bmm(dscores.transpose(1, 2), q, out=dk)
            dq_rows.mul_(ctx.scaling)
            shape, dtype = (len(scatter) // heads, heads, width), gradients[0].dtype
            back = [rows.index_select(0, scatter).view(shape).to(dtype) for rows in (dq_rows, dk_rows, dv_rows)]
        return *back, None, None, None


def _rows(tensor: Tensor, gather: Tensor) -> Tensor:
    """(tokens, heads, width) to single heads in the order of the blocks, fp32 (places, width)."""
    return tensor.reshape(-1, tensor.shape[-1]).float().index_select(0, gather)


def _views(layout: RowLayout, heads: int, tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Each block of each tensor as (sequences * heads, longest, width)."""
    begin = 0
    for block in layout.blocks:
        batch = block.sequences * heads
        end = begin + batch * block.longest
        yield [tensor[begin:end].view(batch, block.longest, -1) for tensor in tensors]
        begin = end


def _scores(query: Tensor, key: Tensor, bias: Tensor | None) -> Tensor:
    """Scores, with minus infinity where a key is padding."""
    scores = torch.bmm(query, key.transpose(1, 2))
    if bias is not None:
        sequences, _, _, longest = bias.shape
        scores.view(sequences, -1, longest, longest).add_(bias)
    return scores
