"""One HTML file to send to a colleague: everything inline, nothing fetched, the same bytes for the same input.

from lqtheory.report import read_runs, write
write(read_runs(["model.safetensors"]), Path("report.html"))
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

from markupsafe import Markup

from .. import files as whole_files, records
from .comparisons import comparison_section
from .ladders import records_section
from .networks import network_section
from .page import Section
from .promises import certificate_section, recipe_section
from .runs import Run as Run, fingerprints, of_analysis as of_analysis, read_runs as read_runs

SECTIONS = {
    "analysis": network_section,
    "comparison": comparison_section,
    "certificate": certificate_section,
    "recipe": recipe_section,
}


def html(runs: Sequence[Run], command: str = "", title: str = "") -> str:
    """The page; `command` is what a reader should type to make it again."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    sections = told_apart([section(run) for run in runs])
    return environment.from_string(_asset("page.html.jinja")).render(
        title=title or sections[0].title,
        sections=sections,
        style=Markup(_asset("style.css")),
        script=Markup(_asset("behaviour.js")),
        command=command,
        commands=[line for run in runs for line in commands(run)],
        versions=records.versions(),
        commit=records.commit(),
        files=fingerprints(dict.fromkeys(name for run in runs for name in run.files)),
        made=[provenance(run) for run in runs if run.kind == "records"],
    )


def write(runs: Sequence[Run], output: Path, command: str = "", title: str = "") -> None:
    """Write the page to a file, which appears whole or not at all."""
    with whole_files.replacing(output) as draft:
        draft.write_text(html(runs, command, title), encoding="utf-8")


def section(run: Run) -> Section:
    """The part of the page that a run fills."""
    if run.kind == "records":
        return records_section(run.source, run.document)
    return SECTIONS[run.kind](run.document)


def told_apart(sections: Sequence[Section]) -> list[Section]:
    """Sections of one title get a number, by which a screen reader's list of parts tells them apart."""
    titles = [each.title for each in sections]
    return [
        replace(each, title=f"{each.title} ({titles[:k].count(each.title) + 1})")
        if titles.count(each.title) > 1
        else each
        for k, each in enumerate(sections)
    ]


def commands(run: Run) -> list[str]:
    """What prints the numbers of a run again, without this report."""
    if run.kind == "analysis":
        qs = [part for q in run.document["qs"] for part in ("--q", f"{q:g}")]
        return [shlex.join(["lqtheory", "analyze", run.document["source"], *qs, "--format", "json"])]
    if run.kind == "comparison":
        sources = [row["source"] for row in run.document["networks"].values()]
        return [shlex.join(["lqtheory", "compare", *sources, "--format", "json"])]
    return []


def provenance(run: Run) -> dict[str, str]:
    """Where the records of a run come from, by their own account."""
    first, text = run.document[0], {}
    text["records"] = run.source
    text["seed"] = str(first.seed)
    text["device"] = first.device
    text["commit"] = first.commit or "unknown"
    return text | {f"version of {name}": version for name, version in first.versions.items()}


@cache
def _asset(name: str) -> str:
    return (files("lqtheory.report") / name).read_text(encoding="utf-8")
