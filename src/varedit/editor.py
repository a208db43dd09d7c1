"""The parts of one editor put together: the single place that knows how they fit.

`Editor` holds weights and schedules and turns pixels and instructions into features; what users hold is
`varedit.pipeline.VAREditPipeline`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from varedit.autoencoder import Autoencoder, one_by_one
from varedit.change_detector import ChangeDetector
from varedit.checkpoints import load_config, load_weights, replaced_folder, save_weights
from varedit.config import EditorConfig
from varedit.cuda_graphs import ModuleGraphs, TextGraphs, TransformerGraphs
from varedit.errors import ModelError, UsageError
from varedit.low_bit import StoredWeights, quantiser
from varedit.meta import module_without_weights
from varedit.precision import set_compute_dtype
from varedit.quantizer import MultiScaleQuantizer
from varedit.scales import Template
from varedit.strips import decode
from varedit.text import OffloadedTextEncoder, TextEncoder
from varedit.text_features import TextFeatures
from varedit.transformer.model import VAREditTransformer
from varedit.transformer.reference import SequenceLayout, sequence_layout

RECORDED_PIXELS = 2**19  # of the largest picture whose encoding and decoding become CUDA graphs
KEPT_LAYOUTS = 8  # of a model's aspect ratios; for a released one at 1024 pixels each is 22 MB


@dataclass
class Editor:
    """An autoencoder, a transformer and a text encoder of one configuration, on one device; perhaps a detector."""

    config: EditorConfig
    autoencoder: Autoencoder
    transformer: VAREditTransformer
    text_encoder: TextEncoder
    weights: StoredWeights = "full"
    change_detector: ChangeDetector | None = None
    _layouts: dict[Template, SequenceLayout] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def load(
        cls,
        folder: Path,
        device: torch.device,
        dtype: torch.dtype,
        *,
        weights: StoredWeights = "full",
        offload_text: bool = False,
    ) -> Editor:
        """Read a model folder; weights are memory-mapped and nothing is initialised first.

        Args:
            weights: how the matrices of the blocks are held, see `varedit.low_bit`.
            offload_text: read the text encoder for each call, and drop it afterwards.

        Raises: ModelError, ConfigError, UsageError.
        """
        config = load_config(folder)
        autoencoder = module_without_weights(lambda: Autoencoder(config.autoencoder))
        transformer = module_without_weights(lambda: VAREditTransformer(config.transformer))
        set_compute_dtype(transformer, autoencoder, dtype)  # before loading: nothing is ever held in a wider type
        load_weights(autoencoder, folder / "autoencoder", device)
        lay_out(autoencoder)
        load_weights(transformer, folder / "transformer", device, quantiser(weights, "transformer"))
        length = config.transformer.max_text_length
        text_encoder = (
            OffloadedTextEncoder(folder, length, dtype, device)
            if offload_text
            else TextEncoder.from_folder(folder, length, dtype, device, quantiser(weights, "text_encoder"))
        )
        if (channels := text_encoder.channels) != config.transformer.text_channels:
            raise ModelError(
                f"the text encoder in {folder} gives {channels} channels, but config.json says "
                f"text_channels = {config.transformer.text_channels}"
            )
        detector = None
        if (of_detector := config.change_detector) is not None:
            detector = module_without_weights(lambda: ChangeDetector(of_detector, config.transformer.text_channels))
            load_weights(detector, folder / "change_detector", device)
        return cls(config, autoencoder.eval(), transformer.eval(), text_encoder.eval(), weights, detector)

    def save(self, folder: Path, max_shard_size: str = "5GB") -> None:
        """Write a model folder; it appears whole or not at all. Raises OutputError; UsageError for 8-bit weights."""
        self.check_full_weights("written")
        with replaced_folder(folder) as temporary:
            (temporary / "config.json").write_text(self.config.to_json(), encoding="utf-8")
            save_weights(self.autoencoder.state_dict(), temporary / "autoencoder", max_shard_size)
            save_weights(self.transformer.state_dict(), temporary / "transformer", max_shard_size)
            self.text_encoder.save(temporary, max_shard_size)
            if self.change_detector is not None:
                save_weights(self.change_detector.state_dict(), temporary / "change_detector", max_shard_size)

    def to(self, device: torch.device) -> None:
        """Move all parts to a device."""
        for part in (self.autoencoder, self.transformer, self.text_encoder, self.change_detector):
            if part is not None:
                part.to(device)
        lay_out(self.autoencoder)
        self._layouts.clear()

    def compile(self) -> None:
        """Run the transformer's blocks through torch.compile and, on CUDA, the passes of the model as CUDA graphs.

        Nothing happens yet: kernels are made with the first edit, graphs with the second and third of its kind.
        """
        from varedit.compiled import compile_blocks  # it imports torch's compiler, which takes seconds

        compile_blocks(self.transformer)
        if self.device.type == "cuda":
            TransformerGraphs(self.transformer)
            ModuleGraphs(self.autoencoder.encoder, RECORDED_PIXELS)
            ModuleGraphs(self.autoencoder.decoder, RECORDED_PIXELS / self.autoencoder.config.downscale**2)
            if not isinstance(self.text_encoder, OffloadedTextEncoder):
                TextGraphs(self.text_encoder.encoder)

    def check_full_weights(self, act: str) -> None:
        """Raise UsageError where weights are in 8 bits, for an act that needs all of their digits."""
        if self.weights != "full":
            raise UsageError(f'a model with {self.weights} weights cannot be {act}; load it with weights="full"')

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.transformer.head.weight.device

    def placed(self, tensor: Tensor) -> Tensor:
        """A tensor of the CPU on the model's device; on CUDA without waiting until it is there."""
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def fetched(self, tensor: Tensor) -> Tensor:
        """A tensor of the model's device on the CPU; from CUDA into pinned memory, which is the faster way."""
        if self.device.type != "cuda":
            return tensor.cpu()
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor)

    def quantizer(self, template: Template) -> MultiScaleQuantizer:
        """The quantiser on a template's latent grids."""
        return latent_quantizer(self.config, template)

    def layout(self, template: Template) -> SequenceLayout:
        """The token layout of a template, on the model's device; kept, as its tables are large."""
        layout = self._layouts.get(template)
        if layout is None:
            with torch.inference_mode(False):
                layout = sequence_layout(self.config.transformer, template, self.device)
            while len(self._layouts) >= KEPT_LAYOUTS:
                self._layouts.pop(next(iter(self._layouts)), None)
            self._layouts[template] = layout
        return layout

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, h, w) float32 in [-1, 1], on the model's device -> features (B, d, H, W)."""
        return one_by_one(self.autoencoder.encode, pixels)

    def decode(self, features: Tensor) -> Tensor:
        """Features (B, d, H, W) -> pixels (B, 3, h, w) float32 in [-1, 1], on the CPU."""
        return self.fetched(decode(self.autoencoder, features))

    @torch.inference_mode()
    def read(self, instructions: list[str]) -> TextFeatures:
        """Instructions as the model reads them, padded to the longest."""
        text: TextFeatures = self.text_encoder(self.text_encoder.tokenize(instructions))
        return text

    def likely_change(
        self,
        photograph: NDArray[np.float32],
        source: NDArray[np.float32],
        result: NDArray[np.float32],
        text: TextFeatures | None,
    ) -> NDArray[np.float32] | None:
        """How far a decoded result is the edit that was asked for, (1, h, w) in [0, 1]; None without a detector.

        One edit at a time, so that none depends on those beside it.

        Args:
            photograph: (3, h, w) in [-1, 1], what was edited; ``source`` again where that is known decoded alone.
            source, result: (3, h, w) in [-1, 1], decoded.
            text: the instruction, read by itself; None where any edit will do.
        """
        if self.change_detector is None:
            return None
        own, before, after = (
            self.placed(torch.from_numpy(np.ascontiguousarray(each)))[None] for each in (photograph, source, result)
        )
        found: NDArray[np.float32] = self.fetched(self.change_detector.change(own, before, after, text)[0]).numpy()
        return found


def lay_out(autoencoder: Autoencoder) -> None:
    """Bring an autoencoder's kernels to the layout of what they run over, in place, on CUDA.

    On a CPU they are brought there in passing, and weights stay views of their file.
    """
    if autoencoder.decoder.conv_in.weight.device.type == "cuda":
        autoencoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it


def latent_quantizer(config: EditorConfig, template: Template) -> MultiScaleQuantizer:
    """The quantiser of a configuration on a template's latent grids."""
    grids = template.schedule.scaled(config.merge)
    return MultiScaleQuantizer(grids, config.autoencoder.latent_channels, config.autoencoder.step_sizes)
