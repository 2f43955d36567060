"""The network in use: read again when its file changes."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from dataclasses import dataclass
from typing import Any

import torch

from adaptiveclick_med._files import replacing
from adaptiveclick_med.evaluation.method import usable_device
from adaptiveclick_med.inference import accelerate, acceleration_facts
from adaptiveclick_med.label_app.problems import problem
from adaptiveclick_med.label_app.serving_options import ServingOptions
from adaptiveclick_med.networks import ClickModel
from adaptiveclick_med.weights import default_path, load_network, save_weights, start_network

__all__ = ["LoadedNetwork", "ServedNetwork"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedNetwork:
    """A network and the file that it came from.

    Attributes:
        network: in evaluation mode.
        version: tells one state of the file from another.
        stopwatch: how long the current thread was in the network.
    """

    network: ClickModel
    version: tuple[int, int]
    stopwatch: Stopwatch


class Stopwatch:
    """Adds up, for each thread on its own, the seconds spent in a network."""

    def __init__(self) -> None:
        self._local = threading.local()

    @property
    def seconds(self) -> float:
        """Of the current thread, since it started."""
        return float(getattr(self._local, "seconds", 0.0))

    def watch(self, network: ClickModel) -> None:
        """Measure all predictions of a network from now on."""
        predict = network.predict

        def measured(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                output = predict(*args, **options)
                if output.logits.is_cuda:
                    torch.cuda.synchronize(output.logits.device)
                return output
            finally:
                self._local.seconds = self.seconds + time.perf_counter() - start

        network.predict = measured  # type: ignore[method-assign]


class ServedNetwork:
    """Gives the network of the weight file as it is now.

    Where the work folder has no weight file yet, it gets a copy of the default weights, or an untrained network of the
    preset.

    Args:
        options: tells file, preset and device.

    Raises:
        FileNotFoundError: when the weight file of the options does not exist, or the default weights are missing.
        ValueError: when the device does not work.
    """

    def __init__(self, options: ServingOptions) -> None:
        self.path = options.weight_file
        self.device = usable_device(options.device)
        self._faster: dict[str, Any] = {
            "precision": options.precision,
            "compile": options.compile,
            "quantize": options.quantize,
        }
        self._lock = threading.Lock()
        self._loaded: LoadedNetwork | None = None
        self._refused: tuple[tuple[int, int] | None, str] | None = None
        if not self.path.is_file():
            if options.weights is not None:
                raise FileNotFoundError(f"There is no weight file {self.path}.")
            self._begin(options.preset)

    def _begin(self, preset: str | None) -> None:
        """Write the weights of the beginning into the work folder, where trainings publish theirs."""
        if preset is not None:
            logger.warning("The network is untrained (preset %s): it is written to %s.", preset, self.path)
            save_weights(self.path, start_network("AdaptiveClick", preset), licence="Apache-2.0")
            return
        logger.info("The network begins with the default weights: they are copied to %s.", self.path)
        with replacing(self.path) as temporary:
            shutil.copyfile(default_path(), temporary)

    def check(self) -> None:
        """Load the network now, so that the first click does not wait for it.

        Raises:
            ValueError: when the file cannot be used.
        """
        with self._lock:
            self._loaded = self._load(self._version())

    def current(self) -> LoadedNetwork:
        """Return the network.

        Raises:
            HTTPException: 409 when the weight file is missing or cannot be used.
        """
        with self._lock:
            try:
                version = self._version()
            except OSError:
                raise problem(409, f"The weight file {self.path.name} is missing on the server.") from None
            if self._loaded is not None and self._loaded.version == version:
                return self._loaded
            if self._refused is None or self._refused[0] != version:
                try:
                    self._loaded, self._refused = self._load(version), None
                    return self._loaded
                except (ValueError, OSError, MemoryError) as error:
                    self._refused = (version, str(error) or type(error).__name__)
                    logger.error("The weights cannot be used: %s", error)
            raise problem(409, f"The weights of the server cannot be used until they are replaced: {self._refused[1]}")

    def _load(self, version: tuple[int, int]) -> LoadedNetwork:
        start = time.perf_counter()
        loaded = load_network(self.path, device=self.device)
        network: ClickModel = loaded
        if acceleration_facts(**self._faster):
            network = accelerate(loaded, **self._faster)
            # What is compiled is compiled now, for an image and its mirror image as a click shows them.
            network.predict(torch.zeros((2, 6, *network.image_size), device=self.device), auxiliary=False)
        stopwatch = Stopwatch()
        stopwatch.watch(network)
        logger.info("Loaded %s in %.1f s.", self.path, time.perf_counter() - start)
        return LoadedNetwork(network, version, stopwatch)

    def _version(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_mtime_ns, status.st_size
