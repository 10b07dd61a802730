"""`python -m tidegate.sandbox '{"objects": 1000}'`: a sandbox until stdin closes, for `sandbox.process`."""

import sys

from tidegate.sandbox import serving

serving.child(sys.argv[1] if len(sys.argv) > 1 else "{}")
