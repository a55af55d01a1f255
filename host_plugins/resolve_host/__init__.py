"""ChromaBridge inside DaVinci Resolve; only these modules know Resolve's scripting interface."""
