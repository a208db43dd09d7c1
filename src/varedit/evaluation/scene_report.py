"""The result of a scenes evaluation as a table for a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from varedit.evaluation.contestants import CEILING, FLOOR, MODEL
from varedit.evaluation.scenes import JudgedScene
from varedit.evaluation.success import (
    LARGEST_RAW_L1,
    SMALLEST_OUTSIDE,
    SMALLEST_RAW_PSNR,
    SMALLEST_RESTORED_PSNR,
    Score,
)
from varedit.evaluation.summary import CONFIDENCE, Rate, Summary, summaries

DEFINITION = (
    "Success: inside the mask the restored result is nearer in L1 to the true target than to the source and to every "
    "wrong alternative (compared where the two differ, if target and alternative agree inside the mask), and outside "
    f"the mask, against the source, L1 <= {LARGEST_RAW_L1:g} and PSNR >= {SMALLEST_RAW_PSNR:g} dB before restoring and "
    f"PSNR >= {SMALLEST_RESTORED_PSNR:g} dB after it; a scene in which less than {SMALLEST_OUTSIDE:.0%} of the pixels "
    "must stay has no outside. Raw success: the same for the result before restoring. "
    f"Intervals: Wilson, {CONFIDENCE:.0%}; decibels are medians."
)


def results_report(scenes: Sequence[JudgedScene], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was measured, ready for JSON.

    Args:
        scenes: judged for `MODEL`, `FLOOR` and `CEILING`.
        facts: what the numbers must carry; stands at the top.
    """
    return {
        **facts,
        "definition": DEFINITION,
        "photographs": len({scene.photograph for scene in scenes if scene.photograph}),
        "results": {
            contestant: [summary_values(row) for row in summaries(scenes, contestant)]
            for contestant in (MODEL, FLOOR, CEILING)
        },
        "scenes": [scene_values(scene) for scene in scenes],
    }


def results_table(scenes: Sequence[JudgedScene]) -> Table:
    """One row a group: the model's rates with what they consist of, then floor and ceiling; 80 characters wide."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", caption_justify="left")
    table.caption = (
        f"restored: nearest to the target; kept: the outside; raw: success before restoring; dB: to the target.\n"
        f"floor: {FLOOR}; ceiling: {CEILING}."
    )
    table.add_column("scenes", no_wrap=True)
    for heading in ("n", "success", f"{CONFIDENCE:.0%}", "restored", "kept", "raw", "dB", "floor", "ceiling"):
        table.add_column(heading, justify="right", no_wrap=True)
    columns = (summaries(scenes, contestant) for contestant in (MODEL, FLOOR, CEILING))
    for row, floor, ceiling in zip(*columns, strict=True):
        name = f"  {row.name}" if row.level == "category" else row.name
        cells = [
            name.replace("_", " "),
            str(row.count),
            _share(row.success),
            "{:.2f}-{:.2f}".format(*row.success.interval),
            *(_share(rate) for rate in (row.nearest, row.preserved, row.raw_success)),
            f"{row.target_psnr:.1f}",
            _share(floor.success),
            _share(ceiling.success),
        ]
        table.add_row(*cells, style="" if row.level == "category" else "bold")
    return table


def summary_values(row: Summary) -> dict[str, Any]:
    """One row of numbers, ready for JSON."""
    rates = {"success": row.success, "nearest": row.nearest, "preserved": row.preserved, "raw_success": row.raw_success}
    decibels = {
        "outside_scenes": row.outside_count,
        "target_psnr": row.target_psnr,
        "outside_raw_l1": row.outside_raw_l1,
        "outside_raw_psnr": row.outside_raw_psnr,
        "outside_restored_psnr": row.outside_restored_psnr,
    }
    return {
        "level": row.level,
        "name": row.name,
        "family": row.family,
        "scenes": row.count,
        **{name: _rate_values(rate) for name, rate in rates.items()},
        **{name: None if value is None else round(value, 4) for name, value in decibels.items()},
    }


def scene_values(scene: JudgedScene) -> dict[str, Any]:
    """One scene and the model's scores in it, ready for JSON."""
    return {
        "index": scene.index,
        "seed": scene.seed,
        "family": scene.family,
        "category": scene.category,
        "instruction": scene.instruction,
        "photograph": scene.photograph,
        **score_values(scene.scores[MODEL]),
        "ceiling_success": scene.scores[CEILING].is_success,
    }


def score_values(score: Score) -> dict[str, Any]:
    """One score, ready for JSON."""
    outside = score.outside
    return {
        "success": score.is_success,
        "failures": score.failures(),
        "margin": round(score.restored.margin, 4),
        "rival": score.restored.rival,
        "raw_success": score.is_raw_success,
        "raw_margin": round(score.raw.margin, 4),
        "raw_rival": score.raw.rival,
        "target_psnr": round(score.target_psnr, 2),
        "outside_raw_l1": None if outside is None else round(outside.raw_l1, 4),
        "outside_raw_psnr": None if outside is None else round(outside.raw_psnr, 2),
        "outside_restored_psnr": None if outside is None else round(outside.restored_psnr, 2),
    }


def _rate_values(rate: Rate) -> dict[str, Any]:
    low, high = rate.interval
    return {"count": rate.successes, "share": round(rate.share, 4), "interval": [round(low, 4), round(high, 4)]}


def _share(rate: Rate) -> str:
    return f"{rate.share:.2f}"
