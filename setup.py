"""The build: setup.cfg has all facts; this puts the default weights of the bundle into the package."""

from __future__ import annotations

import os

from setuptools import setup
from setuptools.command.build_py import build_py

WEIGHTS = "bundles/adaptiveclick/models/default.safetensors"


class BuildWithWeights(build_py):
    """Copies the default weights beside the modules, except for an editable installation, which reads the bundle's."""

    def run(self) -> None:
        """Copy modules, package data and weights."""
        super().run()
        if not self.editable_mode:
            self.mkpath(os.path.dirname(self._shipped))
            self.copy_file(WEIGHTS, self._shipped, preserve_mode=False)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return what an installation consists of."""
        outputs = super().get_outputs(include_bytecode)
        return outputs if self.editable_mode else [*outputs, self._shipped]

    def get_source_files(self) -> list[str]:
        """Return what the source distribution must hold."""
        return [*super().get_source_files(), WEIGHTS]

    @property
    def _shipped(self) -> str:
        return os.path.join(self.build_lib, "adaptiveclick_med", "weights", "shipped", "default.safetensors")


setup(cmdclass={"build_py": BuildWithWeights})
