"""What is drawn and written of an edit's attention, and the command that does it."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from tests.sentences import assert_one_sentence
from tests.toys import CONFIG, picture, toy_pipeline
from varedit.cli import cli
from varedit.evaluation.attention import AttentionChoice, EditAttention, KeyGroup, attention_of_edit
from varedit.evaluation.attention_charts import distance_chart, share_chart
from varedit.evaluation.attention_page import attention_numbers, write_attention
from varedit.evaluation.attention_pictures import density, heat_colours, scale_sheet, shown_word, token_map, word_sheet
from varedit.images import read_image

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def full() -> EditAttention:
    transformer = dataclasses.replace(CONFIG.transformer, reference="full")
    pipeline = toy_pipeline(dataclasses.replace(CONFIG, transformer=transformer))
    choice = AttentionChoice(layers=(1,), scales=(1, 3), mark=(0.9, 0.1))
    return attention_of_edit(pipeline, read_image(picture(40, 40)), "make it <b> & white", choice, seed=5)


def test_density_spreads_each_token_over_its_part_of_the_picture_and_has_mean_one():
    coarse, fine = KeyGroup(True, 0, (1, 2)), KeyGroup(True, 1, (2, 2))
    found = density(
        [(coarse, np.array([[0.1, 0.3]], np.float32)), (fine, np.array([[0, 0], [0, 0.4]], np.float32))], (2, 4)
    )
    by_hand = np.array([[0.2, 0.2, 0.6, 0.6], [0.2, 0.2, 2.2, 2.2]])  # 2 x the coarse ones, 4 x the fine one
    np.testing.assert_allclose(found, by_hand / by_hand.mean(), rtol=1e-6)
    assert density([], (2, 3)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_colours_rise_evenly_in_lightness():
    colours = heat_colours(np.linspace(0, 1, 11, dtype=np.float32)[None])[0].astype(float) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ (0.2126, 0.7152, 0.0722)
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)  # CIE L*
    steps = np.diff(lightness)
    assert (steps > 0).all() and steps.max() < 2.5 * steps.min()


def test_a_token_map_has_a_block_for_each_pair_of_scales_and_grey_where_a_scale_does_not_see(full):
    pixels = np.asarray(token_map(full, 1))
    grey = (pixels == (58, 60, 64)).all(-1).sum()
    lengths = full.schedule.lengths
    unseen = sum(a * b for i, a in enumerate(lengths) for b in lengths[i + 1 :])
    zoom = 720 // (2 * sum(lengths))
    assert grey == 2 * unseen * zoom**2  # finer source scales, and finer target scales


def test_a_sheet_has_a_row_for_each_chosen_scale_and_the_words_a_picture_each(full):
    one = dataclasses.replace(full, scales=(3,))
    two_rows, one_row = scale_sheet(full, 1), scale_sheet(one, 1)
    assert two_rows.width == one_row.width and two_rows.height > one_row.height
    assert word_sheet(full, 1).height > 2 * full.source.shape[0]  # six pieces of text, four in a row
    assert [shown_word(piece) for piece in ("▁make", "</s>", "▁", "it")] == ["make", "(end)", "(blank)", "it"]


def test_the_bars_of_the_chart_are_the_shares(full):
    panels = ElementTree.fromstring(share_chart(full)).findall(f"{SVG}g")[:2]  # noqa: S314  # our own text
    for panel, scales in zip(panels, full.layers, strict=True):
        bars = [(float(bar.get("x", 0)), float(bar.get("height", 0))) for bar in panel.findall(f"{SVG}rect")]
        for each, x in zip(scales, sorted({x for x, _ in bars}), strict=True):
            heights = [height for place, height in bars if place == x]
            earlier = 1 - each.source_share - each.own_share
            shares = [share for _, share in sorted(each.source_shares.items())]
            assert heights == pytest.approx([112 * share for share in (*shares, earlier, each.own_share)], abs=0.06)
    assert ElementTree.fromstring(distance_chart(full)).findall(f".//{SVG}circle")  # noqa: S314


def test_numbers_count_from_one_and_add_up(full):
    numbers = attention_numbers(full)
    assert numbers["reference"] == "full" and numbers["head"] is None and numbers["mark"] == [0.9, 0.1]
    last = numbers["layers"][1]["scales"][3]
    assert (numbers["layers"][1]["layer"], last["scale"]) == (2, 4)
    names = [(row["of"], row["scale"]) for row in last["shares"]]
    assert names == [*(("source", scale) for scale in (4, 3, 2, 1)), *(("target", scale) for scale in (1, 2, 3, 4))]
    assert sum(row["share"] for row in last["shares"]) == pytest.approx(1)
    assert list(last["source_share_by_scale_distance"]) == ["0", "-1", "-2", "-3"]
    assert sum(last["source_share_by_scale_distance"].values()) == pytest.approx(last["source_share"])


class Outline(HTMLParser):
    """Addresses, and tags that are closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.alternatives: list[str | None] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.addresses += [given[name] for name in ("src", "href") if name in given]
        if tag == "img":
            self.alternatives.append(given.get("alt"))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_says_what_was_asked(full, tmp_path):
    told: list[tuple[int, int]] = []
    page = write_attention(full, tmp_path, lambda *done: told.append(done)).read_text(encoding="utf-8")
    outline = Outline(page)
    assert all(address.startswith("data:image/") for address in outline.addresses)
    assert len(outline.alternatives) == 5 and all(outline.alternatives)
    assert "make it &lt;b&gt; &amp; white" in page and "<b>" not in page and "<script" not in page
    assert "//" not in re.sub(r'(src|xmlns)="[^"]*"', "", page)
    assert told == [(1, 1)]
    names = ["attention.html", "attention.json", "layer-2-scales.png", "layer-2-tokens.png", "layer-2-words.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*names, "shares.svg"]
    assert json.loads((tmp_path / "attention.json").read_text(encoding="utf-8")) == attention_numbers(full)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    toy_pipeline().save_pretrained("model")
    picture(30, 30).save("photo.png")
    return "model"


def varedit(*arguments: str):
    return CliRunner().invoke(cli, ["inspect", "attention", *arguments], prog_name="varedit")


def test_the_command_writes_a_page_and_prints_its_path(model):
    asked = ("photo.png", "make it darker", "-m", model, "-o", "out", "--layer", "2", "--head", "3", "--scale", "4")
    result = varedit(*asked, "--mark", "0.25,1", "--seed", "7")
    assert result.exit_code == 0, result.output
    assert result.stdout == "out/attention.html\n"
    numbers = json.loads(Path("out/attention.json").read_text(encoding="utf-8"))
    assert (numbers["head"], numbers["mark"], numbers["settings"]["seed"]) == (3, [0.25, 1.0], 7)
    assert Path("out/layer-2-scales.png").exists() and not Path("out/layer-1-scales.png").exists()
    with Image.open("out/layer-2-scales.png") as sheet:
        assert sheet.height < 2 * 30 + 150  # one row


@pytest.mark.parametrize(
    ("asked", "code", "part"),
    [
        (("photo.png", "darker", "-m", "model", "--layer", "3"), 2, "there is no layer 3; toy has layers 1 to 2"),
        (("photo.png", "darker", "-m", "model", "--scale", "9"), 2, "there is no scale 9; toy has scales 1 to 4"),
        (("photo.png", "darker", "--mark", "0.5"), 2, "'0.5' is not two numbers"),
        (("photo.png", " "), 2, "the instruction is empty"),
        (("nothing.png", "darker"), 66, "nothing.png"),
        (("photo.png", "darker", "-m", "model", "-o", "photo.png"), 73, "photo.png cannot be written to"),
        (("photo.png", "darker", "-m", "no-such-model"), 69, "no-such-model"),
    ],
)
def test_what_is_wrong_is_one_sentence(model, asked, code, part):
    assert_one_sentence(varedit(*asked), code, part)
