"""Scores of runs: what is compared with what, what is left out, and what the means are of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.clip_models import save_clip, save_dino
from tests.editing_sets import pixels
from varedit.errors import InputMissing, ModelError
from varedit.evaluation import metrics
from varedit.evaluation.backbones import Clip, Dino
from varedit.evaluation.metrics import blackened
from varedit.evaluation.run_folder import RunFolder, RunItem
from varedit.evaluation.score_run import NetworkNames, score_folder
from varedit.evaluation.scorer import Networks, Row, score_run, scores_report
from varedit.perceptual import PerceptualDistance

SIZE = (40, 30)  # width and height
MASK = np.zeros((30, 40), np.uint8)
MASK[4:20, 5:33] = 255
REGION = MASK > 0


def put_run(folder: Path, **changes: Any) -> RunFolder:
    """A run of one item with a result; a change of None leaves a picture out, another replaces a field or picture."""
    pictures = {"source": pixels(1, *SIZE), "target": pixels(2, *SIZE), "mask": MASK, "result": pixels(3, *SIZE)}
    described: dict[str, Any] = {"source_caption": "a photo", "target_caption": "a red photo"}
    for name, value in changes.items():
        (pictures if name in pictures else described)[name] = value
    (folder / "pictures").mkdir(parents=True)
    (folder / "results").mkdir()
    for name, picture in pictures.items():
        if picture is not None:
            path = "results/one.png" if name == "result" else f"pictures/one.{name}.png"
            Image.fromarray(picture).save(folder / path)
            if name != "result":
                described[name] = path
    item = RunItem(id="one", category="add", instruction="make it red", **described)
    (folder / "items.jsonl").write_text(item.to_json() + "\n", encoding="utf-8")
    (folder / "benchmark.json").write_text('{"name": "own"}')
    return RunFolder(folder)


def scores(run: RunFolder, **networks: Any) -> dict[str, float | None]:
    (row,) = score_run(run, Networks(**networks))
    assert row.problem is None
    return row.scores


def test_a_result_is_compared_with_the_target_and_outside_the_mask_with_the_source(tmp_path):
    found = scores(put_run(tmp_path))
    source, target, result = (pixels(seed, *SIZE) for seed in (1, 2, 3))
    for name in ("l1", "l2", "psnr", "ssim"):
        metric = getattr(metrics, name)
        assert found[name] == metric(result, target)
        assert found[f"{name}_inside"] == metric(result, target, REGION)
        assert found[f"{name}_outside"] == metric(result, source, ~REGION)
    kept = blackened(result, ~REGION), blackened(source, ~REGION)
    assert found["unedited_psnr"] == metrics.psnr(*kept)
    assert found["unedited_mse"] == pytest.approx(found["l2_outside"] * (~REGION).mean())  # black places agree
    assert found["unedited_ssim"] == metrics.ssim(*kept)


def test_without_a_target_the_source_is_the_reference_and_without_a_mask_there_are_no_parts(tmp_path):
    found = scores(put_run(tmp_path, target=None, mask=None))
    assert set(found) == {"l1", "l2", "psnr", "ssim"}
    assert found["l1"] == metrics.l1(pixels(3, *SIZE), pixels(1, *SIZE))


def test_a_mask_of_everything_leaves_the_outside_undefined(tmp_path):
    found = scores(put_run(tmp_path, mask=np.full_like(MASK, 255)))
    assert found["l1_inside"] == found["l1"]
    for name in ("l1_outside", "ssim_outside", "unedited_psnr", "unedited_ssim", "unedited_mse"):
        assert found[name] is None


def test_a_result_of_another_size_is_resized_to_the_reference_and_counted(tmp_path):
    run = put_run(tmp_path, result=pixels(3, 80, 60))
    (row,) = score_run(run, Networks())
    resized = np.asarray(Image.fromarray(pixels(3, 80, 60)).resize(SIZE, Image.Resampling.BICUBIC))
    assert row.is_resized and row.scores["l2"] == metrics.l2(resized, pixels(2, *SIZE))
    assert scores_report([row], {})["resized"] == 1


def test_a_target_of_another_size_takes_source_and_mask_along(tmp_path):
    found = scores(put_run(tmp_path, target=pixels(2, 80, 60)))
    source = np.asarray(Image.fromarray(pixels(1, *SIZE)).resize((80, 60), Image.Resampling.BICUBIC))
    result = np.asarray(Image.fromarray(pixels(3, *SIZE)).resize((80, 60), Image.Resampling.BICUBIC))
    region = REGION.repeat(2, axis=0).repeat(2, axis=1)
    assert found["l1_outside"] == metrics.l1(result, source, ~region)


@pytest.mark.parametrize(("damage", "part"), [(None, "there is no result"), (b"\x89PNG\r\n\x1a\n", "two.png")])
def test_a_result_that_is_missing_or_damaged_is_reported_and_not_averaged(damage, part, tmp_path):
    run = put_run(tmp_path)
    line = RunItem(id="two", category="add", instruction="x", source="pictures/one.source.png").to_json()
    with (tmp_path / "items.jsonl").open("a") as file:
        file.write(line + "\n")
    if damage is not None:
        (tmp_path / "results" / "two.png").write_bytes(damage)
    report = score_folder(run, NetworkNames(), "cpu")
    assert (report["items"], report["scored"]) == (2, 1)
    assert part in report["missing"]["two"]
    assert report["metrics"]["l1"]["items"] == 1
    assert json.loads((tmp_path / "scores.json").read_text()) == report
    first, second = map(json.loads, (tmp_path / "scores.jsonl").read_text().splitlines())
    assert first["scores"]["l1"] == report["metrics"]["l1"]["mean"] and part in second["problem"]


def test_means_are_over_items_and_by_category():
    rows = [
        Row("a", "add", {"l1": 0.1, "x": None}),
        Row("b", "add", {"l1": 0.2, "x": 4.0}),
        Row("c", "remove", {"l1": 0.6, "clip_direction": 0.0}, zeros=["clip_direction"]),
        Row("d", "remove", problem="gone"),
    ]
    report = scores_report(rows, {"benchmark": {"name": "own"}})
    l1 = report["metrics"]["l1"]
    counts = {"items": 3, "undefined": 0, "zeros": 0}
    assert l1 == {"mean": pytest.approx(0.3), "low": pytest.approx(0.1), "high": pytest.approx(0.6), **counts}
    no_interval = {"low": None, "high": None}
    assert report["metrics"]["x"] == {"mean": 4.0, **no_interval, "items": 1, "undefined": 2, "zeros": 0}
    assert report["metrics"]["clip_direction"]["zeros"] == 1
    assert report["categories"]["add"]["l1"]["mean"] == pytest.approx(0.15)
    one = {"mean": 0.6, **no_interval, "items": 1, "undefined": 0, "zeros": 0}
    assert report["categories"]["remove"]["l1"] == one
    assert report["missing"] == {"d": "gone"} and report["benchmark"] == {"name": "own"}


def test_items_of_one_source_are_drawn_together():
    rows = [Row(str(index), "add", {"l1": index % 2}, origin="ab"[index % 2]) for index in range(8)]
    alone = scores_report([*rows[:2]], {})["metrics"]["l1"]
    found = scores_report(rows, {})["metrics"]["l1"]
    assert (found["low"], found["high"]) == (alone["low"], alone["high"]) == (0, 1)  # as of two items


def test_an_origin_is_what_the_benchmark_tells_or_the_pixels_of_the_source(tmp_path):
    (told,) = score_run(put_run(tmp_path / "a", meta={"session": "7"}), Networks())
    (same,) = score_run(put_run(tmp_path / "b"), Networks())
    (again,) = score_run(put_run(tmp_path / "c", target=None), Networks())
    (other,) = score_run(put_run(tmp_path / "d", source=pixels(9, *SIZE)), Networks())
    assert told.origin == "7" and same.origin == again.origin != other.origin


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return Clip.from_pretrained(str(save_clip(tmp_path_factory.mktemp("clip"))))


def test_clip_scores_by_hand(clip, tmp_path):
    found = scores(put_run(tmp_path), clip=clip)
    source, target, result = (pixels(seed, *SIZE) for seed in (1, 2, 3))
    before, wanted, after = (clip.pictures([picture])[0] for picture in (source, target, result))
    first, second = clip.texts(["a photo"])[0], clip.texts(["a red photo"])[0]
    assert found["clip_image"] == pytest.approx(float(after @ wanted), abs=1e-4)
    assert found["clip_text"] == pytest.approx(float(after @ second), abs=1e-4)
    assert found["clip_text_of_target"] == pytest.approx(float(wanted @ second), abs=1e-4)
    way, asked = after - before, second - first
    direction = float(way @ asked / (way.norm() * asked.norm()))
    assert found["clip_direction"] == pytest.approx(direction, abs=1e-4)
    inside = clip.pictures([blackened(result, REGION)])[0]
    assert found["clip_text_inside"] == pytest.approx(float(inside @ second), abs=1e-4)  # PIE-Bench's CLIP-Edit
    kept, given = clip.pictures([blackened(result, ~REGION), blackened(source, ~REGION)])
    assert found["clip_image_outside"] == pytest.approx(float(kept @ given), abs=1e-4)


def test_networks_say_the_same_of_items_together_and_of_each_alone(clip, tmp_path):
    run = put_run(tmp_path)
    lines, kinds = [], ("source", "target", "mask")
    runs: dict[str, dict[str, Any]] = {
        "one": {},
        "gone": {},
        "wide": {"source": pixels(4, 50, 20), "mask": None, "target": None, "target_caption": "make it red a photo"},
        "same": {"result": pixels(1, *SIZE), "target_caption": None},
        "two": {"source": pixels(5, *SIZE), "result": pixels(6, *SIZE), "source_caption": None},
    }
    for name, changes in runs.items():
        folder = tmp_path / name
        put_run(folder, **changes)
        item = json.loads((folder / "items.jsonl").read_text()) | {"id": f"../{name}/results/one"}
        item |= {kind: f"{name}/{item[kind]}" for kind in kinds if item[kind]}
        lines.append(json.dumps(item))
    (tmp_path / "gone" / "results" / "one.png").unlink()
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    dino = Dino.from_pretrained(str(save_dino(tmp_path / "dino")))
    networks = Networks(clip=clip, dino=dino, structure=dino)
    together = score_run(run, networks, batch_size=4)
    alone = score_run(run, networks, batch_size=1)
    assert [row.problem is None for row in together] == [True, False, True, True, True]
    for first, second in zip(together, alone, strict=True):
        assert first.zeros == second.zeros and first.scores == pytest.approx(second.scores, abs=1e-5)
    assert together[3].scores["clip_image"] != pytest.approx(together[0].scores["clip_image"], abs=1e-3)


def test_a_direction_without_a_length_is_zero_and_counted(clip, tmp_path):
    (row,) = score_run(put_run(tmp_path / "a", result=pixels(1, *SIZE), mask=None), Networks(clip=clip))
    assert row.scores["clip_direction"] == 0 and row.zeros == ["clip_direction"]
    (row,) = score_run(put_run(tmp_path / "b", target_caption="a photo", mask=None), Networks(clip=clip))
    assert row.scores["clip_direction"] == 0 and row.zeros == ["clip_direction"]
    (row,) = score_run(put_run(tmp_path / "c", source_caption=None, mask=None), Networks(clip=clip))
    assert row.scores["clip_direction"] is None and row.zeros == []
    (row,) = score_run(put_run(tmp_path / "d", target_caption="", mask=None), Networks(clip=clip))
    assert row.scores["clip_text"] is None and "clip_text_of_target" not in row.scores


def test_lpips_outside_the_mask_is_that_of_pie_bench(tmp_path):
    torch.manual_seed(0)
    lpips = PerceptualDistance((3, 2, 4, 5, 3))
    with torch.no_grad():
        for weight in lpips.parameters():
            weight.copy_(torch.randn_like(weight).abs() * 0.2)
    found = scores(put_run(tmp_path), lpips=lpips)
    pair = [
        torch.from_numpy(blackened(pixels(seed, *SIZE), ~REGION).astype(np.float32) / 127.5 - 1).permute(2, 0, 1)[None]
        for seed in (3, 1)
    ]
    expected = float(lpips(*pair))
    assert found["lpips_outside"] == pytest.approx(expected, abs=1e-4) and expected > 1e-3


def test_what_cannot_be_scored_is_one_sentence(tmp_path):
    run = put_run(tmp_path / "run", result=None)
    with pytest.raises(InputMissing, match=r"has no results, such as one\.png"):
        score_folder(run, NetworkNames(), "cpu")
    run = put_run(tmp_path / "other")
    with pytest.raises(ModelError, match="there is no CLIP model in"):
        score_folder(run, NetworkNames(clip=str(tmp_path)), "cpu")
    (tmp_path / "other" / "pictures" / "one.source.png").unlink()
    with pytest.raises(InputMissing, match=r"one\.source\.png"):
        score_folder(run, NetworkNames(), "cpu")
