"""In a real browser a page opens without an error, sorts, filters, switches panels, and follows the pointer."""

import html as escaping
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"),
]

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")


DARK = "--blink-settings=preferredColorScheme=0"


def opened(page: str, folder: Path, script: str, *options: str, width: int = 1280) -> tuple[dict, list[str]]:
    """What `script` puts into `found` after the page has loaded, and what the console said."""
    probe = f"""<script>
    addEventListener("load", () => {{
      const found = {{}};
      const $ = (selector) => document.querySelector(selector);
      const shown = (table) => [...table.tBodies[0].rows].filter((row) => !row.hidden);
      const column = (table, k) => shown(table).map((row) => row.cells[k].textContent);
      {script}
      document.body.dataset.found = JSON.stringify(found);
    }});</script>"""
    path = folder / "page.html"
    path.write_text(page.replace("</body>", probe + "</body>"), encoding="utf-8")
    command = [str(BROWSER), *OPTIONS, f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"]
    done = subprocess.run([*command, *options, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=60)
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    return json.loads(escaping.unescape(found[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_an_analysis_sorts_filters_and_switches(analysis_page, tmp_path):
    script = """
      const table = [...document.querySelectorAll("table")].find((t) => t.caption.textContent.startsWith("Indices by"));
      const weights = table.tHead.rows[0].cells[2], name = table.tHead.rows[0].cells[0];
      found.start = column(table, 2);
      weights.querySelector("button").click();
      found.down = column(table, 2); found.sort = weights.getAttribute("aria-sort");
      weights.querySelector("button").click();
      found.up = column(table, 2);
      name.querySelector("button").click();
      found.names = column(table, 0); found.unsorted = weights.getAttribute("aria-sort");
      const orders = [...document.querySelectorAll(".panels > .table")];
      found.before = orders.map((panel) => panel.hidden);
      const select = $(".panels select"); select.value = "1"; select.dispatchEvent(new Event("change"));
      found.after = orders.map((panel) => panel.hidden);
      const curve = $("g.faint");
      const row = [...table.tBodies[0].rows].find((r) => r.cells[0].textContent === curve.dataset.name);
      row.dispatchEvent(new PointerEvent("pointerenter")); found.curve = curve.classList.contains("on");
      found.overflow = document.documentElement.scrollWidth - innerWidth;
      found.milliseconds = performance.now();  // since the navigation began
    """
    found, console = opened(analysis_page, tmp_path, script)
    assert console == []
    assert found["down"] == sorted(found["start"], key=lambda text: -int(text.replace(",", "")))
    assert found["up"] == found["down"][::-1] != found["down"]
    assert found["sort"] == "descending"
    assert found["unsorted"] is None
    assert found["names"] == sorted(found["names"], key=lambda name: (name[0].isalpha(), name))
    assert found["before"] == [False, True]
    assert found["after"] == [True, False]
    assert found["curve"] is True
    assert found["overflow"] <= 0
    assert found["milliseconds"] < 1000


def test_records_follow_pointer_keyboard_and_slider(records_page, tmp_path):
    script = """
      const figure = $("figure[data-slider]"), bands = [...figure.querySelectorAll(".band")];
      const on = () => [...figure.querySelectorAll("tr.on")].map((row) => row.cells[0].textContent);
      const reading = figure.querySelector(".reading"), slider = figure.querySelector("input[type=range]");
      bands[0].dispatchEvent(new PointerEvent("pointerenter"));
      found.hover = [reading.textContent, on(), slider.value];
      bands[2].focus();
      found.focus = [reading.textContent, on(), slider.getAttribute("aria-valuetext")];
      slider.value = 1; slider.dispatchEvent(new Event("input"));
      found.slide = [reading.textContent, on()];
      const all = [...document.querySelectorAll("table[data-filtered]")].at(-1);
      const input = all.closest(".table").querySelector("input");
      input.value = "keep harm theorem"; input.dispatchEvent(new Event("input"));
      found.filtered = column(all, 1); found.count = all.closest(".table").querySelector("output").textContent;
      found.line = getComputedStyle(bands[1].querySelector("line")).opacity;
    """
    found, console = opened(records_page, tmp_path, script)
    assert console == []
    assert found["hover"] == [
        "10\u00a0% sparsity: measured 0.001, bound C 0.002, bound B 0.1, bound A 10 (vacuous)",
        ["10\u00a0%"],
        "0",
    ]
    assert found["focus"][0].startswith("90\u00a0% sparsity")
    assert found["focus"][1:] == [["90\u00a0%"], found["focus"][0]]
    assert found["slide"][1] == ["50\u00a0%"]
    assert found["filtered"] == ["harm"] * 9
    assert found["count"] == "9 of 36 rows"
    assert found["line"] == "1"


@pytest.mark.parametrize("name", ["analysis_page", "comparison_page", "records_page"])
def test_pages_fit_a_telephone(name, tmp_path, request):
    script = "found.overflow = document.documentElement.scrollWidth - innerWidth;"
    found, console = opened(request.getfixturevalue(name), tmp_path, script, width=500)
    assert console == []
    assert found["overflow"] <= 0


CONTRAST = """
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const parsed = (text) => {
    const [r, g, b, a = 1] = numbers(text);
    return text.startsWith("color(") ? [r, g, b, a] : [r / 255, g / 255, b / 255, a];
  };
  const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (element) => {
    const color = parsed(getComputedStyle(element).backgroundColor);
    return color[3] === 1 || !element.parentElement ? color : behind(element.parentElement);
  };
  const contrast = (element) => {
    const style = getComputedStyle(element), inside = element.closest("svg");
    const [a, b] = [parsed(inside ? style.fill : style.color), behind(element)].map(luminance).sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const written = [...document.querySelectorAll("body *")].filter((element) =>
    !["SCRIPT", "OPTION"].includes(element.tagName) && element.getClientRects().length &&
    [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  found.texts = written.length;
  found.least = Math.min(...written.map(contrast));
  found.paper = luminance(parsed(getComputedStyle(document.body).backgroundColor));
"""


@pytest.mark.parametrize("options", [(), (DARK,)], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["analysis_page", "comparison_page", "records_page"])
def test_every_text_can_be_read(name, options, tmp_path, request):
    found, _ = opened(request.getfixturevalue(name), tmp_path, CONTRAST, *options)
    assert found["texts"] > 100
    assert (found["paper"] < 0.1) == bool(options)
    assert found["least"] >= 4.5


@pytest.mark.parametrize("name", ["analysis_page", "comparison_page", "records_page"])
def test_keyboard_and_screen_reader_find_everything_by_name(name, tmp_path, request):
    script = """
      const all = (selector) => [...document.querySelectorAll(selector)];
      const label = (element) => element.getAttribute("aria-label") || element.textContent.trim();
      const named = (element) => (element.getAttribute("aria-labelledby") || "").split(" ")
        .map((id) => document.getElementById(id)?.textContent).join(" ");
      const stops = all("a[href], button, input, select, summary, [tabindex]");
      found.skip = stops[0].className;
      found.never = stops.filter((element) => element.tabIndex < 0).length;
      found.unsorted = all("thead th").filter((heading) => !heading.querySelector("button")).length;
      found.buttons = all("thead th button").filter((button) => stops.includes(button)).length;
      found.nameless = all("button, [role=group], .scroll").filter((element) => !label(element)).length;
      found.unlabelled = all("input, select").filter((element) => !element.labels.length).length;
      found.drawings = all("svg").filter((svg) =>
        !svg.closest("[aria-hidden=true]") && !svg.getAttribute("aria-label")).length;
      found.sections = all("section").map(named);
      found.ids = all("[id]").map((element) => element.id);
    """
    found, _ = opened(request.getfixturevalue(name), tmp_path, script)
    assert found["skip"] == "skip"
    assert found["buttons"] > 0
    assert [found[key] for key in ("never", "unsorted", "nameless", "unlabelled", "drawings")] == [0] * 5
    for key in ("sections", "ids"):
        assert len(found[key]) == len(set(found[key]))


def test_errors_of_a_script_would_be_seen(records_page, tmp_path):
    _, console = opened(records_page, tmp_path, "setTimeout(() => missing(), 0); console.error('seen');")
    assert len(console) >= 1
