"""A released model's shape on an accelerator: exact, compiled, with each option, beside its bounds and the naive code.

Weights are random, photographs are noise of the very size that the model draws. Every row is written as soon as it is
measured, so that a machine that is taken away costs one row; a plot of the stages comes last.

    python benchmarks/accelerator.py 8b-512 --size 512 --size 1024 -o benchmarks/results/accelerator-8b-h100.json
    python benchmarks/accelerator.py 8b-512 --size 512 --only fp8 -o ...

Seconds of a row are those from pixels to the decoder's pixels, the median of some rounds after warming up, with no wait
for the device on the way. Where stages are told, they come from rounds of their own, with a wait after each. Rows:

- exact: guidance on every scale, weights in bfloat16;
- naive: `naive.py` with the same weights, float32 keys and values as it has them;
- compiled: exact through torch.compile and CUDA graphs, and so are the rows after it;
- no late guidance: on all scales but the last two;
- reuse, masked: an edit within a mask over a tenth of the picture, whose late scales compute that part alone;
- candidates 4: four seeds through the coarse scales, one finished;
- batch 4: four edits at once;
- int8, fp8 (--only): matrices of the blocks in 8 bits (needs torchao), not compiled.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from naive import naive_edit
from recipe import recipe, tell
from torch import nn

from varedit.bench.limits import Clock, Limits, device_clock, measure_limits
from varedit.bench.models import BenchModel
from varedit.bench.plot import draw_stages, new_figure, save_figure
from varedit.bench.random_weights import INSTRUCTION
from varedit.bench.run import BenchRequest, TimedBatch, as_pixels, batch_report, costs_of, device_words
from varedit.bench.stages import TimedEdit, is_drawing, peak_bytes, photographs, requests_for, reset_peak, timed_edit
from varedit.candidates import CandidateChoice
from varedit.cuda_graphs import WARM_UPS
from varedit.editor import Editor
from varedit.low_bit import quantiser
from varedit.output import write_whole
from varedit.precision import compute_device
from varedit.reuse import ReuseSettings

UNGUIDED_SCALES = 2
MASKED_AREA = 0.1  # of the picture
PREVIEW_STAGES = ("encode", "text", "prefill", "scale 1", "decode")


class Bench:
    """One model's weights, measured again and again.

    Args:
        model: whose weights are drawn.
        device: where.
        rounds: of each row, after one more that warms up.
        path: of the report, written anew with every row.
    """

    def __init__(self, model: BenchModel, device: torch.device, rounds: int, path: Path) -> None:
        self.device, self.rounds, self.path = device, rounds, path
        self.warm_ups = 1
        self.editors: dict[int, Editor] = {}
        self.clock = device_clock(device)
        started = time.perf_counter()
        self.editor = model.load(device, torch.bfloat16)
        loaded = time.perf_counter() - started
        self.limits: Limits = measure_limits(device, torch.bfloat16, self.clock)
        self.report: dict[str, Any] = {
            **recipe("torch"),
            "device": device_words(device),
            "precision": "bfloat16",
            "model": model.config.name,
            "weights": "random",
            "seconds_to_draw_weights": loaded,
            "limits": {"flops": self.limits.flops, "bandwidth": self.limits.bandwidth},
            "rows": [],
        }

    def exact(self, model: BenchModel, name: str = "exact") -> None:
        """Every stage beside its bound."""
        timed = self._timed(name, model)
        template, request = model.template(None), BenchRequest(model=model, device=self.device, dtype=torch.bfloat16)
        editor = self._editor(model)
        words = editor.text_encoder.tokenize([INSTRUCTION]).lengths[0]
        costs = costs_of(editor, template, request, 1, words)
        staged = TimedBatch(1, self._edits(model, self.rounds, self.clock, restores=True), timed.peak)
        row = batch_report(staged, costs, self.limits)
        drawing = [stage for stage in row["stages"] if is_drawing(stage["stage"])]
        sums = {
            "staged_seconds": row["seconds"],
            "bound_seconds": sum(stage["bound_seconds"] for stage in drawing),
            "first_preview_seconds": sum(stage["seconds"] for stage in drawing if stage["stage"] in PREVIEW_STAGES),
        }
        self._keep(name, model, row | sums | _row(timed.drawing_seconds, timed.peak))

    def option(self, model: BenchModel, name: str, **options: Any) -> None:
        """Exact but for one thing."""
        try:
            timed = self._timed(name, model, **options)
        except torch.cuda.OutOfMemoryError:
            tell(f"{model.config.name} {_size(model)} {name}: too large for this device")
            self._keep(name, model, {"seconds": None, "peak_bytes": None})
            return
        self._keep(name, model, _row(timed.drawing_seconds, timed.peak))

    def naive(self, model: BenchModel) -> None:
        """The obvious way."""
        template, editor = model.template(None), self._editor(model)
        pixels = as_pixels(photographs(model.config, template, [0]))
        reset_peak(self.device)
        seconds = []
        for _ in range(2):  # it is slow; one warms up
            start = self.clock()
            naive_edit(editor, template, pixels, INSTRUCTION, 0)
            seconds.append(self.clock() - start)
        tell(f"{model.config.name} {_size(model)} naive: {seconds[1]:.3f} s")
        self._keep("naive", model, _row(seconds[1:], peak_bytes(self.device)))

    def compile(self, model: BenchModel) -> None:
        """Let all later edits run through torch.compile and CUDA graphs."""
        torch.cuda.empty_cache()
        self.editor.compile()
        started = time.perf_counter()
        self._edits(model, 1, time.perf_counter)
        self.report["compiling_seconds"] = time.perf_counter() - started
        self.warm_ups = WARM_UPS
        tell(f"compiled in {self.report['compiling_seconds']:.0f} s")

    def store(self, weights: Any) -> None:
        """Hold the matrices of all blocks in 8 bits."""
        parts = {"transformer": self.editor.transformer, "text_encoder": self.editor.text_encoder.encoder}
        for part, module in parts.items():
            change = quantiser(weights, part)
            for name, weight in list(module.named_parameters()):
                changed = change(name, weight.data)
                if changed is not weight.data:
                    owner, _, own_name = name.rpartition(".")
                    setattr(module.get_submodule(owner), own_name, nn.Parameter(changed, requires_grad=False))
        torch.cuda.empty_cache()

    def _timed(self, name: str, model: BenchModel, *, batch: int = 1, **options: Any) -> TimedBatch:
        reset_peak(self.device)
        self._edits(model, self.warm_ups, time.perf_counter, batch=batch, **options)
        edits = self._edits(model, self.rounds, time.perf_counter, batch=batch, **options)
        timed = TimedBatch(batch, edits, peak_bytes(self.device))
        seconds = statistics.median(timed.drawing_seconds)
        tell(f"{model.config.name} {_size(model)} {name}: {seconds:.3f} s, {timed.peak / 2**30:.1f} GiB")
        return timed

    def _editor(self, model: BenchModel) -> Editor:
        """One for each configuration, all with the same parts: what an editor keeps is then kept."""
        size = _size(model)
        if size not in self.editors:
            self.editors[size] = replace(self.editor, config=model.config)
        return self.editors[size]

    def _edits(
        self,
        model: BenchModel,
        count: int,
        clock: Clock,
        *,
        batch: int = 1,
        unguided: int = 0,
        masked: bool = False,
        candidates: int = 1,
        restores: bool = False,
    ) -> list[TimedEdit]:
        config, template = model.config, model.template(None)
        pictures = photographs(config, template, range(batch))
        guided = len(template.schedule) - unguided
        guidance = [config.generation.guidance_scale] * guided + [1.0] * unguided
        mask = None
        if masked:
            mask = np.zeros(pictures[0].shape[:2], np.uint8)
            height, width = (round(side * MASKED_AREA**0.5) for side in mask.shape)
            mask[height : 2 * height, width : 2 * width] = 255
        return [
            timed_edit(
                self._editor(model),
                template,
                requests_for(config, pictures, range(batch), guidance=guidance, mask=mask),
                clock,
                reuse=ReuseSettings() if masked else None,
                choice=CandidateChoice(count=candidates),
                restores=restores,
            )
            for _ in range(count)
        ]

    def _keep(self, name: str, model: BenchModel, row: dict[str, Any]) -> None:
        self.report["rows"].append({"name": name, "size": _size(model), **row})
        write_whole(self.path, json.dumps(self.report, indent=1).encode() + b"\n")


def main() -> None:
    arguments = _arguments()
    device = compute_device(arguments.device)
    model = BenchModel.of_preset(arguments.preset, arguments.depth)
    bench = Bench(model, device, arguments.rounds, arguments.output)
    sizes = [model.at_size(size) for size in arguments.size]
    with torch.inference_mode():
        if arguments.only is not None:
            bench.store(arguments.only)
            for sized in sizes:
                bench.option(sized, arguments.only)
            return
        for sized in sizes:
            bench.exact(sized)
            bench.naive(sized)
        bench.compile(sizes[0])
        for sized in sizes:
            bench.exact(sized, "compiled")
            bench.option(sized, "reuse, masked", masked=True)
            bench.option(sized, "no late guidance", unguided=UNGUIDED_SCALES)
        for sized in sizes:
            bench.option(sized, "candidates 4", candidates=4)
            bench.option(sized, "batch 4", batch=4)
    draw(bench.report, arguments.output.with_suffix(".png"))


def draw(report: dict[str, Any], path: Path) -> None:
    """The stages of the exact way beside their bounds, size by size."""
    rows = [row for row in report["rows"] if "stages" in row]
    columns = len({row["size"] for row in rows})  # exact above, compiled below
    figure = new_figure(6.5 * columns, 4.5 * len(rows) // columns)
    for axes, row in zip(figure.subplots(len(rows) // columns, columns, squeeze=False).flat, rows, strict=True):
        draw_stages(axes, row["stages"])
        axes.set_title(f"{row['name']}, {row['size']} pixels, {row['seconds']:.2f} s")
    figure.suptitle(f"{report['model']}, {report['precision']}, {report['device']}")
    save_figure(figure, path)


def _row(seconds: list[float], peak: int) -> dict[str, Any]:
    return {"seconds": statistics.median(seconds), "spread": [min(seconds), max(seconds)], "peak_bytes": peak}


def _size(model: BenchModel) -> int:
    return model.config.picture_size(model.template(None).schedule)[0]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--depth", type=int, help="so many blocks only, to try the script")
    parser.add_argument("--size", type=int, action="append", required=True, choices=(256, 512, 1024))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("int8", "fp8"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("-o", "--output", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
