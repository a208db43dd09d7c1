"""Speed beside the naive baseline and beside what the processor allows, in one run on a CPU, in float32.

The model is the released 2B with 4 of its 32 blocks and as much less of its text encoder. The autoencoder is narrower,
so that it keeps about its share of the arithmetic (12 % at 256 pixels; the 2B's is 14 %). Weights are random.

1. Ours and the naive baseline in turns: one edit at 256 and 512 pixels, a batch of 8 at 256. The bits of all edits are
   compared.
2. Ours at 256, 512 and 1024 pixels, stage by stage beside its bounds, and how its time grows beside what tokens and
   attention foretell.

One thread, and seconds of processor time: what else the machine does enters little.

    python benchmarks/speed.py

Writes benchmarks/results/speed-cpu.json and speed-cpu.png; takes about 20 minutes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from bench_adapter import edit, load
from recipe import commit, tell
from torch.utils.flop_counter import FlopCounterMode

from varedit.bench.limits import Limits, measure_limits
from varedit.bench.models import BenchModel
from varedit.bench.plot import BOUND, MEASURED, OTHER, draw_pairs, draw_stages, new_figure, save_figure
from varedit.bench.random_weights import INSTRUCTION
from varedit.bench.run import BenchRequest, TimedBatch, as_pixels, batch_report, circumstances, comparison, costs_of
from varedit.bench.stages import is_drawing, peak_bytes, photographs, requests_for, reset_peak, timed_edit
from varedit.editor import Editor
from varedit.freed_memory import keep_freed_memory
from varedit.output import write_whole

RESULTS = Path(__file__).parent / "results"
CPU = torch.device("cpu")
COMPARED = ((256, 1), (256, 8), (512, 1))  # pixels, batch
ROUNDS = {256: 3, 512: 1, 1024: 1}  # measured at each size; single ones are long and have no round before them
DEPTH = 4  # blocks
BASELINE_SIZE = 256  # growth is told from here


def main() -> None:
    keep_freed_memory()  # as the commands do
    torch.set_num_threads(1)
    model = scaled_model()
    editor, limits = model.load(CPU, torch.float32), measure_limits(CPU, torch.float32, time.process_time)
    sizes = [stages_at(model.at_size(size), editor, limits) for size in ROUNDS]
    compared = [compare_at(model.at_size(size), editor, batch) for size, batch in COMPARED]
    smallest = request_for(model.at_size(BASELINE_SIZE))
    report = {
        **circumstances(smallest, smallest.model.template(None), "python benchmarks/speed.py"),
        "commit": commit(),
        "clock": "processor seconds of one thread",
        "limits": {"flops": limits.flops, "bandwidth": limits.bandwidth},
        "beside_naive": compared,
        "growth": [growth(sizes[0], larger) for larger in sizes[1:]],
        "sizes": sizes,
    }
    write_whole(RESULTS / "speed-cpu.json", json.dumps(report, indent=2).encode() + b"\n")
    draw(report, RESULTS / "speed-cpu.png")
    print(json.dumps({key: report[key] for key in ("beside_naive", "growth")}, indent=2))


def scaled_model() -> BenchModel:
    """The 2B's own blocks, fewer of them, and an autoencoder to match."""
    model = BenchModel.of_preset("2b-512", depth=DEPTH)
    autoencoder = replace(model.config.autoencoder, base_channels=48, res_blocks_per_level=1)
    return replace(model, config=replace(model.config, name=f"2b-512 of {DEPTH} blocks", autoencoder=autoencoder))


def request_for(model: BenchModel) -> BenchRequest:
    """What circumstances and costs are told of."""
    size = model.config.picture_size(model.template(None).schedule)[0]
    return BenchRequest(model=model, device=CPU, dtype=torch.float32, repeats=ROUNDS[size])


def stages_at(model: BenchModel, editor: Editor, limits: Limits) -> dict[str, Any]:
    """One edit of ours, stage by stage, beside its bounds."""
    template, request = model.template(None), request_for(model)
    editor = replace(editor, config=model.config)
    pictures = photographs(model.config, template, [0])
    reset_peak(CPU)
    edits = []
    for _ in range(turns(request.repeats)):
        edits.append(timed_edit(editor, template, requests_for(model.config, pictures, [0]), time.process_time))
        tell(f"{request.model.config.picture_size(template.schedule)[0]} pixels: {edits[-1].drawing_seconds:.2f} s")
    timed = TimedBatch(1, edits[-request.repeats :], peak_bytes(CPU))
    words = editor.text_encoder.tokenize([INSTRUCTION]).lengths[0]
    report = batch_report(timed, costs_of(editor, template, request, 1, words), limits)
    return {"size": model.config.picture_size(template.schedule)[0], "rounds": len(timed.edits)} | report


