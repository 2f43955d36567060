from __future__ import annotations

from adaptiveclick_med.label_app.click_request import ClickRequest


def test_a_click_on_the_outer_border_belongs_to_the_outermost_slice() -> None:
    for k, index in ((5.5, 5), (-0.5, 0), (4.6, 5)):
        asked = {"foreground": [[47.5, -0.5, k]], "background": []}
        read = ClickRequest.read(asked, labels=["liver"], shape=(48, 40, 6), name="head", by_slice=True, max_clicks=9)
        assert read.slice_index == index
        assert read.clicks == ((47.0, 0.0, min(max(k, 0.0), 5.0), True),)
