"""Draw the picture of a page that the README shows: `python -m docs.picture`, with Chromium at hand."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright

from tests.results.page.test_browser import EXECUTABLE
from tsnn_uq import data, networks, training
from tsnn_uq.compare import quantize_and_compare

PICTURE = Path(__file__).with_name("page.png")


def main() -> None:
    digits = data.load("digits")
    network = networks.build("dropout", sizes=(64, 128, 128, 10), generator=torch.Generator().manual_seed(0))
    train = digits.train.images, digits.train.labels
    training.fit(network, train, seed=0, settings=training.FitSettings(epochs=30))
    with tempfile.TemporaryDirectory() as folder:
        quantize_and_compare(
            network,
            train=digits.train,
            validation=digits.validation,
            test=digits.test,
            methods=["float", "post-training", "direct"],
            epochs=20,
            samples=32,
            generator=torch.Generator().manual_seed(0),
            out=folder,
        )
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1100, "height": 900})
            page.goto((Path(folder) / "report.html").as_uri())
            page.screenshot(path=PICTURE)
            browser.close()


if __name__ == "__main__":
    main()
