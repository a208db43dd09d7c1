"""Where the tokens of an edit look: in the source, in the earlier scales, in the words.

The numbers are those of a real edit through the pipeline, of its branch with the instruction. Paper figure 3; spec
"What reviewers asked". Pictures of them are drawn in `attention_pictures`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from varedit.config import EditorConfig, Reference
from varedit.errors import UsageError
from varedit.evaluation.attention_calls import AttentionCall, watch_attention
from varedit.images import Picture
from varedit.pipeline import VAREditPipeline
from varedit.scales import Grid, ScaleSchedule
from varedit.transformer.reference import SequenceLayout

Floats = NDArray[np.float32]

TOKEN_MAP_SIDE = 512  # tokens of all scales together, beyond which a token map shows means of neighbours
PREVIEW_SIDE = 256  # pixels


@dataclass(frozen=True, kw_only=True)
class AttentionChoice:
    """What to look at; layers, heads and scales count from 0.

    Attributes:
        layers: of which maps are kept; None is the first, second, fourth, eighth, and so on, as the paper shows them,
            and the last.
        scales: of the target, which are drawn; None is all.
        head: None is the mean over all heads.
        mark: (x, y) in [0, 1] of the picture: the place whose own look is kept beside the mean of all places.
    """

    layers: tuple[int, ...] | None = None
    scales: tuple[int, ...] | None = None
    head: int | None = None
    mark: tuple[float, float] = (0.5, 0.5)

    def resolved(self, config: EditorConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Layers and scales for a model. Raises UsageError for a layer, scale, head or mark that there is none of."""
        depth, num_heads = config.transformer.depth, config.transformer.num_heads
        layers = usual_layers(depth) if self.layers is None else tuple(sorted(set(self.layers)))
        scales = tuple(range(config.num_scales)) if self.scales is None else tuple(sorted(set(self.scales)))
        heads = () if self.head is None else (self.head,)
        for what, chosen, count in (
            ("layer", layers, depth),
            ("scale", scales, config.num_scales),
            ("head", heads, num_heads),
        ):
            for number in chosen:
                if not 0 <= number < count:
                    raise UsageError(f"there is no {what} {number + 1}; {config.name} has {what}s 1 to {count}")
        if not all(0 <= share <= 1 for share in self.mark):
            raise UsageError("the mark is x,y as shares of the picture's width and height, from 0,0 to 1,1")
        return layers, scales


@dataclass(frozen=True)
class KeyGroup:
    """A run of keys that belong together: one scale of the source, or of the target.

    In the aligned layer of `sar`, a source group holds the source averaged down to that scale.
    """

    is_source: bool
    scale: int  # counted from 0
    grid: Grid


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """What the maps of one layer and target scale show.

    Attributes:
        mean: for each key group, (h, w): the attention to each token, mean over all queries.
        marked: likewise, of the query at the mark alone.
        tokens: for each key group, (rows, columns): queries by keys, means over runs of tokens where there are many.
        words: (T, h_k, w_k): the attention of each query to each word.
    """

    mean: list[Floats]
    marked: list[Floats]
    tokens: list[Floats]
    words: Floats


@dataclass(frozen=True, eq=False)
class ScaleAttention:
    """How the queries of one target scale attend in one layer; means over queries.

    Attributes:
        groups: what they attend to, in the order of the keys.
        shares: how much of the attention each group has; of sum 1.
        source_distance: how far, within the source, the attention lies from the query's own place, on average; the
            longer side of the picture is 1.
        even_distance: what that were if the attention were the same everywhere in the source.
        source_places: over how many of the source's tokens the attention of one query spreads, on average:
            the exponential of its entropy.
        words: how much of the attention to the words each has; of sum 1.
        maps: None for layers that were not chosen.
    """

    groups: tuple[KeyGroup, ...]
    shares: tuple[float, ...]
    source_distance: float
    even_distance: float
    source_places: float
    words: tuple[float, ...]
    maps: AttentionMaps | None

    @property
    def source_share(self) -> float:
        """How much of the attention the source has."""
        return sum(share for group, share in zip(self.groups, self.shares, strict=True) if group.is_source)

    @property
    def own_share(self) -> float:
        """How much of the attention goes to the tokens of the scale itself."""
        return self.shares[-1]

    @property
    def source_shares(self) -> dict[int, float]:
        """Of each source group, by its distance in scales: 0 is the query's own scale, positive ones are finer."""
        own = self.groups[-1].scale
        pairs = zip(self.groups, self.shares, strict=True)
        return {group.scale - own: share for group, share in pairs if group.is_source}


