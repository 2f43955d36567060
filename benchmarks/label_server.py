"""What an annotator gets from the label server: Dice after 1, 3 and 5 clicks, and the time of a click by part.

.venv-label/bin/python benchmarks/label_server.py --weights W --data DIR [--data DIR ...] [--train]

Each DIR holds images/ (or imagesTr/) and labels/ (or labelsTr/) with equal file names; --pair IMAGE LABEL names one
volume instead. A server is started in a process of its own and driven by MONAI Label's Python client, which is what 3D
Slicer's module uses. On the first, middle and last slice of each object (along k, those with a quarter of its largest
area) the robot user makes five clicks, all clicks of the slice in every request. Then the clicked slices are carried
through the volume. Undo is compared bit for bit. All numbers are of one run on one machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import requests
from monailabel.client import MONAILabelClient

from adaptiveclick_med.data.files import file_stem, file_suffix, read_volume
from adaptiveclick_med.data.masks import write_volume
from adaptiveclick_med.simulation import RobotUser

STEPS = (1, 3, 5)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * int((first & second).sum()) / max(1, int(first.sum()) + int(second.sum()))


def pairs_of(folder: Path) -> list[tuple[Path, Path]]:
    for images, labels in (("images", "labels"), ("imagesTr", "labelsTr")):
        if (folder / images).is_dir():
            return [(path, folder / labels / path.name) for path in sorted((folder / images).iterdir())]
    raise SystemExit(f"{folder} has neither images/ nor imagesTr/")


def start(studies: Path, work_dir: Path, weights: str, more: list[str]) -> tuple[subprocess.Popen, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "adaptiveclick_med.cli", "serve", "--studies", str(studies), "--port", str(port)]
    command += ["--weights", weights, "--work_dir", str(work_dir), *more]
    log = (work_dir.parent / "server.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    while process.poll() is None:
        try:
            if requests.get(f"{url}/info/", timeout=60).ok:
                return process, url
        except requests.ConnectionError:
            time.sleep(0.5)
    raise SystemExit((work_dir.parent / "server.log").read_text()[-2000:])


class Annotator:
    """Clicks on one object of one volume through the client."""

    def __init__(self, client: MONAILabelClient, image: str, truth: np.ndarray, times: dict[str, list[float]]) -> None:
        self.client, self.image, self.truth, self.times = client, image, truth, times

    def ask(self, model: str, clicks: list[tuple[tuple[int, int, int], bool]], **more: object) -> np.ndarray:
        request = {
            "foreground": [list(point) for point, positive in clicks if positive],
            "background": [list(point) for point, positive in clicks if not positive],
            "label": "object",
            "result_extension": ".nii.gz",
            **more,
        }
        begin = time.perf_counter()
        file, answer = self.client.infer(model, self.image, request)
        round_trip = time.perf_counter() - begin
        mask = read_volume(file).array > 0
        Path(file).unlink()
        parts = answer["latencies"]
        if model.endswith("2d") and not parts["decode"]:
            for part in ("network", "transforms", "writing"):
                self.times.setdefault(part, []).append(parts[part])
            self.times.setdefault("server and client", []).append(round_trip - parts["total"])
            self.times.setdefault("whole", []).append(round_trip)
        self.answer = answer
        return mask

    def slice_clicks(self, k: int) -> tuple[list[tuple[tuple[int, int, int], bool]], list[float], bool]:
        user, target = RobotUser(), self.truth[:, :, k]
        clicks, clicked, masks, scores = [], [], [np.zeros(target.shape, bool)], []
        while len(clicks) < max(STEPS):
            click = user.next_click(target, masks[-1], clicked)
            if click is None:
                break
            clicked.append(click)
            clicks.append(((int(click.row), int(click.column), k), click.positive))
            whole = self.ask("adaptiveclick_2d", clicks, slice=k)
            assert not whole[:, :, [other for other in range(whole.shape[2]) if other != k]].any()
            masks.append(whole[:, :, k])
            scores.append(dice(masks[-1], target))
        same = True
        if len(clicks) > 1:  # undo: the clicks but the newest give the answer from before
            same = bool((self.ask("adaptiveclick_2d", clicks[:-1], slice=k)[:, :, k] == masks[-2]).all())
        return clicks, scores + [scores[-1]] * (max(STEPS) - len(scores)), same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", type=Path, action="append", default=[])
    parser.add_argument("--pair", type=Path, nargs=2, action="append", default=[], metavar=("IMAGE", "LABEL"))
    parser.add_argument("--every", type=int, default=1, help="each so-manieth volume of a folder")
    parser.add_argument("--values", type=int, nargs="+", help="label values, each an object; by default all together")
    parser.add_argument("--train", action="store_true", help="also fine-tune on what was saved")
    parser.add_argument("--json", type=Path)
    parser.add_argument("server", nargs="*", help="more options of serve, after --")
    arguments = parser.parse_args()
    pairs = [pair for folder in arguments.data for pair in pairs_of(folder)[:: arguments.every]]
    pairs += [tuple(pair) for pair in arguments.pair]
    times: dict[str, list[float]] = {}
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        studies = Path(folder) / "studies"
        studies.mkdir()
        names = {}
        for number, (image, label) in enumerate(pairs):
            name = f"{number:03d}_{file_stem(image)}"
            shutil.copyfile(image, studies / f"{name}{file_suffix(image)}")
            names[name] = label
        weights = Path(folder) / "model.safetensors"
        shutil.copyfile(arguments.weights, weights)
        process, url = start(studies, Path(folder) / "work", str(weights), arguments.server)
        try:
            client = MONAILabelClient(url)
            listed = sorted(client.datastore()["objects"])
            assert listed == sorted(names), (listed, sorted(names))
            for name, label in names.items():
                found = read_volume(label)
                for value in arguments.values or [None]:
                    truth = found.array > 0 if value is None else found.array == value
                    if not truth.any():
                        continue
                    rows.append(annotate(client, name, value, truth, found.affine, times, Path(folder)))
                    print(json.dumps(rows[-1]), flush=True)
            if arguments.train:
                train(client)
        finally:
            process.terminate()
            process.wait(30)
    report(rows, times)
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows, "times": times}, indent=1))


def annotate(client, name, value, truth, affine, times, folder) -> dict[str, object]:
    annotator = Annotator(client, name, truth, times)
    areas = truth.sum((0, 1))
    large = np.flatnonzero(areas >= areas.max() / 4)
    places = sorted({int(large[0]), int(large[len(large) // 2]), int(large[-1])})
    per_slice, clicks_of, same = [], {}, True
    for k in places:
        clicks, scores, undone = annotator.slice_clicks(k)
        per_slice.append(scores)
        clicks_of[k] = clicks
        same &= undone
    volumes, seconds = {}, {}
    middle = places[len(places) // 2]
    for step in STEPS:
        begin = time.perf_counter()
        volumes[f"middle@{step}"] = dice(annotator.ask("adaptiveclick_3d", clicks_of[middle][:step]), truth)
        seconds[f"middle@{step}"] = time.perf_counter() - begin
        every = [click for k in places for click in clicks_of[k][:step]]
        mask = annotator.ask("adaptiveclick_3d", every)
        volumes[f"three@{step}"] = dice(mask, truth)
    stops = {f"{stop['from']} {stop['direction']}": [stop["reason"], stop["at"]] for stop in annotator.answer["stops"]}
    saved = folder / "label.nii.gz"
    write_volume(saved, truth.astype(np.uint8), affine)
    client.save_label(name, str(saved), tag="final", params={"label_info": [{"name": "object", "idx": 1}]})
    return {
        "volume": name,
        "value": value,
        "slices": {f"@{step}": round(float(np.mean([scores[step - 1] for scores in per_slice])), 3) for step in STEPS},
        "volumes": {key: round(score, 3) for key, score in volumes.items()},
        "object": [int(np.flatnonzero(areas)[0]), int(np.flatnonzero(areas)[-1])],
        "stops": stops,
        "propagation_seconds": {key: round(number, 2) for key, number in seconds.items()},
        "undo_is_exact": same,
    }


def train(client: MONAILabelClient) -> None:
    begin = time.perf_counter()
    client.train_start("adaptiveclick", {"max_epochs": 1, "samples_per_epoch": 40, "val_max_samples": 6})
    while (status := client.train_status())["status"] in ("SUBMITTED", "RUNNING"):
        time.sleep(2)
    print(f"training: {status['status']} after {time.perf_counter() - begin:.0f} s")
    print(json.dumps(client.info()["train_stats"], indent=1, default=str))


def report(rows: list[dict], times: dict[str, list[float]]) -> None:
    print(f"\n{len(rows)} objects; undo exact for {sum(bool(row['undo_is_exact']) for row in rows)}")
    for what in ("slices", "volumes"):
        for key in rows[0][what]:
            print(f"Dice, {what} {key}: {np.mean([row[what][key] for row in rows]):.3f}")
    print("seconds a click on one slice (median, largest):")
    for part, values in times.items():
        print(f"  {part:18} {statistics.median(values):.3f}  {max(values):.3f}   ({len(values)} clicks)")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
