from __future__ import annotations

import json

import pytest

from adaptiveclick_med.export import ExportFacts
from adaptiveclick_med.networks import ClickNetwork
from adaptiveclick_med.transforms import Intensity


def test_there_and_back(networks: dict[str, ClickNetwork]) -> None:
    for network in networks.values():
        facts = ExportFacts.of(network, (64, 96))
        assert ExportFacts.from_json(facts.to_json(), "m.ts") == facts
        assert (facts.network, facts.image_size, facts.patch_size) == (type(network).__name__, (64, 96), 8)
        assert facts.arguments == network.arguments
        assert Intensity.from_dict(facts.intensity).window == "soft_tissue"
    assert ExportFacts.of(networks["AdaptiveClick"], (64, 64)).outputs == ("logits", "mask_logits", "click_logits")
    assert ExportFacts.of(networks["SimpleClick"], (64, 64)).outputs == ("logits",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "its version is 2, this software reads version 1"),
        ({"image_size": 64}, "What m.ts tells of its network cannot be used"),
        ({"outputs": ["masks"]}, "its outputs are masks"),
        ({"intensity": {"window": "purple"}}, "purple"),
        ({"more": 1}, "more"),
    ],
)
def test_damaged_facts(networks: dict[str, ClickNetwork], changes: dict[str, object], message: str) -> None:
    values = {**json.loads(ExportFacts.of(networks["SimpleClick"], (64, 64)).to_json()), **changes}
    with pytest.raises(ValueError, match=message):
        ExportFacts.from_json(json.dumps(values), "m.ts")


@pytest.mark.parametrize("text", [None, ""])
def test_a_foreign_file(text: str | None) -> None:
    with pytest.raises(ValueError, match=r"m\.onnx was not exported by adaptiveclick_med"):
        ExportFacts.from_json(text, "m.onnx")