@dataclass(frozen=True, eq=False)
class EditAttention:
    """One edit, and where its tokens looked.

    Attributes:
        reference: of the model.
        schedule: the target's grids.
        words: of the instruction, as its tokens; the last one closes it.
        layers: for each layer, each target scale.
        chosen: the layers with maps.
        scales: those that are drawn.
        choice: as it was asked for.
        source, result: (H, W, 3), small.
        previews: the edit after each scale, likewise.
        settings: JSON values that repeat the edit.
    """

    reference: Reference
    schedule: ScaleSchedule
    words: tuple[str, ...]
    layers: list[list[ScaleAttention]]
    chosen: tuple[int, ...]
    scales: tuple[int, ...]
    choice: AttentionChoice
    source: NDArray[np.uint8]
    result: NDArray[np.uint8]
    previews: list[NDArray[np.uint8]]
    settings: dict[str, Any]


def usual_layers(depth: int) -> tuple[int, ...]:
    """The first, second, fourth, eighth layer and so on, and the last; counted from 0."""
    doubled = [2**power - 1 for power in range(depth.bit_length()) if 2**power <= depth]
    return tuple(dict.fromkeys([*doubled, depth - 1]))


def attention_of_edit(
    pipeline: VAREditPipeline,
    picture: Picture,
    instruction: str,
    choice: AttentionChoice,
    on_scale: Callable[[int, int], None] = lambda done, total: None,
    **settings: Any,
) -> EditAttention:
    """Edit a photograph and look on.

    Nothing else may edit with the pipeline meanwhile. All tokens are computed, also where the model's own settings
    would reuse the source.

    Args:
        on_scale: told (scales done, scales in all).
        settings: as for `VAREditPipeline.requests`.

    Raises: UsageError for a choice that the model does not have, and as the pipeline does.
    """
    config = pipeline.config
    chosen, scales = choice.resolved(config)
    (request,), options = pipeline.requests(picture, instruction, reuse=False, **settings)
    layout = pipeline.editor.layout(pipeline.template(request, options))
    recorder = _Recorder(layout, chosen, choice)
    events = pipeline.stream(picture, instruction, reuse=False, **settings)
    previews, output = [], None
    with watch_attention(pipeline.editor.transformer, recorder.see):
        for event in events:
            previews.append(_small(event.preview()))
            output = event.output
            on_scale(event.index + 1, event.total)
    assert output is not None, "the last event of a stream carries the output"
    encoder = pipeline.editor.text_encoder
    ids = encoder.tokenize([instruction]).ids[0].tolist()
    return EditAttention(
        reference=config.transformer.reference,
        schedule=layout.schedule,
        words=tuple(encoder.tokenizer.id_to_token(number) or "" for number in ids),
        layers=recorder.layers(config.transformer.depth),
        chosen=chosen,
        scales=scales,
        choice=choice,
        source=_small(picture.to_pil()),
        result=_small(output.images[0]),
        previews=previews,
        settings=output.settings[0],
    )


def key_groups(layout: SequenceLayout, scale: int, layer: int) -> tuple[KeyGroup, ...]:
    """What the keys of a target scale are, in their order."""
    grids, last = layout.schedule.grids, len(layout.schedule) - 1
    if layout.is_aligned(layer):
        sources = [scale]
    elif layout.has_pyramid:
        sources = list(range(scale, -1, -1))
    else:
        sources = [last]
    source = [KeyGroup(True, each, grids[each]) for each in sources]
    return (*source, *(KeyGroup(False, each, grids[each]) for each in range(scale + 1)))


