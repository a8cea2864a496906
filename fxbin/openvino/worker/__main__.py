"""Where the process begins. Started by its path, so that nothing of fxbin or PyTorch is loaded."""

import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parent

# Empty modules for the packages around this one, as their own import PyTorch.
for name, folder in (("fxbin", FOLDER.parents[1]), ("fxbin.openvino", FOLDER.parent)):
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__path__ = [str(folder)]

from fxbin.openvino.worker.main import main  # noqa: E402 (the modules come first)

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
