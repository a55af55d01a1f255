"""The samples module lies beside the tests; they are run without packages."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
