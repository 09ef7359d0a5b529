"""A report is one well-formed page that needs nothing else, shows what was measured, and is safe to open."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from report.pages import HOSTILE, Page, network, records

from lqtheory.analysis import analyze
from lqtheory.cli.report import report
from lqtheory.comparison import compare
from lqtheory.records import append
from lqtheory.report import Run, html, read_runs

PAGES = ("analysis_page", "comparison_page", "records_page")


@pytest.fixture(params=PAGES)
def page(request) -> str:
    return request.getfixturevalue(request.param)


def test_a_page_is_well_formed(page):
    parsed = Page(page)
    assert page.startswith("<!DOCTYPE html>")
    assert not parsed.faults
    assert not parsed.open
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"] for a in parsed.all("a")}
    assert targets <= {f"#{name}" for name in ids}


def test_a_page_fetches_nothing(page):
    parsed = Page(page)
    fetching = {"src", "srcset", "data", "action", "poster", "background", "xlink:href"}
    assert not [a for _, a in parsed.elements if fetching & a.keys()]
    assert not parsed.all("link")
    assert not parsed.all("iframe")
    assert len(parsed.all("script")) == 1
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttpRequest|\bimport\b\s*[({]", page)


def test_names_cannot_break_out(analysis_page, records_page):
    for page in (analysis_page, records_page):
        parsed = Page(page)
        assert HOSTILE in parsed.text.replace("  ", " ")
        assert len(parsed.all("script")) == 1
        assert not parsed.all("img")
        assert not [a for _, a in parsed.elements if any(name.startswith("on") for name in a)]


def test_every_table_has_a_caption_and_headings_of_columns_and_rows(page):
    parsed = Page(page)
    assert len(parsed.all("caption")) == len(parsed.all("table")) >= 1
    scopes = [attributes.get("scope") for attributes in parsed.all("th")]
    assert set(scopes) == {"col", "row"}
    assert all(a.get("aria-label") for a in parsed.all("svg") if a.get("role") == "group")


def test_styles_know_dark_print_and_reduced_motion(page):
    for query in ("prefers-color-scheme: dark", "@media print", "prefers-reduced-motion"):
        assert query in page


def test_numbers_of_an_analysis_are_shown():
    found = analyze(network())
    text = Page(html(read_runs([found]))).text
    document = found.to_dict()
    assert f"{document['coverage']['analysed']:,} of {document['coverage']['parameters']:,} parameters" in text
    assert "bias or norm vector" in text
    for row in document["tensors"]:
        for number in (row["indices"]["gini"], row["indices"]["pq_index"]["0.5,1"]):
            assert f"{number:.3f}" in text
        assert row["name"] in text


def test_a_document_without_profiles_says_what_is_left_out(tmp_path):
    path = tmp_path / "net.json"
    document = json.loads(analyze(network()).to_json())
    for part in (document["network"], *document["tensors"]):
        del part["outline"]
    path.write_text(json.dumps(document))
    text = Page(html(read_runs([str(path)]))).text
    assert "Lorenz curves and histograms need the weights" in text
    assert "q = 0.75" in text


def test_a_document_with_outlines_has_its_curves(tmp_path):
    path = tmp_path / "net.json"
    path.write_text(analyze(network()).to_json())
    assert "Lorenz curves and histograms need the weights" not in Page(html(read_runs([str(path)]))).text


def test_a_comparison_of_documents_and_of_networks_say_the_same(tmp_path):
    a, b = analyze(network()), analyze(network(1, power=3.0))
    path = tmp_path / "both.json"
    path.write_text(compare(a, b).to_json())
    read, made = (Page(html(read_runs(sources))).text for sources in ([str(path)], [a, b]))
    for text in (read, made):
        assert "B is more compressible than A: its Lorenz curve lies above everywhere" in text
    assert "make it from the checkpoints" in read
    assert "Distance" not in read
    assert "The distance of the curves" in made


def test_records_show_each_bound_and_each_violation(records_page):
    text = Page(records_page).text
    assert "36 bounds are set beside measurements; none is violated" in text
    assert "90\u00a0% sparsity: measured 0.009, bound C 0.018, bound B 0.9, bound A 90 (vacuous)" in records_page
    assert "(90)" in text
    broken = [replace(r, violated=k == 0) for k, r in enumerate(records())]
    assert "1 ARE VIOLATED" in Page(html([Run("records", "r", broken, ())])).text


def test_the_layer_that_dominates_a_bound_is_named():
    found = [replace(r, setting=r.setting | {"shares": {"fc1": 0.2, "fc2 <b>": 0.8}}) for r in records()]
    parsed = Page(html([Run("records", "r", found, ())]))
    assert "fc2 <b> dominates bound C: 80 % of it on average" in parsed.text
    assert "Shares of the bound" in parsed.text
    assert not parsed.all("b")


def test_every_kind_of_record_of_the_ladder_is_shown():
    first = records()[0]
    more = [replace(first, tier=tier) for tier in ("C weighted", "D uniform", "F", "H")]
    region = first.setting | {"quantity": "agreement", "trivial": 0.0}
    more += [replace(first, tier="E", sparsity=s, bound=0.4, measured=0.9, setting=region) for s in (0.1, 0.5)]
    limit = first.setting | {"quantity": "sparsity at harm", "limit": 0.01, "layers": {"fc1": 0.75, "fc2": 0.125}}
    more += [replace(first, tier="C", sparsity=0.5, bound=0.5, measured=0.875, setting=limit)]
    parsed = Page(html([Run("records", "r", more, ())]))
    assert not parsed.faults
    assert "share of inputs with one answer in a whole region" in parsed.text
    assert "harm ≤ 0.01" in parsed.text
    assert all(share in parsed.text for share in ("75.0 %", "12.5 %", "87.5 %"))
    assert "sparsity at harm, numbers" not in parsed.text


def test_infinite_bounds_and_other_settings_are_drawn():
    found = [replace(r, bound=float("inf"), tightness=float("inf"), setting={}) for r in records()[:3]]
    parsed = Page(html([Run("records", "r", found, ())]))
    assert not parsed.faults
    assert "∞" in parsed.text
    assert not [a for _, a in parsed.elements for v in a.values() if v and re.search(r"\b(nan|inf)\b", v)]


@pytest.mark.parametrize(
    "weights",
    [
        {"zero": np.zeros((4, 4))},
        {"zero": np.zeros((4, 4)), "one": np.eye(4)},
        {"nan": np.full((4, 4), np.nan)},
        {"flat": np.ones((8, 8))},
        {"tiny": np.full((4, 4), 5e-324), "huge": np.full((4, 4), 1e300)},
    ],
)
def test_odd_networks_have_a_page(weights):
    parsed = Page(html(read_runs([analyze(weights)])))
    assert not parsed.faults
    assert not [a for _, a in parsed.elements for v in a.values() if v and re.search(r"\b(nan|inf)\b", v)]


def test_two_hundred_layers_stay_under_three_megabytes():
    rng = np.random.default_rng(0)
    weights = {f"model.layers.{k}.self_attention.projection.weight": rng.standard_cauchy((16, 24)) for k in range(200)}
    size = len(html(read_runs([analyze(weights)])).encode())
    assert 100_000 < size < 3_000_000


def test_the_same_input_gives_the_same_bytes(analysis_page):
    again = html(read_runs([analyze(network() | {HOSTILE: np.ones((3, 4), np.float32)})]), "lqtheory report net")
    assert again == analysis_page


def test_the_command_writes_a_page_of_everything(tmp_path):
    np.savez(tmp_path / "net.npz", **network())
    append(tmp_path / "records.jsonl", records())
    page = tmp_path / "page.html"
    runs = [str(tmp_path / name) for name in ("net.npz", "records.jsonl")]
    result = CliRunner().invoke(report, [*runs, "-o", str(page), "--title", "Both"])
    assert result.exit_code == 0, result.output
    parsed = Page(page.read_text())
    assert "Both – lqtheory report" in parsed.text
    assert "SHA-256" in parsed.text
    assert "net & co, pruned and verified" in parsed.text


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "[1]", "must have the schema"),
        ("a.json", json.dumps({"schema": "other/1"}), "got 'other/1'"),
        ("a.jsonl", "", "must hold records"),
        ("a.npz", "", "is empty"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_sentence(tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    result = CliRunner().invoke(report, [str(tmp_path / name), "-o", str(tmp_path / "page.html")])
    assert result.exit_code == 2
    assert sentence in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "page.html").exists()


CERTIFICATE = {
    "sparsity": 0.1,
    "limit": 0.01,
    "confidence": 0.95,
    "n": 1793,
    "sparsities": [0.05, 0.1, 0.15],
    "lost": [0, 3, 40],
    "rates": [0.0017, 0.0043, 0.029],
    "drop_sparsity": 0.15,
    "samples": 2000,
    "gained": [0, 5, 39],
    "drops": [0.0015, 0.0021, 0.0082],
    "method": "Recipe(score='<b>')",
    "source": "Theorem 29",
    "drop_source": "Theorem 35",
    "summary": "At 10 % sparsity, few are lost. At 15 %, the accuracy falls little.",
}


def test_a_certificate_shows_both_promises_and_each_step(tmp_path):
    (tmp_path / "certificate.json").write_text(json.dumps(CERTIFICATE))
    parsed = Page(html(read_runs([tmp_path / "certificate.json"])))
    assert not parsed.faults
    for part in ("10.0 %", "15.0 %", "Theorem 35", "At 15 %, the accuracy falls little.", "Recipe(score='<b>')"):
        assert part.replace(" %", "\u00a0%") in parsed.text or part in parsed.text
    bands = [a["aria-label"] for tag, a in parsed.elements if "band" in (a.get("class") or "")]
    assert len(bands) == 3
    assert bands[2] == "15 % sparsity: at most 2.9 % lost, accuracy at most 0.9 % lower".replace(" %", "\u00a0%")


def test_a_certificate_of_nothing_is_a_page(tmp_path):
    nothing = {key: [] for key in ("sparsities", "lost", "rates", "gained", "drops")}
    (tmp_path / "c.json").write_text(json.dumps(CERTIFICATE | nothing | {"sparsity": 0.0, "drop_sparsity": 0.0}))
    assert not Page(html(read_runs([tmp_path / "c.json"]))).faults


def test_a_recipe_shows_what_each_layer_kept(tmp_path):
    np.savez(tmp_path / "net.npz", **network())
    recipe = {"method": {"score": "magnitude", "fit": None}, "sparsity": 0.5, "seed": 7, "device": "cpu"}
    recipe |= {"command": "lqtheory prune net.npz", "source": {"file": "net.npz"}}
    recipe |= {"tensors": {"a.weight": {"kept": 25, "of": 100}, "b.weight": {"kept": 75, "of": 100}}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    parsed = Page(html(read_runs([tmp_path / "recipe.json"])))
    assert not parsed.faults
    assert "100 of 200 weights of net.npz were kept" in parsed.text
    bars = [a["style"] for tag, a in parsed.elements if tag == "td" and a.get("class") == "bar"]
    assert bars == ["--b:25.0%", "--b:75.0%"]
    assert "fit" not in parsed.text.split("Settings")[1].split("Reproduce")[0]
