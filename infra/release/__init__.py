"""From this checkout to a stack on AWS and back: what deploying takes, what it costs, and whether packages are safe."""
