"""Networks and weights from other projects."""

from lwdna.interop.edsr import import_edsr
from lwdna.interop.original import import_original
from lwdna.interop.state_dicts import import_state_dict, read_state_dict, widths_of

__all__ = ["import_edsr", "import_original", "import_state_dict", "read_state_dict", "widths_of"]
