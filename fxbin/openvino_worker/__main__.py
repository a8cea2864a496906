"""Where the process begins: ``python -m fxbin.openvino_worker KIND FOLDER``."""

import sys
from pathlib import Path

from fxbin.openvino_worker.main import main

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
