"""``python -m lwdna.timm_models SCRIPT ...``: a script of timm's, with networks found as models."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run the script that the command line names, as ``python SCRIPT ...`` would."""
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        sys.exit(
            "error: name a script that is there: python -m lwdna.timm_models train.py --model "
            "lwdna --model-kwargs architecture=FILE ..."
        )
    del sys.argv[0]
    sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
