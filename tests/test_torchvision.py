from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from adaptiveclick_med import _torchvision


class Import:
    """Stands in for the import of torchvision: fails in a given way, as often as told."""

    def __init__(self, errors):
        self.errors = list(errors)
        self.calls = []

    def __call__(self, name):
        self.calls.append(name)
        if self.errors:
            raise self.errors.pop(0)


class Library:
    made: list = []  # noqa: RUF012

    def __init__(self, *names):
        self.names, self.schemas = names, []
        Library.made.append(self)

    def define(self, schema):
        self.schemas.append(schema)


@pytest.fixture
def attempt(monkeypatch):
    def run(*errors):
        Library.made = []
        importer = Import(errors)
        modules = {"torchvision": 1, "torchvision.ops": 2, "torchvisionary": 3, "torch": 4}
        monkeypatch.setattr(_torchvision.importlib, "import_module", importer)
        monkeypatch.setattr(_torchvision, "sys", SimpleNamespace(modules=modules))
        monkeypatch.setattr(_torchvision, "_libraries", [])
        monkeypatch.setattr(torch.library, "Library", Library)
        try:
            _torchvision.ensure_torchvision()
        finally:
            monkeypatch.undo()
        return importer.calls, modules

    return run


def test_timm_can_be_imported_after_it():
    import timm

    assert timm.is_model("vit_base_patch16_224")
    torch.zeros(1)


def test_nothing_is_done_where_torchvision_works(attempt):
    calls, modules = attempt()
    assert calls == ["torchvision"]
    assert len(modules) == 4
    assert Library.made == []


def test_missing_operators_are_defined_and_the_import_is_repeated(attempt):
    calls, modules = attempt(RuntimeError("operator torchvision::nms does not exist"))
    assert calls == ["torchvision", "torchvision"]
    assert sorted(modules) == ["torch", "torchvisionary"]
    assert Library.made[0].names == ("torchvision", "FRAGMENT")
    assert [schema.split("(")[0] for schema in Library.made[0].schemas] == ["nms", "qnms"]


@pytest.mark.parametrize("error", [ImportError("No module named torchvision"), RuntimeError("something else")])
def test_other_failures_are_left_to_the_next_importer(attempt, error):
    calls, modules = attempt(error)
    assert calls == ["torchvision"]
    assert len(modules) == 4
    assert Library.made == []