@dataclass
class _Recorder:
    """Turns attention into means as it comes, so that no more than one layer's is held."""

    layout: SequenceLayout
    chosen: tuple[int, ...]
    choice: AttentionChoice
    pictures: dict[tuple[int, int], Tensor] = field(default_factory=dict)  # until the words of the layer come
    done: dict[tuple[int, int], ScaleAttention] = field(default_factory=dict)

    def see(self, call: AttentionCall) -> None:
        if call.scale is None:
            return
        place, weights = (call.layer, call.scale), call.weights(0, self.choice.head)
        if call.is_text:
            self.done[place] = self._summary(*place, self.pictures.pop(place), weights)
        else:
            self.pictures[place] = weights

    def layers(self, depth: int) -> list[list[ScaleAttention]]:
        scales = range(len(self.layout.schedule))
        return [[self.done[layer, scale] for scale in scales] for layer in range(depth)]

    def _summary(self, layer: int, scale: int, weights: Tensor, words: Tensor) -> ScaleAttention:
        groups = key_groups(self.layout, scale, layer)
        parts = weights.split([group.grid[0] * group.grid[1] for group in groups], dim=1)
        source = torch.cat([part for group, part in zip(groups, parts, strict=True) if group.is_source], dim=1)
        source = source / source.sum(1, keepdim=True)  # of the attention that stays in the source
        distances = token_distances(self.layout.schedule, groups)
        return ScaleAttention(
            groups=groups,
            shares=tuple(part.sum(1).mean().item() for part in parts),
            source_distance=(source * distances.to(source.device)).sum(1).mean().item(),
            even_distance=distances.mean().item(),
            source_places=torch.special.entr(source).sum(1).exp().mean().item(),
            words=tuple(words.mean(0).tolist()),
            maps=self._maps(groups, parts, words) if layer in self.chosen else None,
        )

    def _maps(self, groups: tuple[KeyGroup, ...], parts: tuple[Tensor, ...], words: Tensor) -> AttentionMaps:
        (height, width), grids = groups[-1].grid, [group.grid for group in groups]
        x, y = self.choice.mark
        marked = min(int(y * height), height - 1) * width + min(int(x * width), width - 1)
        run = -(-self.layout.schedule.num_tokens // TOKEN_MAP_SIDE)
        pairs = list(zip(grids, parts, strict=True))
        return AttentionMaps(
            mean=[_array(part.mean(0).view(grid)) for grid, part in pairs],
            marked=[_array(part[marked].view(grid)) for grid, part in pairs],
            tokens=[_array(_means_of_runs(part, run)) for part in parts],
            words=_array(words.T.unflatten(1, (height, width))),
        )


def token_distances(schedule: ScaleSchedule, groups: tuple[KeyGroup, ...]) -> Tensor:
    """(L_k, source keys) from the middle of each query to that of each source key; the picture's longer side is 1."""
    height, width = schedule.final
    sides = torch.tensor([height, width]) / max(height, width)

    def middles(grid: Grid) -> Tensor:
        return torch.cartesian_prod(*((torch.arange(count) + 0.5) / count for count in grid)).view(-1, 2) * sides

    keys = torch.cat([middles(group.grid) for group in groups if group.is_source])
    return torch.cdist(middles(groups[-1].grid), keys, compute_mode="donot_use_mm_for_euclid_dist")


def _means_of_runs(part: Tensor, run: int) -> Tensor:
    rows, columns = (-(-side // run) for side in part.shape)
    return F.adaptive_avg_pool2d(part[None], (rows, columns))[0]


def _array(tensor: Tensor) -> Floats:
    return tensor.float().cpu().numpy()


def _small(image: Image.Image) -> NDArray[np.uint8]:
    copy = image.convert("RGB")
    copy.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(copy)
