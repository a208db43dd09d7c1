"""The object that users hold: images and instructions in, edited images out.

Call conventions are those of the field's pipelines (spec "Python pipeline"). The work itself is in `runs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import torch
from PIL import Image
from torch import Tensor

from varedit import __version__
from varedit.candidates import CandidateChoice, Ranker, rank_by_guidance
from varedit.config import EditorConfig
from varedit.content_hash import FolderHash, array_sha256
from varedit.cuda_graphs import WARM_UPS
from varedit.edited_codes import EditedCodes
from varedit.editor import Editor, latent_quantizer
from varedit.errors import UsageError
from varedit.fit import FitMode
from varedit.hub import ModelSource, find_model, push_folder
from varedit.images import Picture
from varedit.low_bit import StoredWeights
from varedit.precision import compute_device, compute_dtype, set_compute_dtype
from varedit.requests import EditRequest, edit_requests
from varedit.results import EditOutput, OutputType, ScaleEvent, check_output_type, merged, typed
from varedit.reuse import ReuseSettings, own_settings
from varedit.runs import EditRun, InModelSize
from varedit.sampling import PerScale, SamplingSettings
from varedit.scales import Grid, Template

if TYPE_CHECKING:
    from varedit.images import ImageSource

    Images = ImageSource | Picture | Sequence[ImageSource | Picture]

StepCallback = Callable[["VAREditPipeline", int, Grid, dict[str, Tensor]], Mapping[str, Tensor] | None]

# Arguments of other pipelines that have no meaning here, each with what to say instead.
_FOREIGN = {
    "num_inference_steps": "this model has {scales} scales, no steps to choose",
    "sigmas": "this model has {scales} scales, no noise levels",
    "timesteps": "this model has {scales} scales, no timesteps",
    "eta": "this model has {scales} scales, no noise levels",
    "latents": "this model draws bits, it starts from no latents",
    "true_cfg_scale": "use guidance_scale",
    "image_guidance_scale": "guidance is over the text only; use guidance_scale",
}


class VAREditPipeline:
    """Edits images from instructions.

    One pipeline may serve many calls at once: a call keeps its state to itself.
    """

    def __init__(self, editor: Editor, *, origin: ModelSource | None = None, content: FolderHash | None = None) -> None:
        """A pipeline around an editor; `from_pretrained` is the usual way to one.

        Args:
            origin: where the weights came from, if from anywhere.
            content: the hash of their files, where no commit names them.
        """
        self.editor = editor
        self.origin = origin
        self._content = content

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path | None = None,
        *,
        dtype: str | torch.dtype = "auto",
        device: str | torch.device = "auto",
        weights: StoredWeights = "full",
        offload_text: bool = False,
        compile: bool = False,
        **download: Any,
    ) -> Self:
        """Load a model.

        Args:
            source: a model folder, ``owner/name`` on the hub, or None for the model inside the package.
            dtype: compute type; "auto" is bfloat16 (or float16) on CUDA and float32 elsewhere.
            device: "auto", "cpu", "cuda", "cuda:1", "mps" or a torch device.
            weights: "int8" and "fp8" hold the matrices of all blocks in 8 bits; results change a little.
            offload_text: keep the text encoder's weights in memory only while it reads an instruction.
            compile: run the blocks through torch.compile, on CUDA as CUDA graphs; the first edits of each aspect ratio
                then take longer, see `warm_up`.
            download: revision, token, cache_dir, local_files_only, force_download, for hub models.

        Raises: ModelError, ConfigError, UsageError; MissingExtra where 8 bits need torchao.
        """
        chosen = compute_device(device)
        found = find_model(source, **download)
        content = FolderHash(found.folder) if found.revision is None else None
        editor = Editor.load(
            found.folder, chosen, compute_dtype(dtype, chosen), weights=weights, offload_text=offload_text
        )
        if compile:
            editor.compile()
        return cls(editor, origin=found, content=content)

    def warm_up(
        self,
        image: ImageSource | Picture | None = None,
        on_scale: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Edit an image for nothing, so that later edits of its aspect ratio find all compiled and recorded.

        Args:
            image: None is a grey one, as nearly square as the model draws.
            on_scale: told (scales done, scales in all).
        """
        if image is None:
            height, width = self.config.picture_size(self.config.templates.nearest(1, 1).schedule)
            image = Image.new("RGB", (width, height), "grey")
        edits = WARM_UPS if self.device.type == "cuda" else 1
        for edit in range(edits):
            for event in self.stream(image, "warm up", seed=0, output_type="bits"):
                on_scale(edit * event.total + event.index + 1, edits * event.total)

    def save_pretrained(self, folder: str | Path, *, max_shard_size: str = "5GB") -> None:
        """Write a model folder that `from_pretrained` reads. Raises OutputError."""
        self.editor.save(Path(folder), max_shard_size)

    def push_to_hub(
        self,
        repository: str,
        *,
        token: str | None = None,
        private: bool | None = None,
        revision: str | None = None,
        message: str = "Upload a model of varedit",
        max_shard_size: str = "5GB",
    ) -> str:
        """Upload the model as `save_pretrained` writes it, to where `from_pretrained` finds it by its name.

        A model card is yours to write: a README.md that is there already stays.

        Args: as for `hub.push_folder`; ``repository`` is ``owner/name``.

        Returns: the address of the commit.

        Raises: ModelError, OutputError.
        """
        with TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            self.save_pretrained(folder, max_shard_size=max_shard_size)
            return push_folder(folder, repository, token=token, private=private, revision=revision, message=message)

    @property
    def config(self) -> EditorConfig:
        """What the checkpoint fixes."""
        return self.editor.config

    @property
    def identity(self) -> dict[str, str | None]:
        """Which weights these are: name on the hub and commit, or else the hash of the model folder's content.

        All are None for a model that was put together in memory.
        """
        return {
            "repository": None if self.origin is None else self.origin.repository,
            "revision": None if self.origin is None else self.origin.revision,
            "model_sha256": None if self._content is None else self._content.hexdigest(),
        }

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.editor.device

    @property
    def dtype(self) -> torch.dtype:
        """The compute type."""
        return self.editor.autoencoder.decoder.conv_in.weight.dtype

    def to(self, target: str | torch.device | torch.dtype) -> Self:
        """Move to a device, or change the compute type."""
        if isinstance(target, torch.dtype):
            self.editor.check_full_weights("changed to another precision")
            set_compute_dtype(self.editor.transformer, self.editor.autoencoder, compute_dtype(target, self.device))
            self.editor.text_encoder.to_compute_type(target)
        else:
            self.editor.to(compute_device(target))
        return self

    @overload
    def __call__(
        self, image: Images, prompt: str | Sequence[str], *, return_dict: Literal[True] = True, **settings: Any
    ) -> EditOutput: ...

    @overload
    def __call__(
        self, image: Images, prompt: str | Sequence[str], *, return_dict: Literal[False], **settings: Any
    ) -> tuple[Any, ...]: ...

    def __call__(
        self,
        image: Images,
        prompt: str | Sequence[str],
        *,
        output_type: OutputType = "pil",
        return_dict: bool = True,
        callback_on_step_end: StepCallback | None = None,
        **settings: Any,
    ) -> EditOutput | tuple[Any, ...]:
        """Edit images.

        Args:
            image: a path, bytes, PIL image, array or tensor, or a list of them.
            prompt: the instruction, or a list; one image goes with many prompts, and one prompt with many images.
            output_type: "pil"; "np" (N, H, W, 3) float32 and "pt" (N, 3, H, W) float32 in 0..1; "bits", K tensors
                (1, d, h_k, w_k) bool per edit.
            return_dict: False returns ``(images,)``.
            callback_on_step_end: called after each scale as (pipeline, scale index, grid, {"features": (B, d, H, W),
                "bits": (B, d, h_k, w_k)}); features in the mapping that it returns replace the present ones.
            settings: as for `requests`.

        Raises: VAREditError of the kind that fits what was wrong.
        """
        check_output_type(output_type)
        requests, options = self.requests(image, prompt, **settings)
        output = self.edit(requests, options, output_type=output_type, callback_on_step_end=callback_on_step_end)
        return output if return_dict else output.to_tuple()

    def edit(
        self,
        requests: list[EditRequest],
        options: RunOptions,
        *,
        output_type: OutputType = "pil",
        callback_on_step_end: StepCallback | None = None,
    ) -> EditOutput:
        """Carry out single edits made by `requests`, of any mixture of seeds, settings and aspect ratios.

        Edits of one template run as one batch; each result equals that of the same edit alone.
        """
        outputs: list[tuple[list[int], EditOutput]] = []
        for places, run in self._runs(requests, options):
            for event in self._events(run, options, output_type, callback_on_step_end):
                if event.output is not None:
                    outputs.append((places, event.output))
        output = merged(outputs)
        output.images = typed(output.images, output_type)
        return output

    def begin(self, requests: list[EditRequest], options: RunOptions) -> list[Callable[[], EditOutput]]:
        """The model's part of `edit`. Calling entry i, on any thread, restores edit i and returns its output alone.

        So one batch can be restored while the model draws the next.
        """
        unfinished: dict[int, Callable[[], EditOutput]] = {}
        for places, run in self._runs(requests, options):
            run.encode()
            for _ in run.scales():
                pass
            unfinished |= zip(places, self.unfinished(run, options), strict=True)
        return [unfinished[place] for place in range(len(requests))]

    def stream(
        self, image: Images, prompt: str | Sequence[str], *, output_type: OutputType = "pil", **settings: Any
    ) -> Iterator[ScaleEvent]:
        """Edit, and yield an event after each scale; the last event carries the result.

        Takes what a call takes. All images must fall to one aspect-ratio template; closing the iterator stops the edit.

        Raises: as a call does, before the first event.
        """
        check_output_type(output_type)
        requests, options = self.requests(image, prompt, **settings)
        runs = list(self._runs(requests, options))
        if len(runs) > 1:
            raise UsageError("a stream takes images of one aspect ratio; call the pipeline, or stream them one by one")
        return self._typed_events(runs[0][1], options, output_type)

    def requests(
        self,
        image: Images,
        prompt: str | Sequence[str],
        *,
        guidance_scale: PerScale | None = None,
        temperature: PerScale | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        greedy: bool = False,
        negative_prompt: str | Sequence[str] | None = None,
        seed: int | Sequence[int] | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        num_images_per_prompt: int = 1,
        height: int | None = None,
        width: int | None = None,
        mask: Any = None,
        restore: bool = True,
        fit: FitMode = "template",
        reuse: bool | ReuseSettings | None = None,
        codes: EditedCodes | Sequence[EditedCodes | None] | None = None,
        candidates: int = 1,
        ranker: Ranker = rank_by_guidance,
        **foreign: Any,
    ) -> tuple[list[EditRequest], RunOptions]:
        """The single edits that a call's arguments mean; what is None takes the model's own default.

        Args:
            guidance_scale: strength of guidance over the text, one number or one per scale; 1 is none.
            temperature: one number or one per scale.
            top_k, top_p, greedy: see `SamplingSettings`.
            negative_prompt: text of the second guidance branch, in place of the learned null text.
            seed, generator: one, or one an edit; a seed gives the same result alone and in any batch.
            num_images_per_prompt: variants of each edit, from derived seeds; they share all up to the first bit.
            height, width: size of the result in pixels; the image's own if not given.
            mask: what `load_mask` reads: white may change, black stays; one, or one an edit.
            restore: carry the change to the photograph's own pixels; False gives the decoder's output.
            fit: "template" stretches to the nearest aspect ratio; "square" pads with white, as the released models do.
            reuse: compute late scales only where the edit is: faster, and everything else stays exactly as it was; an
                approximation, see `varedit.reuse`. True takes the model's own settings for it, or the usual ones.
                With it, a mask says where to compute at most.
            codes: `EditOutput.codes` of an earlier edit, to go on from it; ``image`` is then still the first
                photograph. What no edit of the chain touches stays that photograph's own, however long the chain.
            candidates: how many seeds are carried through the coarse scales; the best of them is finished, and its seed
                is the one that the output tells.
            ranker: what chooses, see `varedit.candidates`.
            foreign: arguments of other pipelines, refused by name.
        """
        for name in foreign:
            hint = _FOREIGN.get(name, "it is not an argument of this pipeline").format(scales=self.config.num_scales)
            raise UsageError(f"{name} is not accepted: {hint}")
        if fit not in ("template", "square"):
            raise UsageError(f'fit must be "template" or "square", not {fit!r}')
        defaults = self.config.generation
        sampling = SamplingSettings(
            guidance=defaults.guidance_scale if guidance_scale is None else guidance_scale,
            temperature=defaults.temperature if temperature is None else temperature,
            top_k=defaults.top_k if top_k is None else top_k,
            top_p=defaults.top_p if top_p is None else top_p,
            greedy=greedy,
        )
        sampling.per_scale(self.config.num_scales)  # a wrong length fails before any work
        requests = edit_requests(
            image,
            prompt,
            sampling=sampling,
            negative_prompt=negative_prompt,
            seed=seed,
            generator=generator,
            num_images_per_prompt=num_images_per_prompt,
            mask=mask,
            size=_size(width, height),
            codes=codes,
        )
        self._check_codes(requests)
        choice = CandidateChoice(candidates, ranker)
        if candidates > 1 and generator is not None:
            raise UsageError("candidates draw their seeds from a seed; give seed instead of generator")
        return requests, RunOptions(restore=restore, fit=fit, reuse=self.reuse_settings(reuse), choice=choice)

    def template(self, request: EditRequest, options: RunOptions) -> Template:
        """The template that an edit falls to; edits of one template can share a batch."""
        templates = self.config.templates
        if request.codes is not None:
            return templates.named(request.codes.template)
        if options.fit == "square":
            return templates.square
        return templates.nearest(request.picture.height, request.picture.width)

    def _check_codes(self, requests: list[EditRequest]) -> None:
        """Raise UsageError where codes are not of this model."""
        for codes in {request.codes for request in requests if request.codes is not None}:
            grids = latent_quantizer(self.config, self.config.templates.named(codes.template)).grids
            codes.check(self.config.name, self.config.autoencoder.latent_channels, grids)

    def run(self, requests: list[EditRequest], template: Template, options: RunOptions) -> EditRun:
        """A run over edits of one template, for callers that take its steps themselves."""
        return EditRun(self.editor, requests, template, options.fit, options.reuse, options.choice)

    def started(self, image: Images, prompt: str | Sequence[str], **settings: Any) -> EditRun:
        """A run over what a call takes, encoded; all images must fall to the template of the first.

        Raises: as a call does.
        """
        requests, options = self.requests(image, prompt, **settings)
        run = self.run(requests, self.template(requests[0], options), options)
        run.encode()
        return run

    def reuse_settings(self, given: bool | ReuseSettings | None) -> ReuseSettings | None:
        """What the argument ``reuse`` of a call means; None is no reuse. Raises ConfigError."""
        if isinstance(given, ReuseSettings):
            return given
        own = self.config.generation.reuse
        is_wanted = own is not None if given is None else given
        return own_settings(own or {}) if is_wanted else None

    def _runs(self, requests: list[EditRequest], options: RunOptions) -> Iterator[tuple[list[int], EditRun]]:
        """Group edits by template: (places in the call's order, run)."""
        groups: dict[Template, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(self.template(request, options), []).append(place)
        for template, places in groups.items():
            yield places, self.run([requests[place] for place in places], template, options)

    def _events(
        self, run: EditRun, options: RunOptions, output_type: OutputType, callback: StepCallback | None
    ) -> Iterator[ScaleEvent]:
        if callback is not None and options.choice.count > 1:
            raise UsageError("candidates have gone through their first scales unseen; use them without a callback")
        run.encode()
        schedule = run.template.schedule
        for state in run.scales():
            if callback is not None:
                tensors = {"features": state.features, "bits": state.bits}
                changed = callback(self, state.index, schedule.grids[state.index], tensors)
                run.features = (changed or tensors)["features"]
            is_last = state.index + 1 == len(schedule)
            yield ScaleEvent(
                index=state.index,
                total=len(schedule),
                grid=schedule.grids[state.index],
                output=self._finished(run, options, output_type) if is_last else None,
                seconds=sum(run.seconds.values()),
                _previews=lambda: [Image.fromarray(pixels) for pixels in run.raw(run.decoded())],
            )

    def _typed_events(self, run: EditRun, options: RunOptions, output_type: OutputType) -> Iterator[ScaleEvent]:
        for event in self._events(run, options, output_type, None):
            if event.output is not None:
                event.output.images = typed(event.output.images, output_type)
            yield event

    def _finished(self, run: EditRun, options: RunOptions, output_type: OutputType) -> EditOutput:
        items, decoded = range(len(run.requests)), run.decoded()
        needs_source = options.restore and output_type != "bits"
        edits = run.in_model_size(decoded, run.unedited() if needs_source else None)
        codes = [edit.codes() for edit in edits]
        changes: list[Image.Image | None] = [None] * len(items)
        if output_type == "bits":
            bits = [[bits[item : item + 1] for bits in run.bits] for item in items]
            return self._output(run, options, items, bits, changes, codes)
        if not options.restore:
            return self._output(run, options, items, [edit.raw() for edit in edits], changes, codes)
        with run.timed("restore"):
            restored = [edit.restored() for edit in edits]
        changes = [Image.fromarray(result.change) for result in restored]
        return self._output(run, options, items, [result.rgb for result in restored], changes, codes)

    def unfinished(self, run: EditRun, options: RunOptions) -> list[Callable[[], EditOutput]]:
        """Decode a run after its last scale; what is returned finishes one edit each, on any thread, and holds on to
        nothing of the model.
        """
        decoded = run.decoded()
        edits = run.in_model_size(decoded, run.unedited() if options.restore else None)
        outputs = [self._output(run, options, [item], [], [], []) for item in range(len(edits))]
        return [partial(_finished, edit, output) for edit, output in zip(edits, outputs, strict=True)]

    def _output(
        self,
        run: EditRun,
        options: RunOptions,
        items: Sequence[int],
        images: list[Any],
        change_maps: Sequence[Image.Image | None],
        codes: list[EditedCodes],
    ) -> EditOutput:
        """What some edits of a run return."""
        return EditOutput(
            images=images,
            seeds=[run.seeds[item] for item in items],
            change_maps=list(change_maps),
            schedules=[run.template.schedule] * len(items),
            timings=dict(run.seconds),
            settings=[self._settings(run, item, options) for item in items],
            notes=[run.notes[item] for item in items],
            codes=codes,
        )

    def _settings(self, run: EditRun, item: int, options: RunOptions) -> dict[str, Any]:
        request = run.requests[item]
        sampling = request.sampling
        return {
            "version": __version__,
            "model": self.config.name,
            **self.identity,
            "instruction": request.instruction,
            "negative_prompt": request.negative,
            "seed": run.seeds[item],
            "guidance_scale": sampling.guidance,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "greedy": sampling.greedy,
            "schedule": run.template.name,
            "fit": options.fit,
            "restore": options.restore,
            "reuse": None if options.reuse is None else dataclasses.asdict(options.reuse),
            "candidates": options.choice.count,
            "batch": _batch(run, item, options),
            "size": [request.picture.width, request.picture.height],
            "source_sha256": request.picture.sha256,
            "codes_sha256": None if request.codes is None else request.codes.sha256,
            "mask_sha256": None if request.mask is None else array_sha256(request.mask),
            "precision": str(self.dtype).removeprefix("torch."),
            "weights": self.editor.weights,
            "device": self.device.type,
            "threads": torch.get_num_threads() if self.device.type == "cpu" else None,  # they split sums
            "torch": torch.__version__,
        }


def _batch(run: EditRun, item: int, options: RunOptions) -> dict[str, Any] | None:
    """What else a repetition to the last bit needs: products of a batch are rounded otherwise than those of one edit.

    None for a lone edit that was finished from the seed it began with.
    """
    if len(run.requests) == options.choice.count == 1:
        return None
    return {"seeds": [request.seed for request in run.requests], "place": item}


def _finished(edit: InModelSize, output: EditOutput) -> EditOutput:
    """The output of one edit, with its picture."""
    if edit.unedited is None:
        return dataclasses.replace(output, images=typed([edit.raw()], "pil"), change_maps=[None], codes=[edit.codes()])
    restored = edit.restored()
    changes: list[Image.Image | None] = [Image.fromarray(restored.change)]
    images = typed([restored.rgb], "pil")
    return dataclasses.replace(output, images=images, change_maps=changes, codes=[edit.codes()])


@dataclass(frozen=True)
class RunOptions:
    """What all edits of one call share."""

    restore: bool
    fit: FitMode
    reuse: ReuseSettings | None
    choice: CandidateChoice


def _size(width: int | None, height: int | None) -> tuple[int, int] | None:
    if (width is None) != (height is None):
        raise UsageError("give both height and width, or neither")
    if width is None or height is None:
        return None
    if not (1 <= width <= 16384 and 1 <= height <= 16384):
        raise UsageError(f"a result of {width}x{height} pixels is not supported; sides are 1 to 16384")
    return width, height
