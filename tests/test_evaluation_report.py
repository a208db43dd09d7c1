"""What an evaluation tells: the numbers, the table, and the page of pictures."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.stub_scenes import StubScenes, colour_blind, oracle
from tests.toys import toy_pipeline
from varedit.content_hash import folder_hash
from varedit.errors import OutputError
from varedit.evaluation.contestants import CEILING, FLOOR, MODEL, GenerationChoice, do_nothing
from varedit.evaluation.facts import measurement_facts
from varedit.evaluation.files import make_report_folder, write_report
from varedit.evaluation.scene_page import SHOWN_BEST, SHOWN_FAILED, SHOWN_WORST, scene_page, shown_scenes
from varedit.evaluation.scene_report import results_report, results_table
from varedit.evaluation.scenes import SEED, JudgedScene, evaluate_scenes
from varedit.evaluation.success import Readouts
from varedit.hub import ModelSource
from varedit.requests import derived_seed

SCENES = StubScenes()
FACTS = {"command": "varedit eval scenes --model <toy>", "model": {"name": "toy", "sha256": "ab12"}, "split": "test"}


def mixed(scenes, seeds):
    """Right on the first two of six scenes, idle on the whole pictures, and with the wrong colour on the others."""
    editors = (oracle, oracle, do_nothing, colour_blind, colour_blind, do_nothing)
    return [editors[number_of(seed) % 6]([scene], [seed])[0] for scene, seed in zip(scenes, seeds, strict=True)]


def number_of(seed: int) -> int:
    return next(index for index in range(100) if derived_seed(SEED, index) == seed)


@pytest.fixture(scope="module")
def judged() -> list[JudgedScene]:
    return evaluate_scenes(SCENES, {MODEL: mixed, FLOOR: do_nothing, CEILING: oracle}, range(12))


@pytest.fixture(scope="module")
def page(judged) -> str:
    return scene_page(SCENES, judged, FACTS)


# Numbers


def test_the_report_is_json_with_facts_rows_and_every_scene(judged):
    report = json.loads(json.dumps(results_report(judged, FACTS), allow_nan=False))
    assert report["model"] == {"name": "toy", "sha256": "ab12"} and report["photographs"] == 9
    overall = {name: rows[0]["success"]["share"] for name, rows in report["results"].items()}
    assert overall == {MODEL: round(4 / 12, 4), FLOOR: 0.0, CEILING: 1.0}
    low, high = report["results"][MODEL][0]["success"]["interval"]
    assert 0 < low < 4 / 12 < high < 1
    assert [scene["index"] for scene in report["scenes"]] == list(range(12))
    assert [scene["success"] for scene in report["scenes"][:6]] == [True, True, False, False, False, False]
    assert report["scenes"][3]["failures"] == ["nearer to alternative 1"]
    assert report["scenes"][5]["failures"] == ["nearer to the source"]
    assert report["scenes"][2]["outside_restored_psnr"] is None, "a whole-picture edit has no outside"


def test_the_table_fits_eighty_characters_and_shows_floor_and_ceiling(judged):
    console = Console(width=80, file=io.StringIO())
    with console.capture() as printed:
        console.print(results_table(judged))
    lines = printed.get().splitlines()
    assert all(len(line) <= 80 and "…" not in line for line in lines)
    row = next(line.split() for line in lines if line.startswith("object"))
    assert row[0:3] == ["object", "4", "0.50"] and row[-2:] == ["0.00", "1.00"]
    assert any(line.startswith("  recolour part") for line in lines)


def test_facts_tell_model_settings_device_and_versions(tmp_path):
    pipeline = toy_pipeline()
    pipeline.save_pretrained(tmp_path / "model")
    source = ModelSource(tmp_path / "model", revision="c0ffee")
    facts = measurement_facts(source, pipeline, GenerationChoice(guidance=1.25), "varedit eval scenes")
    assert facts["model"] == {"name": "toy", "revision": "c0ffee", "sha256": folder_hash(tmp_path / "model")}
    assert facts["settings"] == {
        "guidance": 1.25, "temperature": 0.7, "top_k": None, "top_p": 0.97, "greedy": False,
        "reuse": None, "candidates": 1,
    }  # fmt: skip
    assert facts["device"].startswith("CPU, ") and set(facts["versions"]) == {"varedit", "python", "torch", "numpy"}


def test_the_hash_of_a_model_follows_its_weights_and_not_its_card(tmp_path):
    for name, content in (("config.json", b"{}"), ("transformer/model.safetensors", b"12"), ("README.md", b"words")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    before = folder_hash(tmp_path)
    (tmp_path / "README.md").write_bytes(b"other words")
    assert folder_hash(tmp_path) == before
    (tmp_path / "transformer/model.safetensors").write_bytes(b"13")
    assert folder_hash(tmp_path) != before


# The page


class Outline(HTMLParser):
    """Tags with their attributes, and whether every tag is closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_well_formed_and_has_no_outside_address(page):
    outline = Outline(page)
    addresses = [
        value or "" for _, attributes in outline.tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert addresses and all(address.startswith(("data:image/", "#")) for address in addresses)
    assert "//" not in re.sub(r'src="data:[^"]*"', "", page) and "url(" not in page and "<script" not in page


def test_links_and_labels_of_the_page_lead_somewhere(page):
    outline = Outline(page)
    targets = {attributes["id"] for _, attributes in outline.tags if "id" in attributes}
    assert {str(each["href"]).removeprefix("#") for each in outline.all("a")} <= targets
    assert all(each.get("id") in ("show-all", "show-passed", "show-failed") for each in outline.all("input"))
    assert all(f"#{each['id']}:checked" in page for each in outline.all("input") if each["id"] != "show-all")


def test_every_picture_has_a_text_and_is_one(page):
    for image in Outline(page).all("img"):
        assert image["alt"]
        data = base64.b64decode(str(image["src"]).partition("base64,")[2])
        assert data.startswith((b"\x89PNG", b"\xff\xd8"))


def test_a_card_shows_instruction_verdict_and_reason(page):
    cards = re.findall(r"<article.*?</article>", page, flags=re.S)
    assert len(cards) == 12
    assert sum("✓" in card and "success" in card for card in cards) == 4
    blind = [card for card in cards if "nearer to alternative 1" in card]
    assert all(
        'class="failed"' in card and "make the &lt;red&gt; square &quot;blue&quot; &amp;" in card for card in blind
    )
    assert len(blind) == 4 and "<red>" not in page
    assert all(card.count("<figure>") == 5 for card in cards)


def test_the_page_is_read_on_phones_in_the_dark_and_by_keyboard(page):
    assert 'name="viewport" content="width=device-width' in page and "prefers-color-scheme: dark" in page
    assert ":focus-visible" in page and 'class="skip"' in page and 'lang="en"' in page
    assert "overflow-x: auto" in page and 'tabindex="0"' in page, "the wide table scrolls by itself, by keyboard too"


def test_of_a_large_category_best_worst_and_failures_of_all_degrees_are_shown():
    def graded(scenes, seeds):
        """Scene i of 30 is a mixture of target and source, from all source to all target."""
        results = []
        for scene, seed in zip(scenes, seeds, strict=True):
            share = number_of(seed) / 3 / 29
            picture = np.rint(share * scene.target + (1 - share) * scene.source.astype(float)).astype(np.uint8)
            results.append(Readouts(picture, picture))
        return results

    scenes = evaluate_scenes(SCENES, {MODEL: graded}, range(0, 90, 3))
    passed = [scene for scene in scenes if scene.scores[MODEL].is_success]
    failed = [scene for scene in scenes if not scene.scores[MODEL].is_success]
    assert len(passed) > SHOWN_BEST + SHOWN_WORST and len(failed) > SHOWN_FAILED
    shown = shown_scenes(scenes)
    passed_shown, failed_shown = shown[: SHOWN_BEST + SHOWN_WORST], shown[SHOWN_BEST + SHOWN_WORST :]
    assert [scene.index // 3 for scene in passed_shown] == [29, 28, 27, len(failed) + 1, len(failed)]
    margins = [scene.scores[MODEL].restored.margin for scene in failed_shown]
    every = sorted((scene.scores[MODEL].restored.margin for scene in failed), reverse=True)
    assert margins == sorted(margins, reverse=True) and len({scene.index for scene in failed_shown}) == SHOWN_FAILED
    assert (margins[0], margins[-1]) == (every[0], every[-1])


# Files


def test_a_report_replaces_an_older_one_whole_and_leaves_nothing_beside_it(tmp_path):
    make_report_folder(tmp_path / "new" / "folder")
    path = tmp_path / "new" / "folder" / "page.html"
    write_report(path, "old")
    write_report(path, "new ü")
    assert path.read_text(encoding="utf-8") == "new ü" and list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_at_the_end_leaves_the_older_report(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    write_report(path, "old")

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        write_report(path, "new")
    assert path.read_text(encoding="utf-8") == "old" and list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot be written to: .* Choose another with -o"):
        make_report_folder(tmp_path / "file")
    with pytest.raises(OutputError, match=r"page\.html cannot be written"):
        write_report(Path(tmp_path / "missing" / "page.html"), "text")
