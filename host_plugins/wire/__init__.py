"""The wire protocol, in one place; docs/protocol.md is its text."""
