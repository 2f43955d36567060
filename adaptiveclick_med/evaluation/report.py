"""An HTML page of evaluations: numbers, curves, histograms, pictures of objects with their clicks, failures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from adaptiveclick_med._files import replacing
from adaptiveclick_med.clicks import Click
from adaptiveclick_med.data.problems import Problems
from adaptiveclick_med.evaluation.choice import DataSetChoice
from adaptiveclick_med.evaluation.method import Method
from adaptiveclick_med.evaluation.protocol import Session, objects_of
from adaptiveclick_med.evaluation.results import EvaluationResult, ObjectResult, summary_rows, write_csv

__all__ = ["ranked_objects", "write_report", "write_summary"]

_HISTOGRAMS = (1, 4, 10)
_EXAMPLES = 3
_FAILURES_SHOWN = 100


def write_summary(
    results: Mapping[str, EvaluationResult], folder: str | Path, *, failed: Mapping[str, str] | None = None
) -> Path:
    """Write ``summary.csv``, a line a data set; one that could not be evaluated has its reason in the last column.

    Args:
        results: by name of the data set.
        folder: where the file goes.
        failed: reasons by name.

    Returns:
        The file.
    """
    path = Path(folder) / "summary.csv"
    columns = list(dict.fromkeys(column for result in results.values() for column in result.summary()))
    lines: list[list[Any]] = [["dataset", *columns, "left_out", "error"]]
    for name, result in results.items():
        numbers = result.summary()
        lines.append([name, *(numbers.get(column, "") for column in columns), len(result.skipped), ""])
    lines += [[name, *[""] * len(columns), "", reason] for name, reason in (failed or {}).items()]
    write_csv(path, lines)
    return path


def ranked_objects(result: EvaluationResult, count: int = _EXAMPLES) -> dict[str, list[ObjectResult]]:
    """Return the best, the median and the worst objects of an evaluation.

    An object is better than another when it needs fewer clicks to the highest threshold, then when its last IoU is
    higher. No object comes twice, so a small data set has fewer of each.

    Args:
        result: the evaluation.
        count: most objects of each kind.
    """
    needed = result.clicks_to(max(result.thresholds))
    order = sorted(
        range(len(result.objects)),
        key=lambda index: (needed[index], -result.objects[index].ious[-1], result.objects[index].name),
    )
    best = order[:count]
    worst = [index for index in order[-count:] if index not in best]
    middle = [index for index in order if index not in best and index not in worst]
    start = max(0, (len(middle) - count) // 2)
    kinds = {"Best": best, "Median": middle[start : start + count], "Worst": worst}
    return {kind: [result.objects[index] for index in indices] for kind, indices in kinds.items() if indices}


def write_report(
    path: str | Path,
    sections: Mapping[str, tuple[EvaluationResult, DataSetChoice]],
    method: Method,
    *,
    failed: Mapping[str, str] | None = None,
    title: str = "Evaluation with the robot user",
) -> Path:
    """Write an HTML page that needs no other file.

    The clicks of the objects that are shown are made again, since masks are not kept.

    Args:
        path: file to write; it appears whole or not at all.
        sections: result and choice by name of the data set.
        method: what answered to the clicks.
        failed: data sets that could not be evaluated, and why.
        title: of the page.

    Returns:
        The file.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        resources.files("adaptiveclick_med.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    rows = {result.label: result.summary() for result, _ in sections.values()}
    page = template.render(
        title=title,
        untrained=bool(method.facts.get("untrained")),
        summary=Markup(_html_table(rows)),
        sections=[_section(name, result, choice, method) for name, (result, choice) in sections.items()],
        failed=dict(failed or {}),
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(path)


def _section(name: str, result: EvaluationResult, choice: DataSetChoice, method: Method) -> dict[str, Any]:
    from markupsafe import Markup

    from adaptiveclick_med.visualize import draw_curves, draw_histogram

    threshold = max(result.thresholds)
    histograms = [k for k in _HISTOGRAMS if k <= result.max_clicks]
    return {
        "name": name,
        "label": result.label,
        "table": Markup(_html_table({result.label: result.summary()})),
        "curves": _embedded(draw_curves({result.label: result.curve()}, thresholds=result.thresholds)),
        "histograms": [(k, _embedded(draw_histogram({result.label: result.ious_at(k)}, k))) for k in histograms],
        "pictures": _pictures(result, choice, method),
        "failures": result.failures(threshold),
        "threshold": f"{threshold:g}",
        "count": len(result.objects),
        "shown": _FAILURES_SHOWN,
        "skipped": result.skipped,
        "notes": result.notes,
        "facts": {key: value for key, value in result.facts.items() if value not in (None, "", {}, [])},
    }


def _html_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Return an HTML table with the cells of :func:`format_table`."""
    from markupsafe import escape

    head, *lines = summary_rows(rows)
    cells = "".join(f"<th>{escape(text)}</th>" for text in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in line) + "</tr>" for line in lines)
    return f"<table><tr>{cells}</tr>{body}</table>"


def _pictures(result: EvaluationResult, choice: DataSetChoice, method: Method) -> list[tuple[str, list[Any]]]:
    """Return pictures of the best, the median and the worst objects."""
    from adaptiveclick_med.visualize import draw_object

    samples = choice.samples(Problems("skip", quiet=True))
    places = {str(item["name"]): index for index, item in enumerate(samples.data)}
    session = method.session(choice)
    shown = []
    for kind, items in ranked_objects(result).items():
        pictures = []
        for item in items:
            sample_name, _, number = item.name.rpartition("#")
            sample = samples[places[sample_name]] if sample_name in places else {"label": np.zeros((1, 1, 1))}
            targets = {str(identifier): target for identifier, target in objects_of(sample["label"])}
            if number not in targets:
                raise ValueError(f"the result of {choice.title} has {item.name}, which is not in the data set.")
            target = targets[number]
            image = np.moveaxis(np.asarray(sample["image"]), 0, -1)
            mask = _replay(session, image, item.clicks)
            clicks = [Click(*click) for click in item.clicks]
            made = len(clicks)
            caption = f"{item.name}: IoU {item.ious[-1]:.3f} after {made} click{'s' if made != 1 else ''}"
            figure = draw_object(image, target, clicks, mask, title="")
            pictures.append({"source": _embedded(figure, dpi=130), "caption": caption})
        shown.append((kind, pictures))
    return shown


def _replay(session: Session, image: Any, clicks: Sequence[tuple[float, float, bool]]) -> Any:
    """Make clicks again and return the last mask."""
    session.set_image(image)
    prediction: Any = None
    for row, column, positive in clicks:
        prediction = session.click(row, column, positive)
    return prediction.mask


def _embedded(figure: Any, *, dpi: int = 90) -> str:
    """Return a figure as the address of an embedded PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
