"""Everything that an edit keeps between scales: keys and values of all layers, the text's, the modulations.

Buffers are made once and written in place. Rows [0, S) of a layer belong to the source, those after them to the target
scales, as many tokens as were computed; see `reference` for why a scale's keys are one contiguous run. Rows of the last
scale are not kept, as nothing comes after it. In the aligned layer of SAR the source's own keys and values are kept
apart, and rows [0, S) hold their average at the scale in hand.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from torch import Tensor

from varedit.transformer.attention import Items, attend_all
from varedit.transformer.block import BlockContext
from varedit.transformer.copy_path import Proposed
from varedit.transformer.reference import SequenceLayout


@dataclass(slots=True)
class LayerCache:
    """One layer's part of an `EditCache`."""

    keys: Tensor  # (B, N, layout.kept_rows, E)
    values: Tensor  # (B, N, layout.kept_rows, E)
    context: BlockContext
    source_keys: Tensor | None = None  # (B, N, S, E), kept apart only in an aligned layer
    source_values: Tensor | None = None

    def attend_source(self, q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout, items: Items) -> Tensor:
        """Keep the source's keys and values; each source group attends to itself and to the coarser ones."""
        self.keep_source(k, v, items)
        return attend_source_groups(q, k, v, layout)

    def keep_source(self, k: Tensor, v: Tensor, items: Items) -> None:
        """Store those of sources' keys and values (U, N, S, E) that the items of the batch have."""
        k, v = k[items], v[items]
        if self.source_keys is not None and self.source_values is not None:
            self.source_keys.copy_(k)
            self.source_values.copy_(v)
        else:
            self.keys[:, :, : k.shape[2]] = k
            self.values[:, :, : v.shape[2]] = v

    def attend_scale(self, q: Tensor, k: Tensor, v: Tensor, cache: EditCache, layer: int) -> Tensor:
        """Store a target scale's keys and values; it attends to the source rows it may see and to all scales so far."""
        layout, scale = cache.layout, cache.next_scale
        size, visible = layout.num_source, layout.visible(scale, layer)
        first, start, end = size - visible, size + cache.filled, size + cache.filled + k.shape[2]
        if self.source_keys is not None and self.source_values is not None:
            self.keys[:, :, first:size] = layout.aligned(self.source_keys, scale)
            self.values[:, :, first:size] = layout.aligned(self.source_values, scale)
        if scale + 1 == len(layout.schedule):
            keys = torch.cat((self.keys[:, :, first:start], k), dim=2)
            values = torch.cat((self.values[:, :, first:start], v), dim=2)
        else:
            self.keys[:, :, start:end] = k
            self.values[:, :, start:end] = v
            keys, values = self.keys[:, :, first:end], self.values[:, :, first:end]
        mask = None if cache.seen is None else cache.seen[..., first:end]
        return attend_all(q, keys, values, mask)

    def taken(self, items: Items, used: int, capacity: int) -> LayerCache:
        """Some items of the batch: by index with the rows in use, in a cache of its own of ``capacity`` rows."""
        return LayerCache(
            keys=_rows_taken(self.keys, items, used, capacity),
            values=_rows_taken(self.values, items, used, capacity),
            context=self.context.taken(items),
            source_keys=_taken(self.source_keys, items),
            source_values=_taken(self.source_values, items),
        )


@dataclass(slots=True, weakref_slot=True)
class EditCache:
    """The state of one batch of edits between two steps; a model may serve many of them at once.

    Attributes:
        layout: where the tokens stand.
        layers: one entry per block.
        pooled: (B, D) the instruction as one vector, which also is the start token.
        head_modulation: (B, 2, D) scale and shift before the head.
        proposal: what the source proposes of the target, for models with `source_proposal`.
        next_scale: the scale that the next step computes, counted from 0.
        filled: target rows in use.
        seen: (B, 1, 1, S + L) false at rows that belong to no token of an item; None while there are none such.
    """

    layout: SequenceLayout
    layers: list[LayerCache]
    pooled: Tensor
    head_modulation: Tensor
    proposal: Proposed | None = None
    next_scale: int = 0
    filled: int = 0
    seen: Tensor | None = None

    def taken(self, items: Items, scales: int | None = None) -> EditCache:
        """A cache of some items of the batch; by index (N,) one may be taken more than once.

        Args:
            scales: how many scales, counted from the first, copies must have room for; None is all.
        """
        size, schedule = self.layout.num_source, self.layout.schedule
        capacity = (
            self.layout.kept_rows
            if scales is None
            else min(self.layout.kept_rows, size + schedule.first(scales).num_tokens)
        )
        return EditCache(
            layout=self.layout,
            layers=[layer.taken(items, size + self.filled, capacity) for layer in self.layers],
            pooled=self.pooled[items],
            head_modulation=self.head_modulation[items],
            proposal=None if self.proposal is None else self.proposal.taken(items),
            next_scale=self.next_scale,
            filled=self.filled,
            seen=_taken(self.seen, items),
        )

    def keep(self, count: int) -> None:
        """Go on with the first items of the batch alone: nothing is copied."""
        kept = self.taken(slice(count))
        for field in fields(self):
            setattr(self, field.name, getattr(kept, field.name))

    def advance(self, count: int) -> None:
        """Note that the scale in hand has filled ``count`` rows."""
        self.next_scale += 1
        self.filled += count

    def hide(self, is_padding: Tensor) -> None:
        """Keep every query from the next rows where is_padding (B, A) is true."""
        start = self.layout.num_source + self.filled
        if self.seen is None:
            rows = self.layout.num_source + self.layout.schedule.num_tokens
            self.seen = is_padding.new_ones(len(is_padding), 1, 1, rows)
        self.seen[:, 0, 0, start : start + is_padding.shape[1]] = ~is_padding


def _rows_taken(buffer: Tensor, items: Items, used: int, capacity: int) -> Tensor:
    if isinstance(items, slice):
        return buffer[items]
    rows = buffer.new_empty(len(items), buffer.shape[1], capacity, buffer.shape[3])
    rows[:, :, :used] = buffer[items, :, :used]
    return rows


def _taken(tensor: Tensor | None, items: Items) -> Tensor | None:
    return None if tensor is None else tensor[items]


def attend_source_groups(q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout) -> Tensor:
    """Source tokens (B, N, S, E) among themselves: each group sees itself and the coarser ones after it."""
    if len(layout.source_grids) == 1:
        return attend_all(q, k, v)
    starts = (*layout.source_starts, layout.num_source)
    parts = [attend_all(q[:, :, start:end], k[:, :, start:], v[:, :, start:]) for start, end in pairwise(starts)]
    return torch.cat(parts, dim=2)


def attend_teacher_forced(q: Tensor, k: Tensor, v: Tensor, layout: SequenceLayout, layer: int) -> Tensor:
    """All source and target tokens in one pass, (B, N, S + L, E), with exactly the keys that generation sees."""
    size = layout.num_source
    parts = [attend_source_groups(q[:, :, :size], k[:, :, :size], v[:, :, :size], layout)]
    starts = [size + row for row in layout.target_starts]
    for scale, (start, end) in enumerate(pairwise(starts)):
        seen = size - layout.visible(scale, layer)
        keys, values = k[:, :, seen:end], v[:, :, seen:end]
        if layout.is_aligned(layer):
            keys = torch.cat((layout.aligned(k[:, :, :size], scale), k[:, :, size:end]), dim=2)
            values = torch.cat((layout.aligned(v[:, :, :size], scale), v[:, :, size:end]), dim=2)
        parts.append(attend_all(q[:, :, start:end], keys, values))
    return torch.cat(parts, dim=2)
