"""ColorBridge in Nuke: a Group node that colorizes its input through the ChromaBridge server.

The only package here that imports Nuke's API. Scripts that hold a ColorBridge open anywhere: what
they need is inside the Group, and its buttons look for this package when they are pressed.
"""
