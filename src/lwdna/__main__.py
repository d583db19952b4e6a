"""``python -m lwdna``, which launchers such as ``accelerate launch -m`` need."""

from lwdna.cli import main

main()
