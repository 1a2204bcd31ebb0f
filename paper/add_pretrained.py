"""Ship trained networks: copy runs to `paper/networks`, and list their hashes for `load_pretrained`.

    python paper/add_pretrained.py cifar10-vgg-direct=runs/cifar10/runs/vgg-all-direct-0 ...

replaces the networks of these names and keeps the others.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path

from tsnn_uq.experiments.storage import CHECKOUT, INDEX, RESULT, WEIGHTS, load_network, read_config
from tsnn_uq.files import read_toml, write_text

FILES = ("config.toml", WEIGHTS, RESULT)


def ship(networks: dict[str, str]) -> None:
    """Copy the run of each name, and add it to the list."""
    index = read_toml(INDEX) if INDEX.exists() else {}
    for name, run in networks.items():
        source = Path(run)
        load_network(source)  # raises unless it is complete
        folder = Path(str(read_config(source)["data"]), source.name)
        (CHECKOUT / folder).mkdir(parents=True, exist_ok=True)
        for file in FILES:
            shutil.copyfile(source / file, CHECKOUT / folder / file)
        hashes = {file: hashlib.sha256((CHECKOUT / folder / file).read_bytes()).hexdigest() for file in FILES}
        index[name] = {"folder": folder.as_posix(), "sha256": hashes}
    lines = ["# Written by paper/add_pretrained.py"]
    for name, entry in sorted(index.items()):
        lines += ["", f"[{name}]", f'folder = "{entry["folder"]}"']
        lines += [f'sha256."{file}" = "{value}"' for file, value in entry["sha256"].items()]
    write_text(INDEX, "\n".join(lines) + "\n")


if __name__ == "__main__":
    ship(dict(argument.split("=", 1) for argument in sys.argv[1:]))