def compare_at(model: BenchModel, editor: Editor, batch: int) -> dict[str, Any]:
    """Ours and the naive edits of one batch in turns, from pixels to the decoder's pixels."""
    template, seeds, rounds = model.template(None), list(range(batch)), 1 if batch > 1 else request_for(model).repeats
    size = model.config.picture_size(template.schedule)[0]
    loaded = load(model.to_dict(), template.name, "cpu", "float32")
    editor = replace(editor, config=model.config)
    pictures = photographs(model.config, template, seeds)
    pixels, instructions = as_pixels(pictures), [INSTRUCTION] * batch
    ours, theirs, compared, unequal = [], [], 0, 0
    for _ in range(turns(rounds)):
        edited = timed_edit(editor, template, requests_for(model.config, pictures, seeds), time.process_time)
        start = time.process_time()
        naive = edit(loaded, pixels, instructions, seeds)
        ours.append(edited.drawing_seconds)
        theirs.append(time.process_time() - start)
        for item, one in enumerate(naive):
            for drawn, bits in zip(edited.run.bits, one.bits, strict=True):
                compared += bits.numel()
                unequal += int((drawn[item : item + 1] != bits).sum())
        tell(f"{size} pixels, batch {batch}: {ours[-1]:.2f} s, naive {theirs[-1]:.2f} s, {unequal} unequal bits")
    costs = costs_of(
        editor, template, request_for(model), batch, editor.text_encoder.tokenize([INSTRUCTION]).lengths[0]
    )
    drawing = [cost for stage, cost in costs.items() if is_drawing(stage)]
    return {
        "size": size,
        "rounds": rounds,
        **comparison(batch, ours[-rounds:], theirs[-rounds:]),
        "bits_compared": compared,
        "bits_that_differ": unequal,
        "our_flops": sum(cost.flops + cost.float32_flops for cost in drawing),
        "their_flops": batch * counted_flops(lambda: edit(loaded, pixels[:1], instructions[:1], seeds[:1])),
    }


def turns(rounds: int) -> int:
    """How often something is done to measure it so many times."""
    return rounds if rounds == 1 else rounds + 1


def counted_flops(work: Callable[[], object]) -> int:
    """Additions and multiplications of matrix products and convolutions, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def growth(small: dict[str, Any], large: dict[str, Any]) -> dict[str, Any]:
    """How many times longer a larger picture takes, and how many times more arithmetic it is: tokens and attention."""
    found: dict[str, Any] = {"from": small["size"], "to": large["size"]}
    for what, chosen in (("transformer", _is_transformer), ("edit", is_drawing)):
        seconds, flops = (
            [sum(part(stage) for stage in report["stages"] if chosen(stage["stage"])) for report in (small, large)]
            for part in (lambda stage: stage["seconds"], lambda stage: stage["flops"] + stage["float32_flops"])
        )
        found[what] = {"time": seconds[1] / seconds[0], "arithmetic": flops[1] / flops[0]}
    return found


def draw(report: dict[str, Any], path: Path) -> None:
    """Ours beside the naive baseline, stages beside their bounds, and growth with the size."""
    figure = new_figure(13, 4.5)
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 2, 1))
    rows = report["beside_naive"]
    labels = [f"{row['size']} px\nbatch {row['batch']}" for row in rows]
    an_edit = [[row[key] / row["batch"] for row in rows] for key in ("our_seconds", "their_seconds")]
    draw_pairs(left, an_edit, (MEASURED, OTHER))
    for x, row in enumerate(rows):
        left.annotate(f"{row['speedup']:.2f}x", (x, row["their_seconds"] / row["batch"]), ha="center", va="bottom")
    left.set_xticks(range(len(rows)), labels)
    left.set_ylabel("seconds an edit")
    left.margins(y=0.12)
    left.legend(["varedit", "naive"])
    draw_stages(middle, report["sizes"][1]["stages"])
    middle.set_title(f"{report['sizes'][1]['size']} pixels")
    for key, colour, label in (("time", MEASURED, "time"), ("arithmetic", BOUND, "arithmetic")):
        factors = [1.0] + [row["edit"][key] for row in report["growth"]]
        right.plot(list(ROUNDS), factors, marker="o", color=colour, label=label)
    right.set_xscale("log", base=2)
    right.set_yscale("log", base=2)
    right.set_xlabel("pixels a side")
    right.set_ylabel(f"times that of {BASELINE_SIZE} pixels")
    right.legend()
    figure.suptitle(f"{report['model']['name']}, float32, {report['device']}")
    save_figure(figure, path)


def _is_transformer(stage: str) -> bool:
    return stage == "prefill" or stage.startswith("scale ")


if __name__ == "__main__":
    main()
