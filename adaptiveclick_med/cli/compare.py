"""``adaptiveclick-med compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

__all__ = ["compare"]

_PAPER = Path("configs/paper.yaml")


def compare(
    results: Annotated[list[Path], typer.Argument(help="results.json files, or folders of evaluate.")],
    paper: Annotated[
        Optional[Path],
        typer.Option("--paper", help="The paper's numbers; by default configs/paper.yaml."),
    ] = None,
    tables: Annotated[str, typer.Option("--tables", help="Tables of the paper to show.")] = "I,II,III,IV",
    methods: Annotated[
        Optional[str], typer.Option("--methods", help="Only these methods of the paper: AdaptiveClick,SimpleClick.")
    ] = None,
    figure: Annotated[
        Optional[Path], typer.Option("--figure", help="Draw mean IoU against clicks, a panel a data set.")
    ] = None,
    level: Annotated[float, typer.Option("--level", help="Confidence level of the intervals.")] = 0.95,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")] = 0,
) -> None:
    """Set evaluations beside each other and the paper: table, differences with intervals, curves.

    Differences are those from the first evaluation of each data set, over the objects in both.
    """
    from adaptiveclick_med.evaluation import compare_results, read_paper, read_results

    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}.")
    rows = []
    if paper is not None or _PAPER.is_file():
        wanted = None if methods is None else [method.strip() for method in methods.split(",")]
        rows = read_paper(paper or _PAPER, [table.strip() for table in tables.split(",")], wanted)
    found = read_results(results)
    if len(found) > 1 and all(len(labelled) == 1 for labelled in found.values()):
        typer.echo("No data set is in more than one of these evaluations, so there is nothing to compare.\n")
    for dataset, labelled in found.items():
        typer.echo(compare_results(labelled, dataset=dataset, paper=rows, level=level, seed=seed) + "\n")
    if figure is not None:
        from adaptiveclick_med.visualize import draw_curve_panels, save_figure

        panels = {
            str(next(iter(labelled.values())).facts.get("title") or dataset): {
                label: result.curve() for label, result in labelled.items()
            }
            for dataset, labelled in found.items()
        }
        typer.echo(f"Figure: {save_figure(draw_curve_panels(panels), figure)}")
