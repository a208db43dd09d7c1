"""Every benchmark by its name."""

from __future__ import annotations

from collections.abc import Mapping

from varedit.evaluation.benchmarks.emu_edit import EMU_EDIT
from varedit.evaluation.benchmarks.gedit import GEDIT
from varedit.evaluation.benchmarks.imgedit import IMGEDIT
from varedit.evaluation.benchmarks.items import Benchmark
from varedit.evaluation.benchmarks.magicbrush import MAGICBRUSH
from varedit.evaluation.benchmarks.pie_bench import PIE_BENCH
from varedit.evaluation.benchmarks.scenes import SCENES

BENCHMARKS: Mapping[str, Benchmark] = {
    benchmark.name: benchmark for benchmark in (EMU_EDIT, PIE_BENCH, MAGICBRUSH, IMGEDIT, GEDIT, SCENES)
}
