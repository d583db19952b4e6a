"""``python -m lwdna``, which launchers such as ``accelerate launch -m`` need."""

from lwdna.cli import main

if __name__ == "__main__":  # not where multiprocessing imports it
    main()
